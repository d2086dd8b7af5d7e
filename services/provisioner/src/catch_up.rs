//! Waits until everything that waits in the broker is folded: nothing is decided, and no host touched, upon what is known not
//! to be all.

use std::time::Duration;

use bellhop_event_store::{EventStore, EventStoreError};
use tokio_util::sync::CancellationToken;

use crate::deliveries::CONSUMER;
use crate::folded::FoldedLedger;

/// Waits until all that the ledger holds now is folded. None where it was told to stop meanwhile.
pub(crate) async fn with_ledger(
    store: &EventStore,
    folded: &FoldedLedger,
    stop: &CancellationToken,
) -> Option<()> {
    let end = until_answered(|| store.ledger_end(), stop).await?;
    tokio::select! {
        () = stop.cancelled() => None,
        () = folded.reach(end) => Some(()),
    }
}

/// Waits until all deliveries that are stored now are handled, by whichever provisioner, and what follows is folded.
pub(crate) async fn with_deliveries(
    store: &EventStore,
    folded: &FoldedLedger,
    stop: &CancellationToken,
) -> Option<()> {
    let end = until_answered(|| store.deliveries_end(), stop).await?;
    while end > 0 && until_answered(|| store.deliveries_handled(CONSUMER), stop).await? < end {
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
    with_ledger(store, folded, stop).await
}

async fn until_answered<T, F>(ask: impl Fn() -> F, stop: &CancellationToken) -> Option<T>
where
    F: Future<Output = Result<T, EventStoreError>>,
{
    loop {
        let answer = tokio::select! {
            () = stop.cancelled() => return None,
            answer = ask() => answer,
        };
        match answer {
            Ok(answer) => return Some(answer),
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "NATS does not answer; asking again"
            ),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
