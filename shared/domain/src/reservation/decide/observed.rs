//! What the driver read.

use super::super::command::{ClaimedHost, Observation, Progress};
use super::super::fact::{Fact, FailureReason, HostError, WaitReason};
use super::super::resource::{Changes, Holding, Occupancy, Phase, Stage};
use super::super::vigil::{Clock, SinceSight};
use super::Decision;
use crate::id::{HostRef, ReservationId};
use crate::time;

impl Decision<'_> {
    pub(super) fn observed(&mut self, observation: &Observation) {
        match (&self.resource.occupancy, observation) {
            (Occupancy::Free, Observation::NoHost { text }) => {
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
            (Occupancy::Free, Observation::Clean { host, secret }) => {
                if let Some(reservation) = self.next_in_time() {
                    match self.resource.operator_needed(&reservation, self.policy) {
                        Some(text) => self.tell_why(reservation, WaitReason::Operator { text }),
                        None => self.assign(reservation, host, secret),
                    }
                }
            }
            (Occupancy::Free, Observation::WouldBeClaimed { host }) => {
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
            (Occupancy::Free | Occupancy::Releasing(_), Observation::NotClean { text }) => {
                self.tell_all(&WaitReason::Host { text: text.clone() });
            }
            (Occupancy::Free | Occupancy::Releasing(_), Observation::Paused { text }) => {
                self.tell_all(&WaitReason::Paused { text: text.clone() });
            }
            (Occupancy::Releasing(release), Observation::Releasing) => {
                let holder = release.reservation.clone();
                self.tell_that_it_goes_on(&WaitReason::Release { holder });
            }
            (Occupancy::Releasing(release), Observation::CleaningOff) if !release.cleaning_off => {
                let reservation = release.reservation.clone();
                self.add(Fact::CleaningSeenOff { reservation });
            }
            (Occupancy::Free, Observation::SwitchedOn { host })
                if self.resource.orders.handed_back.is_some() =>
            {
                self.add(Fact::HostHandedBack { host: host.clone() });
            }
            (Occupancy::Free, Observation::NoPlace { preparing }) => {
                if let Some(reservation) = self.next_in_time() {
                    let preparing = *preparing;
                    self.tell_why(reservation, WaitReason::Turn { preparing });
                }
            }
            (Occupancy::Free, Observation::PlaceUnused { reason, upon }) => {
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
            (Occupancy::Held(holding), observation) => {
                let holding = holding.clone();
                self.observed_held(&holding, observation);
            }
            (Occupancy::Releasing(release), Observation::Released { left, not_wiped }) => {
                let fact = Fact::HostReleased {
                    reservation: release.reservation.clone(),
                    took: time::elapsed(release.since, self.now),
                    left: *left,
                    not_wiped: *not_wiped || release.cleaning_off,
                };
                self.add(fact);
            }
            (Occupancy::Free | Occupancy::Releasing(_), _) => {}
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
            _ => None,
        }
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
            _ => Fact::ReservationWaits {
                reservation,
                reason,
            },
        };
        self.add(fact);
    }

    fn observed_held(&mut self, holding: &Holding, observation: &Observation) {
        let reservation = &holding.reservation;
        match (observation, &holding.stage) {
            (
                Observation::HostGone,
                Stage::Adopting | Stage::Claiming | Stage::Preparing { .. },
            ) => {
                self.fail(reservation, FailureReason::HostGone);
            }
            // Said even where another trouble was told before: what was broken is lost now.
            (Observation::HostGone, Stage::Ready { trouble: told }) => {
                let trouble = format!(
                    "the host {} does not exist any more in Kubernetes",
                    holding.host
                );
                if told.as_ref() != Some(&trouble) {
                    self.add(Fact::ReadyHostTroubled {
                        reservation: reservation.clone(),
                        trouble,
                    });
                }
            }
            // Assigned, but not claimed before its end, perhaps because nobody was there: it is not prepared any more (R3).
            (Observation::Unclaimed, Stage::Claiming) if self.has_ended(reservation) => {
                let waited_for = holding.told.clone();
                self.fail(reservation, FailureReason::NotClaimedInTime { waited_for });
            }
            (Observation::NotClean { text }, Stage::Claiming) => {
                let reason = WaitReason::Host { text: text.clone() };
                self.tell_why(reservation.clone(), reason);
            }
            (Observation::Paused { text }, Stage::Claiming) => {
                let reason = WaitReason::Paused { text: text.clone() };
                self.tell_why(reservation.clone(), reason);
            }
            (Observation::CleaningOff, _) if !holding.cleaning_off => {
                self.add(Fact::CleaningSeenOff {
                    reservation: reservation.clone(),
                });
            }
            (Observation::Unclaimed, Stage::Preparing { .. } | Stage::Ready { .. }) => {
                self.lost(reservation)
            }
            (Observation::ClaimRefused { text }, Stage::Claiming) => {
                self.fail(
                    reservation,
                    FailureReason::CannotClaim { text: text.clone() },
                );
            }
            // Once: what a webhook says may be another thing each time.
            (Observation::AdoptionRefused { text }, Stage::Adopting)
                if holding.adoption_refused.is_none() =>
            {
                self.add(Fact::AdoptionRefused {
                    reservation: reservation.clone(),
                    text: text.clone(),
                });
            }
            (Observation::Claimed(host), Stage::Adopting | Stage::Claiming) => {
                self.add(Fact::HostClaimed {
                    reservation: reservation.clone(),
                });
                self.claimed(reservation, host);
            }
            (Observation::Claimed(host), Stage::Preparing { .. } | Stage::Ready { .. }) => {
                self.claimed(reservation, host)
            }
            _ => {}
        }
    }

    /// Someone took our claim away from a host that had it: it is not claimed again (R12), and the timeout stands still.
    fn lost(&mut self, reservation: &ReservationId) {
        let change = "it does not carry our claim any more";
        self.changed_by_others(reservation, change);
        self.stop_the_clock(reservation, change);
    }

    fn changed_by_others(&mut self, reservation: &ReservationId, change: &str) {
        let told = |holding: &Holding| holding.changed.as_deref() == Some(change);
        if self
            .resource
            .holding()
            .is_some_and(|holding| !told(holding))
        {
            self.add(Fact::HostChangedByOthers {
                reservation: reservation.clone(),
                change: change.to_owned(),
            });
        }
    }

    fn restored(&mut self, reservation: &ReservationId) {
        let holding = self.resource.holding();
        if holding.is_some_and(|holding| holding.changed.is_some()) {
            self.add(Fact::HostRestored {
                reservation: reservation.clone(),
            });
        }
    }

    fn claimed(&mut self, reservation: &ReservationId, host: &ClaimedHost) {
        match &host.changed {
            Some(change) => self.changed_by_others(reservation, change),
            None => self.restored(reservation),
        }
        match self.resource.holding().map(|holding| holding.stage.clone()) {
            Some(Stage::Preparing {
                errors, in_error, ..
            }) => self.preparing(reservation, host, errors, in_error),
            Some(Stage::Ready { trouble }) => self.ready(reservation, host, trouble.is_some()),
            Some(Stage::Adopting | Stage::Claiming) | None => {}
        }
    }

    fn preparing(
        &mut self,
        reservation: &ReservationId,
        host: &ClaimedHost,
        errors: u32,
        in_error: bool,
    ) {
        if let Progress::Ready { address } = &host.progress {
            self.add(Fact::HostProvisioned {
                reservation: reservation.clone(),
                address: address.clone(),
            });
            return self.ready(reservation, host, false);
        }
        match (&host.error, in_error) {
            (Some(error), false) => {
                if self.error_seen(reservation, error, errors + 1) {
                    return;
                }
            }
            (None, true) => self.add(Fact::ProvisioningErrorCleared {
                reservation: reservation.clone(),
            }),
            (Some(_), true) | (None, false) => {}
        }
        match &host.progress {
            Progress::Working => self.seen_to_work(reservation),
            Progress::Suspended { reason } => self.stop_the_clock(reservation, reason),
            Progress::Ready { .. } => {}
        }
    }

    /// Fails only here, upon a look: the host may have become ready while nobody could look (R8, R10).
    fn seen_to_work(&mut self, reservation: &ReservationId) {
        let Some(clock) = self.clock() else {
            return;
        };
        if clock.has_run_out(self.now, self.policy) {
            let seconds = self.policy.provisioning_timeout.as_secs();
            return self.fail(reservation, FailureReason::ProvisioningTimeout { seconds });
        }
        let reservation = reservation.clone();
        match clock.since_sight(self.now, self.policy) {
            SinceSight::Stands => self.add(Fact::ProvisioningResumed { reservation }),
            SinceSight::Due => self.add(Fact::ProvisioningSeen { reservation }),
            SinceSight::Unseen => self.add(Fact::ProvisioningUnseen { reservation }),
            SinceSight::Short => {}
        }
    }

    fn stop_the_clock(&mut self, reservation: &ReservationId, reason: &str) {
        let since_sight = (self.clock()).map(|clock| clock.since_sight(self.now, self.policy));
        let reservation = reservation.clone();
        match since_sight {
            None | Some(SinceSight::Stands) => return,
            Some(SinceSight::Unseen) => self.add(Fact::ProvisioningUnseen {
                reservation: reservation.clone(),
            }),
            Some(SinceSight::Short | SinceSight::Due) => {}
        }
        self.add(Fact::ProvisioningSuspended {
            reservation,
            reason: reason.to_owned(),
        });
    }

    fn clock(&self) -> Option<Clock> {
        Clock::of(&self.resource.holding()?.stage)
    }

    /// Returns whether that was one error too many.
    fn error_seen(&mut self, reservation: &ReservationId, error: &HostError, attempt: u32) -> bool {
        let attempts = self.policy.provisioning_attempts.max(1);
        self.add(Fact::ProvisioningErrorSeen {
            reservation: reservation.clone(),
            error: error.clone(),
            attempt,
            attempts,
        });
        let last = attempt >= attempts;
        if last {
            self.fail(
                reservation,
                FailureReason::ProvisioningErrors {
                    error: error.clone(),
                    attempts: attempt,
                },
            );
        }
        last
    }

    fn ready(&mut self, reservation: &ReservationId, host: &ClaimedHost, troubled: bool) {
        match (&host.error, troubled) {
            (Some(error), false) => self.add(Fact::ReadyHostTroubled {
                reservation: reservation.clone(),
                trouble: format!("{}: {}", error.kind, error.message),
            }),
            (None, true) => self.add(Fact::ReadyHostRecovered {
                reservation: reservation.clone(),
            }),
            (Some(_), true) | (None, false) => {}
        }
    }
}
