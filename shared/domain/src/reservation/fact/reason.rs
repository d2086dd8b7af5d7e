//! Why a reservation waits, or failed.

use serde::{Deserialize, Serialize};

use crate::id::ReservationId;

/// Why a reservation waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for")]
pub enum WaitReason {
    /// Another reservation has the resource.
    Holder {
        /// Which.
        holder: ReservationId,
    },
    /// The resource is being taken back from another reservation.
    Release {
        /// From which.
        holder: ReservationId,
    },
    /// The host can't be used now.
    Host {
        /// Why, in words for the user and the operator.
        text: String,
    },
    /// As many servers are prepared at once as may be; its turn comes when one of them is ready.
    Turn {
        /// How many are.
        preparing: u32,
    },
    /// No usable SSH key came with the start.
    Key {
        /// What was wrong.
        text: String,
    },
    /// An operator has to allow it: what is known of the host is not enough to give it away.
    Operator {
        /// What is not known, in words for the operator.
        text: String,
    },
    /// Several sites send reservations, and nobody has said yet where the hosts of each are.
    Site,
    /// An operator has its host left alone for now.
    Paused {
        /// How, in words for the user and the operator.
        text: String,
    },
}

impl WaitReason {
    /// Whether a user who was told `self` need not be told `other`: the same in kind, though details may differ.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Why a reservation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because")]
pub enum FailureReason {
    /// No host answers to the resource, or more than one.
    HostUnknown {
        /// Which of these, in words.
        text: String,
    },
    /// Metal3 reported as many errors as there may be.
    ProvisioningErrors {
        /// The last.
        error: HostError,
        /// How many there were.
        attempts: u32,
    },
    /// Metal3 worked on the image for longer than it may.
    ProvisioningTimeout {
        /// How long that is, in seconds.
        seconds: u64,
    },
    /// The host was deleted while it was prepared.
    HostGone,
    /// The reservation's end came before its host could be given to it.
    NotClaimedInTime {
        /// For what it waited last.
        waited_for: Option<WaitReason>,
    },
    /// The host can't be claimed for a reason that time won't mend.
    CannotClaim {
        /// Why, in words.
        text: String,
    },
    /// The sender deleted the resource while the reservation waited for it.
    ResourceDeleted,
    /// What it is a reservation of is not served here. No host was touched.
    NotServed {
        /// What is not, in words.
        text: String,
    },
    /// It asked for an image that is not offered. No host was touched.
    ImageNotOffered {
        /// For which, and which are, in words for its user.
        text: String,
    },
}

/// An error as Metal3 reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostError {
    /// `status.errorType`.
    #[serde(rename = "errorType")]
    pub kind: String,
    /// `status.errorMessage`.
    #[serde(rename = "errorMessage")]
    pub message: String,
}
