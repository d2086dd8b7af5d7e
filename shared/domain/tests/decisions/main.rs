//! The rules, one by one: which facts follow from which command in which state.
//!
//! `pairs` has every pair of a state and a command; the others say what a table can't. `story` is what they are told with.

#![allow(clippy::unwrap_used, clippy::panic)]

mod adoption;
mod answers;
mod deadlines;
mod heard;
mod holder;
mod metal3;
mod order;
mod orders;
mod pairs;
mod queue;
mod shadow;
mod spent_secrets;
mod story;
mod unserved;
mod waiting;
#[path = "../ways/mod.rs"]
mod ways;
mod without_effect;

use std::time::Duration;

use bellhop_domain::id::{
    DeliveryId, HostRef, ReservationId, ResourceId, ResourceKind, SiteId, Source, UserId, Version,
    WebhookId,
};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::alarm::alarms;
use bellhop_domain::reservation::timer::next_due;
use bellhop_domain::reservation::{
    AlarmKind, ClaimedHost, Command, DeliveryRef, Desired, EndCause, EndOutcome, Fact,
    FailureReason, HostError, HostLeft, Image, Knowledge, Observation, Occupancy, Outcome, Policy,
    Progress, Recorded, Resource, Said, Schedule, Stage, TenantKey, Terms, WaitReason, Word,
    decide, desired, vigil,
};
use jiff::Timestamp;

use story::*;
