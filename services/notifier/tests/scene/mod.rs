//! A real broker, a reservation system with the real one's checks, and notifiers between them.

#![allow(clippy::unwrap_used, clippy::panic, dead_code)]

use std::time::Duration;

use async_nats::jetstream::{self, consumer};
use axum::http::{Method, StatusCode};
use axum::routing::any;
use bellhop_domain::id::Version;
use bellhop_domain::reservation::Fact;
use bellhop_event_store::{
    BuriedLetter, EventStore, EventStoreSettings, Mode, NewEntry, ReportKey, ReportState,
};
use bellhop_nats_server::NatsServer;
use bellhop_notifier::{Destination, Notifier, NotifierSettings};
use bellhop_service::telemetry::install_for_tests;
use bellhop_simulator::reservation_system::{
    Received, ReservationSystem, Resource, Settings, User, Webhook,
};
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::facts::{SERVER, SERVER_NUMBER, Story, USER, server};

/// The secret of webhook 12.
pub(crate) const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// The trace that facts come with.
pub(crate) const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// A test that waits for longer than this has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Scene {
    pub(crate) nats: NatsServer,
    pub(crate) system: ReservationSystem,
    pub(crate) store: EventStore,
    secrets: tempfile::NamedTempFile,
    mode: Mode,
}

impl Scene {
    pub(crate) async fn set() -> Self {
        Self::set_in(Mode::Live).await
    }

