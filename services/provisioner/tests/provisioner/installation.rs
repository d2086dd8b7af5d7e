//! A broker with its ledger, and provisioners on it that a test starts and stops, in whichever cluster.

use std::time::Duration;

use bellhop_domain::id::{DeliveryId, Source, Version, WebhookId};
use bellhop_domain::reservation::Fact;
use bellhop_event_store::{EventStore, EventStoreSettings, LedgerEntry, NewDelivery};
use bellhop_nats_server::NatsServer;
use bellhop_provisioner::{ProvisionerSettings, run_in};
use bellhop_reservation_system::{Webhook, message_id};
use bellhop_service::telemetry::install_crypto_provider;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const IMAGE: &str = "http://images.invalid/noble.img";
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBm5b1pQwq0o3kqJxkYV9r9hT6hF1m2c3d4e5f6g7h8i mara@lab7";
/// More than anything here takes; reached only by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An installation of Bellhop without a cluster.
pub(crate) struct Installation {
    pub(crate) nats: NatsServer,
    pub(crate) store: EventStore,
}

/// A provisioner that runs in this process.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
    pub(crate) port: u16,
}

impl Running {
    /// Stops it as SIGTERM would.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Drops it between any two of its steps.
    pub(crate) async fn abort(self) {
        self.task.abort();
        assert!(self.task.await.is_err());
    }

    /// What `/readyz?verbose` says; nothing before it listens.
    pub(crate) async fn readyz(&self) -> String {
        let url = format!("http://127.0.0.1:{}/readyz?verbose", self.port);
        match reqwest::get(url).await {
            Ok(answer) => answer.text().await.unwrap(),
            Err(error) if error.is_connect() => String::new(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether `/readyz` answers 200; not before it answers at all.
    pub(crate) async fn is_ready(&self) -> bool {
        let url = format!("http://127.0.0.1:{}/readyz", self.port);
        let answered = reqwest::get(url).await;
        answered.is_ok_and(|answer| answer.status().is_success())
    }

    /// Waits until `/readyz?verbose` holds this text.
    pub(crate) async fn until_shown(&self, text: &str) {
        let search = async {
            while !self.readyz().await.contains(text) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, search).await.is_err() {
            panic!("not shown: {text}: {}", self.readyz().await);
        }
    }

    /// Waits until `/readyz?verbose` no longer holds this text.
    pub(crate) async fn until_not_shown(&self, text: &str) {
        let search = async {
            while self.readyz().await.contains(text) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, search).await.is_err() {
            panic!("still shown: {text}: {}", self.readyz().await);
        }
    }
}

impl Installation {
    pub(crate) async fn new() -> Self {
        install_crypto_provider();
        let nats = NatsServer::start().unwrap();
        let store = EventStore::connect(&EventStoreSettings::at(nats.url()), "test")
            .await
            .unwrap();
        store.prepare().await.unwrap();
        Self { nats, store }
    }

    /// The settings of a provisioner for the hosts of `namespace`.
    pub(crate) fn settings_for(&self, namespace: &str) -> ProvisionerSettings {
        let url = self.nats.url();
        let arguments = [
            "provisioner",
            "--nats-url",
            &url,
            "--k8s-namespace",
            namespace,
            "--provision-image",
            IMAGE,
            "--sweep-interval",
            "2",
        ];
        bellhop_service::settings::parse(arguments).unwrap()
    }

    /// Starts a provisioner in the cluster that `configuration` leads to.
    pub(crate) fn provisioner_in(
        &self,
        configuration: kube::Config,
        mut settings: ProvisionerSettings,
    ) -> Running {
        let port = free_port();
        settings.http.port = port;
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { run_in(settings, configuration, stop).await.unwrap() }
        });
        Running { stop, task, port }
    }

    /// Stores what the reservation system would send.
    pub(crate) async fn says(&self, body: Value) -> u64 {
        let body = Bytes::from(body.to_string());
        let webhook = Webhook::parse(&body);
        let delivery = NewDelivery {
            id: DeliveryId::new(message_id("reservation-system", &webhook, &body)),
            source: Source::new("reservation-system"),
            site: None,
            kind: None,
            name: None,
            event_type: None,
            webhook: Some(WebhookId::new("12")),
            received_at: Timestamp::now(),
            traceparent: None,
            headers: Vec::new(),
            body,
        };
        self.deliver(delivery).await
    }

    pub(crate) async fn deliver(&self, delivery: NewDelivery) -> u64 {
        self.store
            .store_delivery(&delivery, Duration::from_secs(5))
            .await
            .unwrap()
            .sequence
    }

    /// All entries of the ledger.
    pub(crate) async fn entries(&self) -> Vec<LedgerEntry> {
        let end = self.store.ledger_end().await.unwrap();
        let mut follower = self.store.follow_ledger(Version(0));
        let (mut seen, mut entries) = (Version(0), Vec::new());
        while seen < end {
            let entry = follower.next().await.unwrap();
            seen = entry.version();
            entries.push(entry);
        }
        entries
    }

    pub(crate) async fn facts(&self) -> Vec<Fact> {
        self.entries()
            .await
            .into_iter()
            .filter_map(LedgerEntry::into_resource)
            .flat_map(|entry| entry.facts)
            .collect()
    }

    pub(crate) async fn fact_names(&self) -> Vec<&'static str> {
        self.facts().await.iter().map(Fact::name).collect()
    }

