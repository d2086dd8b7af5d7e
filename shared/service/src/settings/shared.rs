//! Settings that every service has.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgAction, Args};
use tokio::net::TcpListener;
use url::Url;

use super::values::{LogFormat, LogLevel, boolean};

/// Logs and traces.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs and traces")]
pub struct TelemetrySettings {
    /// Which log lines are written: DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case
    ///
    /// Also directives for single crates, such as `info,bellhop_ingress=debug`. CRITICAL is the same as ERROR.
    #[arg(long, env = "LOG_LEVEL", default_value = "INFO")]
    pub log_level: LogLevel,

    /// How log lines look: `json` for collectors, `text` for people [default: text on a terminal, else json]
    #[arg(long, env = "LOG_FORMAT", value_enum, ignore_case = true)]
    pub log_format: Option<LogFormat>,

    /// Where traces go, over OTLP/HTTP, such as `http://jaeger:4318`; without it they are not sent
    ///
    /// `/v1/traces` is added. Credentials belong into `OTEL_EXPORTER_OTLP_HEADERS`.
    #[arg(long = "otlp-endpoint", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<Url>,

    /// A file with certificate authorities (PEM) that the collector's certificate may be signed by, besides the system's own
    #[arg(long = "otlp-ca-file", env = "OTEL_EXPORTER_OTLP_CERTIFICATE")]
    pub otlp_ca_file: Option<PathBuf>,

    /// The service's name in traces [default: bellhop- and the service]
    #[arg(long = "otel-service-name", env = "OTEL_SERVICE_NAME")]
    pub service_name: Option<String>,
}

/// Where the service listens.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpSettings {
    /// The port that the service listens on; 0 is a free one
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,

    /// The address that the service listens on
    #[arg(long, env = "LISTEN_ADDRESS", default_value = "0.0.0.0")]
    pub listen_address: IpAddr,

    /// Whether requests to /livez, /readyz, /healthz and /metrics are left out of the log
    #[arg(long, env = "DISABLE_HEALTHZ_LOGS", default_value = "true", action = ArgAction::Set, value_parser = boolean())]
    pub disable_healthz_logs: bool,
}

/// The service can't listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: choose another PORT or LISTEN_ADDRESS")]
pub struct HttpBindError {
    /// Where.
    pub address: SocketAddr,
    /// The operating system's word.
    #[source]
    pub source: io::Error,
}

impl HttpSettings {
    /// Listens where the settings say.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed.
    pub async fn bind(&self) -> Result<TcpListener, HttpBindError> {
        let address = SocketAddr::from((self.listen_address, self.port));
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            // With PORT=0 this line is where the port stands.
            tracing::info!(address = %listener.local_addr()?, "listening");
            Ok(listener)
        };
        bound
            .await
            .map_err(|source| HttpBindError { address, source })
    }
}
