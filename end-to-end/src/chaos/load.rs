//! What users do while everything fails: each event is sent once, as the real senders do. What an operator says about a booking
//! is said until it is heard.

use std::sync::Arc;
use std::time::Duration;

use bellhop_simulator::reservation_system::{BookingChange, NewBooking};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::bookings::{
    Change, EXTENDED_BY, Fate, KEPT_BY, KEYLESS, LATER_BY, PlannedBooking, USERS,
};
use super::operators;
use super::stage::Stage;
use super::{ChaosError, FIRST_BOOKING};
use crate::HarnessError;
use crate::site;

/// How long after a booking's end an operator still says something about it.
const PATIENT: Duration = Duration::from_secs(3);

/// A booking of the plan, as it was made.
#[derive(Clone, Debug)]
pub(super) struct Booked {
    /// Its number in the reservation system.
    pub(super) id: i64,
    /// As it was planned.
    pub(super) planned: PlannedBooking,
    /// When it begins, as it was booked.
    starts: Timestamp,
    /// When it ends, as far as it does, after all changes.
    pub(super) ends: Timestamp,
}

impl Booked {
    /// Whose it is at one time or another, places in [`USERS`].
    pub(super) fn owners(&self) -> impl Iterator<Item = usize> {
        let given = match self.planned.change {
            Some((_, Change::Given(person))) => Some(person),
            _ => None,
        };
        std::iter::once(self.planned.person).chain(given)
    }
}

/// What is sent for a booking.
enum Act {
    Announce,
    Start,
    Change(BookingChange),
    End,
    Delete,
    BringKey,
    Release,
    Keep(Timestamp),
}

/// Makes all bookings, which nobody is told of yet.
pub(super) fn book(
    stage: &Stage,
    bookings: &[PlannedBooking],
    began: Timestamp,
) -> Result<Vec<Booked>, ChaosError> {
    let at = |since: u64| began + milliseconds(since);
    let mut booked: Vec<Booked> = Vec::new();
    for planned in bookings {
        let ends = match planned.fate {
            Fate::Stays => began + 6.hours(),
            _ => at(planned.ends),
        };
        let changed_by = match planned.change {
            Some((_, Change::Extended)) => EXTENDED_BY,
            Some((_, Change::Later)) => LATER_BY,
            _ => 0,
        };
        let starts = at(planned.starts);
        let new = NewBooking::new(
            USERS[planned.person].id(),
            site::node(planned.server),
            starts,
            ends - milliseconds(changed_by),
        );
        let made = stage
            .reservations
            .book(new)
            .map_err(HarnessError::ReservationSystem)?;
        debug_assert!(made.id >= FIRST_BOOKING);
        booked.push(Booked {
            id: made.id,
            planned: *planned,
            starts,
            ends,
        });
    }
    Ok(booked)
}

/// Sends everything at its time, and waits for every answer.
pub(super) async fn send_all(stage: &Arc<Stage>, booked: &[Booked], began: Instant) {
    let mut sending = JoinSet::new();
    for booked in booked {
        for (at, act) in acts(booked) {
            let (stage, booked) = (Arc::clone(stage), booked.clone());
            sending.spawn(async move {
                sleep_until(began + Duration::from_millis(at)).await;
                do_it(&stage, &booked, act, began).await;
            });
        }
    }
    while sending.join_next().await.is_some() {}
}

/// What is done about a booking, and when.
fn acts(booked: &Booked) -> Vec<(u64, Act)> {
    let planned = &booked.planned;
    let mut acts = vec![(planned.start_sent_at, Act::Start)];
    acts.extend(planned.announced_at.map(|at| (at, Act::Announce)));
    acts.extend(planned.change.map(|(at, change)| {
        let change = match change {
            Change::Extended => BookingChange::end(booked.ends),
            Change::Later => BookingChange {
                start: Some(booked.starts + milliseconds(LATER_BY)),
                end: Some(booked.ends),
                ..BookingChange::default()
            },
            Change::Moved(server) => BookingChange::resource(site::node(server)),
            Change::Given(person) => BookingChange {
                user_id: Some(USERS[person].id()),
                ..BookingChange::default()
            },
        };
        (at, Act::Change(change))
    }));
    if planned.person == KEYLESS {
        acts.push((planned.starts, Act::BringKey));
    }
    match planned.fate {
        Fate::Ends => acts.push((planned.ends, Act::End)),
        Fate::Deleted => acts.push((planned.ends, Act::Delete)),
        Fate::Released => acts.push((planned.ends, Act::Release)),
        Fate::Kept => acts.push((
            planned.ends.saturating_sub(1000),
            Act::Keep(booked.ends + milliseconds(KEPT_BY)),
        )),
        Fate::Stays => {}
    }
    acts
}

async fn do_it(stage: &Stage, booked: &Booked, act: Act, began: Instant) {
    let (system, id) = (&stage.reservations, booked.id);
    let ends = began + Duration::from_millis(booked.planned.ends);
    let sent = match act {
        Act::Announce => system.announce(id).await,
        Act::Start => system.start_event(id).await,
        Act::Change(change) => system.update(id, change).await,
        Act::End => system.end_event(id).await,
        Act::Delete => system.delete(id).await,
        Act::BringKey => return operators::bring_key(stage, id, ends).await,
        Act::Release => {
            let server = site::node(booked.planned.server);
            return operators::say_until(stage, &["release", &server], ends + PATIENT).await;
        }
        Act::Keep(until) => {
            let (id, until) = (id.to_string(), until.to_string());
            let words = ["extend", &id, "--until", &until];
            return operators::say_until(stage, &words, ends + PATIENT).await;
        }
    };
    // What was sent, and what was answered, is in the reservation system's own record.
    drop(sent);
}

fn milliseconds(count: u64) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(count).unwrap_or(i64::MAX))
}
