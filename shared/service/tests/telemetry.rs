//! Telemetry in processes of their own, as it is installed once for each process; the collector is in the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use bellhop_service::TelemetrySettings;
use bellhop_service::server::serve;
use bellhop_service::shutdown;
use bellhop_service::telemetry::{install, install_crypto_provider};
use bellhop_service::trace_context::{TraceParent, current_traceparent, set_parent};
use clap::Parser;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Parser)]
struct Settings {
    #[command(flatten)]
    telemetry: TelemetrySettings,
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Not a test: a small service that makes a span inside a runtime, logs, and ends.
#[test]
#[ignore = "run by the other tests of this file"]
fn a_small_service() {
    install_crypto_provider();
    let settings: Settings = bellhop_service::settings::parse(["small"]).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let guard = runtime.block_on(async {
        let guard = install(&settings.telemetry, "small", "1.2.3").unwrap();
        let parent: TraceParent = PARENT.parse().unwrap();
        let span = tracing::info_span!(target: "bellhop_small", "handle", resource = "node01");
        set_parent(&span, Some(&parent));
        span.in_scope(|| {
            println!("TRACEPARENT {}", current_traceparent().unwrap());
            tracing::info!(target: "bellhop_small", resource = %"evil\nFAKE", "an information");
            tracing::error!(target: "bellhop_small", "an error");
            let _library = tracing::info_span!(target: "some_library", "not ours").entered();
        });
        guard
    });
    drop(runtime);
    if std::env::var_os("STUMBLES").is_some() {
        let stumbling =
            std::thread::spawn(|| panic!("no host for {}", black_box("mara@example.org")));
        assert!(stumbling.join().is_err());
    }
    // Several batches, when the test asked for short ones.
    if std::env::var_os("OTEL_BSP_SCHEDULE_DELAY").is_some() {
        for _ in 0..5 {
            drop(tracing::info_span!(target: "bellhop_small", "another").entered());
            std::thread::sleep(Duration::from_millis(60));
        }
    }
    guard.shutdown();
    println!("ENDED");
}

fn run(environment: &[(&str, &str)]) -> String {
    run_for_both(environment).0
}

/// What it writes to standard output, and to standard error.
fn run_for_both(environment: &[(&str, &str)]) -> (String, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "a_small_service"])
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("\nENDED"), "{text}{errors}");
    (text, errors)
}

#[test]
fn a_panic_is_one_line_of_the_log_with_its_place_and_nothing_that_was_put_into_its_words() {
    let (text, errors) = run_for_both(&[("STUMBLES", "1"), ("RUST_BACKTRACE", "1")]);
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("a panic"))
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert!(
        line["place"]
            .as_str()
            .unwrap()
            .contains("tests/telemetry.rs:"),
        "{line}"
    );
    assert!(
        line["backtrace"].as_str().unwrap().contains("telemetry"),
        "{line}"
    );
    assert!(
        !text.contains("mara") && !errors.contains("mara"),
        "{text}{errors}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_a_collector_with_their_parent_and_resource() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, mut received) = mpsc::unbounded_channel();
    let router = Router::new().route(
        "/v1/traces",
        post(move |body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            sender.send(request).unwrap();
            async {}
        }),
    );
    let token = CancellationToken::new();
    let server = tokio::spawn(serve(router, listener, token.clone()));

    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint)];
    let text = tokio::task::spawn_blocking(move || {
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        run(&environment)
    })
    .await
    .unwrap();
    assert!(
        text.contains("TRACEPARENT 00-4bf92f3577b34da6a3ce929d0e0e4736-"),
        "{text}"
    );

    let request = received.recv().await.unwrap();
    let resource = format!("{:?}", request.resource_spans[0].resource);
    for attribute in ["service.name", "bellhop-small", "service.version", "1.2.3"] {
        assert!(resource.contains(attribute), "{resource}");
    }
    let spans: Vec<_> = request
        .resource_spans
        .iter()
        .flat_map(|spans| &spans.scope_spans)
        .flat_map(|scope| &scope.spans)
        .collect();
    assert_eq!(spans.len(), 1, "only our own crates are traced: {spans:?}");
    assert_eq!(spans[0].name, "handle");
    assert_eq!(
        spans[0].parent_span_id,
        [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]
    );
    token.cancel();
    server.await.unwrap().unwrap();
}

#[test]
fn a_collector_that_is_away_is_said_once_and_harms_nothing() {
    // A port that nobody listens on: bound, then given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let text = run(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ]);
    assert_eq!(
        text.matches("traces cannot be exported").count(),
        1,
        "{text}"
    );
    assert!(!text.contains("\"target\":\"opentelemetry"), "{text}");
}

#[test]
fn log_lines_are_json_with_their_span_where_there_is_no_terminal() {
    let text = run(&[]);
    let line = text
        .lines()
        .find(|line| line.contains("an information"))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["message"], "an information");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["span"]["resource"], "node01");
}

#[test]
fn at_level_warning_an_error_still_says_which_resource_it_is_about() {
    let text = run(&[("LOG_LEVEL", "WARNING")]);
    assert!(!text.contains("an information"), "{text}");
    let line = text.lines().find(|line| line.contains("an error")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["span"]["resource"], "node01");
    assert!(
        text.contains("TRACEPARENT 00-4bf92f3577b34da6a3ce929d0e0e4736-"),
        "{text}"
    );
}

#[test]
fn text_lines_are_for_people_and_have_no_colours_in_a_file() {
    let text = run(&[("LOG_FORMAT", "TEXT")]);
    let line = text
        .lines()
        .find(|line| line.contains("an information"))
        .unwrap();
    assert!(line.contains("handle{resource=\"node01\"}"), "{line}");
    assert!(line.contains(r"resource=evil\nFAKE"), "{line}");
    assert!(!line.contains('\u{1b}'), "{line}");
}

/// Not a test: waits for a signal.
#[tokio::test]
#[ignore = "run by the other tests of this file"]
async fn a_service_that_waits_for_a_signal() {
    let token = shutdown::on_signals().unwrap();
    println!("WAITING");
    tokio::time::timeout(Duration::from_secs(20), token.cancelled())
        .await
        .unwrap();
    println!("CANCELLED");
}

#[test]
fn both_signals_end_a_service_in_order() {
    use std::io::{BufRead as _, BufReader};
    for signal in ["TERM", "INT"] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--ignored",
                "--nocapture",
                "a_service_that_waits_for_a_signal",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let started = Instant::now();
        assert!(
            lines.any(|line| line.ends_with("WAITING")),
            "after {:?}",
            started.elapsed()
        );
        let killed = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {}", child.id())])
            .status();
        assert!(killed.unwrap().success());
        assert!(lines.any(|line| line.ends_with("CANCELLED")), "{signal}");
        assert!(child.wait().unwrap().success());
    }
}
