//! What can't be handled to its end, by whichever notifier and however often: a dead letter, so that nobody waits for it for ever.

use bellhop_domain::id::Version;
use bellhop_event_store::{ErrorClass, Handed, ReplayRequest};
use bellhop_service::panics::{self, Panicked, caught};
use bytes::Bytes;

use super::dead_letter::{NEWER_FORMAT_TRIES, UnreadEntry};
use super::{Interrupted, OnItsWay, Outbox, Work};

impl Interrupted {
    /// Whether what was handed out so often is given up.
    fn is_poison(&self, tries: u64) -> bool {
        match self {
            Self::Stopping => false,
            // What stands in the streams is not of a form that this version reads.
            Self::Store(error) => {
                error.class() == ErrorClass::Permanent && tries >= NEWER_FORMAT_TRIES
            }
            Self::Panicked(_) => tries >= panics::TRIES,
        }
    }
}

impl Outbox {
    /// Handles a message; buries it where that is hopeless.
    pub(super) async fn done_or_buried<T: Work>(
        &self,
        handed: &Handed<T>,
    ) -> Result<(), Interrupted> {
        let done = caught(T::done_by(self, handed)).await;
        match done.unwrap_or_else(|panicked| Err(panicked.into())) {
            Err(why) if why.is_poison(handed.tries) => {
                let buried = caught(T::buried_by(self, handed, why)).await;
                buried.unwrap_or_else(|panicked| Err(panicked.into()))
            }
            done => done,
        }
    }

    /// Buries a report whose handling panics, after some tries: those behind it must not wait for it for ever.
    pub(super) async fn bury_poison(
        &self,
        report: &OnItsWay<'_>,
        panicked: Panicked,
        tries: u64,
    ) -> Result<(), Interrupted> {
        if tries < panics::TRIES {
            return Err(panicked.into());
        }
        if let Some(mut owed) = self.still_owed(&report.key).await? {
            owed.attempts = u32::try_from(tries).unwrap_or(u32::MAX);
            self.bury(report, &owed, None, panicked.to_string()).await;
        }
        Ok(())
    }

    /// What an operator asked for and can't be handled is again the dead letters that it was.
    pub(super) async fn bury_request(
        &self,
        handed: &Handed<ReplayRequest>,
        why: Interrupted,
    ) -> Result<(), Interrupted> {
        let Ok(request) = &handed.item else {
            return Err(why);
        };
        let reason = format!("can't be sent again: {why}");
        let mut versions: Vec<Version> = request.reports.iter().map(|asked| asked.entry).collect();
        versions.dedup();
        for version in versions {
            let entry = UnreadEntry {
                version,
                headers: Vec::new(),
                body: Bytes::new(),
                stored_at: handed.stored_at,
                tries: handed.tries,
                replay: Some(handed.sequence),
            };
            self.bury_entry(entry, &reason).await;
        }
        Ok(())
    }
}
