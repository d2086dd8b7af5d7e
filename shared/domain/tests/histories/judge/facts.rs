//! Facts: judged when they are appended, and by the state that follows.

use bellhop_domain::id::ReservationId;
use bellhop_domain::reservation::{
    Command, EndCause, EndOutcome, Fact, FailureReason, Observation, Occupancy, Order, Phase,
    Policy, Progress, Resource, Said, Word, decide, fact::Ended, vigil,
};
use bellhop_domain::time;
use jiff::Timestamp;

use super::super::host::{Consumer, Host, State};
use super::super::replica::Decision;
use super::super::sender::at;
use super::super::ways;
use super::super::world::{Verdict, fold_again};
use super::orders::{Adopted, holder_stays};
use super::{Judge, Record, ensure};

impl Judge {
    /// Judges what is appended. `host`: as it is now, whatever was read.
    /// `entry`: its place in the ledger.
    pub(crate) fn appended(
        &mut self,
        decision: &Decision,
        host: Option<&Host>,
        entry: usize,
    ) -> Verdict {
        for fact in &decision.facts {
            self.ordered_rightly(decision, fact, entry)?;
            // What operators order about a resource is about no reservation.
            let Some(id) = fact.reservation() else {
                continue;
            };
            if let Command::Said(word) = &decision.command {
                let ends_the_unknown = id.is_unknown() && matches!(fact, Fact::ReservationEnded(_));
                ensure!(
                    *id == word.reservation || ends_the_unknown,
                    "R2: {fact:?} about another one"
                );
            }
            let may_follow = matches!(
                fact,
                Fact::HostReleased { .. }
                    | Fact::CleaningSeenOff { .. }
                    | Fact::ChangeCameTooLate(_)
                    | Fact::WordHeard(_)
                    | Fact::WebhookHeard { .. }
                    | Fact::ReservationMovedOut { .. }
            );
            // On another resource, a replica that has not heard of its outcome may still take it for a live one; it is let go
            // there.
            let key = (decision.resource, id.clone());
            let record = self.records.entry(key).or_default();
            ensure!(
                !record.is_over || may_follow,
                "R7: {fact:?} about a reservation that is over"
            );
            record.is_over |= fact.is_outcome();
            *self.finals.entry(id.clone()).or_default() += u32::from(fact.is_outcome());
            self.shared_rightly(decision, id, fact)?;
            self.judge_one(decision, id, fact, host)?;
        }
        Ok(())
    }

