//! The ingress over real sockets, with a real broker.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod answers;
mod harness;
mod limits;
mod pages;
mod secrets;
mod shadow;
mod signatures;
mod spool;
mod storing;
mod tls;
