//! What the reservations ask of the capacity, where the number of servers that are prepared at once is limited.
//!
//! A reservation needs a place from before its host is given to it until it is ready, or until the host goes back. The place
//! is asked for, and granted, *upon one state of its resource*, which the asker's id names; only the decision that is made
//! upon that very state can give the host. So the two streams of facts, which can't be appended to at once, stay in step:
//!
//! - whatever else is decided on the resource first ends that state for good. The host can't be given upon it any more, so
//!   the place can go back, whoever says so and however late; the reservation asks anew upon the state that there is.
//! - a host that was given upon it is seen by all who read on, and keeps its place until it is ready or goes back. Neither is
//!   ever undone.

use std::collections::HashSet;

use crate::capacity::{Claims, Order, Request};
use crate::id::{AskerId, GroupId, ReservationId, ResourceId, Version};
use crate::ledger::Ledger;
use crate::reservation::{Desired, Reservation, Resource, Stage, desired};

/// What was last seen of the host that the first in a resource's queue would get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It can be given away, seen in the light of this state of the resource.
    Clean(Version),
    /// It can't be used, or not be read.
    Obstructed,
    /// Nobody has looked yet.
    Unseen,
}

/// How many servers are being prepared, in words for who waits for its turn.
pub fn being_prepared(preparing: u32) -> String {
    match preparing {
        1 => "1 server is being prepared".to_owned(),
        _ => format!("{preparing} servers are being prepared"),
    }
}

/// Who asks for a place for `resource`: the first in its queue, upon its state as it is.
pub fn asks(id: &ResourceId, resource: &Resource) -> Option<Request> {
    match desired(resource) {
        Desired::Offer { next } => {
            let (_, waiting) = resource.next()?;
            request(id, resource, next, resource.version, waiting.accepted)
        }
        _ => None,
    }
}

/// Who is being prepared on `resource`: its holder, until it is ready.
fn prepares(id: &ResourceId, resource: &Resource) -> Option<Request> {
    let holding = resource.holding()?;
    match holding.stage {
        Stage::Claiming | Stage::Preparing { .. } => {
            let (upon, then) = (holding.given_upon, holding.assigned);
            request(id, resource, &holding.reservation, upon, then)
        }
        Stage::Adopting | Stage::Ready { .. } => None,
    }
}

/// All that the ledger says of those who need a place, have one or had one. `sight`: what was seen of a resource's host.
///
/// Whose host can't be used asks for nothing, and holds up nobody. One whose turn comes earlier and whose host was not looked
/// at yet is waited for: it is looked at in this moment, and the order would hang upon who is quicker.
pub fn claims(ledger: &Ledger, sight: impl Fn(&ResourceId) -> Sight) -> Claims {
    let mut waiting = Vec::new();
    let mut begun = Vec::new();
    for (id, resource) in ledger.resources() {
        if let Some(request) = asks(id, resource) {
            waiting.push((request, sight(id), resource.version));
        }
        begun.extend(prepares(id, resource));
    }
    // A place that is granted and not used yet is kept as long as it can be used.
    let needed: HashSet<&AskerId> = (begun.iter())
        .chain(waiting.iter().map(|(request, ..)| request))
        .map(|request: &Request| &request.asker)
        .collect();
    let had = ledger.capacity().askers();
    let done = had
        .filter(|asker| !needed.contains(asker))
        .cloned()
        .collect();
    waiting.sort_by_key(|(request, ..)| request.order);
    let asking = waiting
        .into_iter()
        .take_while(|(_, sight, version)| match sight {
            Sight::Clean(seen_upon) => seen_upon == version,
            Sight::Obstructed => true,
            Sight::Unseen => false,
        })
        .filter(|(_, sight, _)| *sight != Sight::Obstructed)
        .map(|(request, ..)| request)
        .collect();
    Claims {
        asking,
        begun,
        done,
    }
}

fn request(
    id: &ResourceId,
    resource: &Resource,
    reservation: &ReservationId,
    upon: Version,
    then: Version,
) -> Option<Request> {
    let known: &Reservation = resource.reservations.get(reservation)?;
    Some(Request {
        asker: AskerId::new(format!("{reservation} on {id} upon {upon}")),
        group: known.site.as_ref().map(|site| GroupId::new(site.as_str())),
        order: Order {
            at: known.schedule()?.start,
            then,
        },
    })
}
