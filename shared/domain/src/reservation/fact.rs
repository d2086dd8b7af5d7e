//! What can have happened to a resource and its reservations, in the past tense. Facts are kept for ever and read by every
//! later version: a variant or a field is added, never changed or removed.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::heard::HeardWord;
use super::knowledge::Knowledge;
use crate::id::{DeliveryId, HostRef, ReservationId, ResourceId, SiteId, UserId, WebhookId};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Fact {
    /// A booking is known; its start was not seen yet.
    ReservationAnnounced(Announced),
    /// A known booking was changed, or its times were confirmed anew.
    ReservationChanged(Announced),
    /// The booking was moved here from another resource; from now on the reservation stands here.
    ReservationMovedIn(Box<MovedIn>),
    /// The booking was moved to another resource, where the reservation stands already. Not an outcome: it goes on there.
    ReservationMovedOut {
        /// Which.
        reservation: ReservationId,
        /// Where it stands now.
        to: ResourceId,
    },
    /// The start of a reservation that had started was moved to later: it gives back what it has, and starts again then.
    ReservationPostponed {
        /// Which.
        reservation: ReservationId,
        /// When it starts.
        until: Timestamp,
    },
    /// The time of a postponed reservation has come: it waits for its host again. Nobody sends a second start.
    ReservationResumed {
        /// Which.
        reservation: ReservationId,
    },
    /// The booking has another owner now. If it has a host, that stays as it is: an operator decides.
    OwnerChanged {
        /// Which.
        reservation: ReservationId,
        /// Whose it is now.
        to: UserId,
    },
    /// The booking is not this user's any more; comes with [`Fact::OwnerChanged`], since both are told.
    OwnerWithdrawn {
        /// Which.
        reservation: ReservationId,
        /// Whose it was.
        user: UserId,
    },
    /// A usable key came for a reservation that waited for one.
    KeyBrought {
        /// For which.
        reservation: ReservationId,
        /// The delivery that holds it.
        delivery: DeliveryRef,
        /// Where an operator brought it: who, and why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Note>,
    },
    /// An operator moved the deadline of a reservation: its end is not missed before `until`.
    DeadlineExtended {
        /// Which.
        reservation: ReservationId,
        /// Until when its end may come.
        until: Timestamp,
        /// Who ordered it, and why.
        note: Note,
    },
    /// An operator lets a start go ahead that waited for that ([`WaitReason::Operator`]).
    StartAllowed {
        /// Which.
        reservation: ReservationId,
        /// Who ordered it, and why.
        note: Note,
    },
    /// An operator holds the resource: its host is not released before [`Fact::HostUnheld`], whatever comes.
    HostHeld {
        /// Who ordered it, and why.
        note: Note,
    },
    /// The resource's host may be released again.
    HostUnheld {
        /// Who ordered it, and why.
        note: Note,
    },
    /// An operator stopped all writes to hosts, of this resource or of what the pseudo-resource stands for
    /// ([`super::orders::Scope`]). Deliveries are accepted and decided all the same.
    DrivingPaused {
        /// Who ordered it, and why.
        note: Note,
    },
    /// Hosts are written again.
    DrivingResumed {
        /// Who ordered it, and why.
        note: Note,
    },
    /// An operator took over a host that somebody else prepared (the service before Bellhop, a lost ledger): its image and
    /// user data count as ours from here on (R6).
    HostAdopted(Box<Adopted>),
    /// The API server refuses to let an adopted host carry our `consumerRef` (admission): it is tried again, and an operator must
    /// see to it. Nothing else follows: its user has the host all the while.
    AdoptionRefused {
        /// Whose.
        reservation: ReservationId,
        /// What the API server says.
        text: String,
    },
    /// An operator wants the free resource's host on again, as the service before Bellhop needs it.
    HandBackOrdered {
        /// Who ordered it, and why.
        note: Note,
    },
    /// The free resource's host is on again.
    HostHandedBack {
        /// Which.
        host: HostRef,
    },
    /// A delivery named a site of which nothing had been said before, and led to no fact about a reservation. A fact of the
    /// pseudo-resource of that site ([`super::orders::Scope`]).
    SiteSeen {
        /// Which.
        site: SiteId,
        /// The delivery.
        delivery: DeliveryRef,
    },
    /// The sender deleted the resource under its holder, and sends no end: nothing is wiped, the deadline decides.
    HeldResourceDeleted {
        /// The holder.
        reservation: ReservationId,
        /// The delivery that said so.
        delivery: DeliveryRef,
    },
    /// The booking was changed after the reservation was over: that changes nothing.
    ChangeCameTooLate(Announced),
    /// A word came that changes nothing of what becomes of its reservation: that is over, or nothing can be given to its start.
    /// Recorded for the webhook log, and so that the same said again is nothing new.
    WordHeard(Box<HeardWord>),
    /// Another webhook told of the reservation too, by a word that led to nothing else: reports go out under it where the
    /// receiver does not take them under the others.
    WebhookHeard {
        /// Of which.
        reservation: ReservationId,
        /// Under which webhook.
        webhook: WebhookId,
        /// The delivery that came under it.
        delivery: DeliveryRef,
    },
    /// A start was accepted; the reservation waits for its host. What it gets is fixed here (R12).
    ReservationStarted(Box<Started>),
    /// A start came too late. Final: *refused*.
    ReservationRefused(Refused),
    /// A reservation whose start was accepted has to wait, and its user should know why.
    ReservationWaits {
        /// Which.
        reservation: ReservationId,
        /// For what.
        reason: WaitReason,
    },
    /// What a reservation waits for became another thing of the same kind. Its user was told of the kind, and is not told again; if
    /// it waits in vain, its failure names this.
    WaitReasonChanged {
        /// Which.
        reservation: ReservationId,
        /// For what.
        reason: WaitReason,
    },
    /// An operator said where the hosts of its site are, and it is here: it waits for its host like any other.
    SiteSettled {
        /// Which.
        reservation: ReservationId,
    },
    /// A clean host was given to the reservation. Comes before the first write to that host.
    HostAssigned {
        /// To which.
        reservation: ReservationId,
        /// Which host.
        host: HostRef,
        /// The name of the secret that holds, or will hold, its user data.
        secret: String,
    },
    /// A shadow, which writes nothing, would have given the reservation this clean host. It waits on in the ledger, and counts as
    /// one that had its host.
    HostWouldBeAssigned {
        /// To which.
        reservation: ReservationId,
        /// Which host.
        host: HostRef,
    },
    /// Our claim was seen on the host: from here on the image is never set again (R12).
    HostClaimed {
        /// For which.
        reservation: ReservationId,
    },
    /// Metal3 works on our image: the timeout runs.
    ProvisioningResumed {
        /// For which.
        reservation: ReservationId,
    },
    /// Metal3 was seen to work on our image still: the time since the last sight counts towards the timeout.
    ProvisioningSeen {
        /// For which.
        reservation: ReservationId,
    },
    /// Nobody had looked at the host for longer than usual: the time since the last sight does not count.
    ProvisioningUnseen {
        /// For which.
        reservation: ReservationId,
    },
    /// Metal3 stopped to work on our image (paused, detached, no capacity, …): the timeout stands still. Where the API server was
    /// away, earlier versions recorded it when the time was up, too.
    ProvisioningSuspended {
        /// For which.
        reservation: ReservationId,
        /// Why, in words for an operator.
        reason: String,
    },
    /// Metal3 reported an error while it prepared our image.
    ProvisioningErrorSeen {
        /// For which.
        reservation: ReservationId,
        /// Metal3's own words.
        error: HostError,
        /// The how many-th, from 1.
        attempt: u32,
        /// How many there may be.
        attempts: u32,
    },
    /// Metal3 no longer reports the error.
    ProvisioningErrorCleared {
        /// For which.
        reservation: ReservationId,
    },
    /// The host is ready for its user. A milestone, not an outcome.
    HostProvisioned {
        /// For which.
        reservation: ReservationId,
        /// Where to reach it, where an annotation or the configuration tells.
        address: Option<String>,
    },
    /// Metal3 reported an error on a ready host, or nothing is known of the host any more: told, and nothing more (R8).
    ReadyHostTroubled {
        /// Whose.
        reservation: ReservationId,
        /// What is wrong, for the user and the operator.
        trouble: String,
    },
    /// The trouble on a ready host is over.
    ReadyHostRecovered {
        /// Whose.
        reservation: ReservationId,
    },
    /// Someone else changed what we had set on the host. Recorded and alarmed, not set again (R12).
    HostChangedByOthers {
        /// Whose.
        reservation: ReservationId,
        /// What is different now.
        change: String,
    },
    /// What someone else had changed on the host is again as we had set it.
    HostRestored {
        /// Whose.
        reservation: ReservationId,
    },
    /// While the image was being taken off the host, Metal3 was told not to clean it (`automatedCleaningMode: disabled`): whatever
    /// it is told later, the host is released, not wiped.
    CleaningSeenOff {
        /// Whose it is, or was.
        reservation: ReservationId,
    },
    /// The reservation is over. Final: *completed* where its host was ready, else *cancelled*.
    ReservationEnded(Ended),
    /// The reservation could not be served. Final: *failed*.
    ReservationFailed {
        /// Which.
        reservation: ReservationId,
        /// Why.
        reason: FailureReason,
    },
    /// An announced reservation's time has come and its start did not.
    StartOverdue {
        /// Which.
        reservation: ReservationId,
    },
    /// An announced reservation's time is over and its start never came. Final: *missed*.
    ReservationMissed {
        /// Which.
        reservation: ReservationId,
    },
    /// The end of the holder passed without an end event. Its host is held until `hold_until`.
    DeadlinePassed {
        /// Which.
        reservation: ReservationId,
        /// Until when.
        hold_until: Timestamp,
    },
    /// The hold of a deadline passed while we were away, so it began anew (R5).
    DeadlineHeldAgain {
        /// Which.
        reservation: ReservationId,
        /// Until when.
        hold_until: Timestamp,
    },
    /// The host was given back and is clean, or is gone: the resource is free.
    HostReleased {
        /// Whose it was.
        reservation: ReservationId,
        /// How long the release took.
        #[serde(with = "seconds")]
        took: Duration,
        /// How the host was left.
        left: HostLeft,
        /// Metal3 was told not to clean the host (`automatedCleaningMode: disabled`): released, not wiped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        not_wiped: bool,
    },
}

