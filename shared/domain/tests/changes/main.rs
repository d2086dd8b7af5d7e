//! Bookings that are changed: moved to another resource, to another time, to another owner, or too late.

#![allow(clippy::unwrap_used, clippy::panic)]

mod keys;
mod late;
mod later;
mod moved;
mod owner;
mod site;
mod unserved;

use bellhop_domain::id::{
    DeliveryId, HostRef, ReservationId, ResourceId, ResourceKind, SiteId, Source, UserId, Version,
    WebhookId,
};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::alarm::alarms;
use bellhop_domain::reservation::timer::next_due;
use bellhop_domain::reservation::{
    AcceptedStart, Adopted, AlarmKind, ClaimedHost, Command, DeliveryRef, Desired, EndCause,
    EndOutcome, Fact, FailureReason, Image, Knowledge, Note, Observation, Phase, Policy, Progress,
    Said, Schedule, TenantKey, Terms, WaitReason, Word, decide, desired, moved_by,
};
use jiff::Timestamp;

use site::*;
