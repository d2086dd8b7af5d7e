//! The event processor's clock: starts up to five minutes early, ends within a minute, nothing caught up later.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::ReservationSystem;
use super::state::State;

/// The scheduler's windows.
///
/// A start is sent where it lies within `[now, now + lookahead]`, so one that is in the past at its first tick is never
/// sent. An end is sent where it lies within `[now - end_window, now]`, so one whose window passes between two ticks is
/// lost. Both as in the real one; unlike there, an end is sent once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct SchedulerSettings {
    /// The time between two looks.
    #[serde(rename = "tick_milliseconds", deserialize_with = "milliseconds")]
    pub tick: Duration,
    /// How early a start is sent.
    #[serde(rename = "lookahead_milliseconds", deserialize_with = "milliseconds")]
    pub lookahead: Duration,
    /// How late an end is still sent.
    #[serde(rename = "end_window_milliseconds", deserialize_with = "milliseconds")]
    pub end_window: Duration,
}

fn milliseconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

impl SchedulerSettings {
    /// The real times: a look every minute, starts five minutes early, ends a minute late.
    pub fn real() -> Self {
        Self {
            tick: Duration::from_secs(60),
            lookahead: Duration::from_secs(300),
            end_window: Duration::from_secs(60),
        }
    }

    /// The real windows, with more looks.
    pub fn every(tick: Duration) -> Self {
        Self {
            tick,
            ..Self::real()
        }
    }

    /// Sends starts only this early.
    #[must_use]
    pub fn lookahead(mut self, lookahead: Duration) -> Self {
        self.lookahead = lookahead;
        self
    }
}

impl ReservationSystem {
    /// Sends starts and ends by the clock from now on, until the system ends.
    pub fn run_scheduler(&self, settings: SchedulerSettings) {
        let system = self.for_a_task();
        let life = self.core.life.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(settings.tick);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let run = async {
                loop {
                    ticks.tick().await;
                    system.look(settings).await;
                }
            };
            tokio::select! {
                () = run => {}
                () = life.cancelled() => {}
            }
        });
    }

    /// One look. Like the real one it sends one by one: a receiver that is slow holds up all that follow.
    async fn look(&self, settings: SchedulerSettings) {
        let due = Due::at(&self.state(), settings, Timestamp::now());
        // A booking that is deleted meanwhile is not sent: that is no error.
        for id in due.starts {
            let _deleted = self.start_event(id).await;
        }
        for id in due.ends {
            let _deleted = self.end_event(id).await;
        }
    }
}

/// What is to be sent at a moment.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    starts: Vec<i64>,
    ends: Vec<i64>,
}

impl Due {
    fn at(state: &State, settings: SchedulerSettings, now: Timestamp) -> Self {
        let horizon = now
            .checked_add(settings.lookahead)
            .unwrap_or(Timestamp::MAX);
        let earliest = now
            .checked_sub(settings.end_window)
            .unwrap_or(Timestamp::MIN);
        let bookings = state.bookings.values();
        let starts = bookings.clone().filter(|booking| {
            booking.start_notified_at.is_none() && booking.start >= now && booking.start <= horizon
        });
        let ends = bookings
            .filter(|booking| !booking.end_sent && booking.end >= earliest && booking.end <= now);
        Self {
            starts: starts.map(|booking| booking.id).collect(),
            ends: ends.map(|booking| booking.id).collect(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use jiff::ToSpan as _;

    use super::super::model::{NewBooking, Resource};
    use super::*;

    fn now() -> Timestamp {
        "2026-12-03T08:00:00Z".parse().unwrap()
    }

    /// A booking from and to so many seconds from now.
    fn state_with(bookings: &[(i64, i64)]) -> State {
        let mut state = State {
            next_booking: 1,
            ..State::default()
        };
        state.resources.insert(31, Resource::server(31, "node01"));
        for (start, end) in bookings {
            let new = NewBooking::new(
                "user",
                "node01",
                now() + start.seconds(),
                now() + end.seconds(),
            );
            state.book(new, now()).unwrap();
        }
        state
    }

    fn due(state: &State) -> Due {
        Due::at(state, SchedulerSettings::real(), now())
    }

    #[test]
    fn a_start_is_due_up_to_five_minutes_early_and_never_late() {
        let state = state_with(&[(-1, 900), (0, 900), (300, 900), (301, 900)]);
        assert_eq!(due(&state).starts, [2, 3]);
    }

    #[test]
    fn a_start_is_due_once_even_when_the_booking_moves() {
        let mut state = state_with(&[(10, 900)]);
        state.mark_start_notified(1, now());
        state.bookings.get_mut(&1).unwrap().start = now() + 20.seconds();
        assert!(due(&state).starts.is_empty());
    }

    #[test]
    fn an_end_is_due_for_a_minute_and_then_lost() {
        let state = state_with(&[(-900, 1), (-900, 0), (-900, -60), (-900, -61)]);
        assert_eq!(due(&state).ends, [2, 3]);
    }

    #[test]
    fn an_end_is_due_once() {
        let mut state = state_with(&[(-900, 0)]);
        state.mark_end_sent(1);
        assert!(due(&state).ends.is_empty());
    }
}
