//! The reservation system's sending side, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic)]

mod receiver;

use std::time::Duration;

use bellhop_simulator::reservation_system::{
    BookingChange, EventType, NewBooking, Outcome, ReservationSystem, Resource, SchedulerSettings,
    Settings, User, Webhook,
};
use jiff::{SignedDuration, Timestamp};
use receiver::{Receiver, Request};
use serde_json::json;

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const LIMIT: Duration = Duration::from_secs(10);

fn in_seconds(seconds: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(seconds)
}

/// One webhook (12), one user (`mara`), two servers.
async fn system_for(receiver: &Receiver) -> ReservationSystem {
    ReservationSystem::start(Settings {
        webhooks: vec![Webhook::new(12, SECRET, receiver.url())],
        users: vec![User::new("mara", "mara.conti").ssh_public_key("ssh-ed25519 AAAA mara@lab7")],
        resources: vec![
            Resource::server(31, "node01"),
            Resource::server(32, "node02"),
        ],
        first_booking_id: Some(5120),
        ..Settings::default()
    })
    .await
    .unwrap()
}

fn booked(system: &ReservationSystem) -> i64 {
    system
        .book(NewBooking::new(
            "mara",
            "node01",
            in_seconds(200),
            in_seconds(3600),
        ))
        .unwrap()
        .id
}

