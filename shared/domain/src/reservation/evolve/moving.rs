//! A reservation moves to another resource, or to later, and what its start gave it goes along.

use super::super::fact::{AcceptedStart, MovedIn, Terms};
use super::super::resource::{Changes, Phase, Recorded, Resource, Waiting};
use crate::id::{ReservationId, Version};

impl Resource {
    pub(super) fn moved_in(&mut self, moved: &MovedIn, recorded: &Recorded<'_>) {
        let announced = &moved.announced;
        let reservation = self.known(&announced.reservation, recorded);
        if matches!(reservation.phase, Phase::Over(_)) {
            return;
        }
        let end = reservation.schedule().map(|schedule| schedule.end);
        reservation.times.learn(announced.knowledge.clone());
        let extended = end < reservation.schedule().map(|schedule| schedule.end);
        reservation.arrived = Some(announced.knowledge.clone());
        if !matches!(reservation.phase, Phase::Announced { .. } | Phase::Moved) {
            // It was moved away and back before it had left.
            if extended {
                self.hold_anew(&announced.reservation);
            }
            return;
        }
        // It may have stood here before, and got another owner elsewhere.
        reservation.user = announced.user.clone().or_else(|| reservation.user.take());
        reservation.webhook = Some(announced.webhook.clone());
        reservation.resource_number = announced.resource_number;
        reservation.site = announced.site.clone();
        reservation.phase = match &moved.started {
            None => Phase::Announced { overdue: false },
            Some(started) => Phase::Waiting(Box::new(Waiting::brought(recorded.version, started))),
        };
    }

    pub(super) fn moved_out(&mut self, reservation: &ReservationId, recorded: &Recorded<'_>) {
        if let Some(known) = self.reservations.get_mut(reservation)
            && known.is_live()
        {
            known.phase = Phase::Moved;
            self.give_back(reservation, recorded);
        }
    }

    pub(super) fn postponed(&mut self, reservation: &ReservationId, recorded: &Recorded<'_>) {
        let held = self
            .holding()
            .filter(|holding| holding.reservation == *reservation)
            .map(Waiting::from);
        let Some(phase) = self.phase_mut(reservation) else {
            return;
        };
        let waiting = match (&phase, held) {
            // What an operator allowed was the host as it was then.
            (Phase::Waiting(waiting), _) => Box::new(Waiting {
                allowed: false,
                would_have: None,
                ..(**waiting).clone()
            }),
            (Phase::Holding, Some(held)) => Box::new(held),
            (Phase::Holding, None)
            | (Phase::Announced { .. } | Phase::Postponed(_) | Phase::Moved | Phase::Over(_), _) => {
                return;
            }
        };
        *phase = Phase::Postponed(waiting);
        self.give_back(reservation, recorded);
    }

    pub(super) fn resumed(&mut self, reservation: &ReservationId) {
        let Some(phase) = self.phase_mut(reservation) else {
            return;
        };
        if let Phase::Postponed(waiting) = phase {
            *phase = Phase::Waiting(Box::new(Waiting {
                told: None,
                ..(**waiting).clone()
            }));
        }
    }

    /// Marks the start that was accepted in `version` as one of which nobody has said where the hosts of its site are.
    pub(crate) fn unsettle(&mut self, reservation: &ReservationId, version: Version) {
        if let Some(Phase::Waiting(waiting) | Phase::Postponed(waiting)) =
            self.phase_mut(reservation)
            && waiting.accepted == version
        {
            waiting.unsettled = true;
        }
    }

    /// Gives the start that was accepted in `version` what an earlier one fixed, which was accepted elsewhere (R12).
    pub(crate) fn fix_terms(
        &mut self,
        reservation: &ReservationId,
        version: Version,
        terms: &Terms,
    ) {
        if let Some(Phase::Waiting(waiting) | Phase::Postponed(waiting)) =
            self.phase_mut(reservation)
            && waiting.accepted == version
        {
            waiting.terms = terms.clone();
        }
    }

    /// Gives a reservation that came in with `version` the start that was accepted where it stood, whatever whoever moved it knew
    /// of that. Where that was nothing, nobody looked whether its time is near: it begins when it is.
    pub(crate) fn bring_start(
        &mut self,
        reservation: &ReservationId,
        version: Version,
        started: &AcceptedStart,
    ) {
        match self.phase_mut(reservation) {
            Some(Phase::Waiting(waiting)) if waiting.accepted == version => {
                **waiting = Waiting::brought(version, started);
            }
            Some(phase @ Phase::Announced { .. }) => {
                *phase = Phase::Postponed(Box::new(Waiting::brought(version, started)));
            }
            Some(
                Phase::Waiting(_)
                | Phase::Holding
                | Phase::Postponed(_)
                | Phase::Moved
                | Phase::Over(_),
            )
            | None => {}
        }
    }

    /// The start that was accepted here, while its reservation waits or holds what it was given for that; none of one whose host
    /// was adopted.
    pub(crate) fn accepted_start(&self, reservation: &ReservationId) -> Option<AcceptedStart> {
        match &self.reservations.get(reservation)?.phase {
            Phase::Waiting(waiting) | Phase::Postponed(waiting) => {
                Some(AcceptedStart::from(waiting.as_ref()))
            }
            Phase::Holding => self
                .holding()
                .filter(|holding| holding.adopted_at.is_none())
                .map(|holding| AcceptedStart::from(&Waiting::from(holding))),
            Phase::Announced { .. } | Phase::Moved | Phase::Over(_) => None,
        }
    }
}

impl Waiting {
    /// What waits by a start that was accepted elsewhere, and came in with `version`.
    fn brought(version: Version, started: &AcceptedStart) -> Self {
        Self {
            accepted: version,
            terms: started.terms.clone(),
            key: started.key.clone(),
            delivery: started.delivery.clone(),
            told: None,
            changes: Changes::default(),
            allowed: false,
            unsettled: false,
            would_have: None,
        }
    }
}
