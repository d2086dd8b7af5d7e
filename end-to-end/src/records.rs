//! What the broker keeps: every message of a stream as it is, and how `nats sub` shows it.

use std::fmt::Write as _;

use async_nats::ServerAddr;
use async_nats::jetstream;
use async_nats::jetstream::stream::RawMessageErrorKind;
use bellhop_domain::id::Version;
use bellhop_event_store::{Entry, EventStore, EventStoreError, FollowError};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

/// So many messages are asked for at once.
const AT_ONCE: usize = 64;

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// When the broker took it.
    pub stored_at: Timestamp,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Message {
    fn of(message: &jetstream::message::StreamMessage) -> Self {
        let headers = message.headers.iter().flat_map(|(name, values)| {
            values
                .iter()
                .map(move |value| (name.to_string(), value.to_string()))
        });
        let stored_at = message.time.unix_timestamp_nanos();
        Self {
            sequence: message.sequence,
            stored_at: Timestamp::from_nanosecond(stored_at).unwrap_or(Timestamp::UNIX_EPOCH),
            subject: message.subject.to_string(),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&message.payload).into_owned(),
        }
    }

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

impl RecordsError {
    /// Why a stream can't be read, or be made fit for it.
    pub(crate) fn of(stream: &str, source: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self {
            stream: stream.to_owned(),
            source,
        }
    }
}

/// Connects to a broker of one or several servers, with commas between them.
///
/// # Errors
/// None of them answers.
pub async fn connect(urls: &str) -> Result<async_nats::Client, async_nats::ConnectError> {
    let servers: Vec<ServerAddr> = urls.split(',').filter_map(|url| url.parse().ok()).collect();
    async_nats::connect(servers).await
}

/// All messages of a stream, the oldest first; none where there is no such stream.
///
/// # Errors
/// The broker does not answer.
pub async fn messages(
    client: &async_nats::Client,
    stream: &str,
) -> Result<Vec<Message>, RecordsError> {
    let cannot =
        |source: Box<dyn std::error::Error + Send + Sync>| RecordsError::of(stream, source);
    let context = jetstream::new(client.clone());
    let stream = context
        .get_stream(stream)
        .await
        .map_err(|error| cannot(error.into()))?;
    let state = stream.cached_info().state.clone();
    // An empty stream may say that it begins at 0, where no message ever is.
    let messages = stream::iter(state.first_sequence.max(1)..=state.last_sequence)
        .map(|sequence| stream.get_raw_message(sequence))
        .buffered(AT_ONCE)
        .filter_map(async |found| match found {
            Ok(message) => Some(Ok(Message::of(&message))),
            // A key of a bucket that was written again leaves a gap.
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => None,
            Err(error) => Some(Err(cannot(error.into()))),
        });
    messages.try_collect().await
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