    /// Waits until the ledger holds a fact that `wanted` holds for.
    pub(crate) async fn until_fact(&self, wanted: impl Fn(&Fact) -> bool) -> Fact {
        let mut follower = self.store.follow_ledger(Version(0));
        let search = async {
            loop {
                let Some(entry) = follower.next().await.unwrap().into_resource() else {
                    continue;
                };
                if let Some(fact) = entry.facts.into_iter().find(|fact| wanted(fact)) {
                    return fact;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(fact) => fact,
            Err(_) => panic!("no such fact among {:?}", self.fact_names().await),
        }
    }

    pub(crate) async fn until(&self, name: &str) -> Fact {
        self.until_fact(|fact| fact.name() == name).await
    }

    /// Waits until the ledger holds a fact of this name about this booking.
    pub(crate) async fn until_of(&self, event: &str, name: &str) -> Fact {
        self.until_fact(|fact| fact.name() == name && is_about(fact, event))
            .await
    }

    /// Lets time pass in which nothing should happen.
    pub(crate) async fn quiet(&self) {
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

pub(crate) fn is_about(fact: &Fact, event: &str) -> bool {
    fact.reservation()
        .is_some_and(|about| about.event() == event)
}

/// How long ago, or from now on, in seconds.
pub(crate) fn in_seconds(seconds: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(seconds)
}

pub(crate) fn flat(
    event_type: &str,
    event: &str,
    host: &str,
    start: Timestamp,
    end: Timestamp,
) -> Value {
    json!({
        "eventType": event_type, "timestamp": Timestamp::now(), "eventId": event, "webhookId": 12, "userId": "user-1",
        "username": "mara.conti", "email": "mara.conti@uni.example", "sshPublicKey": KEY, "eventTitle": "t",
        "eventStart": start, "eventEnd": end, "resourceId": 31, "resourceName": host, "resourceType": "Server",
        "siteId": "site-1",
    })
}

/// What the booking service says, for example `EVENT_UPDATED`.
pub(crate) fn nested(
    event_type: &str,
    event: i64,
    host: &str,
    start: Timestamp,
    end: Timestamp,
) -> Value {
    json!({
        "eventType": event_type, "timestamp": Timestamp::now(), "webhookId": "12",
        "data": {
            "updatedAt": Timestamp::now(), "id": event, "title": "t", "start": start, "end": end, "keycloakId": "user-1",
            "resource": {"id": 32, "name": host, "type": {"id": 3, "name": "Server"}, "siteId": "site-1"},
        },
    })
}

pub(crate) fn start(event: &str, host: &str) -> Value {
    flat("EVENT_START", event, host, in_seconds(60), in_seconds(3600))
}

pub(crate) fn end(event: &str, host: &str) -> Value {
    flat("EVENT_END", event, host, in_seconds(60), in_seconds(3600))
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
