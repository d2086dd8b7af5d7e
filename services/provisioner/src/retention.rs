//! Removes deliveries that are handled, old, and no longer referred to: no start that waits or holds a host needs its key.

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
    loop {
        match remove(&store, &folded, keep).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed deliveries past their retention"),
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "could not remove old deliveries"
            ),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn remove(
    store: &EventStore,
    folded: &FoldedLedger,
    keep: Duration,
) -> Result<usize, EventStoreError> {
    // In this order: what is handled now has its facts in the ledger, and they must be folded before it is asked who refers
    // to what.
    let handled = store.deliveries_handled(CONSUMER).await?;
    let end = store.ledger_end().await?;
    if !folded.reach_within(end, EVERY).await {
        return Ok(0);
    }
    let referred_to = folded.read(referred_to);
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
