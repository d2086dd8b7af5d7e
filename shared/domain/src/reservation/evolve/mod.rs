//! How a resource's state follows from its facts.
//!
//! Every fact is taken in every state: one that does not fit changes nothing, so a fact that is folded twice has no second
//! effect. The compiler asks of each new fact what it changes, and of each new stage and phase what becomes of it.
//!
//! Here: what is known of a reservation, and that it starts and ends. `moving`: to another resource, or to later; `host`: it gets
//! its host and gives it back; `holding`: how far that host is meanwhile.

#![deny(
    clippy::wildcard_enum_match_arm,
    reason = "each pair is decided: a new variant asks for its answer in every place"
)]

mod holding;
mod host;
mod moving;

use jiff::Timestamp;

use super::fact::{Announced, DeliveryRef, EndCause, Ended, Fact, Started, TenantKey, WaitReason};
use super::heard::Heard;
use super::knowledge::KnownTimes;
use super::orders::About;
use super::resource::{
    Changes, Holding, Occupancy, Outcome, Phase, Recorded, Reservation, Resource, Stage, Waiting,
    note_reason,
};
use crate::id::{ReservationId, UserId, Version};

impl Resource {
    /// Takes in one fact.
    pub fn evolve(&mut self, recorded: Recorded<'_>) {
        let upon = self.version;
        self.version = self.version.max(recorded.version);
        self.take_in(&recorded, upon);
        if let Some(known) = recorded
            .fact
            .reservation()
            .and_then(|reservation| self.reservations.get_mut(reservation))
        {
            known.heard.evolve(recorded.fact);
        }
    }

    /// `upon`: the version of the state before it.
    fn take_in(&mut self, recorded: &Recorded<'_>, upon: Version) {
        let at = recorded.at;
        match recorded.fact {
            Fact::ReservationAnnounced(announced) | Fact::ReservationChanged(announced) => {
                self.announced(announced, recorded);
            }
            Fact::ReservationStarted(started) => self.started(started, recorded),
            Fact::ReservationMovedIn(moved) => self.moved_in(moved, recorded),
            Fact::ReservationMovedOut { reservation, .. } => self.moved_out(reservation, recorded),
            Fact::ReservationPostponed { reservation, .. } => {
                self.postponed(reservation, recorded);
            }
            Fact::ReservationResumed { reservation } => self.resumed(reservation),
            Fact::OwnerChanged { reservation, to } => {
                self.owner_changed(reservation, to, recorded.version);
            }
            // Told to a user; what follows from it is in the fact beside it.
            Fact::OwnerWithdrawn { .. } => {}
            Fact::KeyBrought {
                reservation,
                delivery,
                ..
            } => self.key_brought(reservation, delivery),
            Fact::DeadlineExtended {
                reservation, until, ..
            } => self.extend(reservation, *until),
            Fact::StartAllowed { reservation, .. } => {
                self.of_waiting(reservation, |waiting| waiting.allowed = true);
            }
            Fact::HostHeld { note } => self.orders.order(About::Hold, note),
            Fact::HostUnheld { note } => self.orders.take_back(About::Hold, note),
            Fact::DrivingPaused { note } => self.orders.order(About::Pause, note),
            Fact::DrivingResumed { note } => self.orders.take_back(About::Pause, note),
            Fact::HandBackOrdered { note } => self.orders.order(About::HandBack, note),
            Fact::HostHandedBack { .. } => self.orders.handed_back = None,
            Fact::SiteSeen { .. } => self.site_seen = true,
            Fact::HeldResourceDeleted { reservation, .. } => {
                if let Some(known) = self.reservations.get_mut(reservation) {
                    known.resource_deleted = true;
                }
            }
            // Only noted as heard.
            Fact::WordHeard(_) | Fact::WebhookHeard { .. } => {}
            Fact::ChangeCameTooLate(announced) => {
                if let Some(known) = self.reservations.get_mut(&announced.reservation) {
                    known.times.learn(announced.knowledge.clone());
                    known.name_last(announced.resource_number, announced.user.as_ref());
                }
            }
            Fact::StartOverdue { reservation } => {
                if let Some(Phase::Announced { overdue }) = self.phase_mut(reservation) {
                    *overdue = true;
                }
            }
            Fact::ReservationRefused(refused) => self.refused(&refused.announced, recorded),
            Fact::ReservationEnded(ended) => self.ended(ended, recorded),
            Fact::ReservationFailed { reservation, .. } => {
                self.over(reservation, Outcome::Failed, recorded);
            }
            Fact::ReservationMissed { reservation } => {
                self.over(reservation, Outcome::Missed, recorded);
            }
            Fact::ReservationWaits {
                reservation,
                reason,
            }
            | Fact::WaitReasonChanged {
                reservation,
                reason,
            } => self.waits(reservation, reason, at),
            Fact::SiteSettled { reservation } => self.settled(reservation),
            Fact::HostWouldBeAssigned { reservation, host } => {
                self.of_waiting(reservation, |waiting| {
                    waiting.would_have = Some(host.clone());
                });
            }
            Fact::HostAssigned {
                reservation,
                host,
                secret,
            } => self.assigned(reservation, host, secret, recorded.version, upon),
            Fact::HostAdopted(adopted) => self.adopted(adopted, recorded),
            Fact::CleaningSeenOff { reservation } => self.cleaning_seen_off(reservation),
            Fact::HostReleased {
                reservation,
                not_wiped,
                ..
            } => self.released(reservation, *not_wiped, at),
            Fact::HostClaimed { reservation } => self.of_holder(reservation, Holding::claimed),
            Fact::AdoptionRefused { reservation, text } => {
                self.of_holder(reservation, |holding| holding.adoption_refused(text));
            }
            Fact::ProvisioningResumed { reservation } => {
                self.of_holder(reservation, |holding| holding.work_resumed(at));
            }
            Fact::ProvisioningSeen { reservation } => {
                self.of_holder(reservation, |holding| holding.work_seen(at));
            }
            Fact::ProvisioningUnseen { reservation } => {
                self.of_holder(reservation, |holding| holding.work_unseen(at));
            }
            Fact::ProvisioningSuspended { reservation, .. } => {
                self.of_holder(reservation, |holding| holding.work_suspended(at));
            }
            Fact::ProvisioningErrorSeen {
                reservation,
                attempt,
                ..
            } => self.of_holder(reservation, |holding| holding.error_seen(*attempt)),
            Fact::ProvisioningErrorCleared { reservation } => {
                self.of_holder(reservation, Holding::error_cleared);
            }
            Fact::HostProvisioned { reservation, .. } => {
                self.of_holder(reservation, Holding::provisioned);
            }
            Fact::ReadyHostTroubled {
                reservation,
                trouble,
            } => self.of_holder(reservation, |holding| holding.troubled(Some(trouble))),
            Fact::ReadyHostRecovered { reservation } => {
                self.of_holder(reservation, |holding| holding.troubled(None));
            }
            Fact::HostChangedByOthers {
                reservation,
                change,
            } => self.of_holder(reservation, |holding| {
                holding.changed = Some(change.clone())
            }),
            Fact::HostRestored { reservation } => {
                self.of_holder(reservation, |holding| holding.changed = None);
            }
            Fact::DeadlinePassed {
                reservation,
                hold_until,
            }
            | Fact::DeadlineHeldAgain {
                reservation,
                hold_until,
            } => self.of_holder(reservation, |holding| {
                holding.hold_until = Some(*hold_until);
            }),
        }
    }

