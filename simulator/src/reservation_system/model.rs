//! What the reservation system keeps: webhooks, users, resources, bookings.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The kinds of event, by the names on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the names say it")]
pub enum EventType {
    EventCreated,
    EventUpdated,
    EventDeleted,
    EventStart,
    EventEnd,
    ResourceCreated,
    ResourceUpdated,
    ResourceStatusChanged,
    ResourceDeleted,
    All,
}

impl EventType {
    /// The type of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::from(name)).ok()
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
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
        }
    }
}

/// One configured webhook: where events go, and the secret that signs both ways.
#[derive(Clone, Deserialize)]
pub struct Webhook {
    /// Its number.
    pub id: u64,
    /// Signs what is sent and checks what is received. Without one nothing is signed, and no callback is accepted.
    pub secret: Option<String>,
    /// Where it is posted to.
    pub url: String,
    /// A disabled one is not called, and its callbacks are refused.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// What it wants to hear of; `ALL` is everything.
    #[serde(default = "everything")]
    pub event_type: EventType,
    /// Its site. The back end sends it only events of that site; the event processor, as in reality, of all sites.
    #[serde(default)]
    pub site_id: Option<String>,
}

fn enabled() -> bool {
    true
}

fn everything() -> EventType {
    EventType::All
}

impl Webhook {
    /// An enabled webhook for events of every type.
    pub fn new(id: u64, secret: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            id,
            secret: Some(secret.into()),
            url: url.into(),
            enabled: true,
            event_type: EventType::All,
            site_id: None,
        }
    }

    /// Hears of one type only.
    #[must_use]
    pub fn event_type(mut self, event_type: EventType) -> Self {
        self.event_type = event_type;
        self
    }

    /// Belongs to a site.
    #[must_use]
    pub fn site(mut self, site_id: impl Into<String>) -> Self {
        self.site_id = Some(site_id.into());
        self
    }

    /// Is switched off.
    #[must_use]
    pub fn disabled(mut self) -> Self {
        self.enabled = false;
        self
    }

    pub(super) fn wants(&self, event_type: EventType) -> bool {
        self.enabled && (self.event_type == EventType::All || self.event_type == event_type)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Webhook({} to {}, enabled: {})",
            self.id, self.url, self.enabled
        )
    }
}

/// One user, as Keycloak knows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    /// The id that bookings carry and notifications name.
    pub id: String,
    /// The login name.
    pub username: String,
    /// May be missing.
    #[serde(default)]
    pub email: Option<String>,
    /// One line; may be missing.
    #[serde(default)]
    pub ssh_public_key: Option<String>,
}

impl User {
    /// A user with no e-mail address and no key.
    pub fn new(id: impl Into<String>, username: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            username: username.into(),
            email: None,
            ssh_public_key: None,
        }
    }

    /// Has an address.
    #[must_use]
    pub fn email(mut self, email: impl Into<String>) -> Self {
        self.email = Some(email.into());
        self
    }

    /// Has a key.
    #[must_use]
    pub fn ssh_public_key(mut self, key: impl Into<String>) -> Self {
        self.ssh_public_key = Some(key.into());
        self
    }
}

/// Something to book.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Resource {
    /// Its number.
    pub id: i64,
    /// Its name; a server's is its host's.
    pub name: String,
    /// The number of its type.
    pub type_id: i64,
    /// The name of its type.
    pub type_name: String,
    /// Free text.
    pub specs: String,
    /// Free text.
    pub location: String,
    /// The id of its site.
    pub site_id: String,
    /// The name of its site; missing where Keycloak can't be asked.
    pub site_name: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Resource {
    /// A server of site `site-1`.
    pub fn server(id: i64, name: impl Into<String>) -> Self {
        let added = Timestamp::from_second(1_772_355_600).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            id,
            name: name.into(),
            type_id: 3,
            type_name: "Server".into(),
            specs: "2x32 cores, 512 GB".into(),
            location: "Lab 7, rack B".into(),
            site_id: "site-1".into(),
            site_name: Some("Lab Seven".into()),
            created_at: added,
            updated_at: added,
        }
    }

    /// Is of another type.
    #[must_use]
    pub fn type_name(mut self, type_name: impl Into<String>) -> Self {
        self.type_name = type_name.into();
        self
    }

    /// Belongs to another site.
    #[must_use]
    pub fn site(mut self, id: impl Into<String>, name: impl Into<String>) -> Self {
        self.site_id = id.into();
        self.site_name = Some(name.into());
        self
    }
}

/// One user's booking of one resource.
#[derive(Debug, Clone, Serialize)]
pub struct Booking {
    /// Its number; a string on the wire where the event processor sends it.
    pub id: i64,
    /// What the user called it.
    pub title: String,
    /// What the user wrote about it.
    pub description: Option<String>,
    /// Whose it is.
    pub user_id: String,
    /// What is booked.
    pub resource_id: i64,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// JSON as text.
    pub custom_parameters: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When `EVENT_START` was sent. Never reset, also when the start moves.
    pub start_notified_at: Option<Timestamp>,
    /// Whether the scheduler sent `EVENT_END`. The real one forgets; here it is known, so that it is sent once.
    #[serde(skip)]
    pub(super) end_sent: bool,
}

/// What a user asks for.
#[derive(Debug, Clone)]
pub struct NewBooking {
    pub(super) title: String,
    pub(super) description: Option<String>,
    pub(super) user_id: String,
    pub(super) resource_name: String,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) custom_parameters: Option<String>,
}

impl NewBooking {
    /// A booking of a resource by its name. The user need not be known: then only the id is sent.
    pub fn new(
        user_id: impl Into<String>,
        resource_name: impl Into<String>,
        start: Timestamp,
        end: Timestamp,
    ) -> Self {
        Self {
            title: "Booking".into(),
            description: None,
            user_id: user_id.into(),
            resource_name: resource_name.into(),
            start,
            end,
            custom_parameters: None,
        }
    }

    /// Has a title of its own.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Is described.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Carries parameters: JSON as text.
    #[must_use]
    pub fn custom_parameters(mut self, json: impl Into<String>) -> Self {
        self.custom_parameters = Some(json.into());
        self
    }
}

/// What a user changes; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct BookingChange {
    /// Another title.
    pub title: Option<String>,
    /// Another start.
    pub start: Option<Timestamp>,
    /// Another end.
    pub end: Option<Timestamp>,
    /// Another resource, by its name.
    pub resource_name: Option<String>,
    /// Other parameters.
    pub custom_parameters: Option<String>,
    /// Another user, by their id.
    pub user_id: Option<String>,
}

impl BookingChange {
    /// Moves the end.
    pub fn end(end: Timestamp) -> Self {
        Self {
            end: Some(end),
            ..Self::default()
        }
    }

    /// Moves it to another resource.
    pub fn resource(name: impl Into<String>) -> Self {
        Self {
            resource_name: Some(name.into()),
            ..Self::default()
        }
    }
}
