//! Durable consumers: pulled, acknowledged one by one with confirmation, bounded in flight.

mod pull;

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy};
use async_nats::jetstream::{self, AckKind};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::error::{EventStoreError, Unreadable};
use crate::message::read_or_panic;
use crate::store::EventStore;
use pull::Pull;

/// How long it may take to give back what had arrived.
const HAND_BACK: Duration = Duration::from_secs(1);

/// How much a consumer has in its hands.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerLimits {
    /// How long a message may be handled before the broker hands it out again. [`Handed::working`] begins this anew.
    pub ack_wait: Duration,
    /// How many messages may be handed out, in all replicas together, and not be acknowledged.
    pub max_in_flight: i64,
    /// How many are asked for at once.
    pub batch: usize,
}

impl Default for ConsumerLimits {
    fn default() -> Self {
        Self {
            ack_wait: Duration::from_secs(30),
            max_in_flight: 1000,
            batch: 32,
        }
    }
}

/// Reads a message of a stream as what it is.
pub(crate) type Read<T> = fn(&EventStore, &Raw<'_>) -> Result<T, Unreadable>;

/// A stored message.
pub(crate) struct Raw<'a> {
    pub(crate) subject: &'a str,
    pub(crate) sequence: u64,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Bytes,
    pub(crate) stored_at: Timestamp,
}

