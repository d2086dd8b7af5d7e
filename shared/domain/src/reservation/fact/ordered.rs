//! What is kept of an operator's words.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DeliveryRef, Terms};
use crate::id::{HostRef, ReservationId, SiteId};

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

/// See [`super::Fact::HostAdopted`].
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
