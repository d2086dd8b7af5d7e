//! What asks for a decision.

use std::time::Duration;

use jiff::Timestamp;

use super::fact::{
    AcceptedStart, DeliveryRef, FailureReason, HostError, HostLeft, Note, TenantKey, Terms,
    WaitReason,
};
use super::knowledge::Knowledge;
use super::rehoming::Rehoming;
use super::resource::{Phase, Resource, Waiting};
use crate::id::{HostRef, ReservationId, ResourceId, SiteId, UserId, Version, WebhookId};

/// Something to decide upon.
#[derive(Clone, Debug)]
pub enum Command {
    /// A delivery said something about a reservation.
    Said(Box<Word>),
    /// A delivery said something about a reservation that stands here, and names a resource that is not served.
    SaidOfUnserved(Box<Word>),
    /// A delivery said that a reservation, which stands on `from`, is on this resource now.
    MovedIn {
        /// The delivery.
        word: Box<Word>,
        /// Where the reservation stands.
        from: ResourceId,
        /// What its accepted start gave it, where it had started.
        started: Option<AcceptedStart>,
        /// Whose it is there.
        former: Option<UserId>,
    },
    /// A reservation is on this resource now, because the hosts of its site are in this namespace.
    Rehomed(Box<Rehoming>),
    /// What an unsettled reservation is to us.
    SiteJudged {
        /// Which.
        reservation: ReservationId,
        /// What it is.
        judgement: SiteJudgement,
    },
    /// A delivery named this site, whatever else it says. Decided on the site's pseudo-resource.
    SiteSeen {
        /// Which.
        site: SiteId,
        /// The delivery.
        delivery: DeliveryRef,
    },
    /// A reservation that stands here still was moved to `to`, and stands there already.
    MovedOut {
        /// Which.
        reservation: ReservationId,
        /// Where it stands.
        to: ResourceId,
    },
    /// An operator said what shall be.
    Ordered(Box<OperatorWord>),
    /// A delivery said that the sender deleted the resource. It says nothing more of the resource's bookings then.
    ResourceDeleted {
        /// The sender's number of the resource.
        number: Option<i64>,
        /// The delivery.
        delivery: DeliveryRef,
    },
    /// The driver read the host. What it read must be newer than the state that is decided upon: take the state, read the
    /// host, decide, append with that state's version.
    Observed(Observation),
    /// A deadline may have passed.
    TimePassed {
        /// Since when this process has all facts and handles deliveries. What passed before starts its hold anew (R5).
        up_since: Timestamp,
        /// Whether a host may be released because no end came. Not while deliveries wait that may extend a reservation, nor
        /// where such releases are stopped.
        may_release: bool,
        /// Whether our clock is known to be right: else nothing is ended that has no host yet because its time is over.
        clock_is_right: bool,
    },
}

/// What an operator orders, with who it is and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorWord {
    /// What shall be.
    pub order: Order,
    /// Who orders it, and why.
    pub note: Note,
}

/// What an operator can order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A reservation's end is not missed before `until`. The sender's own end still ends it.
    Extend {
        /// Which.
        reservation: ReservationId,
        /// Until when.
        until: Timestamp,
    },
    /// The resource's holder ends, as by the sender's end.
    Release {
        /// The holder that the operator saw.
        reservation: ReservationId,
    },
    /// A reservation ends, whether it is the holder or not.
    End {
        /// Which.
        reservation: ReservationId,
    },
    /// A start that waits for an operator goes ahead.
    Allow {
        /// Which.
        reservation: ReservationId,
    },
    /// A key for a reservation that waits for one.
    BringKey {
        /// Which.
        reservation: ReservationId,
        /// Whose key it is: the reservation's user when the operator brought it, where told.
        user: Option<UserId>,
        /// The delivery that holds it.
        delivery: DeliveryRef,
    },
    /// The resource's host is never released, whatever comes.
    Hold,
    /// It may be released again.
    Unhold,
    /// A host that somebody else prepared is taken over, as it is.
    Adopt(Box<Adoption>),
    /// The free resource's host is switched on.
    HandBack,
    /// No host is written, of this resource or of all that a pseudo-resource stands for.
    Pause,
    /// Hosts are written again.
    Resume,
}

