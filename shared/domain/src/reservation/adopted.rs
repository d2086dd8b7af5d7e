//! Hosts that somebody else prepared: whose they are, and what tells that they are not needed any more. A wipe can't be undone, so
//! only what is sure releases one, and what is not is told to an operator.

use std::time::Duration;

use jiff::Timestamp;

use super::command::Word;
use super::resource::{Binding, Occupancy, Outcome, Phase, Reservation, Resource};
use crate::id::{ReservationId, ResourceId, SiteId};
use crate::time;

/// The sender says that a reservation ended within a minute; its queue may be slow. A deletion that comes later clears up.
const END_IS_SAID_WITHIN: Duration = Duration::from_secs(10 * 60);

impl Resource {
    /// Notes where else the reservation stands for which the held host was adopted.
    pub(crate) fn note_left(
        &mut self,
        reservation: &ReservationId,
        stands_on: Option<&ResourceId>,
    ) {
        if let Occupancy::Held(holding) = &mut self.occupancy
            && holding.reservation == *reservation
            && holding.adopted_at.is_some()
        {
            holding.left_for = stands_on.cloned();
        }
    }

    /// Since when a host is held of which nobody knows whose it is.
    pub fn unknown_since(&self) -> Option<Timestamp> {
        let holding = self.holding()?;
        holding
            .adopted_at
            .filter(|_| holding.reservation.is_unknown())
    }

    /// The site of the held host, where it is known: by an operator, or by those that had the host before.
    fn site_of_held_host(&self) -> Option<&SiteId> {
        let holder = self.reservations.get(&self.holding()?.reservation)?;
        let bound = self.bound_to.as_ref().and_then(Binding::site);
        holder.site.as_ref().or(bound)
    }

    /// Whether a word that names this resource means the held host, and not one of that name that another site has. A wipe
    /// can't be undone: where nobody knows, it does not.
    pub(super) fn host_is_surely_meant_by(&self, word: &Word) -> bool {
        let site_is_meant = match (self.site_of_held_host(), &word.site) {
            (Some(known), Some(named)) => known == named,
            _ => word.only_site,
        };
        let named = Binding::new(word.site.clone(), word.resource_number);
        let number_is_meant = named
            .filter(|named| named.number().is_some())
            .is_none_or(|named| self.is_by_its_number(&named));
        site_is_meant && number_is_meant
    }

    /// Whether the held host may be this resource. Where its number is not known, who else named this resource meant the same one.
    fn is_by_its_number(&self, named: &Binding) -> bool {
        match &self.bound_to {
            Some(bound) if bound.number().is_some() => bound.may_be(named),
            Some(_) | None => self
                .reservations
                .values()
                .filter_map(Reservation::binding)
                .filter(|other| match (self.site_of_held_host(), other.site()) {
                    (Some(known), Some(site)) => known == site,
                    _ => true,
                })
                .all(|other| other.may_be(named)),
        }
    }

    /// Whether a reservation is, by its site, of another host of that name than the held one.
    pub(super) fn is_of_another_site(&self, known: &Reservation) -> bool {
        let both = self.site_of_held_host().zip(known.site.as_ref());
        both.is_some_and(|(held, site)| held != site)
    }

    /// The reservation that ended after a host was adopted of which nobody knows whose it is, and may have been the one that
    /// has it: it is not known to be of the same site.
    pub(super) fn may_have_been_the_unknown_one(&self) -> Option<&ReservationId> {
        let since = self.unknown_since()?;
        let mut all = self.reservations.iter();
        let one = all.find(|(_, known)| {
            let said = known.times.newest();
            known.outcome().is_some()
                && said.is_some_and(|said| {
                    let schedule = said.schedule;
                    schedule.start <= since && since <= schedule.end && since <= said.said_at
                })
                && !self.is_of_another_site(known)
        });
        one.map(|(id, _)| id)
    }

    /// The reservation whose end or deletion came during its time, and when, where nobody had its host by us, no other began
    /// since, and the host was not handed back since: where the host has the image of the service before, it may have it from
    /// that reservation.
    pub fn ended_with_the_service_before(&self) -> Option<(&ReservationId, Timestamp)> {
        if self.occupancy != Occupancy::Free {
            return None;
        }
        let begun = self
            .reservations
            .iter()
            .filter(|(_, known)| known.has_begun());
        let (id, last) =
            begun.max_by_key(|(_, known)| known.schedule().map(|times| times.start))?;
        let said = match last.outcome()? {
            Outcome::Cancelled => last.times.newest()?,
            // Its start may have reached us too, and found the host in use: it failed here, and its end was heard all the same.
            Outcome::Failed | Outcome::Refused | Outcome::Missed => last.heard.end()?,
            Outcome::Completed => return None,
        };
        let in_time = said.schedule.start <= said.said_at
            && said.said_at <= time::after(said.schedule.end, END_IS_SAID_WITHIN);
        let was_ours = self
            .spent_secrets
            .iter()
            .any(|spent| spent.reservation == *id);
        let is_left = in_time
            && !was_ours
            && self
                .orders
                .last_hand_back()
                .is_none_or(|at| at < said.said_at);
        is_left.then_some((id, said.said_at))
    }

    /// The first reservation that begins after a host was adopted of which no end is known, and its start, once that came or
    /// should have: the sender refuses bookings of one resource that overlap, so whoever has the host may be done.
    pub(super) fn successor_of_adopted(&self) -> Option<(&ReservationId, Timestamp)> {
        let holding = self.holding()?;
        let since = holding.adopted_at?;
        let holder = self.reservations.get(&holding.reservation)?;
        if holder.end().is_some() {
            return None;
        }
        self.reservations
            .iter()
            .filter(|(id, _)| **id != holding.reservation)
            .filter(|(_, known)| known.has_begun() && !self.is_of_another_site(known))
            .filter_map(|(id, known)| Some((id, known.schedule()?.start)))
            .filter(|(_, start)| *start > since)
            .min_by_key(|(_, start)| *start)
    }
}

impl Reservation {
    /// Whether its start came, or its time did.
    fn has_begun(&self) -> bool {
        match self.phase {
            Phase::Announced { overdue } => overdue,
            Phase::Waiting(_) | Phase::Holding => true,
            Phase::Over(Outcome::Completed | Outcome::Cancelled) => self
                .times
                .newest()
                .is_some_and(|said| said.schedule.start <= said.said_at),
            Phase::Over(Outcome::Failed | Outcome::Refused | Outcome::Missed) => true,
            Phase::Postponed(_) | Phase::Moved => false,
        }
    }
}
