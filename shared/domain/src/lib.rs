//! What Bellhop decides, without saying how it is done: pure, no I/O, no async, no clock and no randomness of its own.
//!
//! ```text
//!   command ──▶ decide(resource, command, now) ──▶ facts ──▶ append to LEDGER (the services do that)
//!                  ▲                                            │
//!                  └───────────── evolve(resource, fact) ◀──────┘
//!                                      │
//!                                      └──▶ desired(resource) ──▶ the driver brings the host to it
//! ```
//!
//! - [`id`]: the names of things: sources, reservations, resources, hosts.
//! - [`reservation`]: the one kind of aggregate that there is now: a resource that reservations claim one after the other.
//!   Pipelines and deployments will be modules beside it.
//! - [`served`]: which types of resource and which sites are ours;
//! - [`ledger`]: all resources folded from the facts, and the index that says where a reservation stands.

pub mod id;
pub mod ledger;
pub mod reservation;
pub mod served;
pub mod time;