/// An operator's word: who said it, and why. Kept for ever; no secret belongs in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// When the broker stored it: of two words about the same, the later one counts, in whatever order they are heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// See [`Fact::ReservationAnnounced`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Which.
    pub reservation: ReservationId,
    /// Whose, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Under which webhook it came.
    pub webhook: WebhookId,
    /// The sender's number of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_number: Option<i64>,
    /// The site of its resource, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// From when to when, and how sure.
    pub knowledge: Knowledge,
    /// The delivery that said so.
    pub delivery: DeliveryRef,
}

/// See [`Fact::HostAdopted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Whose it is; one of our own making ([`ReservationId::of_unknown`]) where nobody knows.
    pub reservation: ReservationId,
    /// Which host.
    pub host: HostRef,
    /// The secret with its user data.
    pub secret: String,
    /// What its reservation has, as far as the host tells.
    pub terms: Terms,
    /// When the reservation ends, where an operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The site that the host is of, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// The operator's delivery.
    pub delivery: DeliveryRef,
    /// Who ordered it, and why.
    pub note: Note,
}

/// See [`Fact::ReservationMovedIn`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedIn {
    /// Where it stood.
    pub from: ResourceId,
    /// What was said of it.
    #[serde(flatten)]
    pub announced: Announced,
    /// What its accepted start gave it, where it had started: its key is in that delivery, and nobody sends another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<AcceptedStart>,
    /// Whether it was configured where the hosts of its site are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub site_named: bool,
    /// The sender means the same resource as before: only the namespace of its site's hosts is another.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rehomed: bool,
}

