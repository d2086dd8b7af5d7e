//! The decision: whose place goes back, and who gets one.

use jiff::Timestamp;

use super::{Capacity, Fact, Limits};
use crate::id::{AskerId, GroupId, Version};

/// Everything that is true now of those who need, have or had a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Those who can begin as soon as they have a place.
    pub asking: Vec<Request>,
    /// Those who have begun. One without a place, who began while there was no limit, gets one whatever the limits are: it
    /// counts.
    pub begun: Vec<Request>,
    /// Those who have a place and are known not to need it any more. Who is not known is not among them.
    pub done: Vec<AskerId>,
}

/// Who needs a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who.
    pub asker: AskerId,
    /// Its group, where that is known.
    pub group: Option<GroupId>,
    /// When its turn comes.
    pub order: Order,
}

/// The order in which places are granted: by time, then by what came first into the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// The time.
    pub at: Timestamp,
    /// Among those of the same time.
    pub then: Version,
}

/// What follows from `claims`. Deciding again after these facts were folded gives none.
///
/// Whose group is full holds up nobody of another group; where all places are taken everybody waits.
pub fn decide(capacity: &Capacity, claims: &Claims, limits: &Limits) -> Vec<Fact> {
    let mut decision = Decision {
        capacity: capacity.clone(),
        facts: Vec::new(),
    };
    for from in &claims.done {
        if decision.capacity.has(from) {
            decision.add(Fact::PlaceReturned { from: from.clone() });
        }
    }
    for request in &claims.begun {
        decision.grant(request);
    }
    let mut asking: Vec<&Request> = claims.asking.iter().collect();
    asking.sort_by_key(|request| (request.order, &request.asker));
    for request in asking {
        let group = request.group.as_ref();
        if decision.capacity.crowd(group, limits).is_none() {
            decision.grant(request);
        }
    }
    decision.facts
}

/// A decision in the making: each fact is folded at once, so that the next one is decided in the state that it leaves.
struct Decision {
    capacity: Capacity,
    facts: Vec<Fact>,
}

impl Decision {
    fn grant(&mut self, request: &Request) {
        if !self.capacity.has(&request.asker) {
            self.add(Fact::PlaceGranted {
                to: request.asker.clone(),
                group: request.group.clone(),
            });
        }
    }

    fn add(&mut self, fact: Fact) {
        self.capacity.evolve(&fact);
        self.facts.push(fact);
    }
}
