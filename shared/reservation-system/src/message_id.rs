//! The id under which the broker knows a delivery again.
//!
//! The real senders may send one event twice, with another `timestamp` and other bytes each time; and one booking
//! changes many times under the same id. So the id is made of *what is said*: source, webhook, type, event id, and a
//! hash over all that a change can change. What can't be read has nothing to compare: there it is the bytes.
//!
//! ```text
//!  reservation-system.12.EVENT_START.5120.0f3a…        32 hexadecimal digits
//!  reservation-system.unreadable.77c1…
//! ```

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::webhook::{Booking, Content, Resource, TestEvent, Unreadable, Webhook};

/// The longest part that is written out; a UUID fits. Longer ones are hashed.
const LITERAL_LIMIT: usize = 36;
/// Bytes of a hash that are kept: two different messages meet by chance once in 2^64 pairs.
const HASH_BYTES: usize = 16;

/// The message id of a delivery: at most 180 ASCII letters, digits, `.`, `-`, `_` and `=`, so that it is valid as a
/// header's value. It doesn't depend on the bytes or the `timestamp` of a body that can be read.
pub fn message_id(source: &str, webhook: &Result<Webhook, Unreadable>, body: &[u8]) -> String {
    let source = part(source);
    let Ok(webhook) = webhook else {
        return format!("{source}.unreadable.{}", Said::default().bytes(body).hash());
    };
    let (subject, said) = match &webhook.content {
        Content::Booking(booking) => (part(booking.event_id.as_str()), booking_said(booking)),
        Content::Resource(resource) => (part(&resource.name), resource_said(resource)),
        Content::Test(test) => ("test".to_owned(), test_said(test)),
        Content::Other => ("unknown".to_owned(), Said::default().bytes(body)),
    };
    let webhook_id = part(webhook.webhook_id.as_str());
    let event_type = part(webhook.event_type.as_str());
    format!(
        "{source}.{webhook_id}.{event_type}.{subject}.{}",
        said.hash()
    )
}

/// All that a change of a booking can change and that we act on. Its title is not.
fn booking_said(booking: &Booking) -> Said {
    let Booking {
        event_id,
        start,
        end,
        resource,
        user_id,
        ssh_public_key,
        custom_parameters,
        updated_at,
        ..
    } = booking;
    Said::default()
        .text(Some(event_id.as_str()))
        .number(resource.id)
        .text(Some(&resource.name))
        .text(resource.type_name.as_deref())
        .text(resource.site_id.as_deref())
        .time(Some(*start))
        .time(Some(*end))
        .text(user_id.as_deref())
        .text(custom_parameters.as_deref())
        .time(*updated_at)
        .number(Some(i64::from(ssh_public_key.is_some())))
}

fn resource_said(resource: &Resource) -> Said {
    Said::default()
        .number(resource.id)
        .text(Some(&resource.name))
        .text(resource.type_name.as_deref())
        .text(resource.site_id.as_deref())
        .text(resource.specs.as_deref())
        .text(resource.location.as_deref())
        .text(resource.status.as_deref())
        .time(resource.updated_at)
}

/// Each press of the test button is a message of its own: whoever presses twice wants to see two.
fn test_said(test: &TestEvent) -> Said {
    Said::default()
        .text(test.message.as_deref())
        .time(test.timestamp)
}

/// A part of the id: written out where it is short and plain, else hashed. `=` marks a hash, so that no plain part can
/// be mistaken for one.
fn part(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !text.is_empty() && text.len() <= LITERAL_LIMIT && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("={}", Said::default().bytes(text.as_bytes()).hash())
    }
}

/// A hash over a list of values, each with its length, so that no two lists run together.
#[derive(Default)]
struct Said(Sha256);

impl Said {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update([1]);
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn nothing(mut self) -> Self {
        self.0.update([0]);
        self
    }

