//! What the driver read of a host that a reservation has.

use super::super::command::{ClaimedHost, Observation, Progress};
use super::super::fact::{Fact, FailureReason, HostError, WaitReason};
use super::super::resource::{Holding, Stage};
use super::super::vigil::{Clock, SinceSight};
use super::Decision;
use crate::id::ReservationId;

impl Decision<'_> {
    pub(super) fn observed_held(&mut self, holding: &Holding, observation: &Observation) {
        let reservation = &holding.reservation;
        match (observation, &holding.stage) {
            (
                Observation::HostGone,
                Stage::Adopting | Stage::Claiming | Stage::Preparing { .. },
            ) => self.fail(reservation, FailureReason::HostGone),
            (Observation::HostGone, Stage::Ready { trouble }) => {
                self.lost_from_sight(holding, trouble.as_deref());
            }
            (Observation::Unclaimed, Stage::Claiming) => self.not_claimed_yet(holding),
            (Observation::Unclaimed, Stage::Preparing { .. } | Stage::Ready { .. }) => {
                self.lost(reservation);
            }
            // It carries no claim of ours before it is taken over.
            (Observation::Unclaimed, Stage::Adopting) => {}
            (Observation::NotClean { text }, Stage::Claiming) => {
                let reason = WaitReason::Host { text: text.clone() };
                self.tell_why(reservation.clone(), reason);
            }
            (Observation::Paused { text }, Stage::Claiming) => {
                let reason = WaitReason::Paused { text: text.clone() };
                self.tell_why(reservation.clone(), reason);
            }
            (Observation::ClaimRefused { text }, Stage::Claiming) => {
                let text = text.clone();
                self.fail(reservation, FailureReason::CannotClaim { text });
            }
            // Its user has it: whatever keeps us from writing it is no reason to wait or to fail.
            (
                Observation::NotClean { .. }
                | Observation::Paused { .. }
                | Observation::ClaimRefused { .. },
                Stage::Adopting | Stage::Preparing { .. } | Stage::Ready { .. },
            ) => {}
            (Observation::AdoptionRefused { text }, Stage::Adopting) => {
                self.adoption_refused(holding, text);
            }
            (
                Observation::AdoptionRefused { .. },
                Stage::Claiming | Stage::Preparing { .. } | Stage::Ready { .. },
            ) => {}
            (Observation::Claimed(host), Stage::Adopting | Stage::Claiming) => {
                self.add(Fact::HostClaimed {
                    reservation: reservation.clone(),
                });
                self.claimed(reservation, host);
            }
            (Observation::Claimed(host), Stage::Preparing { .. } | Stage::Ready { .. }) => {
                self.claimed(reservation, host);
            }
            (
                Observation::CleaningOff,
                Stage::Adopting | Stage::Claiming | Stage::Preparing { .. } | Stage::Ready { .. },
            ) => {
                if !holding.cleaning_off {
                    self.add(Fact::CleaningSeenOff {
                        reservation: reservation.clone(),
                    });
                }
            }
            // Of a host that nobody has, or that is given back.
            (
                Observation::NoHost { .. }
                | Observation::Clean { .. }
                | Observation::WouldBeClaimed { .. }
                | Observation::NoPlace { .. }
                | Observation::PlaceUnused { .. }
                | Observation::SwitchedOn { .. }
                | Observation::Releasing
                | Observation::Released { .. },
                Stage::Adopting | Stage::Claiming | Stage::Preparing { .. } | Stage::Ready { .. },
            ) => {}
        }
    }

    /// Said even where another trouble was told before: what was broken is lost now.
    fn lost_from_sight(&mut self, holding: &Holding, told: Option<&str>) {
        let trouble = format!(
            "the host {} does not exist any more in Kubernetes",
            holding.host
        );
        if told != Some(trouble.as_str()) {
            self.add(Fact::ReadyHostTroubled {
                reservation: holding.reservation.clone(),
                trouble,
            });
        }
    }

    /// Assigned, but not claimed before its end, perhaps because nobody was there: it is not prepared any more (R3).
    fn not_claimed_yet(&mut self, holding: &Holding) {
        if self.has_ended(&holding.reservation) {
            let waited_for = holding.told.clone();
            self.fail(
                &holding.reservation,
                FailureReason::NotClaimedInTime { waited_for },
            );
        }
    }

    /// Told once: what a webhook says may be another thing each time.
    fn adoption_refused(&mut self, holding: &Holding, text: &str) {
        if holding.adoption_refused.is_none() {
            self.add(Fact::AdoptionRefused {
                reservation: holding.reservation.clone(),
                text: text.to_owned(),
            });
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
