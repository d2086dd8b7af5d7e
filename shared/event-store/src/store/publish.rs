//! How a message is stored: sent, and sent again over a connection that was made anew, until the broker confirms it.

use std::time::{Duration, Instant};

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;

use super::{EventStore, Stored};
use crate::error::{OtherLedger, StoreError};
use crate::ledger::NotTheLedger;
use crate::message::{BadHeader, is_too_large, is_wrong_sequence};

/// How often to look whether the connection stands again.
const RECONNECTED: Duration = Duration::from_millis(20);
/// How many bytes a subject may have. NATS takes a protocol line of 4096 bytes (`max_control_line`) and closes the connection
/// on a longer one; the longest names that the reservation system allows (100 and 50 characters, of up to 12 bytes each when
/// encoded) stay below this.
const LONGEST_SUBJECT: usize = 2000;

/// What a message is sent to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Any,
    /// LEDGER: only where it is still the ledger that was prepared.
    Ledger,
}

impl EventStore {
    /// Publishes and waits until the broker confirms that it is stored.
    pub(crate) async fn publish(
        &self,
        subject: String,
        message: PublishMessage,
        what: &str,
        timeout: Duration,
    ) -> Result<Stored, PublishFailure> {
        self.send(To::Any, subject, message, what, timeout).await
    }

    /// As [`EventStore::publish`], but sends nothing before LEDGER was seen over this connection, and is still the ledger that
    /// was prepared: an append that expects no entry would succeed in any new one.
    pub(crate) async fn publish_to_ledger(
        &self,
        subject: String,
        message: PublishMessage,
        what: &str,
        timeout: Duration,
    ) -> Result<Stored, PublishFailure> {
        self.send(To::Ledger, subject, message, what, timeout).await
    }

    async fn send(
        &self,
        to: To,
        subject: String,
        message: PublishMessage,
        what: &str,
        timeout: Duration,
    ) -> Result<Stored, PublishFailure> {
        if subject.len() > LONGEST_SUBJECT {
            return Err(PublishFailure::Store(too_long(what, &subject)));
        }
        let began = Instant::now();
        let unconfirmed = || StoreError::Unconfirmed {
            what: what.to_owned(),
            seconds: began.elapsed().as_secs_f64(),
        };
        let mut connections = self.connections();
        let publish = async {
            loop {
                // What is sent while the connection is away would wait in the client's memory, and leave after the caller gave up.
                while !self.is_connected() {
                    tokio::time::sleep(RECONNECTED).await;
                }
                let connection = *connections.borrow_and_update();
                let sent = async {
                    if to == To::Ledger {
                        self.check_ledger(connection).await?;
                    }
                    let sent = self
                        .publishing
                        .send_publish(subject.clone(), message.clone())
                        .await?;
                    Ok(sent.await?)
                };
                // The answer to what was sent over a connection that is lost comes no more. Sending it again stores nothing
                // twice: by its message id, or by the sequence that it expects.
                tokio::select! {
                    biased;
                    answer = sent => return answer,
                    _ = connections.changed() => {}
                }
            }
        };
        match tokio::time::timeout(timeout, publish).await {
            Err(_elapsed) => Err(PublishFailure::Store(unconfirmed())),
            Ok(Ok(ack)) => Ok(Stored {
                sequence: ack.sequence,
                duplicate: ack.duplicate,
            }),
            Ok(Err(NotSent::OtherLedger(other))) => Err(PublishFailure::OtherLedger(other)),
            Ok(Err(NotSent::LedgerNotSeen)) => Err(PublishFailure::Store(unconfirmed())),
            Ok(Err(NotSent::Publish(error))) if is_wrong_sequence(&error) => {
                Err(PublishFailure::WrongSequence)
            }
            Ok(Err(NotSent::Publish(error))) => Err(PublishFailure::Store(match error.kind() {
                // No stream answers: JetStream is starting, or has no leader now.
                PublishErrorKind::TimedOut
                | PublishErrorKind::BrokenPipe
                | PublishErrorKind::StreamNotFound => unconfirmed(),
                PublishErrorKind::MaxPayloadExceeded => StoreError::NotAMessage {
                    what: what.to_owned(),
                    problem: "it is larger than NATS takes (max_payload)".to_owned(),
                },
                _ if is_too_large(&error) => StoreError::NotAMessage {
                    what: what.to_owned(),
                    problem: "it is larger than its stream takes (max_msg_size)".to_owned(),
                },
                _ => StoreError::Refused {
                    what: what.to_owned(),
                    cause: Box::new(error),
                },
            })),
        }
    }
}

/// Why nothing was sent, or not stored.
enum NotSent {
    OtherLedger(OtherLedger),
    LedgerNotSeen,
    Publish(PublishError),
}

impl From<PublishError> for NotSent {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

impl From<NotTheLedger> for NotSent {
    fn from(error: NotTheLedger) -> Self {
        match error {
            NotTheLedger::Other(other) => Self::OtherLedger(other),
            NotTheLedger::NotSeen(error) => {
                tracing::debug!(error = %crate::inbox::chain(&error), "cannot look at the ledger");
                Self::LedgerNotSeen
            }
        }
    }
}

/// Why a publish failed.
pub(crate) enum PublishFailure {
    /// The subject's last sequence is not the expected one.
    WrongSequence,
    /// It was not sent: LEDGER is not the ledger that was prepared.
    OtherLedger(OtherLedger),
    /// Anything else.
    Store(StoreError),
}

impl PublishFailure {
    /// For messages that expect no sequence and don't go to the ledger.
    pub(crate) fn into_store_error(self, what: &str) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::WrongSequence => StoreError::Refused {
                what: what.to_owned(),
                cause: "unexpected sequence".into(),
            },
            Self::OtherLedger(other) => StoreError::Refused {
                what: what.to_owned(),
                cause: Box::new(other),
            },
        }
    }
}

pub(crate) fn not_a_message(what: &str, header: &BadHeader) -> StoreError {
    StoreError::NotAMessage {
        what: shortened(what),
        problem: format!("header {} holds what a header can't", header.name),
    }
}

fn too_long(what: &str, subject: &str) -> StoreError {
    StoreError::NotAMessage {
        what: shortened(what),
        problem: format!(
            "its subject would have {} bytes, and at most {LONGEST_SUBJECT} are sent: a name or an id in it is too long",
            subject.len()
        ),
    }
}

/// What was to be stored, short enough for a line of log.
fn shortened(what: &str) -> String {
    const LONGEST: usize = 200;
    match what.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &what[..end]),
        None => what.to_owned(),
    }
}
