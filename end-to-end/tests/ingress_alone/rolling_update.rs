//! Two ingresses behind one address are updated one after the other, while webhooks come on connections that are kept.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bellhop_end_to_end::chaos::proxy::Proxy;
use bellhop_end_to_end::{PATIENCE, program, wait_for};
use bellhop_nats_server::NatsServer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::stop::stored;
use crate::{client, service, signature, start};

/// Leads each new connection to an ingress that says that it is ready, and leaves open ones where they are: as a Service of
/// Kubernetes does.
async fn lead_to_who_is_ready(proxy: Arc<Proxy>, ingresses: Vec<SocketAddr>) {
    let client = client();
    loop {
        let mut ready = Vec::new();
        for ingress in &ingresses {
            let page = client.get(format!("http://{ingress}/readyz")).send().await;
            if page.is_ok_and(|page| page.status().is_success()) {
                ready.push(*ingress);
            }
        }
        proxy.lead_to(ready);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What became of the webhooks.
#[derive(Debug, Default)]
struct Sent {
    next: AtomicUsize,
    connections: AtomicUsize,
    accepted: AtomicUsize,
    is_over: AtomicBool,
}

/// Sends one webhook after the other on a connection that it keeps as long as it may, as Java's client does.
async fn send(address: SocketAddr, sent: Arc<Sent>) {
    let mut kept: Option<TcpStream> = None;
    while !sent.is_over.load(Ordering::Relaxed) {
        let number = sent.next.fetch_add(1, Ordering::Relaxed);
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => {
                sent.connections.fetch_add(1, Ordering::Relaxed);
                TcpStream::connect(address).await.unwrap()
            }
        };
        let body = start(&number.to_string());
        let head = format!(
            "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nx-webhook-signature: {}\r\n\r\n",
            body.len(),
            signature(&body)
        );
        let answer = async {
            stream.write_all(&[head.as_bytes(), &body].concat()).await?;
            whole_answer(&mut stream).await
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
        let answer = answer.unwrap_or_else(|error| panic!("webhook {number}: {error}"));
        assert!(answer.starts_with("HTTP/1.1 202"), "{number}: {answer}");
        sent.accepted.fetch_add(1, Ordering::Relaxed);
        if !answer.contains("connection: close") {
            kept = Some(stream);
        }
        // Up to a second: long enough that a connection is idle when an ingress that waits for nobody closes it.
        tokio::time::sleep(Duration::from_millis(number as u64 * 37 % 1000)).await;
    }
}

async fn whole_answer(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut answer = String::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Err(std::io::Error::other(format!("no answer but `{answer}`")));
        }
        answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.unwrap().parse().unwrap() {
            return Ok(answer);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_behind_one_address_answers_every_webhook_on_kept_connections() {
    let nats = NatsServer::start().unwrap();
    let folders = [(); 2].map(|()| TempDir::with_prefix("bellhop-").unwrap());
    let program = program::bellhop().unwrap();
    let mut ingresses = folders.each_ref().map(|folder| {
        let delay = [("SHUTDOWN_DELAY", "3")];
        service(program.clone(), &nats, folder.path(), &delay)
    });
    for ingress in &mut ingresses {
        ingress.start().await.unwrap();
        ingress.until_ready().await.unwrap();
    }
    let addresses = ingresses.each_ref().map(|ingress| ingress.address());
    let proxy = Arc::new(Proxy::start(addresses.to_vec()).await.unwrap());
    let balancer = tokio::spawn(lead_to_who_is_ready(proxy.clone(), addresses.to_vec()));

    let sent = Arc::new(Sent::default());
    let mut senders = JoinSet::new();
    for _ in 0..24 {
        senders.spawn(send(proxy.address(), Arc::clone(&sent)));
    }
    let another_hundred = async || {
        let enough = sent.accepted.load(Ordering::Relaxed) + 100;
        let accepted = wait_for(PATIENCE, async || {
            (sent.accepted.load(Ordering::Relaxed) >= enough).then_some(())
        });
        accepted.await.unwrap();
    };
    another_hundred().await;
    for ingress in &mut ingresses {
        ingress.stop().await.unwrap();
        another_hundred().await;
        ingress.start().await.unwrap();
        ingress.until_ready().await.unwrap();
        another_hundred().await;
    }
    sent.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = senders.join_next().await {
        ended.unwrap();
    }
    balancer.abort();

    let count = sent.next.load(Ordering::Relaxed);
    let all: BTreeSet<_> = (0..count).map(|number| number.to_string()).collect();
    let lost: Vec<_> = all.difference(&stored(&nats).await).cloned().collect();
    assert!(lost.is_empty(), "{lost:?} are lost");
    // Else nothing of this was tried.
    let connections = sent.connections.load(Ordering::Relaxed);
    assert!(connections < count / 2, "{connections} for {count}");
}
