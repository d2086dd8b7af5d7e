//! The twelve signed example payloads, whose signatures were checked against the real sender's own code.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;

use bellhop_reservation_system::{
    Booking, Content, EventType, Notification, NotificationType, Signature, Unreadable, Webhook,
    WebhookId, WebhookLog, WebhookSecret, claimed_webhook_id, message_id, sign,
};

struct Vector {
    file: String,
    secret: WebhookSecret,
    header: String,
    body: Vec<u8>,
}

impl Vector {
    fn verifies(&self, header: &[u8], body: &[u8]) -> bool {
        Signature::parse(header).is_ok_and(|signature| self.secret.verifies(&signature, body))
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn vectors() -> Vec<Vector> {
    let table = std::fs::read_to_string(folder().join("vectors.tsv")).unwrap();
    let vectors: Vec<Vector> = table
        .lines()
        .skip(1)
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            Vector {
                file: columns[0].to_owned(),
                secret: WebhookSecret::new(columns[1]).unwrap(),
                header: columns[2].to_owned(),
                body: std::fs::read(folder().join(columns[0])).unwrap(),
            }
        })
        .collect();
    assert_eq!(vectors.len(), 12);
    vectors
}

fn body(file: &str) -> Vec<u8> {
    std::fs::read(folder().join(file)).unwrap()
}

fn booking_in(file: &str, event_type: &EventType) -> Booking {
    let webhook = Webhook::parse(&body(file)).unwrap();
    assert_eq!(&webhook.event_type, event_type);
    assert_eq!(webhook.webhook_id, WebhookId::from(12));
    assert!(webhook.timestamp.is_some());
    webhook.booking().unwrap().clone()
}

#[test]
fn every_signature_verifies_and_is_what_we_would_sign() {
    for vector in vectors() {
        assert!(
            vector.verifies(vector.header.as_bytes(), &vector.body),
            "{}",
            vector.file
        );
        assert_eq!(
            sign(&vector.secret, &vector.body),
            vector.header,
            "{}",
            vector.file
        );
    }
}

#[test]
fn no_signature_verifies_with_any_bit_of_the_header_changed() {
    for vector in vectors() {
        for bit in 0..vector.header.len() * 8 {
            let mut header = vector.header.clone().into_bytes();
            header[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !vector.verifies(&header, &vector.body),
                "{} bit {bit}",
                vector.file
            );
        }
    }
}

#[test]
fn no_signature_verifies_with_any_bit_of_the_body_changed() {
    for vector in vectors() {
        for bit in 0..vector.body.len() * 8 {
            let mut body = vector.body.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !vector.verifies(vector.header.as_bytes(), &body),
                "{} bit {bit}",
                vector.file
            );
        }
        assert!(
            !vector.verifies(vector.header.as_bytes(), &vector.body[1..]),
            "{}",
            vector.file
        );
    }
}

#[test]
fn a_start_is_read_whole() {
    let booking = booking_in("01-event-start.json", &EventType::EventStart);
    assert_eq!(booking.event_id.as_str(), "5120");
    assert_eq!(booking.title.as_deref(), Some("RDMA benchmark"));
    assert_eq!(booking.description.as_deref(), Some("two-node run"));
    assert_eq!(booking.start.to_string(), "2026-12-03T08:00:00Z");
    assert_eq!(booking.end.to_string(), "2026-12-03T17:30:00Z");
    assert_eq!(
        booking.user_id.as_deref(),
        Some("9f0c2f6e-5a51-4c0e-9d7a-2f3b1c4d5e6f")
    );
    assert_eq!(booking.username.unwrap().expose(), "mara.conti");
    assert_eq!(booking.email.unwrap().expose(), "mara.conti@uni.example");
    assert!(
        booking
            .ssh_public_key
            .unwrap()
            .expose()
            .starts_with("ssh-ed25519 AAAA")
    );
    assert_eq!(
        booking.custom_parameters.as_deref(),
        Some("{\"os\":\"noble\"}")
    );
    assert_eq!(booking.resource.id, Some(31));
    assert_eq!(booking.resource.name, "lab7-node04");
    assert_eq!(booking.resource.type_name.as_deref(), Some("Server"));
    assert_eq!(
        booking.resource.specs.as_deref(),
        Some("2x32 cores, 512 GB, 198.51.100.34")
    );
    assert_eq!(booking.resource.location.as_deref(), Some("Lab 7, rack B"));
    assert_eq!(
        booking.resource.site_id.as_deref(),
        Some("c7a1d9b2-0001-4aaa-8bbb-0123456789ab")
    );
    assert_eq!(booking.resource.site_name.as_deref(), Some("Lab Seven"));
}

#[test]
fn a_start_without_anything_optional_is_read() {
    let booking = booking_in("02-event-start-minimal.json", &EventType::EventStart);
    assert!(
        booking.username.is_none() && booking.email.is_none() && booking.ssh_public_key.is_none()
    );
    assert!(booking.custom_parameters.is_none() && booking.resource.site_name.is_none());
}

