//! What is known of one reservation, and how far it is.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::fact::{DeliveryRef, EndOutcome, TenantKey, Terms, WaitReason};
use super::super::heard::Heard;
use super::super::knowledge::{Knowledge, KnownTimes, Schedule};
use super::{Binding, Holding};
use crate::id::{HostRef, SiteId, UserId, Version, WebhookId};
use crate::time;

/// One reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Its times as far as they are known.
    pub times: KnownTimes,
    /// Whose it is, where told.
    pub user: Option<UserId>,
    /// The webhook whose secret signs its reports.
    pub webhook: Option<WebhookId>,
    /// The sender's number of the resource.
    pub resource_number: Option<i64>,
    /// The site of its resource, where told.
    #[serde(default)]
    pub site: Option<SiteId>,
    /// The trace of its start.
    pub traceparent: Option<String>,
    /// The saying that moved it here last; none where it never was moved here.
    #[serde(default)]
    pub arrived: Option<Knowledge>,
    /// Its booking got another owner after it was known.
    #[serde(default)]
    pub owner_changed: bool,
    /// An operator said that its end is not missed before this.
    pub extended_until: Option<Timestamp>,
    /// The sender deleted its resource while it was the holder.
    pub resource_deleted: bool,
    /// What was named when it was moved away, or was changed while it held a host or after it was over; none where it never was.
    #[serde(default)]
    pub named_last: Option<NamedLast>,
    /// What was heard of it.
    pub heard: Heard,
    /// How far it is.
    pub phase: Phase,
}

/// What a booking is of, and whose, by a word that moved nothing any more: the same said once more is no other change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedLast {
    /// The sender's number of the resource.
    pub resource_number: Option<i64>,
    /// Whose it is, where told.
    pub user: Option<UserId>,
}

/// How far a reservation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Known; its start was not seen.
    Announced {
        /// Its start should have come by now, and that was told.
        overdue: bool,
    },
    /// Its start was accepted.
    Waiting(Box<Waiting>),
    /// It is the holder; [`Holding`] says how far.
    Holding,
    /// It had started, and its start was moved to later: it waits again when that comes.
    Postponed(Box<Waiting>),
    /// It stands on another resource now.
    Moved,
    /// It is over.
    Over(Outcome),
}

/// What is kept of an accepted start until it has a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The decision that accepted it; the order of those that start at the same time.
    pub accepted: Version,
    /// What it gets.
    pub terms: Terms,
    /// Whether a key came.
    pub key: TenantKey,
    /// The delivery that holds the key.
    pub delivery: DeliveryRef,
    /// What its user was told last, or what is known of that by now.
    pub told: Option<WaitReason>,
    /// How often that became another thing.
    pub changes: Changes,
    /// An operator lets it go ahead, whatever is not known of the host.
    pub allowed: bool,
    /// It came when several sites were seen, and nobody had said where the hosts of its site are: it has no host to wait for
    /// yet, and the resource goes to others.
    #[serde(default)]
    pub unsettled: bool,
    /// In a shadow: the host that it would have been given, had anything been written. No other fact gives it one there.
    #[serde(default)]
    pub would_have: Option<HostRef>,
}

/// How often what a reservation waits for became another thing. A cause that comes and goes floods neither the ledger nor a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// How often.
    pub count: u32,
    /// When last.
    pub last: Option<Timestamp>,
}

/// So many changes of what a reservation waits for are recorded whenever they come.
const CHANGES_AT_ONCE: u32 = 8;
/// How long after the last one another is recorded then.
const BETWEEN_CHANGES: Duration = Duration::from_secs(600);

impl Changes {
    /// Whether one more is recorded.
    pub(in crate::reservation) fn may_be_more(&self, now: Timestamp) -> bool {
        let rested = |last: Timestamp| time::after(last, BETWEEN_CHANGES) <= now;
        self.count < CHANGES_AT_ONCE || self.last.is_none_or(rested)
    }
}

/// Takes in that what was told last is `reason`.
pub(in crate::reservation) fn note_reason(
    told: &mut Option<WaitReason>,
    changes: &mut Changes,
    reason: &WaitReason,
    at: Timestamp,
) {
    if told.as_ref().is_some_and(|told| told != reason) {
        changes.count = changes.count.saturating_add(1);
        changes.last = Some(at);
    }
    *told = Some(reason.clone());
}

