//! What the notifier counts.

use bellhop_service::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use crate::destination::Destination;

/// From a fact to its report's delivery: a second when all is well, days after an outage.
const DELAY_BUCKETS: [f64; 12] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0,
];

/// The notifier's metrics. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct ReportMetrics {
    settled: Family<SettledLabels, Counter>,
    tries: Family<TryLabels, Counter>,
    delay: Family<DestinationLabel, Histogram>,
    circuit_open: Family<DestinationLabel, Gauge>,
    owed: Family<DestinationLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DestinationLabel {
    destination: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SettledLabels {
    destination: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TryLabels {
    destination: &'static str,
    answer: &'static str,
}

impl ReportMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let this = Self {
            settled: Family::default(),
            tries: Family::default(),
            delay: Family::new_with_constructor(|| Histogram::new(DELAY_BUCKETS)),
            circuit_open: Family::default(),
            owed: Family::default(),
        };
        metrics.register(
            "reports",
            "Reports that are settled, by destination and outcome (delivered, dead_letter, dropped)",
            this.settled.clone(),
        );
        metrics.register(
            "report_tries",
            "Requests to destinations, by answer (delivered, refused, failed, unavailable, unanswered)",
            this.tries.clone(),
        );
        metrics.register(
            "report_delay_seconds",
            "From the fact to the delivery of its report",
            this.delay.clone(),
        );
        metrics.register(
            "report_circuit_open",
            "1 while the destination does not answer and its reports wait",
            this.circuit_open.clone(),
        );
        metrics.register(
            "reports_owed",
            "Reports in this notifier's hands that are not settled yet",
            this.owed.clone(),
        );
        for destination in Destination::ALL {
            this.circuit_open(destination).set(0);
            this.owed(destination).set(0);
        }
        this
    }

    /// Counts a settled report; `outcome` is a fixed word.
    pub(crate) fn settled(&self, destination: Destination, outcome: &'static str) {
        let labels = SettledLabels {
            destination: destination.name(),
            outcome,
        };
        self.settled.get_or_create(&labels).inc();
    }

    /// Counts a request; `answer` is a fixed word.
    pub(crate) fn tried(&self, destination: Destination, answer: &'static str) {
        let labels = TryLabels {
            destination: destination.name(),
            answer,
        };
        self.tries.get_or_create(&labels).inc();
    }

    pub(crate) fn delivered_after(&self, destination: Destination, seconds: f64) {
        self.delay
            .get_or_create(&label(destination))
            .observe(seconds);
    }

    pub(crate) fn circuit_open(&self, destination: Destination) -> Gauge {
        self.circuit_open.get_or_create_owned(&label(destination))
    }

    pub(crate) fn owed(&self, destination: Destination) -> Gauge {
        self.owed.get_or_create_owned(&label(destination))
    }
}

fn label(destination: Destination) -> DestinationLabel {
    DestinationLabel {
        destination: destination.name(),
    }
}
