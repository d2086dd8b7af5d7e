//! What the driver should bring about: a function of the resource's state and of nothing else.

use super::resource::{Holding, Occupancy, Release, Resource, Stage};
use crate::id::ReservationId;

/// What the ledger asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Desired<'a> {
    /// Nothing: nobody has the resource and nobody waits for it. No host is read or written.
    Nothing,
    /// A clean host for the first in the queue. Nothing is written.
    Offer {
        /// The first in the queue that may have one.
        next: &'a ReservationId,
    },
    /// A host for those in the queue, of whom none may have one now (no key): only its existence matters.
    Wait,
    /// A host that somebody else prepared carries our `consumerRef`; nothing else of it is changed.
    Adopt(&'a Holding),
    /// The free resource's host is on; nothing else of it is changed.
    SwitchOn,
    /// The holder's claim stands on its host.
    Claim(&'a Holding),
    /// The host carries the holder's claim: it is watched, and left alone.
    Keep(&'a Holding),
    /// What we wrote goes away from the host.
    Release(&'a Release),
}

/// What the resource's state asks for.
pub fn desired(resource: &Resource) -> Desired<'_> {
    match &resource.occupancy {
        Occupancy::Free => match resource.next() {
            Some((next, _)) => Desired::Offer { next },
            None if resource.queue().is_empty() && resource.orders.handed_back.is_some() => {
                Desired::SwitchOn
            }
            None if resource.queue().is_empty() => Desired::Nothing,
            None => Desired::Wait,
        },
        Occupancy::Held(holding) if holding.stage == Stage::Adopting => Desired::Adopt(holding),
        Occupancy::Held(holding) if holding.stage == Stage::Claiming => Desired::Claim(holding),
        Occupancy::Held(holding) => Desired::Keep(holding),
        Occupancy::Releasing(release) => Desired::Release(release),
    }
}
