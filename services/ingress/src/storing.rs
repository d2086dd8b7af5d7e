//! Where a webhook is stored: in the broker, or in the spool until the broker takes it.

use std::time::{Duration, Instant};

use bellhop_event_store::{ErrorClass, StoreError, Stored};
use jiff::Timestamp;

use crate::answer::Answer;
use crate::intake::Intake;
use crate::lost::Loss;
use crate::secrets::with_causes;
use crate::spool::{Entry, NotSpooled, Spool};

/// Where it is, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In the broker.
    Stored,
    /// In the broker since before.
    Before,
    /// In the spool. It may be in the broker too, which was only slow to say so: the message id makes it one.
    Spooled,
}

/// Why the broker does not have it.
enum NotInBroker {
    /// There was no connection yet.
    NotConnected,
    /// What it said, or that it said nothing.
    Failed(StoreError),
}

impl NotInBroker {
    /// Our own headers are always valid, so it is the size. Even that goes to the spool, and is kept there.
    fn is_too_large(&self) -> bool {
        matches!(self, Self::Failed(error) if error.class() == ErrorClass::Permanent)
    }

    fn text(&self) -> String {
        match self {
            Self::NotConnected => "there is no connection to NATS yet".to_owned(),
            Self::Failed(error) => with_causes(error),
        }
    }
}

/// Stores something within `STORE_TIMEOUT`. Where that fails it is alarmed: the sender does not send it again.
pub(crate) async fn store(intake: &Intake, entry: Entry) -> Result<Kept, Answer> {
    let kept = match &intake.spool {
        None => {
            let stored = in_broker(intake, &entry, Instant::now()).await;
            stored.map_err(|why| (why, None))
        }
        Some(spool) => in_broker_or_spool(intake, spool, &entry).await,
    };
    match kept {
        Ok(kept) => {
            intake.lost.stored();
            Ok(kept)
        }
        Err((not_in_broker, not_spooled)) => Err(lost(intake, &not_in_broker, not_spooled)),
    }
}

/// Gives the broker `SPOOL_AFTER` (at most half of the time, so that the spool has some too), or no time at all where it is
/// known to be away; then the spool; and where that can't, the broker the rest of the time.
async fn in_broker_or_spool(
    intake: &Intake,
    spool: &Spool,
    entry: &Entry,
) -> Result<Kept, (NotInBroker, Option<NotSpooled>)> {
    let begun = Instant::now();
    let mut in_broker = std::pin::pin!(in_broker(intake, entry, begun));
    let mut said = None;
    if !intake.broker.is_away() {
        let patience = intake.spool_after.min(intake.store_timeout / 2);
        match tokio::time::timeout(patience, &mut in_broker).await {
            Ok(Ok(kept)) => return Ok(kept),
            Ok(Err(why)) => said = Some(why),
            Err(_) => intake.broker.did_not_confirm(),
        }
    }
    // A process that was stopped in between (SIGSTOP, a machine that is moved) finds its time used up, and its sender may
    // still wait: the spool has its half all the same.
    let patience = rest(intake, begun).max(intake.store_timeout / 2);
    let not_spooled = match spool.keep(entry, patience).await {
        Ok(()) => return Ok(Kept::Spooled),
        Err(why) => why,
    };
    let not_in_broker = match said {
        Some(why) => why,
        None => match in_broker.await {
            Ok(kept) => return Ok(kept),
            Err(why) => why,
        },
    };
    Err((not_in_broker, Some(not_spooled)))
}

/// What is left of `STORE_TIMEOUT`.
fn rest(intake: &Intake, begun: Instant) -> Duration {
    intake.store_timeout.saturating_sub(begun.elapsed())
}

/// Gives the broker what is left of `STORE_TIMEOUT`.
async fn in_broker(intake: &Intake, entry: &Entry, begun: Instant) -> Result<Kept, NotInBroker> {
    let broker = &intake.broker;
    let Some(store) = broker.store_within(rest(intake, begun)).await else {
        return Err(NotInBroker::NotConnected);
    };
    match entry.store(store, rest(intake, begun)).await {
        Ok(Stored { duplicate, .. }) => {
            intake.metrics.stored_within(begun.elapsed());
            broker.stored();
            Ok(if duplicate {
                Kept::Before
            } else {
                Kept::Stored
            })
        }
        Err(error) => {
            broker.failed(&error);
            Err(NotInBroker::Failed(error))
        }
    }
}

/// Says everywhere that a webhook is lost: its sender does not try again.
fn lost(intake: &Intake, not_in_broker: &NotInBroker, not_spooled: Option<NotSpooled>) -> Answer {
    let why = not_in_broker.text();
    match not_spooled {
        None => tracing::error!("a verified webhook is not known to be stored: {why}"),
        Some(nor) => {
            tracing::error!("a verified webhook is not known to be stored: {why}; {nor}");
        }
    }
    let (loss, answer) = if not_in_broker.is_too_large() {
        (Loss::TooLarge, Answer::TooLargeForBroker)
    } else {
        (Loss::NotStored, Answer::NotStored)
    };
    intake.lost.lost(loss, Timestamp::now());
    answer
}
