//! The decision: which facts follow from a command, in the state that the facts so far have led to.
//!
//! Pure. Every (state, command) pair has an answer, and stands in a table of `tests/decisions/tables`; where nothing follows, it
//! is an empty list. Deciding the same command again after its facts were folded gives no facts, so a repeated delivery,
//! observation or timer has no second effect.
//!
//! `said`: what a delivery says; `moved`: that its booking is another one now; `waits`: what its start waits for; `heard`: what of that is only recorded; `ordered`: what an operator orders; `settled`: where a
//! site's hosts are; `observed` and `held`: what the driver read; `passed`: what time itself decides.

#![deny(
    clippy::wildcard_enum_match_arm,
    reason = "each pair is decided: a new variant asks for its answer in every place"
)]

mod heard;
mod held;
mod moved;
mod observed;
mod ordered;
mod passed;
mod said;
mod settled;
mod waits;

use jiff::Timestamp;

use super::command::{Command, Policy};
use super::fact::{EndOutcome, Fact, FailureReason, Note};
use super::resource::{Phase, Recorded, Resource, Stage};
use crate::id::ReservationId;

/// What follows from `command`. All facts of one decision are appended together or not at all.
pub fn decide(
    resource: &Resource,
    command: &Command,
    now: Timestamp,
    policy: &Policy,
) -> Vec<Fact> {
    let mut decision = Decision {
        resource: resource.clone(),
        facts: Vec::new(),
        now,
        policy,
    };
    match command {
        Command::Said(word) => decision.said(word),
        Command::SaidOfUnserved(word) => decision.said_of_unserved(word),
        Command::MovedIn {
            word,
            from,
            started,
            former,
        } => decision.moved_in(word, from, started.as_ref(), former.as_ref()),
        Command::Rehomed(rehoming) => decision.rehomed(rehoming),
        Command::SiteJudged {
            reservation,
            judgement,
        } => decision.site_judged(reservation, judgement),
        Command::SiteSeen { site, delivery } => decision.site_seen(site, delivery),
        Command::MovedOut { reservation, to } => decision.moved_out(reservation, to),
        Command::Ordered(word) => decision.ordered(word),
        Command::ResourceDeleted { number, delivery } => {
            decision.resource_deleted(*number, delivery)
        }
        Command::Observed(observation) => decision.observed(observation),
        Command::TimePassed {
            up_since,
            may_release,
            clock_is_right,
        } => decision.time_passed(*up_since, *may_release, *clock_is_right),
    }
    decision.facts
}

/// A decision in the making: each fact is folded at once, so that the next one is decided in the state that it leaves.
struct Decision<'a> {
    resource: Resource,
    facts: Vec<Fact>,
    now: Timestamp,
    policy: &'a Policy,
}

impl Decision<'_> {
    fn add(&mut self, fact: Fact) {
        self.resource.evolve(Recorded {
            version: self.resource.version,
            at: self.now,
            traceparent: None,
            fact: &fact,
        });
        self.facts.push(fact);
    }

    /// What becomes of a holder here while its adopted host was left here: it goes on where it stands.
    fn let_go_of_what_is_left(&mut self, reservation: &ReservationId, note: Option<Note>) -> bool {
        let to = self.resource.left_for(reservation).cloned();
        let Some(to) = to else {
            return false;
        };
        self.add(Fact::ReservationMovedOut {
            reservation: reservation.clone(),
            to,
            note,
        });
        true
    }

    fn fail(&mut self, reservation: &ReservationId, reason: FailureReason) {
        if self.let_go_of_what_is_left(reservation, None) {
            return;
        }
        self.add(Fact::ReservationFailed {
            reservation: reservation.clone(),
            reason,
        });
    }

    fn end_outcome(&self, reservation: &ReservationId) -> EndOutcome {
        let holding = self.resource.holding();
        let stage = holding
            .filter(|holding| holding.reservation == *reservation)
            .map(|holding| &holding.stage);
        match stage {
            // An adopted host is in use from the beginning.
            Some(Stage::Ready { .. } | Stage::Adopting) => EndOutcome::Completed,
            Some(Stage::Claiming | Stage::Preparing { .. }) => EndOutcome::Cancelled,
            // Nobody sees how a host is prepared that a shadow would have had: it is taken to get ready, as most do.
            None if self.would_have_a_host(reservation) => EndOutcome::Completed,
            None => EndOutcome::Cancelled,
        }
    }

    /// Whether a shadow would have given it a host.
    fn would_have_a_host(&self, reservation: &ReservationId) -> bool {
        let known = self.resource.reservations.get(reservation);
        known.is_some_and(
            |known| matches!(&known.phase, Phase::Waiting(waiting) if waiting.would_have.is_some()),
        )
    }

    /// Whether the reservation's time is over, as far as its times are known.
    fn has_ended(&self, reservation: &ReservationId) -> bool {
        self.resource
            .reservations
            .get(reservation)
            .and_then(|reservation| reservation.end())
            .is_some_and(|end| end <= self.now)
    }
}
