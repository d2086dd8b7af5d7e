//! The port of a provisioner or a notifier, which is for checks alone: whoever attacks it costs little memory, and keeps no check
//! out. What the ingress's port withstands is in `ingress_alone`.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bellhop_end_to_end::{Service, ServiceKind, System, SystemSettings};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// What an attack may add to the largest memory that the service has ever had, in KiB: some three times what it does add.
const MORE_MEMORY: u64 = 96 * 1024;
/// How many connections come at once, beside a check.
const AT_ONCE: usize = 128;
/// How many stay open on our side: more than the service keeps.
const KEPT_OPEN: usize = 1024;

/// A connection that has sent this, and reads nothing.
async fn left_after(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let sent = stream.write_all(bytes);
    // It may have been closed for the next one; and where nothing is read of it there is no end to waiting.
    let _ = tokio::time::timeout(Duration::from_millis(500), sent).await;
    stream
}

/// Every check of the service is answered as it should be.
async fn is_checked(service: &Service) {
    assert_eq!(service.page("/livez").await.unwrap(), "ok");
    assert_eq!(service.page("/readyz").await.unwrap(), "ok");
    let metrics = service.page("/metrics").await.unwrap();
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

/// What attackers send, one after the other: nothing, a head that does not end, one that is too long in each way, a body without
/// end, and questions whose answers they don't read.
fn attacks() -> [Vec<u8>; 7] {
    let get = "GET /readyz HTTP/1.1\r\nHost: x\r\n";
    let many: String = (0..2000)
        .map(|number| format!("X-{number}: y\r\n"))
        .collect();
    [
        Vec::new(),
        format!("{get}X-Slow: ").into(),
        format!("{get}{many}\r\n").into(),
        format!("{get}X-Long: {}\r\n\r\n", "y".repeat(1 << 20)).into(),
        format!("GET /{} HTTP/1.1\r\n", "y".repeat(1 << 20)).into(),
        [
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n".to_vec(),
            vec![b'x'; 1 << 20],
        ]
        .concat(),
        "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
            .repeat(1000)
            .into(),
    ]
}

async fn withstands(service: &Service) {
    is_checked(service).await;
    let before = service.peak_memory().unwrap();
    let mut open = VecDeque::new();
    let attacks = attacks();
    for round in 0..3 * attacks.len() {
        let bytes = &attacks[round % attacks.len()];
        let attack =
            futures::future::join_all((0..AT_ONCE).map(|_| left_after(service.address(), bytes)));
        let (attackers, ()) = tokio::join!(attack, is_checked(service));
        open.extend(attackers);
        while open.len() > KEPT_OPEN {
            open.pop_front();
        }
    }
    is_checked(service).await;
    let more = service.peak_memory().unwrap() - before;
    assert!(more < MORE_MEMORY, "{}: {more} KiB more", service.kind());
    let log = service.log_text();
    assert!(
        log.contains("all places for connections are taken"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_floods_a_port_for_checks_keeps_no_check_out_and_costs_little_memory() {
    let mut system = System::start(SystemSettings {
        // A line for each request of a library at level debug would be measured too.
        variables: vec![("LOG_LEVEL", "INFO".to_owned())],
        ..SystemSettings::default()
    })
    .await
    .unwrap();
    let services = system.take_services();
    for service in &services {
        if service.kind() != ServiceKind::Ingress {
            withstands(service).await;
        }
    }
}
