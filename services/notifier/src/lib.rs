//! The notifier: facts in, reports out. It tells the reservation system what became of each reservation: its user by a
//! notification, its administrators by the webhook log.
//!
//! ```text
//!              follow    ┌──────────────┐ state now, which facts owe what
//!   LEDGER ─────────────▶│ view         │────────────────┐
//!     │                  └──────────────┘                ▼
//!     │ durable consumer ┌──────────────┐  what it says ┌──────┐ signed ┌────────┐
//!     ├─────────────────▶│ outbox       │◀──────────────│ owed │───────▶│ sender │──▶ POST notification
//!     │  one for each    │ notification │               └──────┘        └────────┘
//!     └─────────────────▶│ webhook log  │──▶ REPORTS: settled, then acknowledged ──▶ POST webhook log
//!        destination     └──────────────┘──▶ DEAD_LETTERS: refused, or tried often enough
//! ```
//!
//! - [`owed`] which fact owes which report, and what it says (pure); [`view`] the ledger, folded for that;
//! - `outbox` one report's way: order, tries, what became of it; [`retry`] how long to wait; `circuit` what happens while a
//!   destination is away; `sender` one request and what its answer means; `secrets` what signs it.
//!
//! What operators want sent again (`bellhop dead-letters replay`) comes by a durable consumer of DEAD_LETTERS, and goes the same way.
//!
//! What is settled stands in the bucket REPORTS under `<reservation>.<version>-<index>.<destination>`; it is truth, not a
//! cache. Any number of notifiers run at once: the broker hands each entry to one of them.
//!
//! A destination without an endpoint is warned of at the start and shown in `/readyz?verbose`. What is owed to it is dropped
//! as it comes, so that an endpoint that is set one day hears only of what happens from then on, and not of years.

#[cfg(test)]
extern crate self as bellhop_notifier;

mod circuit;
pub mod destination;
mod error;
#[cfg(test)]
#[path = "../tests/facts/mod.rs"]
mod facts;
mod metrics;
mod outbox;
pub mod owed;
pub mod retry;
#[cfg(test)]
#[path = "../tests/scene/mod.rs"]
mod scene;
mod secrets;
mod sender;
mod settings;
#[cfg(test)]
mod stumbling;
pub mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bellhop_event_store::{ErrorClass, EventStore, EventStoreSettings, Mode};
use bellhop_service::shutdown::{STOP_TIME, in_time};
use bellhop_service::{Alarms, Dependency, Health, Metrics, Shown, server};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use destination::Destination;
pub use error::NotifierError;
pub use settings::{NotifierSettings, ReportSettings};

use circuit::Circuit;
use metrics::ReportMetrics;
use outbox::{BeingSettled, Channel, DEAD_LETTERS_ALARM, DEAD_LETTERS_TEXT, Outbox, SERVICE, Way};
use secrets::SigningSecrets;
use sender::Sender;
use view::Followed;

/// What is shown of a shadow.
const SHADOW: &str = "MODE=shadow: what it would report is logged, and nothing is sent";
/// How often the connection to the broker is looked at.
const CONNECTION_PERIOD: Duration = Duration::from_secs(1);
/// How often it is asked whether there are still dead letters of ours.
const DEAD_LETTERS_PERIOD: Duration = Duration::from_secs(30);
/// How many settled reports a task that waits for one of them may fall behind; then it asks the broker.
const SETTLED_BACKLOG: usize = 1024;

/// Runs the notifier until the token is cancelled; then what is in flight ends, for at most ten seconds.
///
/// # Errors
/// Settings, secrets, certificates or streams that can't be used. A broker or a destination that is away is waited for.
pub async fn run(
    settings: NotifierSettings,
    token: CancellationToken,
) -> Result<(), NotifierError> {
    Notifier::bind(settings).await?.run(token).await
}

/// A notifier that listens, and does not work yet.
#[derive(Debug)]
pub struct Notifier {
    settings: NotifierSettings,
    /// None in a shadow.
    reporting: Option<Reporting>,
    listener: TcpListener,
}

/// What sends and signs.
#[derive(Debug)]
struct Reporting {
    secrets: SigningSecrets,
    client: reqwest::Client,
}

impl Reporting {
    fn new(settings: &ReportSettings) -> Result<Self, NotifierError> {
        let secrets = SigningSecrets::load(settings)?;
        let mut is_any_configured = false;
        for destination in Destination::ALL {
            is_any_configured |= settings.endpoint(destination)?.is_some();
        }
        if is_any_configured && secrets.is_empty() {
            return Err(NotifierError::NoSecret);
        }
        let client = sender::client(settings)?;
        Ok(Self { secrets, client })
    }
}

