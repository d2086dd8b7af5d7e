//! Logs to standard output, traces to an OTLP collector.
//!
//! Every span of Bellhop's own crates at INFO or above is part of a trace with a valid id, whatever the log level and
//! whether or not traces are exported: the id is in HTTP answers and in every message. Spans of libraries are left out;
//! among them are those of the exporter's own HTTP client.
//!
//! A collector that is away costs nothing but its traces: spans wait in a bounded queue, are exported by a thread of
//! their own, and are dropped when the queue is full. One line says when exporting starts to fail, one when it works
//! again.

mod collector;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, Targets, filter_fn};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, fmt};
use url::Url;

use crate::one_line::one_line;
use crate::panics;
use crate::settings::{LogFormat, TelemetrySettings};

/// Bellhop's crates all begin with this word.
const OWN_CRATES: &str = "bellhop";
/// One export of one batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The last flush. Kubernetes gives a pod 30 s to end; the services need most of it.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Telemetry can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The collector's address can't be used.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: {reason}")]
    Endpoint {
        /// What is wrong with it; never the address itself.
        reason: &'static str,
    },
    /// The certificate authority can't be used.
    #[error("OTEL_EXPORTER_OTLP_CERTIFICATE: cannot use {} as a list of PEM certificates", path.display())]
    CertificateAuthority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HTTP client can't be made.
    #[error("cannot prepare the HTTP client that sends traces")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The exporter can't be built.
    #[error(
        "cannot prepare the export of traces; check the variables that begin with OTEL_EXPORTER_OTLP"
    )]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// It was set up before.
    #[error("telemetry is already installed in this process")]
    AlreadyInstalled(#[from] TryInitError),
}

/// Keeps telemetry going; shut it down last.
#[derive(Debug)]
#[must_use = "without `shutdown` the last spans are lost"]
pub struct TelemetryGuard {
    provider: SdkTracerProvider,
}

impl TelemetryGuard {
    /// Exports what is left, for at most 3 s. It blocks: call it when there is nothing else to do.
    pub fn shutdown(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT) {
            tracing::debug!(%error, "the last traces may be lost");
        }
    }
}

/// Makes ring the process's TLS provider. First thing in every `main`: with two providers in the tree rustls panics at
/// the first connection unless one was chosen. Any number of calls is fine.
pub fn install_crypto_provider() {
    // An error means that one was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Installs logs and traces for this process. `service` is the short name, such as `ingress`.
///
/// # Errors
/// The collector's address is unusable, or telemetry was installed before. A collector that is away is no error.
pub fn install(
    settings: &TelemetrySettings,
    service: &str,
    version: &str,
) -> Result<TelemetryGuard, TelemetryError> {
    install_crypto_provider();
    let service_name = settings
        .service_name
        .clone()
        .unwrap_or_else(|| format!("bellhop-{service}"));
    let resource = Resource::builder()
        .with_service_name(service_name)
        .with_attribute(KeyValue::new("service.version", version.to_owned()))
        .build();
    let mut builder = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource);
    if let Some(endpoint) = &settings.otlp_endpoint {
        builder =
            builder.with_batch_exporter(exporter(endpoint, settings.otlp_ca_file.as_deref())?);
    }
    let provider = builder.build();

    let is_text = match settings.log_format {
        Some(format) => format == LogFormat::Text,
        None => std::io::stdout().is_terminal(),
    };
    let log = if is_text {
        fmt::layer()
            .with_ansi(std::io::stdout().is_terminal())
            .fmt_fields(OneLineFields::default())
            .boxed()
    } else {
        fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed()
    };
    let wanted = settings.log_level.filter().or(filter_fn(is_own_step));
    tracing_subscriber::registry()
        .with(log.with_filter(wanted.and(discreet())))
        .with(trace_layer(&provider))
        .try_init()?;
    panics::log_them();
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    opentelemetry::global::set_tracer_provider(provider.clone());
    Ok(TelemetryGuard { provider })
}

/// What may be in a log at whatever level: all but the lines in which a library writes what passes through it. At level trace
/// the NATS client writes every message, and at level debug every answer of JetStream, and so a webhook that is read by its
/// number, in base64, with its keys and addresses.
fn discreet() -> Targets {
    Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_target("async_nats", LevelFilter::INFO)
}