impl From<&Holding> for Waiting {
    /// What a holder falls back to when it gives its host back and will start again.
    fn from(holding: &Holding) -> Self {
        Self {
            accepted: holding.assigned,
            terms: holding.terms.clone(),
            key: holding.key.clone(),
            delivery: holding.delivery.clone(),
            told: None,
            changes: Changes::default(),
            allowed: false,
            unsettled: false,
            would_have: None,
        }
    }
}

impl Waiting {
    /// Whether a clean host is not given to it before an operator allows it, and it was told so.
    pub fn waits_for_operator(&self) -> bool {
        matches!(self.told, Some(WaitReason::Operator { .. }))
    }

    /// Whether it may have a host: not without a usable key, unless that was allowed.
    pub fn can_claim(&self) -> bool {
        self.terms.without_key || self.key == TenantKey::InDelivery
    }
}

/// How a reservation ended (R7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It was ready, then ended.
    Completed,
    /// It could not be served.
    Failed,
    /// Deleted or ended before it was ready.
    Cancelled,
    /// Its start came too late.
    Refused,
    /// Its start never came.
    Missed,
}

impl From<EndOutcome> for Outcome {
    fn from(outcome: EndOutcome) -> Self {
        match outcome {
            EndOutcome::Completed => Self::Completed,
            EndOutcome::Cancelled => Self::Cancelled,
        }
    }
}

impl Reservation {
    /// Its outcome, where it is over.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Over(outcome) => Some(outcome),
            Phase::Announced { .. }
            | Phase::Waiting(_)
            | Phase::Holding
            | Phase::Postponed(_)
            | Phase::Moved => None,
        }
    }

    /// Whether it stands here and is not over.
    pub fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Over(_) | Phase::Moved)
    }

    /// Whether its start was accepted and nobody has said where the hosts of its site are.
    pub fn is_unsettled(&self) -> bool {
        matches!(&self.phase, Phase::Waiting(waiting) | Phase::Postponed(waiting) if waiting.unsettled)
    }

    /// Its times, where anything is known of them.
    pub fn schedule(&self) -> Option<Schedule> {
        self.times.schedule()
    }

    /// The sender's resource that it is for, as far as told.
    pub fn binding(&self) -> Option<Binding> {
        Binding::new(self.site.clone(), self.resource_number)
    }

    /// Whether a booking of this resource, or of this user, is another one than what is known of it.
    pub(in crate::reservation) fn is_of_another(
        &self,
        resource_number: Option<i64>,
        user: Option<&UserId>,
    ) -> bool {
        let (known_number, known_user) = match &self.named_last {
            Some(named) => (named.resource_number, named.user.as_ref()),
            None => (self.resource_number, self.user.as_ref()),
        };
        let numbers = resource_number.zip(known_number);
        let users = user.zip(known_user);
        numbers.is_some_and(|(one, other)| one != other)
            || users.is_some_and(|(one, other)| one != other)
    }

    /// The number of the resource that its booking is of by the last word, where that is another one.
    pub(in crate::reservation) fn named_elsewhere(&self) -> Option<i64> {
        let named = self.named_last.as_ref()?.resource_number?;
        self.resource_number
            .filter(|known| *known != named)
            .map(|_| named)
    }

    pub(in crate::reservation) fn name_last(
        &mut self,
        resource_number: Option<i64>,
        user: Option<&UserId>,
    ) {
        let before = self.named_last.take();
        let (known_number, known_user) = match before {
            Some(named) => (named.resource_number, named.user),
            None => (self.resource_number, self.user.clone()),
        };
        self.named_last = Some(NamedLast {
            resource_number: resource_number.or(known_number),
            user: user.cloned().or(known_user),
        });
    }

    /// When its end is due: as booked, or as long after as an operator said.
    pub fn end(&self) -> Option<Timestamp> {
        let booked = self.schedule()?.end;
        Some(
            self.extended_until
                .map_or(booked, |until| booked.max(until)),
        )
    }
}