    /// Changes what a reservation has, where it is the holder.
    fn of_holder(&mut self, reservation: &ReservationId, change: impl FnOnce(&mut Holding)) {
        match &mut self.occupancy {
            Occupancy::Held(holding) if holding.reservation == *reservation => change(holding),
            Occupancy::Free | Occupancy::Held(_) | Occupancy::Releasing(_) => {}
        }
    }

    /// Changes what is kept of a start that waits for its host: what its user was told of that is not so any more.
    fn of_waiting(&mut self, reservation: &ReservationId, change: impl FnOnce(&mut Waiting)) {
        if let Some(Phase::Waiting(waiting)) = self.phase_mut(reservation) {
            change(waiting);
            waiting.told = None;
        }
    }

    /// The same of a start that waits, or will wait again.
    fn of_started(&mut self, reservation: &ReservationId, change: impl FnOnce(&mut Waiting)) {
        if let Some(Phase::Waiting(waiting) | Phase::Postponed(waiting)) =
            self.phase_mut(reservation)
        {
            change(waiting);
            waiting.told = None;
        }
    }

    fn key_brought(&mut self, reservation: &ReservationId, delivery: &DeliveryRef) {
        self.of_started(reservation, |waiting| {
            waiting.key = TenantKey::InDelivery;
            waiting.delivery = delivery.clone();
        });
    }

    fn settled(&mut self, reservation: &ReservationId) {
        self.of_started(reservation, |waiting| waiting.unsettled = false);
    }

    fn waits(&mut self, reservation: &ReservationId, reason: &WaitReason, at: Timestamp) {
        self.of_holder(reservation, |holding| match holding.stage {
            Stage::Claiming => note_reason(&mut holding.told, &mut holding.changes, reason, at),
            Stage::Adopting | Stage::Preparing { .. } | Stage::Ready { .. } => {}
        });
        if let Some(Phase::Waiting(waiting)) = self.phase_mut(reservation) {
            note_reason(&mut waiting.told, &mut waiting.changes, reason, at);
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
        self.of_holder(reservation, |holding| holding.hold_until = None);
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
        self.of_holder(reservation, |holding| {
            if holding.key != key_of_the_former_owner() {
                holding.key = key_of_the_former_owner();
                holding.user_data_of = version;
            }
            holding.owner_changed = true;
        });
    }

    fn refused(&mut self, announced: &Announced, recorded: &Recorded<'_>) {
        let reservation = self.known(&announced.reservation, recorded);
        reservation.times.learn(announced.knowledge.clone());
        reservation.user = announced.user.clone().or_else(|| reservation.user.take());
        reservation.webhook = Some(announced.webhook.clone());
        reservation.resource_number = announced.resource_number.or(reservation.resource_number);
        reservation.site = announced.site.clone().or_else(|| reservation.site.take());
        self.over(&announced.reservation, Outcome::Refused, recorded);
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

    /// Ends a reservation, once; if it is the holder, its host goes back.
    fn over(&mut self, reservation: &ReservationId, outcome: Outcome, recorded: &Recorded<'_>) {
        let known = self.reservations.get_mut(reservation);
        let Some(known) = known.filter(|known| known.is_live()) else {
            return;
        };
        known.phase = Phase::Over(outcome);
        self.give_back(reservation, recorded);
    }
}

/// The key of a booking that has another owner now (R9).
pub(crate) fn key_of_the_former_owner() -> TenantKey {
    TenantKey::Missing {
        reason: "its booking has another owner now".to_owned(),
    }
}