/// What is kept of an accepted start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedStart {
    /// What the reservation gets.
    pub terms: Terms,
    /// Whether a key came.
    pub key: TenantKey,
    /// The delivery that holds the key.
    pub delivery: DeliveryRef,
    /// Whether the host that it had stays as it is: it was adopted, and no move takes it back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub host_stays: bool,
}

/// See [`Fact::ReservationStarted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Which.
    pub reservation: ReservationId,
    /// Whose, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Under which webhook it came: reports are signed with its secret.
    pub webhook: WebhookId,
    /// The sender's number of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_number: Option<i64>,
    /// The site of its resource, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// Whether it was configured where the hosts of its site are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub site_named: bool,
    /// From when to when, and how sure.
    pub knowledge: Knowledge,
    /// The delivery: the user's key is read from it when the host is claimed, since no fact may hold it (R11).
    pub delivery: DeliveryRef,
    /// Whether that delivery brought a key that can be used.
    pub key: TenantKey,
    /// What the reservation gets.
    pub terms: Terms,
    /// The delivery's payload without key, e-mail and name, for the webhook log.
    pub payload: String,
}

/// See [`Fact::ReservationRefused`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Which.
    pub reservation: ReservationId,
    /// Whose, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Under which webhook it came.
    pub webhook: WebhookId,
    /// The sender's number of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_number: Option<i64>,
    /// The site of its resource, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// Its times.
    pub knowledge: Knowledge,
    /// The delivery.
    pub delivery: DeliveryRef,
    /// The delivery's payload without key, e-mail and name, for the webhook log.
    pub payload: String,
}

