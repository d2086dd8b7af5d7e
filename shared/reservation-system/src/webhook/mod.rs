//! The payloads of the reservation system's webhooks.
//!
//! ```text
//!  "events" present ─▶ the legacy batch                                     ─▶ Unreadable::Batch
//!  "data" a string  ─▶ the sender failed to serialise it: the id is lost    ─▶ Unreadable::Degraded
//!  "data" an object ─▶ nested, from the back end: EVENT_CREATED, …          ─▶ Webhook
//!  neither          ─▶ flat, from the event processor: EVENT_START, _END    ─▶ Webhook
//! ```
//!
//! Fields that we don't know are ignored. A field that may be missing and has a wrong type counts as missing: an event
//! is worth more than its description. Only a required field makes a payload unreadable, and then its name is told,
//! never its content.

mod fields;
mod parse;

use std::fmt;

use jiff::Timestamp;

use crate::ids::{EventId, Private, WebhookId};

pub use parse::claimed_webhook_id;

/// One webhook, read. Its signature was checked before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// What happened.
    pub event_type: EventType,
    /// The configured webhook that this came from.
    pub webhook_id: WebhookId,
    /// When it was sent; new at each sending. The senders' guides call it required, Bellhop does without.
    pub timestamp: Option<Timestamp>,
    /// What it is about.
    pub content: Content,
}

impl Webhook {
    /// Reads a body in any form that the two senders use.
    ///
    /// # Errors
    /// [`Unreadable`] names the field and what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, Unreadable> {
        parse::webhook(body)
    }

    /// The booking that it is about, if it is about one.
    pub fn booking(&self) -> Option<&Booking> {
        match &self.content {
            Content::Booking(booking) => Some(booking),
            _ => None,
        }
    }

    /// The resource that it is about: the booking's, or the one that changed itself.
    pub fn resource(&self) -> Option<&Resource> {
        match &self.content {
            Content::Booking(booking) => Some(&booking.resource),
            Content::Resource(resource) => Some(resource),
            Content::Test(_) | Content::Other => None,
        }
    }
}

/// The kinds of event, as the reservation system names them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventType {
    /// A booking was made.
    EventCreated,
    /// A booking was changed; also after its start.
    EventUpdated,
    /// A booking was deleted; no end follows.
    EventDeleted,
    /// A booking starts within the next five minutes.
    EventStart,
    /// A booking ended within the last minute. May come twice, or never.
    EventEnd,
    /// A resource was added.
    ResourceCreated,
    /// A resource was changed.
    ResourceUpdated,
    /// A resource went into or out of service.
    ResourceStatusChanged,
    /// A resource was removed, and all its bookings with it, silently.
    ResourceDeleted,
    /// The test button.
    All,
    /// A type that is not in the contract.
    Other(String),
}

impl EventType {
    const KNOWN: [(&'static str, Self); 10] = [
        ("EVENT_CREATED", Self::EventCreated),
        ("EVENT_UPDATED", Self::EventUpdated),
        ("EVENT_DELETED", Self::EventDeleted),
        ("EVENT_START", Self::EventStart),
        ("EVENT_END", Self::EventEnd),
        ("RESOURCE_CREATED", Self::ResourceCreated),
        ("RESOURCE_UPDATED", Self::ResourceUpdated),
        ("RESOURCE_STATUS_CHANGED", Self::ResourceStatusChanged),
        ("RESOURCE_DELETED", Self::ResourceDeleted),
        ("ALL", Self::All),
    ];

    /// The type of this name, letter by letter; any other name is kept.
    pub fn parse(name: &str) -> Self {
        Self::KNOWN
            .into_iter()
            .find_map(|(known, event_type)| (known == name).then_some(event_type))
            .unwrap_or_else(|| Self::Other(name.to_owned()))
    }

    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::EventCreated => "EVENT_CREATED",
            Self::EventUpdated => "EVENT_UPDATED",
            Self::EventDeleted => "EVENT_DELETED",
            Self::EventStart => "EVENT_START",
            Self::EventEnd => "EVENT_END",
            Self::ResourceCreated => "RESOURCE_CREATED",
            Self::ResourceUpdated => "RESOURCE_UPDATED",
            Self::ResourceStatusChanged => "RESOURCE_STATUS_CHANGED",
            Self::ResourceDeleted => "RESOURCE_DELETED",
            Self::All => "ALL",
            Self::Other(name) => name,
        }
    }

    /// Whether the reservation system has this name itself (its webhook log takes no other).
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a webhook is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A booking (`EVENT_…`).
    Booking(Box<Booking>),
    /// A resource (`RESOURCE_…`).
    Resource(Box<Resource>),
    /// The test button (`ALL`).
    Test(TestEvent),
    /// An event type that is not in the contract: nothing in it was looked at.
    Other,
}

