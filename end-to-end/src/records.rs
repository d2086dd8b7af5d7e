//! What the broker keeps: every message of a stream as it is, and how `nats sub` shows it.

use std::fmt::Write as _;

use async_nats::jetstream;
use bellhop_domain::id::Version;
use bellhop_event_store::{Entry, EventStore, EventStoreError, FollowError};

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Message {
    /// As `nats sub` shows it; with or without the headers.
    pub fn as_shown_by_nats_sub(&self, with_headers: bool) -> String {
        let mut shown = format!("[#{}] Received on \"{}\"\n", self.sequence, self.subject);
        if with_headers {
            for (name, value) in &self.headers {
                // Writing to a String can't fail.
                let _infallible = writeln!(shown, "{name}: {value}");
            }
            shown.push('\n');
        }
        shown.push_str(&self.body);
        shown.push('\n');
        shown
    }

    /// All of it in one text.
    pub fn everything(&self) -> String {
        self.as_shown_by_nats_sub(true)
    }
}

/// The broker's records can't be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the stream {stream}")]
pub struct RecordsError {
    stream: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// All messages of a stream, the oldest first; none where there is no such stream.
///
/// # Errors
/// The broker does not answer.
pub async fn messages(
    client: &async_nats::Client,
    stream: &str,
) -> Result<Vec<Message>, RecordsError> {
    let cannot = |source: Box<dyn std::error::Error + Send + Sync>| RecordsError {
        stream: stream.to_owned(),
        source,
    };
    let context = jetstream::new(client.clone());
    let stream = context
        .get_stream(stream)
        .await
        .map_err(|error| cannot(error.into()))?;
    let state = stream.cached_info().state.clone();
    let mut messages = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        // A key of a bucket that was written again leaves a gap.
        let Ok(message) = stream.get_raw_message(sequence).await else {
            continue;
        };
        let headers = message.headers.iter().flat_map(|(name, values)| {
            values
                .iter()
                .map(move |value| (name.to_string(), value.to_string()))
        });
        messages.push(Message {
            sequence,
            subject: message.subject.to_string(),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&message.payload).into_owned(),
        });
    }
    Ok(messages)
}

/// The ledger can't be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each says what it is")]
pub enum LedgerError {
    #[error(transparent)]
    EventStore(#[from] EventStoreError),
    #[error(transparent)]
    Follow(#[from] FollowError),
}

/// All entries of the ledger about resources, the oldest first.
///
/// # Errors
/// The broker does not answer, or an entry can't be read.
pub async fn entries(store: &EventStore) -> Result<Vec<Entry>, LedgerError> {
    let end = store.ledger_end().await?;
    let mut follower = store.follow_ledger(Version(0));
    let (mut seen, mut entries) = (Version(0), Vec::new());
    while seen < end {
        let entry = follower.next().await?;
        seen = entry.version();
        entries.extend(entry.into_resource());
    }
    Ok(entries)
}
