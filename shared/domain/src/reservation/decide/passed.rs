//! What time itself decides.

use jiff::Timestamp;

use super::super::fact::{EndCause, Ended, Fact};
use super::super::timer::{self, Timer};
use super::Decision;
use crate::id::ReservationId;
use crate::time;

impl Decision<'_> {
    pub(super) fn time_passed(
        &mut self,
        up_since: Timestamp,
        may_release: bool,
        clock_is_right: bool,
    ) {
        let mut due = timer::timers(&self.resource, self.policy, up_since);
        due.retain(|(instant, timer)| {
            *instant <= self.now
                && (may_release || !timer.releases())
                && (clock_is_right || !self.ends(timer))
        });
        // Proof that a reservation is over comes first: nobody is told of a hold that won't be.
        due.sort_by_key(|(_, timer)| !matches!(timer, Timer::ProvenOver(_)));
        for (instant, timer) in due {
            if !self.is_over(timer.reservation()) {
                self.fire(instant, timer, up_since);
            }
        }
    }

    /// Whether a timer ends a reservation that has no host yet.
    fn ends(&self, timer: &Timer) -> bool {
        match timer {
            Timer::Missed(_) | Timer::WaitedTooLong(_) => true,
            Timer::Resume(reservation) => self.has_ended(reservation),
            Timer::StartOverdue(_) | Timer::Deadline(_) | Timer::Hold(_) | Timer::ProvenOver(_) => {
                false
            }
        }
    }

    /// Two timers may be due for one reservation, and the first may have ended it.
    fn is_over(&self, reservation: &ReservationId) -> bool {
        self.resource
            .reservations
            .get(reservation)
            .is_none_or(|known| !known.is_live())
    }

    fn fire(&mut self, due: Timestamp, timer: Timer, up_since: Timestamp) {
        let hold_until = time::after(self.now, self.policy.deadline_hold);
        match timer {
            Timer::StartOverdue(reservation) => self.add(Fact::StartOverdue { reservation }),
            Timer::Missed(reservation) => self.add(Fact::ReservationMissed { reservation }),
            Timer::WaitedTooLong(reservation) if self.would_have_a_host(&reservation) => {
                self.end_without_word(reservation, EndCause::Deadline);
            }
            Timer::WaitedTooLong(reservation) => self.waited_in_vain(&reservation),
            // Its whole time passed while nobody was there.
            Timer::Resume(reservation) if self.has_ended(&reservation) => {
                self.waited_in_vain(&reservation);
            }
            Timer::Resume(reservation) => self.resume(&reservation),
            Timer::Deadline(reservation) => self.add(Fact::DeadlinePassed {
                reservation,
                hold_until,
            }),
            Timer::Hold(reservation) if due < up_since => self.add(Fact::DeadlineHeldAgain {
                reservation,
                hold_until,
            }),
            Timer::Hold(reservation) => self.end_without_word(reservation, EndCause::Deadline),
            Timer::ProvenOver(reservation) => {
                self.end_without_word(reservation, EndCause::ProvenOver)
            }
        }
    }

    fn end_without_word(&mut self, reservation: ReservationId, cause: EndCause) {
        let ended = self.ended_without_delivery(reservation, cause);
        self.add(Fact::ReservationEnded(ended));
    }

    /// An end that no delivery of the sender brought.
    pub(super) fn ended_without_delivery(
        &self,
        reservation: ReservationId,
        cause: EndCause,
    ) -> Ended {
        Ended {
            outcome: self.end_outcome(&reservation),
            reservation,
            cause,
            user: None,
            webhook: None,
            resource_number: None,
            site: None,
            delivery: None,
            payload: None,
            knowledge: None,
            note: None,
        }
    }
}
