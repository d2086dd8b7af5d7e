//! An ingress that runs in this process, with a broker of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bellhop_event_store::{BuriedLetter, Delivery, EventStore, EventStoreSettings};
use bellhop_ingress::{Ingress, IngressError, IngressSettings};
use bellhop_nats_server::NatsServer;
use bellhop_reservation_system::{SIGNATURE_HEADER, WebhookSecret, sign};
use bellhop_service::{settings, telemetry};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The secret of all vectors.
pub(crate) const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// What the harness's client calls itself.
pub(crate) const USER_AGENT: &str = "Java/23";
/// Long enough for a loaded machine; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running ingress.
pub(crate) struct Harness {
    pub(crate) nats: NatsServer,
    pub(crate) address: SocketAddr,
    pub(crate) scheme: &'static str,
    pub(crate) client: Client,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), IngressError>>,
}

/// What an answer was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) body: Value,
}

/// Settings as they are read from a command line.
pub(crate) fn settings(nats_url: &str, arguments: &[&str]) -> IngressSettings {
    let mut all = vec![
        "ingress",
        "--port",
        "0",
        "--listen-address",
        "127.0.0.1",
        "--nats-url",
        nats_url,
    ];
    // Where a test does not say otherwise, nobody has to be led elsewhere.
    if !arguments.contains(&"--shutdown-delay") {
        all.extend(["--shutdown-delay", "0"]);
    }
    all.extend(arguments);
    settings::parse(all).unwrap()
}

impl Harness {
    /// An ingress with the vectors' secret as default, ready to store.
    pub(crate) async fn start() -> Self {
        Self::start_with(&["--webhook-secret", SECRET]).await
    }

    /// An ingress with these arguments, ready to store.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let harness = Self::start_unready(NatsServer::start().unwrap(), arguments).await;
        harness.until_ready().await;
        harness
    }

    /// An ingress that may not be able to store yet.
    pub(crate) async fn start_unready(nats: NatsServer, arguments: &[&str]) -> Self {
        telemetry::install_for_tests();
        let ingress = Ingress::bind(settings(&nats.url(), arguments))
            .await
            .unwrap();
        let address = ingress.local_address().unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(ingress.serve(stop.clone()));
        Self {
            nats,
            address,
            scheme: "http",
            client: Client::builder().user_agent(USER_AGENT).build().unwrap(),
            stop,
            running,
        }
    }

    /// Another ingress with the broker of this one, which has ended.
    pub(crate) async fn again(mut self, arguments: &[&str]) -> Self {
        let nats = std::mem::replace(&mut self.nats, NatsServer::start().unwrap());
        Self::start_unready(nats, arguments).await
    }

    /// Kills the broker, and waits until the ingress has seen it.
    pub(crate) async fn lose_broker(&mut self) {
        self.nats.kill().unwrap();
        self.until("without a broker", async || {
            let readyz = self.page("/readyz?verbose").await.1;
            readyz.contains("[+]nats degraded: the connection is lost")
        })
        .await;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Waits until a webhook can be stored.
    pub(crate) async fn until_ready(&self) {
        self.until("ready", async || {
            let (status, text) = self.page("/readyz?verbose").await;
            status == StatusCode::OK && text.starts_with("[+]nats ok\n")
        })
        .await;
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let waiting = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            let (_, readyz) = self.page("/readyz?verbose").await;
            panic!("not {what}; /readyz says:\n{readyz}");
        }
    }

    /// A page's status and text.
    pub(crate) async fn page(&self, path: &str) -> (StatusCode, String) {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// Whether `/metrics` has this line.
    pub(crate) async fn has_metric(&self, sample: &str) -> bool {
        self.page("/metrics")
            .await
            .1
            .lines()
            .any(|line| line == sample)
    }

    /// Posts a body with the vectors' secret.
    pub(crate) async fn post(&self, body: &[u8]) -> Answered {
        self.post_signed("/webhook", body, &signature(SECRET, body))
            .await
    }

    /// Posts a body with a given signature.
    pub(crate) async fn post_signed(&self, path: &str, body: &[u8], signature: &str) -> Answered {
        let request = self
            .client
            .post(self.url(path))
            .header(SIGNATURE_HEADER, signature);
        answered(request.body(body.to_vec()).send().await.unwrap()).await
    }

    /// A connection of our own to the same broker.
    pub(crate) async fn store(&self) -> EventStore {
        let settings = EventStoreSettings::at(self.nats.url());
        let store = EventStore::connect(&settings, "test").await.unwrap();
        store.prepare().await.unwrap();
        store
    }

    /// All deliveries, oldest first.
    pub(crate) async fn deliveries(&self) -> Vec<Delivery> {
        let store = self.store().await;
        let mut deliveries = Vec::new();
        for sequence in 1..=store.deliveries_end().await.unwrap() {
            deliveries.push(store.delivery(sequence).await.unwrap().unwrap());
        }
        deliveries
    }

    /// All dead letters, oldest first.
    pub(crate) async fn dead_letters(&self) -> Vec<BuriedLetter> {
        self.store().await.dead_letters(0, 1000).await.unwrap()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) async fn answered(response: Response) -> Answered {
    let header = response.headers().get("content-type");
    let content_type = header.map_or_else(String::new, |value| value.to_str().unwrap().to_owned());
    let status = response.status();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answered {
        status,
        content_type,
        body,
    }
}

impl Answered {
    /// Checks that it is a problem of this status, and returns what it says.
    #[track_caller]
    pub(crate) fn problem(&self, status: StatusCode) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.content_type, "application/problem+json");
        assert_eq!(self.body["status"], status.as_u16());
        self.body["detail"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    sign(&WebhookSecret::new(secret).unwrap(), body)
}

/// The bytes of a vector, by the beginning of its name.
pub(crate) fn vector(number: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/reservation-system/tests/vectors");
    let entry = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(number)
        })
        .unwrap();
    std::fs::read(entry).unwrap()
}

/// The signature that the real sender gives a vector.
pub(crate) fn vector_signature(number: &str) -> String {
    let table = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/reservation-system/tests/vectors/vectors.tsv");
    let table = std::fs::read_to_string(table).unwrap();
    let line = table.lines().find(|line| line.starts_with(number)).unwrap();
    line.split('\t').nth(2).unwrap().to_owned()
}

/// A flat event with these fields changed; null takes one away.
pub(crate) fn flat(changes: Value) -> Vec<u8> {
    let mut event = json!({
        "eventType": "EVENT_START",
        "webhookId": 12,
        "eventId": "5120",
        "userId": "user-1",
        "resourceName": "lab7-node04",
        "resourceType": "Server",
        "eventStart": "2026-12-03T08:00:00Z",
        "eventEnd": "2026-12-03T17:30:00Z",
        "siteId": "lab-7",
    });
    for (key, value) in changes.as_object().unwrap() {
        event[key] = value.clone();
    }
    event.to_string().into_bytes()
}
