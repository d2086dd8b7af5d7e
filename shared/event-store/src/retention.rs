//! How long deliveries are kept: until they are handled, past their retention, and no longer referred to. Earlier where the
//! stream is nearly full; an unhandled one never goes.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::EventStoreError;
use crate::inbox::timestamp;
use crate::store::EventStore;
use crate::streams::DELIVERIES;

/// From this share of its limit on, a stream is nearly full.
const NEARLY_FULL: f64 = 0.8;
const ALL: &str = "deliveries.>";

/// What may go.
#[derive(Clone, Debug)]
pub struct Retention<'a> {
    /// How long a delivery is kept at least, while the stream is not nearly full.
    pub keep: Duration,
    /// Every delivery up to this sequence is handled.
    pub handled: u64,
    /// Those that are still referred to.
    pub referred_to: &'a HashSet<u64>,
    /// How many may go at once.
    pub at_most: usize,
}

impl EventStore {
    /// Removes deliveries that need not be kept any more, oldest first, each erased from the broker's files. Returns how many.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn remove_deliveries(
        &self,
        retention: &Retention<'_>,
        now: Timestamp,
    ) -> Result<usize, EventStoreError> {
        let stream = self.stream(DELIVERIES).await?;
        let info = stream.cached_info();
        let nearly_full = info.config.max_bytes > 0
            && info.state.bytes as f64 >= NEARLY_FULL * info.config.max_bytes as f64;
        let end = info.state.last_sequence.min(retention.handled);
        let (mut removed, mut from) = (0, info.state.first_sequence);
        while from <= end && removed < retention.at_most {
            if retention.referred_to.contains(&from) {
                from += 1;
                continue;
            }
            // The broker knows where its gaps are, which one delivery that is long referred to may keep by the thousand.
            let Some(message) = self.next_in(&stream, ALL, from).await? else {
                break;
            };
            let sequence = message.sequence;
            from = sequence + 1;
            if sequence > end || retention.referred_to.contains(&sequence) {
                continue;
            }
            let age = bellhop_domain::time::elapsed(timestamp(message.time), now);
            if age < retention.keep && !nearly_full {
                break;
            }
            removed += usize::from(self.erase(&stream, ALL, sequence).await?);
        }
        Ok(removed)
    }
}
