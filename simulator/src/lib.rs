//! Stand-ins for what cannot be had in a test or a demo: a Kubernetes API server with Metal3's BareMetalHosts, the
//! reservation system, and a collector of OpenTelemetry traces.
//!
//! ```text
//!  reservation_system ──webhooks──▶ Bellhop ──claims, releases──▶ cluster
//!          ▲                          │  │
//!          └──notifications, logs─────┘  └──spans──▶ trace_collector
//! ```
//!
//! Each keeps all that it got, so that a test or the demo asks the other side, never Bellhop's own logs. None depends
//! on any of Bellhop's crates: an error there must not cancel out here. Each can be held in one process (start it, keep
//! the handle), driven over HTTP under `/simulator/`, and made to fail on demand. The program `bellhop-simulator` runs
//! them together for `docker compose up`.

pub mod cluster;
mod listener;
pub mod reservation_system;
pub mod trace_collector;