#[test]
fn an_end_is_read() {
    let booking = booking_in("03-event-end.json", &EventType::EventEnd);
    assert_eq!(booking.event_id.as_str(), "5120");
}

#[test]
fn a_deletion_is_read() {
    let booking = booking_in("04-event-deleted.json", &EventType::EventDeleted);
    assert_eq!(booking.event_id.as_str(), "5120");
    assert_eq!(booking.resource.type_name.as_deref(), Some("Server"));
    assert_eq!(booking.resource.status.as_deref(), Some("ACTIVE"));
    assert_eq!(
        booking.user_id.as_deref(),
        Some("9f0c2f6e-5a51-4c0e-9d7a-2f3b1c4d5e6f")
    );
    assert_eq!(
        booking.updated_at.unwrap().to_string(),
        "2026-12-03T07:55:20.118402Z"
    );
    assert_eq!(booking.start_notified_at, booking.updated_at);
    assert!(booking.ssh_public_key.is_none());
}

#[test]
fn an_update_is_read() {
    let booking = booking_in("05-event-updated.json", &EventType::EventUpdated);
    assert_eq!(
        booking.custom_parameters.as_deref(),
        Some("{\"os\":\"noble\"}")
    );
    assert_eq!(
        booking.created_at.unwrap().to_string(),
        "2026-11-30T14:02:11.25Z"
    );
    assert!(booking.start_notified_at.is_none());
}

#[test]
fn the_test_button_is_read() {
    let webhook = Webhook::parse(&body("06-test-ALL.json")).unwrap();
    assert_eq!(webhook.event_type, EventType::All);
    let Content::Test(test) = webhook.content else {
        panic!("not a test event")
    };
    assert_eq!(test.message.as_deref(), Some("This is a test event"));
    assert_eq!(
        test.timestamp.unwrap().to_string(),
        "2026-12-01T09:00:00.000000099Z"
    );
}

#[test]
fn the_batch_and_the_degraded_form_are_known_but_not_readable() {
    for (file, unreadable) in [
        ("07-batch-event-start-legacy.json", Unreadable::Batch),
        ("08-data-degraded.json", Unreadable::Degraded),
    ] {
        let body = body(file);
        let webhook = Webhook::parse(&body);
        assert_eq!(webhook, Err(unreadable));
        assert!(unreadable.is_known_form());
        assert_eq!(claimed_webhook_id(&body), Some(WebhookId::from(12)));
        assert!(
            message_id("reservation-system", &webhook, &body)
                .starts_with("reservation-system.unreadable.")
        );
    }
}

#[test]
fn a_change_of_a_resource_is_read() {
    let webhook = Webhook::parse(&body("09-resource-updated.json")).unwrap();
    assert_eq!(webhook.event_type, EventType::ResourceUpdated);
    let resource = webhook.resource().unwrap();
    assert_eq!(
        (resource.id, resource.name.as_str()),
        (Some(31), "lab7-node04")
    );
}

#[test]
fn text_in_any_script_is_read() {
    let booking = booking_in("12-unicode.json", &EventType::EventStart);
    assert_eq!(booking.title.as_deref(), Some("Perché no – 测试"));
}

#[test]
fn a_notification_has_the_receivers_bytes() {
    let notification = Notification::new(
        WebhookId::from(12),
        "9f0c2f6e-5a51-4c0e-9d7a-2f3b1c4d5e6f",
        NotificationType::Success,
        "Server lab7-node04 is ready.",
    )
    .unwrap()
    .event_id("5120")
    .resource_id("lab7-node04")
    .event_type("PROVISIONING_COMPLETED")
    .metadata("resourceType", "BareMetalHost")
    .metadata("resourceName", "lab7-node04")
    .metadata("namespace", "metal3");
    let text = String::from_utf8(notification.to_body()).unwrap();
    assert_eq!(
        text,
        String::from_utf8(body("10-callback-notification.json")).unwrap()
    );
}

#[test]
fn a_webhook_log_has_the_receivers_bytes() {
    let log = WebhookLog::new(
        WebhookId::from(12),
        &EventType::EventStart,
        r#"{"eventId":"5120","resourceName":"lab7-node04"}"#,
        true,
    )
    .unwrap()
    .status_code(200)
    .response("provisioned in 742 s")
    .retry_count(0)
    .resource_id(31)
    .metadata("eventId", "5120");
    let text = String::from_utf8(log.to_body()).unwrap();
    assert_eq!(
        text,
        String::from_utf8(body("11-callback-webhook-log.json")).unwrap()
    );
}

#[test]
fn a_booking_is_printed_without_name_address_and_key() {
    let printed = format!(
        "{:?}",
        Webhook::parse(&body("01-event-start.json")).unwrap()
    );
    assert!(printed.contains("5120"));
    for private in ["mara", "uni.example", "ssh-ed25519", "AAAAC3"] {
        assert!(!printed.contains(private), "{printed}");
    }
}
