//! Waits for the deadlines that the folded ledger holds, and asks for a decision when one has passed.

use std::time::Duration;

use bellhop_domain::id::ResourceId;
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{Command, timer};
use bellhop_domain::time;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::decisions::Decisions;
use crate::folded::FoldedLedger;

/// Never sleep longer: the clock may be set, and a deadline be nearer than it seemed.
const LONGEST: Duration = Duration::from_secs(30);
/// Never spin where a decision that is due can't be recorded.
const SHORTEST: Duration = Duration::from_millis(500);

/// A gap between two looks that means that this process was not running.
const AWAY: Duration = Duration::from_secs(90);

/// How often to look for what a crash in the middle of a move left.
const STRAYS: Duration = Duration::from_secs(10);

/// Fires deadlines until told to stop.
pub(crate) async fn run(
    folded: FoldedLedger,
    decisions: Decisions,
    mut up_since: Timestamp,
    stop: CancellationToken,
) {
    let mut changes = folded.changes();
    let mut looked = Timestamp::now();
    let mut searched = Timestamp::UNIX_EPOCH;
    loop {
        let now = Timestamp::now();
        // This process was stopped, or its machine asleep: what passed meanwhile passed while we were away.
        if time::elapsed(looked, now) > AWAY {
            tracing::warn!(last = %looked, "this process did not run for a while; deadlines that passed begin their hold anew");
            up_since = now;
        }
        looked = now;
        for resource in due(&folded, &decisions, now) {
            let decided = decisions
                .decide(&resource, &Command::TimePassed { up_since }, "time")
                .await;
            if let Err(error) = decided {
                tracing::warn!(%resource, error = &error as &dyn std::error::Error, "could not decide on a deadline; trying again");
            }
        }
        if time::elapsed(searched, now) >= STRAYS {
            searched = now;
            call_back_strays(&folded, &decisions).await;
        }
        let pause = next_due(&folded, &decisions).map_or(LONGEST, |due| {
            Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
        });
        // What changes may bring a nearer deadline; a burst of changes is one reason to look.
        let wake = async {
            let _changed = changes.recv().await;
            tokio::time::sleep(SHORTEST).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause.clamp(SHORTEST, LONGEST)) => {}
            () = wake => {}
        }
    }
}

/// Finishes moves: a reservation is live on one resource only.
async fn call_back_strays(folded: &FoldedLedger, decisions: &Decisions) {
    for (resource, reservation, to) in folded.read(Ledger::strays) {
        let out = Command::MovedOut { reservation, to };
        if let Err(error) = decisions.decide(&resource, &out, "sweep").await {
            tracing::warn!(%resource, error = &error as &dyn std::error::Error, "could not finish a move; trying again");
        }
    }
}

fn due(folded: &FoldedLedger, decisions: &Decisions, now: Timestamp) -> Vec<ResourceId> {
    folded.resources_where(|_, resource| {
        timer::next_due(resource, decisions.policy()).is_some_and(|due| due <= now)
    })
}

fn next_due(folded: &FoldedLedger, decisions: &Decisions) -> Option<Timestamp> {
    folded.read(|ledger| {
        ledger
            .resources()
            .filter_map(|(_, resource)| timer::next_due(resource, decisions.policy()))
            .min()
    })
}
