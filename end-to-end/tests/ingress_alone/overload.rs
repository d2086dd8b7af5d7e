//! Whoever sends slowly, hugely or endlessly costs little memory, and keeps no honest sender out.

use std::collections::VecDeque;
use std::io;

use bellhop_end_to_end::{PATIENCE, wait_for};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{Ingress, client, post, signature, start};

/// What an attack may add to the largest memory that the ingress has ever had, in KiB: some three times what it does add.
/// 200 bodies of 900 kB alone would be 180,000.
const MORE_MEMORY: u64 = 96 * 1024;
/// How many connections of one attack come at once: fewer than MAX_CONNECTIONS, so that an honest sender, who is at its side
/// at most as long, is never the one who has been silent longest.
const AT_ONCE: usize = 64;
/// How many connections of attackers stay open on our side.
const KEPT_OPEN: usize = 512;

/// An honest sender, beside whoever attacks.
struct Honest<'a> {
    ingress: &'a Ingress,
    client: reqwest::Client,
    sent: usize,
}

impl<'a> Honest<'a> {
    fn new(ingress: &'a Ingress) -> Self {
        Self {
            ingress,
            client: client(),
            sent: 0,
        }
    }

    /// Its webhook is accepted.
    async fn is_served(&mut self) {
        self.sent += 1;
        let body = start(&self.sent.to_string());
        let answer = post(&self.client, &self.ingress.address(), body).await;
        assert_eq!(answer.unwrap().status(), 202, "webhook {}", self.sent);
    }

    /// All of its webhooks are stored, and a probe is answered.
    async fn was_served(&self) {
        let metrics = self.ingress.service.page("/metrics").await.unwrap();
        let accepted = format!(
            "bellhop_webhooks_total{{outcome=\"accepted\"}} {}",
            self.sent
        );
        assert!(metrics.lines().any(|line| line == accepted), "{metrics}");
        let ready = self.ingress.service.page("/readyz").await.unwrap();
        assert!(ready.contains("ok"), "{ready}");
    }
}

/// A connection that has sent this and nothing more.
async fn left_after(address: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may have been closed for the next one.
    let _ = stream.write_all(bytes).await;
    stream
}

