//! The whole system as processes: what the demo plays and the end-to-end tests try.
//!
//! ```text
//!   this process                                     processes of their own
//!   ┌────────────────────┐   webhooks    ┌──────────────────┐      ┌─────────────┐
//!   │ reservation system │──────────────▶│ bellhop ingress  │─────▶│             │
//!   │                    │◀───reports────│ bellhop notifier │◀─────│ nats-server │
//!   │ Metal3 cluster     │◀─hosts────────│ bellhop provis.  │◀────▶│             │
//!   │ trace collector    │◀─spans────────│ (each of them)   │      └─────────────┘
//!   └────────────────────┘               └──────────────────┘
//! ```
//!
//! The services are the real program `bellhop`, each replica a child process that can be killed, stopped, paused and
//! started again. The broker is a real `nats-server`. What is simulated is in this process, so that a test can ask the
//! other side what it saw: nothing here believes what a service says of itself.
//!
//! - [`system`]: all of it, started and ended together; the way in for every test. [`settings`]: how it is started.
//! - [`service`]: one replica of a service. [`process`]: a child process. [`program`]: where `bellhop` is.
//! - [`site`]: the users, servers and webhooks that there are, and what a host says.
//! - [`records`]: what the broker keeps: facts, and every message as it is.
//! - [`chaos`]: all parts fail at random under load, and then it is looked whether anything was lost.
//! - [`outside`]: what users, operators and the sender see and say, in the words of the tests.
//!
//! A process started here ends with the value that holds it, on a panic too, and with this process however it ends.

pub mod chaos;
pub mod outside;
pub mod process;
pub mod program;
pub mod records;
pub mod service;
pub mod settings;
pub mod site;
pub mod system;

pub use service::{Service, ServiceKind};
pub use settings::SystemSettings;
pub use system::{HarnessError, System};

use std::time::Duration;

/// How long anything may take before a test or the demo gives up: two cores that compile something else, and the minute
/// after which the broker hands out again what a killed service had in its hands. Nothing is measured with it.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// How long what must not happen is waited for: long enough that it would have happened.
pub const A_WHILE: Duration = Duration::from_millis(1500);

/// Asks again and again until there is something, for at most `limit`.
pub async fn wait_for<T>(limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, found).await.ok()
}
