//! The pages of health and the server's limits, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bellhop_service::server::{Limits, serve, serve_within};
use bellhop_service::{Alarms, Health, HttpSettings, Metrics, Shown};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

fn settings() -> HttpSettings {
    HttpSettings {
        port: 0,
        listen_address: "127.0.0.1".parse().unwrap(),
        disable_healthz_logs: true,
    }
}

fn health() -> Health {
    let metrics = Metrics::new("test", "1.0");
    let alarms = Alarms::new(&metrics);
    let shown = Shown::new(&metrics);
    Health::new(metrics, alarms, shown)
}

/// One request on a connection of its own; the whole answer as text.
async fn ask(address: SocketAddr, path: &str) -> String {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
    .await
    .unwrap()
}

async fn start(router: Router, limits: Limits) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let listener = settings().bind().await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let cancelled = token.clone();
    let server = tokio::spawn(async move {
        serve_within(router, listener, cancelled, limits)
            .await
            .unwrap();
    });
    (address, token, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_say_how_the_service_is() {
    let health = health();
    let nats = health.dependency("nats");
    let (address, token, server) = start(health.router(&settings()), Limits::default()).await;

    let answer = ask(address, "/livez").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );

    let answer = ask(address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("[-]nats failed: starting\n"), "{answer}");

    nats.ok();
    let answer = ask(address, "/readyz").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok"),
        "{answer}"
    );
    for path in ["/readyz?verbose", "/readyz?verbose=1"] {
        let answer = ask(address, path).await;
        assert!(
            answer.ends_with("[+]nats ok\nreadyz check passed\n"),
            "{answer}"
        );
    }

    let answer = ask(address, "/healthz").await;
    assert!(
        answer.contains("content-type: application/json\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with(r#"{"status":"healthy","service":"server-provisioning-webhook"}"#),
        "{answer}"
    );

    let answer = ask(address, "/metrics").await;
    assert!(
        answer.contains("content-type: application/openmetrics-text"),
        "{answer}"
    );
    assert!(
        answer.contains(r#"bellhop_dependency_ready{dependency="nats"} 1"#),
        "{answer}"
    );

    token.cancel();
    server.await.unwrap();
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_answered_after_the_shutdown_began() {
    let (entered, is_entered) = oneshot::channel();
    let (release, is_released) = oneshot::channel::<()>();
    let ends = std::sync::Mutex::new(Some((entered, is_released)));
    let ends = std::sync::Arc::new(ends);
    let router = Router::new().route(
        "/slow",
        get(move || async move {
            let (entered, is_released) = ends.lock().unwrap().take().unwrap();
            entered.send(()).unwrap();
            is_released.await.unwrap();
            "done"
        }),
    );
    let (address, token, server) = start(router, Limits::default()).await;
    let request = tokio::spawn(async move { ask(address, "/slow").await });
    is_entered.await.unwrap();
    token.cancel();
    release.send(()).unwrap();
    let answer = request.await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    server.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_does_not_keep_the_server_for_ever() {
    let router = Router::new().route("/never", get(std::future::pending::<&str>));
    let limits = Limits {
        drain_time: Duration::from_millis(50),
        ..Limits::default()
    };
    let (address, token, server) = start(router, limits).await;
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /never HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    token.cancel();
    server.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_send_its_request_is_cut_off_and_makes_room() {
    let limits = Limits {
        connections: 1,
        header_time: Duration::from_millis(100),
        ..Limits::default()
    };
    let router = Router::new().route("/", get(|| async { "here" }));
    let (address, token, server) = start(router, limits).await;
    let mut silent = TcpStream::connect(address).unwrap();
    silent.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    // The only place is taken, so this is answered once the silent client is gone.
    let answer = ask(address, "/").await;
    assert!(answer.ends_with("here"), "{answer}");
    silent.set_nonblocking(true).unwrap();
    // An open connection without an answer would be WouldBlock.
    silent.read_to_end(&mut Vec::new()).unwrap();
    token.cancel();
    server.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_an_error_that_names_the_variable() {
    let taken = settings().bind().await.unwrap();
    let again = HttpSettings {
        port: taken.local_addr().unwrap().port(),
        ..settings()
    };
    let text = again.bind().await.unwrap_err().to_string();
    assert!(
        text.contains("PORT") && text.contains(&again.port.to_string()),
        "{text}"
    );
    let token = CancellationToken::new();
    token.cancel();
    serve(Router::new(), taken, token).await.unwrap();
}
