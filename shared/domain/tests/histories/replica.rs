//! One provisioner: what it knows, and what it has in its hands when it stops.

use bellhop_domain::id::ReservationId;
use bellhop_domain::ledger::{Ledger, Upon};
use bellhop_domain::preparing::Sight;
use bellhop_domain::reservation::{Command, Fact, Resource};

use super::delivery::Delivery;
use super::driver::Plan;
use super::host::{Host, Write};
use super::turns::Places;
use super::world::HOSTS;

#[derive(Default)]
pub(crate) struct Replica {
    pub(crate) ledger: Ledger,
    /// How many entries of the ledger it has read.
    pub(crate) followed: usize,
    /// Since when it is there without a gap (R5).
    pub(crate) up_since: i64,
    /// It was not running for a while, and has not noticed yet.
    pub(crate) slept: bool,
    /// Since when it is frozen.
    pub(crate) frozen: Option<i64>,
    /// Which image it was started with.
    pub(crate) image: u32,
    /// Whether it was started with the knowledge of where the hosts of each site are.
    pub(crate) sites_named: bool,
    /// What it saw last of the host that each resource's next reservation would get.
    pub(crate) sights: [Option<Sight>; HOSTS],
    /// Decided on the places, and not appended yet.
    pub(crate) places: Option<Places>,
    pub(crate) handling: Option<Handling>,
    pub(crate) look: Option<Look>,
    /// Decided because a timer fired, and not appended yet.
    pub(crate) fired: Option<Decision>,
    /// Each host as it was when this replica last read that it is provisioned; only a mutant makes use of it.
    pub(crate) provisioned: [Option<Host>; 2],
}

/// A decision that is not appended yet.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) resource: usize,
    /// The state that was decided upon.
    pub(crate) before: Resource,
    /// What was read, where it is about that.
    pub(crate) read: Option<Host>,
    pub(crate) command: Command,
    pub(crate) facts: Vec<Fact>,
    pub(crate) at: i64,
    /// Upon what it may be recorded, as its replica knew the ledger; none where it may not.
    pub(crate) upon: Option<Upon>,
    /// How many entries of the ledger that one had read.
    pub(crate) followed: usize,
}

/// A delivery in a replica's hands.
#[derive(Clone, Debug)]
pub(crate) struct Handling {
    pub(crate) delivery: Delivery,
    pub(crate) step: HandlingStep,
    /// The broker knows that it is handled.
    pub(crate) acknowledged: bool,
}

/// How far it is.
#[derive(Clone, Debug)]
pub(crate) enum HandlingStep {
    Taken,
    Decided(Box<Decision>),
    /// What follows from it is in the ledger, or nothing does.
    Recorded,
}

/// A look at a resource and its host.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) resource: usize,
    pub(crate) state: Resource,
    pub(crate) host: Option<Host>,
    pub(crate) step: LookStep,
}

/// How far it is.
#[derive(Clone, Debug)]
pub(crate) enum LookStep {
    /// The host was read.
    Read,
    /// The secret that nothing needs any more is deleted.
    Forgotten(Box<Plan>),
    /// Something follows from what was read.
    Decided(Box<Decision>),
    /// Nothing does, so the host is written next, if no operator has anything against it.
    Planned(Planned),
    /// None had.
    Asked(Planned),
    /// The user-data secret is there, so the claim is written next.
    SecretMade(Planned),
}

/// A write that is due.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) reservation: ReservationId,
    pub(crate) write: Write,
    /// When that was decided.
    pub(crate) at: i64,
    /// How far the ledger was when its writer last asked what operators order.
    pub(crate) asked: usize,
}