    pub(crate) async fn set_in(mode: Mode) -> Self {
        install_for_tests();
        let nats = NatsServer::start().unwrap();
        let settings = EventStoreSettings {
            mode,
            ..EventStoreSettings::at(nats.url())
        };
        let store = EventStore::connect(&settings, "test").await.unwrap();
        store.prepare().await.unwrap();
        let system = ReservationSystem::start(Settings {
            webhooks: vec![Webhook::new(12, SECRET, "http://127.0.0.1:9/webhook")],
            users: vec![User::new(USER, "mara.conti")],
            resources: vec![Resource::server(SERVER_NUMBER, SERVER)],
            ..Settings::default()
        })
        .await
        .unwrap();
        let secrets = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secrets.path(), format!(r#"{{"12": "{SECRET}"}}"#)).unwrap();
        Self {
            nats,
            system,
            store,
            secrets,
            mode,
        }
    }

    /// Replaces the notifiers' secrets.
    pub(crate) fn set_secrets(&self, secrets: &str) {
        std::fs::write(self.secrets.path(), secrets).unwrap();
    }

    /// Settings with both endpoints and short pauses; `more` arguments come on top.
    pub(crate) fn settings(&self, more: &[&str]) -> NotifierSettings {
        let endpoints = [
            format!(
                "--notification-endpoint={}",
                self.system.notification_endpoint()
            ),
            format!(
                "--webhook-log-endpoint={}",
                self.system.webhook_log_endpoint()
            ),
        ];
        self.settings_without_endpoints(&[&endpoints[0], &endpoints[1]], more)
    }

    pub(crate) fn settings_without_endpoints(
        &self,
        some: &[&str],
        more: &[&str],
    ) -> NotifierSettings {
        let fixed = [
            "notifier".to_owned(),
            "--port=0".to_owned(),
            "--listen-address=127.0.0.1".to_owned(),
            format!("--nats-url={}", self.nats.url()),
            format!("--mode={}", self.mode),
            format!("--webhook-secrets-path={}", self.secrets.path().display()),
            "--report-retry-min=0.05".to_owned(),
            "--report-retry-max=0.2".to_owned(),
            "--report-probe-max=0.2".to_owned(),
        ];
        let arguments = fixed.into_iter().chain(
            some.iter()
                .chain(more)
                .map(|argument| (*argument).to_owned()),
        );
        bellhop_service::settings::parse(arguments).unwrap()
    }

    pub(crate) async fn notifier(&self) -> Running {
        Running::start(self.settings(&[])).await
    }

    pub(crate) async fn notifier_with(&self, more: &[&str]) -> Running {
        Running::start(self.settings(more)).await
    }

    /// Appends one decision about the usual server.
    pub(crate) async fn append(&self, facts: Vec<Fact>) -> Version {
        self.append_on(SERVER, facts).await
    }

    /// Appends one decision about a server.
    pub(crate) async fn append_on(&self, name: &str, facts: Vec<Fact>) -> Version {
        let resource = server(name);
        let newest = self.store.newest_version(&resource).await.unwrap();
        let entry = NewEntry {
            at: Timestamp::now(),
            facts,
            traceparent: Some(TRACEPARENT.to_owned()),
            cause: "test".to_owned(),
        };
        self.store.append(&resource, newest, &entry).await.unwrap()
    }

    /// Appends a history decision by decision.
    pub(crate) async fn append_all(&self, history: Vec<Vec<Fact>>) -> Version {
        self.append_all_on(SERVER, history).await
    }

    pub(crate) async fn append_all_on(&self, name: &str, history: Vec<Vec<Fact>>) -> Version {
        let mut version = Version::default();
        for facts in history {
            version = self.append_on(name, facts).await;
        }
        version
    }

    /// Puts something into the ledger that nobody can read.
    pub(crate) async fn append_garbage(&self) {
        let client = async_nats::connect(self.nats.url()).await.unwrap();
        let context = jetstream::new(client);
        let garbage = context
            .publish("ledger.baremetalhost.metal3.other", "garbage".into())
            .await
            .unwrap();
        garbage.await.unwrap();
    }

    /// The report that a fact owes.
    pub(crate) fn key(
        story: &Story,
        version: Version,
        index: usize,
        destination: Destination,
    ) -> ReportKey {
        ReportKey {
            reservation: story.id.clone(),
            version,
            entry: None,
            index,
            destination: destination.name(),
        }
    }

    /// Waits until the report is settled, and says how.
    pub(crate) async fn settled(
        &self,
        story: &Story,
        version: Version,
        index: usize,
        destination: Destination,
    ) -> ReportState {
        let key = Self::key(story, version, index, destination);
        eventually(&format!("{key} is settled"), async || {
            let state = self.store.report(&key).await.ok()??.0;
            state.is_settled().then_some(state)
        })
        .await
    }

    /// What the broker knows of a destination's consumer.
    pub(crate) async fn consumer(&self, destination: Destination) -> Option<consumer::Info> {
        let client = async_nats::connect(self.nats.url()).await.ok()?;
        let stream = jetstream::new(client).get_stream("LEDGER").await.ok()?;
        stream.consumer_info(destination.consumer()).await.ok()
    }

    pub(crate) async fn dead_letters(&self) -> Vec<BuriedLetter> {
        self.store.dead_letters(1, 100).await.unwrap()
    }

    /// What the user was told, in order: the event types.
    pub(crate) fn told(&self) -> Vec<String> {
        let notifications = self.system.notifications().into_iter();
        notifications
            .map(|notification| notification.event_type.unwrap())
            .collect()
    }

    /// What the log holds of a booking, in order: event type and response.
    pub(crate) fn logged(&self, event: &str) -> Vec<String> {
        let logs = self.system.webhook_logs().into_iter();
        logs.filter(|log| log.metadata.as_ref().unwrap()["eventId"] == event)
            .map(|log| format!("{} {}", log.event_type, log.response.unwrap()))
            .collect()
    }

    pub(crate) fn received_at(&self, path: &str) -> Vec<Received> {
        let received = self.system.received().into_iter();
        received
            .filter(|received| received.path.ends_with(path))
            .collect()
    }
}

/// Another receiver, which answers as the function says, and the address to post to.
pub(crate) async fn receiver(
    answer: impl Fn(Method, String) -> StatusCode + Clone + Send + Sync + 'static,
) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answered = move |method: Method, body: String| async move { answer(method, body) };
    let receiver = axum::Router::new().route("/", any(answered));
    tokio::spawn(async move { axum::serve(listener, receiver).await });
    url
}

/// A notifier in this process. Dropped it is gone at once, as if it was killed.
pub(crate) struct Running {
    address: std::net::SocketAddr,
    token: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(settings: NotifierSettings) -> Self {
        let notifier = Notifier::bind(settings).await.unwrap();
        let address = notifier.local_address().unwrap();
        let token = CancellationToken::new();
        let run = notifier.run(token.clone());
        let task = tokio::spawn(async move { run.await.unwrap() });
        Self {
            address,
            token,
            task,
        }
    }

    /// Ends in order.
    pub(crate) async fn stop(mut self) {
        self.token.cancel();
        (&mut self.task).await.unwrap();
    }

    /// A page of its own, such as `readyz?verbose`.
    pub(crate) async fn page(&self, page: &str) -> String {
        let url = format!("http://{}/{page}", self.address);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// Waits until a page holds a text.
    pub(crate) async fn shows(&self, page: &str, text: &str) {
        eventually(&format!("{page} shows {text}"), async || {
            self.page(page).await.contains(text).then_some(())
        })
        .await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(LIMIT, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("waited in vain: {what}"),
    }
}