/// See [`Fact::ReservationEnded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which.
    pub reservation: ReservationId,
    /// What ended it.
    pub cause: EndCause,
    /// How it ended.
    pub outcome: EndOutcome,
    /// Whose, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The webhook of the delivery that ended it, or of its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookId>,
    /// The sender's number of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_number: Option<i64>,
    /// The site of its resource, where told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// The delivery that ended it, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryRef>,
    /// That delivery's payload without key, e-mail and name, for the webhook log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// What that delivery says of the times, and how sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<Knowledge>,
    /// Where an operator ended it: who, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

/// What ended a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EndCause {
    /// The sender said that it ended.
    End,
    /// The sender said that it was deleted.
    Deleted,
    /// Its end passed, and the hold after it.
    Deadline,
    /// Its end passed, and another reservation of the same resource proves that it is over.
    ProvenOver,
    /// An operator ended it.
    Operator,
    /// The sender said that it is of a resource now which is not served here; the fact has the number of that one.
    MovedAway,
}

/// How a reservation ended that neither failed nor was refused or missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EndOutcome {
    /// Its host had been ready.
    Completed,
    /// Its host had not been ready yet.
    Cancelled,
}

/// Why a reservation waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for")]
pub enum WaitReason {
    /// Another reservation has the resource.
    Holder {
        /// Which.
        holder: ReservationId,
    },
    /// The resource is being taken back from another reservation.
    Release {
        /// From which.
        holder: ReservationId,
    },
    /// The host can't be used now.
    Host {
        /// Why, in words for the user and the operator.
        text: String,
    },
    /// As many servers are prepared at once as may be; its turn comes when one of them is ready.
    Turn {
        /// How many are.
        preparing: u32,
    },
    /// No usable SSH key came with the start.
    Key {
        /// What was wrong.
        text: String,
    },
    /// An operator has to allow it: what is known of the host is not enough to give it away.
    Operator {
        /// What is not known, in words for the operator.
        text: String,
    },
    /// Several sites send reservations, and nobody has said yet where the hosts of each are.
    Site,
    /// An operator has its host left alone for now.
    Paused {
        /// How, in words for the user and the operator.
        text: String,
    },
}

