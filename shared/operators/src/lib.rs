//! The words of operators: what `bellhop release`, `hold`, `pause`, … say to the provisioners.
//!
//! An operator is a source of deliveries like any other: a word is stored durably in DELIVERIES with who said it and why,
//! decided by whichever provisioner takes it, and its facts name the same. Nothing is signed: who may publish there is the
//! broker's to say.
//!
//! ```text
//!   deliveries.operators.=unknown.<kind>.<name>     {"order":"release","resource":…,"reservation":…,"by":"ada","why":"…"}
//! ```

#![forbid(unsafe_code)]

use std::fmt;

use bellhop_domain::id::{DeliveryId, HostRef, ReservationId, ResourceId, SiteId, Source, UserId};
use bellhop_domain::reservation::Image;
use bellhop_event_store::NewDelivery;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The source of operators' deliveries.
pub const SOURCE: &str = "operators";

/// One word of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorMessage {
    /// What shall be.
    #[serde(flatten)]
    pub order: OperatorOrder,
    /// Who says so.
    pub by: String,
    /// Why.
    pub why: String,
}

/// What an operator can order, as it stands in a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum OperatorOrder {
    /// A reservation's end is not missed before `until`.
    Extend {
        /// Which.
        reservation: ReservationId,
        /// Until when.
        until: Timestamp,
    },
    /// The holder of a resource ends.
    Release {
        /// The resource.
        resource: ResourceId,
        /// The holder that the operator saw there.
        reservation: ReservationId,
    },
    /// A reservation ends, whether it is the holder or not.
    End {
        /// Which.
        reservation: ReservationId,
    },
    /// A start that waits for an operator goes ahead.
    Allow {
        /// Which.
        reservation: ReservationId,
    },
    /// A key for a reservation that waits for one.
    Retry {
        /// Which.
        reservation: ReservationId,
        /// Its user as the operator saw it, where told: the key is nobody else's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserId>,
        /// The key.
        ssh_public_key: KeyText,
    },
    /// A resource's host is never released.
    Hold {
        /// The resource.
        resource: ResourceId,
    },
    /// It may be released again.
    Unhold {
        /// The resource.
        resource: ResourceId,
    },
    /// A host that somebody else prepared is taken over, as it is.
    Adopt(Box<AdoptedHost>),
    /// A free resource's host is switched on.
    HandBack {
        /// The resource.
        resource: ResourceId,
    },
    /// Hosts are not written: of this resource, or of all that a pseudo-resource stands for.
    Pause {
        /// The resource.
        resource: ResourceId,
    },
    /// They are written again.
    Resume {
        /// The resource.
        resource: ResourceId,
    },
}

impl OperatorOrder {
    /// The resource that it names; none where it is decided where its reservation stands.
    pub fn resource(&self) -> Option<&ResourceId> {
        match self {
            Self::Release { resource, .. }
            | Self::Hold { resource }
            | Self::Unhold { resource }
            | Self::HandBack { resource }
            | Self::Pause { resource }
            | Self::Resume { resource } => Some(resource),
            Self::Adopt(adopted) => Some(&adopted.resource),
            Self::Extend { .. } | Self::End { .. } | Self::Allow { .. } | Self::Retry { .. } => {
                None
            }
        }
    }

    /// The reservation that it is about; none where it is about a host.
    pub fn reservation(&self) -> Option<&ReservationId> {
        match self {
            Self::Extend { reservation, .. }
            | Self::Release { reservation, .. }
            | Self::End { reservation }
            | Self::Allow { reservation }
            | Self::Retry { reservation, .. } => Some(reservation),
            Self::Adopt(adopted) => adopted.reservation.as_ref(),
            Self::Hold { .. }
            | Self::Unhold { .. }
            | Self::HandBack { .. }
            | Self::Pause { .. }
            | Self::Resume { .. } => None,
        }
    }

