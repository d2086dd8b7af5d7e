//! The bodies that the real senders make, field by field in their order, without white space.
//!
//! Two programs send. The event processor's form is flat, with the webhook id as a number and the event id as a
//! string; the back end's is nested, with both the other way round. What is null is left out.

use jiff::Timestamp;
use serde::Serialize;

use super::model::{Booking, EventType, Resource, User, Webhook};

/// What the back end sends in the place of a booking that it could not serialise.
const DEGRADED: &str = "Payload serialization failed due to detached entity.";

/// `EVENT_START` and `EVENT_END`.
pub(super) fn flat(
    event_type: EventType,
    webhook: &Webhook,
    booking: &Booking,
    resource: &Resource,
    user: Option<&User>,
    now: Timestamp,
) -> Vec<u8> {
    bytes_of(&Flat {
        event_type,
        timestamp: now,
        event_id: booking.id.to_string(),
        webhook_id: webhook.id,
        user_id: &booking.user_id,
        username: user.map(|user| user.username.as_str()),
        email: user.and_then(|user| user.email.as_deref()),
        ssh_public_key: user.and_then(|user| user.ssh_public_key.as_deref()),
        event_title: &booking.title,
        event_description: booking.description.as_deref(),
        event_start: booking.start,
        event_end: booking.end,
        custom_parameters: booking.custom_parameters.as_deref(),
        resource_id: resource.id,
        resource_name: &resource.name,
        resource_type: &resource.type_name,
        resource_specs: &resource.specs,
        resource_location: &resource.location,
        site_id: &resource.site_id,
        site_name: resource.site_name.as_deref(),
    })
}

/// `EVENT_CREATED`, `EVENT_UPDATED` and `EVENT_DELETED`. A deletion is made from a copy that drops some fields.
pub(super) fn nested_booking(
    event_type: EventType,
    webhook: &Webhook,
    booking: &Booking,
    resource: &Resource,
    now: Timestamp,
) -> Vec<u8> {
    let whole = event_type != EventType::EventDeleted;
    let data = BookingRow {
        created_at: booking.created_at,
        updated_at: booking.updated_at,
        id: booking.id,
        title: &booking.title,
        description: booking.description.as_deref(),
        start: booking.start,
        end: booking.end,
        resource: ResourceRow::of(resource, whole),
        keycloak_id: &booking.user_id,
        custom_parameters: booking.custom_parameters.as_deref().filter(|_| whole),
        start_notified_at: booking.start_notified_at,
    };
    nested(event_type, webhook, now, data)
}

/// `RESOURCE_…`.
pub(super) fn nested_resource(
    event_type: EventType,
    webhook: &Webhook,
    resource: &Resource,
    now: Timestamp,
) -> Vec<u8> {
    nested(event_type, webhook, now, ResourceRow::of(resource, true))
}

/// The test button. `pressed` is a moment before `now`, when it is sent.
pub(super) fn test(webhook: &Webhook, pressed: Timestamp, now: Timestamp) -> Vec<u8> {
    let data = Test {
        message: "This is a test event",
        timestamp: pressed,
        webhook_id: webhook.id,
    };
    nested(EventType::All, webhook, now, data)
}

/// A booking that could not be serialised: its id is lost.
pub(super) fn degraded(event_type: EventType, webhook: &Webhook, now: Timestamp) -> Vec<u8> {
    nested(
        event_type,
        webhook,
        now,
        format!("{DEGRADED} Event type: {}", event_type.name()),
    )
}

/// The form of event processors 0.1.12 to 0.1.16: all bookings of one user in one body.
pub(super) fn batch(
    event_type: EventType,
    webhook: &Webhook,
    bookings: &[(&Booking, &Resource)],
    user_id: &str,
    user: Option<&User>,
    now: Timestamp,
) -> Vec<u8> {
    bytes_of(&Batch {
        webhook_id: webhook.id.to_string(),
        event_type,
        timestamp: now,
        event_count: bookings.len(),
        user_id,
        username: user.map(|user| user.username.as_str()),
        email: user.and_then(|user| user.email.as_deref()),
        ssh_public_key: user.and_then(|user| user.ssh_public_key.as_deref()),
        events: bookings
            .iter()
            .map(|(booking, resource)| BatchEvent::of(booking, resource))
            .collect(),
        active_resources: Vec::new(),
    })
}

