//! The parts of the program that the library's users don't need.

pub(crate) mod narrate;
pub(crate) mod schedule;
pub(crate) mod settings;

use std::error::Error;
use std::path::PathBuf;

use bellhop_simulator::cluster::ClusterError;
use bellhop_simulator::reservation_system::ReservationSystemError;
use bellhop_simulator::trace_collector::ListenError;

/// Why the program can't start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The settings can't be read.
    #[error("the settings in {} can't be read", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The settings are not what they must be. The parser's text names fields and places.
    #[error("the settings in {} are not understood: see the documentation of this program", path.display())]
    SettingsForm {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// No signals.
    #[error("this system doesn't let us hear when to end")]
    Signal(#[source] std::io::Error),
    /// The cluster can't be started.
    #[error("the cluster can't be started")]
    Cluster(#[source] ClusterError),
    /// The collector can't be started.
    #[error("the trace collector can't be started")]
    Collector(#[source] ListenError),
    /// The reservation system can't be started.
    #[error("the reservation system can't be started")]
    ReservationSystem(#[source] ReservationSystemError),
}

/// An error with all that caused it, in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
