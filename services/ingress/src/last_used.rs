//! When each secret was last used: during a rotation it tells when the old one may go.

use std::sync::atomic::AtomicU64;

use bellhop_reservation_system::{SecretPlace, WebhookSecrets};
use bellhop_service::Metrics;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// The label of default secrets: no webhook id has this character.
const EVERY_OTHER: &str = "*";

/// One gauge for each configured secret, of which there are at most 64.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastUsed(Family<SecretLabels, Gauge<f64, AtomicU64>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SecretLabels {
    webhook: String,
    position: u64,
}

impl LastUsed {
    pub(crate) fn register(&self, metrics: &Metrics) {
        metrics.register(
            "webhook_secret_last_used_timestamp_seconds",
            "When a webhook signed with this secret last came, 0 where none did since the start",
            self.0.clone(),
        );
    }

    /// A webhook came that was signed with this one.
    pub(crate) fn used(&self, place: &SecretPlace, now: Timestamp) {
        let gauge = self.0.get_or_create(&labels(place));
        gauge.set(now.as_duration().as_secs_f64());
    }

    /// Shows the secrets of now. One that was there before takes its time with it to its new place.
    pub(crate) fn renew(&self, before: &WebhookSecrets, now: &WebhookSecrets) {
        let known: Vec<_> = now
            .places()
            .map(|(place, secret)| {
                let mut earlier = before.places();
                let earlier = earlier
                    .find(|(it, known)| it.webhook_id == place.webhook_id && known.is_same(secret));
                let time = earlier.map_or(0.0, |(it, _)| self.0.get_or_create(&labels(&it)).get());
                (labels(&place), time)
            })
            .collect();
        self.0.clear();
        for (labels, time) in known {
            self.0.get_or_create(&labels).set(time);
        }
    }
}

fn labels(place: &SecretPlace) -> SecretLabels {
    let webhook_id = place.webhook_id.as_ref();
    SecretLabels {
        webhook: webhook_id.map_or(EVERY_OTHER, |it| it.as_str()).to_owned(),
        position: place.position as u64,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bellhop_reservation_system::{WebhookId, parse_mapping};

    use super::*;

    fn secrets(mapping: &str) -> WebhookSecrets {
        WebhookSecrets::new(Vec::new(), parse_mapping(mapping).unwrap()).unwrap()
    }

    #[test]
    fn a_secret_that_gets_another_place_takes_its_time_along() {
        let metrics = Metrics::new("test", "1");
        let last_used = LastUsed::default();
        last_used.register(&metrics);
        let line = |webhook: &str, position: u32, time: &str| {
            let line = format!(
                "bellhop_webhook_secret_last_used_timestamp_seconds{{webhook=\"{webhook}\",position=\"{position}\"}} {time}"
            );
            metrics.encode().lines().any(|it| it == line)
        };
        let (old, rotating) = (
            secrets(r#"{"12": "old", "13": "old"}"#),
            secrets(r#"{"12": ["new", "old"]}"#),
        );
        last_used.renew(&WebhookSecrets::default(), &old);
        assert!(line("12", 1, "0.0"), "{}", metrics.encode());
        let place = SecretPlace {
            webhook_id: Some(WebhookId::parse("12").unwrap()),
            position: 1,
        };
        last_used.used(&place, Timestamp::from_second(1_796_284_800).unwrap());
        assert!(line("12", 1, "1796284800.0"), "{}", metrics.encode());

        last_used.renew(&old, &rotating);
        assert!(line("12", 1, "0.0"), "{}", metrics.encode());
        assert!(line("12", 2, "1796284800.0"), "{}", metrics.encode());
        assert!(!metrics.encode().contains("13"), "{}", metrics.encode());
    }
}
