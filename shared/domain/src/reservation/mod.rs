//! Reservations of a resource that serves one at a time.
//!
//! The usual ways of one reservation, and of its resource:
//!
//! ```text
//!                  announced ──────────────start never came───────────────▶ missed
//!                      │
//!     start ──too late─┼──────────────────────────────────────────────────▶ refused
//!        ─no such image┼──────────────────────────────────────────────────▶ failed
//!                      ▼
//!   ┌─────────────▶ waiting ──no host, no key, or its end came first──────▶ failed
//!   │                  │ └──ended or deleted──────────────────────────────▶ cancelled
//!   │       clean host │
//!   │                  ▼
//!   │              claiming ─▶ preparing ─▶ ready ─ended, deleted, deadline▶ completed
//!   │                  │           │
//!   │                  ├───────────┼───────────────ended, deleted, deadline▶ cancelled
//!   │                  └───────────┴───────────────errors, timeout, no host▶ failed
//!   │
//!   └──its time comes── postponed ◀──its start is later── waiting, claiming, preparing, ready
//!
//!   its resource:  free ─▶ held ─▶ releasing ─▶ free
//! ```
//!
//! From which state to which there is a way, all in all. The tests of the decision and the histories go each of them, and no
//! other:
//!
//! | from | to |
//! |---|---|
//! | unknown | announced, waiting, adopting, completed, cancelled, refused |
//! | announced | waiting, postponed, adopting, moved, completed, cancelled, failed, refused, missed |
//! | waiting | claiming, adopting, postponed, moved, completed, cancelled, failed |
//! | postponed | waiting, adopting, moved, completed, cancelled, failed |
//! | claiming | preparing, postponed, moved, cancelled, failed |
//! | preparing | ready, postponed, moved, cancelled, failed |
//! | ready | postponed, moved, completed |
//! | adopting | ready, moved, completed, failed |
//! | moved | announced, waiting |
//! | free | held |
//! | held | releasing |
//! | releasing | free |
//!
//! *Adopting*: an operator takes over a host that somebody else prepared; it is in use from the beginning. *Completed* without a
//! host of its own is a reservation whose end tells that it had an adopted one, and one that would have had a host, in a shadow.
//!
//! A booking that is moved to another resource ends nothing: a fact on the new resource takes the reservation in, with what
//! its start gave it, then one on the old lets it go. One whose start is moved to later is *postponed*: it gives its host back
//! and waits again when its time comes.
//!
//! A start that comes when several sites were seen, and nobody has said where the hosts of each are, is *unsettled*: it waits,
//! but for no host, until that is said.
//!
//! A reservation is over at once when it ends; its resource is then *releasing*, neither held nor free, until the host is clean.
//!
//! - [`fact`] what can have happened; [`resource`] the state that follows from it (*evolve*);
//! - [`command`] what asks for a decision; [`decide`](mod@decide) the decision; [`timer`] what time itself decides;
//! - [`desired`](mod@desired) what the driver should bring about; [`alarm`] what an operator must look at;
//! - [`vigil`] which time counts towards the provisioning timeout;
//! - [`knowledge`] which of two sayings about a booking is the newer; [`heard`] what was heard of it before; [`orders`] what
//!   operators ordered;
//! - [`rehoming`] reservations that stand in another namespace than their site's hosts are in.

mod adopted;
pub mod alarm;
pub mod command;
pub mod decide;
pub mod desired;
mod evolve;
pub mod fact;
pub mod heard;
pub mod knowledge;
pub mod orders;
pub mod rehoming;
pub mod resource;
pub mod timer;
pub mod vigil;
mod without_effect;

pub use alarm::{Alarm, AlarmKind};
pub use command::{
    Adoption, ClaimedHost, Command, Observation, OperatorWord, Order, Policy, Progress, Said,
    SiteJudgement, Word, moved_by,
};
pub use decide::decide;
pub use desired::{Desired, desired};
pub(crate) use evolve::key_of_the_former_owner;
pub use fact::{
    AcceptedStart, Adopted, Announced, DeliveryRef, EndCause, EndOutcome, Fact, FailureReason,
    HostError, HostLeft, Image, MovedIn, Note, TenantKey, Terms, WaitReason,
};
pub use heard::{Heard, HeardSaid, HeardWord};
pub use knowledge::{Knowledge, KnownTimes, Schedule};
pub use orders::{Orders, Scope};
pub use rehoming::Rehoming;
pub use resource::{
    Binding, Changes, Holding, HostSites, Occupancy, Outcome, Phase, Recorded, Release,
    Reservation, Resource, SPENT_SECRETS, SpentSecret, Stage,
};
pub use without_effect::WithoutEffect;