    fn text(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.bytes(text.as_bytes()),
            None => self.nothing(),
        }
    }

    fn number(self, number: Option<i64>) -> Self {
        match number {
            Some(number) => self.bytes(&number.to_be_bytes()),
            None => self.nothing(),
        }
    }

    /// The moment itself, whatever offset and fraction it was written with.
    fn time(self, time: Option<Timestamp>) -> Self {
        match time {
            Some(time) => self.bytes(&time.as_nanosecond().to_be_bytes()),
            None => self.nothing(),
        }
    }

    fn hash(self) -> String {
        hex::encode(&self.0.finalize()[..HASH_BYTES])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn id_of(body: &Value) -> String {
        let body = body.to_string().into_bytes();
        message_id("reservation-system", &Webhook::parse(&body), &body)
    }

    fn start() -> Value {
        json!({
            "eventType": "EVENT_START", "timestamp": "2026-12-03T07:55:20Z", "eventId": "5120", "webhookId": 12,
            "userId": "u", "sshPublicKey": "k", "eventTitle": "t", "eventStart": "2026-12-03T08:00:00Z",
            "eventEnd": "2026-12-03T17:30:00Z", "customParameters": "{}", "resourceId": 31,
            "resourceName": "node04", "resourceType": "Server", "siteId": "s",
        })
    }

    fn changed(field: &str, value: Value) -> Value {
        let mut body = start();
        body[field] = value;
        body
    }

    #[test]
    fn it_can_be_read() {
        let id = id_of(&start());
        let (head, hash) = id.rsplit_once('.').unwrap();
        assert_eq!(head, "reservation-system.12.EVENT_START.5120");
        assert_eq!(hash.len(), 32);
    }

    #[test]
    fn the_same_event_sent_again_has_the_same_id_whatever_its_bytes_and_timestamp() {
        for again in [
            changed("timestamp", json!("2026-12-03T07:59:59Z")),
            changed("timestamp", Value::Null),
            changed("eventStart", json!("2026-12-03T09:00:00.000+01:00")),
            changed("eventTitle", json!("another")),
            changed("webhookId", json!("12")),
            changed("sshPublicKey", json!("another key")),
            changed("unknown", json!([1])),
        ] {
            assert_eq!(id_of(&again), id_of(&start()), "{again}");
        }
    }

    #[test]
    fn each_change_that_matters_makes_another_id() {
        let mut seen = std::collections::HashSet::from([id_of(&start())]);
        for other in [
            changed("eventType", json!("EVENT_END")),
            changed("eventId", json!("5121")),
            changed("webhookId", json!(13)),
            changed("userId", json!("v")),
            changed("sshPublicKey", Value::Null),
            changed("eventStart", json!("2026-12-03T08:00:01Z")),
            changed("eventEnd", json!("2026-12-03T17:30:01Z")),
            changed("customParameters", json!("{\"a\":1}")),
            changed("customParameters", Value::Null),
            changed("resourceId", json!(32)),
            changed("resourceName", json!("node05")),
            changed("resourceType", json!("Switch Port")),
            changed("siteId", json!("t")),
        ] {
            assert!(seen.insert(id_of(&other)), "{other}");
        }
    }

    #[test]
    fn an_update_is_told_from_the_next_one_by_its_time() {
        let update = |updated_at: &str| {
            json!({"eventType": "EVENT_UPDATED", "webhookId": "12", "data": {
                "updatedAt": updated_at, "id": 5120, "start": "2026-12-03T08:00:00Z", "end": "2026-12-03T17:30:00Z",
                "resource": {"name": "node04"},
            }})
        };
        assert_ne!(
            id_of(&update("2026-12-01T00:00:00Z")),
            id_of(&update("2026-12-01T00:00:01Z"))
        );
    }

    #[test]
    fn each_press_of_the_test_button_is_a_message_of_its_own() {
        let press = |sent: &str, pressed: &str| json!({"eventType": "ALL", "timestamp": sent, "webhookId": "12", "data": {"timestamp": pressed}});
        let (first, second) = ("2026-12-01T09:00:00Z", "2026-12-01T09:00:01Z");
        assert_ne!(id_of(&press(first, first)), id_of(&press(first, second)));
        assert_eq!(id_of(&press(first, first)), id_of(&press(second, first)));
    }

    #[test]
    fn what_can_not_be_read_is_known_by_its_bytes() {
        let id = |body: &[u8]| message_id("reservation-system", &Webhook::parse(body), body);
        assert!(id(b"not json").starts_with("reservation-system.unreadable."));
        assert_eq!(id(b"not json"), id(b"not json"));
        assert_ne!(id(b"not json"), id(b"not json "));
    }

    #[test]
    fn any_text_from_outside_makes_a_short_plain_id() {
        let wild = "ü.*> \r\n\"".repeat(20);
        let mut body = changed("eventId", json!(wild));
        for event_type in ["EVENT_START", "EVENT.START", &wild] {
            body["eventType"] = json!(event_type);
            body["webhookId"] = json!("x".repeat(64));
            let text = body.to_string().into_bytes();
            let id = message_id(&wild, &Webhook::parse(&text), &text);
            assert!(id.len() < 200, "{id}");
            assert!(
                id.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_=".contains(&byte)),
                "{id}"
            );
        }
    }
}
