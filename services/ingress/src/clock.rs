//! Senders whose clock is far from ours, or who repeat what is old. Counted and alarmed, never refused: nobody re-sends.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bellhop_domain::time::elapsed;
use bellhop_service::Alarms;
use jiff::Timestamp;

/// How far a `timestamp` may be from our clock. A start is sent within seconds.
const TOLERANCE: Duration = Duration::from_mins(10);
/// How long after the last such webhook the alarm is over. Two senders share a webhook id; one of them may be right.
const REMEMBERED: Duration = Duration::from_hours(1);
/// The kind of the alarm.
const ALARM: &str = "sender_clock";
/// The key of all webhooks that have no secret of their own: their ids are the sender's word, and may be endless.
const OTHERS: &str = "webhooks without a secret of their own";

/// The webhooks that lately came with a `timestamp` far from our clock.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    alarms: Alarms,
    last_seen: Mutex<BTreeMap<String, Timestamp>>,
}

impl ClockWatch {
    pub(crate) fn new(alarms: Alarms) -> Self {
        Self {
            alarms,
            last_seen: Mutex::default(),
        }
    }

    /// Takes note of a webhook; says whether its `timestamp` is too far away. Only a configured id tells one webhook from
    /// the others.
    pub(crate) fn saw(
        &self,
        configured_id: Option<&str>,
        distance: Duration,
        now: Timestamp,
    ) -> bool {
        let webhook_id = configured_id.unwrap_or(OTHERS);
        let is_far = distance > TOLERANCE;
        if is_far {
            let mut last_seen = self
                .last_seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            last_seen.insert(webhook_id.to_owned(), now);
            self.alarms.raise(
                ALARM,
                webhook_id,
                "webhooks came with a `timestamp` more than 10 minutes from our clock: compare the clocks, or see whether \
                 someone sends old webhooks again",
            );
        }
        is_far
    }

    /// Ends the alarms of webhooks that have been right for an hour.
    pub(crate) fn sweep(&self, now: Timestamp) {
        let mut last_seen = self
            .last_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last_seen.retain(|webhook_id, last| {
            let stays = elapsed(*last, now) < REMEMBERED;
            if !stays {
                self.alarms.clear(ALARM, webhook_id);
            }
            stays
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bellhop_service::Metrics;

    use super::*;

    #[test]
    fn a_far_timestamp_raises_an_alarm_that_ends_an_hour_after_the_last_one() {
        let alarms = Alarms::new(&Metrics::new("test", "0"));
        let watch = ClockWatch::new(alarms.clone());
        let now: Timestamp = "2026-12-03T08:00:00Z".parse().unwrap();
        let later = |minutes: i64| now + jiff::SignedDuration::from_mins(minutes);

        assert!(!watch.saw(Some("12"), TOLERANCE, now));
        assert!(alarms.list().is_empty());
        assert!(watch.saw(Some("12"), TOLERANCE + Duration::from_secs(1), now));
        assert!(watch.saw(Some("12"), Duration::from_hours(24), later(30)));
        watch.sweep(later(89));
        assert_eq!(alarms.list().len(), 1);
        watch.sweep(later(90));
        assert!(alarms.list().is_empty());
    }
}
