//! Our clock beside the broker's. What is over by a clock that is wrong is not over: while ours is far from the broker's, or is not
//! known to be near it, no host is released because an end did not come, nothing is ended because its time passed, and no start is
//! refused that is too late by one of the two clocks alone. There is one alarm for all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bellhop_event_store::{BrokerClock, EventStore};
use bellhop_service::notices::Alarms;
use jiff::Timestamp;

use crate::timers::RELEASES_STOPPED;

/// How far our clock may be from the broker's.
const TOLERANCE: Duration = Duration::from_secs(30);
/// What the alarm is about.
const CLOCK: &str = "clock";
const WITHHELD: &str = "no host is released because its end did not come, and nothing is ended or refused because its time is over";

/// Compares the two. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ClockGuard {
    store: EventStore,
    alarms: Alarms,
    is_off: Arc<AtomicBool>,
}

impl ClockGuard {
    pub(crate) fn new(store: EventStore, alarms: Alarms) -> Self {
        Self {
            store,
            alarms,
            is_off: Arc::default(),
        }
    }

    /// Whether our clock is the broker's, nearly, by a reading made now; where the broker does not tell, it is not known to be.
    pub(crate) async fn is_right(&self) -> bool {
        let reading = self.read().await;
        reading.is_some_and(|clock| disagreement(&clock).is_none())
    }

    /// Whether an instant that has passed by our clock has passed whichever of the two clocks is wrong.
    pub(crate) async fn has_surely_passed(&self, instant: Timestamp) -> bool {
        let reading = self.read().await;
        reading.is_some_and(|clock| disagreement(&clock).is_none() || instant <= clock.theirs)
    }

    /// Asks the broker for its time, and tells the operator where it is not ours.
    async fn read(&self) -> Option<BrokerClock> {
        let reading = self.store.broker_clock().await;
        let trouble = match &reading {
            Ok(clock) => disagreement(clock),
            Err(error) => Some(format!(
                "our clock can't be compared with the broker's ({error}): {WITHHELD}"
            )),
        };
        self.is_off.store(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(text) => self.alarms.raise(RELEASES_STOPPED, CLOCK, &text),
            None => self.alarms.clear(RELEASES_STOPPED, CLOCK),
        }
        reading.ok()
    }

    /// Whether it was off at the last reading.
    pub(crate) fn was_off(&self) -> bool {
        self.is_off.load(Ordering::Relaxed)
    }
}

/// What is wrong with our clock, where anything is.
fn disagreement(clock: &BrokerClock) -> Option<String> {
    (clock.off_by() > TOLERANCE).then(|| {
        format!(
            "our clock says {:.0}, the broker's {:.0}: {WITHHELD} until they agree",
            clock.after, clock.theirs
        )
    })
}

#[cfg(test)]
mod tests {
    use bellhop_domain::time;

    use super::*;

    #[test]
    fn a_clock_is_right_up_to_half_a_minute_from_the_broker_s() {
        let now = Timestamp::UNIX_EPOCH;
        let clock = |off: u64| BrokerClock {
            before: now,
            theirs: time::after(now, Duration::from_secs(off)),
            after: now,
        };
        assert_eq!(disagreement(&clock(0)), None);
        assert_eq!(disagreement(&clock(30)), None);
        assert!(disagreement(&clock(31)).is_some_and(|text| text.contains("until they agree")));
    }
}
