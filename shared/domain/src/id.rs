//! The names of things. Each is a type of its own, so that one can't be taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Declares a newtype over text that is taken as it comes: its meaning belongs to whoever made it up.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// Who sends webhooks, for example `reservation-system`. Set in our own code, never taken from a payload: lower-case
    /// letters, digits and `-`.
    Source
}
text_id! {
    /// The sender's id of a webhook configuration; it tells which secret signs.
    WebhookId
}
text_id! {
    /// The sender's id of a user. The only thing of a person that a fact may hold (R11).
    UserId
}
text_id! {
    /// The sender's id of a site.
    SiteId
}
text_id! {
    /// What a resource is and so which driver serves it, for example `baremetalhost`. Set in our own code or configuration.
    ResourceKind
}
text_id! {
    /// The id of one delivery: also its message id in the broker and the `deliveryId` that the sender was told.
    DeliveryId
}
text_id! {
    /// Who asks for a place of the capacity, or for a permit of a quota, for one thing that is done once.
    AskerId
}
text_id! {
    /// Which of those who ask for places are counted together.
    GroupId
}
text_id! {
    /// Which ledger this is: made once with the LEDGER stream, in every fence that we write to a host.
    LedgerId
}

/// The source of reservations of our own making.
const UNKNOWN: &str = "adopted";

/// One user's claim on one resource: the source and the sender's id of the booking.
///
/// Written `source:event-id`, for example `reservation-system:5120`; that is also the name in a host's `consumerRef`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReservationId {
    source: Source,
    event: String,
}

impl ReservationId {
    /// The reservation that `source` calls `event`.
    pub fn new(source: Source, event: impl Into<String>) -> Self {
        Self {
            source,
            event: event.into(),
        }
    }

    /// A reservation of our own making: that of an adopted host of which nobody knows whose it is.
    /// `adoption`: the sequence of the operator's delivery, since a host may be adopted again.
    pub fn of_unknown(host: &HostRef, adoption: u64) -> Self {
        Self::new(Source::new(UNKNOWN), format!("{}@{adoption}", host.uid))
    }

    /// Whether it is one of our own making.
    pub fn is_unknown(&self) -> bool {
        self.source.as_str() == UNKNOWN
    }

    /// Who told of it.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The sender's own id.
    pub fn event(&self) -> &str {
        &self.event
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.event)
    }
}

impl From<ReservationId> for String {
    fn from(id: ReservationId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ReservationId {
    type Error = NotAnId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for ReservationId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((source, event)) if !source.is_empty() && !event.is_empty() => {
                Ok(Self::new(Source::new(source), event))
            }
            _ => Err(NotAnId {
                text: text.to_owned(),
                form: "source:event-id",
            }),
        }
    }
}

/// What is reserved. Two sites may both have a `node01`, so the namespace belongs to the name.
///
/// Written `kind/namespace/name`, for example `baremetalhost/metal3/lab7-node04`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId {
    kind: ResourceKind,
    namespace: String,
    name: String,
}

impl ResourceId {
    /// The resource that the sender calls `name`, of this kind, in this namespace of ours.
    pub fn new(kind: ResourceKind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Which driver serves it.
    pub fn kind(&self) -> &ResourceKind {
        &self.kind
    }

    /// The Kubernetes namespace in which its host lives.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The sender's name for it: free text, not always a Kubernetes name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ResourceId {
    type Error = NotAnId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for ResourceId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(kind), Some(namespace), Some(name))
                if !kind.is_empty() && !namespace.is_empty() && !name.is_empty() =>
            {
                Ok(Self::new(ResourceKind::new(kind), namespace, name))
            }
            _ => Err(NotAnId {
                text: text.to_owned(),
                form: "kind/namespace/name",
            }),
        }
    }
}

/// One host as Kubernetes knows it. The `uid` tells it from a later host of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

impl fmt::Display for HostRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How far a resource's facts are known: the LEDGER sequence of its newest message, 0 where there is none. Because it
/// counts through the whole ledger, a later decision on any resource has a larger one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that should have been an id of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not of the form {form}")]
pub struct NotAnId {
    text: String,
    form: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_id_is_read_back_as_it_was_written_whatever_the_sender_calls_it() {
        for event in ["5120", "a:b", "x y/ü"] {
            let id = ReservationId::new(Source::new("reservation-system"), event);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!("5120".parse::<ReservationId>().is_err());
    }

    #[test]
    fn a_resource_name_may_hold_slashes() {
        let id = ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "Gi1/0/1");
        assert_eq!(id.to_string(), "baremetalhost/metal3/Gi1/0/1");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("metal3/node".parse::<ResourceId>().is_err());
    }
}
