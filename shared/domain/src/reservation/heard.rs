//! What was heard of a reservation: under which webhooks, and which words were recorded. So the same that comes again, by
//! whichever way, is found to be nothing new.

use serde::{Deserialize, Serialize};

use super::fact::{DeliveryRef, EndCause, Fact};
use super::knowledge::{Knowledge, Schedule};
use crate::id::{ReservationId, SiteId, UserId, WebhookId};

/// How many webhooks of one reservation are known. A booking is told to every webhook that matches it, which are few; this
/// bounds under how many one report is tried.
pub const MOST_WEBHOOKS: usize = 8;

/// See [`Fact::WordHeard`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardWord {
    /// Of which reservation.
    pub reservation: ReservationId,
    /// What it says.
    pub said: HeardSaid,
    /// Under which webhook it came.
    pub webhook: WebhookId,
    /// Whose it is by this word, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The sender's number of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_number: Option<i64>,
    /// The site of its resource, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// What it says of the times, and how sure.
    pub knowledge: Knowledge,
    /// The delivery.
    pub delivery: DeliveryRef,
    /// Its payload without key, e-mail and name, for the webhook log.
    pub payload: String,
}

/// What a word says that is recorded for its own sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HeardSaid {
    /// It starts.
    Start,
    /// It starts, at times after those of the reservation that had this id and is over: the sender gives its ids anew, as one does
    /// whose database was rebuilt.
    StartAnew,
    /// It was changed.
    Changed,
    /// It ended.
    End,
    /// It ended, by a word that is older than a known extension, and so ends nothing.
    EndBeforeExtension,
    /// It was deleted.
    Deleted,
}

/// What was heard of one reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Under which webhooks, in the order in which each was first named; at most [`MOST_WEBHOOKS`].
    webhooks: Vec<WebhookId>,
    /// The newest word of each kind that was recorded.
    start: Option<Knowledge>,
    changed: Option<Knowledge>,
    end: Option<Knowledge>,
    end_before_extension: Option<Knowledge>,
    deleted: Option<Knowledge>,
    /// The times of a start that came under this id when its reservation was over, until that one is over too.
    started_anew: Option<Schedule>,
}

impl Heard {
    /// Whether nothing is known to have come under this webhook, and it may still be noted.
    pub(super) fn is_new_webhook(&self, webhook: &WebhookId) -> bool {
        self.webhooks.len() < MOST_WEBHOOKS && !self.webhooks.contains(webhook)
    }

    /// Whether a word says what none of its kind said before: it is newer than the newest of them, and no copy of that. One that
    /// ended it may look older than an extension that was heard later.
    pub(super) fn is_news(&self, said: HeardSaid, knowledge: &Knowledge) -> bool {
        let end = self.end.as_ref();
        let also = end.filter(|_| said == HeardSaid::EndBeforeExtension);
        let mut before = self.newest(said).into_iter().chain(also);
        before.all(|known| knowledge.is_newer_than(known) && !knowledge.says_the_same(known))
    }

    /// The newest word of the sender that it ended or was deleted.
    pub(super) fn end(&self) -> Option<&Knowledge> {
        match (&self.end, &self.deleted) {
            (Some(end), Some(deleted)) if deleted.is_newer_than(end) => Some(deleted),
            (Some(end), _) => Some(end),
            (None, deleted) => deleted.as_ref(),
        }
    }

    /// See [`HeardSaid::StartAnew`].
    pub(super) fn started_anew(&self) -> Option<Schedule> {
        self.started_anew
    }

    /// Takes in what a fact about the reservation tells of that.
    pub(super) fn evolve(&mut self, fact: &Fact) {
        if let Some(webhook) = fact.webhook()
            && self.is_new_webhook(webhook)
        {
            self.webhooks.push(webhook.clone());
        }
        match fact {
            Fact::ReservationStarted(started) => self.note(HeardSaid::Start, &started.knowledge),
            Fact::ReservationRefused(refused) => {
                self.note(HeardSaid::Start, &refused.announced.knowledge)
            }
            // Its start was recorded where it stood.
            Fact::ReservationMovedIn(moved) if moved.started.is_some() => {
                self.note(HeardSaid::Start, &moved.announced.knowledge);
            }
            Fact::ReservationEnded(ended) => {
                let said = match ended.cause {
                    EndCause::End => HeardSaid::End,
                    EndCause::Deleted => HeardSaid::Deleted,
                    EndCause::MovedAway => HeardSaid::Changed,
                    EndCause::Deadline | EndCause::ProvenOver | EndCause::Operator => return,
                };
                if let Some(knowledge) = &ended.knowledge {
                    self.note(said, knowledge);
                }
            }
            Fact::WordHeard(word) => {
                self.note(word.said, &word.knowledge);
                match word.said {
                    HeardSaid::StartAnew => self.started_anew = Some(word.knowledge.schedule),
                    HeardSaid::End | HeardSaid::Deleted => self.started_anew = None,
                    HeardSaid::Start | HeardSaid::Changed | HeardSaid::EndBeforeExtension => {}
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, said: HeardSaid, knowledge: &Knowledge) {
        if self
            .newest(said)
            .is_none_or(|known| knowledge.is_newer_than(known))
        {
            *self.slot(said) = Some(knowledge.clone());
        }
    }

    fn newest(&self, said: HeardSaid) -> Option<&Knowledge> {
        match said {
            HeardSaid::Start | HeardSaid::StartAnew => self.start.as_ref(),
            HeardSaid::Changed => self.changed.as_ref(),
            HeardSaid::End => self.end.as_ref(),
            HeardSaid::EndBeforeExtension => self.end_before_extension.as_ref(),
            HeardSaid::Deleted => self.deleted.as_ref(),
        }
    }

    fn slot(&mut self, said: HeardSaid) -> &mut Option<Knowledge> {
        match said {
            HeardSaid::Start | HeardSaid::StartAnew => &mut self.start,
            HeardSaid::Changed => &mut self.changed,
            HeardSaid::End => &mut self.end,
            HeardSaid::EndBeforeExtension => &mut self.end_before_extension,
            HeardSaid::Deleted => &mut self.deleted,
        }
    }
}
