//! For what a reservation waits whose start was accepted: a key, the place of its site, the resource.

use super::super::command::Word;
use super::super::fact::{DeliveryRef, Fact, FailureReason, Note, TenantKey, Terms, WaitReason};
use super::super::resource::{Occupancy, Phase, Waiting};
use super::Decision;
use crate::id::ReservationId;

impl Decision<'_> {
    /// Returns whether it waits.
    pub(super) fn tell_who_is_before_if_waiting(&mut self, reservation: &ReservationId) -> bool {
        let phase = self
            .resource
            .reservations
            .get(reservation)
            .map(|known| known.phase.clone());
        let Some(Phase::Waiting(waiting)) = phase else {
            return false;
        };
        self.tell_who_is_before(reservation, &waiting.key, &waiting.terms);
        true
    }

    /// Tells who starts why the resource is not there at once, where it isn't.
    pub(super) fn tell_who_is_before(
        &mut self,
        reservation: &ReservationId,
        key: &TenantKey,
        terms: &Terms,
    ) {
        if let Some(reason) = self.what_is_before(reservation, key, terms) {
            self.add(Fact::ReservationWaits {
                reservation: reservation.clone(),
                reason,
            });
        }
    }

    /// What stands between the reservation and the resource, as far as that is known without a look at the host.
    fn what_is_before(
        &self,
        reservation: &ReservationId,
        key: &TenantKey,
        terms: &Terms,
    ) -> Option<WaitReason> {
        match key {
            TenantKey::Missing { reason } if !terms.without_key => {
                let text = reason.clone();
                return Some(WaitReason::Key { text });
            }
            TenantKey::Missing { .. } | TenantKey::InDelivery => {}
        }
        if self.is_unsettled(reservation) {
            return Some(WaitReason::Site);
        }
        match &self.resource.occupancy {
            Occupancy::Free => None,
            Occupancy::Held(holding) => Some(WaitReason::Holder {
                holder: holding.reservation.clone(),
            }),
            Occupancy::Releasing(release) => Some(WaitReason::Release {
                holder: release.reservation.clone(),
            }),
        }
    }

    /// Its time is over, and it waited to the end. For what it waits may have become another thing since its user was told:
    /// nothing is said anew while a host is being taken back.
    pub(super) fn waited_in_vain(&mut self, reservation: &ReservationId) {
        let waited_for = match self
            .resource
            .reservations
            .get(reservation)
            .map(|known| &known.phase)
        {
            Some(Phase::Waiting(waiting)) => self.waited_for(reservation, waiting),
            // It waited for nothing but a key.
            Some(Phase::Postponed(waiting)) if !waiting.can_claim() => {
                self.what_is_before(reservation, &waiting.key, &waiting.terms)
            }
            Some(
                Phase::Announced { .. }
                | Phase::Postponed(_)
                | Phase::Holding
                | Phase::Moved
                | Phase::Over(_),
            )
            | None => None,
        };
        self.fail(reservation, FailureReason::NotClaimedInTime { waited_for });
    }

    /// For what it waited last. Of a host that is being taken back, what is in the way of that says more.
    fn waited_for(&self, reservation: &ReservationId, waiting: &Waiting) -> Option<WaitReason> {
        let before = self.what_is_before(reservation, &waiting.key, &waiting.terms);
        let says_less = matches!(before, None | Some(WaitReason::Release { .. }));
        match &waiting.told {
            Some(told @ (WaitReason::Host { .. } | WaitReason::Paused { .. })) if says_less => {
                Some(told.clone())
            }
            told => before.or_else(|| told.clone()),
        }
    }

    /// Whether the reservation waits for a key, and whoever said this is its owner: a start that comes again after the booking
    /// was given to another user brings the former owner's (R9).
    pub(super) fn waits_for_the_key_of(&self, word: &Word) -> bool {
        let Some(known) = self.resource.reservations.get(&word.reservation) else {
            return false;
        };
        let (Phase::Waiting(waiting) | Phase::Postponed(waiting)) = &known.phase else {
            return false;
        };
        let by_its_owner = word.user == known.user || (word.user.is_none() && !known.owner_changed);
        waiting.key != TenantKey::InDelivery && by_its_owner
    }

    pub(super) fn key_brought(
        &mut self,
        reservation: &ReservationId,
        delivery: &DeliveryRef,
        note: Option<Note>,
    ) {
        self.add(Fact::KeyBrought {
            reservation: reservation.clone(),
            delivery: delivery.clone(),
            note,
        });
        if let Some(Phase::Waiting(waiting)) = self
            .resource
            .reservations
            .get(reservation)
            .map(|known| &known.phase)
        {
            let terms = waiting.terms.clone();
            self.tell_who_is_before(reservation, &TenantKey::InDelivery, &terms);
        }
    }
}
