//! What is accepted and what is refused, beyond the real senders' own examples.
#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_reservation_system::{
    Booking, Content, EventType, Problem, Unreadable, Webhook, WebhookId, claimed_webhook_id,
    message_id,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// No more than what is required.
fn flat() -> Value {
    json!({
        "eventType": "EVENT_START", "webhookId": 12, "eventId": "5120", "resourceName": "node04",
        "resourceType": "Server", "eventStart": "2026-12-03T08:00:00Z", "eventEnd": "2026-12-03T17:30:00Z",
    })
}

fn nested() -> Value {
    json!({"eventType": "EVENT_DELETED", "webhookId": "12", "data": {
        "id": 5120, "start": "2026-12-03T08:00:00Z", "end": "2026-12-03T17:30:00Z", "resource": {"name": "node04"},
    }})
}

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[key] = value;
    body
}

fn parse(body: &Value) -> Result<Webhook, Unreadable> {
    Webhook::parse(body.to_string().as_bytes())
}

fn booking(body: &Value) -> Booking {
    parse(body).unwrap().booking().unwrap().clone()
}

fn refused(body: &Value) -> (&'static str, Problem) {
    match parse(body) {
        Err(Unreadable::Field { field, problem }) => (field, problem),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_what_is_required_is_enough() {
    assert!(parse(&flat()).unwrap().timestamp.is_none());
    assert_eq!(booking(&nested()).resource.type_name, None);
    assert_eq!(booking(&flat()).event_id, booking(&nested()).event_id);
}

#[test]
fn each_required_field_is_missed_by_its_name() {
    for (pointer, field) in [
        ("/eventType", "eventType"),
        ("/webhookId", "webhookId"),
        ("/eventId", "eventId"),
        ("/resourceName", "resourceName"),
        ("/resourceType", "resourceType"),
        ("/eventStart", "eventStart"),
        ("/eventEnd", "eventEnd"),
    ] {
        assert_eq!(
            refused(&with(flat(), pointer, Value::Null)),
            (field, Problem::Missing)
        );
        assert!(
            matches!(refused(&with(flat(), pointer, json!(true))), (f, Problem::WrongType { .. }) if f == field)
        );
    }
    for (pointer, field) in [
        ("/data", "data"),
        ("/data/id", "data.id"),
        ("/data/start", "data.start"),
        ("/data/end", "data.end"),
        ("/data/resource", "data.resource"),
        ("/data/resource/name", "data.resource.name"),
    ] {
        assert_eq!(
            refused(&with(nested(), pointer, Value::Null)),
            (field, Problem::Missing)
        );
        assert!(
            matches!(refused(&with(nested(), pointer, json!([1]))), (f, Problem::WrongType { .. }) if f == field)
        );
    }
}

#[test]
fn an_optional_field_of_a_wrong_type_does_not_lose_the_event() {
    let mut body = flat();
    for field in [
        "timestamp",
        "userId",
        "username",
        "email",
        "sshPublicKey",
        "eventTitle",
        "eventDescription",
        "resourceId",
        "resourceSpecs",
        "resourceLocation",
        "siteId",
        "siteName",
        "customParameters",
    ] {
        body[field] = json!(false);
    }
    assert_eq!(parse(&body).unwrap(), parse(&flat()).unwrap());

    let mut body = nested();
    for field in [
        "createdAt",
        "updatedAt",
        "title",
        "keycloakId",
        "customParameters",
        "startNotifiedAt",
    ] {
        body["data"][field] = json!(1.5);
    }
    for field in ["id", "type", "siteId", "specs"] {
        body["data"]["resource"][field] = json!(false);
    }
    assert_eq!(parse(&body).unwrap(), parse(&nested()).unwrap());
}

#[test]
fn times_with_any_offset_and_up_to_nine_digits_are_read() {
    for (text, utc) in [
        ("2026-12-03T08:00:00Z", "2026-12-03T08:00:00Z"),
        ("2026-12-03T08:00:00.5Z", "2026-12-03T08:00:00.5Z"),
        (
            "2026-12-03T08:00:00.39187547Z",
            "2026-12-03T08:00:00.39187547Z",
        ),
        (
            "2026-12-03T08:00:00.738324163Z",
            "2026-12-03T08:00:00.738324163Z",
        ),
        ("2026-12-03T10:00:00+02:00", "2026-12-03T08:00:00Z"),
        ("2026-12-03T02:30:00.25-05:30", "2026-12-03T08:00:00.25Z"),
    ] {
        assert_eq!(
            booking(&with(flat(), "/eventStart", json!(text)))
                .start
                .to_string(),
            utc
        );
    }
}

#[test]
fn what_is_no_time_is_refused() {
    for text in [
        "",
        "soon",
        "2026-12-03",
        "2026-12-03T08:00:00",
        "2026-13-03T08:00:00Z",
        "2026-12-03T08:00:00.0123456789Z",
    ] {
        assert_eq!(
            refused(&with(flat(), "/eventEnd", json!(text))),
            ("eventEnd", Problem::BadTime),
            "{text}"
        );
    }
}

#[test]
fn ids_are_read_as_number_and_as_text() {
    assert_eq!(
        booking(&with(flat(), "/eventId", json!(5120)))
            .event_id
            .as_str(),
        "5120"
    );
    assert_eq!(
        booking(&with(flat(), "/eventId", json!("rés/1 a")))
            .event_id
            .as_str(),
        "rés/1 a"
    );
    assert_eq!(
        parse(&with(flat(), "/webhookId", json!("12")))
            .unwrap()
            .webhook_id,
        WebhookId::from(12)
    );
    assert_eq!(
        refused(&with(flat(), "/eventId", json!(" "))),
        ("eventId", Problem::Empty)
    );
    assert_eq!(
        refused(&with(flat(), "/eventId", json!("x".repeat(201)))),
        ("eventId", Problem::TooLong)
    );
    assert_eq!(
        refused(&with(flat(), "/webhookId", json!("1 2"))),
        ("webhookId", Problem::NotAllowed)
    );
    for number in [json!(-1), json!(1.5)] {
        assert!(matches!(
            refused(&with(flat(), "/webhookId", number)),
            ("webhookId", Problem::WrongType { .. })
        ));
    }
}

#[test]
fn names_that_no_real_one_has_are_refused() {
    assert_eq!(
        refused(&with(flat(), "/resourceName", json!("  "))),
        ("resourceName", Problem::Empty)
    );
    assert_eq!(
        refused(&with(flat(), "/resourceName", json!("x".repeat(256)))),
        ("resourceName", Problem::TooLong)
    );
}

#[test]
fn parameters_are_kept_as_text_in_both_forms() {
    let text = booking(&with(
        flat(),
        "/customParameters",
        json!("{\"os\":\"noble\"}"),
    ));
    let object = booking(&with(flat(), "/customParameters", json!({"os": "noble"})));
    assert_eq!(text.custom_parameters, object.custom_parameters);
}

#[test]
fn a_blank_key_is_no_key() {
    assert!(
        booking(&with(flat(), "/sshPublicKey", json!(" ")))
            .ssh_public_key
            .is_none()
    );
}

#[test]
fn unknown_event_types_are_kept_whatever_else_is_in_them() {
    for body in [
        json!({"eventType": "VLAN_CREATED", "webhookId": 12}),
        json!({"eventType": "VLAN_CREATED", "webhookId": "12", "data": {"vlan": [1]}}),
        json!({"eventType": "VLAN_CREATED", "webhookId": "12", "data": "text"}),
    ] {
        let webhook = parse(&body).unwrap();
        assert_eq!(webhook.event_type, EventType::Other("VLAN_CREATED".into()));
        assert_eq!(webhook.content, Content::Other);
    }
    assert_eq!(
        parse(&json!({"eventType": "event_start", "webhookId": 1}))
            .unwrap()
            .content,
        Content::Other
    );
}

#[test]
fn event_types_have_their_names() {
    for name in [
        "EVENT_CREATED",
        "EVENT_UPDATED",
        "EVENT_DELETED",
        "EVENT_START",
        "EVENT_END",
        "RESOURCE_CREATED",
        "RESOURCE_UPDATED",
        "RESOURCE_STATUS_CHANGED",
        "RESOURCE_DELETED",
        "ALL",
    ] {
        assert_eq!(EventType::parse(name).as_str(), name);
        assert!(EventType::parse(name).is_known());
    }
}

#[test]
fn a_test_button_needs_no_data() {
    assert!(matches!(
        parse(&json!({"eventType": "ALL", "webhookId": 1}))
            .unwrap()
            .content,
        Content::Test(_)
    ));
}

#[test]
fn what_is_no_object_is_refused_with_its_reason() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    for (body, reason) in [
        ("", Unreadable::NotJson),
        ("{\"eventType\":", Unreadable::NotJson),
        ("\u{feff}{}", Unreadable::NotJson),
        ("{} {}", Unreadable::NotJson),
        ("[]", Unreadable::NotAnObject),
        ("null", Unreadable::NotAnObject),
        ("\"text\"", Unreadable::NotAnObject),
        (deep.as_str(), Unreadable::TooDeep),
    ] {
        assert_eq!(Webhook::parse(body.as_bytes()), Err(reason));
        assert_eq!(claimed_webhook_id(body.as_bytes()), None);
    }
    assert_eq!(
        Webhook::parse(b"{\"eventType\":\"\xff\"}"),
        Err(Unreadable::NotJson)
    );
}

#[test]
fn the_webhook_of_an_unreadable_body_is_still_known() {
    let body = with(flat(), "/eventStart", json!("soon")).to_string();
    assert_eq!(
        claimed_webhook_id(body.as_bytes()),
        Some(WebhookId::from(12))
    );
}

/// A text that would be recognised wherever it is repeated.
const MARK: &str = "zqxj";

/// JSON of every shape, with the mark in every text.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,8}".prop_map(|text| Value::from(format!("{MARK}{text}"))),
        Just(json!("2026-12-03T08:00:00Z")),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(a_key(), inner, 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn a_key() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "id",
            "data",
            "name",
            "resource",
            "type",
            "start",
            "end",
            "eventId",
            "events",
            "webhookId",
            "eventType",
        ])
        .prop_map(str::to_owned),
        "[a-z]{1,4}".prop_map(|key| format!("{MARK}{key}")),
    ]
}