/// One user's booking of one resource. `Debug` prints neither name, e-mail nor key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// The sender's id.
    pub event_id: EventId,
    /// What the user called it.
    pub title: Option<String>,
    /// What the user wrote about it.
    pub description: Option<String>,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// What is booked.
    pub resource: Resource,
    /// Whose it is; notifications go to this id.
    pub user_id: Option<String>,
    /// The user's login name. Only in the flat form.
    pub username: Option<Private>,
    /// Only in the flat form.
    pub email: Option<Private>,
    /// The user's key, unchecked: see [`SshPublicKey`](crate::ssh_key::SshPublicKey). Only in the flat form.
    pub ssh_public_key: Option<Private>,
    /// Free parameters, as JSON text.
    pub custom_parameters: Option<String>,
    /// When the booking was made. Only in the nested form.
    pub created_at: Option<Timestamp>,
    /// When the booking was last changed. Only in the nested form.
    pub updated_at: Option<Timestamp>,
    /// When `EVENT_START` was sent, if it was. Only in the nested form.
    pub start_notified_at: Option<Timestamp>,
    /// When `EVENT_END` was sent. Only in the nested form; the real sender never stores it.
    pub end_notified_at: Option<Timestamp>,
}

/// What can be booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The reservation system's own number of it.
    pub id: Option<i64>,
    /// Its name: the host's, by custom. Two sites may each have one of the same name.
    pub name: String,
    /// The name of its type, for example `Server`.
    pub type_name: Option<String>,
    /// Free text about its hardware.
    pub specs: Option<String>,
    /// Free text about its place.
    pub location: Option<String>,
    /// `ACTIVE`, `MAINTENANCE` or `UNAVAILABLE`. Only in the nested form.
    pub status: Option<String>,
    /// The id of its site.
    pub site_id: Option<String>,
    /// The name of its site. Only in the flat form.
    pub site_name: Option<String>,
    /// When it was added. Only in the nested form.
    pub created_at: Option<Timestamp>,
    /// When it was last changed. Only in the nested form.
    pub updated_at: Option<Timestamp>,
}

/// What the test button sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestEvent {
    /// A text for people.
    pub message: Option<String>,
    /// When the button was pressed: tells two presses apart.
    pub timestamp: Option<Timestamp>,
}

/// Why a verified body can't be read. Names the field, never its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON, or not UTF-8, or cut off.
    #[error("the body is not JSON")]
    NotJson,
    /// Nested deeper than is ever read (128 levels).
    #[error("the body is nested too deep")]
    TooDeep,
    /// JSON, but a list, a text, a number, …
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// The batch form that event processors sent before version 0.1.17.
    #[error("the body is a legacy batch (`events`): update the event processor to 0.1.17 or newer")]
    Batch,
    /// The back end could not serialise the booking, and its id is lost. Look it up in the reservation system.
    #[error("`data` is a text instead of a booking: the sender failed to serialise it")]
    Degraded,
    /// Reading or storing it panicked: a bug of ours, and the sender's word all the same.
    #[error("handling it panicked, which is a bug of Bellhop")]
    Panicked,
    /// A required field.
    #[error("`{field}` {problem}")]
    Field {
        /// Its path in the body.
        field: &'static str,
        /// What is wrong with it.
        problem: Problem,
    },
}

impl Unreadable {
    /// The field that is wrong, where it is one field.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Field { field, .. } => Some(field),
            Self::Degraded => Some("data"),
            Self::Batch => Some("events"),
            Self::NotJson | Self::TooDeep | Self::NotAnObject | Self::Panicked => None,
        }
    }

    /// Whether its sender is not at fault: it is a form that real senders are known to use, or we are at fault.
    pub fn is_known_form(&self) -> bool {
        matches!(self, Self::Batch | Self::Degraded | Self::Panicked)
    }

    /// A short name of the reason, from a small fixed set: for metrics and dead letters.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::TooDeep => "too_deep",
            Self::NotAnObject => "not_an_object",
            Self::Batch => "batch",
            Self::Degraded => "degraded",
            Self::Panicked => "panicked",
            Self::Field {
                problem: Problem::Missing,
                ..
            } => "field_missing",
            Self::Field { .. } => "field_wrong",
        }
    }
}

/// What is wrong with a required field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not there, or null.
    #[error("is missing")]
    Missing,
    /// There, but of another JSON type.
    #[error("must be {expected}")]
    WrongType {
        /// What it must be.
        expected: &'static str,
    },
    /// A text, but not a time of RFC 3339 with an offset and at most nine digits of fraction.
    #[error("is not a time like 2026-12-03T08:00:00Z")]
    BadTime,
    /// A blank text.
    #[error("is empty")]
    Empty,
    /// Longer than any real one.
    #[error("is too long")]
    TooLong,
    /// Holds characters that no real one has.
    #[error("has characters that are not allowed")]
    NotAllowed,
}
