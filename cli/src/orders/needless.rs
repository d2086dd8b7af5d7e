//! Whether anything would follow from a word as things stand. A provisioner decides; but one from which nothing follows would
//! leave an operator waiting, and not knowing why.

use bellhop_domain::id::{ReservationId, ResourceId};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{Note, Orders, Phase, Reservation, Scope, WithoutEffect};
use bellhop_domain::typed::word;
use bellhop_operators::OperatorOrder;
use jiff::Timestamp;

use super::decided::resume;

/// Why nothing would follow from a word.
pub(super) enum Needless {
    /// What it asks for is so already.
    Already(String),
    /// What it asks for can't be.
    Refused(String),
}

use Needless::{Already, Refused};

/// Why nothing would follow from `order`; none where something would, or may.
pub(super) fn needless(order: &OperatorOrder, ledger: &Ledger) -> Option<Needless> {
    let orders = |resource: &ResourceId| orders(resource, ledger);
    match order {
        OperatorOrder::Extend { reservation, until } => {
            if *until <= Timestamp::now() {
                return Some(Refused(format!("--until {until} has passed already")));
            }
            let why = stands(reservation, ledger)?.why_not_extended(*until)?;
            Some(without_effect(reservation, why, ledger))
        }
        OperatorOrder::Allow { reservation } => {
            let why = stands(reservation, ledger)?.why_not_allowed()?;
            Some(without_effect(reservation, why, ledger))
        }
        OperatorOrder::Retry { reservation, .. } => {
            let why = stands(reservation, ledger)?.why_no_key()?;
            Some(without_effect(reservation, why, ledger))
        }
        OperatorOrder::Hold { resource } => {
            let note = orders(resource).held?;
            Some(Already(format!("{resource} is held {}", by(&note))))
        }
        OperatorOrder::Unhold { resource } => match orders(resource).held {
            Some(_) => None,
            None => Some(Already(format!("{resource} is not held"))),
        },
        OperatorOrder::Pause { resource } => {
            let note = orders(resource).paused?;
            let scope = Scope::of(resource);
            Some(Already(format!("{scope} is paused {}", by(&note))))
        }
        OperatorOrder::Resume { resource } => match orders(resource).paused {
            Some(_) => None,
            None => Some(not_paused(resource, ledger)),
        },
        OperatorOrder::HandBack { resource } => {
            let note = orders(resource).handed_back?;
            Some(Already(format!(
                "{resource} is being handed back {}",
                by(&note)
            )))
        }
        OperatorOrder::Release { .. } | OperatorOrder::End { .. } | OperatorOrder::Adopt(_) => None,
    }
}

fn orders(resource: &ResourceId, ledger: &Ledger) -> Orders {
    ledger
        .resource(resource)
        .map(|resource| resource.orders.clone())
        .unwrap_or_default()
}

fn by(note: &Note) -> String {
    format!("already, by {}: {}", note.by, note.why)
}

fn stands<'a>(reservation: &ReservationId, ledger: &'a Ledger) -> Option<&'a Reservation> {
    let place = ledger.place_of(reservation)?;
    ledger.resource(place)?.reservations.get(reservation)
}

/// Why nothing follows from a word about a reservation, in words.
fn without_effect(id: &ReservationId, why: WithoutEffect, ledger: &Ledger) -> Needless {
    let phase = stands(id, ledger).map(|known| &known.phase);
    let is = phase.map_or("it is not known", told);
    match why {
        WithoutEffect::NotHere => Refused(format!("nothing can be said of {id} here: {is}")),
        WithoutEffect::EndUnknown => Refused(format!(
            "nobody knows when {id} ends, so no deadline takes its host: there is nothing to extend"
        )),
        WithoutEffect::EndsAt { end } => Already(format!("{id} ends at {end}")),
        WithoutEffect::EndsLater { end } => {
            let held = ledger
                .place_of(id)
                .filter(|_| phase == Some(&Phase::Holding));
            let way = held.map_or_else(String::new, |held| {
                let held = word(held);
                format!(". To end it, `bellhop release {held} --reason '…'`")
            });
            Refused(format!(
                "{id} ends at {end}: a deadline is moved to later only{way}"
            ))
        }
        WithoutEffect::Allowed => Already(format!("{id} was allowed already")),
        WithoutEffect::AsksNoOperator => {
            Refused(format!("{id} does not wait for an operator: {is}"))
        }
        WithoutEffect::LacksNoKey => Refused(format!(
            "{id} does not wait for a key, and the one that it has is not exchanged: {is}"
        )),
    }
}

fn told(phase: &Phase) -> &'static str {
    match phase {
        Phase::Announced { .. } => "its start has not come yet",
        Phase::Waiting(_) => "it waits for its host",
        Phase::Holding => "it has its host",
        Phase::Postponed(_) => "it was postponed, and starts by itself",
        Phase::Moved => "it stands on another resource",
        Phase::Over(_) => "it is over",
    }
}

/// A wider pause stays when a narrow one is lifted, or there is none.
fn not_paused(resource: &ResourceId, ledger: &Ledger) -> Needless {
    let scope = Scope::of(resource);
    let everything = Scope::Everything.resource();
    let wider = match &scope {
        Scope::Everything => None,
        Scope::Site(_) => {
            let note = orders(&everything, ledger).paused;
            note.map(|note| (Scope::Everything, note))
        }
        Scope::Resource(resource) => ledger
            .paused(resource)
            .map(|(scope, note)| (scope, note.clone())),
    };
    match wider {
        None => Already(format!("{scope} is not paused")),
        Some((wider, note)) => Refused(format!(
            "{scope} is not paused by itself, but {wider} is, by {}: {}. `{}` ends that",
            note.by,
            note.why,
            resume(&wider)
        )),
    }
}
