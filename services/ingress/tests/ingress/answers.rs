//! Each row of the table of answers.

use bellhop_reservation_system::SIGNATURE_HEADER;
use bellhop_service::TraceParent;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{
    Harness, SECRET, USER_AGENT, answered, flat, signature, vector, vector_signature,
};

/// The one header of the harness's requests that is kept.
fn sent_by() -> (String, String) {
    ("user-agent".to_owned(), USER_AGENT.to_owned())
}

#[tokio::test]
async fn a_start_is_accepted_and_stored_as_it_came() {
    let harness = Harness::start().await;
    let body = vector("01");
    let answer = harness
        .post_signed("/webhook", &body, &vector_signature("01"))
        .await;

    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.content_type, "application/json");
    let [delivery] = &harness.deliveries().await[..] else {
        panic!("one delivery")
    };
    let traceparent: TraceParent = delivery.traceparent.as_ref().unwrap().parse().unwrap();
    assert_eq!(
        answer.body,
        json!({
            "status": "success",
            "message": "Accepted the start of a reservation of 'lab7-node04'.",
            "userId": "9f0c2f6e-5a51-4c0e-9d7a-2f3b1c4d5e6f",
            "deliveryId": delivery.id.as_str(),
            "traceId": traceparent.trace_id(),
        })
    );

    assert_eq!(delivery.body, body);
    assert_eq!(delivery.source.as_str(), "reservation-system");
    assert_eq!(
        delivery.site.as_ref().unwrap().as_str(),
        "c7a1d9b2-0001-4aaa-8bbb-0123456789ab"
    );
    assert_eq!(delivery.kind.as_ref().unwrap().as_str(), "baremetalhost");
    assert_eq!(delivery.name.as_deref(), Some("lab7-node04"));
    assert_eq!(delivery.event_type.as_deref(), Some("EVENT_START"));
    assert_eq!(delivery.webhook.as_ref().unwrap().as_str(), "12");
    assert_eq!(delivery.headers, [sent_by()]);
    assert!(harness.dead_letters().await.is_empty());
}

#[tokio::test]
async fn every_real_payload_gets_a_2xx_and_is_stored_untouched() {
    let harness = Harness::start().await;
    let readable = ["01", "02", "03", "04", "05", "06", "09"];
    for number in readable {
        let answer = harness
            .post_signed("/webhook", &vector(number), &vector_signature(number))
            .await;
        assert!(answer.status.is_success(), "{number}: {answer:?}");
    }
    // It says what 01 says, but for its title.
    let unicode = harness
        .post_signed("/webhook", &vector("12"), &vector_signature("12"))
        .await;
    assert_eq!(
        (unicode.status, &unicode.body["duplicate"]),
        (StatusCode::OK, &json!(true))
    );
    let stored: Vec<Vec<u8>> = harness
        .deliveries()
        .await
        .iter()
        .map(|one| one.body.to_vec())
        .collect();
    assert_eq!(stored, readable.map(vector));

    let unreadable = ["07", "08"];
    for number in unreadable {
        let answer = harness
            .post_signed("/webhook", &vector(number), &vector_signature(number))
            .await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{number}: {answer:?}");
        assert_eq!(answer.body["status"], "success");
    }
    let kept: Vec<Vec<u8>> = harness
        .dead_letters()
        .await
        .iter()
        .map(|one| one.body.to_vec())
        .collect();
    assert_eq!(kept, unreadable.map(vector));
    assert_eq!(harness.deliveries().await.len(), readable.len());
}

#[tokio::test]
async fn a_payload_with_a_title_in_any_script_is_accepted() {
    let harness = Harness::start().await;
    let answer = harness
        .post_signed("/webhook", &vector("12"), &vector_signature("12"))
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(harness.deliveries().await[0].body, vector("12"));
}

#[tokio::test]
async fn start_end_change_and_deletion_are_accepted_in_words() {
    let harness = Harness::start().await;
    for (event_type, message) in [
        (
            "EVENT_START",
            "Accepted the start of a reservation of 'lab7-node04'.",
        ),
        (
            "EVENT_END",
            "Accepted the end of a reservation of 'lab7-node04'.",
        ),
        (
            "EVENT_UPDATED",
            "Accepted a change of a reservation of 'lab7-node04'.",
        ),
        (
            "EVENT_DELETED",
            "Accepted the deletion of a reservation of 'lab7-node04'.",
        ),
    ] {
        let answer = harness
            .post(&flat(json!({"eventType": event_type, "userId": null})))
            .await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        assert_eq!(answer.body["message"], message);
        assert_eq!(answer.body["userId"], Value::Null);
    }
}

