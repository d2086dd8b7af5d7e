//! To whom traces go, from a process of its own; the collectors are in the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::any;
use bellhop_authority::Authority;
use bellhop_service::TelemetrySettings;
use bellhop_service::server::{Limits, serve_over};
use bellhop_service::telemetry::{install, install_crypto_provider};
use bellhop_service::tls::{Certificate, TlsSettings};
use clap::Parser;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const FAILS: &str = "traces cannot be exported";

#[derive(Debug, Parser)]
struct Settings {
    #[command(flatten)]
    telemetry: TelemetrySettings,
}

/// Not a test: a service that makes one span and ends.
#[test]
#[ignore = "run by the other tests of this file"]
fn a_service_with_one_span() {
    let settings: Settings = bellhop_service::settings::parse(["small"]).unwrap();
    let guard = install(&settings.telemetry, "small", "1.2.3").unwrap();
    drop(tracing::info_span!(target: "bellhop_small", "handle").entered());
    guard.shutdown();
    println!("ENDED");
}

/// Runs it, and what it logs.
async fn run(endpoint: String, authority: Option<&Authority>) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "a_service_with_one_span",
        ])
        .env_clear()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x");
    if let Some(authority) = authority {
        std::fs::write(file.path(), authority.pem()).unwrap();
        command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", file.path());
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\nENDED"), "{text}");
    text
}

/// A server that counts requests of any kind to any path, and where given points to another.
struct Collector {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    token: CancellationToken,
}

impl Collector {
    async fn start(points_to: Option<SocketAddr>, certificate: Option<Certificate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, token) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let counted = Arc::clone(&requests);
        let router = Router::new().fallback(any(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = match points_to {
                Some(address) => {
                    let location = format!("http://{address}/v1/traces");
                    let status = StatusCode::TEMPORARY_REDIRECT;
                    (status, [(header::LOCATION, location)]).into_response()
                }
                None => StatusCode::OK.into_response(),
            };
            async { answer }
        }));
        let (limits, cancelled) = (Limits::default(), token.clone());
        tokio::spawn(serve_over(router, listener, cancelled, limits, certificate));
        Self {
            address,
            requests,
            token,
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_collector_points_no_trace_is_sent() {
    let other = Collector::start(None, None).await;
    let pointing = Collector::start(Some(other.address), None).await;
    let text = run(format!("http://{}", pointing.address), None).await;
    assert!(pointing.requests() >= 1, "{text}");
    assert_eq!(other.requests(), 0, "{text}");
    assert!(text.contains(FAILS), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_https_traces_go_to_who_has_a_certificate_of_a_known_authority_for_its_name() {
    install_crypto_provider();
    let (known, unknown) = (Authority::new().unwrap(), Authority::new().unwrap());
    for (name, believed, gets_them) in [
        ("127.0.0.1", Some(&known), true),
        ("collector.example", Some(&known), false),
        ("127.0.0.1", Some(&unknown), false),
        ("127.0.0.1", None, false),
    ] {
        let folder = TempDir::new().unwrap();
        let (certificate, key) = known.issue(name).unwrap().write(folder.path()).unwrap();
        let settings = TlsSettings {
            tls_cert_file: Some(certificate),
            tls_key_file: Some(key),
        };
        let certificate = settings.certificate().unwrap();
        let collector = Collector::start(None, certificate).await;
        let text = run(format!("https://{}", collector.address), believed).await;
        assert_eq!(collector.requests() == 1, gets_them, "{name}: {text}");
        assert_eq!(text.contains(FAILS), !gets_them, "{name}: {text}");
    }
}
