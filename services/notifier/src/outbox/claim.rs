//! Who sends a report now. A notifier writes down in `REPORTS` that it is about to send one before it does, so that no two
//! send the same: not after an outage of the broker, when what one of them has in hand is handed to another.

use std::time::Duration;

use bellhop_event_store::{ReportError, ReportKey, Revision, Sending};
use jiff::Timestamp;
use tokio::time::Instant;

use super::record::Owed;
use super::{Channel, Interrupted, Outbox};

/// What a claim lasts beyond the request: the time to write it down, and to write down what came of it.
const MARGIN: Duration = Duration::from_secs(10);
/// Another one's claim that is over is left alone for so long after it was first seen: after an outage of the broker whoever
/// made it has an answer, and writes it down now.
const SETTLING: Duration = Duration::from_secs(3);
/// The pause before another one's claim is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Another notifier's claim on a report, and since when we know it.
#[derive(Default)]
pub(super) struct OthersClaim(Option<(Revision, Instant)>);

impl OthersClaim {
    /// How long to wait before the report is looked at again; none if no other notifier sends it. One whose clock is wrong
    /// is waited for no longer than it said that it takes.
    pub(super) fn pause(&mut self, owed: &Owed, me: &str, now: Timestamp) -> Option<Duration> {
        let claim = owed.sending.as_ref().filter(|claim| claim.by != me)?;
        let known_for = match self.0 {
            Some((revision, since)) if revision == owed.revision => since.elapsed(),
            _ => {
                self.0 = Some((owed.revision, Instant::now()));
                Duration::ZERO
            }
        };
        let takes = Duration::try_from(claim.until.duration_since(claim.since)).unwrap_or_default();
        let is_over = claim.until <= now || known_for >= takes;
        (!is_over || known_for < SETTLING).then_some(LOOK_AGAIN)
    }
}

impl Outbox {
    /// Writes down that we are about to send the report; none where another notifier was quicker. What is begun then must end
    /// within the destination's timeout after the instant.
    pub(super) async fn claim(
        &self,
        channel: &Channel,
        key: &ReportKey,
        owed: Owed,
    ) -> Result<Option<(Owed, Instant)>, Interrupted> {
        let since = Timestamp::now();
        let lasts = channel.sender.timeout().saturating_add(MARGIN);
        let claimed = Owed {
            sending: Some(Sending {
                by: self.notifier.to_string(),
                since,
                until: since.saturating_add(lasts).unwrap_or(Timestamp::MAX),
            }),
            ..owed
        };
        let state = claimed.to_state();
        let claim = self.store.set_report(key, &state, Some(claimed.revision));
        match claim.await {
            Ok(revision) => {
                let claimed = Owed {
                    revision,
                    ..claimed
                };
                Ok(Some((claimed, Instant::now())))
            }
            Err(ReportError::Conflict { .. }) => Ok(None),
            // If it was stored all the same we find it to be our own.
            Err(ReportError::Store(error)) => Err(error.into()),
        }
    }

    /// Writes down that the report is not sent now, so that nobody waits for the claim to be over.
    pub(super) async fn give_back(&self, key: &ReportKey, owed: Owed) {
        let free = Owed {
            sending: None,
            ..owed
        };
        self.remember(key, free.to_state(), &free).await;
    }
}
