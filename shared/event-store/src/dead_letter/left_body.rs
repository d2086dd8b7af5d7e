//! A letter that is too large to hold its body leaves that in DELIVERIES. A mark, whose subject says where, keeps retention from it
//! until the letter goes: who removes deliveries need not be able to read letters for that.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use futures::StreamExt as _;

use super::{BuriedLetter, DeadLetter, kept};
use crate::error::{EventStoreError, StoreError};
use crate::store::{EventStore, PublishFailure};
use crate::streams::DEAD_LETTERS;
use crate::subject::encode_token;

const MARKS: &str = "dead_letters.*.delivery.body.*";

/// The mark of a letter by `service` whose body is in DELIVERIES at `sequence`. It has a token more than a letter.
fn mark(service: &str, sequence: u64) -> String {
    format!(
        "dead_letters.{}.delivery.body.{sequence}",
        encode_token(service)
    )
}

/// Where in DELIVERIES the body of a letter is that was too large to hold it.
pub(super) fn place_of(letter: &BuriedLetter) -> Option<u64> {
    if !letter.body.is_empty() {
        return None;
    }
    let sequence = letter
        .header(kept::DELIVERY)
        // As letters were before they had that header.
        .or_else(|| letter.id.strip_prefix("provisioner-"))?;
    sequence.parse().ok()
}

impl EventStore {
    /// The sequences of the deliveries that hold the body of a dead letter.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn bodies_of_dead_letters(&self) -> Result<HashSet<u64>, EventStoreError> {
        let cannot = |error: Box<dyn std::error::Error + Send + Sync>| {
            EventStoreError::broker("list what dead letters refer to", error)
        };
        let stream = self.stream(DEAD_LETTERS).await?;
        let marks = stream.info_builder().subjects(self.subject(MARKS)).fetch();
        let mut marks = marks.await.map_err(|error| cannot(error.into()))?;
        let mut sequences = HashSet::new();
        while let Some(mark) = marks.next().await {
            let (subject, _) = mark.map_err(|error| cannot(error.into()))?;
            let sequence = subject.rsplit('.').next();
            sequences.extend(sequence.and_then(|sequence| sequence.parse::<u64>().ok()));
        }
        Ok(sequences)
    }

    /// Sets the mark of a letter that is about to be stored, where its body is in DELIVERIES.
    pub(super) async fn keep_left_body(
        &self,
        letter: &DeadLetter,
        timeout: Duration,
    ) -> Result<(), StoreError> {
        let mut headers = letter.headers.iter();
        let place = headers.find(|(name, _)| name == kept::DELIVERY);
        let Some(sequence) = place.and_then(|(_, sequence)| sequence.parse().ok()) else {
            return Ok(());
        };
        let what = format!("that a dead letter refers to delivery {sequence}");
        let message = PublishMessage::build().expected_last_subject_sequence(0);
        let subject = self.subject(&mark(letter.service, sequence));
        match self.publish(subject, message, &what, timeout).await {
            // It is there, of the same letter's burial before.
            Ok(_) | Err(PublishFailure::WrongSequence) => Ok(()),
            Err(failure) => Err(failure.into_store_error(&what)),
        }
    }

    /// Takes the mark of a letter away.
    pub(super) async fn let_left_body_go(
        &self,
        letter: &BuriedLetter,
    ) -> Result<(), EventStoreError> {
        let (Some(sequence), Some(service)) = (place_of(letter), letter.service()) else {
            return Ok(());
        };
        let mark = mark(&service, sequence);
        let stream = self.stream(DEAD_LETTERS).await?;
        let subject = self.subject(&mark);
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(found) => {
                self.erase(&stream, &mark, found.sequence).await?;
                Ok(())
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(()),
            Err(error) => Err(EventStoreError::broker(
                format!("look whether a dead letter refers to delivery {sequence}"),
                error,
            )),
        }
    }
}
