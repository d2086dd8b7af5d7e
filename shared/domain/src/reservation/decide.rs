//! The decision: which facts follow from a command, in the state that the facts so far have led to.
//!
//! Pure. Every (state, command) pair has an answer; where nothing follows, it is an empty list. Deciding the same command
//! again after its facts were folded gives no facts, so a repeated delivery, observation or timer has no second effect.

use jiff::Timestamp;

use super::command::{ClaimedHost, Command, Observation, Policy, Progress, Said, Word};
use super::fact::{
    Announced, EndCause, EndOutcome, Ended, Fact, FailureReason, HostError, Refused, Started,
    TenantKey, Terms, WaitReason,
};
use super::resource::{Holding, Occupancy, Phase, Recorded, Resource, Stage};
use super::timer::{self, Timer};
use crate::id::ReservationId;
use crate::time;

/// What follows from `command`. All facts of one decision are appended together or not at all.
pub fn decide(
    resource: &Resource,
    command: &Command,
    now: Timestamp,
    policy: &Policy,
) -> Vec<Fact> {
    let mut decision = Decision {
        resource: resource.clone(),
        facts: Vec::new(),
        now,
        policy,
    };
    match command {
        Command::Said(word) => decision.said(word),
        Command::Observed(observation) => decision.observed(observation),
        Command::TimePassed { up_since } => decision.time_passed(*up_since),
    }
    decision.facts
}

/// A decision in the making: each fact is folded at once, so that the next one is decided in the state that it leaves.
struct Decision<'a> {
    resource: Resource,
    facts: Vec<Fact>,
    now: Timestamp,
    policy: &'a Policy,
}

/// The clock of the provisioning timeout.
enum Clock {
    /// Metal3 works, and there is time left; the timer stops it when there is none.
    Runs,
    /// It does not run, and there is time left.
    Stands,
    /// There is no time left.
    RanOut,
}

