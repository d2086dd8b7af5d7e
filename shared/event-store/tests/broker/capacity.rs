//! The capacity's facts stand in the same stream as those of the resources.

use bellhop_domain::capacity::{AskerId, Fact, GroupId};
use bellhop_event_store::{AppendError, ConsumerLimits, ErrorClass, LedgerEntry};

use crate::*;

fn granted(to: &str) -> Vec<Fact> {
    vec![Fact::PlaceGranted {
        to: AskerId::new(to),
        group: Some(GroupId::new("site 1.")),
    }]
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

#[tokio::test]
async fn of_two_decisions_about_the_capacity_upon_the_same_state_one_is_appended() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let decide = |expected, to: &'static str| {
        let store = store.clone();
        async move {
            store
                .append_beside(expected, now(), &granted(to), "capacity")
                .await
        }
    };
    assert_eq!(store.newest_beside::<Fact>().await.unwrap(), Version(0));
    // What is decided on a resource is no obstacle, in either direction.
    append(&store, "a").await;
    let first = decide(Version(0), "a").await.unwrap();
    let late = decide(Version(0), "b").await.unwrap_err();
    assert!(matches!(late, AppendError::Conflict { .. }), "{late:?}");
    assert_eq!(late.class(), ErrorClass::Conflict);
    assert_eq!(store.newest_beside::<Fact>().await.unwrap(), first);
    let second = decide(first, "b").await.unwrap();

    let mut follower = store.follow_ledger(Version(0));
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(within(follower.next()).await.unwrap());
    }
    assert!(matches!(&seen[0], LedgerEntry::Resource(entry) if entry.resource == node("a")));
    let LedgerEntry::Capacity(entry) = &seen[1] else {
        panic!("{seen:?}");
    };
    assert_eq!((entry.version, entry.at), (first, now()));
    assert_eq!(
        (&entry.facts, entry.cause.as_str()),
        (&granted("a"), "capacity")
    );
    assert_eq!(seen[2].version(), second);
}

#[tokio::test]
async fn a_consumer_of_what_is_said_of_resources_is_not_handed_the_capacity_nor_is_one_of_before() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    // As versions of before the capacity made it: for everything.
    let stream = jetstream(&server).await.get_stream("LEDGER").await.unwrap();
    let of_before = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("notifier".into()),
        ack_wait: Duration::from_secs(30),
        max_ack_pending: 1000,
        ..Default::default()
    };
    stream.create_consumer(of_before).await.unwrap();

    let first = append(&store, "a").await;
    store
        .append_beside(Version(0), now(), &granted("a"), "capacity")
        .await
        .unwrap();
    let last = store.append(&node("a"), first, &entry("2")).await.unwrap();
    let mut inbox = store.ledger_consumer("notifier", ConsumerLimits::default());
    let mut handed = Vec::new();
    for _ in 0..2 {
        let entry = within(inbox.next()).await;
        handed.push(entry.item.as_ref().unwrap().version);
        entry.ack().await.unwrap();
    }
    assert_eq!(handed, [first, last]);
}