fn nested(
    event_type: EventType,
    webhook: &Webhook,
    now: Timestamp,
    data: impl Serialize,
) -> Vec<u8> {
    bytes_of(&Nested {
        event_type,
        timestamp: now,
        webhook_id: webhook.id.to_string(),
        data,
    })
}

fn bytes_of(payload: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(payload).expect("text, numbers and times always become JSON")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Flat<'a> {
    event_type: EventType,
    timestamp: Timestamp,
    event_id: String,
    webhook_id: u64,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_public_key: Option<&'a str>,
    event_title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_description: Option<&'a str>,
    event_start: Timestamp,
    event_end: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_parameters: Option<&'a str>,
    resource_id: i64,
    resource_name: &'a str,
    resource_type: &'a str,
    resource_specs: &'a str,
    resource_location: &'a str,
    site_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    site_name: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Nested<T> {
    event_type: EventType,
    timestamp: Timestamp,
    webhook_id: String,
    data: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    message: &'static str,
    timestamp: Timestamp,
    webhook_id: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BookingRow<'a> {
    created_at: Timestamp,
    updated_at: Timestamp,
    id: i64,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    start: Timestamp,
    end: Timestamp,
    resource: ResourceRow<'a>,
    keycloak_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_parameters: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_notified_at: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceRow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
    id: i64,
    name: &'a str,
    specs: &'a str,
    location: &'a str,
    status: &'static str,
    r#type: TypeRow<'a>,
    site_id: &'a str,
}

impl<'a> ResourceRow<'a> {
    fn of(resource: &'a Resource, whole: bool) -> Self {
        let (created_at, updated_at) = (Some(resource.created_at), Some(resource.updated_at));
        Self {
            created_at: created_at.filter(|_| whole),
            updated_at: updated_at.filter(|_| whole),
            id: resource.id,
            name: &resource.name,
            specs: &resource.specs,
            location: &resource.location,
            status: "ACTIVE",
            r#type: TypeRow {
                created_at: created_at.filter(|_| whole),
                updated_at: created_at.filter(|_| whole),
                id: resource.type_id,
                name: &resource.type_name,
                color: "#22aa66",
                site_id: &resource.site_id,
                custom_parameters: whole.then_some("[]"),
            },
            site_id: &resource.site_id,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TypeRow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
    id: i64,
    name: &'a str,
    color: &'static str,
    site_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_parameters: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'a> {
    webhook_id: String,
    event_type: EventType,
    timestamp: Timestamp,
    event_count: usize,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_public_key: Option<&'a str>,
    events: Vec<BatchEvent<'a>>,
    active_resources: Vec<BatchEvent<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchEvent<'a> {
    event_id: String,
    event_title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_description: Option<&'a str>,
    event_start: Timestamp,
    event_end: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_parameters: Option<&'a str>,
    resource_id: i64,
    resource_name: &'a str,
    resource_type: &'a str,
    resource_specs: &'a str,
    resource_location: &'a str,
    site_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    site_name: Option<&'a str>,
}

impl<'a> BatchEvent<'a> {
    fn of(booking: &'a Booking, resource: &'a Resource) -> Self {
        Self {
            event_id: booking.id.to_string(),
            event_title: &booking.title,
            event_description: booking.description.as_deref(),
            event_start: booking.start,
            event_end: booking.end,
            custom_parameters: booking.custom_parameters.as_deref(),
            resource_id: resource.id,
            resource_name: &resource.name,
            resource_type: &resource.type_name,
            resource_specs: &resource.specs,
            resource_location: &resource.location,
            site_id: &resource.site_id,
            site_name: resource.site_name.as_deref(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    /// The example payloads whose field order was taken from the real senders.
    fn vector(file: &str) -> String {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../shared/reservation-system/tests/vectors/"
        );
        std::fs::read_to_string(format!("{folder}{file}")).unwrap()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn webhook() -> Webhook {
        Webhook::new(12, "secret", "http://localhost")
    }

    fn user() -> User {
        User::new("9f0c2f6e-5a51-4c0e-9d7a-2f3b1c4d5e6f", "mara.conti")
            .email("mara.conti@uni.example")
            .ssh_public_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBm5b1pQwq0o3kqJxkYV9r9hT6hF1m2c3d4e5f6g7h8i mara@lab7")
    }

    fn resource(id: i64, name: &str) -> Resource {
        let mut resource =
            Resource::server(id, name).site("c7a1d9b2-0001-4aaa-8bbb-0123456789ab", "Lab Seven");
        resource.specs = "2x32 cores, 512 GB, 198.51.100.34".into();
        resource
    }

    fn booking(id: i64) -> Booking {
        Booking {
            id,
            title: "RDMA benchmark".into(),
            description: Some("two-node run".into()),
            user_id: user().id,
            resource_id: 31,
            start: time("2026-12-03T08:00:00Z"),
            end: time("2026-12-03T17:30:00Z"),
            custom_parameters: Some("{\"os\":\"noble\"}".into()),
            created_at: time("2026-11-30T14:02:11.25Z"),
            updated_at: time("2026-12-03T07:55:20.118402Z"),
            start_notified_at: None,
            end_sent: false,
        }
    }

    fn assert_is_vector(body: Vec<u8>, file: &str) {
        assert_eq!(String::from_utf8(body).unwrap(), vector(file));
    }

    #[test]
    fn start_and_end_have_the_real_bytes() {
        let (webhook, user, booking, node) = (
            webhook(),
            user(),
            booking(5120),
            resource(31, "lab7-node04"),
        );
        let sent = time("2026-12-03T07:55:20.118402771Z");
        assert_is_vector(
            flat(
                EventType::EventStart,
                &webhook,
                &booking,
                &node,
                Some(&user),
                sent,
            ),
            "01-event-start.json",
        );
        let sent = time("2026-12-03T17:30:41.00917Z");
        assert_is_vector(
            flat(
                EventType::EventEnd,
                &webhook,
                &booking,
                &node,
                Some(&user),
                sent,
            ),
            "03-event-end.json",
        );
    }

    #[test]
    fn a_start_without_keycloak_has_the_real_bytes() {
        let (mut booking, mut node) = (booking(5120), resource(31, "lab7-node04"));
        booking.description = None;
        booking.custom_parameters = None;
        node.site_name = None;
        let body = flat(
            EventType::EventStart,
            &webhook(),
            &booking,
            &node,
            None,
            time("2026-12-03T07:55:20.1Z"),
        );
        assert_is_vector(body, "02-event-start-minimal.json");
    }

    #[test]
    fn update_and_deletion_have_the_real_bytes() {
        let (mut booking, node) = (booking(5120), resource(31, "lab7-node04"));
        let body = nested_booking(
            EventType::EventUpdated,
            &webhook(),
            &booking,
            &node,
            time("2026-12-02T10:00:00.5Z"),
        );
        assert_is_vector(body, "05-event-updated.json");
        booking.start_notified_at = Some(booking.updated_at);
        let sent = time("2026-12-03T11:12:13.141516171Z");
        let body = nested_booking(EventType::EventDeleted, &webhook(), &booking, &node, sent);
        assert_is_vector(body, "04-event-deleted.json");
    }

    #[test]
    fn the_other_forms_have_the_real_bytes() {
        let sent = time("2026-12-02T10:00:00.5Z");
        let (pressed, pressed_and_sent) = (
            "2026-12-01T09:00:00.000000099Z",
            "2026-12-01T09:00:00.000000123Z",
        );
        assert_is_vector(
            test(&webhook(), time(pressed), time(pressed_and_sent)),
            "06-test-ALL.json",
        );
        assert_is_vector(
            degraded(EventType::EventUpdated, &webhook(), sent),
            "08-data-degraded.json",
        );
        let node = resource(31, "lab7-node04");
        let body = nested_resource(EventType::ResourceUpdated, &webhook(), &node, sent);
        assert_is_vector(body, "09-resource-updated.json");
    }

    #[test]
    fn the_batch_has_the_real_bytes() {
        let (mut first, mut second) = (booking(5120), booking(5121));
        first.custom_parameters = None;
        second.custom_parameters = None;
        let (node04, node05) = (resource(31, "lab7-node04"), resource(32, "lab7-node05"));
        let body = batch(
            EventType::EventStart,
            &webhook(),
            &[(&first, &node04), (&second, &node05)],
            &user().id,
            Some(&user()),
            time("2026-12-03T07:55:20.118402771Z"),
        );
        assert_is_vector(body, "07-batch-event-start-legacy.json");
    }
}