fn fields() -> impl Strategy<Value = (Value, String)> {
    let pointers = vec![
        "/eventType",
        "/webhookId",
        "/eventId",
        "/resourceName",
        "/resourceType",
        "/eventStart",
        "/eventEnd",
        "/userId",
        "/timestamp",
        "/data",
        "/events",
    ];
    let nested_pointers = vec![
        "/data/id",
        "/data/start",
        "/data/resource",
        "/data/resource/type",
        "/data/resource/name",
    ];
    prop_oneof![
        proptest::sample::select(pointers).prop_map(|pointer| (flat(), pointer.to_owned())),
        proptest::sample::select(nested_pointers)
            .prop_map(|pointer| (nested(), pointer.to_owned())),
    ]
}

fn repeats_the_mark(unreadable: Unreadable) -> bool {
    format!("{unreadable} {unreadable:?}").contains(MARK)
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let webhook = Webhook::parse(&body);
        prop_assert!(message_id("s", &webhook, &body).len() < 200);
    }

    #[test]
    fn any_json_is_read_or_refused_without_repeating_it(body in any_json()) {
        let text = body.to_string();
        let webhook = Webhook::parse(text.as_bytes());
        prop_assert!(message_id("s", &webhook, text.as_bytes()).len() < 200);
        if let Err(unreadable) = webhook {
            prop_assert!(!repeats_the_mark(unreadable));
        }
    }

    #[test]
    fn any_value_in_any_field_is_read_or_refused_without_repeating_it((body, pointer) in fields(), value in any_json()) {
        let text = with(body, &pointer, value).to_string();
        match Webhook::parse(text.as_bytes()) {
            Ok(webhook) => prop_assert!(message_id("s", &Ok(webhook), text.as_bytes()).len() < 200),
            Err(unreadable) => prop_assert!(!repeats_the_mark(unreadable)),
        }
    }
}

#[test]
fn a_name_is_as_long_as_the_contract_allows_in_any_script_and_no_longer() {
    let start = |name: &str| {
        let body = serde_json::json!({
            "eventType": "EVENT_START", "webhookId": 12, "eventId": "1", "resourceName": name, "resourceType": "Server",
            "eventStart": "2026-12-03T08:00:00Z", "eventEnd": "2026-12-03T17:30:00Z", "siteId": "s".repeat(5000),
        });
        Webhook::parse(body.to_string().as_bytes())
    };
    let longest = start(&"\u{1f5a5}".repeat(100)).unwrap();
    assert_eq!(longest.resource().unwrap().site_id, None);
    assert_eq!(
        start(&"n".repeat(401)).unwrap_err().field(),
        Some("resourceName")
    );
}
