//! How a resource's state follows from its facts.
//!
//! Every fact is taken in every state: one that does not fit changes nothing, so a fact that is folded twice has no second
//! effect.

use std::time::Duration;

use jiff::Timestamp;

use super::fact::{
    AcceptedStart, Adopted, Announced, EndCause, Ended, Fact, MovedIn, Refused, Started, TenantKey,
    Terms, WaitReason,
};
use super::heard::Heard;
use super::knowledge::{Knowledge, KnownTimes, Schedule};
use super::resource::{
    Changes, Holding, Occupancy, Outcome, Phase, Recorded, Release, Reservation, Resource, Stage,
    Waiting, note_reason,
};
use crate::id::{HostRef, ReservationId, UserId, Version};
use crate::time;

impl Resource {
    /// Takes in one fact.
    pub fn evolve(&mut self, recorded: Recorded<'_>) {
        let upon = self.version;
        self.version = self.version.max(recorded.version);
        match recorded.fact {
            Fact::ReservationAnnounced(announced) | Fact::ReservationChanged(announced) => {
                self.announced(announced, &recorded)
            }
            Fact::ReservationStarted(started) => self.started(started, &recorded),
            Fact::ReservationMovedIn(moved) => self.moved_in(moved, &recorded),
            Fact::ReservationMovedOut { reservation, .. } => self.moved_out(reservation, &recorded),
            Fact::ReservationPostponed { reservation, .. } => {
                self.postponed(reservation, &recorded)
            }
            Fact::ReservationResumed { reservation } => self.resumed(reservation),
            Fact::OwnerChanged { reservation, to } => {
                self.owner_changed(reservation, to, recorded.version)
            }
            Fact::KeyBrought {
                reservation,
                delivery,
                ..
            } => {
                if let Some(Phase::Waiting(waiting) | Phase::Postponed(waiting)) =
                    self.phase_mut(reservation)
                {
                    waiting.key = TenantKey::InDelivery;
                    waiting.delivery = delivery.clone();
                    waiting.told = None;
                }
            }
            Fact::DeadlineExtended {
                reservation, until, ..
            } => self.extend(reservation, *until),
            Fact::StartAllowed { reservation, .. } => {
                if let Some(Phase::Waiting(waiting)) = self.phase_mut(reservation) {
                    waiting.allowed = true;
                    waiting.told = None;
                }
            }
            Fact::HostHeld { .. }
            | Fact::HostUnheld { .. }
            | Fact::DrivingPaused { .. }
            | Fact::DrivingResumed { .. }
            | Fact::HandBackOrdered { .. }
            | Fact::HostHandedBack { .. } => self.orders.evolve(recorded.fact),
            Fact::HostAdopted(adopted) => self.adopted(adopted, &recorded),
            Fact::HeldResourceDeleted { reservation, .. } => {
                if let Some(known) = self.reservations.get_mut(reservation) {
                    known.resource_deleted = true;
                }
            }
            // Told to a user; what follows from it is in the fact beside it.
            Fact::OwnerWithdrawn { .. } => {}
            Fact::HostWouldBeAssigned { reservation, host } => {
                if let Some(Phase::Waiting(waiting)) = self.phase_mut(reservation) {
                    waiting.would_have = Some(host.clone());
                    waiting.told = None;
                }
            }
            Fact::SiteSeen { .. } => self.site_seen = true,
            // Only noted as heard.
            Fact::WordHeard(_) | Fact::WebhookHeard { .. } => {}
            Fact::ChangeCameTooLate(announced) => {
                if let Some(known) = self.reservations.get_mut(&announced.reservation) {
                    known.times.learn(announced.knowledge.clone());
                    known.name_last(announced.resource_number, announced.user.as_ref());
                }
            }
            Fact::ReservationRefused(refused) => self.refused(refused, &recorded),
            Fact::ReservationEnded(ended) => self.ended(ended, &recorded),
            Fact::ReservationFailed { reservation, .. } => {
                self.over(reservation, Outcome::Failed, &recorded)
            }
            Fact::ReservationMissed { reservation } => {
                self.over(reservation, Outcome::Missed, &recorded)
            }
            Fact::ReservationWaits {
                reservation,
                reason,
            }
            | Fact::WaitReasonChanged {
                reservation,
                reason,
            } => self.waits(reservation, reason, recorded.at),
            Fact::SiteSettled { reservation } => {
                if let Some(Phase::Waiting(waiting) | Phase::Postponed(waiting)) =
                    self.phase_mut(reservation)
                {
                    waiting.unsettled = false;
                    waiting.told = None;
                }
            }
            Fact::StartOverdue { reservation } => {
                if let Some(Phase::Announced { overdue }) = self.phase_mut(reservation) {
                    *overdue = true;
                }
            }
            Fact::HostAssigned {
                reservation,
                host,
                secret,
            } => self.assigned(reservation, host, secret, recorded.version, upon),
            Fact::CleaningSeenOff { reservation } => self.cleaning_seen_off(reservation),
            Fact::HostReleased {
                reservation,
                not_wiped,
                ..
            } => {
                self.released(reservation, *not_wiped, recorded.at);
            }
            Fact::HostClaimed { reservation }
            | Fact::AdoptionRefused { reservation, .. }
            | Fact::ProvisioningResumed { reservation }
            | Fact::ProvisioningSeen { reservation }
            | Fact::ProvisioningUnseen { reservation }
            | Fact::ProvisioningSuspended { reservation, .. }
            | Fact::ProvisioningErrorSeen { reservation, .. }
            | Fact::ProvisioningErrorCleared { reservation }
            | Fact::HostProvisioned { reservation, .. }
            | Fact::ReadyHostTroubled { reservation, .. }
            | Fact::ReadyHostRecovered { reservation }
            | Fact::HostChangedByOthers { reservation, .. }
            | Fact::HostRestored { reservation }
            | Fact::DeadlinePassed { reservation, .. }
            | Fact::DeadlineHeldAgain { reservation, .. } => {
                if let Occupancy::Held(holding) = &mut self.occupancy
                    && holding.reservation == *reservation
                {
                    holding.evolve(&recorded);
                }
            }
        }
        if let Some(known) = recorded
            .fact
            .reservation()
            .and_then(|reservation| self.reservations.get_mut(reservation))
        {
            known.heard.evolve(recorded.fact);
        }
    }

