//! What operators want sent again: reports whose dead letters they replay.
//!
//! The request is stored before the letter goes, and acknowledged when its reports are settled, so neither a kill nor an outage
//! loses it. From `REPORTS` on a replayed report goes the way of every other: it waits for the one before it, is claimed, is not
//! sent where it is not true any more, and is a dead letter again if it fails again.

use bellhop_domain::reservation::Fact;
use bellhop_event_store::{AskedReport, EventStoreError, Handed, ReplayRequest, Unreadable};

use super::dead_letter::{NEWER_FORMAT_TRIES, UnreadEntry};
use super::{Interrupted, Outbox};
use crate::view::Place;

impl Outbox {
    /// Sends again what an operator asks for, in the ledger's order.
    pub(super) async fn replay(&self, handed: &Handed<ReplayRequest>) -> Result<(), Interrupted> {
        let request = match &handed.item {
            Ok(request) => request,
            Err(unreadable) => return self.cannot_read(handed, unreadable).await,
        };
        tracing::info!(
            by = request.by,
            destination = %self.destination,
            reports = request.reports.len(),
            "an operator has reports sent again"
        );
        for asked in &request.reports {
            self.replay_one(asked, handed).await?;
        }
        Ok(())
    }

    async fn replay_one(
        &self,
        asked: &AskedReport,
        handed: &Handed<ReplayRequest>,
    ) -> Result<(), Interrupted> {
        let version = asked.entry;
        let Some(stored) = self.store.entry(version).await? else {
            tracing::error!(entry = %version, "the ledger has no such entry: nothing is sent again");
            return Ok(());
        };
        let entry = match stored.entry {
            Ok(entry) => entry,
            Err(unreadable) => {
                let entry = UnreadEntry {
                    version,
                    headers: stored.headers,
                    body: stored.body,
                    stored_at: stored.stored_at,
                    tries: handed.tries,
                    replay: Some(handed.sequence),
                };
                return self.give_up(entry, &unreadable).await;
            }
        };
        let Some(index) = asked.fact else {
            return self.settle_entry(&entry, handed.tries).await;
        };
        // What is about no reservation owes no report.
        let Some(reservation) = entry.facts.get(index).and_then(Fact::reservation) else {
            return Ok(());
        };
        self.unless_stopping(self.followed.reach(version)).await?;
        let key = self.key(reservation, Place::of(&entry, index));
        if self.owe_again(&key, asked.revision).await? {
            self.settle(&entry, index, handed.tries).await?;
        } else {
            tracing::info!(report = %key, "settled since it was asked for: not sent again");
        }
        Ok(())
    }

    /// A newer version's operator asked: a notifier of that version can read it. Where none comes, it is kept for one as a dead
    /// letter, and holds no place any more. Anything else is nobody's request.
    async fn cannot_read(
        &self,
        handed: &Handed<ReplayRequest>,
        unreadable: &Unreadable,
    ) -> Result<(), Interrupted> {
        tracing::error!(
            sequence = handed.sequence,
            reason = %unreadable,
            "a request to send reports again can't be read: was it written by a newer version of Bellhop?"
        );
        match unreadable {
            Unreadable::NewerFormat { .. } if handed.tries < NEWER_FORMAT_TRIES => {
                let error = EventStoreError::from(unreadable.clone());
                return Err(error.into());
            }
            Unreadable::NewerFormat { .. } => {
                let reason = format!("a request to send reports again can't be read: {unreadable}");
                self.bury_unread_request(handed, reason).await;
            }
            _ => {}
        }
        Ok(())
    }
}
