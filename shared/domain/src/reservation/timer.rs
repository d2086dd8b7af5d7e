//! What time itself decides: the deadlines that a resource's state holds.
//!
//! They are computed from the state, never kept apart from it, so no crash loses one. Each replica waits for the next of
//! them; the append settles who was first. The provisioning timeout is none of them: only a look at the host ends it
//! ([`super::vigil`]).

use std::time::Duration;

use jiff::Timestamp;

use super::command::Policy;
use super::resource::{Holding, Phase, Reservation, Resource};
use crate::id::ReservationId;
use crate::time;

/// How long after we were away nothing final is decided because its time passed meanwhile: what was said meanwhile may still lie
/// in an ingress's spool.
pub const SETTLING: Duration = Duration::from_secs(20);

/// One deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timer {
    /// An announced reservation's start should have come.
    StartOverdue(ReservationId),
    /// An announced reservation's time is over.
    Missed(ReservationId),
    /// A waiting reservation's time is over.
    WaitedTooLong(ReservationId),
    /// A postponed reservation's time has come.
    Resume(ReservationId),
    /// The holder's end, and the grace after it, passed.
    Deadline(ReservationId),
    /// The hold after that passed.
    Hold(ReservationId),
    /// The holder's end and grace passed, and another reservation has the resource from now on. Never while we were away.
    ProvenOver(ReservationId),
}

impl Timer {
    /// Whether it releases a host that may be in use.
    pub fn releases(&self) -> bool {
        matches!(self, Self::Hold(_) | Self::ProvenOver(_))
    }

    /// When it is due after we were away until `up_since`, though it was due at `due` already.
    fn due_after(&self, due: Timestamp, up_since: Timestamp) -> Timestamp {
        let may_end_one_without_a_host = matches!(
            self,
            Self::Missed(_) | Self::WaitedTooLong(_) | Self::Resume(_)
        );
        if due < up_since && may_end_one_without_a_host {
            time::after(up_since, SETTLING)
        } else {
            due
        }
    }

    /// The reservation that it is about.
    pub fn reservation(&self) -> &ReservationId {
        match self {
            Self::StartOverdue(reservation)
            | Self::Missed(reservation)
            | Self::WaitedTooLong(reservation)
            | Self::Resume(reservation)
            | Self::Deadline(reservation)
            | Self::Hold(reservation)
            | Self::ProvenOver(reservation) => reservation,
        }
    }
}

/// All deadlines of a resource with the instant at which each is due. `up_since`: since when we are there, and hear all that is
/// said.
pub fn timers(
    resource: &Resource,
    policy: &Policy,
    up_since: Timestamp,
) -> Vec<(Timestamp, Timer)> {
    let mut timers = Vec::new();
    for (id, reservation) in &resource.reservations {
        let Some(schedule) = reservation.schedule() else {
            continue;
        };
        match &reservation.phase {
            // A host was adopted when nobody knew whose it is: it is this one's, whose start went to the service before. Its end
            // is waited for.
            Phase::Announced { .. } | Phase::Waiting(_) | Phase::Postponed(_)
                if !resource.is_of_another_site(reservation)
                    && resource
                        .unknown_since()
                        .is_some_and(|since| schedule.start <= since && since <= schedule.end) => {}
            Phase::Announced { overdue } => {
                if !overdue {
                    timers.push((
                        time::after(schedule.start, policy.start_grace),
                        Timer::StartOverdue(id.clone()),
                    ));
                }
                timers.push((
                    time::after(schedule.end, policy.start_grace),
                    Timer::Missed(id.clone()),
                ));
            }
            Phase::Waiting(_) => timers.push((
                reservation.end().unwrap_or(schedule.end),
                Timer::WaitedTooLong(id.clone()),
            )),
            Phase::Postponed(_) => {
                timers.push((
                    time::before(schedule.start, policy.start_lead),
                    Timer::Resume(id.clone()),
                ));
            }
            Phase::Holding | Phase::Over(_) | Phase::Moved => {}
        }
    }
    if let Some(holding) = resource.holding() {
        timers.extend(holder_timers(resource, holding, policy, up_since));
    }
    let mut timers: Vec<_> = timers
        .into_iter()
        .map(|(due, timer)| (timer.due_after(due, up_since), timer))
        .collect();
    timers.sort_by_key(|(due, _)| *due);
    timers
}

/// When [`super::decide()`] should be asked next; none while nothing waits for time to pass.
pub fn next_due(resource: &Resource, policy: &Policy, up_since: Timestamp) -> Option<Timestamp> {
    timers(resource, policy, up_since)
        .into_iter()
        .map(|(due, _)| due)
        .min()
}

fn holder_timers(
    resource: &Resource,
    holding: &Holding,
    policy: &Policy,
    up_since: Timestamp,
) -> Vec<(Timestamp, Timer)> {
    let id = &holding.reservation;
    let mut timers = Vec::new();
    if holding.left_for.is_some() {
        return timers;
    }
    let Some((holder, end)) = resource
        .reservations
        .get(id)
        .and_then(|holder| Some((holder, holder.end()?)))
    else {
        return timers;
    };
    let deadline = time::after(end, policy.deadline_grace);
    match holding.hold_until {
        None => timers.push((deadline, Timer::Deadline(id.clone()))),
        Some(hold_until) => timers.push((hold_until, Timer::Hold(id.clone()))),
    }
    // The sender refuses bookings of one resource that overlap. So another one that begins after this one's end, and has begun,
    // proves that this one was not extended.
    let successor = resource
        .reservations
        .iter()
        .filter(|(other, reservation)| *other != id && reservation.is_live())
        .filter(|(_, reservation)| books_the_same(holder, reservation))
        .filter_map(|(_, reservation)| reservation.times.newest())
        .filter(|other| other.schedule.start >= end)
        // It proves that since it was heard.
        .map(|other| other.schedule.start.max(other.said_at).max(deadline))
        // An extension that came while we were away may be lost: the deadline decides then.
        .filter(|since| *since >= up_since)
        .min();
    if let Some(since) = successor {
        timers.push((since, Timer::ProvenOver(id.clone())));
    }
    timers
}

/// Whether two bookings that stand here are, for their sender, of one resource: two sites may both have one of this name.
fn books_the_same(one: &Reservation, other: &Reservation) -> bool {
    let sites = one.site.as_ref().zip(other.site.as_ref());
    let numbers = one.resource_number.zip(other.resource_number);
    sites.is_none_or(|(one, other)| one == other) && numbers.is_none_or(|(one, other)| one == other)
}
