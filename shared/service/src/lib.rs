//! What every service of Bellhop needs to run; nothing here knows what a reservation is.
//!
//! ```text
//!  arguments, environment, secret files          traces ──▶ OTLP        signals
//!        │ settings                              logs   ──▶ stdout         │ shutdown
//!        ▼                                          ▲ telemetry            ▼
//!     a service  ── metrics, alarms, shown ──▶ health: /livez /readyz /healthz /metrics ──▶ server
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`settings`] | reads settings from arguments, variables and secret files, and writes their reference |
//! | [`telemetry`] | logs to standard output, traces to an OTLP collector |
//! | [`trace_context`] | the W3C `traceparent` that travels in messages, annotations and reports |
//! | [`trouble`] | what is tried again and again: a line when it begins to fail, one when it is over |
//! | [`metrics`] | the registry behind `/metrics` |
//! | [`notices`] | alarms and shown things: what is on until it is over |
//! | [`health`] | dependencies, readiness, and the pages that show them |
//! | [`one_line`](mod@one_line) | texts from outside, made fit for one line |
//! | [`panics`] | a panic of one piece of work, as an error |
//! | [`server`] | an HTTP server with limits, which ends in order |
//! | [`tls`] | the certificate that a server shows, read again every few seconds |
//! | [`captured_log`] | what is logged, for tests |
//! | [`shutdown`] | SIGTERM and SIGINT as a cancellation token, and the time to end after it |
//! | [`tasks`] | a service's tasks by name, which end in time |
//!
//! A service's `main` is then: [`telemetry::install_crypto_provider`], [`settings::parse`], [`telemetry::install`],
//! [`shutdown::on_signals`], its own work, [`telemetry::TelemetryGuard::shutdown`].

pub mod captured_log;
pub mod health;
pub mod metrics;
pub mod notices;
pub mod one_line;
pub mod panics;
pub mod server;
pub mod settings;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod trace_context;
pub mod trouble;

pub use health::{Dependency, DependencyState, Health};
pub use metrics::Metrics;
pub use notices::{Alarms, Notice, Shown};
pub use one_line::one_line;
pub use settings::{HttpSettings, SettingsError, TelemetrySettings};
pub use tls::TlsSettings;
pub use trace_context::TraceParent;
