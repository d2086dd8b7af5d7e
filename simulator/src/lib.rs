//! Stand-ins for what cannot be had in a test or a demo: a Kubernetes API server with Metal3's BareMetalHosts, the
//! reservation system, and a collector of OpenTelemetry traces.

pub mod cluster;
mod listener;
pub mod reservation_system;
pub mod trace_collector;