/// Telemetry for tests: valid trace ids, no export, log lines (INFO, or what `RUST_LOG` says) kept by the test runner
/// for a test that fails. Any number of calls is fine.
pub fn install_for_tests() {
    static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        install_crypto_provider();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .build();
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        // An error means that the test has a subscriber of its own.
        let _ = tracing_subscriber::registry()
            .with(
                fmt::layer()
                    .fmt_fields(OneLineFields::default())
                    .with_test_writer()
                    .with_filter(filter),
            )
            .with(trace_layer(&provider))
            .try_init();
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        provider
    });
}

/// Fields and messages as they usually look, but each in one line: many hold words of the sender.
#[derive(Debug, Default)]
pub(crate) struct OneLineFields(DefaultFields);

impl<'writer> FormatFields<'writer> for OneLineFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> std::fmt::Result {
        let mut text = String::new();
        self.0.format_fields(Writer::new(&mut text), fields)?;
        writer.write_str(&one_line(&text))
    }
}

/// Spans of our own crates: in traces always, and around log lines at any log level, so that an error line still says
/// which delivery it is about.
fn is_own_step(metadata: &Metadata<'_>) -> bool {
    metadata.is_span()
        && *metadata.level() <= tracing::Level::INFO
        && metadata.target().starts_with(OWN_CRATES)
}

fn trace_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(OWN_CRATES))
        .with_filter(Targets::new().with_target(OWN_CRATES, LevelFilter::INFO))
}

/// OTLP over HTTP. `endpoint` is the base, as the variable's specification has it; `/v1/traces` is added.
fn exporter(endpoint: &Url, ca_file: Option<&Path>) -> Result<ReportingExporter, TelemetryError> {
    let refuse = |reason| Err(TelemetryError::Endpoint { reason });
    if !matches!(endpoint.scheme(), "http" | "https") {
        return refuse(
            "it must begin with http:// or https:// (OTLP over HTTP, usually port 4318)",
        );
    }
    if !endpoint.username().is_empty() || endpoint.password().is_some() {
        return refuse(
            "it must not hold a password; put credentials into OTEL_EXPORTER_OTLP_HEADERS",
        );
    }
    let traces = format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'));
    let inner = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(collector::client(ca_file, EXPORT_TIMEOUT)?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(traces)
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    Ok(ReportingExporter {
        inner,
        endpoint: endpoint.to_string(),
        is_failing: AtomicBool::new(false),
    })
}

/// Says once when exporting starts to fail and once when it works again. The SDK's own words come for each batch, and
/// are switched off in the log filter.
#[derive(Debug)]
struct ReportingExporter {
    inner: opentelemetry_otlp::SpanExporter,
    endpoint: String,
    is_failing: AtomicBool,
}

impl SpanExporter for ReportingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.inner.export(batch).await;
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        let endpoint = &self.endpoint;
        match &result {
            Err(error) if !was_failing => {
                tracing::warn!(endpoint, %error, "traces cannot be exported; they are dropped until they can");
            }
            Ok(()) if was_failing => tracing::info!(endpoint, "traces are exported again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::captured_log::captured_log;

    #[test]
    fn a_name_from_outside_is_no_line_of_its_own_in_the_log() {
        let name = "evil\u{1b}[31m\nERROR FAKE";
        let lines = captured_log(|| {
            let span = tracing::info_span!("decide", resource = %name);
            span.in_scope(|| tracing::info!(name, shown = %name, "about {name}"));
        });
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(!lines[0].contains('\u{1b}'), "{lines:#?}");
        assert!(
            lines[0].contains(r"shown=evil\u{1b}[31m\nERROR FAKE"),
            "{lines:#?}"
        );
    }

    #[test]
    fn an_endpoint_that_holds_a_password_is_refused_without_being_shown() {
        install_crypto_provider();
        let endpoint = Url::parse("http://user:hunter2@127.0.0.1:4318").unwrap();
        let text = exporter(&endpoint, None).unwrap_err().to_string();
        assert!(
            text.contains("OTEL_EXPORTER_OTLP_HEADERS") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn an_endpoint_of_another_scheme_is_refused() {
        let endpoint = Url::parse("grpc://127.0.0.1:4317").unwrap();
        assert!(exporter(&endpoint, None).is_err());
    }
    #[test]
    fn a_certificate_authority_that_can_t_be_used_is_named() {
        install_crypto_provider();
        let endpoint = Url::parse("https://127.0.0.1:4318").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let missing = file.path().join("missing");
        for path in [file.path(), &missing] {
            let error = exporter(&endpoint, Some(path)).unwrap_err().to_string();
            assert!(
                error.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE")
                    && error.contains(path.to_str().unwrap()),
                "{error}"
            );
        }
    }
}
