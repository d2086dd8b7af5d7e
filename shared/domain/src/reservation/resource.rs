//! The state of one resource, folded from its facts.
//!
//! [`Resource::evolve`] takes every fact in every state: one that does not fit changes nothing, so a fact that is folded
//! twice has no second effect.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::command::Policy;
use super::fact::{DeliveryRef, EndOutcome, Fact, TenantKey, Terms, WaitReason};
use super::heard::Heard;
use super::knowledge::{Knowledge, KnownTimes, Schedule};
use super::orders::Orders;
use crate::id::{HostRef, ReservationId, SiteId, UserId, Version, WebhookId};
use crate::time;

/// A fact as it stands in the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// The ledger's sequence of the message that holds it.
    pub version: Version,
    /// When it was decided.
    pub at: Timestamp,
    /// The trace of what led to it.
    pub traceparent: Option<&'a str>,
    /// The fact.
    pub fact: &'a Fact,
}

/// One resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// How far its facts are folded.
    pub version: Version,
    /// Who has it.
    pub occupancy: Occupancy,
    /// Every reservation that ever reached it; those that are over remain, so that what comes late changes nothing (R3).
    pub reservations: BTreeMap<ReservationId, Reservation>,
    /// What operators ordered for it.
    pub orders: Orders,
    /// The reservation after which its host was released without being wiped, until it was wiped after another one.
    pub not_wiped: Option<ReservationId>,
    /// To which of the sender's resources its host is bound: the one whose reservation had it last.
    pub bound_to: Option<Binding>,
    /// The secrets of those that had its host last, the latest at the end: one that was made too late is found by its name
    /// alone (R9).
    pub spent_secrets: VecDeque<SpentSecret>,
    /// Of the pseudo-resource of a site: that it was seen is recorded.
    pub site_seen: bool,
}

/// The user-data secret of a reservation whose host was given back. It was deleted then; a provisioner that slept may make it
/// once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpentSecret {
    /// Whose it was.
    pub reservation: ReservationId,
    /// On which host.
    pub host: HostRef,
    /// Its name.
    pub secret: String,
    /// When the host was given back.
    pub released: Timestamp,
}

/// How many secrets that were spent are remembered for a resource. Whoever makes one too late slept while fewer than so many
/// others had the host.
pub const SPENT_SECRETS: usize = 16;

/// One of the sender's resources, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Its site, where told.
    pub site: Option<SiteId>,
    /// The sender's number of it.
    pub number: i64,
}

impl Binding {
    /// Whether two may be the same resource: what one of them doesn't tell is no difference.
    pub fn may_be(&self, other: &Self) -> bool {
        let sites = self.site.as_ref().zip(other.site.as_ref());
        self.number == other.number && sites.is_none_or(|(one, other)| one == other)
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            Some(site) => write!(f, "{} of site {site}", self.number),
            None => write!(f, "{}", self.number),
        }
    }
}

/// Of which sites a resource's host may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostSites {
    /// Of one of these.
    These(BTreeSet<SiteId>),
    /// Nobody knows: whoever has an adopted host, for example.
    Any,
}

/// Who has a resource. There is room for one reservation: R2 can't be written down wrongly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Occupancy {
    /// Nobody.
    #[default]
    Free,
    /// A reservation.
    Held(Box<Holding>),
    /// Nobody any more: its host is being given back.
    Releasing(Box<Release>),
}