/// See [`Order::Adopt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// Whose it is, where the operator knows.
    pub reservation: Option<ReservationId>,
    /// When that ends, where the operator knows.
    pub until: Option<Timestamp>,
    /// The host.
    pub host: HostRef,
    /// The secret with its user data.
    pub secret: String,
    /// What its reservation has.
    pub terms: Terms,
    /// The site that the host is of, where it is known.
    pub site: Option<SiteId>,
    /// The operator's delivery.
    pub delivery: DeliveryRef,
}

/// What a reservation's site is to us, of which nothing was said when its start was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteJudgement {
    /// Nothing is said still.
    Unclear,
    /// Its hosts are in this resource's namespace.
    Here,
    /// It is not served.
    NotServed {
        /// Which, in words.
        text: String,
    },
}

/// What one delivery says of one reservation.
#[derive(Clone, Debug)]
pub struct Word {
    /// Which.
    pub reservation: ReservationId,
    /// What.
    pub said: Said,
    /// Its times, and how old this saying is.
    pub knowledge: Knowledge,
    /// Under which webhook it came.
    pub webhook: WebhookId,
    /// The delivery.
    pub delivery: DeliveryRef,
    /// Whose reservation it is, where told.
    pub user: Option<UserId>,
    /// The sender's number of the resource.
    pub resource_number: Option<i64>,
    /// The site of the resource, where told.
    pub site: Option<SiteId>,
    /// Whether it is configured where the hosts of its site are.
    pub site_named: bool,
    /// Whether a host of the resource can only be its site's: `SITE_IDS` says so, or no other site was ever seen.
    pub only_site: bool,
    /// The payload without key, e-mail and name.
    pub payload: String,
}

/// What can be said.
#[derive(Clone, Debug)]
pub enum Said {
    /// It was booked.
    Announced,
    /// It was changed.
    Changed,
    /// It starts.
    Start {
        /// Whether a key came with it.
        key: TenantKey,
        /// What it gets.
        terms: Terms,
    },
    /// It starts, and there is nothing that it could get. Where it was accepted before, that stays.
    UnservableStart {
        /// Whether a key came with it.
        key: TenantKey,
        /// Why.
        reason: FailureReason,
    },
    /// It ended.
    End,
    /// It was deleted.
    Deleted,
}

/// What the driver read, in the light of what the resource's state asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// No host answers to the resource, or more than one.
    NoHost {
        /// Which, in words.
        text: String,
    },
    /// A host that can be claimed (R4, R6).
    Clean {
        /// Which.
        host: HostRef,
        /// The name that the user-data secret of the next reservation would have on it.
        secret: String,
    },
    /// The same, in a shadow: it is not claimed.
    WouldBeClaimed {
        /// Which.
        host: HostRef,
    },
    /// A host that can't be claimed now, or one whose release something is in the way of.
    NotClean {
        /// Why, in words.
        text: String,
    },
    /// A host that would be written now, and an operator has it left alone.
    Paused {
        /// How, in words for the user.
        text: String,
    },
    /// While the image is being taken off the host, Metal3 is told not to clean it.
    CleaningOff,
    /// A host that can be claimed, but as many are prepared at once as may be.
    NoPlace {
        /// How many are.
        preparing: u32,
    },
    /// A host that can't be claimed now, though a place of the capacity was granted upon this state of the resource: decided
    /// so that the state ends, and the place goes to another.
    PlaceUnused {
        /// Why.
        reason: WaitReason,
        /// The version of that state.
        upon: Version,
    },
    /// The assigned host does not carry our claim: not yet, or not any more. Decided before the claim is written: where facts
    /// follow, it is not written.
    Unclaimed,
    /// The assigned host can't be claimed, and time won't mend it.
    ClaimRefused {
        /// Why, in words.
        text: String,
    },
    /// The adopted host can't carry our `consumerRef`: the API server refuses it.
    AdoptionRefused {
        /// Why, in words.
        text: String,
    },
    /// The assigned host carries our claim.
    Claimed(ClaimedHost),
    /// The assigned host does not exist any more.
    HostGone,
    /// The free resource's host is on.
    SwitchedOn {
        /// Which.
        host: HostRef,
    },
    /// The host is not given back yet.
    Releasing,
    /// The host is given back and clean, or gone.
    Released {
        /// How it was left.
        left: HostLeft,
        /// Metal3 was told not to clean it.
        not_wiped: bool,
    },
}

