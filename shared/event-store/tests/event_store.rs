//! The event store against a real `nats-server`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use bellhop_domain::id::{
    DeliveryId, HostRef, ReservationId, ResourceId, ResourceKind, SiteId, Source, Version,
    WebhookId,
};
use bellhop_domain::reservation::Fact;
use bellhop_event_store::{
    AppendError, ConsumerLimits, DeadLetter, DeadLetterClass, ErrorClass, EventStore,
    EventStoreSettings, FollowError, NewDelivery, NewEntry, ReportError, ReportKey, ReportState,
    Retention, SetupError, StoreError,
};
use bellhop_nats_server::NatsServer;
use bytes::Bytes;
use jiff::Timestamp;

const SOON: Duration = Duration::from_secs(5);

async fn store_at(server: &NatsServer) -> EventStore {
    let store = EventStore::connect(&EventStoreSettings::at(server.url()), "test")
        .await
        .unwrap();
    store.prepare().await.unwrap();
    store
}

fn node(name: &str) -> ResourceId {
    ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", name)
}

fn reservation(event: &str) -> ReservationId {
    ReservationId::new(Source::new("reservation-system"), event)
}

fn entry(event: &str) -> NewEntry {
    let host = HostRef {
        namespace: "metal3".into(),
        name: "node".into(),
        uid: "1".into(),
    };
    NewEntry {
        at: Timestamp::from_second(1_800_000_000).unwrap(),
        facts: vec![
            Fact::HostAssigned {
                reservation: reservation(event),
                host,
                secret: "node-1".into(),
            },
            Fact::HostClaimed {
                reservation: reservation(event),
            },
        ],
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        cause: "observation".into(),
    }
}

fn delivery(id: &str) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::new(id),
        source: Source::new("reservation-system"),
        site: Some(SiteId::new("a site.")),
        kind: None,
        name: Some("Gi1/0/1 ü".into()),
        event_type: Some("EVENT_START".into()),
        webhook: Some(WebhookId::new("12")),
        received_at: Timestamp::from_second(1_800_000_000).unwrap(),
        traceparent: None,
        headers: vec![("user-agent".into(), "Java/23".into())],
        body: Bytes::from_static(b"{\"any\": \"\xff bytes\"}"),
    }
}

#[tokio::test]
async fn of_two_decisions_upon_the_same_state_one_is_appended() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let first = store
        .append(&node("a"), Version(0), &entry("1"))
        .await
        .unwrap();
    let late = store
        .append(&node("a"), Version(0), &entry("2"))
        .await
        .unwrap_err();
    assert!(matches!(
        late,
        AppendError::Conflict {
            expected: Version(0),
            ..
        }
    ));
    assert_eq!(late.class(), ErrorClass::Conflict);
    let other = store
        .append(&node("b"), Version(0), &entry("2"))
        .await
        .unwrap();
    assert!(other > first);
    assert_eq!(store.newest_version(&node("a")).await.unwrap(), first);
    assert_eq!(store.newest_version(&node("c")).await.unwrap(), Version(0));
    store.append(&node("a"), first, &entry("3")).await.unwrap();
}