#[tokio::test]
async fn what_asks_for_nothing_is_answered_200_and_stored_all_the_same() {
    let harness = Harness::start_with(&[
        "--webhook-secret",
        SECRET,
        "--site-ids",
        "lab-7=metal3,lab-8",
    ])
    .await;
    let nested = |event_type: &str, data: Value| {
        json!({"eventType": event_type, "webhookId": "12", "data": data})
            .to_string()
            .into_bytes()
    };
    let cases = [
        (
            flat(json!({"resourceType": "Switch Port"})),
            "No action needed for resource type 'Switch Port'.",
        ),
        (
            flat(json!({"resourceType": "server"})),
            "No action needed for resource type 'server'.",
        ),
        (
            flat(json!({"siteId": "lab-9"})),
            "No action needed for site 'lab-9'.",
        ),
        (
            flat(json!({"eventType": "EVENT_CREATED"})),
            "No action needed for event type 'EVENT_CREATED'.",
        ),
        (
            vector("09"),
            "No action needed for event type 'RESOURCE_UPDATED'.",
        ),
        (
            nested("RESOURCE_DELETED", json!({"name": "n"})),
            "No action needed for event type 'RESOURCE_DELETED'.",
        ),
        (
            nested("EVENT_PAUSED", json!({})),
            "No action needed for event type 'EVENT_PAUSED'.",
        ),
        (
            nested("ODD\r\nTYPE é", json!({})),
            "No action needed for event type 'ODD\r\nTYPE é'.",
        ),
        (
            vector("06"),
            "No action needed for the test: it arrived and is stored.",
        ),
    ];
    for (body, message) in &cases {
        let answer = harness.post(body).await;
        assert_eq!(answer.status, StatusCode::OK, "{message}: {answer:?}");
        assert_eq!(
            answer.body,
            json!({"status": "success", "message": message})
        );
    }
    let deliveries = harness.deliveries().await;
    let stored: Vec<&[u8]> = deliveries.iter().map(|one| one.body.as_ref()).collect();
    let sent: Vec<&[u8]> = cases.iter().map(|(body, _)| body.as_slice()).collect();
    assert_eq!(stored, sent);
    assert_eq!(deliveries[0].kind, None);
    assert_eq!(deliveries[0].name.as_deref(), Some("lab7-node04"));
    assert_eq!(deliveries[8].name, None);
}

#[tokio::test]
async fn what_was_said_before_is_a_duplicate_whatever_its_bytes() {
    let harness = Harness::start().await;
    let first = harness
        .post(&flat(json!({"timestamp": "2026-12-03T07:55:20Z"})))
        .await;
    let again = harness
        .post(&flat(
            json!({"timestamp": "2026-12-03T07:56:20Z", "eventTitle": "x"}),
        ))
        .await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.body["status"], "success");
    assert_eq!(again.body["duplicate"], true);
    assert_eq!(again.body["deliveryId"], first.body["deliveryId"]);
    assert_eq!(again.body["userId"], "user-1");

    let extended = harness
        .post(&flat(json!({"eventEnd": "2026-12-03T18:30:00Z"})))
        .await;
    assert_eq!(extended.status, StatusCode::ACCEPTED);
    assert_eq!(harness.deliveries().await.len(), 2);
}

