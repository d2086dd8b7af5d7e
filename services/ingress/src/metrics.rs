//! What is counted. Labels are words of the code, never something from a request.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bellhop_service::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::answer::Answer;

/// From a broker beside us to the default `STORE_TIMEOUT`, in seconds.
const STORE_SECONDS: [f64; 11] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// The metrics of the ingress.
#[derive(Debug, Clone)]
pub(crate) struct IngressMetrics {
    webhooks: Family<OutcomeLabel, Counter>,
    bodies_refused: Family<ReasonLabel, Counter>,
    unreadable: Family<ReasonLabel, Counter>,
    far_timestamps: Counter,
    store_seconds: Histogram,
    dead_letters: Gauge,
    under_way: Gauge,
    spool: SpoolMetrics,
}

/// The metrics of the spool.
#[derive(Debug, Clone)]
struct SpoolMetrics {
    deliveries: Gauge,
    bytes: Gauge,
    max_bytes: Gauge,
    oldest_seconds: Gauge<f64, AtomicU64>,
    spooled: Counter,
    drained: Counter,
    not_spooled: Family<ReasonLabel, Counter>,
    sync_seconds: Histogram,
}

/// One verified webhook on its way to the broker; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl IngressMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let own = Self {
            webhooks: Family::default(),
            bodies_refused: Family::default(),
            unreadable: Family::default(),
            far_timestamps: Counter::default(),
            store_seconds: Histogram::new(STORE_SECONDS),
            dead_letters: Gauge::default(),
            under_way: Gauge::default(),
            spool: SpoolMetrics::new(metrics),
        };
        metrics.register(
            "webhooks",
            "Requests to /webhook, by what became of them",
            own.webhooks.clone(),
        );
        metrics.register(
            "webhook_bodies_refused",
            "Bodies that were not taken: too large, too slow, cut off",
            own.bodies_refused.clone(),
        );
        metrics.register(
            "webhooks_unreadable",
            "Verified bodies that can't be read and became dead letters, by reason",
            own.unreadable.clone(),
        );
        metrics.register(
            "webhooks_far_timestamp",
            "Webhooks whose timestamp is more than 10 minutes from our clock",
            own.far_timestamps.clone(),
        );
        metrics.register(
            "webhook_store_seconds",
            "Time until the broker acknowledged a delivery or dead letter",
            own.store_seconds.clone(),
        );
        metrics.register(
            "ingress_dead_letters",
            "Unreadable webhooks that wait for an operator, as counted in the broker",
            own.dead_letters.clone(),
        );
        metrics.register(
            "webhooks_under_way",
            "Verified webhooks that are being stored now",
            own.under_way.clone(),
        );
        own
    }

    /// Counts one request.
    pub(crate) fn answered(&self, answer: &Answer) {
        let outcome = answer.outcome();
        self.webhooks.get_or_create(&OutcomeLabel { outcome }).inc();
        match answer {
            Answer::BodyRefused(_) | Answer::TooLargeForBroker => {
                self.bodies_refused
                    .get_or_create(&ReasonLabel { reason: outcome })
                    .inc();
            }
            Answer::DeadLetter { unreadable, .. } => {
                let reason = unreadable.label();
                self.unreadable.get_or_create(&ReasonLabel { reason }).inc();
            }
            _ => {}
        }
    }

    /// Counts a webhook whose timestamp is far from our clock.
    pub(crate) fn far_timestamp(&self) {
        self.far_timestamps.inc();
    }

    /// The broker acknowledged after this long.
    pub(crate) fn stored_within(&self, time: Duration) {
        self.store_seconds.observe(time.as_secs_f64());
    }

    /// A verified webhook is being stored until the returned mark is dropped.
    pub(crate) fn under_way(&self) -> UnderWay {
        self.under_way.inc();
        UnderWay(self.under_way.clone())
    }

    /// So many webhooks were spooled with one sync, which took this long.
    pub(crate) fn spooled(&self, count: usize, time: Duration) {
        self.spool.spooled.inc_by(count as u64);
        self.spool.sync_seconds.observe(time.as_secs_f64());
    }

    /// The spool did not take a webhook.
    pub(crate) fn not_spooled(&self, reason: &'static str) {
        let label = ReasonLabel { reason };
        self.spool.not_spooled.get_or_create(&label).inc();
    }

    /// So many webhooks of the spool are stored in the broker.
    pub(crate) fn drained(&self, count: usize) {
        self.spool.drained.inc_by(count as u64);
    }

    /// So much waits in the spool, for so long.
    pub(crate) fn spool(&self, deliveries: u64, bytes: u64, max_bytes: u64, age: Duration) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.spool.deliveries.set(gauge(deliveries));
        self.spool.bytes.set(gauge(bytes));
        self.spool.max_bytes.set(gauge(max_bytes));
        self.spool.oldest_seconds.set(age.as_secs_f64());
    }

    /// So many dead letters wait.
    pub(crate) fn dead_letters(&self, count: u64) {
        self.dead_letters
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

impl SpoolMetrics {
    fn new(metrics: &Metrics) -> Self {
        let own = Self {
            deliveries: Gauge::default(),
            bytes: Gauge::default(),
            max_bytes: Gauge::default(),
            oldest_seconds: Gauge::default(),
            spooled: Counter::default(),
            drained: Counter::default(),
            not_spooled: Family::default(),
            sync_seconds: Histogram::new(STORE_SECONDS),
        };
        metrics.register(
            "spool_deliveries",
            "Webhooks that wait in the spool for the broker",
            own.deliveries.clone(),
        );
        metrics.register(
            "spool_bytes",
            "Room that the spool takes on the disk",
            own.bytes.clone(),
        );
        metrics.register(
            "spool_max_bytes",
            "Room that the spool may take, SPOOL_MAX_BYTES; 0 where there is none",
            own.max_bytes.clone(),
        );
        metrics.register(
            "spool_oldest_seconds",
            "How long the oldest webhook has been waiting in the spool",
            own.oldest_seconds.clone(),
        );
        metrics.register(
            "spooled",
            "Webhooks that went to the spool",
            own.spooled.clone(),
        );
        metrics.register(
            "spool_drained",
            "Webhooks of the spool that are stored in the broker",
            own.drained.clone(),
        );
        metrics.register(
            "not_spooled",
            "Webhooks that the spool did not take, by reason",
            own.not_spooled.clone(),
        );
        metrics.register(
            "spool_sync_seconds",
            "Time until a batch of webhooks was on the disk",
            own.sync_seconds.clone(),
        );
        own
    }
}
