//! What can have happened to a resource and its reservations, in the past tense. Facts are kept for ever and read by every
//! later version: a variant or a field is added, never changed or removed.

mod about;
mod ordered;
mod reason;
mod said;
mod terms;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::heard::HeardWord;
use crate::id::{HostRef, ReservationId, ResourceId, SiteId, UserId, WebhookId};

pub use ordered::{Adopted, Note};
pub use reason::{FailureReason, HostError, WaitReason};
pub use said::{AcceptedStart, Announced, EndCause, EndOutcome, Ended, MovedIn, Refused, Started};
pub use terms::{DeliveryRef, Image, TenantKey, Terms};

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
        /// Where an operator took back the adopted host that it left here: who, and why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Note>,
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
    /// A word came that changes nothing of what becomes of its reservation: that is over, was extended since the word, or nothing
    /// can be given to its start.
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
