//! The driver of BareMetalHosts: brings a host to what the ledger asks for.
//!
//! Level-triggered: a look at a resource takes its state, reads its host from the API server (never from a cache), decides
//! what the reading means, and only if nothing follows from that writes the difference.
//!
//! ```text
//!   change of the ledger ─┐
//!   change of the host ───┼─▶ look: state ─▶ read host ─▶ observation ─▶ decide ─▶ facts? append, look again
//!   sweep, retry ─────────┘                                               └─ none? write the difference, look again
//! ```
//!
//! - [`host`] what we read of a host; [`fence`] who may write it; [`claim`] and [`release`] what is written, and when: pure;
//! - [`shadow`] the look of a shadow, which writes nothing;
//! - [`cluster`] the Kubernetes API; [`watch`] what changes there; [`driver`] the look itself, with `finding` the host,
//!   `offering` it and `claiming` it, and [`adoption`] of hosts that somebody else prepared; [`user_data`] the cloud-config;
//! - [`late_secrets`] what a provisioner that slept may leave.

pub mod adoption;
pub(crate) mod claim;
mod claiming;
pub(crate) mod cluster;
pub(crate) mod driver;
pub(crate) mod fence;
mod finding;
pub(crate) mod host;
pub(crate) mod late_secrets;
mod offering;
pub(crate) mod release;
pub(crate) mod shadow;
pub mod user_data;
pub(crate) mod watch;
