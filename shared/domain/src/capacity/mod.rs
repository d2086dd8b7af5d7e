//! Capacity: how many may be served at once, in all and for each group of those who ask.
//!
//! Who is served has a *place*. Places are facts in the ledger, on one subject of their own, so the expected last sequence of
//! that subject makes them exact whoever grants them, and however many do.
//!
//! ```text
//!   asks ──place granted──▶ has a place ──place returned──▶ done
//! ```
//!
//! Nothing here knows what is served: an asker is an opaque id, which stands for one thing that is done once. Whoever is done
//! does not come back under the same id, so a return that was decided upon an old state is still right, and a place that is
//! returned is never granted again.
//!
//! - [`fact`]: what can have happened; [`Capacity`]: the state that follows from it (*evolve*);
//! - [`decide`](mod@decide): whose place goes back, and who gets one. Level-triggered: it is asked with all that is true now
//!   ([`Claims`]), so a crash between two steps neither loses a place nor gives one twice.

pub mod decide;
pub mod fact;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

pub use decide::{Claims, Order, Request, decide};
pub use fact::Fact;

use crate::id::Version;
pub use crate::id::{AskerId, GroupId};

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    in_all: Option<NonZeroU32>,
    in_each_group: Option<NonZeroU32>,
}

impl Limits {
    /// So many in all, and so many in each group; none where neither is limited: then nobody needs a place.
    pub fn new(in_all: Option<NonZeroU32>, in_each_group: Option<NonZeroU32>) -> Option<Self> {
        (in_all.is_some() || in_each_group.is_some()).then_some(Self {
            in_all,
            in_each_group,
        })
    }
}

/// Who has a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    version: Version,
    /// Those who have one, each with its group. Those whose group nobody told are a group too.
    places: BTreeMap<AskerId, Option<GroupId>>,
}

impl Capacity {
    /// Takes in one decision, which has this sequence in the ledger. One that was taken in before changes nothing.
    pub fn apply(&mut self, version: Version, facts: &[Fact]) {
        if version <= self.version {
            return;
        }
        for fact in facts {
            self.evolve(fact);
        }
        self.version = version;
    }

    fn evolve(&mut self, fact: &Fact) {
        match fact {
            Fact::PlaceGranted { to, group } => {
                self.places.insert(to.clone(), group.clone());
            }
            Fact::PlaceReturned { from } => {
                self.places.remove(from);
            }
        }
    }

    /// The ledger's sequence of the newest decision: what the next one expects.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether `asker` has a place.
    pub fn has(&self, asker: &AskerId) -> bool {
        self.places.contains_key(asker)
    }

    /// Those who have a place.
    pub fn askers(&self) -> impl Iterator<Item = &AskerId> {
        self.places.keys()
    }

    /// How many have a place.
    pub fn taken(&self) -> usize {
        self.places.len()
    }

    /// How many others have the places that one of `group` would need; none where there is room for it.
    pub fn crowd(&self, group: Option<&GroupId>, limits: &Limits) -> Option<usize> {
        let full = |taken: usize, limit: Option<NonZeroU32>| {
            limit
                .is_some_and(|limit| taken >= usize::try_from(limit.get()).unwrap_or(usize::MAX))
                .then_some(taken)
        };
        let of_group = || {
            let same = |other: &&Option<GroupId>| other.as_ref() == group;
            self.places.values().filter(same).count()
        };
        full(self.taken(), limits.in_all).or_else(|| full(of_group(), limits.in_each_group))
    }
}
