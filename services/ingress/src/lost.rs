//! Verified webhooks that could not be stored: the reservation system does not send them again, so an operator must hear
//! of each.
//!
//! One webhook may be lost while the next one is stored a millisecond later. So the alarm stays for some minutes after
//! the last loss, long enough for every collector to see it, and says how many there were and when.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellhop_domain::time::elapsed;
use bellhop_service::Alarms;
use jiff::{Timestamp, Unit};

/// How long after the last loss an alarm stays.
const KEPT: Duration = Duration::from_mins(5);
/// What the alarms are about.
const KEY: &str = "nats";

/// Why a webhook is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Neither the broker nor the spool confirmed that it is stored.
    NotStored,
    /// It is larger than the broker takes.
    TooLarge,
}

/// The webhooks that were lost lately.
#[derive(Debug)]
pub(crate) struct LostWebhooks {
    alarms: Alarms,
    series: Mutex<Vec<Series>>,
}

/// Losses of one kind without a long pause between them.
#[derive(Debug)]
struct Series {
    loss: Loss,
    count: u64,
    first: Timestamp,
    last: Timestamp,
    stored_since: bool,
}

impl Loss {
    fn alarm(self) -> &'static str {
        match self {
            Self::NotStored => "webhook_not_stored",
            Self::TooLarge => "webhook_too_large",
        }
    }
}

impl LostWebhooks {
    pub(crate) fn new(alarms: Alarms) -> Self {
        Self {
            alarms,
            series: Mutex::default(),
        }
    }

    /// A webhook is lost.
    pub(crate) fn lost(&self, loss: Loss, now: Timestamp) {
        let mut all = self.lock();
        if let Some(series) = all.iter_mut().find(|series| series.loss == loss) {
            // The log has a line for each webhook already; the alarm's text follows with the next sweep.
            series.count += 1;
            series.last = now;
            series.stored_since = false;
            return;
        }
        let series = Series {
            loss,
            count: 1,
            first: now,
            last: now,
            stored_since: false,
        };
        self.alarms.raise(loss.alarm(), KEY, &series.text());
        all.push(series);
    }

    /// A webhook was stored, in the broker or in the spool.
    pub(crate) fn stored(&self) {
        for series in self.lock().iter_mut() {
            series.stored_since = true;
        }
    }

    /// Brings the texts of the alarms up to date, and ends those that are over.
    pub(crate) fn sweep(&self, now: Timestamp) {
        self.lock().retain(|series| {
            self.alarms.raise(series.loss.alarm(), KEY, &series.text());
            let is_over = series.is_over(now);
            if is_over {
                self.alarms.clear(series.loss.alarm(), KEY);
            }
            !is_over
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Series>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Series {
    fn is_over(&self, now: Timestamp) -> bool {
        // That others can be stored says nothing about one that is too large.
        let is_mended = self.stored_since || self.loss == Loss::TooLarge;
        is_mended && elapsed(self.last, now) >= KEPT
    }

    fn text(&self) -> String {
        let Self {
            loss, count, first, ..
        } = self;
        let to_the_second = |time: Timestamp| time.round(Unit::Second).unwrap_or(time);
        let (first, last) = (to_the_second(*first), to_the_second(self.last));
        let (what, remedy) = match loss {
            Loss::NotStored => (
                "are not known to be stored",
                "mend NATS, and give the ingress a spool with room (SPOOL_DIR, SPOOL_MAX_BYTES)",
            ),
            Loss::TooLarge => (
                "were larger than NATS takes",
                "set `max_payload` of NATS some 32 KiB above MAX_BODY_BYTES",
            ),
        };
        format!(
            "{count} verified webhook(s) {what}, the first at {first}, the last at {last}, and the reservation system does \
             not send them again: {remedy}, then compare the reservations of that time"
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bellhop_service::Metrics;
    use jiff::SignedDuration;

    use super::*;

    fn watch() -> (LostWebhooks, Alarms, impl Fn(i64) -> Timestamp) {
        let alarms = Alarms::new(&Metrics::new("test", "0"));
        let begin: Timestamp = "2026-12-03T08:00:00Z".parse().unwrap();
        let at = move |seconds| begin + SignedDuration::from_secs(seconds);
        (LostWebhooks::new(alarms.clone()), alarms, at)
    }

    fn kinds(alarms: &Alarms) -> Vec<&'static str> {
        alarms.list().iter().map(|notice| notice.kind).collect()
    }

    #[test]
    fn the_alarm_stays_for_minutes_after_the_broker_works_again() {
        let (watch, alarms, at) = watch();
        watch.lost(Loss::NotStored, at(0));
        watch.stored();
        watch.sweep(at(60));
        assert_eq!(kinds(&alarms), ["webhook_not_stored"]);
        watch.lost(Loss::NotStored, at(100));
        watch.stored();
        watch.sweep(at(399));
        assert_eq!(kinds(&alarms), ["webhook_not_stored"]);
        watch.sweep(at(400));
        assert!(alarms.list().is_empty());
    }

    #[test]
    fn the_alarm_does_not_end_before_something_is_stored() {
        let (watch, alarms, at) = watch();
        watch.stored();
        watch.lost(Loss::NotStored, at(0));
        watch.sweep(at(100_000));
        assert_eq!(kinds(&alarms), ["webhook_not_stored"]);
        watch.stored();
        watch.sweep(at(100_001));
        assert!(alarms.list().is_empty());
    }

    #[test]
    fn the_alarm_says_how_many_are_lost_and_when() {
        let (watch, alarms, at) = watch();
        for seconds in [0, 1, 2] {
            watch.lost(Loss::NotStored, at(seconds));
        }
        watch.sweep(at(60));
        let text = &alarms.list()[0].text;
        assert!(
            text.starts_with(
                "3 verified webhook(s) are not known to be stored, the first at 2026-12-03T08:00:00Z, the last at \
                 2026-12-03T08:00:02Z"
            ),
            "{text}"
        );
    }

    #[test]
    fn one_that_is_too_large_is_an_alarm_of_its_own() {
        let (watch, alarms, at) = watch();
        watch.lost(Loss::TooLarge, at(0));
        assert_eq!(kinds(&alarms), ["webhook_too_large"]);
        assert!(alarms.list()[0].text.contains("max_payload"));
        watch.sweep(at(299));
        assert_eq!(kinds(&alarms), ["webhook_too_large"]);
        watch.sweep(at(300));
        assert!(alarms.list().is_empty());
    }
}
