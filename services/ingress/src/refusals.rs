//! Requests that are turned away before anybody is known. A stranger must not be able to fill the log with them; but
//! several good-looking signatures that fail are the sign of a wrong or rotated secret, and every one a lost webhook.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellhop_domain::time::elapsed;
use bellhop_service::Alarms;
use jiff::Timestamp;

use crate::body::BodyRefused;
use crate::sender::Unauthorized;

/// How often the log has a line for each reason.
const LINE_EVERY: Duration = Duration::from_secs(60);
/// So many signatures that fail are no accident.
const MANY: usize = 3;
/// The time in which they come. A sender of bookings is quiet: with a wrong secret it may fail a few times an hour.
const WITHIN: Duration = Duration::from_hours(1);
/// The kind of the alarm.
const ALARM: &str = "webhooks_unauthorized";
/// What the alarm is about.
const KEY: &str = "signature";

/// The requests that were turned away lately.
#[derive(Debug)]
pub(crate) struct Refusals {
    alarms: Alarms,
    lately: Mutex<Lately>,
}

#[derive(Debug, Default)]
struct Lately {
    /// By reason, of which there are few.
    lines: BTreeMap<String, Line>,
    /// The newest signatures that failed, at most [`MANY`].
    failed: VecDeque<Timestamp>,
}

/// When a line was last written, and what came since.
#[derive(Debug)]
struct Line {
    written: Timestamp,
    unwritten: u64,
}

impl Refusals {
    pub(crate) fn new(alarms: Alarms) -> Self {
        Self {
            alarms,
            lately: Mutex::default(),
        }
    }

    /// A body was not taken.
    pub(crate) fn not_taken(&self, why: &BodyRefused, now: Timestamp) {
        self.lock()
            .line(format!("a webhook is not taken: {why}"), now);
    }

    /// Nobody whom we know has sent it.
    pub(crate) fn unauthorized(&self, why: Unauthorized, now: Timestamp) {
        let mut lately = self.lock();
        lately.line(format!("a webhook is refused: {why}"), now);
        if !why.is_well_formed() {
            return;
        }
        lately.failed.push_back(now);
        if lately.failed.len() > MANY {
            lately.failed.pop_front();
        }
        let are_many = lately.failed.len() == MANY;
        if are_many && elapsed(lately.failed[0], now) <= WITHIN {
            self.alarms.raise(
                ALARM,
                KEY,
                "webhooks with a well-formed signature are answered 401, and the reservation system does not send them again: \
                 is the secret here the webhook's `clientSecret`, was the webhook made anew, is its id in the mapping? Or a \
                 stranger tries to get in",
            );
        }
    }

    /// A signature was right. Where there is one secret's owner only, the trouble is over.
    pub(crate) fn authorized(&self, is_only_owner: bool) {
        let mut lately = self.lock();
        if is_only_owner && !lately.failed.is_empty() {
            lately.failed.clear();
            self.alarms.clear(ALARM, KEY);
        }
    }

    /// Writes what was counted but not written, and ends an alarm that is over.
    pub(crate) fn sweep(&self, now: Timestamp) {
        let mut lately = self.lock();
        lately.lines.retain(|text, line| {
            let is_due = elapsed(line.written, now) >= LINE_EVERY;
            let stays = !is_due || line.unwritten > 0;
            if is_due && line.unwritten > 0 {
                line.write(text, now);
            }
            stays
        });
        let newest = lately.failed.back();
        if newest.is_some_and(|newest| elapsed(*newest, now) >= WITHIN) {
            lately.failed.clear();
            self.alarms.clear(ALARM, KEY);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lately> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lately {
    fn line(&mut self, text: String, now: Timestamp) {
        match self.lines.get_mut(&text) {
            None => {
                tracing::warn!("{text}");
                let line = Line {
                    written: now,
                    unwritten: 0,
                };
                self.lines.insert(text, line);
            }
            Some(line) => {
                line.unwritten += 1;
                if elapsed(line.written, now) >= LINE_EVERY {
                    line.write(&text, now);
                }
            }
        }
    }
}

impl Line {
    fn write(&mut self, text: &str, now: Timestamp) {
        let count = self.unwritten;
        tracing::warn!(count, "{text}; {count} since the last such line");
        self.written = now;
        self.unwritten = 0;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bellhop_service::Metrics;
    use jiff::SignedDuration;

    use super::*;

    fn refusals() -> (Refusals, Alarms) {
        let alarms = Alarms::new(&Metrics::new("test", "0"));
        (Refusals::new(alarms.clone()), alarms)
    }

    fn at(minutes: i64) -> Timestamp {
        let begin: Timestamp = "2026-12-03T08:00:00Z".parse().unwrap();
        begin + SignedDuration::from_mins(minutes)
    }

    fn fail(refusals: &Refusals, minutes: &[i64]) {
        for minute in minutes {
            refusals.unauthorized(Unauthorized::WrongSignature, at(*minute));
        }
    }

    #[test]
    fn several_good_looking_signatures_that_fail_are_alarmed_and_other_refusals_are_not() {
        let (refusals, alarms) = refusals();
        for _ in 0..10 {
            refusals.unauthorized(Unauthorized::NotSigned, at(0));
            refusals.unauthorized(Unauthorized::Undecodable, at(0));
            refusals.not_taken(&BodyRefused::CutOff, at(0));
        }
        fail(&refusals, &[0, 20]);
        assert!(alarms.list().is_empty());
        refusals.unauthorized(Unauthorized::NotItsWebhook, at(40));
        assert_eq!(alarms.list()[0].kind, "webhooks_unauthorized");
    }

    #[test]
    fn signatures_that_fail_now_and_then_are_not_alarmed() {
        let (refusals, alarms) = refusals();
        fail(&refusals, &[0, 31, 62, 93]);
        assert!(alarms.list().is_empty());
    }

    #[test]
    fn the_alarm_ends_an_hour_after_the_last_one() {
        let (refusals, alarms) = refusals();
        fail(&refusals, &[0, 1, 2, 3]);
        refusals.sweep(at(62));
        assert_eq!(alarms.list().len(), 1);
        refusals.sweep(at(63));
        assert!(alarms.list().is_empty());
        fail(&refusals, &[64, 65]);
        assert!(alarms.list().is_empty());
    }

    #[test]
    fn a_good_one_ends_the_alarm_unless_it_may_be_of_another_webhook() {
        let (refusals, alarms) = refusals();
        fail(&refusals, &[0, 1, 2]);
        refusals.authorized(false);
        assert_eq!(alarms.list().len(), 1);
        refusals.authorized(true);
        assert!(alarms.list().is_empty());
    }

    #[test]
    fn each_reason_is_written_once_a_minute_and_counted_between() {
        let mut lately = Lately::default();
        let unwritten = |lately: &Lately| lately.lines["why"].unwritten;
        for _ in 0..3 {
            lately.line("why".to_owned(), at(0));
        }
        assert_eq!(unwritten(&lately), 2);
        lately.line("why".to_owned(), at(1));
        assert_eq!(
            (unwritten(&lately), lately.lines["why"].written),
            (0, at(1))
        );

        let (refusals, _) = refusals();
        *refusals.lock() = lately;
        refusals.sweep(at(2));
        assert!(refusals.lock().lines.is_empty());
    }
}
