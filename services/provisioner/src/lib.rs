//! The provisioner: deliveries in, facts out, hosts driven.
//!
//! ```text
//!   DELIVERIES ─▶ deliveries ─▶ words ─▶ decisions ─▶ LEDGER ─▶ folded ─┬─▶ work queue ─▶ driver ─▶ Kubernetes
//!                                            ▲                          ├─▶ timers ─┐         │
//!                                            └──────────────────────────┼───────────┴─────────┘
//!                                                                       └─▶ alarms
//! ```
//!
//! Where the number of servers that are prepared at once is limited, `turns` grants the places.
//!
//! Any number of provisioners run at once: they share one durable consumer for the deliveries, each follows the whole ledger,
//! and the append settles who was first. No one leads.
//!
//! [`run`] reads top to bottom as a start: nothing is decided before the ledger is folded, and no host is touched and no
//! timer fires before the deliveries that waited are folded too.

mod alarms;
pub mod baremetalhost;
mod broker_clock;
mod catch_up;
mod decisions;
mod deliveries;
mod drive;
mod folded;
mod images;
mod late_starts;
mod metrics;
mod retention;
mod settings;
mod sites;
mod snapshots;
mod start;
mod timers;
mod turns;
mod words;
mod work_queue;

pub use baremetalhost::adoption::{
    AdoptableHost, adoptable_hosts, adoptable_hosts_in, why_not_adoptable,
};
pub use deliveries::CONSUMER as DELIVERIES_CONSUMER;
pub use images::ImageCatalogueError;
pub use settings::{ChecksumType, ImageFormat, NoSshKey, ProvisionerSettings};
pub use start::{ProvisionerError, run, run_in};
