//! Why the notifier does not start. What goes wrong later does not end it: it waits, or keeps a dead letter; only the loss of
//! the ledger that it reports upon does.

use std::path::PathBuf;

use bellhop_event_store::{EventStoreError, FollowError, SetupError};
use bellhop_reservation_system::SecretsError;
use bellhop_service::SettingsError;
use bellhop_service::settings::HttpBindError;

/// The notifier can't start.
#[derive(Debug, thiserror::Error)]
pub enum NotifierError {
    /// A setting can't be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// An endpoint can't be posted to.
    #[error("{variable}: {problem}")]
    Endpoint {
        /// Which.
        variable: &'static str,
        /// What is wrong; never the address itself, which may hold a password.
        problem: &'static str,
    },
    /// The secrets that sign reports can't be used.
    #[error("the webhooks' secrets can't be used: look at WEBHOOK_SECRET and WEBHOOK_SECRETS_PATH")]
    Secrets(#[from] SecretsError),
    /// An endpoint is set, and nothing to sign with: each report would be refused.
    #[error(
        "no secret is set, and the reservation system refuses unsigned reports: set WEBHOOK_SECRET, WEBHOOK_SECRET_FILE or \
         WEBHOOK_SECRETS_PATH, or leave NOTIFICATION_ENDPOINT and WEBHOOK_LOG_ENDPOINT out"
    )]
    NoSecret,
    /// The certificate authority can't be used.
    #[error("REPORT_CA_FILE: cannot use {} as a list of PEM certificates", path.display())]
    CertificateAuthority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HTTP client can't be made.
    #[error("cannot prepare the HTTP client that sends reports")]
    Client(#[source] reqwest::Error),
    /// The broker can't be reached.
    #[error(transparent)]
    EventStore(#[from] EventStoreError),
    /// The streams are not as they must be.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The ledger is not the one any more that was read.
    #[error(transparent)]
    Ledger(#[from] FollowError),
    /// What follows the ledger panicked; the log says where.
    #[error("a part of the notifier panicked; it can't go on")]
    Panicked,
    /// The service can't listen.
    #[error(transparent)]
    Bind(#[from] HttpBindError),
    /// The HTTP server ended.
    #[error("the HTTP server ended")]
    Serve(#[source] std::io::Error),
}