/// What a holder has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The holder.
    pub reservation: ReservationId,
    /// Its host.
    pub host: HostRef,
    /// The name of its user-data secret.
    pub secret: String,
    /// The decision that gave it.
    pub assigned: Version,
    /// The state of the resource that this was decided upon: who asked for a place of the capacity upon it has it still.
    pub given_upon: Version,
    /// The decision that its user data follow from: the one that gave it, or that its booking got another owner since. A secret
    /// that was made upon an older one may hold a former owner's key.
    pub user_data_of: Version,
    /// What the holder gets.
    pub terms: Terms,
    /// Whether a key came.
    pub key: TenantKey,
    /// The delivery that holds the key.
    pub delivery: DeliveryRef,
    /// How far it is.
    pub stage: Stage,
    /// Why its claim is not written yet, as its user was told last, or as it is known by now.
    pub told: Option<WaitReason>,
    /// How often that became another thing.
    pub changes: Changes,
    /// What someone else changed of the host under us, as it was told last.
    pub changed: Option<String>,
    /// Metal3 was told not to clean the host when someone else had taken our image away.
    pub cleaning_off: bool,
    /// The booking got another owner while the host was held: it may have the earlier one's key, and an operator decides.
    #[serde(default)]
    pub owner_changed: bool,
    /// The end passed without an end event: held until then.
    pub hold_until: Option<Timestamp>,
    /// Since when it has a host that somebody else prepared; none where we did.
    pub adopted_at: Option<Timestamp>,
    /// Why the API server refuses our `consumerRef` on that host; none once it is there.
    pub adoption_refused: Option<String>,
}

/// How far a holder's host is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// A host that somebody else prepared is to carry our `consumerRef`.
    Adopting,
    /// Our claim was not seen on it yet.
    Claiming,
    /// Metal3 has our image.
    Preparing {
        /// Errors so far.
        errors: u32,
        /// It shows an error now.
        in_error: bool,
        /// How long Metal3 was seen to work on it before `working_since`.
        worked: Duration,
        /// When it was last recorded to work on it; none while it does not.
        working_since: Option<Timestamp>,
    },
    /// The user was told that it is ready.
    Ready {
        /// What is wrong with it now, as it was told.
        trouble: Option<String>,
    },
}

/// A host on its way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Whose it was.
    pub reservation: ReservationId,
    /// Which host.
    pub host: HostRef,
    /// Its user-data secret.
    pub secret: String,
    /// The image that we had set.
    pub image_url: String,
    /// Our claim was seen on it, or it was adopted.
    pub claimed: bool,
    /// Somebody else prepared it, and its secret.
    pub adopted: bool,
    /// Metal3 was told not to clean the host while the image was being taken off.
    pub cleaning_off: bool,
    /// The decision that gives it back: the fence that the release writes is at least this.
    pub ordered: Version,
    /// When that was.
    pub since: Timestamp,
}

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
    pub(super) fn may_be_more(&self, now: Timestamp) -> bool {
        let rested = |last: Timestamp| time::after(last, BETWEEN_CHANGES) <= now;
        self.count < CHANGES_AT_ONCE || self.last.is_none_or(rested)
    }
}

