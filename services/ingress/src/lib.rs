//! HTTP in, deliveries out: receives the reservation system's webhooks and stores each one durably before it answers.
//!
//! ```text
//!  POST /webhook ─▶ receive ─▶ verify ─▶ read ─▶ classify ─▶ store ─▶ answer
//!                     │          │        │                   │  └──▶ DELIVERIES    202, or 200 where nothing is to do
//!                     │          │        └─ unreadable ──────┴─────▶ DEAD_LETTERS  422 (known forms: 202), an alarm
//!                     │          └─ not signed by whom it speaks for                401, one body for all
//!                     └─ too large, too slow                                        413, 408
//!                                                       │  └── no acknowledgement in time: the spool, then the same
//!                                                       └───── nor room in the spool     503 with Retry-After
//! ```
//!
//! Nobody re-sends: what is answered with anything but 2xx is lost for the sender. So the ingress does as little as
//! possible, decides nothing about reservations, and keeps what it verified even if nobody understands it yet. A 2xx
//! leaves it only after the broker has acknowledged, or the spool is synced. What it classifies is for the answer's text
//! and the delivery's subject only: the provisioner decides.
//!
//! | module | what it is |
//! |---|---|
//! | `webhook` | the way of one request, top to bottom |
//! | `body` | reads a body within its limits |
//! | `sender` | who may speak for which webhook |
//! | `verification` | checks signatures, large bodies one at a time |
//! | `secrets` | the configured secrets, read again every few seconds |
//! | `last_used` | when each secret was last used |
//! | `classification` | whether there is something to do now |
//! | `delivery` | what is stored |
//! | `storing` | where: in the broker, else in the spool |
//! | [`spool`] | where webhooks wait while the broker does not take them |
//! | `answer`, `problem` | what the sender hears |
//! | `broker` | the connection to the event store, its health, the dead letters in it |
//! | `presence` | whether the broker answers, and whether it stores |
//! | `lost` | verified webhooks that could not be stored |
//! | `refusals` | requests that were turned away: few lines for many, an alarm for a wrong secret |
//! | `clock` | senders whose clock is far from ours |
//! | `openapi` | `/openapi.json` |

mod answer;
mod body;
mod broker;
mod classification;
mod clock;
mod delivery;
mod intake;
mod last_used;
mod lost;
mod metrics;
mod openapi;
mod presence;
mod problem;
mod refusals;
mod secrets;
mod sender;
mod server;
mod settings;
pub mod spool;
mod storing;
mod verification;
mod webhook;

pub use server::{Ingress, IngressError, run};
pub use settings::{IngressSettings, SpoolSettings};

/// The name of the reservation system as a source, in subjects and message ids.
pub const SOURCE: &str = "reservation-system";
/// The name of this service in logs, metrics and dead letters.
pub const SERVICE: &str = "ingress";
