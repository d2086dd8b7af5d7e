//! The pages of health and the server's limits, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bellhop_service::server::{Limits, serve, serve_within};
use bellhop_service::{Alarms, Health, HttpSettings, Metrics, Shown};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
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
async fn a_request_whose_handling_panics_ends_its_connection_and_nothing_else() {
    async fn stumble() -> String {
        panic!("a bug")
    }
    let router = Router::new()
        .route("/stumble", get(stumble))
        .route("/go", get(async || "went"));
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let (address, token, server) = start(router, limits).await;
    // Each gives back its place.
    for _ in 0..5 {
        assert_eq!(ask(address, "/stumble").await, "");
        assert!(ask(address, "/go").await.ends_with("went"));
    }
    token.cancel();
    server.await.unwrap();
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
async fn a_request_that_stood_at_the_door_when_the_shutdown_began_is_answered() {
    let listener = settings().bind().await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    write!(stream, "GET /livez HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let token = CancellationToken::new();
    token.cancel();
    let router = health().router(&settings());
    serve(router, listener, token).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_431() {
    let limits = Limits {
        head_bytes: 10_000,
        ..Limits::default()
    };
    let (address, token, server) = start(health().router(&settings()), limits).await;
    let path = |length: usize| format!("/livez?{}", "x".repeat(length));
    let answer = ask(address, &path(9000)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Its rest comes after the answer, and must not take that away.
    let mut long = TcpStream::connect(address).unwrap();
    write!(long, "GET {}", path(40_000)).unwrap();
    assert_eq!(long.peek(&mut [0]).unwrap(), 1);
    for _ in 0..3 {
        long.write_all(b"and so on").unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    long.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    long.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    token.cancel();
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

/// Asks for a page on a connection that stays open.
fn ask_and_stay(stream: &mut TcpStream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn until_the_delay_of_a_shutdown_is_over_all_are_answered_and_each_answer_ends_its_connection()
 {
    let limits = Limits {
        shutdown_delay: Duration::from_secs(3600),
        ..Limits::default()
    };
    let health = health();
    let (address, token, server) = start(health.router(&settings()), limits).await;
    health.until(token.clone());
    let mut kept = TcpStream::connect(address).unwrap();
    let answer = ask_and_stay(&mut kept, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.contains("connection: close"), "{answer}");

    token.cancel();
    let answer = ask_and_stay(&mut kept, "/livez");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(kept.read(&mut [0]).unwrap(), 0);
    let mut new = TcpStream::connect(address).unwrap();
    let answer = ask_and_stay(&mut new, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(!server.is_finished());
    server.abort();
}

/// A server whose requests are told of by their bodies.
async fn that_tells(limits: Limits) -> (SocketAddr, CancellationToken, UnboundedReceiver<String>) {
    let (tell, told) = unbounded_channel();
    let handle = post(async move |body: String| {
        // A handler waits for the broker.
        tokio::time::sleep(Duration::from_millis(50)).await;
        tell.send(body).unwrap();
        "done"
    });
    let (address, token, _) = start(Router::new().route("/", handle), limits).await;
    (address, token, told)
}

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nmore";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_crosses_the_end_of_its_connection_is_handled_at_a_shutdown_and_at_a_timeout()
 {
    let short = Limits {
        header_time: Duration::from_millis(200),
        ..Limits::default()
    };
    for (limits, is_used) in [
        (Limits::default(), false),
        (Limits::default(), true),
        (short, false),
        (short, true),
    ] {
        let is_shutdown = limits.header_time != short.header_time;
        let (address, token, mut told) = that_tells(limits).await;
        let mut stream = TcpStream::connect(address).unwrap();
        if is_used {
            stream.write_all(REQUEST).unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            assert_eq!(told.recv().await.unwrap(), "more");
        }
        if is_shutdown {
            token.cancel();
        }
        // It hears of the end just after it has sent: here a little earlier, so that it surely crosses.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        stream.write_all(REQUEST).unwrap();
        drop(stream);
        let late = tokio::time::timeout(Duration::from_secs(10), told.recv()).await;
        let late = late.unwrap_or_else(|_| panic!("{limits:?}, {is_used}: it is lost"));
        assert_eq!(late.unwrap(), "more");
        token.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_an_answer_that_ended_its_connection_is_not_handled() {
    let (address, token, mut told) = that_tells(Limits {
        shutdown_delay: Duration::from_millis(500),
        ..Limits::default()
    })
    .await;
    token.cancel();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(REQUEST).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(told.recv().await.unwrap(), "more");
    // The kernel may say already that nobody listens.
    let _ = stream.write_all(REQUEST);
    drop(stream);
    // The server ends, and with it who tells.
    assert_eq!(told.recv().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_send_its_request_is_cut_off() {
    let limits = Limits {
        header_time: Duration::from_millis(100),
        ..Limits::default()
    };
    let (address, token, server) = start(Router::new(), limits).await;
    let mut silent = TcpStream::connect(address).unwrap();
    silent.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    silent
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    silent.read_to_end(&mut Vec::new()).unwrap();
    token.cancel();
    server.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_byte_by_byte_has_no_more_time() {
    let limits = Limits {
        header_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let (address, token, server) = start(health().router(&settings()), limits).await;
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nX-Slow: ").unwrap();
    // It would be 8 kB in a quarter of an hour.
    let cut_off = (0..500).find(|_| {
        std::thread::sleep(Duration::from_millis(100));
        slow.write_all(b"y").is_err()
    });
    assert!(cut_off.is_some());
    token.cancel();
    server.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_keep_nobody_out_however_many_they_are() {
    let limits = Limits {
        connections: 4,
        header_time: Duration::from_secs(3600),
        ..Limits::default()
    };
    let (address, token, server) = start(health().router(&settings()), limits).await;
    let body_to_come = b"POST /livez HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\n";
    let silent: Vec<TcpStream> = (0..20)
        .map(|number| {
            let mut stream = TcpStream::connect(address).unwrap();
            match number % 3 {
                0 => {}
                1 => stream.write_all(b"GET / HTTP/1.1\r\nHost").unwrap(),
                _ => stream.write_all(body_to_come).unwrap(),
            }
            stream
        })
        .collect();
    for _ in 0..3 {
        let answer = ask(address, "/livez").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(silent);
    token.cancel();
    server.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_the_client_that_has_been_silent_longest_that_makes_room() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let (address, token, server) = start(health().router(&settings()), limits).await;
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    };
    let (mut talks, mut silent) = (connect(), connect());
    assert!(ask_and_stay(&mut silent, "/livez").contains("200"));
    assert!(ask_and_stay(&mut talks, "/livez").contains("200"));
    let answer = ask(address, "/livez").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(ask_and_stay(&mut talks, "/livez").contains("200"));
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    token.cancel();
    server.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_its_answer_keeps_its_place() {
    let (entered, is_entered) = oneshot::channel();
    let (release, is_released) = oneshot::channel::<()>();
    let ends = std::sync::Arc::new(std::sync::Mutex::new(Some((entered, is_released))));
    let router = Router::new().route("/", get(|| async { "here" })).route(
        "/slow",
        get(move || async move {
            let (entered, is_released) = ends.lock().unwrap().take().unwrap();
            entered.send(()).unwrap();
            is_released.await.unwrap();
            "done"
        }),
    );
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let (address, token, server) = start(router, limits).await;
    let slow = tokio::spawn(async move { ask(address, "/slow").await });
    is_entered.await.unwrap();
    let next = tokio::spawn(async move { ask(address, "/").await });
    // Long enough that it is asked for its place; if it is not yet, this test is only weaker.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!next.is_finished());
    release.send(()).unwrap();
    assert!(slow.await.unwrap().ends_with("done"));
    assert!(next.await.unwrap().ends_with("here"));
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
