//! What operators decide about dead letters: written down for ever before it is done, once for each letter.

use std::time::Duration;

use async_nats::jetstream::stream::RawMessageErrorKind;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BuriedLetter, LETTERS};
use crate::error::{EventStoreError, StoreError};
use crate::operators_records::{outgoing, read};
use crate::store::{EventStore, PublishFailure, not_a_message};
use crate::streams::DEAD_LETTERS;

const VERDICTS: &str = "dead_letters.verdicts.*";
const TIMEOUT: Duration = Duration::from_secs(5);

/// Who decides, and when.
#[derive(Clone, Debug)]
pub struct Operator {
    /// By name.
    pub name: String,
    /// When it was said.
    pub at: Timestamp,
}

/// What becomes of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It is handled once more.
    Replay,
    /// It is given up.
    Drop {
        /// Why.
        because: String,
    },
}

impl Verdict {
    /// As a verb.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Drop { .. } => "drop",
        }
    }
}

/// One verdict as it is kept. The letter's own body and headers, which may be personal, are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The sequence that the letter had.
    pub sequence: u64,
    /// What was decided.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// By whom.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The letter's subject.
    pub subject: String,
    /// The letter's id.
    pub id: String,
    /// Why it was one.
    pub reason: String,
    /// How often it had been tried.
    pub tries: u64,
    /// When it was first tried.
    pub first_at: Timestamp,
    /// When it was last tried.
    pub last_at: Timestamp,
}

/// A verdict can't be given, or carried out.
#[derive(Debug, thiserror::Error)]
pub enum VerdictError {
    /// Someone else was quicker, and has finished.
    #[error("there is no dead letter {sequence} any more: someone else replayed or dropped it")]
    Gone {
        /// Which letter.
        sequence: u64,
    },
    /// Someone decided otherwise.
    #[error(
        "{by} decided at {at} to {word} dead letter {sequence}, and may be at it; if that did not come to its end, {word} it \
         again"
    )]
    DecidedOtherwise {
        /// Which letter.
        sequence: u64,
        /// Who.
        by: String,
        /// When.
        at: Timestamp,
        /// What, as a verb.
        word: &'static str,
    },
    /// It is not known to be stored.
    #[error(transparent)]
    NotStored(#[from] StoreError),
    /// The broker could not be asked.
    #[error(transparent)]
    Broker(#[from] EventStoreError),
}

impl EventStore {
    /// Gives a dead letter up, for this reason: that is written down first, then the letter is erased from the broker's files.
    ///
    /// # Errors
    /// After any the letter may still be there; dropping it again is harmless.
    pub async fn drop_dead_letter(
        &self,
        letter: &BuriedLetter,
        by: &Operator,
        because: &str,
    ) -> Result<(), VerdictError> {
        let because = because.to_owned();
        self.decide(letter, Verdict::Drop { because }, by).await?;
        self.erase_letter(letter).await?;
        Ok(())
    }

    /// What operators decided about dead letters, from the sequence `from` on, oldest first, at most `limit`; each with its own
    /// sequence.
    ///
    /// # Errors
    /// Where the broker does not answer, or one can't be read.
    pub async fn verdicts(
        &self,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Decided)>, EventStoreError> {
        self.operators_records(VERDICTS, from, limit).await
    }

    /// Writes a verdict down, unless another one stands about the same letter.
    pub(super) async fn decide(
        &self,
        letter: &BuriedLetter,
        verdict: Verdict,
        by: &Operator,
    ) -> Result<(), VerdictError> {
        let what = format!("the verdict on dead letter {}", letter.sequence);
        let decided = Decided {
            sequence: letter.sequence,
            verdict,
            by: by.name.clone(),
            at: by.at,
            subject: letter.subject.clone(),
            id: letter.id.clone(),
            reason: letter.reason.clone(),
            tries: letter.tries,
            first_at: letter.first_at,
            last_at: letter.last_at,
        };
        let (id, what_it_is) = (
            format!("verdict.{}", decided.sequence),
            format!("dead-letter.{}", decided.verdict.word()),
        );
        let message = outgoing(&decided, &id, &what_it_is, decided.at)
            .map_err(|bad| not_a_message(&what, &bad))?
            .into_message()
            .expected_last_subject_sequence(0);
        let subject = self.subject(&subject(letter.sequence));
        match self.publish(subject, message, &what, TIMEOUT).await {
            Ok(_) => Ok(()),
            Err(PublishFailure::WrongSequence) => self.agree(&decided).await,
            Err(failure) => Err(failure.into_store_error(&what).into()),
        }
    }

    /// A verdict stands already: it is to be carried out where it is the same and the letter is still there, as after a crash.
    async fn agree(&self, ours: &Decided) -> Result<(), VerdictError> {
        let sequence = ours.sequence;
        if self.dead_letter(sequence).await?.is_none() {
            return Err(VerdictError::Gone { sequence });
        }
        match self.verdict_on(sequence).await? {
            Some(theirs) if theirs.verdict.word() != ours.verdict.word() => {
                Err(VerdictError::DecidedOtherwise {
                    sequence,
                    word: theirs.verdict.word(),
                    by: theirs.by,
                    at: theirs.at,
                })
            }
            _ => Ok(()),
        }
    }

    async fn verdict_on(&self, sequence: u64) -> Result<Option<Decided>, EventStoreError> {
        let stream = self.stream(DEAD_LETTERS).await?;
        let subject = self.subject(&subject(sequence));
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(read(&message.payload)?)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(EventStoreError::broker(
                format!("read the verdict on dead letter {sequence}"),
                error,
            )),
        }
    }

    /// Erases a letter from the broker's files. What it left in DELIVERIES goes with retention, as any other delivery.
    pub(super) async fn erase_letter(&self, letter: &BuriedLetter) -> Result<(), EventStoreError> {
        // In this order: after a crash in between it is asked for again, and there is no mark without a letter.
        self.let_left_body_go(letter).await?;
        let stream = self.stream(DEAD_LETTERS).await?;
        self.erase(&stream, LETTERS, letter.sequence).await?;
        Ok(())
    }
}

fn subject(sequence: u64) -> String {
    format!("dead_letters.verdicts.{sequence}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn verdicts_are_read_for_ever_as_they_were_written() {
        let about = r#""by":"mara","at":"2026-11-24T10:02:11Z","subject":"dead_letters.ingress.delivery.reservation-system","id":"one","reason":"not JSON","tries":1,"first_at":"2026-11-24T10:00:00Z","last_at":"2026-11-24T10:00:00Z"}"#;
        for (verdict, word) in [
            (r#""verdict":"replay""#, "replay"),
            (r#""verdict":"drop","because":"a test""#, "drop"),
        ] {
            let written = format!(r#"{{"sequence":7,{verdict},{about}"#);
            let decided: Decided = read(written.as_bytes()).unwrap();
            assert_eq!(decided.verdict.word(), word);
            assert_eq!(serde_json::to_string(&decided).unwrap(), written);
        }
    }
}
