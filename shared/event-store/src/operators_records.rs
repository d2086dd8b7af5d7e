//! What operators did, written down for ever in DEAD_LETTERS before it is done.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{EventStoreError, Unreadable};
use crate::message::{self, BadHeader, Outgoing};
use crate::store::EventStore;
use crate::streams::DEAD_LETTERS;

/// A record as it is stored. `what`: its CloudEvents type.
pub(crate) fn outgoing(
    record: &impl Serialize,
    id: &str,
    what: &str,
    at: Timestamp,
) -> Result<Outgoing, BadHeader> {
    let body = serde_json::to_vec(record).expect("a record has only text keys");
    Outgoing::new(id, "bellhop/operator", what, at, Bytes::from(body))
}

pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(body).map_err(|error| Unreadable::Body {
        problem: error.to_string(),
    })
}

impl EventStore {
    /// The records under these subjects, from the sequence `from` on, oldest first, at most `limit`; each with its own sequence.
    pub(crate) async fn operators_records<T: DeserializeOwned>(
        &self,
        subjects: &str,
        mut from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, T)>, EventStoreError> {
        let stream = self.stream(DEAD_LETTERS).await?;
        let mut records = Vec::new();
        while records.len() < limit {
            let Some(found) = self.next_in(&stream, subjects, from).await? else {
                break;
            };
            message::check_format(&found.headers)?;
            records.push((found.sequence, read(&found.payload)?));
            from = found.sequence + 1;
        }
        Ok(records)
    }
}
