//! The connection to the event store: made in the background, so that probes are answered from the first moment, and
//! watched, so that it can be seen whether a webhook could be stored now.
//!
//! A new process is not ready before it could store a webhook, so that a rollout with a wrong `NATS_URL` stops there.
//! From then on a broker that is away makes it *degraded*, not unready: every replica would become unready at once, a
//! Service without endpoints refuses connections, and then nobody would even know of the webhooks that are lost. Open, it
//! answers each with 503 and `Retry-After`, counts it and raises an alarm.
//!
//! With a spool it can store from its first moment, so it is ready, and *degraded* while the broker is away. Only when the
//! spool takes nothing either is it not ready: another replica's spool may have room.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bellhop_event_store::{EventStore, EventStoreSettings, StoreError};
use bellhop_service::{Alarms, Dependency};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::SERVICE;
use crate::metrics::IngressMetrics;
use crate::presence::Presence;
use crate::secrets::with_causes;
use crate::spool::{NotSpooled, Spool};

/// How often the broker is asked whether it answers, and how many dead letters there are.
const POLL: Duration = Duration::from_secs(2);
/// How long one question may take.
const POLL_LIMIT: Duration = Duration::from_secs(3);
/// How often a webhook that waits for the first connection looks for it.
const FIRST_CONNECTION: Duration = Duration::from_millis(20);
/// The pause before another try to connect.
const RECONNECT: Duration = Duration::from_secs(1);
/// How long a refusal to store is shown, unless something is stored before. Asking does not tell whether a stream is
/// full; only another webhook does.
const REFUSAL: Duration = Duration::from_secs(30);
/// After how long without a broker that stores an operator is told, whether or not a webhook came meanwhile. A restart
/// of the broker takes less.
const PATIENCE: Duration = Duration::from_secs(30);

/// The kind of the alarm for dead letters of this service.
const DEAD_LETTERS_ALARM: &str = "dead_letters";
/// The kind of the alarm for a broker that does not store.
const OUTAGE_ALARM: &str = "broker_away";

/// The event store, once there is a connection and its streams are there.
#[derive(Debug)]
pub(crate) struct Broker {
    store: OnceLock<EventStore>,
    look_now: Notify,
    refused: Mutex<Option<(Instant, String)>>,
    outage: Mutex<Outage>,
    presence: Presence,
    /// Where webhooks wait meanwhile.
    spool: Option<Arc<Spool>>,
    nats: Dependency,
    alarms: Alarms,
    metrics: IngressMetrics,
}

impl Broker {
    pub(crate) fn new(
        spool: Option<Arc<Spool>>,
        nats: Dependency,
        alarms: Alarms,
        metrics: IngressMetrics,
    ) -> Self {
        let broker = Self {
            store: OnceLock::new(),
            look_now: Notify::new(),
            refused: Mutex::default(),
            outage: Mutex::default(),
            presence: Presence::new(),
            spool,
            nats,
            alarms,
            metrics,
        };
        broker.show_trouble(Some("connecting".to_owned()));
        broker
    }

    /// The event store; none before the first connection.
    pub(crate) fn store(&self) -> Option<&EventStore> {
        self.store.get()
    }

    /// The event store, as soon as it is connected, at most `patience` later: a webhook that comes in the first moments of a
    /// process is not sent again.
    pub(crate) async fn store_within(&self, patience: Duration) -> Option<&EventStore> {
        let connected = async {
            loop {
                if let Some(store) = self.store() {
                    return store;
                }
                tokio::time::sleep(FIRST_CONNECTION).await;
            }
        };
        tokio::time::timeout(patience, connected).await.ok()
    }

    /// Whether it is known that nothing can be stored now: there is no connection, it did not answer when it was last asked, or
    /// did not confirm what was last sent. Then a webhook that can wait elsewhere need not wait for it. What waits there tries
    /// it again.
    pub(crate) fn is_away(&self) -> bool {
        !self.presence.is_there() || !self.store().is_some_and(EventStore::is_connected)
    }

    /// The event store, once it answers.
    pub(crate) async fn until_there(&self) -> &EventStore {
        loop {
            self.presence.until_it_answers().await;
            if let Some(store) = self.store() {
                return store;
            }
            tokio::time::sleep(FIRST_CONNECTION).await;
        }
    }

    /// Returns when it answers after it did not.
    pub(crate) async fn until_back(&self) {
        self.presence.until_it_answers_again().await;
    }

    /// It did not acknowledge in the time that a webhook waits for it. Whether it answers at all is asked at once.
    pub(crate) fn did_not_confirm(&self) {
        self.presence.did_not_confirm();
        self.show_trouble(Some("it did not confirm in time".to_owned()));
        self.look_now();
    }

    /// A dead letter was stored: count them anew.
    pub(crate) fn look_now(&self) {
        self.look_now.notify_one();
    }

