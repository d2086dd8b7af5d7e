//! What a reservation gets.

use serde::{Deserialize, Serialize};

use crate::id::DeliveryId;

/// What a reservation gets, fixed when its start is accepted (R12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The image.
    pub image: Image,
    /// The user that the tenant logs in as.
    pub login: String,
    /// Whether a host is prepared when no usable key came: then nobody but the operator can log in.
    pub without_key: bool,
}

/// An image as Metal3 takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its name in the catalogue, where its user chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `spec.image.url`.
    pub url: String,
    /// `spec.image.checksum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// `spec.image.checksumType`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum_type: Option<String>,
    /// `spec.image.format`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// Whether a start brought a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is")]
pub enum TenantKey {
    /// The delivery holds one that can be used.
    InDelivery,
    /// It holds none, or one that can't be used.
    Missing {
        /// What is wrong, without the key.
        reason: String,
    },
}

/// A delivery, found again by its sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRef {
    /// Its sequence in DELIVERIES.
    pub sequence: u64,
    /// Its id.
    pub id: DeliveryId,
}
