//! Deliveries in: read, understand, decide, acknowledge. In this order: a delivery is acknowledged when its facts are in the
//! ledger, or when it needs none; what can't be handled is a dead letter first.

mod deciding;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bellhop_event_store::{
    ConsumerLimits, DeadLetter, DeadLetterClass, Delivery, ErrorClass, EventStore, EventStoreError,
    Handed, StoreError, Unreadable, kept,
};
use bellhop_service::panics::{self, Panicked, caught};
use bellhop_service::trace_context::{TraceParent, set_parent};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub(crate) use self::deciding::Deciding;

use self::deciding::CATCHING_UP;
use crate::decisions::DecisionError;
use crate::late_starts::NotSureYet;
use crate::metrics::ProvisionerMetrics;
use crate::words::NotUnderstood;

/// Who gives up, in dead letters.
pub(crate) const SERVICE: &str = "provisioner";
/// The durable consumer that all provisioners share.
pub const CONSUMER: &str = "provisioner";
/// How many deliveries are decided at once.
const AT_ONCE: usize = 32;
/// After this the broker hands a delivery out again. What a killed provisioner had in its hands waits so long, and so does a
/// new one that starts meanwhile; two that decide the same delivery at once do no harm.
const ACK_WAIT: Duration = Duration::from_secs(15);
/// As so many tries a start rests at most that comes before its time: 0.8 s.
const EARLY_TRIES: u64 = 3;
/// How often a delivery of a newer format is handed out before it is given up, some five minutes: an update of all provisioners
/// takes less, and until it is handled none that starts drives hosts.
const NEWER_FORMAT_TRIES: u64 = 20;
const BURIAL: Duration = Duration::from_secs(5);

/// Turns deliveries into facts.
pub(crate) struct Deliveries<D> {
    pub(crate) store: EventStore,
    pub(crate) metrics: ProvisionerMetrics,
    pub(crate) deciding: D,
}

/// Decides on what deliveries say.
pub(crate) trait Decides: Send + Sync + 'static {
    /// Returns when the facts are in the ledger, with the outcome as metrics name it. `tries`: how often it was handed out.
    fn decided(
        &self,
        delivery: &Delivery,
        stored_at: Timestamp,
        tries: u64,
    ) -> impl Future<Output = Result<&'static str, DeliveryError>> + Send;
}

