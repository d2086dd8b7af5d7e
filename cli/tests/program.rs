//! The program as an operator starts it, against a real `nats-server`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bellhop_domain::capacity;
use bellhop_domain::id::{ReservationId, ResourceId, ResourceKind, Source, Version};
use bellhop_domain::reservation::Fact;
use bellhop_event_store::{
    DeadLetter, DeadLetterClass, EventStore, EventStoreSettings, Mode, NewEntry,
};
use bellhop_nats_server::NatsServer;
use bytes::Bytes;
use jiff::Timestamp;

const SOON: Duration = Duration::from_secs(5);
/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program without any variable of this machine.
fn bellhop(server: &NatsServer, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellhop"));
    command
        .args(arguments)
        .env_clear()
        .env("NATS_URL", server.url())
        .stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

async fn store_at(server: &NatsServer) -> EventStore {
    let store = EventStore::connect(&EventStoreSettings::at(server.url()), "test")
        .await
        .unwrap();
    store.prepare().await.unwrap();
    store
}

fn letter(service: &'static str, id: &str, body: &'static [u8]) -> DeadLetter {
    DeadLetter {
        service,
        class: DeadLetterClass::Delivery,
        id: id.into(),
        what: "reservation-system".into(),
        reason: "data.start is \u{1b}[2Jmissing".into(),
        tries: 3,
        first_at: Timestamp::from_second(1_800_000_000).unwrap(),
        last_at: Timestamp::from_second(1_800_000_060).unwrap(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        headers: vec![("user-agent".into(), "Java/23".into())],
        body: Bytes::from_static(body),
    }
}

#[tokio::test]
async fn dead_letters_are_listed_and_shown() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let letters = [
        letter("ingress", "one", b"{\"eventId\": \"5120\"}"),
        letter("provisioner", "two", b"\x00\xff"),
        letter("ingress", "three", b"{}"),
    ];
    for letter in &letters {
        store.bury(letter, SOON).await.unwrap();
    }
    let run = |arguments: &[&str]| bellhop(&server, arguments).output().unwrap();

    let all = succeeded(&run(&["dead-letters", "list"]));
    assert_eq!(all.lines().count(), 3, "{all}");
    assert_eq!(
        all.lines().next().unwrap(),
        "1 dead_letters.ingress.delivery.reservation-system tries=3 first=2027-01-15T08:00:00Z \
         last=2027-01-15T08:01:00Z trace=0af7651916cd43dd8448eb211c80319c data.start is \u{FFFD}[2Jmissing"
    );
    let one = run(&[
        "dead-letters",
        "list",
        "--service",
        "ingress",
        "--limit",
        "1",
    ]);
    assert!(succeeded(&one).starts_with("1 "), "{one:?}");
    assert_eq!(text(&one.stderr), "there are more: --from 3\n");

    let readable = succeeded(&run(&["dead-letters", "show", "1"]));
    for part in [
        "id:          one",
        "  user-agent: Java/23",
        "body (19 bytes):\n{\"eventId\": \"5120\"}",
    ] {
        assert!(readable.contains(part), "{readable}");
    }
    let bytes = succeeded(&run(&["dead-letters", "show", "2"]));
    assert!(bytes.contains("base64):\nAP8=\n"), "{bytes}");
    let missing = run(&["dead-letters", "show", "7"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("no dead letter 7"));
}

#[tokio::test]
async fn facts_are_printed_one_a_line_with_those_of_the_capacity() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    for name in ["node01", "node02"] {
        let node = ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", name);
        let entry = NewEntry {
            at: Timestamp::UNIX_EPOCH,
            facts: vec![Fact::HostClaimed {
                reservation: ReservationId::new(Source::new("reservation-system"), name),
            }],
            traceparent: None,
            cause: "test".into(),
        };
        store.append(&node, Version(0), &entry).await.unwrap();
    }
    let asker = "reservation-system:node02 on baremetalhost/metal3/node02 upon 2";
    let granted = capacity::Fact::PlaceGranted {
        to: capacity::AskerId::new(asker),
        group: None,
    };
    store
        .append_beside(Version(0), Timestamp::UNIX_EPOCH, &[granted], "test")
        .await
        .unwrap();
    let printed = |arguments: &[&str]| {
        let output = bellhop(&server, arguments).output().unwrap();
        succeeded(&output)
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let all = printed(&["facts"]);
    assert_eq!(all.len(), 3, "{all:#?}");
    assert!(all[0].starts_with(
        "1 1970-01-01T00:00:00Z baremetalhost/metal3/node01 {\"type\":\"HostClaimed\""
    ));
    assert!(
        all[2].starts_with("3 1970-01-01T00:00:00Z capacity {\"type\":\"PlaceGranted\""),
        "{all:#?}"
    );
    assert_eq!(printed(&["facts", "--resource", "node01"]), all[..1]);
    assert_eq!(printed(&["facts", "--resource", "node02"]), all[1..]);
}

#[tokio::test]
async fn a_name_that_a_sender_made_up_forges_no_line_among_the_facts() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let name = "evil\u{1b}[31m\nFAKE\u{9b}2J";
    let node = ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", name);
    let entry = NewEntry {
        at: Timestamp::UNIX_EPOCH,
        facts: vec![Fact::HostClaimed {
            reservation: ReservationId::new(Source::new("reservation-system"), name),
        }],
        traceparent: None,
        cause: "test".into(),
    };
    store.append(&node, Version(0), &entry).await.unwrap();
    let output = bellhop(&server, &["facts"]).output().unwrap();
    let printed = succeeded(&output);
    let line = printed.strip_suffix('\n').unwrap();
    assert!(!line.contains(char::is_control), "{line:?}");
    assert!(
        line.contains(r"metal3/evil\u{1b}[31m\nFAKE\u{9b}2J {"),
        "{line}"
    );
}

#[tokio::test]
async fn a_shadow_has_a_ledger_of_its_own_and_adopts_no_host() {
    let server = NatsServer::start().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = bellhop(&server, arguments);
        command.env("MODE", "shadow").env("LOG_LEVEL", "ERROR");
        command
            .env("PROVISION_IMAGE", "http://images.example/image.qcow2")
            .output()
            .unwrap()
    };
    succeeded(&run(&["setup"]));
    for (mode, there) in [(Mode::Shadow, true), (Mode::Live, false)] {
        let settings = EventStoreSettings {
            mode,
            create_streams: false,
            ..EventStoreSettings::at(server.url())
        };
        let store = EventStore::connect(&settings, "test").await.unwrap();
        assert_eq!(store.prepare().await.is_ok(), there, "{mode}");
    }
    for word in ["adopt", "hand-back"] {
        let refused = run(&[word, "--reason", "test"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let text = text(&refused.stderr);
        assert!(text.contains("a shadow writes no host"), "{text}");
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_program_quietly() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let entry = NewEntry {
        at: Timestamp::UNIX_EPOCH,
        facts: vec![Fact::HostClaimed {
            reservation: ReservationId::new(Source::new("reservation-system"), "1"),
        }],
        traceparent: None,
        cause: "test".into(),
    };
    let node = ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "node01");
    store.append(&node, Version(0), &entry).await.unwrap();
    store
        .bury(&letter("ingress", "1", b"{}"), SOON)
        .await
        .unwrap();
    for arguments in [
        &["facts"][..],
        &["settings"],
        &["setup"],
        &["dead-letters", "list"],
        &["dead-letters", "show", "1"],
    ] {
        let mut child = bellhop(&server, arguments)
            .env("LOG_LEVEL", "ERROR")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

/// A process that is killed when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn all(server: &NatsServer, home: &std::path::Path, port: &str) -> Command {
    let mut command = bellhop(server, &["all"]);
    command
        .env("HOME", home)
        .env("LISTEN_ADDRESS", "127.0.0.1")
        .env("PORT", port)
        .env("PROVISIONER_PORT", free_port())
        .env("NOTIFIER_PORT", free_port())
        .env("PROVISION_IMAGE", "http://images.example/image.qcow2")
        .env(
            "PROVISION_CHECKSUM",
            "http://images.example/image.qcow2.sha256sum",
        )
        .env("WEBHOOK_SECRET", "a-secret-of-this-test")
        .env("SHUTDOWN_DELAY", "0")
        .env("LOG_FORMAT", "json");
    command
}

/// The status line that the ingress answers with, if it listens.
fn answer(port: &str, path: &str) -> Option<String> {
    let mut socket = TcpStream::connect(format!("127.0.0.1:{port}")).ok()?;
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    answer.lines().next().map(str::to_owned)
}

#[test]
fn the_ingress_serves_on_while_a_provisioner_without_kubernetes_is_started_again_and_again() {
    let server = NatsServer::start().unwrap();
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut child = all(&server, home.path(), &port)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stdout.take().unwrap());
    let mut running = Running(child);
    let mut failures = log
        .lines()
        .map(Result::unwrap)
        .filter(|line| line.contains("starting it again after a pause"));
    for _ in 0..2 {
        let line = failures.next().expect("the program runs on");
        assert!(line.contains("cannot use Kubernetes"), "{line}");
    }
    let began = Instant::now();
    while answer(&port, "/readyz").as_deref() != Some("HTTP/1.1 200 OK") {
        assert!(began.elapsed() < PATIENCE, "the ingress is ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(running.0.try_wait().unwrap().is_none());
}

#[test]
fn a_wrong_setting_of_any_service_stops_the_start_with_its_message() {
    let server = NatsServer::start().unwrap();
    let home = tempfile::tempdir().unwrap();
    let output = all(&server, home.path(), &free_port())
        .env("PROVISIONING_TIMEOUT", "soon")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = text(&output.stderr);
    assert!(message.contains("PROVISIONING_TIMEOUT"), "{message}");
}

fn ingress(server: &NatsServer, spool: &std::path::Path, port: &str) -> Command {
    let mut command = bellhop(server, &["ingress"]);
    command
        .env("LISTEN_ADDRESS", "127.0.0.1")
        .env("PORT", port)
        .env("ACCEPT_UNSIGNED_WEBHOOKS", "true")
        .env("SPOOL_DIR", spool)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn until_listening(port: &str) {
    let began = Instant::now();
    while answer(port, "/livez").is_none() {
        assert!(began.elapsed() < PATIENCE, "the ingress listens");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The status line that the ingress answers a start with.
fn start(port: &str, event: &str, title: &str) -> String {
    let body = format!(
        r#"{{"eventType":"EVENT_START","webhookId":12,"eventId":"{event}","email":"mara@uni.example","resourceName":"node01",
            "resourceType":"Server","eventStart":"2026-12-03T08:00:00Z","eventEnd":"2026-12-03T17:30:00Z",
            "eventTitle":"{title}"}}"#
    );
    let mut socket = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    write!(
        socket,
        "POST /webhook HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_spool_is_shown_while_its_ingress_runs_and_drained_when_it_does_not() {
    let mut server = NatsServer::start().unwrap();
    server.kill().unwrap();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("spool");
    let port = free_port();
    let mut running = Running(ingress(&server, &folder, &port).spawn().unwrap());
    until_listening(&port);
    for event in ["5120", "5121"] {
        assert_eq!(start(&port, event, ""), "HTTP/1.1 202 Accepted");
    }
    let run = |server: &NatsServer, command: &str| {
        bellhop(server, &["spool", command])
            .env("SPOOL_DIR", &folder)
            .output()
            .unwrap()
    };

    let shown = succeeded(&run(&server, "show"));
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 2, "{shown}");
    assert!(lines[0].starts_with("waiting 0"), "{shown}");
    assert!(
        lines[0].contains(" delivery reservation-system.12.EVENT_START.5120."),
        "{shown}"
    );
    assert!(!shown.contains("mara"), "{shown}");
    let taken = run(&server, "drain");
    assert_eq!(taken.status.code(), Some(1));
    let message = text(&taken.stderr);
    assert!(message.contains("SPOOL_DIR"), "{message}");
    assert!(message.contains("in use by another process"), "{message}");

    running.0.kill().unwrap();
    running.0.wait().unwrap();
    server.restart().unwrap();
    let drained = succeeded(&run(&server, "drain"));
    assert_eq!(drained, "2 webhook(s) of the spool are stored\n");
    assert_eq!(succeeded(&run(&server, "show")), "");
    let store = store_at(&server).await;
    assert_eq!(store.deliveries_end().await.unwrap(), 2);

    // What can't be read now is named, and is no reason to say that all is well. No permission stops a test that is run by root.
    std::fs::create_dir(folder.join("00000000000000000001.batch")).unwrap();
    let shown = succeeded(&run(&server, "show"));
    assert!(
        shown.starts_with("waiting 00000000000000000001.batch can't be read now: "),
        "{shown}"
    );
    let left = run(&server, "drain");
    assert_eq!(left.status.code(), Some(1));
    let message = text(&left.stderr);
    assert!(
        message.contains("1 file(s) of the spool can't be read now")
            && message.contains("they wait on"),
        "{message}"
    );

    let unset = bellhop(&server, &["spool", "show"]).output().unwrap();
    assert_eq!(unset.status.code(), Some(2));
    assert!(text(&unset.stderr).contains("SPOOL_DIR"), "{unset:?}");
}

#[test]
fn a_spool_on_a_full_disk_refuses_a_webhook_whole_and_goes_on_when_there_is_room() {
    let mut server = NatsServer::start().unwrap();
    server.kill().unwrap();
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    // Files of at most 4 KiB: a larger one fails in the middle, as on a disk that is full.
    let limited = ingress(&server, home.path(), &port);
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" ingress"])
        .arg(limited.get_program())
        .env_clear()
        .envs(
            limited
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("STORE_TIMEOUT", "5")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _running = Running(command.spawn().unwrap());
    until_listening(&port);
    let large = "x".repeat(5000);
    for (event, title, status) in [
        ("5120", "", "HTTP/1.1 202 Accepted"),
        ("5121", &large, "HTTP/1.1 503 Service Unavailable"),
        ("5122", "", "HTTP/1.1 202 Accepted"),
    ] {
        assert_eq!(start(&port, event, title), status, "{event}");
    }
    let shown = bellhop(&server, &["spool", "show"])
        .env("SPOOL_DIR", home.path())
        .output()
        .unwrap();
    let shown = succeeded(&shown);
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(!shown.contains("5121"), "{shown}");
    assert!(!shown.contains("can't be read"), "{shown}");
}