/// A host that carries our claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedHost {
    /// How far Metal3 is.
    pub progress: Progress,
    /// The error that it shows.
    pub error: Option<HostError>,
    /// What someone else changed of that which we had set.
    pub changed: Option<String>,
}

/// How far Metal3 is with our image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It works on it: the timeout runs.
    Working,
    /// It does not work on it now.
    Suspended {
        /// Why, in words.
        reason: String,
    },
    /// *Ready* in the sense of R8.
    Ready {
        /// Where to reach it.
        address: Option<String>,
    },
}

/// How patient Bellhop is. Configuration; a change of it counts from the next decision on.
#[derive(Clone, Debug)]
pub struct Policy {
    /// So many errors of Metal3 end a reservation, at least 1.
    pub provisioning_attempts: u32,
    /// How long Metal3 may work on one reservation's image.
    pub provisioning_timeout: Duration,
    /// How long after a reservation's end its end event may still come.
    pub deadline_grace: Duration,
    /// How long a host is held after that.
    pub deadline_hold: Duration,
    /// How long before its start a reservation may have its host: the sender's own starts come so early.
    pub start_lead: Duration,
    /// How long after an announced start its start event may still come.
    pub start_grace: Duration,
    /// Whether a host that was released without being wiped waits for an operator before it is given away again.
    pub require_cleaning: bool,
}

impl Default for Policy {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            provisioning_attempts: 3,
            provisioning_timeout: minutes(45),
            deadline_grace: minutes(10),
            deadline_hold: minutes(120),
            start_lead: minutes(5),
            start_grace: minutes(2),
            require_cleaning: true,
        }
    }
}

/// What a word that names the resource `named` moves of a reservation that stands on `stands`, in that state: what its accepted
/// start gave it, where it had started. None where it moves nothing: the sender means the same resource, the word is older
/// than what is known, the reservation is over, or it only says that it ended.
///
/// The sender's number of a resource tells whether it means the same one: a name is changed by an administrator, a namespace
/// by our own configuration, and neither moves a host under its user (R12).
pub fn moved_by(
    word: &Word,
    named: &ResourceId,
    stands: &ResourceId,
    state: &Resource,
) -> Option<Option<AcceptedStart>> {
    let known = state
        .reservations
        .get(&word.reservation)
        .filter(|known| known.is_live())?;
    let another = match (word.resource_number, known.resource_number) {
        (Some(named), Some(known)) => named != known,
        _ => named.name() != stands.name(),
    };
    let newer = known
        .times
        .newest()
        .is_none_or(|newest| word.knowledge.is_newer_than(newest));
    let started = match &known.phase {
        Phase::Waiting(waiting) | Phase::Postponed(waiting) => {
            Some(AcceptedStart::from(waiting.as_ref()))
        }
        Phase::Holding => state.holding().map(|holding| AcceptedStart {
            host_stays: holding.adopted_at.is_some(),
            ..AcceptedStart::from(&Waiting::from(holding))
        }),
        Phase::Announced { .. } | Phase::Over(_) | Phase::Moved => None,
    };
    (another && word.said.can_move() && newer && named != stands).then_some(started)
}

impl Said {
    /// Whether it says where its booking is: what only says that it ended moves nothing.
    pub(super) fn can_move(&self) -> bool {
        matches!(
            self,
            Self::Announced | Self::Changed | Self::Start { .. } | Self::UnservableStart { .. }
        )
    }
}

impl From<&Waiting> for AcceptedStart {
    fn from(waiting: &Waiting) -> Self {
        Self {
            terms: waiting.terms.clone(),
            key: waiting.key.clone(),
            delivery: waiting.delivery.clone(),
            host_stays: false,
        }
    }
}
