//! Erasing what is known of one user: every delivery is there to be looked through, each is erased alone, and what was done is
//! written down, by whom and why, before it is done.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{EventStoreError, StoreError};
use crate::inbox::timestamp;
use crate::message::{self, header};
use crate::operators_records::outgoing;
use crate::store::{EventStore, not_a_message};
use crate::streams::DELIVERIES;

const ALL: &str = "deliveries.>";
/// No letter: it has fewer tokens.
const ERASURES: &str = "dead_letters.erasures";
const TIMEOUT: Duration = Duration::from_secs(5);

/// A message of DELIVERIES, whether this version can read it or not.
#[derive(Clone, Debug)]
pub struct StoredDelivery {
    /// Its sequence.
    pub sequence: u64,
    /// Its subject, without prefix.
    pub subject: String,
    /// Its id; none where it has none.
    pub id: Option<String>,
    /// When the broker stored it.
    pub stored_at: Timestamp,
    /// The untouched body.
    pub body: Bytes,
}

/// What was erased, as it is kept: nothing of what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Whose it was: the id that the ledger keeps.
    pub user: String,
    /// Who had it erased.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub because: String,
    /// How many deliveries.
    pub deliveries: u64,
    /// How many dead letters.
    pub dead_letters: u64,
}

impl EventStore {
    /// The deliveries from the sequence `from` up to `end`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn stored_deliveries(
        &self,
        mut from: u64,
        end: u64,
        limit: usize,
    ) -> Result<Vec<StoredDelivery>, EventStoreError> {
        let stream = self.stream(DELIVERIES).await?;
        let mut deliveries = Vec::new();
        while from <= end && deliveries.len() < limit {
            let next = self.next_in(&stream, ALL, from).await?;
            let Some(found) = next.filter(|found| found.sequence <= end) else {
                break;
            };
            from = found.sequence + 1;
            deliveries.push(StoredDelivery {
                sequence: found.sequence,
                subject: self.without_prefix(&found.subject).to_owned(),
                id: message::text(&found.headers, header::ID).map(str::to_owned),
                stored_at: timestamp(found.time),
                body: found.payload,
            });
        }
        Ok(deliveries)
    }

    /// Erases a delivery from the broker's files. False where it was gone already.
    ///
    /// # Errors
    /// Where the broker does not answer, or refuses.
    pub async fn erase_delivery(&self, sequence: u64) -> Result<bool, EventStoreError> {
        let stream = self.stream(DELIVERIES).await?;
        self.erase(&stream, ALL, sequence).await
    }

    /// Writes down, for ever, what is about to be erased.
    ///
    /// # Errors
    /// As for [`EventStore::store_delivery`].
    pub async fn record_erasure(&self, erasure: &Erasure) -> Result<(), StoreError> {
        let what = "the record of an erasure";
        let id = format!("erasure.{}", erasure.at);
        let message = outgoing(erasure, &id, "erasure", erasure.at)
            .map_err(|bad| not_a_message(what, &bad))?
            .into_message();
        let stored = self.publish(self.subject(ERASURES), message, what, TIMEOUT);
        let stored = stored.await;
        stored
            .map(|_| ())
            .map_err(|failure| failure.into_store_error(what))
    }

    /// What was erased, from the sequence `from` on, oldest first, at most `limit`; each with its own sequence in DEAD_LETTERS.
    ///
    /// # Errors
    /// Where the broker does not answer, or one can't be read.
    pub async fn erasures(
        &self,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Erasure)>, EventStoreError> {
        self.operators_records(ERASURES, from, limit).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::operators_records::read;

    #[test]
    fn an_erasure_is_read_for_ever_as_it_was_written() {
        let written = r#"{"user":"0b1d","by":"mara","at":"2026-11-24T10:02:11Z","because":"asked for","deliveries":3,"dead_letters":1}"#;
        let erasure: Erasure = read(written.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&erasure).unwrap(), written);
    }
}
