//! A quota: how often something may be done within ten minutes, in all.
//!
//! Who does it has a *permit* first. Permits are facts in the ledger, on one subject of their own, so the expected last
//! sequence of that subject makes them exact whoever gives them, and however many do.
//!
//! ```text
//!   asks ──granted──▶ may do it now ──soon──▶ asks again ──▶ the permit is renewed
//!                     └───────────── counts for ten minutes and a little ──────────▶ forgotten
//! ```
//!
//! Nothing here knows what is done: an asker is an opaque id, which stands for one thing that is done once. The permit comes
//! first, and is of use for a short time only. So a crash between the two wastes it at worst, until it is forgotten; and what is
//! done within any ten minutes was permitted within ten minutes and a little, which is what counts.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{AskerId, Version};
use crate::time;

/// Within which time a quota counts.
pub const WITHIN: Duration = Duration::from_secs(600);
/// How long a permit is of use.
const USABLE: Duration = Duration::from_secs(30);
/// How long what was begun with a permit of use may take.
const UNDER_WAY: Duration = Duration::from_secs(30);
/// How long permits are remembered: longer than any counts, however the clocks of those who count differ.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// One thing that happened. As with all facts: a variant or a field is added, never changed or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Fact {
    /// Who asked may do what it asked for, at once.
    PermitGranted {
        /// To whom.
        to: AskerId,
    },
}

impl Fact {
    /// Whose permit it is about.
    pub fn asker(&self) -> &AskerId {
        match self {
            Self::PermitGranted { to } => to,
        }
    }

    /// The fact's name, as it stands in the ledger and in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PermitGranted { .. } => "PermitGranted",
        }
    }
}

/// Who got a permit lately.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    version: Version,
    /// When each got its last one.
    permits: BTreeMap<AskerId, Timestamp>,
}

/// What follows for one who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has a permit.
    Permitted,
    /// It gets one by this fact.
    Granted(Fact),
    /// As many others as there may be have one.
    Refused,
}

impl Quota {
    /// Takes in one decision, which has this sequence in the ledger. One that was taken in before changes nothing.
    pub fn apply(&mut self, version: Version, at: Timestamp, facts: &[Fact]) {
        if version <= self.version {
            return;
        }
        for Fact::PermitGranted { to } in facts {
            self.permits.insert(to.clone(), at);
        }
        self.permits
            .retain(|_, granted| time::elapsed(*granted, at) < REMEMBERED);
        self.version = version;
    }

    /// The ledger's sequence of the newest decision: what the next one expects.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether `asker` may do what it asked for.
    pub fn permits(&self, asker: &AskerId, now: Timestamp) -> bool {
        let granted = self.permits.get(asker);
        granted.is_some_and(|granted| time::elapsed(*granted, now) < USABLE)
    }

    /// What follows where `asker` wants to do what `most` may do within ten minutes. It counts once, however often it asks.
    pub fn decide(&self, asker: &AskerId, now: Timestamp, most: usize) -> Answer {
        if self.permits(asker, now) {
            return Answer::Permitted;
        }
        let counts = WITHIN + USABLE + UNDER_WAY;
        let others = self
            .permits
            .iter()
            .filter(|(other, granted)| *other != asker && time::elapsed(**granted, now) < counts);
        if others.count() < most {
            Answer::Granted(Fact::PermitGranted { to: asker.clone() })
        } else {
            Answer::Refused
        }
    }
}
