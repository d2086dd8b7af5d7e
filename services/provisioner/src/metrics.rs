//! The provisioner's metrics.

use bellhop_service::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// Counts and gauges. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ProvisionerMetrics {
    deliveries: Family<Outcome, Counter>,
    reconciliations: Family<Outcome, Counter>,
    host_writes: Family<Outcome, Counter>,
    ledger_version: Gauge,
    places_taken: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl ProvisionerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let new = Self {
            deliveries: Family::default(),
            reconciliations: Family::default(),
            host_writes: Family::default(),
            ledger_version: Gauge::default(),
            places_taken: Gauge::default(),
        };
        metrics.register(
            "deliveries",
            "Deliveries handled, by outcome",
            new.deliveries.clone(),
        );
        metrics.register(
            "reconciliations",
            "Looks at a resource's host, by outcome",
            new.reconciliations.clone(),
        );
        metrics.register(
            "host_writes",
            "Writes to hosts and their secrets, by outcome",
            new.host_writes.clone(),
        );
        metrics.register(
            "ledger_version",
            "The ledger's newest entry that is folded",
            new.ledger_version.clone(),
        );
        metrics.register(
            "places_taken",
            "Servers that are being prepared, where their number is limited",
            new.places_taken.clone(),
        );
        new
    }

    pub(crate) fn delivery(&self, outcome: &'static str) {
        self.deliveries.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn reconciliation(&self, outcome: &'static str) {
        self.reconciliations
            .get_or_create(&Outcome { outcome })
            .inc();
    }

    pub(crate) fn host_write(&self, outcome: &'static str) {
        self.host_writes.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn ledger_version(&self, version: bellhop_domain::id::Version) {
        self.ledger_version
            .set(i64::try_from(version.0).unwrap_or(i64::MAX));
    }

    pub(crate) fn places_taken(&self, places: usize) {
        self.places_taken
            .set(i64::try_from(places).unwrap_or(i64::MAX));
    }
}