    /// Its name, as it stands in the delivery.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Extend { .. } => "extend",
            Self::Release { .. } => "release",
            Self::End { .. } => "end",
            Self::Allow { .. } => "allow",
            Self::Retry { .. } => "retry",
            Self::Hold { .. } => "hold",
            Self::Unhold { .. } => "unhold",
            Self::Adopt(_) => "adopt",
            Self::HandBack { .. } => "hand-back",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
        }
    }
}

/// See [`OperatorOrder::Adopt`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedHost {
    /// The resource that the host answers to.
    pub resource: ResourceId,
    /// The host.
    pub host: HostRef,
    /// The image in its spec.
    pub image: Image,
    /// The secret with its user data.
    pub secret: String,
    /// Whose it is, where the operator knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<ReservationId>,
    /// When that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The site that the host is of, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
}

/// A tenant's public key, unchecked. `Debug` doesn't print it (R11); it is written only into the delivery.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyText(String);

impl KeyText {
    /// Wraps the text of a key.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. Where it is written to is the caller's care.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private]")
    }
}

/// A delivery of this source that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an operator's word can't be read ({problem}): was it written by a newer version of Bellhop?"
)]
pub struct NotAWord {
    problem: String,
}

impl OperatorMessage {
    /// Reads the body of a delivery.
    ///
    /// # Errors
    /// Where it is no word that this version knows.
    pub fn parse(body: &[u8]) -> Result<Self, NotAWord> {
        // The words of the error name fields and positions, and may quote a value: never a key's.
        serde_json::from_slice(body).map_err(|error| NotAWord {
            problem: format!("{:?} error at column {}", error.classify(), error.column()),
        })
    }

    /// The delivery that says it, with an id of its own: an operator who says something twice means it twice.
    pub fn to_delivery(&self, now: Timestamp) -> NewDelivery {
        let body = serde_json::to_vec(self).expect("an order has only text keys");
        let resource = self.order.resource();
        NewDelivery {
            id: DeliveryId::new(format!("{SOURCE}.{}", uuid::Uuid::now_v7())),
            source: Source::new(SOURCE),
            site: None,
            kind: resource.map(|resource| resource.kind().clone()),
            name: resource.map(|resource| resource.name().to_owned()),
            event_type: Some(self.order.name().to_owned()),
            webhook: None,
            received_at: now,
            traceparent: None,
            headers: Vec::new(),
            body: Bytes::from(body),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn message(order: OperatorOrder) -> OperatorMessage {
        OperatorMessage {
            order,
            by: "ada".into(),
            why: "its user asked".into(),
        }
    }

    #[test]
    fn a_word_is_read_back_as_it_was_said() {
        let resource: ResourceId = "baremetalhost/metal3/node01".parse().unwrap();
        let reservation: ReservationId = "reservation-system:5120".parse().unwrap();
        let orders = [
            OperatorOrder::Extend {
                reservation: reservation.clone(),
                until: Timestamp::UNIX_EPOCH,
            },
            OperatorOrder::Release {
                resource: resource.clone(),
                reservation: reservation.clone(),
            },
            OperatorOrder::End {
                reservation: reservation.clone(),
            },
            OperatorOrder::Retry {
                reservation,
                user: None,
                ssh_public_key: KeyText::new("ssh-ed25519 AAAA"),
            },
            OperatorOrder::Hold { resource },
        ];
        for order in orders {
            let said = message(order);
            let delivery = said.to_delivery(Timestamp::UNIX_EPOCH);
            assert_eq!(OperatorMessage::parse(&delivery.body), Ok(said));
        }
    }

    #[test]
    fn neither_a_word_nor_the_error_about_one_prints_a_key() {
        let said = message(OperatorOrder::Retry {
            reservation: "reservation-system:5120".parse().unwrap(),
            user: None,
            ssh_public_key: KeyText::new("ssh-ed25519 AAAAsecret"),
        });
        assert!(!format!("{said:?}").contains("AAAAsecret"));
        let wrong = br#"{"order":"retry","reservation":"AAAAsecret","ssh_public_key":"AAAAsecret","by":"a","why":"b"}"#;
        let error = OperatorMessage::parse(wrong).unwrap_err();
        assert!(!error.to_string().contains("AAAAsecret"), "{error}");
    }
}
