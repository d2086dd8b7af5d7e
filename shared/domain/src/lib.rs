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
//! - [`reservation`]: one kind of aggregate: a resource that reservations claim one after the other.
//!   Pipelines and deployments will be modules beside it.
//! - [`capacity`]: the other one: how many may be served at once; it knows nothing of reservations.
//! - [`preparing`]: what the reservations ask of it;
//! - [`quota`]: a third: how often something may be done within ten minutes;
//! - [`served`]: which types of resource and which sites are ours;
//! - [`typed`]: what an operator types, in texts that name a command;
//! - [`ledger`]: everything folded from the facts, and the index that says where a reservation stands.

pub mod capacity;
pub mod id;
pub mod ledger;
pub mod preparing;
pub mod quota;
pub mod reservation;
pub mod served;
pub mod time;
pub mod typed;