impl Decision<'_> {
    fn add(&mut self, fact: Fact) {
        self.resource.evolve(Recorded {
            version: self.resource.version,
            at: self.now,
            traceparent: None,
            fact: &fact,
        });
        self.facts.push(fact);
    }

    fn fail(&mut self, reservation: &ReservationId, reason: FailureReason) {
        self.add(Fact::ReservationFailed {
            reservation: reservation.clone(),
            reason,
        });
    }

    // What a delivery says.

    fn said(&mut self, word: &Word) {
        let phase = self
            .resource
            .reservations
            .get(&word.reservation)
            .map(|reservation| &reservation.phase);
        match (&word.said, phase) {
            (_, Some(Phase::Over(_))) => {}
            (Said::Announced | Said::Changed, None) => {
                self.add(Fact::ReservationAnnounced(announced(word)))
            }
            (Said::Announced | Said::Changed, Some(_)) => self.learn(word),
            (Said::Start { key, terms }, None | Some(Phase::Announced { .. })) => {
                self.start(word, key, terms)
            }
            (Said::Start { .. }, Some(Phase::Waiting(_) | Phase::Holding)) => self.learn(word),
            (Said::Deleted, _) => self.end(word, EndCause::Deleted),
            (Said::End, _) => {
                let extended = self
                    .resource
                    .reservations
                    .get(&word.reservation)
                    .is_some_and(|reservation| reservation.times.extends_beyond(&word.knowledge));
                if !extended {
                    self.end(word, EndCause::End);
                }
            }
        }
    }

    fn learn(&mut self, word: &Word) {
        let Some(reservation) = self.resource.reservations.get(&word.reservation) else {
            return;
        };
        if reservation.times.clone().learn(word.knowledge.clone()) {
            self.add(Fact::ReservationChanged(announced(word)));
        }
    }

    fn start(&mut self, word: &Word, key: &TenantKey, terms: &Terms) {
        let mut times = self
            .resource
            .reservations
            .get(&word.reservation)
            .map(|known| known.times.clone())
            .unwrap_or_default();
        times.learn(word.knowledge.clone());
        if times
            .schedule()
            .is_some_and(|schedule| schedule.end <= self.now)
        {
            return self.add(Fact::ReservationRefused(Refused {
                reservation: word.reservation.clone(),
                user: word.user.clone(),
                webhook: word.webhook.clone(),
                resource_number: word.resource_number,
                knowledge: word.knowledge.clone(),
                delivery: word.delivery.clone(),
                payload: word.payload.clone(),
            }));
        }
        self.add(Fact::ReservationStarted(Box::new(Started {
            reservation: word.reservation.clone(),
            user: word.user.clone(),
            webhook: word.webhook.clone(),
            resource_number: word.resource_number,
            knowledge: word.knowledge.clone(),
            delivery: word.delivery.clone(),
            key: key.clone(),
            terms: terms.clone(),
            payload: word.payload.clone(),
        })));
        let reason = match (key, &self.resource.occupancy) {
            (TenantKey::Missing { reason }, _) if !terms.without_key => WaitReason::Key {
                text: reason.clone(),
            },
            (_, Occupancy::Free) => return,
            (_, Occupancy::Held(holding)) => WaitReason::Holder {
                holder: holding.reservation.clone(),
            },
            (_, Occupancy::Releasing(release)) => WaitReason::Release {
                holder: release.reservation.clone(),
            },
        };
        self.add(Fact::ReservationWaits {
            reservation: word.reservation.clone(),
            reason,
        });
    }

    fn end(&mut self, word: &Word, cause: EndCause) {
        self.add(Fact::ReservationEnded(Ended {
            reservation: word.reservation.clone(),
            cause,
            outcome: self.end_outcome(&word.reservation),
            user: word.user.clone(),
            webhook: Some(word.webhook.clone()),
            resource_number: word.resource_number,
            delivery: Some(word.delivery.clone()),
            payload: Some(word.payload.clone()),
        }));
    }

    fn end_outcome(&self, reservation: &ReservationId) -> EndOutcome {
        match self.resource.holding() {
            Some(Holding {
                reservation: holder,
                stage: Stage::Ready { .. },
                ..
            }) if holder == reservation => EndOutcome::Completed,
            _ => EndOutcome::Cancelled,
        }
    }

    // What the driver read.

    fn observed(&mut self, observation: &Observation) {
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
                    self.add(Fact::HostAssigned {
                        reservation,
                        host: host.clone(),
                        secret: secret.clone(),
                    });
                }
            }
            (Occupancy::Free, Observation::NotClean { text }) => {
                if let Some(reservation) = self.next_in_time() {
                    self.tell_why(reservation, WaitReason::Host { text: text.clone() });
                }
            }
            (Occupancy::Held(holding), observation) => {
                let holding = holding.clone();
                self.observed_held(&holding, observation);
            }
            (Occupancy::Releasing(release), Observation::Released { left }) => {
                let fact = Fact::HostReleased {
                    reservation: release.reservation.clone(),
                    took: time::elapsed(release.since, self.now),
                    left: *left,
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

    /// Whether the reservation's time is over, as far as its times are known.
    fn has_ended(&self, reservation: &ReservationId) -> bool {
        self.resource
            .reservations
            .get(reservation)
            .and_then(|reservation| reservation.schedule())
            .is_some_and(|schedule| schedule.end <= self.now)
    }

    fn tell_why(&mut self, reservation: ReservationId, reason: WaitReason) {
        let told = match self
            .resource
            .reservations
            .get(&reservation)
            .map(|reservation| &reservation.phase)
        {
            Some(Phase::Waiting(waiting)) => waiting
                .told
                .as_ref()
                .is_some_and(|told| told.is_same_kind(&reason)),
            _ => true,
        };
        if !told {
            self.add(Fact::ReservationWaits {
                reservation,
                reason,
            });
        }
    }

    fn observed_held(&mut self, holding: &Holding, observation: &Observation) {
        let reservation = &holding.reservation;
        match (observation, &holding.stage) {
            (Observation::HostGone, Stage::Claiming | Stage::Preparing { .. }) => {
                self.fail(reservation, FailureReason::HostGone);
            }
            (Observation::HostGone, Stage::Ready { troubled: false }) => {
                self.add(Fact::ReadyHostTroubled {
                    reservation: reservation.clone(),
                    trouble: format!(
                        "the host {} does not exist any more in Kubernetes",
                        holding.host
                    ),
                })
            }
            // Assigned, but not claimed before its end, perhaps because nobody was there: it is not prepared any more (R3).
            (Observation::Unclaimed, Stage::Claiming) if self.has_ended(reservation) => {
                self.fail(
                    reservation,
                    FailureReason::NotClaimedInTime { waited_for: None },
                );
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
            (Observation::Claimed(host), Stage::Claiming) => {
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
        if let Some(Stage::Preparing {
            working_since: Some(_),
            ..
        }) = self.resource.holding().map(|holding| &holding.stage)
        {
            self.add(Fact::ProvisioningSuspended {
                reservation: reservation.clone(),
                reason: change.to_owned(),
            });
        }
    }

    fn changed_by_others(&mut self, reservation: &ReservationId, change: &str) {
        if self
            .resource
            .holding()
            .is_some_and(|holding| !holding.changed)
        {
            self.add(Fact::HostChangedByOthers {
                reservation: reservation.clone(),
                change: change.to_owned(),
            });
        }
    }

    fn claimed(&mut self, reservation: &ReservationId, host: &ClaimedHost) {
        if let Some(change) = &host.changed {
            self.changed_by_others(reservation, change);
        }
        match self.resource.holding().map(|holding| holding.stage.clone()) {
            Some(Stage::Preparing {
                errors,
                in_error,
                working_since: Some(_),
                ..
            }) => self.preparing(reservation, host, errors, in_error, Clock::Runs),
            Some(Stage::Preparing {
                errors,
                in_error,
                worked,
                working_since: None,
            }) => {
                let clock = if worked >= self.policy.provisioning_timeout {
                    Clock::RanOut
                } else {
                    Clock::Stands
                };
                self.preparing(reservation, host, errors, in_error, clock);
            }
            Some(Stage::Ready { troubled }) => self.ready(reservation, host, troubled),
            Some(Stage::Claiming) | None => {}
        }
    }

    fn preparing(
        &mut self,
        reservation: &ReservationId,
        host: &ClaimedHost,
        errors: u32,
        in_error: bool,
        clock: Clock,
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
        match (&host.progress, clock) {
            (Progress::Working, Clock::RanOut) => {
                let seconds = self.policy.provisioning_timeout.as_secs();
                self.fail(reservation, FailureReason::ProvisioningTimeout { seconds });
            }
            (Progress::Working, Clock::Stands) => self.add(Fact::ProvisioningResumed {
                reservation: reservation.clone(),
            }),
            (Progress::Suspended { reason }, Clock::Runs) => {
                self.add(Fact::ProvisioningSuspended {
                    reservation: reservation.clone(),
                    reason: reason.clone(),
                });
            }
            _ => {}
        }
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

    // What time itself decides.

    fn time_passed(&mut self, up_since: Timestamp) {
        let mut due = timer::timers(&self.resource, self.policy);
        due.retain(|(instant, _)| *instant <= self.now);
        // Proof that a reservation is over comes first: nobody is told of a hold that won't be.
        due.sort_by_key(|(_, timer)| !matches!(timer, Timer::ProvenOver(_)));
        for (instant, timer) in due {
            if !self.is_over(timer.reservation()) {
                self.fire(instant, timer, up_since);
            }
        }
    }

    /// Two timers may be due for one reservation, and the first may have ended it.
    fn is_over(&self, reservation: &ReservationId) -> bool {
        self.resource
            .reservations
            .get(reservation)
            .is_none_or(|known| known.outcome().is_some())
    }

    fn fire(&mut self, due: Timestamp, timer: Timer, up_since: Timestamp) {
        let hold_until = time::after(self.now, self.policy.deadline_hold);
        match timer {
            Timer::StartOverdue(reservation) => self.add(Fact::StartOverdue { reservation }),
            Timer::Missed(reservation) => self.add(Fact::ReservationMissed { reservation }),
            Timer::WaitedTooLong(reservation) => {
                let waited_for = match self
                    .resource
                    .reservations
                    .get(&reservation)
                    .map(|known| &known.phase)
                {
                    Some(Phase::Waiting(waiting)) => waiting.told.clone(),
                    _ => None,
                };
                self.fail(&reservation, FailureReason::NotClaimedInTime { waited_for });
            }
            // Not a failure yet: the host may have become ready while nobody could look (R8, R10). It fails when it is seen
            // to work still.
            Timer::Provisioning(reservation) => self.add(Fact::ProvisioningSuspended {
                reservation,
                reason: "its time is up; it fails if Metal3 still works on it".to_owned(),
            }),
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
        let outcome = self.end_outcome(&reservation);
        self.add(Fact::ReservationEnded(Ended {
            reservation,
            cause,
            outcome,
            user: None,
            webhook: None,
            resource_number: None,
            delivery: None,
            payload: None,
        }));
    }
}

fn announced(word: &Word) -> Announced {
    Announced {
        reservation: word.reservation.clone(),
        user: word.user.clone(),
        webhook: word.webhook.clone(),
        resource_number: word.resource_number,
        knowledge: word.knowledge.clone(),
        delivery: word.delivery.clone(),
    }
}
