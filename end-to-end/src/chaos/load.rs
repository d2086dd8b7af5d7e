//! What users do while everything fails: each event is sent once, as the real senders do.

use std::sync::Arc;
use std::time::Duration;

use bellhop_simulator::reservation_system::{BookingChange, NewBooking};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::plan::{Fate, PlannedBooking};
use super::stage::Stage;
use super::{ChaosError, FIRST_BOOKING};
use crate::HarnessError;
use crate::site::{self, PEOPLE};

/// A booking of the plan, as it was made.
#[derive(Clone, Debug)]
pub(super) struct Booked {
    /// Its number in the reservation system.
    pub(super) id: i64,
    /// As it was planned.
    pub(super) planned: PlannedBooking,
    /// When it ends, as far as it does.
    pub(super) ends: Timestamp,
}

/// What is sent for a booking.
#[derive(Clone, Copy)]
enum Act {
    Announce,
    Start,
    Extend(Timestamp),
    End,
    Delete,
}

/// Makes all bookings, which nobody is told of yet.
pub(super) fn book(
    stage: &Stage,
    bookings: &[PlannedBooking],
    began: Timestamp,
) -> Result<Vec<Booked>, ChaosError> {
    let at = |milliseconds: u64| {
        let since = SignedDuration::try_from(Duration::from_millis(milliseconds));
        since.map_or(began, |since| began + since)
    };
    let mut booked: Vec<Booked> = Vec::new();
    for planned in bookings {
        let ends = match planned.fate {
            Fate::Stays => began + 6.hours(),
            Fate::Ends | Fate::Deleted => at(planned.ends),
        };
        let first_said = if planned.extended_at.is_some() {
            ends - 1.second()
        } else {
            ends
        };
        let user = PEOPLE[planned.person].id();
        let new = NewBooking::new(
            user,
            site::node(planned.server),
            at(planned.starts),
            first_said,
        );
        let made = stage
            .reservations
            .book(new)
            .map_err(HarnessError::ReservationSystem)?;
        debug_assert!(made.id >= FIRST_BOOKING);
        booked.push(Booked {
            id: made.id,
            planned: *planned,
            ends,
        });
    }
    Ok(booked)
}

/// Sends everything at its time, and waits for every answer.
pub(super) async fn send_all(stage: &Arc<Stage>, booked: &[Booked], began: Instant) {
    let mut sending = JoinSet::new();
    for Booked { id, planned, ends } in booked {
        let mut acts = vec![(planned.start_sent_at, Act::Start)];
        acts.extend(planned.announced_at.map(|at| (at, Act::Announce)));
        acts.extend(planned.extended_at.map(|at| (at, Act::Extend(*ends))));
        match planned.fate {
            Fate::Ends => acts.push((planned.ends, Act::End)),
            Fate::Deleted => acts.push((planned.ends, Act::Delete)),
            Fate::Stays => {}
        }
        for (at, act) in acts {
            let (stage, id) = (Arc::clone(stage), *id);
            sending.spawn(async move {
                sleep_until(began + Duration::from_millis(at)).await;
                let system = &stage.reservations;
                let sent = match act {
                    Act::Announce => system.announce(id).await,
                    Act::Start => system.start_event(id).await,
                    Act::Extend(end) => system.update(id, BookingChange::end(end)).await,
                    Act::End => system.end_event(id).await,
                    Act::Delete => system.delete(id).await,
                };
                // What was sent, and what was answered, is in the reservation system's own record.
                drop(sent);
            });
        }
    }
    while sending.join_next().await.is_some() {}
}
