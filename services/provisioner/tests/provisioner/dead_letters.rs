//! Dead letters that operators replay.

use bellhop_domain::reservation::Fact;
use bellhop_event_store::{BuriedLetter, DeadLetter, DeadLetterClass, Operator};
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
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
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
