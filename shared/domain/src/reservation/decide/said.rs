//! What a delivery says.

use super::super::command::{Said, Word};
use super::super::fact::{
    Announced, DeliveryRef, EndCause, EndOutcome, Ended, Fact, FailureReason, Refused, Started,
    TenantKey, Terms,
};
use super::super::heard::HeardSaid;
use super::super::knowledge::KnownTimes;
use super::super::resource::{Outcome, Phase};
use super::Decision;

impl Decision<'_> {
    pub(super) fn said(&mut self, word: &Word) {
        let was_over = self.outcome(&word.reservation).is_some();
        self.act_on(word);
        if was_over {
            self.came_when_over(word);
        }
        self.note_webhook(word);
    }

    fn act_on(&mut self, word: &Word) {
        let phase = self
            .resource
            .reservations
            .get(&word.reservation)
            .map(|reservation| &reservation.phase);
        match (&word.said, phase) {
            (Said::End | Said::Deleted, phase)
                if self.is_the_unknown_one(word)
                    && !matches!(
                        phase,
                        Some(Phase::Over(Outcome::Completed | Outcome::Cancelled) | Phase::Moved)
                    ) =>
            {
                self.end_adopted(word);
            }
            (
                Said::Announced
                | Said::Changed
                | Said::Start { .. }
                | Said::UnservableStart { .. }
                | Said::End
                | Said::Deleted,
                Some(Phase::Over(_) | Phase::Moved),
            ) => {}
            (Said::Announced | Said::Changed, None) => {
                self.add(Fact::ReservationAnnounced(announced(word)))
            }
            (
                Said::Announced | Said::Changed,
                Some(
                    Phase::Announced { .. }
                    | Phase::Waiting(_)
                    | Phase::Postponed(_)
                    | Phase::Holding,
                ),
            ) => self.learn(word),
            (Said::Start { key, terms }, None | Some(Phase::Announced { .. })) => {
                self.start(word, key, terms)
            }
            (Said::UnservableStart { reason, .. }, None | Some(Phase::Announced { .. })) => {
                self.unservable(word, reason)
            }
            (
                Said::Start { key, .. } | Said::UnservableStart { key, .. },
                Some(Phase::Waiting(_) | Phase::Postponed(_)),
            ) => {
                self.start_again(word);
                // The sender said the start twice, and only this time with a key.
                if *key == TenantKey::InDelivery && self.waits_for_the_key_of(word) {
                    self.key_brought(&word.reservation, &word.delivery, None);
                }
            }
            (Said::Start { .. } | Said::UnservableStart { .. }, Some(Phase::Holding)) => {
                self.learn(word)
            }
            (
                Said::Deleted,
                None
                | Some(
                    Phase::Announced { .. }
                    | Phase::Waiting(_)
                    | Phase::Postponed(_)
                    | Phase::Holding,
                ),
            ) => self.end(word, EndCause::Deleted),
            (Said::End, None | Some(Phase::Announced { .. } | Phase::Holding)) => {
                self.end_said(word, false);
            }
            (Said::End, Some(Phase::Waiting(waiting))) => {
                let would_have = waiting.would_have.is_some();
                let in_vain = !waiting.can_claim()
                    || waiting.unsettled
                    || !would_have && word.knowledge.schedule.end <= self.now;
                self.end_said(word, in_vain);
            }
            // Where nobody brought its key, there was time to.
            (Said::End, Some(Phase::Postponed(waiting))) => {
                let in_vain = !waiting.can_claim();
                self.end_said(word, in_vain);
            }
        }
    }

    /// A start that was accepted is said again. Where it is newer than the change that had moved it to later, it starts now, as it
    /// would have, had the change not been heard first.
    fn start_again(&mut self, word: &Word) {
        let known = |decision: &Self| {
            let known = decision.resource.reservations.get(&word.reservation)?;
            let is_postponed = matches!(known.phase, Phase::Postponed(_));
            Some((is_postponed, known.times.newest()?.clone()))
        };
        let before = known(self);
        self.learn(word);
        if let (Some((true, before)), Some((true, now))) = (before, known(self))
            && now == word.knowledge
            && now.schedule.start < before.schedule.start
            && !self.has_ended(&word.reservation)
        {
            self.resume(&word.reservation);
        }
    }

    /// `in_vain`: it waited to the end of its time. Whichever comes first, this word or our own timer, it has failed then.
    fn end_said(&mut self, word: &Word, in_vain: bool) {
        if self.is_extended_beyond(word) {
            self.ended_before_extension(word);
        } else if in_vain {
            self.waited_in_vain(&word.reservation);
            self.heard(word, HeardSaid::End);
        } else {
            self.end(word, EndCause::End);
        }
    }

    /// The word names a resource that is not served. Where it takes a reservation there that has started, the host of this one
    /// goes back: the sender says that its user has no booking of it any more. It starts nowhere else, so it is over. But for an
    /// adopted host, which is in use: its end, its deadline or an operator decides. An announcement fixes nothing, so one that
    /// was only announced goes on, and fails when it starts there.
    pub(super) fn said_of_unserved(&mut self, word: &Word) {
        let Some(known) = self.resource.reservations.get(&word.reservation) else {
            return;
        };
        // Its name alone may have been changed, and so may the type of the same resource: nothing is wiped for that.
        let names_another = word
            .resource_number
            .zip(known.resource_number)
            .is_some_and(|(named, known)| named != known);
        let newer = known
            .times
            .newest()
            .is_none_or(|newest| word.knowledge.is_newer_than(newest));
        let gives_back = match known.phase {
            Phase::Waiting(_) | Phase::Postponed(_) => true,
            Phase::Holding => !self.has_adopted(&word.reservation),
            Phase::Announced { .. } | Phase::Over(_) | Phase::Moved => false,
        };
        let is_over = known.outcome().is_some();
        // Whoever serves that resource answers.
        if names_another && is_over {
            return;
        }
        if names_another && newer && gives_back && word.said.can_move() {
            self.add(Fact::ReservationEnded(Ended {
                // It is not the host's.
                site: None,
                ..Self::ended_by(
                    word,
                    EndCause::MovedAway,
                    self.end_outcome(&word.reservation),
                )
            }));
        } else {
            self.said(word);
        }
    }

    /// Whether a word is about the reservation of a host that was adopted when nobody knew whose it is: its time encloses
    /// that moment.
    fn is_the_unknown_one(&self, word: &Word) -> bool {
        let schedule = word.knowledge.schedule;
        if matches!(word.said, Said::End) && self.is_extended_beyond(word) {
            return false;
        }
        // What was said before is of somebody who had the host before.
        let encloses = self.resource.unknown_since().is_some_and(|since| {
            schedule.start <= since && since <= schedule.end && since <= word.knowledge.said_at
        });
        encloses && self.resource.host_is_surely_meant_by(word)
    }

    /// The end of an adopted host's reservation, whose name comes to light with it: its user had the host.
    fn end_adopted(&mut self, word: &Word) {
        let cause = if matches!(word.said, Said::Deleted) {
            EndCause::Deleted
        } else {
            EndCause::End
        };
        let Some(holder) = self
            .resource
            .holding()
            .map(|holding| holding.reservation.clone())
        else {
            return;
        };
        let known = self.resource.reservations.get(&word.reservation);
        if known.is_none_or(|known| known.is_live()) {
            self.end_as(word, cause, EndOutcome::Completed);
        }
        // What comes to light with it of the host: whose it is by the sender's own numbers.
        self.add(Fact::ReservationEnded(Ended {
            resource_number: word.resource_number,
            site: word.site.clone(),
            ..self.ended_without_delivery(holder, cause)
        }));
    }

    /// The sender deleted the resource, and all its bookings with it, silently: nothing more will be said of them.
    pub(super) fn resource_deleted(&mut self, number: Option<i64>, delivery: &DeliveryRef) {
        let meant: Vec<_> = self
            .resource
            .reservations
            .iter()
            .filter(|(_, known)| known.is_live())
            // Another one of that name may be there again.
            .filter(|(_, known)| {
                number.is_none()
                    || known.resource_number.is_none()
                    || known.resource_number == number
            })
            .map(|(id, known)| {
                (
                    id.clone(),
                    known.phase == Phase::Holding,
                    known.resource_deleted,
                )
            })
            .collect();
        for (reservation, holds, known) in meant {
            match (holds, known) {
                (false, _) => self.fail(&reservation, FailureReason::ResourceDeleted),
                (true, false) => self.add(Fact::HeldResourceDeleted {
                    reservation,
                    delivery: delivery.clone(),
                }),
                (true, true) => {}
            }
        }
    }

    pub(super) fn is_extended_beyond(&self, word: &Word) -> bool {
        self.resource
            .reservations
            .get(&word.reservation)
            .is_some_and(|reservation| reservation.times.extends_beyond(&word.knowledge))
    }

    fn start(&mut self, word: &Word, key: &TenantKey, terms: &Terms) {
        let times = self.times_with(word);
        if self.refused_as_too_late(word, &times) {
            return;
        }
        self.add(Fact::ReservationStarted(Box::new(Started {
            reservation: word.reservation.clone(),
            user: word.user.clone(),
            webhook: word.webhook.clone(),
            resource_number: word.resource_number,
            site: word.site.clone(),
            site_named: word.site_named,
            knowledge: word.knowledge.clone(),
            delivery: word.delivery.clone(),
            key: key.clone(),
            terms: terms.clone(),
            payload: word.payload.clone(),
        })));
        let accepted = self.resource.reservations.get(&word.reservation);
        if let Some(Phase::Waiting(waiting)) = accepted.map(|known| known.phase.clone()) {
            self.tell_who_is_before(&word.reservation, &waiting.key, &waiting.terms);
        }
        // The booking was moved to later before this start came.
        if times
            .schedule()
            .is_some_and(|schedule| schedule.start > word.knowledge.schedule.start)
        {
            self.postpone(&word.reservation);
        }
    }

    /// A start that nothing can be given to: its user is told why at once, while there is time to book again. Nobody sends a
    /// second start, so nothing is gained by waiting for a better one.
    fn unservable(&mut self, word: &Word, reason: &FailureReason) {
        if self.refused_as_too_late(word, &self.times_with(word)) {
            return;
        }
        if self.resource.reservations.contains_key(&word.reservation) {
            self.learn(word);
        } else {
            self.add(Fact::ReservationAnnounced(announced(word)));
        }
        self.heard(word, HeardSaid::Start);
        self.fail(&word.reservation, reason.clone());
    }

    /// What is known of the booking's times once this word is taken in.
    fn times_with(&self, word: &Word) -> KnownTimes {
        let mut times = self
            .resource
            .reservations
            .get(&word.reservation)
            .map(|known| known.times.clone())
            .unwrap_or_default();
        times.learn(word.knowledge.clone());
        times
    }

    /// Whether there is no time left to serve it in, because its end has passed or does not come after its start.
    fn refused_as_too_late(&mut self, word: &Word, times: &KnownTimes) -> bool {
        let too_late = times
            .schedule()
            .is_some_and(|schedule| schedule.end <= self.now || schedule.end <= schedule.start);
        if too_late {
            self.add(Fact::ReservationRefused(Refused {
                announced: announced(word),
                payload: word.payload.clone(),
            }));
        }
        too_late
    }

    fn end(&mut self, word: &Word, cause: EndCause) {
        self.end_as(word, cause, self.end_outcome(&word.reservation));
    }

    fn end_as(&mut self, word: &Word, cause: EndCause, outcome: EndOutcome) {
        let ended = Self::ended_by(word, cause, outcome);
        self.add(Fact::ReservationEnded(ended));
    }

    fn ended_by(word: &Word, cause: EndCause, outcome: EndOutcome) -> Ended {
        Ended {
            reservation: word.reservation.clone(),
            cause,
            outcome,
            user: word.user.clone(),
            webhook: Some(word.webhook.clone()),
            resource_number: word.resource_number,
            site: word.site.clone(),
            delivery: Some(word.delivery.clone()),
            payload: Some(word.payload.clone()),
            knowledge: Some(word.knowledge.clone()),
            note: None,
        }
    }
}

pub(super) fn announced(word: &Word) -> Announced {
    Announced {
        reservation: word.reservation.clone(),
        user: word.user.clone(),
        webhook: word.webhook.clone(),
        resource_number: word.resource_number,
        site: word.site.clone(),
        knowledge: word.knowledge.clone(),
        delivery: word.delivery.clone(),
    }
}