/// A durable consumer that hands out messages one by one. It never fails: while the broker is away it waits.
pub struct Inbox<T> {
    store: EventStore,
    stream: &'static str,
    config: consumer::pull::Config,
    batch: usize,
    read: Read<T>,
    messages: Option<(Pull, watch::Receiver<u64>)>,
    troubled: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new(
        store: &EventStore,
        stream: &'static str,
        name: &str,
        description: &str,
        limits: ConsumerLimits,
        read: Read<T>,
    ) -> Self {
        let config = consumer::pull::Config {
            durable_name: Some(name.to_owned()),
            description: Some(description.to_owned()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: limits.ack_wait,
            max_ack_pending: limits.max_in_flight,
            max_deliver: -1,
            ..consumer::pull::Config::default()
        };
        Self {
            store: store.clone(),
            stream,
            config,
            batch: limits.batch,
            read,
            messages: None,
            troubled: false,
        }
    }

    /// Only what is stored under `subjects`, without prefix.
    pub(crate) fn only(mut self, subjects: &str) -> Self {
        self.config.filter_subject = self.store.subject(subjects);
        self
    }

    /// Makes the durable consumer, or finds it, so that it is there before the first message is asked for.
    ///
    /// # Errors
    /// Where the broker does not answer or refuses.
    pub async fn open(&mut self) -> Result<(), EventStoreError> {
        let name = self.config.durable_name.clone().unwrap_or_default();
        let cannot = || format!("read {} as {name}", self.store.stream_name(self.stream));
        let connections = self.store.connections();
        let stream = self.store.stream(self.stream).await?;
        stream
            .create_consumer(self.config.clone())
            .await
            .map_err(|error| EventStoreError::broker(cannot(), error))?;
        let stream = self.store.stream_name(self.stream);
        let messages = Pull::open(&self.store.context, &stream, &name, self.batch)
            .await
            .map_err(|error| EventStoreError::broker(cannot(), error))?;
        self.messages = Some((messages, connections));
        Ok(())
    }

    /// The next message; waits for it as long as it takes. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Handed<T> {
        loop {
            match self.try_next().await {
                Ok(handed) => {
                    if std::mem::take(&mut self.troubled) {
                        tracing::info!(stream = self.stream, "reading from NATS again");
                    }
                    return handed;
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.troubled, true) {
                        tracing::warn!(stream = self.stream, error = %chain(&error), "cannot read from NATS; trying again");
                    }
                    self.messages = None;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }

    async fn try_next(&mut self) -> Result<Handed<T>, EventStoreError> {
        if self.messages.is_none() {
            self.open().await?;
        }
        let stream = self.stream;
        let ended = || EventStoreError::broker(format!("read {stream}"), "the consumer is gone");
        let (messages, connections) = self.messages.as_mut().ok_or_else(ended)?;
        // What has arrived is handed out before a lost connection is noticed: thrown away, it would come back only after
        // `ack_wait`.
        let message = tokio::select! {
            biased;
            message = messages.next() => message,
            _ = connections.changed() => return Err(ended()),
        };
        let message =
            message.map_err(|error| EventStoreError::broker(format!("read {stream}"), error))?;
        self.hand(message)
    }

    /// Asks for nothing more, and gives back what has arrived and was not handed out, so that another replica gets it at once.
    /// While the broker is away it comes back after the consumer's `ack_wait`.
    pub async fn hand_back(self) {
        let Some((messages, _)) = self.messages else {
            return;
        };
        let give_back = async {
            for message in messages.close().await {
                if let Err(error) = message.ack_with(AckKind::Nak(None)).await {
                    tracing::debug!(%error, stream = self.stream, "could not give a message back");
                }
            }
        };
        if tokio::time::timeout(HAND_BACK, give_back).await.is_err() {
            tracing::debug!(stream = self.stream, "what had arrived comes back later");
        }
    }

    fn hand(&self, message: jetstream::Message) -> Result<Handed<T>, EventStoreError> {
        let not_ours = |error| EventStoreError::broker(format!("read {}", self.stream), error);
        let info = message.info().map_err(not_ours)?;
        let (sequence, tries) = (
            info.stream_sequence,
            u64::try_from(info.delivered).unwrap_or(1),
        );
        let stored_at = timestamp(info.published);
        let empty = HeaderMap::new();
        let raw = Raw {
            subject: self.store.without_prefix(&message.subject),
            sequence,
            headers: message.headers.as_ref().unwrap_or(&empty),
            body: &message.payload,
            stored_at,
        };
        let item = read_or_panic(|| (self.read)(&self.store, &raw));
        Ok(Handed {
            item,
            sequence,
            tries,
            stored_at,
            message,
        })
    }
}

/// A message in our hands. Dropping it without a word makes the broker hand it out again after the consumer's `ack_wait`.
pub struct Handed<T> {
    /// The message, or why it can't be read.
    pub item: Result<T, Unreadable>,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// How often it was handed out, this time included.
    pub tries: u64,
    /// When the broker stored it.
    pub stored_at: Timestamp,
    message: jetstream::Message,
}

impl<T> Handed<T> {
    /// It is handled. Returns when the broker has confirmed that it knows.
    ///
    /// # Errors
    /// Where no confirmation came; it may be handed out once more.
    pub async fn ack(&self) -> Result<(), EventStoreError> {
        let acked = self.message.double_ack().await;
        acked.map_err(|error| {
            EventStoreError::broker(format!("acknowledge message {}", self.sequence), error)
        })
    }

    /// It could not be handled now; it is handed out again after `pause`.
    pub async fn retry_after(&self, pause: Duration) {
        self.tell(AckKind::Nak(Some(pause))).await;
    }

    /// It is still being handled.
    pub async fn working(&self) {
        self.tell(AckKind::Progress).await;
    }

    /// It can't be handled, and must not be handed out again. Store it as a dead letter first.
    ///
    /// # Errors
    /// Where no confirmation came; it may be handed out once more.
    pub async fn terminate(&self) -> Result<(), EventStoreError> {
        let acked = self.message.double_ack_with(AckKind::Term).await;
        acked.map_err(|error| {
            EventStoreError::broker(format!("terminate message {}", self.sequence), error)
        })
    }

    /// The message's body as it is stored, for a dead letter.
    pub fn body(&self) -> Bytes {
        self.message.payload.clone()
    }

    /// The subject as it is stored.
    pub fn subject(&self) -> &str {
        &self.message.subject
    }

    /// The message's headers as they are stored, for a dead letter.
    pub fn headers(&self) -> Vec<(String, String)> {
        header_list(self.message.headers.as_ref())
    }

    /// If this is lost, the message comes back after `ack_wait`: nothing to be done about it.
    async fn tell(&self, kind: AckKind) {
        if let Err(error) = self.message.ack_with(kind).await {
            tracing::debug!(%error, sequence = self.sequence, "could not tell NATS about a message");
        }
    }
}

pub(crate) fn header_list(headers: Option<&HeaderMap>) -> Vec<(String, String)> {
    let pairs = headers.into_iter().flat_map(|headers| headers.iter());
    pairs
        .flat_map(|(name, values)| {
            values
                .iter()
                .map(move |value| (name.to_string(), value.to_string()))
        })
        .collect()
}

pub(crate) fn timestamp(time: async_nats::datetime::DateTime) -> Timestamp {
    Timestamp::from_nanosecond(time.unix_timestamp_nanos()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use bellhop_nats_server::NatsServer;

    use super::*;
    use crate::settings::EventStoreSettings;
    use crate::streams::DELIVERIES;

    #[tokio::test]
    async fn a_message_that_makes_its_reading_panic_can_t_be_read_and_the_next_one_comes() {
        let server = NatsServer::start().unwrap();
        let settings = EventStoreSettings::at(server.url());
        let store = EventStore::connect(&settings, "test").await.unwrap();
        store.prepare().await.unwrap();
        for body in ["poison", "sound"] {
            let sent = store.context.publish("deliveries.a.b.c.d", body.into());
            sent.await.unwrap().await.unwrap();
        }
        let read: Read<Bytes> = |_, raw| {
            assert!(raw.body.as_ref() != b"poison", "it is poison");
            Ok(raw.body.clone())
        };
        let limits = ConsumerLimits::default();
        let mut inbox = Inbox::new(&store, DELIVERIES, "test", "a test", limits, read);
        let poison = inbox.next().await;
        let error = poison.item.as_ref().unwrap_err().to_string();
        assert!(error.contains("panicked"), "{error}");
        assert_eq!(poison.body(), "poison");
        assert_eq!(inbox.next().await.item.unwrap(), "sound");
    }
}