    fn waits(&mut self, reservation: &ReservationId, reason: &WaitReason, at: Timestamp) {
        if let Occupancy::Held(holding) = &mut self.occupancy
            && holding.reservation == *reservation
            && holding.stage == Stage::Claiming
        {
            note_reason(&mut holding.told, &mut holding.changes, reason, at);
        }
        if let Some(Phase::Waiting(waiting)) = self.phase_mut(reservation) {
            note_reason(&mut waiting.told, &mut waiting.changes, reason, at);
        }
    }

    fn cleaning_seen_off(&mut self, whose: &ReservationId) {
        match &mut self.occupancy {
            Occupancy::Held(holding) if holding.reservation == *whose => {
                holding.cleaning_off = true
            }
            Occupancy::Releasing(release) if release.reservation == *whose => {
                release.cleaning_off = true
            }
            Occupancy::Free | Occupancy::Held(_) | Occupancy::Releasing(_) => {}
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
            _ => {}
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

    fn phase_mut(&mut self, reservation: &ReservationId) -> Option<&mut Phase> {
        self.reservations
            .get_mut(reservation)
            .map(|reservation| &mut reservation.phase)
    }

    fn known(&mut self, reservation: &ReservationId, recorded: &Recorded<'_>) -> &mut Reservation {
        self.reservations
            .entry(reservation.clone())
            .or_insert_with(|| Reservation {
                times: KnownTimes::default(),
                user: None,
                webhook: None,
                resource_number: None,
                site: None,
                traceparent: recorded.traceparent.map(str::to_owned),
                arrived: None,
                owner_changed: false,
                extended_until: None,
                resource_deleted: false,
                named_last: None,
                heard: Heard::default(),
                phase: Phase::Announced { overdue: false },
            })
    }

    fn announced(&mut self, announced: &Announced, recorded: &Recorded<'_>) {
        let reservation = self.known(&announced.reservation, recorded);
        let before = reservation.schedule();
        reservation.times.learn(announced.knowledge.clone());
        let now = reservation.schedule();
        let extended = before.map(|before| before.end) < now.map(|now| now.end);
        // The new start is watched as the first was.
        let later = before.map(|before| before.start) < now.map(|now| now.start);
        if later && let Phase::Announced { overdue } = &mut reservation.phase {
            *overdue = false;
        }
        if reservation.webhook.is_none() {
            reservation.webhook = Some(announced.webhook.clone());
        }
        reservation.user = reservation.user.take().or_else(|| announced.user.clone());
        reservation.resource_number = reservation.resource_number.or(announced.resource_number);
        reservation.site = reservation.site.take().or_else(|| announced.site.clone());
        let stays = reservation.phase == Phase::Holding;
        if stays && reservation.times.newest() == Some(&announced.knowledge) {
            reservation.name_last(announced.resource_number, None);
        }
        if extended {
            self.hold_anew(&announced.reservation);
        }
    }

    /// Extended after its deadline had passed: grace and hold begin anew with the new end (R5).
    fn hold_anew(&mut self, reservation: &ReservationId) {
        if let Occupancy::Held(holding) = &mut self.occupancy
            && holding.reservation == *reservation
        {
            holding.hold_until = None;
        }
    }

    /// An operator said that its end is not missed before `until`.
    pub(crate) fn extend(&mut self, reservation: &ReservationId, until: Timestamp) {
        let Some(known) = self.reservations.get_mut(reservation) else {
            return;
        };
        known.extended_until = known.extended_until.max(Some(until));
        self.hold_anew(reservation);
    }

    fn started(&mut self, started: &Started, recorded: &Recorded<'_>) {
        let reservation = self.known(&started.reservation, recorded);
        reservation.times.learn(started.knowledge.clone());
        if !matches!(reservation.phase, Phase::Announced { .. }) {
            return;
        }
        // It was given to another user after this was said, so the key is the former owner's (R9).
        let is_overtaken = reservation.times.newest() != Some(&started.knowledge)
            && started.user.is_some()
            && reservation.user.is_some()
            && reservation.user != started.user;
        let key = if is_overtaken {
            key_of_the_former_owner()
        } else {
            reservation.user = started.user.clone().or_else(|| reservation.user.take());
            started.key.clone()
        };
        reservation.webhook = Some(started.webhook.clone());
        reservation.resource_number = started.resource_number.or(reservation.resource_number);
        reservation.site = started.site.clone().or_else(|| reservation.site.take());
        reservation.traceparent = recorded.traceparent.map(str::to_owned);
        reservation.phase = Phase::Waiting(Box::new(Waiting {
            accepted: recorded.version,
            terms: started.terms.clone(),
            key,
            delivery: started.delivery.clone(),
            told: None,
            changes: Changes::default(),
            allowed: false,
            unsettled: false,
            would_have: None,
        }));
    }

    /// The booking has another owner. The key that came was the former one's (R9): nothing is prepared with it any more, though
    /// a host that has it stays as it is.
    fn owner_changed(&mut self, reservation: &ReservationId, to: &UserId, version: Version) {
        let Some(known) = self.reservations.get_mut(reservation) else {
            return;
        };
        known.user = Some(to.clone());
        known.owner_changed = true;
        if let Phase::Waiting(waiting) | Phase::Postponed(waiting) = &mut known.phase
            && waiting.key != key_of_the_former_owner()
        {
            waiting.key = key_of_the_former_owner();
            waiting.told = None;
        }
        if let Occupancy::Held(holding) = &mut self.occupancy
            && holding.reservation == *reservation
        {
            if holding.key != key_of_the_former_owner() {
                holding.key = key_of_the_former_owner();
                holding.user_data_of = version;
            }
            holding.owner_changed = true;
        }
    }

    fn moved_in(&mut self, moved: &MovedIn, recorded: &Recorded<'_>) {
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

    fn moved_out(&mut self, reservation: &ReservationId, recorded: &Recorded<'_>) {
        if let Some(known) = self.reservations.get_mut(reservation)
            && known.is_live()
        {
            known.phase = Phase::Moved;
            self.give_back(reservation, recorded);
        }
    }

    fn postponed(&mut self, reservation: &ReservationId, recorded: &Recorded<'_>) {
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
            _ => return,
        };
        *phase = Phase::Postponed(waiting);
        self.give_back(reservation, recorded);
    }

    fn resumed(&mut self, reservation: &ReservationId) {
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

    fn refused(&mut self, refused: &Refused, recorded: &Recorded<'_>) {
        let reservation = self.known(&refused.reservation, recorded);
        reservation.times.learn(refused.knowledge.clone());
        reservation.user = refused.user.clone().or_else(|| reservation.user.take());
        reservation.webhook = Some(refused.webhook.clone());
        reservation.resource_number = refused.resource_number.or(reservation.resource_number);
        reservation.site = refused.site.clone().or_else(|| reservation.site.take());
        self.over(&refused.reservation, Outcome::Refused, recorded);
    }

    fn ended(&mut self, ended: &Ended, recorded: &Recorded<'_>) {
        let reservation = self.known(&ended.reservation, recorded);
        if let Some(knowledge) = &ended.knowledge {
            reservation.times.learn(knowledge.clone());
        }
        reservation.user = reservation.user.take().or_else(|| ended.user.clone());
        reservation.webhook = reservation.webhook.take().or_else(|| ended.webhook.clone());
        reservation.resource_number = reservation.resource_number.or(ended.resource_number);
        reservation.site = reservation.site.take().or_else(|| ended.site.clone());
        if ended.cause == EndCause::MovedAway {
            reservation.name_last(ended.resource_number, ended.user.as_ref());
        }
        // An adopted host's, of which it may come to light only now.
        if self
            .holding()
            .is_some_and(|holding| holding.reservation == ended.reservation)
        {
            self.bind_to(&ended.reservation);
        }
        self.over(&ended.reservation, ended.outcome.into(), recorded);
    }

    fn assigned(
        &mut self,
        reservation: &ReservationId,
        host: &HostRef,
        secret: &str,
        version: Version,
        upon: Version,
    ) {
        let Occupancy::Free = self.occupancy else {
            return;
        };
        let Some(phase) = self.phase_mut(reservation) else {
            return;
        };
        let Phase::Waiting(waiting) = phase else {
            return;
        };
        let holding = Holding {
            reservation: reservation.clone(),
            host: host.clone(),
            secret: secret.to_owned(),
            assigned: version,
            given_upon: upon,
            user_data_of: version,
            terms: waiting.terms.clone(),
            key: waiting.key.clone(),
            delivery: waiting.delivery.clone(),
            stage: Stage::Claiming,
            told: None,
            changes: Changes::default(),
            changed: None,
            cleaning_off: false,
            owner_changed: false,
            hold_until: None,
            adopted_at: None,
            adoption_refused: None,
        };
        *phase = Phase::Holding;
        // What an operator allowed the others, or was asked about, was the host as it was before this one had it.
        for known in self.reservations.values_mut() {
            if let Phase::Waiting(waiting) = &mut known.phase {
                waiting.allowed = false;
                if matches!(
                    waiting.told,
                    Some(
                        WaitReason::Operator { .. }
                            | WaitReason::Host { .. }
                            | WaitReason::Paused { .. }
                    )
                ) {
                    waiting.told = None;
                }
            }
        }
        self.occupancy = Occupancy::Held(Box::new(holding));
        self.orders.handed_back = None;
        self.bind_to(reservation);
    }

    /// The host is the one of that reservation's resource from now on, where it tells which that is.
    fn bind_to(&mut self, holder: &ReservationId) {
        let binding = self.reservations.get(holder).and_then(Reservation::binding);
        self.bound_to = binding.or_else(|| self.bound_to.take());
    }

    /// A host that our claim never reached is as whoever had it before left it.
    fn released(&mut self, reservation: &ReservationId, not_wiped: bool, at: Timestamp) {
        let Occupancy::Releasing(release) = &self.occupancy else {
            return;
        };
        if release.reservation != *reservation {
            return;
        }
        let release = Release::clone(release);
        if not_wiped {
            self.not_wiped = Some(reservation.clone());
        } else if release.claimed {
            self.not_wiped = None;
        }
        self.spend_secret(release, at);
        self.occupancy = Occupancy::Free;
    }

    fn adopted(&mut self, adopted: &Adopted, recorded: &Recorded<'_>) {
        let Occupancy::Free = self.occupancy else {
            return;
        };
        let reservation = self.known(&adopted.reservation, recorded);
        if !reservation.is_live() {
            return;
        }
        // When the operator, who looked at the host, said so: it may be decided much later.
        let said_at = adopted.note.at.unwrap_or(recorded.at);
        if let Some(end) = adopted.until {
            reservation.times.learn(Knowledge {
                schedule: Schedule {
                    start: said_at,
                    end,
                },
                updated_at: None,
                said_at,
                said_by: adopted.delivery.id.clone(),
            });
        }
        reservation.site = reservation.site.take().or_else(|| adopted.site.clone());
        // Needed where it is moved to another host.
        let (key, delivery) = match &reservation.phase {
            Phase::Waiting(waiting) | Phase::Postponed(waiting) => {
                (waiting.key.clone(), waiting.delivery.clone())
            }
            Phase::Announced { .. } | Phase::Holding | Phase::Over(_) | Phase::Moved => {
                let reason = "its host was adopted, and no start brought a key".to_owned();
                (TenantKey::Missing { reason }, adopted.delivery.clone())
            }
        };
        reservation.phase = Phase::Holding;
        self.orders.handed_back = None;
        self.occupancy = Occupancy::Held(Box::new(Holding {
            reservation: adopted.reservation.clone(),
            host: adopted.host.clone(),
            secret: adopted.secret.clone(),
            assigned: recorded.version,
            terms: adopted.terms.clone(),
            key,
            delivery,
            stage: Stage::Adopting,
            told: None,
            changes: Changes::default(),
            changed: None,
            cleaning_off: false,
            owner_changed: false,
            hold_until: None,
            adopted_at: Some(said_at),
            adoption_refused: None,
            given_upon: recorded.version,
            user_data_of: recorded.version,
        }));
        self.bind_to(&adopted.reservation);
    }

    /// Ends a reservation, once; if it is the holder, its host goes back.
    fn over(&mut self, reservation: &ReservationId, outcome: Outcome, recorded: &Recorded<'_>) {
        match self.reservations.get_mut(reservation) {
            Some(known) if known.is_live() => known.phase = Phase::Over(outcome),
            _ => return,
        }
        self.give_back(reservation, recorded);
    }

    /// If the reservation is the holder, its host goes back.
    fn give_back(&mut self, reservation: &ReservationId, recorded: &Recorded<'_>) {
        if let Occupancy::Held(holding) = &self.occupancy
            && holding.reservation == *reservation
        {
            let release = Release {
                reservation: reservation.clone(),
                host: holding.host.clone(),
                secret: holding.secret.clone(),
                image_url: holding.terms.image.url.clone(),
                claimed: !matches!(holding.stage, Stage::Adopting | Stage::Claiming),
                adopted: holding.adopted_at.is_some(),
                cleaning_off: holding.cleaning_off,
                ordered: recorded.version,
                since: recorded.at,
            };
            self.occupancy = Occupancy::Releasing(Box::new(release));
        }
    }
}

/// The key of a booking that has another owner now (R9).
pub(crate) fn key_of_the_former_owner() -> TenantKey {
    TenantKey::Missing {
        reason: "its booking has another owner now".to_owned(),
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

impl Holding {
    fn evolve(&mut self, recorded: &Recorded<'_>) {
        match (recorded.fact, &mut self.stage) {
            (Fact::HostClaimed { .. }, stage @ Stage::Claiming) => {
                self.told = None;
                *stage = Stage::Preparing {
                    errors: 0,
                    in_error: false,
                    worked: Duration::ZERO,
                    working_since: None,
                };
            }
            (Fact::HostClaimed { .. }, stage @ Stage::Adopting) => {
                *stage = Stage::Ready { trouble: None };
                self.adoption_refused = None;
            }
            (Fact::AdoptionRefused { text, .. }, Stage::Adopting) => {
                self.adoption_refused = Some(text.clone());
            }
            (Fact::ProvisioningResumed { .. }, Stage::Preparing { working_since, .. }) => {
                working_since.get_or_insert(recorded.at);
            }
            (
                Fact::ProvisioningSeen { .. },
                Stage::Preparing {
                    worked,
                    working_since: Some(since),
                    ..
                },
            ) => {
                *worked = worked.saturating_add(time::elapsed(*since, recorded.at));
                *since = recorded.at.max(*since);
            }
            (
                Fact::ProvisioningUnseen { .. },
                Stage::Preparing {
                    working_since: Some(since),
                    ..
                },
            ) => *since = recorded.at.max(*since),
            (
                Fact::ProvisioningSuspended { .. },
                Stage::Preparing {
                    worked,
                    working_since,
                    ..
                },
            ) => {
                if let Some(since) = working_since.take() {
                    *worked = worked.saturating_add(time::elapsed(since, recorded.at));
                }
            }
            (
                Fact::ProvisioningErrorSeen { attempt, .. },
                Stage::Preparing {
                    errors, in_error, ..
                },
            ) => {
                *errors = (*errors).max(*attempt);
                *in_error = true;
            }
            (Fact::ProvisioningErrorCleared { .. }, Stage::Preparing { in_error, .. }) => {
                *in_error = false
            }
            (Fact::HostProvisioned { .. }, stage @ Stage::Preparing { .. }) => {
                *stage = Stage::Ready { trouble: None }
            }
            (Fact::ReadyHostTroubled { trouble: told, .. }, Stage::Ready { trouble }) => {
                *trouble = Some(told.clone());
            }
            (Fact::ReadyHostRecovered { .. }, Stage::Ready { trouble }) => *trouble = None,
            (Fact::HostChangedByOthers { change, .. }, _) => self.changed = Some(change.clone()),
            (Fact::HostRestored { .. }, _) => self.changed = None,
            (
                Fact::DeadlinePassed { hold_until, .. }
                | Fact::DeadlineHeldAgain { hold_until, .. },
                _,
            ) => {
                self.hold_until = Some(*hold_until);
            }
            _ => {}
        }
    }
}