impl Notifier {
    /// Checks the settings and listens for probes.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn bind(settings: NotifierSettings) -> Result<Self, NotifierError> {
        let reporting = match settings.event_store.mode {
            Mode::Live => Some(Reporting::new(&settings.reports)?),
            Mode::Shadow => None,
        };
        let listener = settings.http.bind().await?;
        Ok(Self {
            settings,
            reporting,
            listener,
        })
    }

    /// Where probes and metrics are answered.
    ///
    /// # Errors
    /// The operating system does not know.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Works until the token is cancelled, and ends soon after it whatever hangs.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn run(self, token: CancellationToken) -> Result<(), NotifierError> {
        let work = self.work_until(token.clone());
        in_time(SERVICE, &token, STOP_TIME, work)
            .await
            .unwrap_or(Ok(()))
    }

    async fn work_until(self, token: CancellationToken) -> Result<(), NotifierError> {
        let Self {
            settings,
            reporting,
            listener,
        } = self;
        let NotifierSettings {
            telemetry: _,
            http,
            event_store,
            reports,
        } = settings;
        let metrics = Metrics::new(SERVICE, env!("CARGO_PKG_VERSION"));
        let alarms = Alarms::new(&metrics);
        let shown = Shown::new(&metrics);
        match &reporting {
            None => shown.show(Mode::Shadow.as_str(), SERVICE, SHADOW),
            Some(reporting) => reporting.secrets.warn_of_weak(&shown),
        }
        let health = Health::new(metrics.clone(), alarms.clone(), shown.clone());
        let report_metrics = ReportMetrics::new(&metrics);
        let nats = health.dependency("nats");
        let ledger = health.dependency("ledger");
        let mut ways = Vec::new();
        for destination in Destination::ALL {
            let dependency = health.dependency(destination.dependency());
            let way = match &reporting {
                None => {
                    dependency.not_configured("a shadow reports nothing");
                    Way::Shown
                }
                Some(reporting) => match reports.endpoint(destination)? {
                    Some(url) => {
                        let circuit = Circuit::new(
                            reports.probe_pauses(),
                            dependency,
                            report_metrics.circuit_open(destination),
                        );
                        let (client, time_limit) =
                            (&reporting.client, reports.timeout(destination));
                        Way::Sent(Box::new(Channel::new(
                            Sender::new(client.clone(), url.clone(), time_limit),
                            circuit,
                            reporting.secrets.clone(),
                            reports.report_attempts,
                            reports.report_pauses(),
                        )))
                    }
                    None => {
                        let variable = destination.variable();
                        dependency.not_configured(format!(
                            "{variable} is not set; what happens until it is set will not be reported there"
                        ));
                        Way::NotConfigured
                    }
                },
            };
            ways.push((destination, way));
        }

        // Dropped with this future, and all its tasks with it.
        let mut background = JoinSet::new();
        let serve = server::serve(health.router(&http), listener, token.clone());
        let work = async {
            let Some(store) = connect(&event_store, &nats, &token).await? else {
                return Ok(());
            };
            let (followed, follow) = Followed::new(store.clone(), ledger, alarms.clone());
            let mut following = JoinSet::new();
            following.spawn(follow);
            background.spawn(watch_connection(store.clone(), nats));
            background.spawn(watch_dead_letters(store.clone(), alarms.clone()));
            if let Some(Reporting { secrets, .. }) = reporting {
                background.spawn(secrets.keep_fresh(alarms.clone(), shown));
            }
            let notifier: Arc<str> = format!("{:016x}", rand::random::<u64>()).into();
            let mut outboxes = JoinSet::new();
            for (destination, way) in ways {
                let outbox = Outbox {
                    being_settled: BeingSettled::default(),
                    destination,
                    notifier: Arc::clone(&notifier),
                    store: store.clone(),
                    followed: followed.clone(),
                    way,
                    metrics: report_metrics.clone(),
                    alarms: alarms.clone(),
                    settled: broadcast::channel(SETTLED_BACKLOG).0,
                    stopping: token.clone(),
                };
                outboxes.spawn(Arc::new(outbox).run());
            }
            let mut result = Ok(());
            loop {
                tokio::select! {
                    ended = outboxes.join_next() => if ended.is_none() { break },
                    Some(ended) = following.join_next() => {
                        result = Err(ended.map_or(NotifierError::Panicked, NotifierError::Ledger));
                        token.cancel();
                    }
                }
            }
            store.flush().await;
            result
        };
        // Probes are answered from the beginning, so that one can see that the broker is waited for.
        let (served, worked) = tokio::join!(serve, async {
            let result = work.await;
            token.cancel();
            result
        });
        worked.and(served.map_err(NotifierError::Serve))
    }
}

/// Connects and prepares the streams, however long the broker is away; none if the service stops before.
async fn connect(
    settings: &EventStoreSettings,
    nats: &Dependency,
    token: &CancellationToken,
) -> Result<Option<EventStore>, NotifierError> {
    loop {
        let connected = async {
            let store = EventStore::connect(settings, "bellhop-notifier").await?;
            store.prepare().await?;
            Ok::<_, NotifierError>(store)
        };
        let error = tokio::select! {
            () = token.cancelled() => return Ok(None),
            connected = connected => match connected {
                Ok(store) => return Ok(Some(store)),
                Err(error) => error,
            },
        };
        let class = match &error {
            NotifierError::EventStore(error) => error.class(),
            NotifierError::Setup(error) => error.class(),
            _ => ErrorClass::Permanent,
        };
        if class == ErrorClass::Permanent {
            return Err(error);
        }
        nats.down_for(&error);
        tokio::select! {
            () = token.cancelled() => return Ok(None),
            () = tokio::time::sleep(CONNECTION_PERIOD) => {}
        }
    }
}

async fn watch_connection(store: EventStore, nats: Dependency) {
    loop {
        if store.is_connected() {
            nats.ok();
        } else {
            nats.down("the connection is lost; connecting again");
        }
        tokio::time::sleep(CONNECTION_PERIOD).await;
    }
}

/// Keeps the alarm on while there are dead letters of ours, those of earlier runs too.
async fn watch_dead_letters(store: EventStore, alarms: Alarms) {
    let (kind, about) = DEAD_LETTERS_ALARM;
    loop {
        match store.dead_letters_of(SERVICE).await {
            Ok(0) => alarms.clear(kind, about),
            Ok(_) => alarms.raise(kind, about, DEAD_LETTERS_TEXT),
            Err(error) => tracing::debug!(%error, "cannot count the dead letters"),
        }
        tokio::time::sleep(DEAD_LETTERS_PERIOD).await;
    }
}
