//! What the driver read of a host that nobody has, or that is given back; `held`: of one that a reservation has.

use super::super::command::Observation;
use super::super::fact::{Fact, FailureReason, WaitReason};
use super::super::resource::{Changes, Occupancy, Phase, Release, Stage};
use super::Decision;
use crate::id::{HostRef, ReservationId};
use crate::time;

impl Decision<'_> {
    pub(super) fn observed(&mut self, observation: &Observation) {
        match self.resource.occupancy.clone() {
            Occupancy::Free => self.observed_free(observation),
            Occupancy::Held(holding) => self.observed_held(&holding, observation),
            Occupancy::Releasing(release) => self.observed_releasing(&release, observation),
        }
    }

    fn observed_free(&mut self, observation: &Observation) {
        match observation {
            Observation::NoHost { text } => {
                let waiting: Vec<_> = self
                    .resource
                    .queue()
                    .into_iter()
                    .map(|(id, _)| id.clone())
                    .collect();
                for reservation in waiting {
                    self.fail(
                        &reservation,
                        FailureReason::HostUnknown { text: text.clone() },
                    );
                }
            }
            Observation::Clean { host, secret } => {
                if let Some(reservation) = self.next_in_time() {
                    match self.resource.operator_needed(&reservation, self.policy) {
                        Some(text) => self.tell_why(reservation, WaitReason::Operator { text }),
                        None => self.assign(reservation, host, secret),
                    }
                }
            }
            Observation::WouldBeClaimed { host } => {
                if let Some(reservation) = self.next_in_time()
                    && !self.would_have_a_host(&reservation)
                    && self
                        .resource
                        .operator_needed(&reservation, self.policy)
                        .is_none()
                {
                    let host = host.clone();
                    self.add(Fact::HostWouldBeAssigned { reservation, host });
                }
            }
            Observation::NotClean { text } => self.tell_all_of_the_host(text),
            Observation::Paused { text } => self.tell_all_of_the_pause(text),
            Observation::SwitchedOn { host } => {
                if self.resource.orders.handed_back.is_some() {
                    self.add(Fact::HostHandedBack { host: host.clone() });
                }
            }
            Observation::NoPlace { preparing } => {
                if let Some(reservation) = self.next_in_time() {
                    let preparing = *preparing;
                    self.tell_why(reservation, WaitReason::Turn { preparing });
                }
            }
            Observation::PlaceUnused { reason, upon } => {
                if *upon == self.resource.version
                    && let Some(reservation) = self.next_in_time()
                {
                    let reason = reason.clone();
                    self.add(Fact::ReservationWaits {
                        reservation,
                        reason,
                    });
                }
            }
            // Of a host that somebody has, or had when it was read.
            Observation::CleaningOff
            | Observation::Unclaimed
            | Observation::ClaimRefused { .. }
            | Observation::AdoptionRefused { .. }
            | Observation::Claimed(_)
            | Observation::HostGone
            | Observation::Releasing
            | Observation::Released { .. } => {}
        }
    }

    fn observed_releasing(&mut self, release: &Release, observation: &Observation) {
        match observation {
            Observation::NotClean { text } => self.tell_all_of_the_host(text),
            Observation::Paused { text } => self.tell_all_of_the_pause(text),
            Observation::Releasing => {
                let holder = release.reservation.clone();
                self.tell_that_it_goes_on(&WaitReason::Release { holder });
            }
            Observation::CleaningOff => {
                if !release.cleaning_off {
                    let reservation = release.reservation.clone();
                    self.add(Fact::CleaningSeenOff { reservation });
                }
            }
            Observation::Released { left, not_wiped } => self.add(Fact::HostReleased {
                reservation: release.reservation.clone(),
                took: time::elapsed(release.since, self.now),
                left: *left,
                not_wiped: *not_wiped || release.cleaning_off,
            }),
            // Of a host that is free, or that somebody has.
            Observation::NoHost { .. }
            | Observation::Clean { .. }
            | Observation::WouldBeClaimed { .. }
            | Observation::NoPlace { .. }
            | Observation::PlaceUnused { .. }
            | Observation::Unclaimed
            | Observation::ClaimRefused { .. }
            | Observation::AdoptionRefused { .. }
            | Observation::Claimed(_)
            | Observation::HostGone
            | Observation::SwitchedOn { .. } => {}
        }
    }

    /// The next in the queue, as the driver sees it too: what it read is meant for that one (the secret's name, for example).
    /// None while its time is over: its timer is due, and ends it before another one's turn comes.
    fn next_in_time(&self) -> Option<ReservationId> {
        let (id, _) = self.resource.next().filter(|(id, _)| !self.has_ended(id))?;
        Some(id.clone())
    }

    /// Gives the host to the next. Those behind it wait for that one now, where they were told nothing yet.
    fn assign(&mut self, reservation: ReservationId, host: &HostRef, secret: &str) {
        self.add(Fact::HostAssigned {
            reservation,
            host: host.clone(),
            secret: secret.to_owned(),
        });
        for other in self.waiting_in_time() {
            if self.told(&other).is_none() {
                self.tell_who_is_before_if_waiting(&other);
            }
        }
    }

    /// Those that wait for the host alone, and whose time is not over.
    fn waiting_in_time(&self) -> Vec<ReservationId> {
        let queue = self.resource.queue().into_iter();
        queue
            .filter(|(id, waiting)| waiting.can_claim() && !self.has_ended(id))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// What its user was told last of why it waits.
    fn told(&self, reservation: &ReservationId) -> Option<&WaitReason> {
        self.reason_and_changes(reservation)?.0
    }

    fn reason_and_changes(
        &self,
        reservation: &ReservationId,
    ) -> Option<(Option<&WaitReason>, &Changes)> {
        let known = self.resource.reservations.get(reservation)?;
        match (&known.phase, self.resource.holding()) {
            (Phase::Waiting(waiting), _) => Some((waiting.told.as_ref(), &waiting.changes)),
            (Phase::Holding, Some(holding))
                if holding.reservation == *reservation && holding.stage == Stage::Claiming =>
            {
                Some((holding.told.as_ref(), &holding.changes))
            }
            (
                Phase::Announced { .. }
                | Phase::Holding
                | Phase::Postponed(_)
                | Phase::Moved
                | Phase::Over(_),
                _,
            ) => None,
        }
    }

    fn tell_all_of_the_host(&mut self, text: &str) {
        let text = text.to_owned();
        self.tell_all(&WaitReason::Host { text });
    }

    fn tell_all_of_the_pause(&mut self, text: &str) {
        let text = text.to_owned();
        self.tell_all(&WaitReason::Paused { text });
    }

    /// Tells all that wait for the host.
    fn tell_all(&mut self, reason: &WaitReason) {
        for reservation in self.waiting_in_time() {
            // What an operator is asked for stays asked under a pause.
            let is_asked = matches!(self.told(&reservation), Some(WaitReason::Operator { .. }));
            if !is_asked || !matches!(reason, WaitReason::Paused { .. }) {
                self.tell_why(reservation, reason.clone());
            }
        }
    }

    /// Nothing is in the way of the release any more: those who were told that something is are told so.
    fn tell_that_it_goes_on(&mut self, reason: &WaitReason) {
        for reservation in self.waiting_in_time() {
            if matches!(
                self.told(&reservation),
                Some(WaitReason::Host { .. } | WaitReason::Paused { .. })
            ) {
                self.tell_why(reservation, reason.clone());
            }
        }
    }

    /// Tells a user why the reservation waits, where that is another thing than was told. Of the same kind it is only recorded: a
    /// failure names the newest. One that comes and goes is recorded ever less often ([`Changes`]), but for what an operator is
    /// asked for.
    pub(super) fn tell_why(&mut self, reservation: ReservationId, reason: WaitReason) {
        let Some((told, changes)) = self.reason_and_changes(&reservation) else {
            return;
        };
        let comes_and_goes = matches!(
            reason,
            WaitReason::Host { .. } | WaitReason::Paused { .. } | WaitReason::Release { .. }
        );
        let fact = match told {
            Some(told) if *told == reason => return,
            Some(_) if comes_and_goes && !changes.may_be_more(self.now) => return,
            // How many are prepared changes all the time.
            Some(told) if told.is_same_kind(&reason) && comes_and_goes => Fact::WaitReasonChanged {
                reservation,
                reason,
            },
            Some(told) if told.is_same_kind(&reason) => return,
            Some(_) | None => Fact::ReservationWaits {
                reservation,
                reason,
            },
        };
        self.add(fact);
    }
}
