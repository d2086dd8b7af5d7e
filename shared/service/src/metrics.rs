//! The registry behind `/metrics`.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

/// All metrics of one service. Clones share the registry.
///
/// Names get the prefix `bellhop_`; counters get `_total` by themselves. Labels must be bounded: never a host, a user
/// or a reservation.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// The content type of [`Metrics::encode`].
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// An empty registry but for `bellhop_service_info{service,version}`.
    #[must_use]
    pub fn new(service: &str, version: &str) -> Self {
        let mut registry = Registry::with_prefix("bellhop");
        let info = Info::new(vec![
            ("service", service.to_owned()),
            ("version", version.to_owned()),
        ]);
        registry.register("service", "The service and its version", info);
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Adds a metric. Keep a clone of it to change it: `metrics.register("deliveries", "…", counter.clone())`.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .register(name, help, metric);
    }

    /// All metrics as OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing into a String fails only if a metric's own encoder does, and ours are the library's.
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &registry) {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn a_registered_counter_is_shown_with_prefix_and_total() {
        let metrics = Metrics::new("ingress", "1.2.3");
        let counter: Counter = Counter::default();
        metrics.register("deliveries", "Deliveries stored", counter.clone());
        counter.inc();
        let text = metrics.encode();
        assert!(text.contains("bellhop_deliveries_total 1\n"), "{text}");
        assert!(
            text.contains(r#"bellhop_service_info{service="ingress",version="1.2.3"} 1"#),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