impl WaitReason {
    /// Whether a user who was told `self` need not be told `other`: the same in kind, though details may differ.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Why a reservation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because")]
pub enum FailureReason {
    /// No host answers to the resource, or more than one.
    HostUnknown {
        /// Which of these, in words.
        text: String,
    },
    /// Metal3 reported as many errors as there may be.
    ProvisioningErrors {
        /// The last.
        error: HostError,
        /// How many there were.
        attempts: u32,
    },
    /// Metal3 worked on the image for longer than it may.
    ProvisioningTimeout {
        /// How long that is, in seconds.
        seconds: u64,
    },
    /// The host was deleted while it was prepared.
    HostGone,
    /// The reservation's end came before its host could be given to it.
    NotClaimedInTime {
        /// For what it waited last.
        waited_for: Option<WaitReason>,
    },
    /// The host can't be claimed for a reason that time won't mend.
    CannotClaim {
        /// Why, in words.
        text: String,
    },
    /// The sender deleted the resource while the reservation waited for it.
    ResourceDeleted,
    /// What it is a reservation of is not served here. No host was touched.
    NotServed {
        /// What is not, in words.
        text: String,
    },
    /// It asked for an image that is not offered. No host was touched.
    ImageNotOffered {
        /// For which, and which are, in words for its user.
        text: String,
    },
}

/// An error as Metal3 reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostError {
    /// `status.errorType`.
    #[serde(rename = "errorType")]
    pub kind: String,
    /// `status.errorMessage`.
    #[serde(rename = "errorMessage")]
    pub message: String,
}

/// How a released host was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostLeft {
    /// Clean and off.
    Off,
    /// Clean and on: it may not be switched off, or the configuration says so.
    On,
    /// It does not exist any more.
    Gone,
}

/// A delivery, found again by its sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRef {
    /// Its sequence in DELIVERIES.
    pub sequence: u64,
    /// Its id.
    pub id: DeliveryId,
}

/// Whether a start brought a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is")]
pub enum TenantKey {
    /// The delivery holds one that can be used.
    InDelivery,
    /// It holds none, or one that can't be used.
    Missing {
        /// What is wrong, without the key.
        reason: String,
    },
}

/// What a reservation gets, fixed when its start is accepted (R12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The image.
    pub image: Image,
    /// The user that the tenant logs in as.
    pub login: String,
    /// Whether a host is prepared when no usable key came: then nobody but the operator can log in.
    pub without_key: bool,
}

/// An image as Metal3 takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its name in the catalogue, where its user chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `spec.image.url`.
    pub url: String,
    /// `spec.image.checksum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// `spec.image.checksumType`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum_type: Option<String>,
    /// `spec.image.format`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