/// Takes in that what was told last is `reason`.
pub(super) fn note_reason(
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

    /// The sender's resource that it is for, where told.
    pub fn binding(&self) -> Option<Binding> {
        Some(Binding {
            site: self.site.clone(),
            number: self.resource_number?,
        })
    }

    /// Whether its booking may be of that one of the sender's resources: what it doesn't tell is no difference.
    fn may_be_of(&self, bound: &Binding) -> bool {
        let sites = self.site.as_ref().zip(bound.site.as_ref());
        self.resource_number
            .is_none_or(|number| number == bound.number)
            && sites.is_none_or(|(one, other)| one == other)
    }

    /// Whether a booking of this resource, or of this user, is another one than what is known of it.
    pub(super) fn is_of_another(
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
    pub(super) fn named_elsewhere(&self) -> Option<i64> {
        let named = self.named_last.as_ref()?.resource_number?;
        self.resource_number
            .filter(|known| *known != named)
            .map(|_| named)
    }

    pub(super) fn name_last(&mut self, resource_number: Option<i64>, user: Option<&UserId>) {
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

impl Resource {
    /// The holder, where there is one.
    pub fn holding(&self) -> Option<&Holding> {
        match &self.occupancy {
            Occupancy::Held(holding) => Some(holding),
            Occupancy::Free | Occupancy::Releasing(_) => None,
        }
    }

    /// Notes that the host of `release` is given back. The secret of an adopted one is not of our making.
    pub(super) fn spend_secret(&mut self, release: Release, released: Timestamp) {
        if release.adopted {
            return;
        }
        self.spent_secrets
            .retain(|spent| spent.secret != release.secret);
        self.spent_secrets.push_back(SpentSecret {
            reservation: release.reservation,
            host: release.host,
            secret: release.secret,
            released,
        });
        while self.spent_secrets.len() > SPENT_SECRETS {
            self.spent_secrets.pop_front();
        }
    }

    /// Whether its holder, or a host on its way back, has this secret.
    pub(crate) fn needs_secret(&self, secret: &str) -> bool {
        match &self.occupancy {
            Occupancy::Free => false,
            Occupancy::Held(holding) => holding.secret == secret,
            Occupancy::Releasing(release) => release.secret == secret,
        }
    }

    /// Why a clean host is not given to a reservation before an operator allows it; none where it may be.
    pub fn operator_needed(&self, reservation: &ReservationId, policy: &Policy) -> Option<String> {
        let known = self.reservations.get(reservation)?;
        if matches!(&known.phase, Phase::Waiting(waiting) if waiting.allowed) {
            return None;
        }
        if let Some(before) = &self.not_wiped
            && policy.require_cleaning
        {
            return Some(format!(
                "the host was released, not wiped, after reservation {before} (automatedCleaningMode is disabled)"
            ));
        }
        let bound = self.bound_to.as_ref()?;
        (!known.may_be_of(bound)).then(|| {
            let named = match (known.binding(), &known.site) {
                (Some(named), _) => named.to_string(),
                (None, Some(site)) => format!("one of site {site}"),
                (None, None) => "one that nobody told".to_owned(),
            };
            format!(
                "the host was given to reservations of the resource with the number {bound} so far, and this one names \
                 another, {named}, of the same name"
            )
        })
    }

    /// Of which sites its host may be: that of the resource that had it last, and those of all who have it or wait for it;
    /// where nobody does, those of all who ever did.
    pub fn host_sites(&self) -> HostSites {
        let is_concerned = |id: &ReservationId, known: &Reservation| {
            known.is_live()
                || matches!(&self.occupancy, Occupancy::Releasing(release) if release.reservation == *id)
        };
        let bound = self.bound_to.as_ref().and_then(|bound| bound.site.as_ref());
        let all = || self.reservations.iter();
        let sites: Option<BTreeSet<&SiteId>> = if all().any(|(id, known)| is_concerned(id, known)) {
            all()
                .filter(|(id, known)| is_concerned(id, known))
                .map(|(_, known)| known.site.as_ref().or(bound))
                .collect()
        } else {
            Some(all().filter_map(|(_, known)| known.site.as_ref()).collect())
        };
        let sites = sites.map(|sites| {
            sites
                .into_iter()
                .chain(bound)
                .cloned()
                .collect::<BTreeSet<_>>()
        });
        match sites {
            Some(sites) if !sites.is_empty() => HostSites::These(sites),
            Some(_) | None => HostSites::Any,
        }
    }

    /// Those that wait for its host, in the order in which they get the resource: of their starts, then of their acceptance.
    pub fn queue(&self) -> Vec<(&ReservationId, &Waiting)> {
        let mut queue: Vec<_> = self
            .reservations
            .iter()
            .filter_map(|(id, reservation)| match &reservation.phase {
                Phase::Waiting(waiting) if !waiting.unsettled => Some((
                    reservation.schedule().map(|schedule| schedule.start),
                    id,
                    waiting.as_ref(),
                )),
                Phase::Announced { .. }
                | Phase::Waiting(_)
                | Phase::Holding
                | Phase::Postponed(_)
                | Phase::Moved
                | Phase::Over(_) => None,
            })
            .collect();
        queue.sort_by_key(|(start, _, waiting)| (*start, waiting.accepted));
        queue
            .into_iter()
            .map(|(_, id, waiting)| (id, waiting))
            .collect()
    }

    /// The first in the queue that may have a host.
    pub fn next(&self) -> Option<(&ReservationId, &Waiting)> {
        self.queue()
            .into_iter()
            .find(|(_, waiting)| waiting.can_claim())
    }
}
