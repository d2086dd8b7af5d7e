//! What is kept of the sender's words: that a booking is known, starts, is somewhere else, or is over.

use serde::{Deserialize, Serialize};

use super::super::knowledge::Knowledge;
use super::{DeliveryRef, Note, TenantKey, Terms};
use crate::id::{ReservationId, ResourceId, SiteId, UserId, WebhookId};

/// See [`super::Fact::ReservationAnnounced`].
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

/// See [`super::Fact::ReservationMovedIn`].
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

/// See [`super::Fact::ReservationStarted`].
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

/// See [`super::Fact::ReservationRefused`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What its start said.
    #[serde(flatten)]
    pub announced: Announced,
    /// The delivery's payload without key, e-mail and name, for the webhook log.
    pub payload: String,
}

/// See [`super::Fact::ReservationEnded`].
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

/// Left out where it is so: as it was before there was the field.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}
