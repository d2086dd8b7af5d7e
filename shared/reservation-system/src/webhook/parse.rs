//! From bytes to a [`Webhook`].

use serde_json::{Map, Value};

use super::fields::{Fields, Required};
use super::{Booking, Content, EventType, Resource, TestEvent, Unreadable, Webhook};
use crate::ids::WebhookId;

const WEBHOOK_ID: Required = Required::top("webhookId");
const EVENT_TYPE: Required = Required::top("eventType");
const DATA: Required = Required::top("data");

/// What the back end puts in the place of `data` when it can't serialise it.
const DEGRADED: &str = "Payload serialization failed";

pub(super) fn webhook(body: &[u8]) -> Result<Webhook, Unreadable> {
    let object = object_of(body)?;
    let fields = Fields(&object);
    if fields.get("events").is_some() {
        return Err(Unreadable::Batch);
    }
    let event_type = EventType::parse(fields.require_text(EVENT_TYPE)?);
    if is_degraded(fields, &event_type) {
        return Err(Unreadable::Degraded);
    }
    let webhook_id = fields.require_webhook_id(WEBHOOK_ID)?;
    let content = content(fields, &event_type)?;
    Ok(Webhook {
        event_type,
        webhook_id,
        timestamp: fields.time("timestamp"),
        content,
    })
}

/// The webhook id in a verified body, even where [`Webhook::parse`] can't read the rest: whether the sender may speak
/// for it matters for a dead letter too.
pub fn claimed_webhook_id(body: &[u8]) -> Option<WebhookId> {
    let object = object_of(body).ok()?;
    Fields(&object).require_webhook_id(WEBHOOK_ID).ok()
}

fn object_of(body: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Unreadable::NotAnObject),
        // The parser has no code for it; its text is the only way to know.
        Err(error) if error.to_string().starts_with("recursion limit exceeded") => {
            Err(Unreadable::TooDeep)
        }
        Err(_) => Err(Unreadable::NotJson),
    }
}

fn is_degraded(fields: Fields<'_>, event_type: &EventType) -> bool {
    let Some(Value::String(text)) = fields.get("data") else {
        return false;
    };
    event_type.is_known() || text.starts_with(DEGRADED)
}

fn content(fields: Fields<'_>, event_type: &EventType) -> Result<Content, Unreadable> {
    use EventType as E;
    match event_type {
        E::EventStart | E::EventEnd if fields.get("data").is_none() => flat_booking(fields),
        // Only the back end sends these; should the event processor begin to, its form is flat.
        E::EventCreated | E::EventUpdated | E::EventDeleted if fields.get("eventId").is_some() => {
            flat_booking(fields)
        }
        E::EventCreated | E::EventUpdated | E::EventDeleted | E::EventStart | E::EventEnd => {
            nested_booking(fields.require_object(DATA)?)
        }
        E::ResourceCreated | E::ResourceUpdated | E::ResourceStatusChanged | E::ResourceDeleted => {
            let data = fields.require_object(DATA)?;
            let name = data.require_text(Required {
                key: "name",
                path: "data.name",
            })?;
            Ok(Content::Resource(Box::new(nested_resource(data, name))))
        }
        E::All => Ok(Content::Test(test_event(fields))),
        E::Other(_) => Ok(Content::Other),
    }
}

fn flat_booking(fields: Fields<'_>) -> Result<Content, Unreadable> {
    let event_id = fields.require_event_id(Required::top("eventId"))?;
    let resource = Resource {
        id: fields.whole_number("resourceId"),
        name: fields
            .require_text(Required::top("resourceName"))?
            .to_owned(),
        type_name: Some(
            fields
                .require_text(Required::top("resourceType"))?
                .to_owned(),
        ),
        specs: fields.text("resourceSpecs"),
        location: fields.text("resourceLocation"),
        status: None,
        site_id: fields.site("siteId"),
        site_name: fields.text("siteName"),
        created_at: None,
        updated_at: None,
    };
    Ok(Content::Booking(Box::new(Booking {
        event_id,
        title: fields.text("eventTitle"),
        description: fields.text("eventDescription"),
        start: fields.require_time(Required::top("eventStart"))?,
        end: fields.require_time(Required::top("eventEnd"))?,
        resource,
        user_id: fields.text("userId"),
        username: fields.private("username"),
        email: fields.private("email"),
        ssh_public_key: fields.private("sshPublicKey"),
        custom_parameters: fields.json_text("customParameters"),
        created_at: None,
        updated_at: None,
        start_notified_at: None,
        end_notified_at: None,
    })))
}

fn nested_booking(data: Fields<'_>) -> Result<Content, Unreadable> {
    let event_id = data.require_event_id(Required {
        key: "id",
        path: "data.id",
    })?;
    let resource = data.require_object(Required {
        key: "resource",
        path: "data.resource",
    })?;
    let name = resource.require_text(Required {
        key: "name",
        path: "data.resource.name",
    })?;
    Ok(Content::Booking(Box::new(Booking {
        event_id,
        title: data.text("title"),
        description: data.text("description"),
        start: data.require_time(Required {
            key: "start",
            path: "data.start",
        })?,
        end: data.require_time(Required {
            key: "end",
            path: "data.end",
        })?,
        resource: nested_resource(resource, name),
        user_id: data.text("keycloakId"),
        username: None,
        email: None,
        ssh_public_key: None,
        custom_parameters: data.json_text("customParameters"),
        created_at: data.time("createdAt"),
        updated_at: data.time("updatedAt"),
        start_notified_at: data.time("startNotifiedAt"),
        end_notified_at: data.time("endNotifiedAt"),
    })))
}

fn nested_resource(fields: Fields<'_>, name: &str) -> Resource {
    Resource {
        id: fields.whole_number("id"),
        name: name.to_owned(),
        type_name: fields
            .object("type")
            .and_then(|resource_type| resource_type.text("name")),
        specs: fields.text("specs"),
        location: fields.text("location"),
        status: fields.text("status"),
        site_id: fields.site("siteId"),
        site_name: None,
        created_at: fields.time("createdAt"),
        updated_at: fields.time("updatedAt"),
    }
}

fn test_event(fields: Fields<'_>) -> TestEvent {
    fields
        .object("data")
        .map_or_else(TestEvent::default, |data| TestEvent {
            message: data.text("message"),
            timestamp: data.time("timestamp"),
        })
}
