//! Removes deliveries that are handled, old, and no longer referred to: no start that waits or holds a host needs its key, and no
//! dead letter has its body there.

use std::collections::HashSet;
use std::time::Duration;

use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{Occupancy, Phase};
use bellhop_event_store::{EventStore, EventStoreError, Retention};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::deliveries::CONSUMER;
use crate::folded::FoldedLedger;

const EVERY: Duration = Duration::from_secs(600);
/// So many at once, so that the broker serves others meanwhile.
const AT_ONCE: usize = 1000;

/// Removes deliveries now and then until told to stop.
pub(crate) async fn run(
    store: EventStore,
    folded: FoldedLedger,
    keep: Duration,
    stop: CancellationToken,
) {
    let rounds = async {
        loop {
            match remove(&store, &folded, keep).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed deliveries past their retention"),
                Err(error) => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "could not remove old deliveries"
                ),
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    // Each delivery goes by itself, so a round may end anywhere.
    tokio::select! {
        () = stop.cancelled() => {}
        () = rounds => {}
    }
}

async fn remove(
    store: &EventStore,
    folded: &FoldedLedger,
    keep: Duration,
) -> Result<usize, EventStoreError> {
    // In this order: what is handled now has its facts in the ledger, or its dead letter, and they must be folded before it is
    // asked who refers to what.
    let handled = store.deliveries_handled(CONSUMER).await?;
    let end = store.ledger_end().await?;
    if !folded.reach_within(end, EVERY).await {
        return Ok(0);
    }
    let mut referred_to = folded.read(referred_to);
    referred_to.extend(store.bodies_of_dead_letters().await?);
    let retention = Retention {
        keep,
        handled,
        referred_to: &referred_to,
        at_most: AT_ONCE,
    };
    store.remove_deliveries(&retention, Timestamp::now()).await
}

fn referred_to(ledger: &Ledger) -> HashSet<u64> {
    let mut sequences = HashSet::new();
    for (_, resource) in ledger.resources() {
        if let Occupancy::Held(holding) = &resource.occupancy {
            sequences.insert(holding.delivery.sequence);
        }
        for reservation in resource.reservations.values() {
            if let Phase::Waiting(waiting) | Phase::Postponed(waiting) = &reservation.phase {
                sequences.insert(waiting.delivery.sequence);
            }
        }
    }
    sequences
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bellhop_domain::id::{
        DeliveryId, ReservationId, ResourceId, ResourceKind, Source, Version,
    };
    use bellhop_domain::reservation::Fact;
    use bellhop_event_store::{
        ConsumerLimits, DeadLetter, DeadLetterClass, EventStoreSettings, NewDelivery, NewEntry,
        Operator, kept,
    };
    use bellhop_nats_server::NatsServer;

    use super::*;

    #[tokio::test]
    async fn a_stop_ends_the_wait_for_what_is_not_folded_yet() {
        let server = NatsServer::start().unwrap();
        let store = store_at(&server).await;
        let mut inbox = store.deliveries(CONSUMER, ConsumerLimits::default());
        inbox.open().await.unwrap();
        let entry = NewEntry {
            at: Timestamp::UNIX_EPOCH,
            facts: vec![Fact::HostClaimed {
                reservation: ReservationId::new(Source::new("reservation-system"), "1"),
            }],
            traceparent: None,
            cause: "test".into(),
        };
        let node = ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "node01");
        store.append(&node, Version(0), &entry).await.unwrap();

        // Nobody follows the ledger for this one.
        let folded = FoldedLedger::from(Ledger::default(), Version(0).into());
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(store, folded, Duration::ZERO, stop.clone()));
        // Time enough to begin to wait; a stop before that ends it too.
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.cancel();
        let ended = tokio::time::timeout(EVERY / 10, running).await;
        ended.unwrap().unwrap();
    }

    async fn store_at(server: &NatsServer) -> EventStore {
        let settings = EventStoreSettings::at(server.url());
        let store = EventStore::connect(&settings, "test").await.unwrap();
        store.prepare().await.unwrap();
        store
    }

    #[tokio::test]
    async fn a_delivery_that_holds_the_body_of_a_dead_letter_stays_until_the_letter_goes() {
        let server = NatsServer::start().unwrap();
        let store = store_at(&server).await;
        let soon = Duration::from_secs(5);
        let delivery = NewDelivery {
            id: DeliveryId::new("one"),
            source: Source::new("reservation-system"),
            site: None,
            kind: None,
            name: None,
            event_type: None,
            webhook: None,
            received_at: Timestamp::now(),
            traceparent: None,
            headers: Vec::new(),
            body: "{}".into(),
        };
        store.store_delivery(&delivery, soon).await.unwrap();
        let handed = store
            .deliveries(CONSUMER, ConsumerLimits::default())
            .next()
            .await;
        let letter = DeadLetter {
            service: "provisioner",
            class: DeadLetterClass::Delivery,
            id: "provisioner-1".into(),
            what: "reservation-system".into(),
            reason: "a test".into(),
            tries: 1,
            first_at: handed.stored_at,
            last_at: Timestamp::now(),
            traceparent: None,
            headers: vec![(kept::DELIVERY.into(), "1".into())],
            body: bytes::Bytes::new(),
        };
        // Twice, as after a crash.
        store.bury(&letter, soon).await.unwrap();
        store.bury(&letter, soon).await.unwrap();
        handed.terminate().await.unwrap();

        let folded = FoldedLedger::from(Ledger::default(), Version(0).into());
        let remove = async || remove(&store, &folded, Duration::ZERO).await.unwrap();
        assert_eq!(remove().await, 0);
        let letters = store.dead_letters(1, 10).await.unwrap();
        assert_eq!(letters.len(), 1);
        let by = Operator {
            name: "mara".into(),
            at: Timestamp::now(),
        };
        store
            .drop_dead_letter(&letters[0], &by, "a test")
            .await
            .unwrap();
        assert_eq!(remove().await, 1);
    }
}
