//! The connection to the event store: made in the background, so that probes are answered from the first moment, and
//! watched, so that readiness says whether a webhook could be stored now.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bellhop_event_store::{EventStore, EventStoreSettings, StoreError};
use bellhop_service::{Alarms, Dependency};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::SERVICE;
use crate::metrics::IngressMetrics;
use crate::secrets::with_causes;

/// How often the broker is asked whether it answers, and how many dead letters there are.
const POLL: Duration = Duration::from_secs(2);
/// How long one question may take.
const POLL_LIMIT: Duration = Duration::from_secs(3);
/// The pause before another try to connect.
const RECONNECT: Duration = Duration::from_secs(1);
/// How long a refusal to store keeps the service from being ready. Asking does not tell whether a stream is full; only
/// another webhook does.
const REFUSAL: Duration = Duration::from_secs(30);

/// The kind of the alarm for dead letters of this service.
const DEAD_LETTERS_ALARM: &str = "dead_letters";

/// The event store, once there is a connection and its streams are there.
#[derive(Debug)]
pub(crate) struct Broker {
    store: OnceLock<EventStore>,
    look_now: Notify,
    refused: Mutex<Option<(Instant, String)>>,
    nats: Dependency,
    alarms: Alarms,
    metrics: IngressMetrics,
}

impl Broker {
    pub(crate) fn new(nats: Dependency, alarms: Alarms, metrics: IngressMetrics) -> Self {
        nats.down("connecting");
        Self {
            store: OnceLock::new(),
            look_now: Notify::new(),
            refused: Mutex::default(),
            nats,
            alarms,
            metrics,
        }
    }

    /// The event store; none before the first connection.
    pub(crate) fn store(&self) -> Option<&EventStore> {
        self.store.get()
    }

    /// A dead letter was stored: count them anew.
    pub(crate) fn look_now(&self) {
        self.look_now.notify_one();
    }

    /// The broker did not store something. A refusal lasts a while; whether it answers again is soon asked.
    pub(crate) fn failed(&self, error: &StoreError) {
        match error {
            StoreError::Unconfirmed { .. } => self.nats.down("it did not confirm in time"),
            StoreError::Refused { cause, .. } => {
                let why = format!("it refuses to store webhooks: {cause}");
                self.nats.down(why.clone());
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now(), why));
            }
            // That is about one message, not about the broker.
            StoreError::NotAMessage { .. } => {}
        }
    }

    /// The broker stored something.
    pub(crate) fn stored(&self) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Connects, then watches, until the token is cancelled.
    pub(crate) async fn tend(&self, settings: &EventStoreSettings, token: CancellationToken) {
        let tended = async {
            let store = self.connect(settings).await;
            let store = self.store.get_or_init(|| store);
            loop {
                self.look(store).await;
                // Either way it is time to look again.
                let _ = tokio::time::timeout(POLL, self.look_now.notified()).await;
            }
        };
        let _: Option<()> = token.run_until_cancelled(tended).await;
    }

    /// Tries until there is a connection and every stream is as it must be. An operator may have to make the streams
    /// first; until then the service is not ready, and says why.
    async fn connect(&self, settings: &EventStoreSettings) -> EventStore {
        loop {
            match EventStore::connect(settings, &format!("bellhop-{SERVICE}")).await {
                Ok(store) => loop {
                    match store.prepare().await {
                        Ok(()) => return store,
                        Err(error) => self.nats.down(with_causes(&error)),
                    }
                    tokio::time::sleep(RECONNECT).await;
                },
                Err(error) => self.nats.down(with_causes(&error)),
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    /// Asks for the number of dead letters: an answer also shows that the broker's store works.
    async fn look(&self, store: &EventStore) {
        if !store.is_connected() {
            self.nats.down("the connection is lost; connecting again");
            return;
        }
        match tokio::time::timeout(POLL_LIMIT, store.dead_letters_of(SERVICE)).await {
            Ok(Ok(count)) => {
                self.show_dead_letters(count);
                match self.recent_refusal() {
                    Some(why) => self.nats.down(why),
                    None => self.nats.ok(),
                }
            }
            Ok(Err(error)) => self.nats.down(with_causes(&error)),
            Err(_) => self
                .nats
                .down(format!("no answer within {} s", POLL_LIMIT.as_secs())),
        }
    }

    fn show_dead_letters(&self, count: u64) {
        self.metrics.dead_letters(count);
        if count == 0 {
            self.alarms.clear(DEAD_LETTERS_ALARM, SERVICE);
        } else {
            let text = format!(
                "{count} verified webhook(s) can't be read and wait as dead letters: look at each, then replay or drop it"
            );
            self.alarms.raise(DEAD_LETTERS_ALARM, SERVICE, &text);
        }
    }

    fn recent_refusal(&self) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused
            .as_ref()
            .filter(|(at, _)| at.elapsed() < REFUSAL)
            .map(|(_, why)| why.clone())
    }
}
