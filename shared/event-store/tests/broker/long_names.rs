//! Names and ids from outside that are longer than a subject may be.

use bellhop_event_store::{AppendError, ErrorClass, ReportKey, ReportState, StoreError};

use super::*;

#[tokio::test]
async fn a_name_too_long_for_a_subject_is_refused_for_good_and_the_connection_stands() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let long = "n".repeat(100_000);
    let mut named = delivery("one");
    named.name = Some(long.clone());
    let refused = store.store_delivery(&named, SOON).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::NotAMessage { .. }),
        "{refused:?}"
    );
    assert_eq!(refused.class(), ErrorClass::Permanent);

    let appended = store.append(&node(&long), Version(0), &entry("1")).await;
    let refused = appended.unwrap_err();
    assert!(
        matches!(refused, AppendError::Store(StoreError::NotAMessage { .. })),
        "{refused:?}"
    );
    assert!(refused.to_string().len() < 1000, "it fits into a log line");

    store.store_delivery(&delivery("two"), SOON).await.unwrap();
    assert!(!server.log_text().contains("Maximum Control Line"));
}

#[tokio::test]
async fn what_is_larger_than_its_stream_takes_is_refused_for_good() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let context = jetstream(&server).await;
    for stream in ["DELIVERIES", "LEDGER"] {
        let stream = context.get_stream(stream).await.unwrap();
        let mut config = stream.cached_info().config.clone();
        config.max_message_size = 10;
        context.update_stream(config).await.unwrap();
    }
    let refused = store.store_delivery(&delivery("one"), SOON).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.class(), ErrorClass::Permanent, "{refused:?}");
    let appended = store.append(&node("node01"), Version(0), &entry("1")).await;
    let refused = appended.unwrap_err();
    assert_eq!(refused.class(), ErrorClass::Permanent, "{refused:?}");
    assert!(refused.to_string().contains("max_msg_size"), "{refused}");
}

#[tokio::test]
async fn the_longest_names_that_the_reservation_system_allows_are_stored() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let mut named = delivery("one");
    named.kind = Some(ResourceKind::new("\u{1F5A5}".repeat(50)));
    named.name = Some("\u{1F5A5}".repeat(100));
    let stored = store.store_delivery(&named, SOON).await.unwrap();
    let found = store.delivery(stored.sequence).await.unwrap().unwrap();
    assert_eq!((found.kind, found.name), (named.kind, named.name));
}

#[tokio::test]
async fn the_state_of_a_report_is_kept_however_long_its_reservation_s_id_is() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let key = |index| ReportKey {
        reservation: reservation(&"5".repeat(100_000)),
        version: Version(7),
        entry: None,
        index,
        destination: "notification",
    };
    let state = ReportState::Dropped {
        at: Timestamp::UNIX_EPOCH,
        reason: "a test".into(),
    };
    store.set_report(&key(0), &state, None).await.unwrap();
    let (found, _) = store.report(&key(0)).await.unwrap().unwrap();
    assert_eq!(found, state);
    assert!(store.report(&key(1)).await.unwrap().is_none());
}