fn event_types(requests: &[Request]) -> Vec<String> {
    requests
        .iter()
        .map(|request| request.json()["eventType"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_booking_is_announced_started_changed_and_ended_in_the_real_forms() {
    let receiver = Receiver::start().await;
    let system = system_for(&receiver).await;
    let id = booked(&system);
    system.announce(id).await.unwrap();
    system.start_event(id).await.unwrap();
    system
        .update(id, BookingChange::end(in_seconds(7200)))
        .await
        .unwrap();
    system.end_event(id).await.unwrap();

    let requests = receiver.requests();
    assert_eq!(
        event_types(&requests),
        ["EVENT_CREATED", "EVENT_START", "EVENT_UPDATED", "EVENT_END"]
    );
    let [created, start, update, _] = [0, 1, 2, 3].map(|place| requests[place].json());
    assert_eq!(
        (&created["webhookId"], &created["data"]["id"]),
        (&json!("12"), &json!(id))
    );
    assert_eq!(
        (&start["webhookId"], &start["eventId"]),
        (&json!(12), &json!(id.to_string()))
    );
    assert_eq!(start["sshPublicKey"], "ssh-ed25519 AAAA mara@lab7");
    assert!(created["data"]["startNotifiedAt"].is_null());
    assert!(update["data"]["startNotifiedAt"].is_string());
    assert_ne!(update["data"]["end"], created["data"]["end"]);
    assert!(update["data"]["updatedAt"].as_str() > created["data"]["updatedAt"].as_str());
}

#[tokio::test]
async fn a_request_has_the_real_headers_and_a_signature_over_its_bytes() {
    let receiver = Receiver::start().await;
    let system = system_for(&receiver).await;
    let sent = system.test_button(12).await.unwrap();
    assert_eq!(sent.status(), Some(202));

    let request = &receiver.requests()[0];
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(
        request.header("x-webhook-signature"),
        system.sign(12, &request.body).as_deref()
    );
    assert!(request.header("user-agent").unwrap().starts_with("Java/"));
    assert_eq!(request.header("traceparent"), None);
    assert_eq!(request.body, sent.body);
}

#[tokio::test]
async fn without_a_secret_there_is_no_signature() {
    let receiver = Receiver::start().await;
    let system = system_for(&receiver).await;
    let mut webhook = Webhook::new(13, "", receiver.url());
    webhook.secret = None;
    system.put_webhook(webhook);
    system.test_button(13).await.unwrap();
    assert_eq!(receiver.requests()[0].header("x-webhook-signature"), None);
}

#[tokio::test]
async fn an_unknown_user_is_sent_by_id_only() {
    let receiver = Receiver::start().await;
    let system = system_for(&receiver).await;
    system.remove_user("mara");
    let id = booked(&system);
    system.start_event(id).await.unwrap();
    let start = receiver.requests()[0].json();
    assert_eq!(start["userId"], "mara");
    for field in ["username", "email", "sshPublicKey"] {
        assert!(start.get(field).is_none(), "{field}");
    }
}

#[tokio::test]
async fn nothing_is_sent_a_second_time_whatever_the_answer_is() {
    let receiver = Receiver::start().await;
    receiver.answer_with(503);
    let system = system_for(&receiver).await;
    let id = booked(&system);
    let sent = system.start_event(id).await.unwrap();
    assert_eq!(sent[0].status(), Some(503));
    assert!(!sent[0].was_delivered());
    assert!(
        system.bookings()[0].start_notified_at.is_some(),
        "marked all the same"
    );

    receiver.stop().await;
    let sent = system.end_event(id).await.unwrap();
    assert!(
        matches!(&sent[0].outcome, Outcome::Failed { .. }),
        "{sent:?}"
    );
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn each_webhook_hears_what_it_asked_for_with_its_own_id_and_signature() {
    let receiver = Receiver::start().await;
    let system = system_for(&receiver).await;
    system.put_webhook(
        Webhook::new(13, "other secret", receiver.url()).event_type(EventType::EventStart),
    );
    system.put_webhook(Webhook::new(14, "third secret", receiver.url()).disabled());
    system.put_webhook(Webhook::new(15, "far away", receiver.url()).site("site-2"));
    let id = booked(&system);
    let told = |sent: Vec<bellhop_simulator::reservation_system::Sent>| -> Vec<u64> {
        sent.iter().map(|sent| sent.webhook_id).collect()
    };
    assert_eq!(told(system.announce(id).await.unwrap()), [12]);
    assert_eq!(
        told(system.start_event(id).await.unwrap()),
        [12, 13, 15],
        "starts go to every site"
    );
    assert_eq!(told(system.delete(id).await.unwrap()), [12]);
    let start = &receiver.requests()[2];
    assert_eq!(start.json()["webhookId"], 13);
    assert_eq!(
        start.header("x-webhook-signature"),
        system.sign(13, &start.body).as_deref()
    );
}

#[tokio::test]
async fn a_deleted_booking_is_gone_and_its_last_word_is_the_deletion() {
    let receiver = Receiver::start().await;
    let system = system_for(&receiver).await;
    let id = booked(&system);
    system.start_event(id).await.unwrap();
    system.delete(id).await.unwrap();
    assert!(system.end_event(id).await.is_err());
    assert!(system.bookings().is_empty());
    let deletion = receiver.requests()[1].json();
    assert_eq!(deletion["eventType"], "EVENT_DELETED");
    assert!(deletion["data"]["startNotifiedAt"].is_string());
    assert!(deletion["data"]["resource"].get("createdAt").is_none());
}

#[tokio::test]
async fn the_odd_forms_are_sent_too() {
    let receiver = Receiver::start().await;
    let system = system_for(&receiver).await;
    let (first, second) = (booked(&system), booked(&system));
    system.degraded(first).await.unwrap();
    system
        .batch(&[first, second], EventType::EventStart)
        .await
        .unwrap();
    system.resource_updated(31).await.unwrap();
    system.send(12, "not json").await.unwrap();
    let requests = receiver.requests();
    assert!(
        requests[0].json()["data"]
            .as_str()
            .unwrap()
            .starts_with("Payload serialization failed")
    );
    assert_eq!(requests[1].json()["eventCount"], 2);
    assert_eq!(requests[2].json()["data"]["name"], "node01");
    assert_eq!(requests[3].body, "not json");
    assert_eq!(
        requests[3].header("x-webhook-signature"),
        system.sign(12, b"not json").as_deref()
    );
}

#[tokio::test]
async fn the_clock_sends_a_start_early_and_an_end_once() {
    let receiver = Receiver::start().await;
    let system = system_for(&receiver).await;
    system
        .book(NewBooking::new(
            "mara",
            "node01",
            in_seconds(250),
            in_seconds(251),
        ))
        .unwrap();
    system
        .book(NewBooking::new(
            "mara",
            "node01",
            in_seconds(-20),
            in_seconds(-10),
        ))
        .unwrap();
    system
        .book(NewBooking::new(
            "mara",
            "node02",
            in_seconds(900),
            in_seconds(1800),
        ))
        .unwrap();
    system.run_scheduler(SchedulerSettings::every(Duration::from_millis(20)));

    let mut requests = receiver.wait_for(2, LIMIT).await;
    // A booking whose end comes into the window shows that many looks have passed, and nothing was sent again.
    system
        .book(NewBooking::new(
            "mara",
            "node02",
            in_seconds(-30),
            in_seconds(-5),
        ))
        .unwrap();
    requests.extend_from_slice(&receiver.wait_for(3, LIMIT).await[2..]);
    let mut told: Vec<String> = requests
        .iter()
        .map(|request| {
            format!(
                "{} {}",
                request.json()["eventType"],
                request.json()["eventId"]
            )
            .replace('"', "")
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        ["EVENT_END 5121", "EVENT_END 5123", "EVENT_START 5120"]
    );
}

#[tokio::test]
async fn a_process_can_drive_it_over_http() {
    let receiver = Receiver::start().await;
    let system = system_for(&receiver).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("{}/simulator/{path}", system.url());

    let request = json!({"resource": "node01", "user": "mara", "starts_in_seconds": 60, "lasts_seconds": 600,
        "title": "by HTTP", "announce": true});
    let answer = client
        .post(url("bookings"))
        .json(&request)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let answer: serde_json::Value = answer.json().await.unwrap();
    let id = answer["booking"]["id"].as_i64().unwrap();
    assert_eq!(answer["sent"][0]["outcome"]["answered"]["status"], 202);

    for step in ["start", "end"] {
        let answer = client
            .post(url(&format!("bookings/{id}/{step}")))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
    let answer = client
        .delete(url(&format!("bookings/{id}")))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(
        client
            .delete(url(&format!("bookings/{id}")))
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    assert_eq!(
        event_types(&receiver.requests()),
        ["EVENT_CREATED", "EVENT_START", "EVENT_END", "EVENT_DELETED"]
    );

    let webhooks = client
        .get(url("webhooks"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        webhooks.contains(&receiver.url()) && !webhooks.contains(SECRET),
        "{webhooks}"
    );
}
