//! What an ingress stumbles over is kept all the same, and harms no other webhook.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::hint::black_box;
use std::time::Duration;

use bellhop_event_store::{EventStore, EventStoreSettings};
use bellhop_nats_server::NatsServer;
use bellhop_reservation_system::{SIGNATURE_HEADER, WebhookSecret, sign};
use bellhop_service::{settings, telemetry};
use http::StatusCode;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::Ingress;

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// Long enough for a loaded machine; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Panics where `part` is what is to stumble over the body.
pub(super) fn stumble_over(body: &[u8], part: &str) {
    let text = String::from_utf8_lossy(body);
    if text.contains(&format!("stumbles in {part}")) {
        panic!("no server for {}", black_box(text));
    }
}

fn webhook(event_id: &str, title: &str) -> String {
    json!({
        "eventType": "EVENT_START", "webhookId": 12, "timestamp": "2026-12-03T08:00:00Z", "eventId": event_id,
        "userId": "9f0c2f6e", "resourceId": 31, "resourceName": "node01", "resourceType": "Server",
        "eventStart": "2026-12-03T08:00:00Z", "eventEnd": "2026-12-03T17:00:00Z", "eventTitle": title,
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_whose_handling_panics_is_a_dead_letter_and_the_next_one_is_taken() {
    telemetry::install_for_tests();
    let nats = NatsServer::start().unwrap();
    let store = EventStoreSettings::at(nats.url());
    let store = EventStore::connect(&store, "test").await.unwrap();
    store.prepare().await.unwrap();
    let arguments = [
        "ingress",
        "--port=0",
        "--listen-address=127.0.0.1",
        "--webhook-secret",
        SECRET,
        "--nats-url",
    ];
    let url = nats.url();
    let all = arguments.into_iter().chain([url.as_str()]);
    let ingress = Ingress::bind(settings::parse(all).unwrap()).await.unwrap();
    let address = ingress.local_address().unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(ingress.serve(stop.clone()));
    let client = reqwest::Client::new();
    let post = async |body: &str| {
        let secret = WebhookSecret::new(SECRET).unwrap();
        let sent = client
            .post(format!("http://{address}/webhook"))
            .header(SIGNATURE_HEADER, sign(&secret, body.as_bytes()))
            .body(body.to_owned())
            .send();
        sent.await.unwrap().status()
    };
    let sound = webhook("5120", "sound");
    let taken = async {
        // Until it is connected with the broker.
        while post(&sound).await == StatusCode::SERVICE_UNAVAILABLE {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.unwrap();

    for (sent_before, part) in ["reading", "storing"].into_iter().enumerate() {
        let body = webhook("5121", &format!("stumbles in {part}"));
        assert_eq!(post(&body).await, StatusCode::ACCEPTED, "{part}");
        let letters = store.dead_letters(1, 10).await.unwrap();
        assert_eq!(letters.len(), sent_before + 1, "{part}");
        let letter = letters.last().unwrap();
        assert_eq!(letter.body, body.as_bytes());
        assert!(letter.reason.contains("panicked"), "{}", letter.reason);
        store.plan_replay(letter.clone()).await.unwrap();
        let next = post(&webhook(&format!("513{sent_before}"), "sound")).await;
        assert_eq!(next, StatusCode::ACCEPTED, "{part}");
    }
    stop.cancel();
    running.await.unwrap().unwrap();
}
