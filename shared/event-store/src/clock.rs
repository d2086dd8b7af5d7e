//! The broker's clock beside ours. Deadlines are decided by our clock, and deliveries are dated by others': one that is far off
//! would end reservations that are not over.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::error::EventStoreError;
use crate::store::EventStore;
use crate::streams::LEDGER;

/// When the broker answered by its own clock, between two readings of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerClock {
    /// Ours before the broker was asked.
    pub before: Timestamp,
    /// The broker's.
    pub theirs: Timestamp,
    /// Ours after the answer.
    pub after: Timestamp,
}

impl BrokerClock {
    /// By how much our clock is wrong at least if the broker's is right: zero where the broker's reading lies between ours.
    pub fn off_by(&self) -> Duration {
        let early = self.before.duration_since(self.theirs);
        let late = self.theirs.duration_since(self.after);
        Duration::try_from(early.max(late).max(SignedDuration::ZERO)).unwrap_or(Duration::ZERO)
    }
}

/// The part of a stream's information (`STREAM.INFO`, nats-server 2.10 and newer) that says when it was taken.
#[derive(Deserialize)]
struct Taken {
    ts: Timestamp,
}

impl EventStore {
    /// Reads the broker's clock.
    ///
    /// # Errors
    /// Where the broker does not answer, or does not say its time.
    pub async fn broker_clock(&self) -> Result<BrokerClock, EventStoreError> {
        let subject = format!("STREAM.INFO.{}", self.stream_name(LEDGER));
        let before = Timestamp::now();
        let taken: Result<Taken, _> = self.context.request(subject, &()).await;
        let taken =
            taken.map_err(|error| EventStoreError::broker("read the broker's clock", error))?;
        Ok(BrokerClock {
            before,
            theirs: taken.ts,
            after: Timestamp::now(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_reading_between_ours_is_no_difference_and_the_way_does_not_count() {
        let clock = |theirs| BrokerClock {
            before: at(100),
            theirs: at(theirs),
            after: at(110),
        };
        assert_eq!(clock(105).off_by(), Duration::ZERO);
        assert_eq!(clock(60).off_by(), Duration::from_secs(40));
        assert_eq!(clock(150).off_by(), Duration::from_secs(40));
    }
}