    fn judge_one(
        &mut self,
        decision: &Decision,
        id: &ReservationId,
        fact: &Fact,
        host: Option<&Host>,
    ) -> Verdict {
        let now = at(decision.at);
        let key = (decision.resource, id.clone());
        let record = self.records.entry(key).or_default();
        match fact {
            Fact::ReservationStarted(started) => {
                let image = started.terms.image.url.clone();
                self.fixed.entry(id.clone()).or_insert(image);
            }
            Fact::HostAdopted(adopted) => {
                record.written = Some(adopted.terms.image.url.clone());
                record.host = Some(adopted.host.clone());
                record.adopted = Some(Adopted::by(decision, &adopted.host, &adopted.note));
                // It has its image.
                record.claims = 1;
            }
            Fact::HostClaimed { .. } => record.in_use = record.adopted.is_some(),
            Fact::DeadlineExtended { until, .. } => {
                record.extended_until = record.extended_until.max(Some(*until));
                record.hold_until = None;
            }
            Fact::StartAllowed { .. } => record.allowed = true,
            Fact::HostAssigned { host, .. } => {
                assigned_in_order(&decision.before, id, now, record.extended_until)?;
                let not_wiped = self.not_wiped.contains(&decision.resource);
                ensure!(
                    record.allowed || !not_wiped,
                    "R4: {id} is given a host that was not wiped, and nobody allowed it"
                );
                record.host = Some(host.clone());
                record.claims = 0;
                record.unwiped = false;
            }
            Fact::ReservationPostponed { .. } | Fact::ReservationMovedOut { .. }
                if record.adopted.is_some()
                    && holds(decision, id)
                    && !takes_back_what_is_left(decision, id) =>
            {
                return Err(format!("R12: {fact:?} takes back an adopted host"));
            }
            // It gives back what it has, and begins anew when its time comes.
            Fact::ReservationPostponed { .. } => record.begin_anew(),
            // Its host was adopted, and it stood elsewhere too: it comes back to where it is.
            Fact::ReservationMovedIn(_) if record.adopted.is_some() && holds(decision, id) => {}
            Fact::ReservationMovedIn(moved) => {
                record.begin_anew();
                if let Some(started) = &moved.started {
                    let image = started.terms.image.url.clone();
                    self.fixed.entry(id.clone()).or_insert(image);
                }
                record.has_start = self.fixed.contains_key(id);
                let extended = self.records.iter().filter(|((_, of), _)| of == id);
                let extended = extended
                    .filter_map(|(_, record)| record.extended_until)
                    .max();
                self.records
                    .entry((decision.resource, id.clone()))
                    .or_default()
                    .extended_until = extended;
            }
            Fact::HostProvisioned { .. } => {
                record.readies += 1;
                ensure!(record.readies == 1, "R7: {id} is ready twice");
                ready_is_true(decision, id)?;
            }
            Fact::ProvisioningResumed { .. } => record.working_since = Some(decision.at),
            Fact::ProvisioningSeen { .. } => {
                record.stop_the_clock(decision.at, &self.policy)?;
                record.working_since = Some(decision.at);
            }
            Fact::ProvisioningUnseen { .. } => record.working_since = Some(decision.at),
            Fact::ProvisioningSuspended { .. } => {
                record.stop_the_clock(decision.at, &self.policy)?
            }
            Fact::ProvisioningErrorSeen { attempt, .. } => {
                record.errors += 1;
                error_is_counted(record, *attempt, fact)?;
                let last = *attempt >= self.policy.provisioning_attempts;
                let fails = decision.facts.iter().any(is_too_many_errors);
                ensure!(last == fails, "R8: {attempt} errors, failed: {fails}");
            }
            Fact::ReservationFailed { reason, .. } => {
                fails_rightly(record, decision, id, reason, &self.policy)?;
            }
            Fact::StartOverdue { .. } => record.overdue = true,
            Fact::ReservationMissed { .. } => {
                ensure!(
                    !record.has_start,
                    "R7: {id} is missed, and its start was accepted before it was moved here"
                );
                record.missed = true;
            }
            Fact::DeadlinePassed { hold_until, .. }
            | Fact::DeadlineHeldAgain { hold_until, .. } => {
                record.hold_until = Some(*hold_until);
                let extended = record.extended_until;
                ensure!(
                    extended.is_none_or(|until| until <= now),
                    "R5: the deadline of {id} passed, and an operator extended it until {extended:?}"
                );
                self.holds_long_enough(*hold_until, now)?;
            }
            Fact::ReservationEnded(ended) => {
                let completed = ended.outcome == EndOutcome::Completed;
                let had_a_host = record.readies == 1
                    || record.adopted.is_some()
                    || ends_the_unknown_one(decision);
                ensure!(completed == had_a_host, "R7: {fact:?}");
                let key = (decision.resource, id.clone());
                self.ended_rightly(decision, ended, &self.records[&key])?;
            }
            Fact::HostReleased { not_wiped, .. } => {
                // One that was adopted and does not carry our claim yet is somebody else's still.
                let is_ours = record.adopted.is_none() || record.taken_over;
                released_clean(&decision.before, id, host.filter(|_| is_ours))?;
                let was_prepared = record.claims > 0;
                let read = decision.read.as_ref();
                let never = read.is_some_and(|read| {
                    record.host.as_ref() == Some(&read.reference()) && read.never_wiped
                });
                ensure!(
                    *not_wiped || !((never || record.unwiped) && was_prepared),
                    "R4: the host of {id} was not wiped, and that is not said"
                );
                if *not_wiped {
                    self.not_wiped.insert(decision.resource);
                } else if was_prepared {
                    self.not_wiped.remove(&decision.resource);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn holds_long_enough(&self, hold_until: Timestamp, now: Timestamp) -> Verdict {
        let hold = time::after(now, self.policy.deadline_hold);
        ensure!(hold_until >= hold, "R5: the hold is too short");
        Ok(())
    }

    /// R5, and that no end that is older than a known extension ends anything (R3).
    fn ended_rightly(&self, decision: &Decision, ended: &Ended, record: &Record) -> Verdict {
        let held_until = record.hold_until;
        let id = &ended.reservation;
        let now = at(decision.at);
        let known = decision.before.reservations.get(id);
        let end = known
            .and_then(|known| known.schedule())
            .map(|schedule| schedule.end)
            .max(record.extended_until);
        let grace_is_over =
            end.is_some_and(|end| time::after(end, self.policy.deadline_grace) <= now);
        match (ended.cause, &decision.command) {
            (_, Command::Said(word)) if id.is_unknown() => {
                Self::ended_is_the_unknown_one(record.adopted.as_ref(), id, word)?;
            }
            // Judged by the word itself.
            (EndCause::Operator, Command::Ordered(_)) => {}
            (EndCause::Deleted, Command::Said(word)) => {
                ensure!(
                    matches!(word.said, Said::Deleted),
                    "R3: {id} was deleted by {word:?}"
                );
            }
            (EndCause::End, Command::Said(word)) => {
                let newest = known.and_then(|known| known.times.newest());
                ensure!(
                    newest.is_none_or(|newest| newest.schedule.end <= word.knowledge.schedule.end
                        || word.knowledge.is_newer_than(newest)),
                    "R3: an end older than an extension ended {id}"
                );
            }
            (EndCause::Deadline, Command::TimePassed { .. }) => {
                let Some(held_until) = held_until else {
                    return Err(format!("R5: {id} was not held"));
                };
                ensure!(
                    held_until <= now,
                    "R5: {id} was to be held until {held_until}"
                );
                ensure!(
                    self.was_somebody_there(held_until),
                    "R5: the hold of {id} passed while nobody was there"
                );
                ensure!(grace_is_over, "R5: {id} has not ended");
            }
            (EndCause::ProvenOver, Command::TimePassed { .. }) => {
                let due = end.map(|end| time::after(end, self.policy.deadline_grace));
                let proof = decision.before.reservations.iter().any(|(other, known)| {
                    other != id
                        && known.outcome().is_none()
                        && !are_of_different_sites(decision, id, other)
                        && known.times.newest().is_some_and(|heard| {
                            let begins = heard.schedule.start;
                            Some(begins) >= end
                                && begins <= now
                                && due.is_some_and(|due| {
                                    self.was_somebody_there(begins.max(heard.said_at).max(due))
                                })
                        })
                });
                ensure!(
                    proof && grace_is_over,
                    "R5: nothing proves that {id} is over"
                );
            }
            (cause, command) => {
                return Err(format!("R3: {id} ended by {command:?}, says {cause:?}"));
            }
        }
        Ok(())
    }

    /// Judges the state after an append, and the ways to it. `current`: the state before it.
    pub(crate) fn folded(
        &mut self,
        current: &Resource,
        decision: &Decision,
        after: &Resource,
    ) -> Verdict {
        let (facts, command, now) = (&decision.facts, &decision.command, at(decision.at));
        ensure!(
            fold_again(after, facts, now) == *after,
            "R10: folding {facts:?} again changes the state"
        );
        let again = decide(after, command, now, &self.policy);
        ensure!(
            again.is_empty(),
            "R10: decided again: {facts:?}, then {again:?}"
        );
        holder_stays(current, after, command)?;
        if let Command::Said(word) = command {
            only_one_changed(current, after, word)?;
        }
        holder_is_one(after)?;
        for way in ways::taken(current, facts, now, after) {
            ensure!(
                ways::TABLE.contains(&way),
                "the documentation of the state machine has no way from {} to {}: {facts:?}",
                way.0,
                way.1
            );
            self.ways.insert(way);
        }
        Ok(())
    }
}

impl Record {
    fn begin_anew(&mut self) {
        *self = Self {
            is_over: self.is_over,
            overdue: self.overdue,
            missed: self.missed,
            written: self.written.take(),
            // A claim that slept may still reach its host; its release takes it back.
            host: self.host.take(),
            claimed_for: self.claimed_for.take(),
            claims: self.claims,
            extended_until: self.extended_until,
            ..Self::default()
        };
    }

    /// R8: only time counts in which somebody looked.
    fn stop_the_clock(&mut self, now: i64, policy: &Policy) -> Verdict {
        if let Some(since) = self.working_since.take() {
            let longest = 2 * vigil::look_interval(policy).as_secs() as i64;
            ensure!(
                now - since <= longest,
                "R8: {} s count in which nobody looked at the host",
                now - since
            );
            self.worked += now - since;
        }
        Ok(())
    }
}

/// Two sites may both have a resource of this name: a booking of one proves nothing of the other's.
fn are_of_different_sites(decision: &Decision, one: &ReservationId, other: &ReservationId) -> bool {
    let site = |id| (decision.before.reservations.get(id)).and_then(|known| known.site.as_ref());
    let both = site(one).zip(site(other));
    both.is_some_and(|(one, other)| one != other)
}

fn holds(decision: &Decision, id: &ReservationId) -> bool {
    let holding = decision.before.holding();
    holding.is_some_and(|holding| holding.reservation == *id)
}

/// Whether an operator takes back an adopted host that its reservation left for another one, or it is gone before it was ours.
fn takes_back_what_is_left(decision: &Decision, id: &ReservationId) -> bool {
    let is_left = decision.before.left_for(id).is_some();
    is_left
        && match &decision.command {
            Command::Ordered(word) => {
                matches!(&word.order, Order::Release { reservation } if reservation == id)
            }
            Command::Observed(observation) => matches!(observation, Observation::HostGone),
            _ => false,
        }
}

/// Whether the end of an adopted host of which nobody knew whose it is came: its user had it.
fn ends_the_unknown_one(decision: &Decision) -> bool {
    decision
        .facts
        .iter()
        .any(|fact| matches!(fact, Fact::ReservationEnded(ended) if ended.reservation.is_unknown()))
}

fn is_too_many_errors(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::ReservationFailed {
            reason: FailureReason::ProvisioningErrors { .. },
            ..
        }
    )
}

/// R3 and R4: in its time, in the order of the starts, and only while nobody has the resource.
fn assigned_in_order(
    before: &Resource,
    id: &ReservationId,
    now: Timestamp,
    extended_until: Option<Timestamp>,
) -> Verdict {
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
        schedule(id).is_some_and(|schedule| schedule.end > now)
            || extended_until.is_some_and(|until| until > now),
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

/// R8: ready is what was read: our claim and our user data on a host that Metal3 has provisioned with our image.
fn ready_is_true(decision: &Decision, id: &ReservationId) -> Verdict {
    let Command::Observed(Observation::Claimed(_)) = &decision.command else {
        return Err(format!(
            "R8: {id} is called ready by {:?}",
            decision.command
        ));
    };
    let held = decision.before.holding();
    let is_true = held
        .zip(decision.read.as_ref())
        .is_some_and(|(held, host)| {
            host.reference() == held.host
                && host.belongs_to(id)
                && host.user_data.as_ref() == Some(&held.secret)
                && host.image.as_deref() == Some(held.terms.image.url.as_str())
                && host.status_image == host.image
                && host.state == State::Provisioned
        });
    ensure!(
        is_true,
        "R8: {id} is called ready though its host is {:?}",
        decision.read
    );
    Ok(())
}

fn error_is_counted(record: &Record, attempt: u32, fact: &Fact) -> Verdict {
    ensure!(record.errors == attempt, "R8: {fact:?} is not counted");
    ensure!(record.readies == 0, "R8: an error after ready");
    Ok(())
}

/// R8: nothing fails after it was ready; a timeout is one of Metal3's work, and seen on the host.
fn fails_rightly(
    record: &mut Record,
    decision: &Decision,
    id: &ReservationId,
    reason: &FailureReason,
    policy: &Policy,
) -> Verdict {
    ensure!(
        record.readies == 0 && !record.in_use,
        "R8: {id} fails after it was ready"
    );
    let FailureReason::ProvisioningTimeout { .. } = reason else {
        return Ok(());
    };
    record.stop_the_clock(decision.at, policy)?;
    ensure!(
        record.worked >= policy.provisioning_timeout.as_secs() as i64,
        "R8: {} s are no timeout",
        record.worked
    );
    let works = matches!(
        &decision.command,
        Command::Observed(Observation::Claimed(host)) if host.progress == Progress::Working
    );
    ensure!(works, "R8: a timeout without a look at the host");
    Ok(())
}

/// R4: a resource is free when its host is clean, or someone else's by now.
fn released_clean(before: &Resource, id: &ReservationId, host: Option<&Host>) -> Verdict {
    let Occupancy::Releasing(release) = &before.occupancy else {
        return Err(format!("R4: {id} is released, and was not releasing"));
    };
    let Some(host) = host.filter(|host| host.reference() == release.host) else {
        return Ok(());
    };
    let somebody_s = match &host.consumer {
        Some(Consumer::Foreign) => true,
        Some(Consumer::Reservation(consumer)) => consumer != id,
        None => false,
    };
    ensure!(
        somebody_s || host.owner.as_ref() != Some(id),
        "R4: the host of {id} is released and not clean: {host:?}"
    );
    Ok(())
}

/// R2: what is said of one reservation changes no other, and not who has the resource, if another has it.
fn only_one_changed(before: &Resource, after: &Resource, word: &Word) -> Verdict {
    let unknown = before.holding().map(|holding| &holding.reservation);
    let unknown = unknown.filter(|holder| holder.is_unknown() && after.holding().is_none());
    for (id, reservation) in &before.reservations {
        ensure!(
            *id == word.reservation
                || Some(id) == unknown
                || after.reservations.get(id) == Some(reservation),
            "R2: {id} was changed by what was said of {}",
            word.reservation
        );
    }
    let about_holder = matches!(&before.occupancy, Occupancy::Held(holding) if holding.reservation == word.reservation);
    ensure!(
        about_holder || unknown.is_some() || before.occupancy == after.occupancy,
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
