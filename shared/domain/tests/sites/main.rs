//! Starts of several sites, and where the hosts of each are.

#![allow(clippy::unwrap_used, clippy::panic)]

mod elsewhere;
mod same_name;
mod seen;
mod settled;
mod story;

use bellhop_domain::id::{
    DeliveryId, HostRef, ReservationId, ResourceId, ResourceKind, SiteId, Source, UserId, Version,
    WebhookId,
};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{
    ClaimedHost, Command, DeliveryRef, Desired, Fact, FailureReason, HostLeft, Image, Knowledge,
    Observation, Outcome, Phase, Policy, Progress, Rehoming, Said, Schedule, Scope, SiteJudgement,
    TenantKey, Terms, WaitReason, Word, decide, desired,
};
use jiff::Timestamp;
use proptest::prelude::*;

use story::*;