/// A delivery could not be handled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    #[error(transparent)]
    Decision(#[from] DecisionError),
    #[error(transparent)]
    NotUnderstood(#[from] NotUnderstood),
    #[error(transparent)]
    NotSureYet(#[from] NotSureYet),
    #[error("its reservation is moved from resource to resource")]
    Moving,
    #[error("the ledger was not read to its end within {} s", CATCHING_UP.as_secs())]
    Behind,
    #[error(transparent)]
    Store(#[from] EventStoreError),
    #[error("it is stored in a form that this version does not read: {0}")]
    Form(Unreadable),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl DeliveryError {
    /// Whether a delivery is given up that was handed out so often.
    fn is_given_up(&self, tries: u64) -> bool {
        match self {
            Self::Decision(error) => error.class() == ErrorClass::Permanent,
            Self::Store(error) => error.class() == ErrorClass::Permanent,
            // A rolling update: a newer provisioner takes it.
            Self::Form(Unreadable::NewerFormat { .. }) => tries >= NEWER_FORMAT_TRIES,
            Self::NotUnderstood(_) | Self::Form(_) => true,
            Self::Panicked(_) => tries >= panics::TRIES,
            Self::NotSureYet(_) | Self::Moving | Self::Behind => false,
        }
    }
}

impl<D: Decides> Deliveries<D> {
    /// Handles deliveries until told to stop; then finishes those in hand.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let limits = ConsumerLimits {
            ack_wait: ACK_WAIT,
            max_in_flight: 256,
            batch: AT_ONCE,
        };
        let mut inbox = self.store.deliveries(CONSUMER, limits);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await;
                let place = place.expect("this semaphore is never closed");
                (place, inbox.next().await)
            };
            let (place, handed) = tokio::select! {
                () = stop.cancelled() => break,
                next = next => next,
            };
            // What panicked outside of its decision comes back after ACK_WAIT, and the others go on.
            while tasks.try_join_next().is_some() {}
            let deliveries = self.clone();
            tasks.spawn(async move {
                deliveries.handle(handed).await;
                drop(place);
            });
        }
        // What the broker hands out from now on must go to somebody who reads it.
        inbox.hand_back().await;
        while tasks.join_next().await.is_some() {}
    }

    async fn handle(&self, handed: Handed<Delivery>) {
        let span = tracing::info_span!(
            "decide",
            delivery = tracing::field::Empty,
            reservation = tracing::field::Empty,
            resource = tracing::field::Empty,
            tries = handed.tries,
        );
        let traceparent = handed
            .item
            .as_ref()
            .ok()
            .and_then(|delivery| delivery.traceparent.clone());
        set_parent(
            &span,
            traceparent
                .and_then(|text| TraceParent::try_from(text).ok())
                .as_ref(),
        );
        async {
            let result = match &handed.item {
                Ok(delivery) => {
                    let decided = self
                        .deciding
                        .decided(delivery, handed.stored_at, handed.tries);
                    let decided = caught(decided).await;
                    decided.unwrap_or_else(|panicked| Err(panicked.into()))
                }
                Err(error) => Err(DeliveryError::Form(error.clone())),
            };
            self.settle(&handed, result).await;
        }
        .instrument(span)
        .await;
    }

    async fn settle(&self, handed: &Handed<Delivery>, result: Result<&'static str, DeliveryError>) {
        let outcome = match result {
            Ok(outcome) => {
                acked(handed.ack().await);
                outcome
            }
            Err(error) if error.is_given_up(handed.tries) => {
                match self.bury(handed, &error).await {
                    Ok(()) => {
                        acked(handed.terminate().await);
                        "dead_letter"
                    }
                    Err(store) => self.later(handed, &store, pause(handed.tries)).await,
                }
            }
            Err(error) => {
                let pause = pause_after(&error, handed.tries);
                self.later(handed, &error, pause).await
            }
        };
        self.metrics.delivery(outcome);
    }

    async fn later(
        &self,
        handed: &Handed<Delivery>,
        error: &(dyn std::error::Error + Send + Sync + 'static),
        pause: Duration,
    ) -> &'static str {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            sequence = handed.sequence,
            ?pause,
            "could not decide on a delivery; trying again"
        );
        handed.retry_after(pause).await;
        "retried"
    }

    async fn bury(
        &self,
        handed: &Handed<Delivery>,
        error: &DeliveryError,
    ) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let source = handed
            .item
            .as_ref()
            .map_or("unknown", |delivery| delivery.source.as_str());
        let letter = DeadLetter {
            service: SERVICE,
            class: DeadLetterClass::Delivery,
            id: format!("provisioner-{}", handed.sequence),
            what: source.to_owned(),
            reason: error.to_string(),
            tries: handed.tries,
            first_at: handed.stored_at,
            last_at: now,
            traceparent: handed
                .item
                .as_ref()
                .ok()
                .and_then(|delivery| delivery.traceparent.clone()),
            headers: handed
                .headers()
                .into_iter()
                .chain([(kept::SUBJECT.to_owned(), handed.subject().to_owned())])
                .collect(),
            body: handed.body(),
        };
        match self.store.bury(&letter, BURIAL).await {
            // With its reason and headers it is larger than the broker takes: the delivery itself has its body.
            Err(StoreError::NotAMessage { .. }) => {
                let reason = format!(
                    "{} (its body is in DELIVERIES at {})",
                    letter.reason, handed.sequence
                );
                let short = DeadLetter {
                    reason,
                    headers: vec![
                        (kept::SUBJECT.to_owned(), handed.subject().to_owned()),
                        (kept::DELIVERY.to_owned(), handed.sequence.to_string()),
                    ],
                    body: bytes::Bytes::new(),
                    ..letter
                };
                self.store.bury(&short, BURIAL).await?
            }
            buried => buried?,
        };
        tracing::error!(
            error = error as &dyn std::error::Error,
            sequence = handed.sequence,
            "a delivery is a dead letter now"
        );
        Ok(())
    }
}

/// An acknowledgement that got lost: the delivery comes once more, and deciding it again gives no facts.
fn acked(result: Result<(), EventStoreError>) {
    if let Err(error) = result {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "an acknowledgement was not confirmed"
        );
    }
}

/// How long a delivery rests after an error. One that only comes before it is sure does not rest longer the more often it was
/// handed out, by whichever process: until it is handled a provisioner that starts does not drive hosts.
fn pause_after(error: &DeliveryError, tries: u64) -> Duration {
    match error {
        DeliveryError::NotSureYet(_) => pause(tries.min(EARLY_TRIES)),
        _ => pause(tries),
    }
}

/// 0.2, 0.4, 0.8 … 30 seconds, with jitter.
fn pause(tries: u64) -> Duration {
    let doublings = u32::try_from(tries.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(8);
    let full = Duration::from_millis(200 << doublings).min(Duration::from_secs(30));
    full.mul_f64(rand::random_range(0.5..=1.0))
}