impl Fact {
    /// The reservation that the fact is about; none where it is about the resource itself.
    pub fn reservation(&self) -> Option<&ReservationId> {
        Some(match self {
            Self::HostHeld { .. }
            | Self::HostUnheld { .. }
            | Self::DrivingPaused { .. }
            | Self::DrivingResumed { .. }
            | Self::HandBackOrdered { .. }
            | Self::HostHandedBack { .. }
            | Self::SiteSeen { .. } => return None,
            Self::HostAdopted(adopted) => &adopted.reservation,
            Self::ReservationAnnounced(announced)
            | Self::ReservationChanged(announced)
            | Self::ChangeCameTooLate(announced) => &announced.reservation,
            Self::ReservationMovedIn(moved) => &moved.announced.reservation,
            Self::WordHeard(word) => &word.reservation,
            Self::ReservationStarted(started) => &started.reservation,
            Self::ReservationRefused(refused) => &refused.reservation,
            Self::ReservationEnded(ended) => &ended.reservation,
            Self::ReservationWaits { reservation, .. }
            | Self::WebhookHeard { reservation, .. }
            | Self::WaitReasonChanged { reservation, .. }
            | Self::ReservationMovedOut { reservation, .. }
            | Self::ReservationPostponed { reservation, .. }
            | Self::ReservationResumed { reservation }
            | Self::OwnerChanged { reservation, .. }
            | Self::OwnerWithdrawn { reservation, .. }
            | Self::KeyBrought { reservation, .. }
            | Self::DeadlineExtended { reservation, .. }
            | Self::StartAllowed { reservation, .. }
            | Self::HeldResourceDeleted { reservation, .. }
            | Self::SiteSettled { reservation }
            | Self::HostAssigned { reservation, .. }
            | Self::HostWouldBeAssigned { reservation, .. }
            | Self::HostClaimed { reservation }
            | Self::AdoptionRefused { reservation, .. }
            | Self::ProvisioningResumed { reservation }
            | Self::ProvisioningSeen { reservation }
            | Self::ProvisioningUnseen { reservation }
            | Self::ProvisioningSuspended { reservation, .. }
            | Self::ProvisioningErrorSeen { reservation, .. }
            | Self::ProvisioningErrorCleared { reservation }
            | Self::HostProvisioned { reservation, .. }
            | Self::ReadyHostTroubled { reservation, .. }
            | Self::ReadyHostRecovered { reservation }
            | Self::HostChangedByOthers { reservation, .. }
            | Self::HostRestored { reservation }
            | Self::CleaningSeenOff { reservation }
            | Self::ReservationFailed { reservation, .. }
            | Self::StartOverdue { reservation }
            | Self::ReservationMissed { reservation }
            | Self::DeadlinePassed { reservation, .. }
            | Self::DeadlineHeldAgain { reservation, .. }
            | Self::HostReleased { reservation, .. } => reservation,
        })
    }

    /// Who ordered it, and why, where an operator did.
    pub fn note(&self) -> Option<&Note> {
        match self {
            Self::HostHeld { note }
            | Self::HostUnheld { note }
            | Self::DrivingPaused { note }
            | Self::DrivingResumed { note }
            | Self::HandBackOrdered { note }
            | Self::StartAllowed { note, .. }
            | Self::DeadlineExtended { note, .. } => Some(note),
            Self::HostAdopted(adopted) => Some(&adopted.note),
            Self::KeyBrought { note, .. } => note.as_ref(),
            Self::ReservationEnded(ended) => ended.note.as_ref(),
            _ => None,
        }
    }

    /// The site of the resource of which the sender said something, where told. What an operator says of an adopted host's site
    /// makes it no site that sends.
    pub fn site(&self) -> Option<&SiteId> {
        match self {
            Self::ReservationAnnounced(announced)
            | Self::ReservationChanged(announced)
            | Self::ChangeCameTooLate(announced) => announced.site.as_ref(),
            Self::ReservationMovedIn(moved) => moved.announced.site.as_ref(),
            Self::ReservationStarted(started) => started.site.as_ref(),
            Self::ReservationRefused(refused) => refused.site.as_ref(),
            Self::ReservationEnded(ended) => ended.site.as_ref(),
            Self::WordHeard(word) => word.site.as_ref(),
            Self::SiteSeen { site, .. } => Some(site),
            _ => None,
        }
    }

    /// The webhook under which the delivery came that led to it, where it names one.
    pub fn webhook(&self) -> Option<&WebhookId> {
        match self {
            Self::ReservationAnnounced(announced)
            | Self::ReservationChanged(announced)
            | Self::ChangeCameTooLate(announced) => Some(&announced.webhook),
            Self::ReservationMovedIn(moved) => Some(&moved.announced.webhook),
            Self::ReservationStarted(started) => Some(&started.webhook),
            Self::ReservationRefused(refused) => Some(&refused.webhook),
            Self::ReservationEnded(ended) => ended.webhook.as_ref(),
            Self::WordHeard(word) => Some(&word.webhook),
            Self::WebhookHeard { webhook, .. } => Some(webhook),
            _ => None,
        }
    }

