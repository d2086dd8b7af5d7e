//! What stands in `REPORTS` about a report.

use bellhop_event_store::{ReportError, ReportKey, ReportState, Revision, Sending};
use jiff::Timestamp;

use super::{Interrupted, OnItsWay, Outbox, STORE_PAUSE};

/// A report that stands as owed in `REPORTS`.
pub(super) struct Owed {
    pub(super) attempts: u32,
    pub(super) last_error: Option<String>,
    pub(super) first_at: Timestamp,
    pub(super) sending: Option<Sending>,
    pub(super) replayed_at: Option<Timestamp>,
    pub(super) revision: Revision,
}

impl Owed {
    /// As it stands in `REPORTS`.
    pub(super) fn to_state(&self) -> ReportState {
        ReportState::Owed {
            attempts: self.attempts,
            last_error: self.last_error.clone(),
            first_at: self.first_at,
            sending: self.sending.clone(),
            replayed_at: self.replayed_at,
        }
    }
}

impl Outbox {
    /// The report as it stands in `REPORTS`, made there if it isn't yet; none once it is settled.
    pub(super) async fn still_owed(&self, key: &ReportKey) -> Result<Option<Owed>, Interrupted> {
        loop {
            match self.store.report(key).await? {
                Some((
                    ReportState::Owed {
                        attempts,
                        last_error,
                        first_at,
                        sending,
                        replayed_at,
                    },
                    revision,
                )) => {
                    return Ok(Some(Owed {
                        attempts,
                        last_error,
                        first_at,
                        sending,
                        replayed_at,
                        revision,
                    }));
                }
                Some(_) => return Ok(None),
                None => {
                    let state = ReportState::Owed {
                        attempts: 0,
                        last_error: None,
                        first_at: Timestamp::now(),
                        sending: None,
                        replayed_at: None,
                    };
                    match self.store.set_report(key, &state, None).await {
                        // Now it is there, or another notifier made it: look again.
                        Ok(_) | Err(ReportError::Conflict { .. }) => {}
                        Err(ReportError::Store(error)) => return Err(error.into()),
                    }
                }
            }
        }
    }

    /// Makes a dead letter's report owed again, if what stands in `REPORTS` is still what stood there when it was asked for.
    /// False where it was settled again since.
    pub(super) async fn owe_again(
        &self,
        key: &ReportKey,
        asked_for: Option<Revision>,
    ) -> Result<bool, Interrupted> {
        loop {
            match self.store.report(key).await? {
                Some((ReportState::DeadLettered { .. }, revision))
                    if Some(revision) == asked_for =>
                {
                    let now = Timestamp::now();
                    let owed = ReportState::Owed {
                        attempts: 0,
                        last_error: None,
                        first_at: now,
                        sending: None,
                        replayed_at: Some(now),
                    };
                    match self.store.set_report(key, &owed, Some(revision)).await {
                        // Another notifier was quicker, which then has the same request in hand: look again.
                        Ok(_) | Err(ReportError::Conflict { .. }) => {}
                        Err(ReportError::Store(error)) => return Err(error.into()),
                    }
                }
                // By this request before a crash, or not settled at all.
                Some((ReportState::Owed { .. }, _)) | None => return Ok(true),
                Some(_) => return Ok(false),
            }
        }
    }

    /// Writes what became of a report, however often the broker must be asked: it was sent, or buried, and that can't be
    /// undone.
    pub(super) async fn remember(&self, key: &ReportKey, state: ReportState, revision: Revision) {
        let mut last = Some(revision);
        let mut trouble = false;
        loop {
            let error = match self.store.set_report(key, &state, last).await {
                Ok(_) => break,
                // Another notifier has it now, or our own try before was stored though its answer was lost.
                Err(ReportError::Conflict { .. }) if !state.is_settled() => break,
                Err(ReportError::Conflict { .. }) => match self.store.report(key).await {
                    // Another notifier was quicker, or our own try before was stored though its answer was lost.
                    Ok(Some((known, _))) if known.is_settled() || known == state => break,
                    Ok(now) => {
                        last = now.map(|(_, revision)| revision);
                        continue;
                    }
                    Err(error) => error,
                },
                Err(ReportError::Store(error)) => error,
            };
            if !std::mem::replace(&mut trouble, true) {
                tracing::warn!(report = %key, %error, "cannot write down what became of a report; trying again");
            }
            tokio::time::sleep(STORE_PAUSE).await;
        }
        if state.is_settled() {
            // An error means that nobody waits.
            let _ = self.settled.send(key.clone());
        }
    }

    pub(super) async fn drop_report(
        &self,
        report: &OnItsWay<'_>,
        revision: Revision,
        reason: String,
    ) {
        tracing::info!(report = %report.key, reason, "report not sent");
        let state = ReportState::Dropped {
            at: Timestamp::now(),
            reason,
        };
        self.remember(&report.key, state, revision).await;
        self.metrics.settled(self.destination, "dropped");
    }
}
