//! The state of one resource, folded from its facts.
//!
//! [`Resource::evolve`] takes every fact in every state: one that does not fit changes nothing, so a fact that is folded
//! twice has no second effect.

mod binding;
mod reservation;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fact::{DeliveryRef, Fact, TenantKey, Terms, WaitReason};
use super::orders::Orders;
use crate::id::{HostRef, ReservationId, ResourceId, Version};

pub use binding::{Binding, HostSites};
pub(super) use reservation::note_reason;
pub use reservation::{Changes, NamedLast, Outcome, Phase, Reservation, Waiting};

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
    /// Where the reservation stands by now, whose adopted host stays as it is here: nothing that becomes of it there, and no time,
    /// takes this host back, only an operator's word.
    pub left_for: Option<ResourceId>,
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

impl Resource {
    /// The holder, where there is one.
    pub fn holding(&self) -> Option<&Holding> {
        match &self.occupancy {
            Occupancy::Held(holding) => Some(holding),
            Occupancy::Free | Occupancy::Releasing(_) => None,
        }
    }

    /// Where the holder stands by now, whose adopted host is left here; none where it stands here, or is another one.
    pub fn left_for(&self, holder: &ReservationId) -> Option<&ResourceId> {
        self.holding()
            .filter(|holding| holding.reservation == *holder)?
            .left_for
            .as_ref()
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