    /// The fact's name, as it stands in the ledger, in logs and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ReservationAnnounced(_) => "ReservationAnnounced",
            Self::ReservationChanged(_) => "ReservationChanged",
            Self::ReservationMovedIn(_) => "ReservationMovedIn",
            Self::ReservationMovedOut { .. } => "ReservationMovedOut",
            Self::ReservationPostponed { .. } => "ReservationPostponed",
            Self::ReservationResumed { .. } => "ReservationResumed",
            Self::OwnerChanged { .. } => "OwnerChanged",
            Self::OwnerWithdrawn { .. } => "OwnerWithdrawn",
            Self::KeyBrought { .. } => "KeyBrought",
            Self::DeadlineExtended { .. } => "DeadlineExtended",
            Self::StartAllowed { .. } => "StartAllowed",
            Self::HostHeld { .. } => "HostHeld",
            Self::HostUnheld { .. } => "HostUnheld",
            Self::DrivingPaused { .. } => "DrivingPaused",
            Self::DrivingResumed { .. } => "DrivingResumed",
            Self::HeldResourceDeleted { .. } => "HeldResourceDeleted",
            Self::HostAdopted(_) => "HostAdopted",
            Self::AdoptionRefused { .. } => "AdoptionRefused",
            Self::HandBackOrdered { .. } => "HandBackOrdered",
            Self::HostHandedBack { .. } => "HostHandedBack",
            Self::SiteSeen { .. } => "SiteSeen",
            Self::ChangeCameTooLate(_) => "ChangeCameTooLate",
            Self::WordHeard(_) => "WordHeard",
            Self::WebhookHeard { .. } => "WebhookHeard",
            Self::ReservationStarted(_) => "ReservationStarted",
            Self::ReservationRefused(_) => "ReservationRefused",
            Self::ReservationWaits { .. } => "ReservationWaits",
            Self::WaitReasonChanged { .. } => "WaitReasonChanged",
            Self::SiteSettled { .. } => "SiteSettled",
            Self::HostAssigned { .. } => "HostAssigned",
            Self::HostWouldBeAssigned { .. } => "HostWouldBeAssigned",
            Self::HostClaimed { .. } => "HostClaimed",
            Self::ProvisioningResumed { .. } => "ProvisioningResumed",
            Self::ProvisioningSeen { .. } => "ProvisioningSeen",
            Self::ProvisioningUnseen { .. } => "ProvisioningUnseen",
            Self::ProvisioningSuspended { .. } => "ProvisioningSuspended",
            Self::ProvisioningErrorSeen { .. } => "ProvisioningErrorSeen",
            Self::ProvisioningErrorCleared { .. } => "ProvisioningErrorCleared",
            Self::HostProvisioned { .. } => "HostProvisioned",
            Self::ReadyHostTroubled { .. } => "ReadyHostTroubled",
            Self::ReadyHostRecovered { .. } => "ReadyHostRecovered",
            Self::HostChangedByOthers { .. } => "HostChangedByOthers",
            Self::HostRestored { .. } => "HostRestored",
            Self::CleaningSeenOff { .. } => "CleaningSeenOff",
            Self::ReservationEnded(_) => "ReservationEnded",
            Self::ReservationFailed { .. } => "ReservationFailed",
            Self::StartOverdue { .. } => "StartOverdue",
            Self::ReservationMissed { .. } => "ReservationMissed",
            Self::DeadlinePassed { .. } => "DeadlinePassed",
            Self::DeadlineHeldAgain { .. } => "DeadlineHeldAgain",
            Self::HostReleased { .. } => "HostReleased",
        }
    }
}

/// Left out where it is so: as it was before there was the field.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Durations as seconds with a fraction.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
