//! What each user does is allowed.

use std::collections::HashSet;

use bellhop_domain::id::{
    DeliveryId, HostRef, ReservationId, ResourceId, ResourceKind, Source, Version,
};
use bellhop_domain::reservation::Fact;
use bellhop_event_store::{
    ConsumerLimits, DeadLetter, DeadLetterClass, Erasure, NewDelivery, NewEntry, Operator,
    ReportKey, ReportState, Retention, kept,
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::shipped::{block_of, permitted};
use super::*;

fn delivery(id: &str) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::new(id),
        source: Source::new("reservation-system"),
        site: None,
        kind: None,
        name: Some("node01".into()),
        event_type: None,
        webhook: None,
        received_at: Timestamp::now(),
        traceparent: None,
        headers: Vec::new(),
        body: Bytes::from_static(b"{}"),
    }
}

fn letter(service: &'static str, class: DeadLetterClass, id: &str) -> DeadLetter {
    DeadLetter {
        service,
        class,
        id: id.into(),
        what: "notification".into(),
        reason: "a test".into(),
        tries: 1,
        first_at: Timestamp::now(),
        last_at: Timestamp::now(),
        traceparent: None,
        headers: vec![(kept::REPORT.into(), id.into())],
        body: Bytes::from_static(b"{}"),
    }
}

fn reservation() -> ReservationId {
    ReservationId::new(Source::new("reservation-system"), "5120")
}

fn mara() -> Operator {
    Operator {
        name: "mara".into(),
        at: Timestamp::now(),
    }
}

async fn the_ingress_stores(broker: &Broker) {
    let store = broker.store(User::Ingress).await;
    store.prepare_deliveries().await.unwrap();
    for id in ["one", "two"] {
        store.store_delivery(&delivery(id), SOON).await.unwrap();
    }
    let unreadable = letter("ingress", DeadLetterClass::Delivery, "three");
    store.bury(&unreadable, SOON).await.unwrap();
    assert_eq!(store.deliveries_end().await.unwrap(), 2);
    assert_eq!(store.dead_letters_of("ingress").await.unwrap(), 1);
}

async fn the_provisioner_decides(broker: &Broker) {
    let store = broker.store(User::Provisioner).await;
    store.prepare().await.unwrap();
    assert!(store.load_snapshot("provisioner").await.unwrap().is_none());
    let mut deliveries = store.deliveries("provisioner", ConsumerLimits::default());
    for _ in 0..2 {
        let handed = within(deliveries.next()).await;
        assert!(store.delivery(handed.sequence).await.unwrap().is_some());
        handed.working().await;
        handed.ack().await.unwrap();
    }
    let unreadable = letter("provisioner", DeadLetterClass::Delivery, "four");
    store.bury(&unreadable, SOON).await.unwrap();
    assert_eq!(store.dead_letters_of("provisioner").await.unwrap(), 1);

    let node = ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "node01");
    let entry = NewEntry {
        at: Timestamp::now(),
        facts: vec![Fact::HostAssigned {
            reservation: reservation(),
            host: HostRef {
                namespace: "metal3".into(),
                name: "node01".into(),
                uid: "1".into(),
            },
            secret: "node01-1".into(),
        }],
        traceparent: None,
        cause: "test".into(),
    };
    let version = store.append(&node, Version(0), &entry).await.unwrap();
    assert_eq!(store.newest_version(&node).await.unwrap(), version);
    assert_eq!(store.ledger_end().await.unwrap(), version);
    let mut follower = store.follow_ledger(Version(0));
    assert_eq!(within(follower.next()).await.unwrap().version(), version);

    // Twice, so that the first is replaced; large, so that the broker wants to be told how far it was received.
    for content in [1, 2] {
        let snapshot = vec![content; 16 * 1024 * 1024];
        store.save_snapshot("provisioner", &snapshot).await.unwrap();
        let loaded = within(store.load_snapshot("provisioner")).await.unwrap();
        assert!(loaded.unwrap() == snapshot);
    }

    let handled = store.deliveries_handled("provisioner").await.unwrap();
    let retention = Retention {
        keep: Duration::from_secs(3600),
        handled,
        referred_to: &HashSet::new(),
        at_most: 1,
    };
    let later = Timestamp::now() + SignedDuration::from_hours(2);
    assert_eq!(store.remove_deliveries(&retention, later).await.unwrap(), 1);
}

async fn the_notifier_reports(broker: &Broker) {
    let store = broker.store(User::Notifier).await;
    store.prepare().await.unwrap();
    let mut follower = store.follow_ledger(Version(0));
    let entry = within(follower.next()).await.unwrap();
    for consumer in ["notifier-notification", "notifier-webhook-log"] {
        let mut entries = store.ledger_consumer(consumer, ConsumerLimits::default());
        let handed = within(entries.next()).await;
        handed.working().await;
        handed.ack().await.unwrap();
    }
    let key = ReportKey {
        reservation: reservation(),
        version: entry.version(),
        entry: None,
        index: 0,
        destination: "notification",
    };
    assert!(store.report(&key).await.unwrap().is_none());
    let state = ReportState::DeadLettered {
        at: Timestamp::now(),
        reason: "a test".into(),
    };
    let revision = store.set_report(&key, &state, None).await.unwrap();
    store
        .set_report(&key, &state, Some(revision))
        .await
        .unwrap();
    let refused = letter("notifier", DeadLetterClass::Report, &key.to_string());
    store.bury(&refused, SOON).await.unwrap();
    assert_eq!(store.dead_letters_of("notifier").await.unwrap(), 1);
}

