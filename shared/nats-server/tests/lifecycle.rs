//! Starts, kills and restarts real servers.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bellhop_nats_server::{NatsServer, StartError};

/// Says hello as a client would, and waits for the answer.
fn ping(server: &NatsServer) -> std::io::Result<String> {
    let stream = TcpStream::connect(("127.0.0.1", server.port()))?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    (&stream).write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n")?;
    line.clear();
    reader.read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

#[test]
fn a_started_server_answers_its_clients() {
    let server = NatsServer::start().unwrap();
    assert_eq!(ping(&server).unwrap(), "PONG");
    assert_eq!(server.url(), format!("nats://127.0.0.1:{}", server.port()));
}

#[test]
fn a_restart_keeps_port_and_store() {
    let mut server = NatsServer::start().unwrap();
    let (port, store, first) = (
        server.port(),
        server.store_dir().to_path_buf(),
        server.process_id(),
    );
    server.kill().unwrap();
    assert_eq!(server.process_id(), None);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    server.restart().unwrap();
    assert_eq!((server.port(), server.store_dir()), (port, store.as_path()));
    assert_ne!(server.process_id(), first);
    assert_eq!(ping(&server).unwrap(), "PONG");
}

#[test]
fn a_paused_server_is_silent_until_it_is_resumed() {
    let server = NatsServer::start().unwrap();
    server.pause().unwrap();
    assert!(ping(&server).is_err());
    server.resume().unwrap();
    assert_eq!(ping(&server).unwrap(), "PONG");
}

#[test]
fn a_dropped_server_is_gone_and_so_is_its_temporary_store() {
    let server = NatsServer::start().unwrap();
    let (port, store) = (server.port(), server.store_dir().to_path_buf());
    assert!(store.exists());
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!store.exists());
}

#[test]
fn a_store_folder_of_the_caller_stays() {
    let folder = tempfile::tempdir().unwrap();
    drop(
        NatsServer::builder()
            .store_dir(folder.path())
            .start()
            .unwrap(),
    );
    assert!(folder.path().join("jetstream").exists());
}

#[test]
fn a_wrong_configuration_fails_with_what_the_server_says() {
    match NatsServer::builder()
        .configuration("no_such_setting: 1")
        .start()
    {
        Err(StartError::Ended { log, .. }) => assert!(log.contains("no_such_setting"), "{log}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn additions_reach_the_server_and_monitoring_shows_them() {
    let server = NatsServer::builder()
        .configuration("max_payload: 123456")
        .jetstream_configuration("max_file_store: 64MB")
        .monitoring()
        .start()
        .unwrap();
    let address = server.monitoring_url().unwrap();
    let mut stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(b"GET /varz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"max_payload\": 123456"), "{answer}");
    assert!(answer.contains("\"max_storage\": 67108864"), "{answer}");
    assert!(answer.contains("\"sync_always\": true"), "{answer}");
}

#[test]
fn a_cluster_of_three_is_healthy_once_started_and_after_a_member_is_killed_and_back() {
    let mut cluster = NatsServer::builder().start_cluster(3).unwrap();
    assert_eq!(cluster.servers().len(), 3);
    assert_eq!(cluster.url().split(',').count(), 3);
    cluster.server(1).kill().unwrap();
    cluster.server(1).restart().unwrap();
    cluster.wait_until_healthy().unwrap();
    assert!(
        cluster
            .servers()
            .iter()
            .all(|server| ping(server).unwrap() == "PONG")
    );
}

/// Not a test: starts a server and says where, then waits to be killed.
#[test]
#[ignore = "run by the test below"]
fn a_process_that_is_killed_with_a_server_running() {
    let server = NatsServer::start().unwrap();
    println!("PORT {}", server.port());
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_server_dies_with_the_process_that_started_it() {
    use std::process::{Command, Stdio};
    if Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "true"])
        .status()
        .is_err()
    {
        return; // nothing on this machine can see to it
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "a_process_that_is_killed_with_a_server_running",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let port = lines
        .filter_map(|line| {
            line.rsplit_once("PORT ")
                .map(|(_, port)| port.parse::<u16>().unwrap())
        })
        .next()
        .unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    let is_gone = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        TcpStream::connect(("127.0.0.1", port)).is_err()
    });
    assert!(is_gone);
}
