//! What an operator orders.

use jiff::Timestamp;

use super::super::command::{Adoption, OperatorWord, Order};
use super::super::desired::{Desired, desired};
use super::super::fact::{Adopted, DeliveryRef, EndCause, Ended, Fact, Note};
use super::super::orders::About;
use super::super::resource::{Occupancy, Reservation};
use super::Decision;
use crate::id::{ReservationId, UserId};

impl Decision<'_> {
    pub(super) fn ordered(&mut self, word: &OperatorWord) {
        let note = word.note.clone();
        let orders = &self.resource.orders;
        // Every newer word is recorded, also one that changes nothing: an older one may come after it.
        let counts = |about, changes: bool| orders.is_news(about, &note).unwrap_or(changes);
        match &word.order {
            Order::Extend { reservation, until } => self.extend(reservation, *until, note),
            Order::Release { reservation } => self.release(reservation, note),
            Order::End { reservation } => self.end_by_operator(reservation, note),
            Order::Allow { reservation } => self.allow(reservation, note),
            Order::BringKey {
                reservation,
                user,
                delivery,
            } => self.bring_key(reservation, user.as_ref(), delivery, note),
            Order::Hold if counts(About::Hold, orders.held.is_none()) => {
                self.add(Fact::HostHeld { note })
            }
            Order::Unhold if counts(About::Hold, orders.held.is_some()) => {
                self.add(Fact::HostUnheld { note })
            }
            Order::Pause if counts(About::Pause, orders.paused.is_none()) => {
                self.add(Fact::DrivingPaused { note })
            }
            Order::Resume if counts(About::Pause, orders.paused.is_some()) => {
                self.add(Fact::DrivingResumed { note })
            }
            Order::Adopt(adoption) => self.adopt(adoption, note),
            Order::HandBack
                if orders.handed_back.is_none()
                    && counts(About::HandBack, true)
                    && desired(&self.resource) == Desired::Nothing =>
            {
                self.add(Fact::HandBackOrdered { note });
            }
            Order::HandBack | Order::Hold | Order::Unhold | Order::Pause | Order::Resume => {}
        }
    }

    /// Only where nobody has the resource, and the reservation is not over.
    fn adopt(&mut self, adoption: &Adoption, note: Note) {
        let reservation = adoption.reservation.clone().unwrap_or_else(|| {
            ReservationId::of_unknown(&adoption.host, adoption.delivery.sequence)
        });
        let known = self.resource.reservations.get(&reservation);
        if self.resource.occupancy != Occupancy::Free || known.is_some_and(|known| !known.is_live())
        {
            return;
        }
        self.add(Fact::HostAdopted(Box::new(Adopted {
            reservation,
            host: adoption.host.clone(),
            secret: adoption.secret.clone(),
            terms: adoption.terms.clone(),
            until: adoption.until,
            site: adoption.site.clone(),
            delivery: adoption.delivery.clone(),
            note,
        })));
    }

    fn extend(&mut self, reservation: &ReservationId, until: Timestamp, note: Note) {
        let known = self.resource.reservations.get(reservation);
        if known.is_some_and(|known| known.why_not_extended(until).is_none()) {
            self.add(Fact::DeadlineExtended {
                reservation: reservation.clone(),
                until,
                note,
            });
        }
    }

    /// Only of the holder that the operator saw: another one may have the resource by now (R2).
    fn release(&mut self, reservation: &ReservationId, note: Note) {
        let holds = self
            .resource
            .holding()
            .is_some_and(|holding| holding.reservation == *reservation);
        if holds {
            self.end_by_operator(reservation, note);
        }
    }

    fn end_by_operator(&mut self, reservation: &ReservationId, note: Note) {
        let known = self.resource.reservations.get(reservation);
        let is_live = known.is_some_and(Reservation::is_live);
        if is_live && !self.let_go_of_what_is_left(reservation, Some(note.clone())) {
            self.add(Fact::ReservationEnded(Ended {
                note: Some(note),
                ..self.ended_without_delivery(reservation.clone(), EndCause::Operator)
            }));
        }
    }

    fn allow(&mut self, reservation: &ReservationId, note: Note) {
        let known = self.resource.reservations.get(reservation);
        if known.is_some_and(|known| known.why_not_allowed().is_none()) {
            self.add(Fact::StartAllowed {
                reservation: reservation.clone(),
                note,
            });
        }
    }

    /// Only for the owner that the operator saw: the booking may be another user's by now (R9).
    fn bring_key(
        &mut self,
        reservation: &ReservationId,
        user: Option<&UserId>,
        delivery: &DeliveryRef,
        note: Note,
    ) {
        let Some(known) = self.resource.reservations.get(reservation) else {
            return;
        };
        let is_its_owner_s = user.is_none() || user == known.user.as_ref();
        if known.why_no_key().is_none() && is_its_owner_s {
            self.key_brought(reservation, delivery, Some(note));
        }
    }
}