#[tokio::test]
async fn the_follower_sees_every_entry_in_order_over_a_restart_of_the_broker() {
    let mut server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let first = store
        .append(&node("a"), Version(0), &entry("1"))
        .await
        .unwrap();
    let mut follower = store.follow_ledger(Version(0));
    let seen = follower.next().await.unwrap().into_resource().unwrap();
    assert_eq!(
        (seen.version, seen.resource, seen.facts),
        (first, node("a"), entry("1").facts)
    );
    assert_eq!(seen.traceparent, entry("1").traceparent);
    server.restart().unwrap();
    let second = loop {
        match store.append(&node("b"), Version(0), &entry("2")).await {
            Ok(version) => break version,
            Err(AppendError::Conflict { .. }) => {
                break store.newest_version(&node("b")).await.unwrap();
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(30), follower.next())
        .await
        .unwrap()
        .unwrap();
    let seen = seen.into_resource().unwrap();
    assert_eq!((seen.version, seen.resource), (second, node("b")));
    assert_eq!(store.ledger_end().await.unwrap(), second);
}

#[tokio::test]
async fn a_delivery_is_handed_out_byte_for_byte_until_it_is_acknowledged() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let stored = store.store_delivery(&delivery("one"), SOON).await.unwrap();
    let again = store.store_delivery(&delivery("one"), SOON).await.unwrap();
    assert_eq!(
        (stored.duplicate, again.duplicate, stored.sequence),
        (false, true, again.sequence)
    );
    let mut inbox = store.deliveries("provisioner", ConsumerLimits::default());
    let handed = inbox.next().await;
    handed.retry_after(Duration::from_millis(10)).await;
    let handed = inbox.next().await;
    assert_eq!(handed.tries, 2);
    let read = handed.item.as_ref().unwrap();
    let sent = delivery("one");
    assert_eq!(
        (&read.body, &read.headers, &read.name),
        (&sent.body, &sent.headers, &sent.name)
    );
    assert_eq!(
        (&read.site, &read.kind, &read.webhook),
        (&sent.site, &sent.kind, &sent.webhook)
    );
    assert_eq!(read.received_at, sent.received_at);
    assert_eq!(store.deliveries_handled("provisioner").await.unwrap(), 0);
    handed.ack().await.unwrap();
    assert_eq!(
        store.deliveries_handled("provisioner").await.unwrap(),
        stored.sequence
    );
    assert_eq!(
        store.delivery(stored.sequence).await.unwrap().unwrap().body,
        sent.body
    );
    assert!(store.delivery(99).await.unwrap().is_none());
}

#[tokio::test]
async fn a_broker_that_is_away_confirms_nothing_in_time() {
    let mut server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    server.kill().unwrap();
    let error = store
        .store_delivery(&delivery("one"), Duration::from_millis(300))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Unconfirmed { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Transient);
    server.restart().unwrap();
    loop {
        // The first may have been stored late: then this one is its duplicate.
        if let Ok(stored) = store
            .store_delivery(&delivery("one"), Duration::from_secs(1))
            .await
        {
            assert_eq!(stored.sequence, 1);
            break;
        }
    }
}

#[tokio::test]
async fn a_dead_letter_keeps_the_reason_and_the_bytes() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let letter = DeadLetter {
        service: "ingress",
        class: DeadLetterClass::Delivery,
        id: "id-1".into(),
        what: "reservation-system".into(),
        reason: "not JSON\r\nat all".into(),
        tries: 1,
        first_at: Timestamp::UNIX_EPOCH,
        last_at: Timestamp::UNIX_EPOCH,
        traceparent: None,
        headers: vec![("user-agent".into(), "Java/23".into())],
        body: Bytes::from_static(b"\x00\xff"),
    };
    store.bury(&letter, SOON).await.unwrap();
    assert!(store.bury(&letter, SOON).await.unwrap().duplicate);
    assert_eq!(store.dead_letters_of("ingress").await.unwrap(), 1);
    assert_eq!(store.dead_letters_of("notifier").await.unwrap(), 0);
    let found = store.dead_letters(0, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0].body, &found[0].headers),
        (&letter.body, &letter.headers)
    );
    assert_eq!(found[0].reason, "not JSON  at all");
    assert_eq!(
        found[0].subject,
        "dead_letters.ingress.delivery.reservation-system"
    );
}

#[tokio::test]
async fn of_two_notifiers_that_settle_one_report_one_is_refused() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let key = ReportKey {
        reservation: reservation("5120"),
        version: Version(7),
        entry: None,
        index: 1,
        destination: "notification",
    };
    assert_eq!(
        key.to_string(),
        "reservation-system=3A5120.7-1.notification"
    );
    assert!(store.report(&key).await.unwrap().is_none());
    let owed = ReportState::Owed {
        attempts: 1,
        last_error: None,
        first_at: Timestamp::UNIX_EPOCH,
        sending: None,
        replayed_at: None,
    };
    let revision = store.set_report(&key, &owed, None).await.unwrap();
    let refused = store.set_report(&key, &owed, None).await.unwrap_err();
    assert!(matches!(refused, ReportError::Conflict { .. }));
    let delivered = ReportState::Delivered {
        at: Timestamp::UNIX_EPOCH,
        status: 200,
        attempts: 2,
    };
    store
        .set_report(&key, &delivered, Some(revision))
        .await
        .unwrap();
    let (state, _) = store.report(&key).await.unwrap().unwrap();
    assert!(state.is_settled());
}

#[tokio::test]
async fn the_ledger_keeps_its_id_and_can_be_neither_deleted_nor_purged() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    assert_eq!(store.ledger_id(), store_at(&server).await.ledger_id());
    store
        .append(&node("a"), Version(0), &entry("1"))
        .await
        .unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let stream = async_nats::jetstream::new(client)
        .get_stream("LEDGER")
        .await
        .unwrap();
    assert!(stream.delete_message(1).await.is_err());
    assert!(stream.purge().await.is_err());
}

#[tokio::test]
async fn a_stream_that_would_lose_messages_is_refused_and_a_missing_one_named() {
    let server = NatsServer::start().unwrap();
    let mut settings = EventStoreSettings::at(server.url());
    settings.create_streams = false;
    let store = EventStore::connect(&settings, "test").await.unwrap();
    let missing = store.prepare().await.unwrap_err();
    assert!(missing.to_string().contains("bellhop setup"), "{missing}");
    let context = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let forgetful = async_nats::jetstream::stream::Config {
        name: "DELIVERIES".into(),
        subjects: vec!["deliveries.>".into()],
        max_age: Duration::from_secs(60),
        discard: async_nats::jetstream::stream::DiscardPolicy::New,
        ..Default::default()
    };
    context.create_stream(forgetful).await.unwrap();
    let refused = store.set_up().await.unwrap_err();
    assert!(matches!(refused, SetupError::Unsafe { .. }), "{refused:?}");
    assert_eq!(refused.class(), ErrorClass::Permanent);
}