#[tokio::test]
async fn a_legacy_batch_that_comes_twice_is_a_duplicate_too() {
    let harness = Harness::start().await;
    assert_eq!(
        harness.post(&vector("07")).await.status,
        StatusCode::ACCEPTED
    );
    let again = harness.post(&vector("07")).await;
    assert_eq!(
        (again.status, &again.body["duplicate"]),
        (StatusCode::OK, &json!(true))
    );
    assert_eq!(harness.dead_letters().await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_alarmed_and_answered_with_the_field() {
    let harness = Harness::start().await;
    let without_start = flat(json!({"eventStart": null, "email": "mara@uni.example"}));
    let answer = harness.post(&without_start).await;
    assert_eq!(
        answer.problem(StatusCode::UNPROCESSABLE_ENTITY),
        "`eventStart` is missing; it is kept for an operator"
    );
    assert_eq!(answer.body["field"], "eventStart");
    assert!(!answer.body.to_string().contains("mara"), "{answer:?}");

    let [letter] = &harness.dead_letters().await[..] else {
        panic!("one dead letter")
    };
    assert_eq!(letter.body, without_start);
    assert_eq!(letter.reason, "`eventStart` is missing (webhook 12)");
    assert_eq!(letter.id, answer.body["deliveryId"]);
    assert_eq!(
        letter.subject,
        "dead_letters.ingress.delivery.reservation-system"
    );
    assert_eq!(letter.tries, 1);
    assert_eq!(letter.headers, [sent_by()]);
    let traceparent: TraceParent = letter.traceparent.as_ref().unwrap().parse().unwrap();
    assert_eq!(traceparent.trace_id(), answer.body["traceId"]);
    assert!(harness.deliveries().await.is_empty());

    harness
        .until("alarmed", async || {
            harness.has_metric("bellhop_ingress_dead_letters 1").await
                && harness
                    .has_metric(r#"bellhop_alarms{kind="dead_letters"} 1"#)
                    .await
        })
        .await;
    assert!(
        harness
            .has_metric(r#"bellhop_webhooks_unreadable_total{reason="field_missing"} 1"#)
            .await
    );
}

#[tokio::test]
async fn each_kind_of_unreadable_body_is_named_and_not_repeated() {
    let harness = Harness::start().await;
    let deep = "[".repeat(5000).into_bytes();
    for (body, field, detail) in [
        (b"top secret".to_vec(), Value::Null, "the body is not JSON"),
        (b"".to_vec(), Value::Null, "the body is not JSON"),
        (
            b"[\"top secret\"]".to_vec(),
            Value::Null,
            "the body is not a JSON object",
        ),
        (deep, Value::Null, "the body is nested too deep"),
        (
            flat(json!({"eventStart": "top secret"})),
            json!("eventStart"),
            "`eventStart` is not a time",
        ),
        (
            flat(json!({"resourceName": {"top": "secret"}})),
            json!("resourceName"),
            "`resourceName` must be a string",
        ),
        (
            flat(json!({"webhookId": "top secret"})),
            json!("webhookId"),
            "`webhookId` has characters",
        ),
    ] {
        let answer = harness.post(&body).await;
        let said = answer.problem(StatusCode::UNPROCESSABLE_ENTITY);
        assert!(said.starts_with(detail), "{said}");
        assert_eq!(answer.body.get("field").cloned().unwrap_or_default(), field);
        assert!(!answer.body.to_string().contains("secret"), "{answer:?}");
    }
    assert_eq!(harness.dead_letters().await.len(), 7);
    assert!(harness.deliveries().await.is_empty());
}

#[tokio::test]
async fn signed_garbage_is_never_lost() {
    let harness = Harness::start().await;
    let mut runner = TestRunner::deterministic();
    let start = vector("01");
    let length = start.len();
    let changed = (0..length, any::<u8>()).prop_map(move |(at, byte)| {
        let mut body = start.clone();
        body[at] = byte;
        body
    });
    let cut = (0..length).prop_map(|at| vector("04")[..at.min(600)].to_vec());
    let garbage = prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), changed, cut];

    let mut refused = 0;
    for _ in 0..150 {
        let body = garbage.new_tree(&mut runner).unwrap().current();
        let answer = harness.post(&body).await;
        match answer.status.as_u16() {
            200 | 202 => {}
            422 => {
                refused += 1;
                let id = &answer.body["deliveryId"];
                let letters = harness.store().await.dead_letters(0, 1000).await.unwrap();
                let letter = letters.iter().find(|letter| *id == letter.id).unwrap();
                assert_eq!(letter.body, body);
            }
            status => panic!("{status} for {body:?}"),
        }
    }
    assert!(refused > 50, "{refused}");
}

#[tokio::test]
async fn a_trace_of_a_known_sender_goes_on() {
    let harness = Harness::start().await;
    let body = flat(json!({}));
    let request = harness
        .client
        .post(harness.url("/webhook"))
        .header(SIGNATURE_HEADER, signature(SECRET, &body))
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
    let answer = answered(request.body(body).send().await.unwrap()).await;
    assert_eq!(answer.body["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let stored = harness.deliveries().await[0].traceparent.clone().unwrap();
    assert!(
        stored.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
        "{stored}"
    );
    assert!(!stored.contains("00f067aa0ba902b7"), "{stored}");
}

#[tokio::test]
async fn a_timestamp_far_from_our_clock_is_counted_and_alarmed_but_accepted() {
    let harness = Harness::start().await;
    let now = jiff::Timestamp::now().to_string();
    assert_eq!(
        harness.post(&flat(json!({"timestamp": now}))).await.status,
        StatusCode::ACCEPTED
    );
    assert!(
        harness
            .has_metric("bellhop_webhooks_far_timestamp_total 0")
            .await
    );
    let old = flat(json!({"timestamp": "2020-01-01T00:00:00Z", "eventId": "1"}));
    assert_eq!(harness.post(&old).await.status, StatusCode::ACCEPTED);
    assert!(
        harness
            .has_metric("bellhop_webhooks_far_timestamp_total 1")
            .await
    );
    // An id without a secret of its own is the sender's word: the alarms must not grow with it.
    let other = json!({"timestamp": "2020-01-01T00:00:00Z", "webhookId": "invented"});
    assert_eq!(
        harness.post(&flat(other)).await.status,
        StatusCode::ACCEPTED
    );
    assert!(
        harness
            .has_metric(r#"bellhop_alarms{kind="sender_clock"} 1"#)
            .await
    );
}

#[tokio::test]
async fn requests_are_counted_by_what_became_of_them() {
    let harness = Harness::start().await;
    harness.post(&flat(json!({}))).await;
    harness.post(&flat(json!({}))).await;
    harness.post(&vector("06")).await;
    harness.post(b"{}").await;
    harness.post_signed("/webhook", b"{}", "wrong").await;
    for outcome in [
        "accepted",
        "duplicate",
        "no_action",
        "dead_letter",
        "unauthorized",
    ] {
        let sample = format!(r#"bellhop_webhooks_total{{outcome="{outcome}"}} 1"#);
        assert!(harness.has_metric(&sample).await, "{sample}");
    }
    assert!(
        harness
            .has_metric("bellhop_webhook_store_seconds_count 4")
            .await
    );
}
