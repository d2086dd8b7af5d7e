//! What is on until it is over: [`Alarms`], which an operator must look at, and [`Shown`], which is good to know.
//!
//! Both log when something begins, changes and is over, and never in between, count in `/metrics` by kind, and are listed by name in
//! `/readyz?verbose`. A kind is a fixed word of the code (it becomes a label); a key says which one of its kind (a
//! host, a delivery), and never becomes a label.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Metrics;

/// One alarm or shown thing that is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What kind of thing, a fixed word.
    pub kind: &'static str,
    /// Which one of its kind.
    pub key: String,
    /// What there is to know, for an operator.
    pub text: String,
}

/// What an operator must look at: one error line when it begins, `bellhop_alarms{kind}` until it is over. What changes in its
/// text meanwhile (a count, a reason) is a line, not a new alarm.
#[derive(Debug, Clone)]
pub struct Alarms(Arc<Board>);

/// What is good to know: one line at each change, `bellhop_shown{kind}` until it is over.
#[derive(Debug, Clone)]
pub struct Shown(Arc<Board>);

impl Alarms {
    /// No alarms yet; registers the gauge.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self(Board::new(metrics, "alarms", "Alarms that are on, by kind"))
    }

    /// Raises an alarm, or changes its text; nothing happens if it is on with this text.
    pub fn raise(&self, kind: &'static str, key: &str, text: &str) {
        match self.0.put(kind, key, text) {
            Some(Change::Begun) => tracing::error!(alarm = kind, about = key, "alarm: {text}"),
            Some(Change::Text) => {
                tracing::info!(alarm = kind, about = key, "alarm still on: {text}");
            }
            None => {}
        }
    }

    /// Ends an alarm; nothing happens if it is not on.
    pub fn clear(&self, kind: &'static str, key: &str) {
        if let Some(text) = self.0.remove(kind, key) {
            tracing::info!(alarm = kind, about = key, "alarm over: {text}");
        }
    }

    /// The alarms that are on, in order.
    #[must_use]
    pub fn list(&self) -> Vec<Notice> {
        self.0.list()
    }
}

impl Shown {
    /// Nothing shown yet; registers the gauge.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self(Board::new(
            metrics,
            "shown",
            "Things shown in /readyz?verbose, by kind",
        ))
    }

    /// Shows something, or changes its text; nothing happens if it is on with this text.
    pub fn show(&self, kind: &'static str, key: &str, text: &str) {
        if self.0.put(kind, key, text).is_some() {
            tracing::info!(shown = kind, about = key, "{text}");
        }
    }

    /// As [`Self::show`], with a warning: what should be otherwise, and needs nobody at once.
    pub fn warn(&self, kind: &'static str, key: &str, text: &str) {
        if self.0.put(kind, key, text).is_some() {
            tracing::warn!(shown = kind, about = key, "{text}");
        }
    }

    /// Warns of exactly these of a kind, by key: what else of it was shown is over.
    pub fn warn_of_exactly(&self, kind: &'static str, texts: &BTreeMap<String, String>) {
        for (key, text) in texts {
            self.warn(kind, key, text);
        }
        let of_kind = self.list().into_iter().filter(|it| it.kind == kind);
        for notice in of_kind.filter(|it| !texts.contains_key(&it.key)) {
            self.clear(kind, &notice.key);
        }
    }

    /// Shows it no longer; nothing happens if it is not on.
    pub fn clear(&self, kind: &'static str, key: &str) {
        if let Some(text) = self.0.remove(kind, key) {
            tracing::info!(shown = kind, about = key, "over: {text}");
        }
    }

    /// What is shown, in order.
    #[must_use]
    pub fn list(&self) -> Vec<Notice> {
        self.0.list()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// What became of a notice.
enum Change {
    /// It was not on before.
    Begun,
    /// It was on, with another text.
    Text,
}

#[derive(Debug)]
struct Board {
    entries: Mutex<BTreeMap<(&'static str, String), String>>,
    gauge: Family<KindLabel, Gauge>,
}

impl Board {
    fn new(metrics: &Metrics, name: &str, help: &str) -> Arc<Self> {
        let gauge = Family::<KindLabel, Gauge>::default();
        metrics.register(name, help, gauge.clone());
        Arc::new(Self {
            entries: Mutex::default(),
            gauge,
        })
    }

    /// What this changed.
    fn put(&self, kind: &'static str, key: &str, text: &str) -> Option<Change> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.insert((kind, key.to_owned()), text.to_owned()) {
            None => {
                self.gauge.get_or_create(&KindLabel { kind }).inc();
                Some(Change::Begun)
            }
            Some(previous) => (previous != text).then_some(Change::Text),
        }
    }

    fn remove(&self, kind: &'static str, key: &str) -> Option<String> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let text = entries.remove(&(kind, key.to_owned()))?;
        self.gauge.get_or_create(&KindLabel { kind }).dec();
        Some(text)
    }

    fn list(&self) -> Vec<Notice> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let notice = |((kind, key), text): (&(&'static str, String), &String)| Notice {
            kind,
            key: key.clone(),
            text: text.clone(),
        };
        entries.iter().map(notice).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captured_log::captured_log;

    fn gauge(metrics: &Metrics, sample: &str) -> bool {
        metrics.encode().lines().any(|line| line == sample)
    }

    #[test]
    fn an_alarm_counts_once_until_it_is_cleared() {
        let metrics = Metrics::new("test", "0");
        let alarms = Alarms::new(&metrics);
        alarms.raise("unknown_holder", "metal3/node01", "held by nobody we know");
        alarms.raise("unknown_holder", "metal3/node01", "still");
        alarms.raise("unknown_holder", "metal3/node02", "held by nobody we know");
        assert!(gauge(
            &metrics,
            r#"bellhop_alarms{kind="unknown_holder"} 2"#
        ));
        assert_eq!(alarms.list()[0].text, "still");

        alarms.clear("unknown_holder", "metal3/node01");
        alarms.clear("unknown_holder", "metal3/node01");
        alarms.clear("unknown_holder", "metal3/node09");
        assert!(gauge(
            &metrics,
            r#"bellhop_alarms{kind="unknown_holder"} 1"#
        ));
        assert_eq!(alarms.list().len(), 1);
    }

    #[test]
    fn an_alarm_is_one_error_line_whatever_its_text_becomes_and_one_line_at_each_change() {
        let metrics = Metrics::new("test", "0");
        let alarms = Alarms::new(&metrics);
        let lines = captured_log(|| {
            for _ in 0..3 {
                alarms.raise("unknown_holder", "metal3/node01", "look at it");
            }
            alarms.raise("unknown_holder", "metal3/node01", "look again");
            for _ in 0..3 {
                alarms.clear("unknown_holder", "metal3/node01");
            }
        });
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(lines[0].starts_with("ERROR") && lines[0].contains("alarm: look at it"));
        assert!(lines[1].starts_with("INFO") && lines[1].contains("alarm still on: look again"));
        assert!(lines[2].starts_with("INFO") && lines[2].contains("alarm over: look again"));
    }

    #[test]
    fn shown_things_have_a_gauge_of_their_own() {
        let metrics = Metrics::new("test", "0");
        let shown = Shown::new(&metrics);
        shown.show("paused", "metal3/node01", "paused by its owner");
        assert!(gauge(&metrics, r#"bellhop_shown{kind="paused"} 1"#));
        shown.clear("paused", "metal3/node01");
        assert!(gauge(&metrics, r#"bellhop_shown{kind="paused"} 0"#));
        assert_eq!(shown.list(), []);
    }
}