#[tokio::test]
async fn two_installations_share_a_broker_by_their_prefix() {
    let server = NatsServer::start().unwrap();
    let lab = EventStoreSettings {
        stream_prefix: Some("lab".into()),
        ..EventStoreSettings::at(server.url())
    };
    let lab = EventStore::connect(&lab, "test").await.unwrap();
    lab.prepare().await.unwrap();
    let plain = store_at(&server).await;
    assert_ne!(lab.ledger_id(), plain.ledger_id());
    lab.append(&node("a"), Version(0), &entry("1"))
        .await
        .unwrap();
    assert_eq!(plain.ledger_end().await.unwrap(), Version(0));
    let seen = lab.follow_ledger(Version(0)).next().await.unwrap();
    assert_eq!(seen.into_resource().unwrap().resource, node("a"));
}

#[tokio::test]
async fn what_a_newer_version_wrote_stops_the_follower_with_its_place() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Bellhop-Format", "2");
    let context = async_nats::jetstream::new(client);
    context
        .publish_with_headers("ledger.a.b.c", headers, "{}".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let error = store.follow_ledger(Version(0)).next().await.unwrap_err();
    assert!(
        matches!(error, FollowError::Unreadable { sequence: 1, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_snapshot_comes_back_as_it_was_kept_and_replaces_the_one_before() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    assert!(store.load_snapshot("provisioner").await.unwrap().is_none());
    store.save_snapshot("provisioner", b"first").await.unwrap();
    let large = vec![7; 3_000_000];
    store.save_snapshot("provisioner", &large).await.unwrap();
    assert_eq!(
        store.load_snapshot("provisioner").await.unwrap().unwrap(),
        large
    );
}

#[tokio::test]
async fn a_delivery_goes_only_when_it_is_handled_old_and_not_referred_to() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    for id in ["1", "2", "3", "4"] {
        store.store_delivery(&delivery(id), SOON).await.unwrap();
    }
    let referred_to = std::collections::HashSet::from([2]);
    let keep = Duration::from_secs(3600);
    let retention = Retention {
        keep,
        handled: 3,
        referred_to: &referred_to,
        at_most: 10,
    };
    assert_eq!(
        store
            .remove_deliveries(&retention, Timestamp::now())
            .await
            .unwrap(),
        0
    );
    let later = Timestamp::now() + jiff::SignedDuration::from_hours(2);
    assert_eq!(store.remove_deliveries(&retention, later).await.unwrap(), 2);
    for (sequence, there) in [(1, false), (2, true), (3, false), (4, true)] {
        assert_eq!(
            store.delivery(sequence).await.unwrap().is_some(),
            there,
            "{sequence}"
        );
    }
}

#[tokio::test]
async fn a_nearly_full_stream_lets_handled_deliveries_go_early_and_refuses_new_ones_when_full() {
    let server = NatsServer::start().unwrap();
    let settings = EventStoreSettings {
        deliveries_max_bytes: 4000,
        ..EventStoreSettings::at(server.url())
    };
    let store = EventStore::connect(&settings, "test").await.unwrap();
    store.prepare().await.unwrap();
    let mut stored = 0;
    let refused = loop {
        match store
            .store_delivery(&delivery(&format!("{stored}")), SOON)
            .await
        {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
    let nobody = std::collections::HashSet::new();
    let retention = Retention {
        keep: Duration::from_secs(3600),
        handled: 1,
        referred_to: &nobody,
        at_most: 10,
    };
    assert_eq!(
        store
            .remove_deliveries(&retention, Timestamp::now())
            .await
            .unwrap(),
        1
    );
    store.store_delivery(&delivery("last"), SOON).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_comes_back_within_the_callers_patience_stores_what_waited_once() {
    let mut server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    server.kill().unwrap();
    let storing = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .store_delivery(&delivery("one"), Duration::from_secs(20))
                .await
        }
    });
    // Longer than a request may take.
    tokio::time::sleep(Duration::from_secs(4)).await;
    server.restart().unwrap();
    assert!(!storing.await.unwrap().unwrap().duplicate);
    assert_eq!(store.deliveries_end().await.unwrap(), 1);
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_stored_when_the_broker_comes_back() {
    let mut server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    server.kill().unwrap();
    // Until the client has noticed.
    while store.is_connected() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store
        .store_delivery(&delivery("one"), Duration::from_millis(100))
        .await
        .unwrap_err();
    server.restart().unwrap();
    let end = loop {
        match store.deliveries_end().await {
            Ok(end) => break end,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    assert_eq!(end, 0);
}

#[tokio::test]
async fn the_trouble_of_another_service_s_stream_does_not_turn_deliveries_away() {
    let server = NatsServer::start().unwrap();
    let context = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let forgetful = async_nats::jetstream::stream::Config {
        name: "KV_REPORTS".into(),
        subjects: vec!["$KV.REPORTS.>".into()],
        max_age: Duration::from_secs(60),
        ..Default::default()
    };
    context.create_stream(forgetful).await.unwrap();
    let store = EventStore::connect(&EventStoreSettings::at(server.url()), "test")
        .await
        .unwrap();
    assert!(store.prepare().await.is_err());
    store.prepare_deliveries().await.unwrap();
    store.store_delivery(&delivery("one"), SOON).await.unwrap();
}
