//! A booking is moved: to another resource, to another time, to another owner.

use super::super::command::Word;
use super::super::fact::{AcceptedStart, Fact, MovedIn};
use super::super::resource::Phase;
use super::Decision;
use super::said::announced;
use crate::id::{ReservationId, ResourceId, UserId};
use crate::time;

impl Decision<'_> {
    /// Takes in what a word says of a booking that is known.
    pub(super) fn learn(&mut self, word: &Word) {
        let Some(before) = self.resource.reservations.get(&word.reservation).cloned() else {
            return;
        };
        if !before.times.clone().learn(word.knowledge.clone()) {
            return;
        }
        self.add(Fact::ReservationChanged(announced(word)));
        let Some(known) = self.resource.reservations.get(&word.reservation) else {
            return;
        };
        if known.times.newest() != Some(&word.knowledge) {
            return;
        }
        let later = before.schedule().map(|schedule| schedule.start)
            < known.schedule().map(|schedule| schedule.start);
        if let (Some(from), Some(to)) = (&before.user, &word.user)
            && from != to
        {
            self.owner_changed(&word.reservation, from, to);
            self.tell_who_is_before_if_waiting(&word.reservation);
        }
        if later {
            self.postpone(&word.reservation);
        }
    }

    /// The booking says that it is on this resource now. What its start gave it comes with it: nobody sends another.
    /// `former`: whose it was where it stood.
    pub(super) fn moved_in(
        &mut self,
        word: &Word,
        from: &ResourceId,
        started: Option<&AcceptedStart>,
        former: Option<&UserId>,
    ) {
        let known = self.resource.reservations.get(&word.reservation);
        if known.is_some_and(|known| known.outcome().is_some()) {
            return;
        }
        // Known here already is not moved here: another delivery may have named this resource first.
        let arrived = known.and_then(|known| known.arrived.as_ref());
        if arrived.is_some_and(|arrived| !word.knowledge.is_newer_than(arrived)) {
            return self.learn(word);
        }
        self.add(Fact::ReservationMovedIn(Box::new(MovedIn {
            from: from.clone(),
            announced: announced(word),
            started: started.cloned(),
            site_named: word.site_named,
            rehomed: false,
        })));
        if let (Some(former), Some(user)) = (former, &word.user)
            && former != user
        {
            self.owner_changed(&word.reservation, former, user);
        }
        if self.tell_who_is_before_if_waiting(&word.reservation) {
            self.postpone(&word.reservation);
        }
    }

    /// The reservation stands on another resource already: what it has here goes back.
    pub(super) fn moved_out(&mut self, reservation: &ReservationId, to: &ResourceId) {
        if self
            .resource
            .reservations
            .get(reservation)
            .is_some_and(|known| known.is_live())
        {
            self.add(Fact::ReservationMovedOut {
                reservation: reservation.clone(),
                to: to.clone(),
                note: None,
            });
        }
    }

    pub(super) fn owner_changed(
        &mut self,
        reservation: &ReservationId,
        from: &UserId,
        to: &UserId,
    ) {
        self.add(Fact::OwnerWithdrawn {
            reservation: reservation.clone(),
            user: from.clone(),
        });
        self.add(Fact::OwnerChanged {
            reservation: reservation.clone(),
            to: to.clone(),
        });
    }

    /// Takes back what a reservation has whose start is far off now; but for an adopted host, which is in use: only an end or an
    /// operator's word releases that.
    pub(super) fn postpone(&mut self, reservation: &ReservationId) {
        if self.has_adopted(reservation) {
            return;
        }
        let Some(known) = self.resource.reservations.get(reservation) else {
            return;
        };
        let Some(schedule) = known.schedule() else {
            return;
        };
        let far_off = schedule.start > time::after(self.now, self.policy.start_lead);
        if far_off && matches!(known.phase, Phase::Waiting(_) | Phase::Holding) {
            self.add(Fact::ReservationPostponed {
                reservation: reservation.clone(),
                until: schedule.start,
            });
        }
    }

    /// A postponed reservation's time has come.
    pub(super) fn resume(&mut self, reservation: &ReservationId) {
        self.add(Fact::ReservationResumed {
            reservation: reservation.clone(),
        });
        self.tell_who_is_before_if_waiting(reservation);
    }

    pub(super) fn has_adopted(&self, reservation: &ReservationId) -> bool {
        self.resource.holding().is_some_and(|holding| {
            holding.reservation == *reservation && holding.adopted_at.is_some()
        })
    }
}