/// What the ingress says before it closes the connection; none where it only closes.
async fn last_word(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A client that still writes sees a reset.
    let _may_be_reset: io::Result<usize> = read.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_connections_that_say_little_or_nothing_keep_no_webhook_out() {
    let ingress = Ingress::start(&[]).await;
    let mut honest = Honest::new(&ingress);
    honest.is_served().await;
    let before = ingress.service.peak_memory().unwrap();

    let address = ingress.address();
    let stalled_body = format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\nx-webhook-signature: {}\r\n\r\n{{",
        signature(b"{}")
    );
    let slow_heads = [
        "",
        "P",
        "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        &stalled_body,
    ];
    let mut open = VecDeque::new();
    for round in 0..48 {
        let bytes = slow_heads[round % slow_heads.len()].as_bytes();
        let attack = async {
            let coming = (0..AT_ONCE).map(|_| left_after(&address, bytes));
            futures::future::join_all(coming).await
        };
        let (attackers, ()) = tokio::join!(attack, honest.is_served());
        open.extend(attackers);
        while open.len() > KEPT_OPEN {
            open.pop_front();
        }
    }
    honest.was_served().await;
    let more = ingress.service.peak_memory().unwrap() - before;
    assert!(more < MORE_MEMORY, "{more} KiB more");
    let log = ingress.service.log_text();
    assert!(
        log.contains("all places for connections are taken"),
        "{log}"
    );
    // A line for each would fill the disk.
    let lines = log.lines().count();
    assert!(lines < 100 + 3 * honest.sent, "{lines} lines of log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_bodies_that_never_end_are_not_held_in_memory() {
    let ingress = Ingress::start(&[("BODY_READ_TIMEOUT", "3600")]).await;
    let mut honest = Honest::new(&ingress);
    honest.is_served().await;
    let before = ingress.service.peak_memory().unwrap();

    let address = ingress.address();
    let mut attackers = JoinSet::new();
    for _ in 0..200 {
        let address = address.clone();
        attackers.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
            let body = vec![b'x'; 900_000];
            let sent = async {
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body).await
            };
            let _: io::Result<()> = sent.await;
            std::future::pending::<()>().await;
        });
    }
    for _ in 0..40 {
        honest.is_served().await;
    }
    honest.was_served().await;
    let more = ingress.service.peak_memory().unwrap() - before;
    assert!(more < MORE_MEMORY, "{more} KiB more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_a_gigabyte_is_cut_off_after_a_few_megabytes() {
    const GIGABYTE: usize = 1 << 30;
    let ingress = Ingress::start(&[]).await;
    let mut honest = Honest::new(&ingress);
    honest.is_served().await;
    let before = ingress.service.peak_memory().unwrap();

    let announced = format!("Content-Length: {GIGABYTE}\r\n\r\n");
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{GIGABYTE:x}\r\n");
    for framing in [announced, chunked] {
        let head = format!("POST /webhook HTTP/1.1\r\nHost: x\r\n{framing}");
        let address = ingress.address();
        let attack = async {
            let mut stream = left_after(&address, head.as_bytes()).await;
            let some = vec![b'x'; 1 << 20];
            let mut sent = 0;
            while sent < GIGABYTE && stream.write_all(&some).await.is_ok() {
                sent += some.len();
            }
            sent
        };
        let (sent, ()) = tokio::join!(attack, honest.is_served());
        // Four times the limit are read, and what the kernels hold is on top.
        assert!(sent < 64 << 20, "{sent} bytes were taken");
    }
    honest.was_served().await;
    let metrics = ingress.service.page("/metrics").await.unwrap();
    let refused = "bellhop_webhook_bodies_refused_total{reason=\"too_large\"} 2";
    assert!(metrics.lines().any(|line| line == refused), "{metrics}");
    let more = ingress.service.peak_memory().unwrap() - before;
    assert!(more < MORE_MEMORY, "{more} KiB more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_headers_are_431_and_a_request_with_many_is_served() {
    let ingress = Ingress::start(&[]).await;
    let mut honest = Honest::new(&ingress);
    honest.is_served().await;
    let before = ingress.service.peak_memory().unwrap();

    let address = ingress.address();
    let line = "POST /webhook HTTP/1.1\r\nHost: x\r\n";
    let many: String = (0..2000)
        .map(|number| format!("X-{number}: y\r\n"))
        .collect();
    let one_is_long = format!("X-Long: {}", "y".repeat(1 << 20));
    let path_is_long = format!("POST /{} HTTP/1.1\r\n", "y".repeat(1 << 20));
    for flood in [
        format!("{line}{many}\r\n"),
        format!("{line}{one_is_long}\r\n\r\n"),
        path_is_long,
    ] {
        let attack = async {
            let coming = (0..AT_ONCE).map(|_| async {
                let mut stream = left_after(&address, flood.as_bytes()).await;
                last_word(&mut stream).await
            });
            futures::future::join_all(coming).await
        };
        let (answers, ()) = tokio::join!(attack, honest.is_served());
        for answer in answers {
            let is_refused = ["", "HTTP/1.1 431", "HTTP/1.1 414"];
            let begin = answer.get(..12).unwrap_or_default();
            assert!(is_refused.contains(&begin), "{answer}");
        }
    }
    // What a chain of proxies may add is no flood.
    let body = start("with many headers");
    let request = honest.client.post(format!("http://{address}/webhook"));
    let mut request = request.header("x-webhook-signature", signature(&body));
    for number in 0..80 {
        request = request.header(format!("x-proxy-{number}"), "y".repeat(300));
    }
    assert_eq!(request.body(body).send().await.unwrap().status(), 202);
    honest.sent += 1;
    honest.was_served().await;
    let more = ingress.service.peak_memory().unwrap() - before;
    assert!(more < MORE_MEMORY, "{more} KiB more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_of_any_depth_is_read_without_harm_and_kept_where_it_is_signed() {
    let ingress = Ingress::start(&[]).await;
    let mut honest = Honest::new(&ingress);
    honest.is_served().await;
    let before = ingress.service.peak_memory().unwrap();

    let (attacker, address) = (client(), ingress.address());
    let deep = 400_000;
    let lists = "[".repeat(deep);
    let objects = r#"{"a":"#.repeat(deep / 8);
    let fields = start("deep");
    let fields = String::from_utf8(fields).unwrap();
    let beside = fields.replacen('{', &format!(r#"{{"deep":{lists}{},"#, "]".repeat(deep)), 1);
    for (body, status) in [(lists, 422), (objects, 422), (beside, 422)] {
        let stranger = honest
            .client
            .post(format!("http://{}/webhook", ingress.address()));
        let stranger = stranger.header("x-webhook-signature", signature(b"{}"));
        let answer = stranger.body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 401);
        let signed = post(&attacker, &address, body.into_bytes());
        let (answer, ()) = tokio::join!(signed, honest.is_served());
        assert_eq!(answer.unwrap().status(), status);
    }
    honest.was_served().await;
    let kept = wait_for(PATIENCE, async || {
        let metrics = ingress.service.page("/metrics").await.ok()?;
        metrics
            .contains("bellhop_ingress_dead_letters 3")
            .then_some(())
    });
    kept.await.unwrap();
    let more = ingress.service.peak_memory().unwrap() - before;
    assert!(more < MORE_MEMORY, "{more} KiB more");
}