async fn operators_look_replay_and_drop(broker: &Broker) {
    let store = broker.store(User::Operator).await;
    let mut follower = store.follow_ledger(Version(0));
    within(follower.next()).await.unwrap();
    let letters = store.dead_letters(1, 10).await.unwrap();
    assert_eq!(letters.len(), 3);
    let dropped = &letters[1];
    store
        .drop_dead_letter(dropped, &mara(), "a test")
        .await
        .unwrap();
    for letter in [&letters[0], &letters[2]] {
        let plan = store.plan_replay(letter.clone()).await.unwrap();
        assert!(store.replay(&plan, &mara()).await.unwrap().is_empty());
    }
    assert_eq!(store.dead_letters(1, 10).await.unwrap().len(), 0);
    assert_eq!(store.verdicts(1, 10).await.unwrap().len(), 3);
}

async fn the_notifier_sends_again(broker: &Broker) {
    let store = broker.store(User::Notifier).await;
    for (name, destination) in [
        ("notifier-replays-notification", "notification"),
        ("notifier-replays-webhook-log", "webhook-log"),
    ] {
        let limits = ConsumerLimits::default();
        let mut requests = store.replay_requests(name, destination, limits);
        if destination == "webhook-log" {
            requests.open().await.unwrap();
            continue;
        }
        let handed = within(requests.next()).await;
        let request = handed.item.as_ref().unwrap();
        let entry = request.reports[0].entry;
        assert!(store.entry(entry).await.unwrap().unwrap().entry.is_ok());
        handed.ack().await.unwrap();
    }
}

pub(super) async fn the_administrator_forgets(broker: &Broker) {
    let store = broker.store(User::Administrator).await;
    let end = NewDelivery {
        source: Source::new("operators"),
        ..delivery("end")
    };
    store.store_delivery(&end, SOON).await.unwrap();
    let mut follower = store.follow_ledger(Version(0));
    within(follower.next()).await.unwrap();
    store.deliveries_handled("provisioner").await.unwrap();
    let kept = store.stored_deliveries(1, u64::MAX, 10).await.unwrap();
    let erasure = Erasure {
        user: "8c1f".into(),
        by: "mara".into(),
        at: Timestamp::now(),
        because: "a test".into(),
        deliveries: kept.len() as u64,
        dead_letters: 1,
    };
    store.record_erasure(&erasure).await.unwrap();
    for delivery in &kept {
        assert!(store.erase_delivery(delivery.sequence).await.unwrap());
    }
    let letters = store.dead_letters(1, 10).await.unwrap();
    for letter in &letters {
        let dropped = store.drop_dead_letter(letter, &mara(), "a test").await;
        dropped.unwrap();
    }
    assert!(
        store
            .stored_deliveries(1, u64::MAX, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.erasures(1, 10).await.unwrap()[0].1, erasure);
}

/// What each user does, one after the other, and nothing of it is refused.
pub(super) async fn each_user_does_its_whole_job(broker: &Broker) {
    the_ingress_stores(broker).await;
    the_provisioner_decides(broker).await;
    the_notifier_reports(broker).await;
    operators_look_replay_and_drop(broker).await;
    the_notifier_sends_again(broker).await;
    assert_eq!(broker.violations(), [""; 0]);
}

#[tokio::test]
async fn each_user_can_do_its_whole_job() {
    let broker = Broker::with_streams().await;
    each_user_does_its_whole_job(&broker).await;
    the_administrator_forgets(&broker).await;
    assert_eq!(broker.violations(), [""; 0]);
}

/// The user that docs/security.md has for `bellhop all`, in the ingress's place: what each of the three is allowed, and none of
/// what the provisioner is denied.
fn with_one_user_for_all() -> String {
    let permitted = [User::Ingress, User::Provisioner, User::Notifier].map(permitted);
    let publish: Vec<_> = permitted.iter().flat_map(|it| &it.publish).collect();
    let subscribe: Vec<_> = permitted.iter().flat_map(|it| &it.subscribe).collect();
    let key = User::Ingress.variable();
    let all = format!(
        "{{ nkey: ${key}\n permissions: {{ publish: {publish:?}, subscribe: {subscribe:?} }} }}\n"
    );
    PERMISSIONS.replacen(block_of(User::Ingress), &all, 1)
}

#[tokio::test]
async fn one_user_with_what_the_three_are_allowed_is_enough_for_all_services_in_one_process() {
    let broker = Broker::start_with(NatsServer::builder(), &with_one_user_for_all());
    let only_key = broker.key_file(User::Ingress);
    for user in [User::Provisioner, User::Notifier] {
        std::fs::copy(&only_key, broker.key_file(user)).unwrap();
    }
    broker.make_streams().await;
    each_user_does_its_whole_job(&broker).await;
}
