//! What may never happen, judged after each append and each write from the facts and the hosts.

use std::collections::BTreeMap;

use bellhop_domain::id::ReservationId;
use bellhop_domain::reservation::{
    Command, EndCause, EndOutcome, Fact, FailureReason, Observation, Occupancy, Phase, Policy,
    Progress, Reservation, Resource, Said, Word, decide,
};
use bellhop_domain::time;
use jiff::Timestamp;

use super::host::{Host, State, Write};
use super::sender::at;
use super::world::{Verdict, fold_again};

macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(format!($($text)*));
        }
    };
}

/// What is remembered of one reservation.
#[derive(Default)]
struct Record {
    finals: u32,
    readies: u32,
    claims: u32,
    errors: u32,
    worked: i64,
    working_since: Option<i64>,
    hold_until: Option<Timestamp>,
}

pub(crate) struct Judge {
    policy: Policy,
    records: BTreeMap<ReservationId, Record>,
}

fn is_final(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::ReservationEnded(_)
            | Fact::ReservationFailed { .. }
            | Fact::ReservationRefused(_)
            | Fact::ReservationMissed { .. }
    )
}

impl Judge {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            records: BTreeMap::new(),
        }
    }

    /// Judges what is appended, in the state before it.
    pub(crate) fn appended(
        &mut self,
        before: &Resource,
        command: &Command,
        facts: &[Fact],
        now: i64,
        host: Option<&Host>,
    ) -> Verdict {
        for fact in facts {
            // What operators order about a resource is about no reservation.
            let Some(id) = fact.reservation() else {
                continue;
            };
            let record = self.records.entry(id.clone()).or_default();
            if let Command::Said(word) = command {
                ensure!(*id == word.reservation, "R2: {fact:?} about another one");
            }
            ensure!(
                record.finals == 0
                    || matches!(fact, Fact::HostReleased { .. } | Fact::ChangeCameTooLate(_)),
                "R7: {fact:?} about a reservation that is over"
            );
            record.finals += u32::from(is_final(fact));
            match fact {
                Fact::HostAssigned { .. } => assigned_in_order(before, id, at(now))?,
                Fact::HostProvisioned { .. } => {
                    record.readies += 1;
                    ensure!(record.readies == 1, "R7: {id} is ready twice");
                    ready_is_true(command, id)?;
                }
                Fact::ProvisioningResumed { .. } => record.working_since = Some(now),
                Fact::ProvisioningSuspended { .. } => record.stop_the_clock(now),
                Fact::ProvisioningErrorSeen { attempt, .. } => {
                    record.errors += 1;
                    ensure!(record.errors == *attempt, "R8: {fact:?} is not counted");
                    ensure!(record.readies == 0, "R8: an error after ready");
                    let last = *attempt >= self.policy.provisioning_attempts;
                    let fails = facts.iter().any(|fact| {
                        matches!(
                            fact,
                            Fact::ReservationFailed {
                                reason: FailureReason::ProvisioningErrors { .. },
                                ..
                            }
                        )
                    });
                    ensure!(last == fails, "R8: {attempt} errors, failed: {fails}");
                }
                Fact::ReservationFailed { reason, .. } => {
                    ensure!(record.readies == 0, "R8: {id} fails after it was ready");
                    if let FailureReason::ProvisioningTimeout { .. } = reason {
                        record.stop_the_clock(now);
                        let timeout = self.policy.provisioning_timeout.as_secs() as i64;
                        ensure!(
                            record.worked >= timeout,
                            "R8: {} s are no timeout",
                            record.worked
                        );
                        ensure!(
                            is_working(command),
                            "R8: a timeout without a look at the host"
                        );
                    }
                }
                Fact::DeadlinePassed { hold_until, .. }
                | Fact::DeadlineHeldAgain { hold_until, .. } => {
                    let hold = time::after(at(now), self.policy.deadline_hold);
                    ensure!(*hold_until >= hold, "R5: the hold is too short");
                    record.hold_until = Some(*hold_until);
                }
                Fact::ReservationEnded(ended) => {
                    let completed = ended.outcome == EndOutcome::Completed;
                    ensure!(completed == (record.readies == 1), "R7: {fact:?}");
                    let held = record.hold_until;
                    self.ended_rightly(before, command, id, ended.cause, held, at(now))?;
                }
                Fact::HostReleased { .. } => {
                    let clean = host.is_none_or(|host| host.is_clean() || !host_of(before, host));
                    // The host may change after it was read; it must only be nobody's of ours.
                    ensure!(
                        clean || host.is_some_and(|host| host.owner.is_none()),
                        "R4: {id}'s host is not clean"
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// R5, and that no end that is older than a known extension ends anything (R3).
    fn ended_rightly(
        &self,
        before: &Resource,
        command: &Command,
        id: &ReservationId,
        cause: EndCause,
        held_until: Option<Timestamp>,
        now: Timestamp,
    ) -> Verdict {
        let known = before.reservations.get(id);
        let schedule = known.and_then(|known| known.schedule());
        match (cause, command) {
            (EndCause::Deleted, _) => {}
            (EndCause::End, Command::Said(word)) => {
                let newest = known.and_then(|known| known.times.newest());
                ensure!(
                    newest.is_none_or(|newest| newest.schedule.end <= word.knowledge.schedule.end
                        || word.knowledge.is_newer_than(newest)),
                    "R3: an end older than an extension ended {id}"
                );
            }
            (
                EndCause::Deadline,
                Command::TimePassed {
                    up_since,
                    may_release: true,
                },
            ) => {
                let Some(held_until) = held_until else {
                    return Err(format!("R5: {id} was not held"));
                };
                ensure!(
                    held_until <= now,
                    "R5: {id} was to be held until {held_until}"
                );
                ensure!(*up_since <= held_until, "R5: {id}'s hold passed while away");
                let end = schedule.map(|schedule| schedule.end);
                ensure!(
                    end.is_some_and(|end| time::after(end, self.policy.deadline_grace) <= now),
                    "R5: {id} has not ended"
                );
            }
            (EndCause::ProvenOver, Command::TimePassed { .. }) => {
                let end = schedule.map(|schedule| schedule.end);
                let proof = before.reservations.iter().any(|(other, reservation)| {
                    other != id
                        && reservation.outcome().is_none()
                        && reservation.schedule().map(|other| other.start) >= end
                        && reservation
                            .schedule()
                            .is_some_and(|other| other.start <= now)
                });
                ensure!(
                    proof
                        && end
                            .is_some_and(|end| time::after(end, self.policy.deadline_grace) <= now),
                    "R5: nothing proves that {id} is over"
                );
            }
            _ => return Err(format!("{id} ended by {command:?}, but says {cause:?}")),
        }
        Ok(())
    }

    /// R3: an end or a deletion that was heard is final, whether or not its start was heard before; but for an end that is
    /// older than a known extension.
    pub(crate) fn heard(&self, word: &Word, known: Option<&Reservation>) -> Verdict {
        let final_word = match word.said {
            Said::Deleted => true,
            Said::End => !known.is_some_and(|known| known.times.extends_beyond(&word.knowledge)),
            Said::Announced | Said::Changed | Said::Start { .. } | Said::UnservableStart { .. } => {
                false
            }
        };
        let over = known.is_some_and(|known| known.outcome().is_some());
        ensure!(
            over || !final_word,
            "R3: {} of {} was heard, and it goes on",
            if matches!(word.said, Said::End) {
                "the end"
            } else {
                "the deletion"
            },
            word.reservation
        );
        Ok(())
    }

    /// Judges the state after an append.
    pub(crate) fn folded(
        &self,
        before: &Resource,
        command: &Command,
        facts: &[Fact],
        after: &Resource,
        now: Timestamp,
    ) -> Verdict {
        ensure!(
            fold_again(after, facts, now) == *after,
            "folding {facts:?} again changes the state"
        );
        let again = decide(after, command, now, &self.policy);
        ensure!(again.is_empty(), "decided again: {facts:?}, then {again:?}");
        if let Command::Said(word) = command {
            only_one_changed(before, after, word)?;
        }
        holder_is_one(after)
    }

    /// Judges a write to a host.
    pub(crate) fn written(
        &mut self,
        state: &Resource,
        truth: &Resource,
        reservation: &ReservationId,
        write: &Write,
        now: Timestamp,
    ) -> Verdict {
        let Write::Claim { .. } = write else {
            return Ok(());
        };
        let record = self.records.entry(reservation.clone()).or_default();
        record.claims += 1;
        ensure!(
            record.claims == 1,
            "R12: {reservation}'s image is set twice"
        );
        ensure!(
            record.readies == 0,
            "R12: {reservation} was ready before its image was set"
        );
        let in_time = state
            .reservations
            .get(reservation)
            .and_then(|known| known.schedule())
            .is_some_and(|schedule| schedule.end > now);
        ensure!(in_time, "R3: {reservation} is prepared after its end");
        let still_there = match &truth.occupancy {
            Occupancy::Held(holding) => holding.reservation == *reservation,
            Occupancy::Releasing(release) => release.reservation == *reservation,
            Occupancy::Free => false,
        };
        ensure!(
            still_there,
            "R2: {reservation}, whose host was released, claims one"
        );
        Ok(())
    }

    pub(crate) fn at_the_end(&self) -> Verdict {
        for (id, record) in &self.records {
            ensure!(
                record.finals == 1,
                "R7: {id} has {} outcomes",
                record.finals
            );
        }
        Ok(())
    }
}

impl Record {
    fn stop_the_clock(&mut self, now: i64) {
        if let Some(since) = self.working_since.take() {
            self.worked += now - since;
        }
    }
}

fn host_of(state: &Resource, host: &Host) -> bool {
    match &state.occupancy {
        Occupancy::Releasing(release) => release.host == host.reference(),
        Occupancy::Free | Occupancy::Held(_) => false,
    }
}

/// R3 and R4: in its time, in the order of the starts, and only while nobody has the resource.
fn assigned_in_order(before: &Resource, id: &ReservationId, now: Timestamp) -> Verdict {
    ensure!(
        before.occupancy == Occupancy::Free,
        "R2: {id} is given a resource that is not free"
    );
    let schedule = |id: &ReservationId| {
        before
            .reservations
            .get(id)
            .and_then(|known| known.schedule())
    };
    ensure!(
        schedule(id).is_some_and(|schedule| schedule.end > now),
        "R3: {id} is given a host after its end"
    );
    for (other, waiting) in before.queue() {
        let Some(theirs) = schedule(other) else {
            continue;
        };
        let earlier = Some(theirs.start) < schedule(id).map(|schedule| schedule.start);
        ensure!(
            !(earlier && waiting.can_claim() && theirs.end > now),
            "R4: {id} comes before {other}, which starts earlier"
        );
    }
    Ok(())
}

/// R8: ready is what was read, never assumed. The driver reads *ready* only of a host in this state.
fn ready_is_true(command: &Command, id: &ReservationId) -> Verdict {
    match command {
        Command::Observed(Observation::Claimed(host)) => {
            ensure!(
                matches!(host.progress, Progress::Ready { .. }),
                "R8: {id} is called ready though its host is {:?}",
                host.progress
            );
            Ok(())
        }
        _ => Err(format!(
            "R8: {id} is called ready by {command:?} ({:?})",
            State::Provisioned
        )),
    }
}

fn is_working(command: &Command) -> bool {
    matches!(
        command,
        Command::Observed(Observation::Claimed(host)) if host.progress == Progress::Working
    )
}

/// R2: what is said of one reservation changes no other, and not who has the resource, if another has it.
fn only_one_changed(before: &Resource, after: &Resource, word: &Word) -> Verdict {
    for (id, reservation) in &before.reservations {
        ensure!(
            *id == word.reservation || after.reservations.get(id) == Some(reservation),
            "R2: {id} was changed by what was said of {}",
            word.reservation
        );
    }
    let about_holder = matches!(&before.occupancy, Occupancy::Held(holding) if holding.reservation == word.reservation);
    ensure!(
        about_holder || before.occupancy == after.occupancy,
        "R2: {:?} of {} changed who has the resource",
        word.said,
        word.reservation
    );
    Ok(())
}

/// R2: the holder's phase and the resource's occupancy say the same.
fn holder_is_one(state: &Resource) -> Verdict {
    let holders = state
        .reservations
        .iter()
        .filter(|(_, reservation)| reservation.phase == Phase::Holding)
        .map(|(id, _)| id);
    let holder = state.holding().map(|holding| &holding.reservation);
    ensure!(
        holders.eq(holder),
        "R2: the holder and the reservations disagree"
    );
    Ok(())
}
