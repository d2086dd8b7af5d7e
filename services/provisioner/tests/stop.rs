//! A stop while Kubernetes hangs. In a process of its own: a log is the process's.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "provisioner/installation.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod installation;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bellhop_service::captured_log::CapturedLog;
use bellhop_simulator::cluster::{Cluster, ClusterSettings, HostSpec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::installation::{Installation, PATIENCE, Running, start};

const NS: &str = "metal3";
/// Far more than a stop may take, and far less than an API server hangs here, which is for ever.
const BOUND: Duration = Duration::from_secs(120);

/// How an API server hangs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hang {
    /// It takes every connection, and answers nothing.
    Silent,
    /// It begins to answer what is about the host, and never comes to an end of it.
    Dripping,
}

/// A way to the API server at `cluster`, and how many connections hang on it.
async fn hanging(cluster: String, hang: Hang) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hung = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&hung);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(talk(connection, cluster.clone(), hang, Arc::clone(&count)));
        }
    });
    (url, hung)
}

async fn talk(connection: TcpStream, cluster: String, hang: Hang, hung: Arc<AtomicUsize>) {
    if hang == Hang::Silent {
        hung.fetch_add(1, Ordering::SeqCst);
        return std::future::pending().await;
    }
    let (mut from_client, mut to_client) = connection.into_split();
    let server = TcpStream::connect(cluster.trim_start_matches("http://")).await;
    let (mut from_server, mut to_server) = server.unwrap().into_split();
    let mut answers = tokio::spawn(async move {
        let _copied = tokio::io::copy(&mut from_server, &mut to_client).await;
        to_client
    });
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = match from_client.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        if String::from_utf8_lossy(&bytes[..count]).contains("/baremetalhosts/node01") {
            break;
        }
        to_server.write_all(&bytes[..count]).await.unwrap();
    }
    // All that was asked before on this connection is answered.
    to_server.shutdown().await.unwrap();
    let mut to_client = (&mut answers).await.unwrap();
    hung.fetch_add(1, Ordering::SeqCst);
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut drop = head.as_bytes();
    while to_client.write_all(drop).await.is_ok() {
        drop = b"1\r\n \r\n";
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let held = tokio::time::timeout(PATIENCE, waiting).await;
    held.unwrap_or_else(|_| panic!("never: {what}"));
}

fn provisioner(installation: &Installation, api_server: &str) -> Running {
    let mut configuration = kube::Config::new(api_server.parse().unwrap());
    configuration.default_namespace = NS.to_owned();
    installation.provisioner_in(configuration, installation.settings_for(NS))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_whatever_the_api_server_does_and_says_what_was_left() {
    let log = CapturedLog::of_process("info");
    tokio::join!(ends(Hang::Silent, &log), ends(Hang::Dripping, &log));
    // A look whose answer drips is cut off.
    let said = log.lines_with("not finished in the time that a stop has");
    assert_eq!(said.len(), 1, "{}", log.text());
    assert!(said[0].contains("hosts"), "{said:?}");
}

async fn ends(hang: Hang, log: &CapturedLog) {
    let settings = ClusterSettings {
        hosts: vec![HostSpec::new(NS, "node01")],
        ..ClusterSettings::default()
    };
    let cluster = Cluster::start(settings).await.unwrap();
    let installation = Installation::new().await;
    let (url, hung) = hanging(cluster.url(), hang).await;
    let provisioner = provisioner(&installation, &url);
    installation.says(start("5120", "node01")).await;
    installation.until("ReservationStarted").await;
    until("it waits for the API server", || {
        hung.load(Ordering::SeqCst) > 0
    })
    .await;
    let ended = tokio::time::timeout(BOUND, provisioner.stop()).await;
    assert!(ended.is_ok(), "{}", log.text());
    // What was accepted is there for the next one.
    let facts = installation.fact_names().await;
    assert!(facts.contains(&"ReservationStarted"), "{facts:?}");
}