    /// The broker did not store something. A refusal lasts a while; whether it answers again is soon asked.
    pub(crate) fn failed(&self, error: &StoreError) {
        match error {
            StoreError::Unconfirmed { .. } => self.did_not_confirm(),
            StoreError::Refused { cause, .. } => {
                let why = format!("it refuses to store webhooks: {cause}");
                self.show_trouble(Some(why.clone()));
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now(), why));
            }
            // That is about one message, not about the broker.
            StoreError::NotAMessage { .. } => {}
        }
    }

    /// The broker stored something.
    pub(crate) fn stored(&self) {
        self.presence.confirmed();
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

    /// Tries until there is a connection, and the streams that take webhooks are as they must be; those of the other
    /// services are theirs to judge. An operator may have to make the streams
    /// first; until then the service is not ready, and says why.
    async fn connect(&self, settings: &EventStoreSettings) -> EventStore {
        loop {
            match EventStore::connect(settings, &format!("bellhop-{SERVICE}")).await {
                Ok(store) => loop {
                    match store.prepare_deliveries().await {
                        Ok(()) => return store,
                        Err(error) => self.show_trouble(Some(with_causes(&error))),
                    }
                    tokio::time::sleep(RECONNECT).await;
                },
                Err(error) => self.show_trouble(Some(with_causes(&error))),
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    /// Looks whether a webhook could be stored now, and how many dead letters there are.
    async fn look(&self, store: &EventStore) {
        let asked = async {
            // Of a stream that has no leader the first question gets no answer.
            store.deliveries_end().await?;
            store.dead_letters_of(SERVICE).await
        };
        let answered = if store.is_connected() {
            match tokio::time::timeout(POLL_LIMIT, asked).await {
                Ok(Ok(count)) => Ok(count),
                Ok(Err(error)) => Err(with_causes(&error)),
                Err(_) => Err(format!("no answer within {} s", POLL_LIMIT.as_secs())),
            }
        } else {
            Err("the connection is lost; connecting again".to_owned())
        };
        self.presence.asked(answered.is_ok());
        let trouble = match answered {
            Ok(count) => {
                self.show_dead_letters(count);
                self.recent_refusal().or_else(|| self.silence())
            }
            Err(why) => Some(why),
        };
        self.show_trouble(trouble);
    }

    fn show_trouble(&self, trouble: Option<String>) {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let is_long = outage.is_long(trouble.is_some(), Instant::now());
        let Some(why) = trouble else {
            self.nats.ok();
            self.alarms.clear(OUTAGE_ALARM, "nats");
            return;
        };
        let instead = match &self.spool {
            None => Instead::Nothing,
            Some(spool) => spool.trouble().map_or(Instead::Spool, Instead::Neither),
        };
        if is_long {
            self.alarms.raise(OUTAGE_ALARM, "nats", instead.alarm());
        }
        match instead {
            // Before the first connection nobody relies on it yet.
            Instead::Nothing if self.store().is_none() => self.nats.down(why),
            Instead::Nothing => self.nats.degraded(why),
            Instead::Spool => self
                .nats
                .degraded(format!("{why}; webhooks go to the spool")),
            Instead::Neither(trouble) => self
                .nats
                .down(format!("{why}; and the spool takes no webhooks: {trouble}")),
        }
    }

    fn show_dead_letters(&self, count: u64) {
        self.metrics.dead_letters(count);
        if count == 0 {
            self.alarms.clear(DEAD_LETTERS_ALARM, SERVICE);
        } else {
            let text = format!(
                "{count} verified webhook(s) can't be read and wait as dead letters: look at them with `bellhop \
                 dead-letters list`, see to their reservations by hand, then give them up with `bellhop dead-letters drop \
                 --service ingress --reason '…'`"
            );
            self.alarms.raise(DEAD_LETTERS_ALARM, SERVICE, &text);
        }
    }

    /// Whatever it answers, it does not confirm what is sent. Without a spool only the next webhook would tell that this is over.
    fn silence(&self) -> Option<String> {
        let is_tried = self.spool.is_some() && self.presence.is_silent();
        is_tried.then(|| "it answers, but does not confirm what is sent to it".to_owned())
    }

    fn recent_refusal(&self) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused
            .as_ref()
            .filter(|(at, _)| at.elapsed() < REFUSAL)
            .map(|(_, why)| why.clone())
    }
}

/// What becomes of webhooks while the broker does not store.
enum Instead {
    /// There is no spool.
    Nothing,
    /// They wait in the spool.
    Spool,
    /// The spool takes none.
    Neither(NotSpooled),
}

impl Instead {
    fn alarm(&self) -> &'static str {
        match self {
            Self::Nothing => {
                "webhooks can't be stored now: they are answered 503 and lost, since the reservation system does not send them \
                 again; mend NATS"
            }
            Self::Spool => {
                "NATS does not store: webhooks wait in the spool, and nothing becomes of them until NATS is mended; mend it \
                 before the spool is full"
            }
            Self::Neither(_) => {
                "neither NATS nor the spool stores: webhooks are answered 503 and lost, since the reservation system does not \
                 send them again; mend NATS"
            }
        }
    }
}

/// Since when the broker has not been storing.
#[derive(Debug, Default)]
struct Outage {
    since: Option<Instant>,
}

impl Outage {
    /// Takes note of how it is now, and says whether it has been so for longer than a restart takes.
    fn is_long(&mut self, is_away: bool, now: Instant) -> bool {
        if !is_away {
            self.since = None;
            return false;
        }
        now.duration_since(*self.since.get_or_insert(now)) >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_long_when_it_did_not_end_for_half_a_minute() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut outage = Outage::default();
        assert!(!outage.is_long(true, at(0)));
        assert!(!outage.is_long(true, at(29)));
        assert!(!outage.is_long(false, at(30)));
        assert!(!outage.is_long(true, at(31)));
        assert!(!outage.is_long(true, at(60)));
        assert!(outage.is_long(true, at(61)));
        assert!(!outage.is_long(false, at(62)));
    }
}
