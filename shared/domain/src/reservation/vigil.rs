//! The vigil over a host that is being prepared: which time counts towards the provisioning timeout.
//!
//! ```text
//!   resumed ──look──look──▶ seen ──look──▶ seen ·····nobody looked····▶ unseen ──look──▶ seen
//!          counts               counts              does not count           counts
//! ```
//!
//! Only what was seen counts. While the API server is away Metal3 is held up as well, and while nobody of us was there, nobody
//! knows what it did: a host that may be fine does not fail for that. That it was seen to work becomes a fact now and then, so
//! that whoever looks next, in whichever provisioner, knows when somebody looked last, and a restart neither begins anew nor
//! counts what it slept through.

use std::time::Duration;

use jiff::Timestamp;

use super::command::Policy;
use super::resource::{Holding, Stage};
use crate::time;

/// So many sights of one host become facts, at most about, before its time is up.
const SIGHTS: u32 = 15;
/// A host is not looked at more often than this for the timeout's sake, nor more seldom than [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

/// How often a host on which Metal3 works is looked at, at least, while nothing else asks for a look.
pub fn look_interval(policy: &Policy) -> Duration {
    (policy.provisioning_timeout / SIGHTS).clamp(SHORTEST, LONGEST)
}

/// When a held host must be looked at next so that the time goes on to count, or because it is up; none while no time runs.
pub fn next_look(holding: &Holding, policy: &Policy) -> Option<Timestamp> {
    let clock = Clock::of(&holding.stage)?;
    let left = policy.provisioning_timeout.saturating_sub(clock.worked);
    let since = clock.working_since?;
    Some(time::after(since, left.min(look_interval(policy))))
}

/// The clock of the provisioning timeout, as it stood at the last sight that is a fact.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// How long Metal3 was seen to work until then.
    worked: Duration,
    /// When that was; none while Metal3 does not work.
    working_since: Option<Timestamp>,
}

/// What a look says of the time since the last sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SinceSight {
    /// The clock stands.
    Stands,
    /// It is short: it counts as soon as there is something to say.
    Short,
    /// It counts, and is long enough to be a fact.
    Due,
    /// Nobody looked for longer than usual: it does not count.
    Unseen,
}

impl Clock {
    /// The clock of a host that is being prepared.
    pub(super) fn of(stage: &Stage) -> Option<Self> {
        match stage {
            Stage::Preparing {
                worked,
                working_since,
                ..
            } => Some(Self {
                worked: *worked,
                working_since: *working_since,
            }),
            Stage::Adopting | Stage::Claiming | Stage::Ready { .. } => None,
        }
    }

    pub(super) fn since_sight(&self, now: Timestamp, policy: &Policy) -> SinceSight {
        let Some(since) = self.working_since else {
            return SinceSight::Stands;
        };
        let (elapsed, usual) = (time::elapsed(since, now), look_interval(policy));
        // Twice: a look may be late, or be tried again.
        if elapsed > usual * 2 {
            SinceSight::Unseen
        } else if elapsed >= usual {
            SinceSight::Due
        } else {
            SinceSight::Short
        }
    }

    /// Whether Metal3 was seen to work for as long as it may.
    pub(super) fn has_run_out(&self, now: Timestamp, policy: &Policy) -> bool {
        let counts = match (self.since_sight(now, policy), self.working_since) {
            (SinceSight::Short | SinceSight::Due, Some(since)) => time::elapsed(since, now),
            (SinceSight::Short | SinceSight::Due, None)
            | (SinceSight::Stands | SinceSight::Unseen, _) => Duration::ZERO,
        };
        self.worked.saturating_add(counts) >= policy.provisioning_timeout
    }
}
