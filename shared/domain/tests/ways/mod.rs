//! The ways of a reservation and of its resource, from one state to the next. The documentation of the state machine has a table
//! of all of them, and a drawing of the usual ones: what the tests see happen is compared with that table.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bellhop_domain::id::ReservationId;
use bellhop_domain::reservation::{Fact, Occupancy, Outcome, Phase, Recorded, Resource, Stage};
use jiff::Timestamp;

/// From which state to which.
pub(crate) type Way = (String, String);

/// The documentation of the state machine.
pub(crate) const DOCUMENTATION: &str = include_str!("../../src/reservation/mod.rs");

/// The ways in the table of the documentation.
pub(crate) static TABLE: LazyLock<BTreeSet<Way>> = LazyLock::new(|| {
    let rows = DOCUMENTATION
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter_map(|row| row.strip_suffix(" |")?.split_once(" | "))
        .filter(|(from, _)| *from != "from");
    rows.flat_map(|(from, to)| to.split(", ").map(|to| way(from.trim(), to.trim())))
        .collect()
});

pub(crate) fn way(from: &str, to: &str) -> Way {
    (from.to_owned(), to.to_owned())
}

/// How far a reservation is.
pub(crate) fn state(resource: &Resource, id: &ReservationId) -> &'static str {
    let Some(known) = resource.reservations.get(id) else {
        return "unknown";
    };
    match &known.phase {
        Phase::Announced { .. } => "announced",
        Phase::Waiting(_) => "waiting",
        Phase::Postponed(_) => "postponed",
        Phase::Moved => "moved",
        Phase::Over(Outcome::Completed) => "completed",
        Phase::Over(Outcome::Failed) => "failed",
        Phase::Over(Outcome::Cancelled) => "cancelled",
        Phase::Over(Outcome::Refused) => "refused",
        Phase::Over(Outcome::Missed) => "missed",
        Phase::Holding => match resource.holding().map(|holding| &holding.stage) {
            Some(Stage::Adopting) => "adopting",
            Some(Stage::Claiming) => "claiming",
            Some(Stage::Preparing { .. }) => "preparing",
            Some(Stage::Ready { .. }) => "ready",
            None => "a holder without a host",
        },
    }
}

/// Who has a resource.
fn occupancy(resource: &Resource) -> &'static str {
    match &resource.occupancy {
        Occupancy::Free => "free",
        Occupancy::Held(_) => "held",
        Occupancy::Releasing(_) => "releasing",
    }
}

/// The ways that facts lead, one after the other, and what the whole ledger makes of them at last: `after`.
pub(crate) fn taken(
    before: &Resource,
    facts: &[Fact],
    at: Timestamp,
    after: &Resource,
) -> BTreeSet<Way> {
    let mut ways = BTreeSet::new();
    let mut now = before.clone();
    let mut go = |one: &Resource, other: &Resource, fact: &Fact| {
        ways.insert(way(occupancy(one), occupancy(other)));
        if let Some(id) = fact.reservation() {
            ways.insert(way(state(one, id), state(other, id)));
        }
    };
    for fact in facts {
        let mut next = now.clone();
        next.evolve(Recorded {
            version: after.version,
            at,
            traceparent: None,
            fact,
        });
        go(&now, &next, fact);
        now = next;
    }
    for fact in facts {
        go(&now, after, fact);
    }
    ways.retain(|(from, to)| from != to);
    ways
}
