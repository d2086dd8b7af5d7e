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
        let mut removed = 0;
        for sequence in info.state.first_sequence..=info.state.last_sequence.min(retention.handled)
        {
            if removed == retention.at_most {
                break;
            }
            if retention.referred_to.contains(&sequence) {
                continue;
            }
            // A gap: it went before.
            let Ok(message) = stream.get_raw_message(sequence).await else {
                continue;
            };
            let age = bellhop_domain::time::elapsed(timestamp(message.time), now);
            if age < retention.keep && !nearly_full {
                break;
            }
            let gone = stream.delete_message(sequence).await;
            gone.map_err(|error| {
                EventStoreError::broker(format!("remove delivery {sequence}"), error)
            })?;
            removed += 1;
        }
        Ok(removed)
    }
}
