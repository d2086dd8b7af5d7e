//! What a delivery says.

use super::super::command::{Said, Word};
use super::super::fact::{
    Announced, EndCause, Ended, Fact, Refused, Started, TenantKey, Terms, WaitReason,
};
use super::super::resource::{Occupancy, Phase};
use super::Decision;

impl Decision<'_> {
    pub(super) fn said(&mut self, word: &Word) {
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
