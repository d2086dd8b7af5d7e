//! Dead letters that operators replay.

use std::time::Duration;

use bellhop_domain::reservation::Fact;
use bellhop_event_store::{
    BuriedLetter, ConsumerLimits, DeadLetter, DeadLetterClass, Operator, kept,
};
use bellhop_provisioner::DELIVERIES_CONSUMER;
use jiff::Timestamp;

use crate::installation::PATIENCE;
use crate::world::{World, start};

/// What an ingress of an earlier version left of a webhook that it could not read.
async fn unreadable_then(world: &World, id: &str, body: serde_json::Value) -> BuriedLetter {
    let letter = DeadLetter {
        service: "ingress",
        class: DeadLetterClass::Delivery,
        id: id.into(),
        what: "reservation-system".into(),
        reason: "it can't be read".into(),
        tries: 1,
        first_at: Timestamp::now(),
        last_at: Timestamp::now(),
        traceparent: None,
        headers: Vec::new(),
        body: body.to_string().into(),
    };
    let stored = world.store.bury(&letter, PATIENCE).await.unwrap();
    let buried = world.store.dead_letter(stored.sequence).await.unwrap();
    buried.unwrap()
}

#[tokio::test]
async fn a_replayed_webhook_that_only_this_version_reads_gets_its_reservation_a_host() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    let id = "reservation-system.unreadable.33ae943ffef43d11493cc0b085f4318c";
    let letter = unreadable_then(&world, id, start("5120", "node01")).await;
    let plan = world.store.plan_replay(letter).await.unwrap();
    let by = Operator {
        name: "mara".into(),
        at: Timestamp::now(),
    };
    world.store.replay(&plan, &by).await.unwrap();
    let started = world.until("ReservationStarted").await;
    let Fact::ReservationStarted(started) = started else {
        panic!("{started:?}");
    };
    // Its key is read from the delivery that this names.
    assert_eq!(started.delivery.id.as_str(), id);
    let claimed = world.until("HostProvisioned").await;
    assert_eq!(claimed.reservation().unwrap().event(), "5120");
}

#[tokio::test]
async fn a_delivery_that_can_t_be_handled_is_buried_with_what_its_replay_needs() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    let body = serde_json::json!({"eventType": "EVENT_START", "webhookId": 12});
    let first = world.says(body).await;
    let buried = async |before: u64| {
        loop {
            let letters = world.store.dead_letters(before + 1, 1).await.unwrap();
            if let Some(letter) = letters.into_iter().next() {
                return letter;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let letter = tokio::time::timeout(PATIENCE, buried(0)).await.unwrap();
    let sequence = letter.sequence;
    let plan = world.store.plan_replay(letter).await.unwrap();
    let by = Operator {
        name: "mara".into(),
        at: Timestamp::now(),
    };
    world.store.replay(&plan, &by).await.unwrap();
    // It can't be read this time either, and is a dead letter again, of the second delivery.
    let again = tokio::time::timeout(PATIENCE, buried(sequence))
        .await
        .unwrap();
    assert_eq!(again.id, format!("provisioner-{}", first + 1));
    let id = |sequence| world.store.delivery(sequence);
    let (one, two) = (id(first).await.unwrap(), id(first + 1).await.unwrap());
    assert_eq!(one.unwrap().id, two.unwrap().id);
}

/// While versions change a provisioner of the newer one takes it. Where there is none it must not keep those that start from
/// their hosts for ever.
#[tokio::test]
async fn a_delivery_of_a_newer_format_is_a_dead_letter_after_many_tries_and_holds_no_start_up() {
    let world = World::with_host("node01").await;
    let mut letter = DeadLetter {
        service: "provisioner",
        class: DeadLetterClass::Delivery,
        id: "newer".into(),
        what: "reservation-system".into(),
        reason: "a test".into(),
        tries: 1,
        first_at: Timestamp::now(),
        last_at: Timestamp::now(),
        traceparent: None,
        headers: Vec::new(),
        body: "{}".into(),
    };
    let subject = "deliveries.reservation-system.=unknown.baremetalhost.node01";
    for (name, value) in [
        ("ce-id", "newer"),
        ("ce-type", "EVENT_START"),
        ("Bellhop-Format", "2"),
        (kept::SUBJECT, subject),
    ] {
        letter.headers.push((name.into(), value.into()));
    }
    let stored = world.store.bury(&letter, PATIENCE).await.unwrap();
    let letter = world.store.dead_letter(stored.sequence).await.unwrap();
    let plan = world.store.plan_replay(letter.unwrap()).await.unwrap();
    let by = Operator {
        name: "mara".into(),
        at: Timestamp::now(),
    };
    world.store.replay(&plan, &by).await.unwrap();
    // As often as it is handed out within some minutes.
    let mut inbox = world
        .store
        .deliveries(DELIVERIES_CONSUMER, ConsumerLimits::default());
    for tries in 1..20 {
        let handed = inbox.next().await;
        assert_eq!(handed.tries, tries);
        assert!(handed.item.is_err());
        // The last time it rests until nobody reads here any more.
        let rest = if tries == 19 { 2 } else { 0 };
        handed.retry_after(Duration::from_secs(rest)).await;
    }
    drop(inbox);

    let _provisioner = world.provisioner();
    world.says(start("5120", "node01")).await;
    world.until("HostProvisioned").await;
    let letters = world
        .store
        .dead_letters(stored.sequence + 1, 1)
        .await
        .unwrap();
    let reason = &letters[0].reason;
    assert!(reason.contains("format 2, newer than"), "{reason}");
    // A version that reads it can have it replayed as it came.
    assert!(
        letters[0]
            .headers
            .contains(&("Bellhop-Format".into(), "2".into()))
    );
}

#[tokio::test]
async fn a_delivery_whose_facts_the_ledger_never_takes_is_a_dead_letter_and_holds_nobody_up() {
    let mut world = World::with_host("node01").await;
    let client = async_nats::connect(world.installation.nats().url()).await;
    let context = async_nats::jetstream::new(client.unwrap());
    let ledger = context.get_stream("LEDGER").await.unwrap();
    let mut config = ledger.cached_info().config.clone();
    config.max_message_size = 4000;
    context.update_stream(config).await.unwrap();
    let _provisioner = world.provisioner();
    let mut large = start("5121", "node02");
    large["resourceSpecs"] = "x".repeat(3800).into();
    let large = world.says(large).await;
    world.says(start("5120", "node01")).await;
    world.until("HostProvisioned").await;
    let buried = async {
        loop {
            let letters = world.store.dead_letters(1, 1).await.unwrap();
            if let Some(letter) = letters.into_iter().next() {
                return letter;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let letter = tokio::time::timeout(PATIENCE, buried).await.unwrap();
    assert_eq!(letter.id, format!("provisioner-{large}"));
    assert!(letter.reason.contains("max_msg_size"), "{}", letter.reason);
}
