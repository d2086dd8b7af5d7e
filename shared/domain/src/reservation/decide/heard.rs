//! Words that change nothing of what becomes of their reservation, and are recorded all the same: an administrator reads in the
//! webhook log what became of each.

use super::super::command::{Said, Word};
use super::super::fact::Fact;
use super::super::heard::{HeardSaid, HeardWord};
use super::super::resource::{Outcome, Phase};
use super::Decision;
use super::said::announced;
use crate::id::ReservationId;

impl Decision<'_> {
    /// A word about a reservation that was over before it: its outcome is final. Whoever would wait for what the word asks for
    /// is told that it has no effect.
    pub(super) fn came_when_over(&mut self, word: &Word) {
        let said = match word.said {
            // Of bookings there is no row.
            Said::Announced => return,
            Said::Changed => HeardSaid::Changed,
            Said::Start { .. } | Said::UnservableStart { .. } if self.starts_anew(word) => {
                HeardSaid::StartAnew
            }
            Said::Start { .. } | Said::UnservableStart { .. } => HeardSaid::Start,
            Said::End if self.is_extended_beyond(word) => HeardSaid::EndBeforeExtension,
            Said::End => HeardSaid::End,
            Said::Deleted => HeardSaid::Deleted,
        };
        // Asked before it is learned.
        let is_news = self.is_news(word, said);
        if matches!(said, HeardSaid::Changed | HeardSaid::StartAnew) {
            self.came_too_late(word);
        }
        if is_news {
            self.heard(word, said);
        }
    }

    /// A change of a reservation that is over: its user should know that it changes nothing.
    fn came_too_late(&mut self, word: &Word) {
        let Some(known) = self.resource.reservations.get(&word.reservation) else {
            return;
        };
        let another = known.schedule() != Some(word.knowledge.schedule)
            || known.is_of_another(word.resource_number, word.user.as_ref());
        let changes = another && word.knowledge.schedule.end > self.now;
        let newer = known
            .times
            .newest()
            .is_none_or(|newest| word.knowledge.is_newer_than(newest));
        if changes && newer {
            self.add(Fact::ChangeCameTooLate(announced(word)));
        }
    }

    /// An end that is older than a known extension, which ends nothing (R3).
    pub(super) fn ended_before_extension(&mut self, word: &Word) {
        if self.is_news(word, HeardSaid::EndBeforeExtension) {
            self.heard(word, HeardSaid::EndBeforeExtension);
        }
    }

    pub(super) fn heard(&mut self, word: &Word, said: HeardSaid) {
        self.add(Fact::WordHeard(Box::new(HeardWord {
            reservation: word.reservation.clone(),
            said,
            webhook: word.webhook.clone(),
            user: word.user.clone(),
            resource_number: word.resource_number,
            site: word.site.clone(),
            knowledge: word.knowledge.clone(),
            delivery: word.delivery.clone(),
            payload: word.payload.clone(),
        })));
    }

    fn is_news(&self, word: &Word, said: HeardSaid) -> bool {
        let Some(known) = self.resource.reservations.get(&word.reservation) else {
            return false;
        };
        // One that came in time has no row; it is known by what it said.
        let came_in_time = || {
            let times = &known.times;
            times.has_learned(&word.knowledge)
                || times
                    .newest()
                    .is_some_and(|newest| !word.knowledge.is_newer_than(newest))
        };
        known.heard.is_news(said, &word.knowledge)
            && !(said == HeardSaid::Changed && came_in_time())
    }

    /// Whether a start is of another booking than the one that had its id: it begins when that one's time is over.
    fn starts_anew(&self, word: &Word) -> bool {
        let known = self.resource.reservations.get(&word.reservation);
        let before = known.and_then(|known| known.times.newest());
        before.is_some_and(|before| {
            word.knowledge.schedule.start >= before.schedule.end
                && word.knowledge.schedule.end > self.now
                && word.knowledge.is_newer_than(before)
        })
    }

    /// Another webhook told of it: reports may go out under that one too.
    pub(super) fn note_webhook(&mut self, word: &Word) {
        let known = self.resource.reservations.get(&word.reservation);
        let is_new = known.is_some_and(|known| {
            known.phase != Phase::Moved && known.heard.is_new_webhook(&word.webhook)
        });
        if is_new {
            self.add(Fact::WebhookHeard {
                reservation: word.reservation.clone(),
                webhook: word.webhook.clone(),
                delivery: word.delivery.clone(),
            });
        }
    }

    pub(super) fn outcome(&self, reservation: &ReservationId) -> Option<Outcome> {
        self.resource.reservations.get(reservation)?.outcome()
    }
}
