//! Deliveries in: read, understand, decide, acknowledge. In this order: a delivery is acknowledged when its facts are in the
//! ledger, or when it needs none; what can't be handled is a dead letter first.

use std::sync::Arc;
use std::time::Duration;

use bellhop_domain::reservation::Command;
use bellhop_event_store::{
    ConsumerLimits, DeadLetter, DeadLetterClass, Delivery, ErrorClass, EventStore, EventStoreError,
    Handed, StoreError,
};
use bellhop_service::trace_context::{TraceParent, set_parent};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::decisions::{DecisionError, Decisions};
use crate::folded::FoldedLedger;
use crate::metrics::ProvisionerMetrics;
use crate::words::{Meaning, Place, Reading};

/// The durable consumer that all provisioners share.
pub(crate) const CONSUMER: &str = "provisioner";
/// How many deliveries are decided at once.
const AT_ONCE: usize = 32;
/// After this the broker hands a delivery out again. What a killed provisioner had in its hands waits so long, and so does a
/// new one that starts meanwhile; two that decide the same delivery at once do no harm.
const ACK_WAIT: Duration = Duration::from_secs(15);
const BURIAL: Duration = Duration::from_secs(5);

/// Turns deliveries into facts.
pub(crate) struct Deliveries {
    pub(crate) store: EventStore,
    pub(crate) folded: FoldedLedger,
    pub(crate) decisions: Decisions,
    pub(crate) reading: Reading,
    pub(crate) metrics: ProvisionerMetrics,
}

/// A delivery could not be handled.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error(transparent)]
    Decision(#[from] DecisionError),
    #[error(transparent)]
    Unreadable(#[from] bellhop_reservation_system::Unreadable),
    #[error("it is stored in a form that this version does not read")]
    Form(#[source] bellhop_event_store::Unreadable),
}

impl DeliveryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Decision(error) => error.class(),
            Self::Unreadable(_) | Self::Form(_) => ErrorClass::Permanent,
        }
    }
}

impl Deliveries {
    /// Handles deliveries until told to stop; then finishes those in hand.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let limits = ConsumerLimits {
            ack_wait: ACK_WAIT,
            max_in_flight: 256,
            batch: AT_ONCE,
        };
        let mut inbox = self.store.deliveries(CONSUMER, limits);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let tasks = TaskTracker::new();
        loop {
            let place = places
                .clone()
                .acquire_owned()
                .await
                .expect("this semaphore is never closed");
            let handed = tokio::select! {
                () = stop.cancelled() => break,
                handed = inbox.next() => handed,
            };
            let deliveries = self.clone();
            tasks.spawn(async move {
                deliveries.handle(handed).await;
                drop(place);
            });
        }
        tasks.close();
        tasks.wait().await;
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
                Ok(delivery) => self.decide(delivery).await,
                Err(error) => Err(DeliveryError::Form(error.clone())),
            };
            self.settle(&handed, result).await;
        }
        .instrument(span)
        .await;
    }

    async fn decide(&self, delivery: &Delivery) -> Result<&'static str, DeliveryError> {
        let span = tracing::Span::current();
        span.record("delivery", tracing::field::display(&delivery.id));
        let (word, place) = match self.reading.of(delivery)? {
            Meaning::Word(word, place) => (word, place),
            Meaning::Nothing(reason) => {
                tracing::debug!(reason, "nothing to do");
                return Ok("nothing_to_do");
            }
        };
        let resource = match (self.folded.place_of(&word.reservation), place) {
            (Some(stands), _) => stands,
            (None, Place::Named(named)) => named,
            (None, Place::NotOurs(reason)) => {
                tracing::debug!(reason, "nothing to do");
                return Ok("nothing_to_do");
            }
        };
        span.record("reservation", tracing::field::display(&word.reservation));
        span.record("resource", tracing::field::display(&resource));
        let cause = delivery.id.to_string();
        self.decisions
            .decide(&resource, &Command::Said(word), &cause)
            .await?;
        Ok("decided")
    }

    async fn settle(&self, handed: &Handed<Delivery>, result: Result<&'static str, DeliveryError>) {
        let outcome = match result {
            Ok(outcome) => {
                acked(handed.ack().await);
                outcome
            }
            Err(error) if error.class() == ErrorClass::Permanent => {
                match self.bury(handed, &error).await {
                    Ok(()) => {
                        acked(handed.terminate().await);
                        "dead_letter"
                    }
                    Err(store) => self.later(handed, &store).await,
                }
            }
            Err(error) => self.later(handed, &error).await,
        };
        self.metrics.delivery(outcome);
    }

    async fn later(
        &self,
        handed: &Handed<Delivery>,
        error: &(dyn std::error::Error + Send + Sync + 'static),
    ) -> &'static str {
        let pause = pause(handed.tries);
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
            service: "provisioner",
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
            headers: handed.headers(),
            body: handed.body(),
        };
        self.store.bury(&letter, BURIAL).await?;
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

/// 0.2, 0.4, 0.8 … 30 seconds, with jitter.
fn pause(tries: u64) -> Duration {
    let doublings = u32::try_from(tries.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(8);
    let full = Duration::from_millis(200 << doublings).min(Duration::from_secs(30));
    full.mul_f64(rand::random_range(0.5..=1.0))
}
