//! A shadow's webhooks go to its own streams.

use bellhop_event_store::{EventStore, EventStoreSettings, Mode};
use bellhop_nats_server::NatsServer;
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{Harness, SECRET, flat};

const SHADOW: [&str; 4] = ["--webhook-secret", SECRET, "--mode", "shadow"];

async fn stored(harness: &Harness, mode: Mode) -> u64 {
    let settings = EventStoreSettings {
        mode,
        ..EventStoreSettings::at(harness.nats.url())
    };
    let store = EventStore::connect(&settings, "test").await.unwrap();
    store.prepare().await.unwrap();
    store.deliveries_end().await.unwrap()
}

#[tokio::test]
async fn a_shadow_verifies_and_stores_as_a_live_one_does_but_for_itself_alone() {
    let harness = Harness::start_with(&SHADOW).await;
    let body = flat(json!({}));
    let refused = harness.post_signed("/webhook", &body, "sha256=00").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(harness.post(&body).await.status, StatusCode::ACCEPTED);
    assert_eq!(stored(&harness, Mode::Shadow).await, 1);
    assert_eq!(stored(&harness, Mode::Live).await, 0);

    let (_, page) = harness.page("/readyz?verbose").await;
    assert!(
        page.contains("[ ]shown shadow ingress: MODE=shadow"),
        "{page}"
    );
    assert!(
        harness
            .has_metric(r#"bellhop_shown{kind="shadow"} 1"#)
            .await
    );
}

#[tokio::test]
async fn a_live_ingress_stores_nothing_among_a_shadows_deliveries_and_says_why() {
    let nats = NatsServer::start().unwrap();
    let shadow = EventStoreSettings {
        mode: Mode::Shadow,
        ..EventStoreSettings::at(nats.url())
    };
    let shadow = EventStore::connect(&shadow, "test").await.unwrap();
    shadow.prepare().await.unwrap();
    let arguments = ["--webhook-secret", SECRET, "--stream-prefix", "shadow"];
    let harness = Harness::start_unready(nats, &arguments).await;
    harness
        .until("refused", async || {
            let (status, page) = harness.page("/readyz").await;
            status == StatusCode::SERVICE_UNAVAILABLE
                && page.contains("stream shadow_DELIVERIES is a shadow's")
        })
        .await;
    assert_eq!(shadow.deliveries_end().await.unwrap(), 0);
}
