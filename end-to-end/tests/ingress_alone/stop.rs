//! The ingress ends in order: nothing that it answered is lost, and whoever is in the middle of a request hears from it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bellhop_end_to_end::{PATIENCE, records, wait_for};
use bellhop_nats_server::NatsServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{Ingress, client, post, signature, start};

/// The event ids of all stored webhooks.
pub(crate) async fn stored(nats: &NatsServer) -> BTreeSet<String> {
    let client = async_nats::connect(nats.url()).await.unwrap();
    let messages = records::messages(&client, "DELIVERIES").await.unwrap();
    let event_id = |body: &str| {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        body["eventId"].as_str().unwrap().to_owned()
    };
    messages.iter().map(|it| event_id(&it.body)).collect()
}

/// Senders that send one webhook after the other, until the ingress takes no more connections; and what was answered 2xx.
struct Load {
    senders: JoinSet<()>,
    accepted: Arc<Mutex<BTreeSet<String>>>,
}

impl Load {
    fn begin(ingress: &Ingress, name: &str) -> Self {
        let next = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::<Mutex<BTreeSet<String>>>::default();
        let mut senders = JoinSet::new();
        for _ in 0..16 {
            let (next, accepted) = (Arc::clone(&next), Arc::clone(&accepted));
            let (address, name) = (ingress.address(), name.to_owned());
            senders.spawn(async move {
                let client = client();
                loop {
                    let id = format!("{name} {}", next.fetch_add(1, Ordering::Relaxed));
                    match post(&client, &address, start(&id)).await {
                        Ok(answer) => {
                            assert_eq!(answer.status(), 202, "{id}");
                            accepted.lock().unwrap().insert(id);
                        }
                        Err(error) if error.is_connect() => return,
                        // It came in the moment in which the ingress closed its ears.
                        Err(_) => {}
                    }
                }
            });
        }
        Self { senders, accepted }
    }

    fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    async fn until_accepted(&self, count: usize) {
        let enough = wait_for(PATIENCE, async || (self.accepted() >= count).then_some(()));
        enough.await.unwrap();
    }

    async fn end(mut self) -> BTreeSet<String> {
        while let Some(ended) = self.senders.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut self.accepted.lock().unwrap())
    }
}

/// A request of which the last byte is still to come.
async fn half_a_request(address: &str, id: &str) -> (TcpStream, u8) {
    let body = start(id);
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nx-webhook-signature: {}\r\n\r\n",
        body.len(),
        signature(&body)
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (last, rest) = body.split_last().unwrap();
    stream.write_all(rest).await.unwrap();
    (stream, *last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_nothing_that_was_answered_whether_the_broker_answers_or_not() {
    let mut ingress = Ingress::start(&[("STORE_TIMEOUT", "2")]).await;
    let mut accepted = BTreeSet::new();

    let load = Load::begin(&ingress, "broker");
    load.until_accepted(100).await;
    let address = ingress.address();
    let (mut half, last) = half_a_request(&address, "half").await;
    let finish = async {
        // It listens no longer, so that the rest comes in the middle of the stop.
        let closed = wait_for(PATIENCE, async || {
            TcpStream::connect(&address).await.is_err().then_some(())
        });
        closed.await.unwrap();
        half.write_all(&[last]).await.unwrap();
        let mut answer = String::new();
        half.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (stopped, answer) = tokio::join!(ingress.service.stop(), finish);
    stopped.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    accepted.insert("half".to_owned());
    accepted.extend(load.end().await);

    // A broker that hangs: what comes goes to the spool.
    ingress.service.start().await.unwrap();
    ingress.service.until_ready().await.unwrap();
    ingress.nats.pause().unwrap();
    let load = Load::begin(&ingress, "spool");
    load.until_accepted(100).await;
    ingress.service.stop().await.unwrap();
    accepted.extend(load.end().await);
    ingress.nats.resume().unwrap();

    ingress.service.start().await.unwrap();
    let missing = async || {
        let stored = stored(&ingress.nats).await;
        accepted.difference(&stored).cloned().collect::<Vec<_>>()
    };
    let all = wait_for(PATIENCE, async || missing().await.is_empty().then_some(()));
    assert!(all.await.is_some(), "{:?} are lost", missing().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_never_ends_does_not_keep_it_from_stopping() {
    let limits = [("STORE_TIMEOUT", "0.5"), ("BODY_READ_TIMEOUT", "3600")];
    let mut ingress = Ingress::start(&limits).await;
    let (stream, _) = half_a_request(&ingress.address(), "never").await;
    // `stop` fails where the process has to be killed.
    ingress.service.stop().await.unwrap();
    drop(stream);
    let log = ingress.service.log_text();
    assert!(log.contains("are cut off"), "{log}");
    assert!(ingress.folder.path().join("spool").is_dir());
}
