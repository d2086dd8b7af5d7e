//! A start whose end has passed is refused for good, and its user told so. Nobody sends it again, so that is not done before it is
//! sure: an extension may be right behind it, and our clock may be wrong.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bellhop_domain::reservation::timer::SETTLING;
use bellhop_domain::reservation::{Said, Word};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::broker_clock::ClockGuard;
use crate::folded::FoldedLedger;

/// How long after its start a process may still have an extension before it that waited behind a start.
const BACKLOG: Duration = Duration::from_secs(10);

/// Why a start that comes after its end is not refused yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSureYet {
    #[error("its time is over, but what else waits may have extended it")]
    Extension,
    #[error("its time is over by our clock, and not yet by the broker's")]
    Clock,
}

/// Says which late starts may be refused.
pub(crate) struct LateStarts {
    folded: FoldedLedger,
    clock: ClockGuard,
    backlog: Mutex<Backlog>,
}

impl LateStarts {
    pub(crate) fn new(
        folded: FoldedLedger,
        clock: ClockGuard,
        connections: watch::Receiver<u64>,
    ) -> Self {
        Self {
            folded,
            clock,
            backlog: Mutex::new(Backlog::new(connections)),
        }
    }

    /// Whether a word may be decided now. All may that are no late start.
    pub(crate) async fn may_be_decided(&self, word: &Word, tries: u64) -> Result<(), NotSureYet> {
        if !matches!(word.said, Said::Start { .. } | Said::UnservableStart { .. }) {
            return Ok(());
        }
        let end = self.end_as_known(word);
        if end > Timestamp::now() {
            return Ok(());
        }
        // Deliveries that waited together come in any order.
        let backlog = || self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        if tries == 1 || backlog().may_hold_extensions(Instant::now()) {
            return Err(NotSureYet::Extension);
        }
        if self.clock.has_surely_passed(end).await {
            Ok(())
        } else {
            Err(NotSureYet::Clock)
        }
    }

    /// The end of a word's reservation by all that is known once the word is taken in.
    fn end_as_known(&self, word: &Word) -> Timestamp {
        let known = self.folded.place_of(&word.reservation).and_then(|place| {
            let resource = self.folded.resource(&place);
            let known = resource.reservations.get(&word.reservation)?;
            Some(known.times.clone())
        });
        let mut times = known.unwrap_or_default();
        times.learn(word.knowledge.clone());
        let said = word.knowledge.schedule;
        times.schedule().unwrap_or(said).end
    }
}

/// Until when what is heard may be older than what was heard before: what was said while this process, or the broker, was away
/// comes in any order. It waits in the broker, or in the ingresses' spools.
struct Backlog {
    until: Instant,
    connections: watch::Receiver<u64>,
}

impl Backlog {
    fn new(connections: watch::Receiver<u64>) -> Self {
        Self {
            until: Instant::now() + BACKLOG,
            connections,
        }
    }

    /// Whether an extension may still come after what it extends.
    fn may_hold_extensions(&mut self, now: Instant) -> bool {
        if self.connections.has_changed().unwrap_or(false) {
            self.connections.mark_unchanged();
            self.until = self.until.max(now + SETTLING);
        }
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_spools_may_come_after_each_outage_of_the_broker_and_not_only_after_the_start() {
        let (connected, connections) = watch::channel(1);
        let mut backlog = Backlog::new(connections);
        let begun = Instant::now();
        assert!(backlog.may_hold_extensions(begun));
        let later = begun + 2 * BACKLOG;
        assert!(!backlog.may_hold_extensions(later));
        connected.send_replace(2);
        assert!(backlog.may_hold_extensions(later));
        assert!(backlog.may_hold_extensions(later + SETTLING / 2));
        assert!(!backlog.may_hold_extensions(later + SETTLING));
    }
}
