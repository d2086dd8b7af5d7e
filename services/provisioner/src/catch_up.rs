//! Waits until everything that waits in the broker is folded: nothing is decided, and no host touched, upon what is known not
//! to be all.

use std::time::Duration;

use bellhop_event_store::{EventStore, EventStoreError};
use tokio_util::sync::CancellationToken;

use crate::deliveries::CONSUMER;
use crate::folded::FoldedLedger;

/// The first pause between two questions.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The longest: a start waits for no more than that in vain.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
    let mut asked = 0;
    while end > 0 && until_answered(|| store.deliveries_handled(CONSUMER), stop).await? < end {
        asked += 1;
        rest(asked, stop).await?;
    }
    with_ledger(store, folded, stop).await
}

async fn until_answered<T, F>(ask: impl Fn() -> F, stop: &CancellationToken) -> Option<T>
where
    F: Future<Output = Result<T, EventStoreError>>,
{
    for asked in 1.. {
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
        rest(asked, stop).await?;
    }
    None
}

/// Waits before the broker is asked once more. None where it was told to stop meanwhile.
async fn rest(asked: u32, stop: &CancellationToken) -> Option<()> {
    tokio::select! {
        () = stop.cancelled() => None,
        () = tokio::time::sleep(pause(asked, rand::random())) => Some(()),
    }
}

/// The pause after so many questions: it doubles up to [`LONGEST_PAUSE`], and is somewhere in the upper half of that, so that
/// provisioners that start together don't ask together. `chance` is from 0 to 1.
fn pause(asked: u32, chance: f64) -> Duration {
    let doublings = asked.saturating_sub(1).min(10);
    let longest = (SHORTEST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_is_asked_less_and_less_often_and_not_by_all_at_once() {
        let longest = |asked| pause(asked, 1.0).as_millis();
        assert_eq!(
            [1, 2, 3, 6, u32::MAX].map(longest),
            [50, 100, 200, 1000, 1000]
        );
        assert_eq!(pause(2, 0.0).as_millis(), 50);
    }
}
