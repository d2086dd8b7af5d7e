//! Reading the ledger in order.
//!
//! An ephemeral consumer hands the entries out; whatever happens to it or to the connection, a new one is made from the last
//! entry on. Before that it is checked that LEDGER is still the ledger that was read, and still holds what was read of it.
//! (The client's own ordered consumer makes itself anew without asking.)

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use bellhop_domain::id::{LedgerId, Version};
use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use super::identity::{self, NotTheLedger};
use super::{LedgerEntry, read};
use crate::error::{EventStoreError, FollowError};
use crate::inbox::{Raw, chain, timestamp};
use crate::store::EventStore;
use crate::streams::LEDGER;

const PAUSE: Duration = Duration::from_millis(500);
/// How many looks in a row must find less than was read before that is believed: a new leader of a replicated stream may
/// still be reading its own log.
const LOOKS: u32 = 10;
const BATCH: usize = 500;
const EXPIRES: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the broker keeps a consumer that nobody asks for messages.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Up to which entry the ledger was read. A ledger that was set back to a backup may hold another entry at that place: when the
/// broker stored it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The entry's sequence; 0 where none was read.
    pub version: Version,
    /// When the broker stored it; none where that is not known.
    pub stored_at: Option<Timestamp>,
}

impl From<Version> for Position {
    fn from(version: Version) -> Self {
        Self {
            version,
            stored_at: None,
        }
    }
}

/// Reads the ledger in order, for ever, over lost connections and restarted brokers.
pub struct Follower {
    store: EventStore,
    after: Position,
    ledger: Option<LedgerId>,
    reading: Option<Reading>,
    /// How often in a row the ledger held less than was read.
    set_back: u32,
    troubled: bool,
}

/// An open consumer.
struct Reading {
    messages: pull::Stream,
    connections: watch::Receiver<u64>,
    /// How many messages it has handed out: one that got lost on the way leaves a gap.
    handed: u64,
}

/// What keeps the next entry from us.
enum Trouble {
    Passing(EventStoreError),
    Lasting(FollowError),
}

impl From<EventStoreError> for Trouble {
    fn from(error: EventStoreError) -> Self {
        Self::Passing(error)
    }
}

impl From<NotTheLedger> for Trouble {
    fn from(error: NotTheLedger) -> Self {
        match error {
            NotTheLedger::Other(other) => Self::Lasting(other.into()),
            NotTheLedger::NotSeen(error) => Self::Passing(error),
        }
    }
}

impl Follower {
    pub(super) fn new(store: &EventStore, after: Position) -> Self {
        Self {
            store: store.clone(),
            after,
            ledger: store.prepared_ledger().cloned(),
            reading: None,
            set_back: 0,
            troubled: false,
        }
    }

    /// Up to where it was read.
    pub fn position(&self) -> Position {
        self.after
    }

    /// The next entry; waits for it as long as it takes. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Where an entry can't be read (a newer version wrote it), LEDGER is another ledger now, or it has lost what was read.
    /// Nothing may be decided then.
    pub async fn next(&mut self) -> Result<LedgerEntry, FollowError> {
        loop {
            match self.try_next().await {
                Ok(entry) => {
                    if std::mem::take(&mut self.troubled) {
                        tracing::info!("following the ledger again");
                    }
                    return Ok(entry);
                }
                Err(Trouble::Lasting(error)) => {
                    self.reading = None;
                    return Err(error);
                }
                Err(Trouble::Passing(error)) => {
                    if !std::mem::replace(&mut self.troubled, true) {
                        tracing::warn!(error = %chain(&error), "cannot follow the ledger; trying again");
                    }
                    self.reading = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn try_next(&mut self) -> Result<LedgerEntry, Trouble> {
        loop {
            if self.reading.is_none() {
                self.reading = Some(self.open().await?);
            }
            let reading = self.reading.as_mut().ok_or_else(gone)?;
            // What has arrived is handed out before a lost connection is noticed.
            let next = tokio::select! {
                biased;
                next = reading.messages.next() => next,
                _ = reading.connections.changed() => None,
            };
            let message = next.ok_or_else(gone)?.map_err(cannot)?;
            let info = message.info().map_err(cannot)?;
            reading.handed += 1;
            if info.consumer_sequence != reading.handed {
                return Err(cannot("a message got lost on its way").into());
            }
            let version = Version(info.stream_sequence);
            if version > self.after.version {
                let stored_at = timestamp(info.published);
                let entry = self.entry(&message, version, stored_at)?;
                self.after = Position {
                    version,
                    stored_at: Some(stored_at),
                };
                return Ok(entry);
            }
        }
    }

    fn entry(
        &self,
        message: &Message,
        version: Version,
        stored_at: Timestamp,
    ) -> Result<LedgerEntry, Trouble> {
        let empty = HeaderMap::new();
        let raw = Raw {
            subject: self.store.without_prefix(&message.subject),
            sequence: version.0,
            headers: message.headers.as_ref().unwrap_or(&empty),
            body: &message.payload,
            stored_at,
        };
        read(&raw).map_err(|cause| {
            Trouble::Lasting(FollowError::Unreadable {
                sequence: version.0,
                cause,
            })
        })
    }

    async fn open(&mut self) -> Result<Reading, Trouble> {
        let connections = self.store.connections();
        let (stream, found) = identity::look(&self.store, self.ledger.as_ref()).await?;
        self.ledger = found;
        self.check_what_was_read(&stream).await?;
        let config = pull::Config {
            // One of its own, so that a user of the broker who may follow need not be let near other consumers
            // (deploy/nats/permissions.conf); nobody can guess it.
            name: Some(format!("follower-{}", Uuid::new_v4())),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.after.version.0 + 1,
            },
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGOTTEN_AFTER,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(cannot)?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(cannot)?;
        Ok(Reading {
            messages,
            connections,
            handed: 0,
        })
    }

    /// Whether the stream still holds the last entry that was read.
    async fn check_what_was_read(&mut self, stream: &Stream) -> Result<(), Trouble> {
        let end = Version(stream.cached_info().state.last_sequence);
        let read = self.after.version;
        if read <= end && self.store.is_there(stream, &self.after).await? {
            self.set_back = 0;
            return Ok(());
        }
        self.set_back += 1;
        if self.set_back < LOOKS {
            let problem = format!("it was read up to {read}, and ends at {end}");
            return Err(cannot(problem).into());
        }
        Err(Trouble::Lasting(FollowError::SetBack { read, end }))
    }
}

impl EventStore {
    /// Whether the ledger still holds the entry that it was read up to.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn still_holds(&self, position: &Position) -> Result<bool, EventStoreError> {
        let stream = self.stream(LEDGER).await?;
        let end = stream.cached_info().state.last_sequence;
        Ok(position.version.0 <= end && self.is_there(&stream, position).await?)
    }

    async fn is_there(
        &self,
        stream: &Stream,
        position: &Position,
    ) -> Result<bool, EventStoreError> {
        let Some(stored_at) = position.stored_at else {
            return Ok(true);
        };
        match stream.get_raw_message(position.version.0).await {
            Ok(found) => Ok(timestamp(found.time) == stored_at),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(cannot(error)),
        }
    }
}

fn cannot(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EventStoreError {
    EventStoreError::broker("follow the ledger", cause)
}

fn gone() -> EventStoreError {
    cannot("the consumer is gone")
}
