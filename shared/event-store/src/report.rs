//! What became of each report. This is truth, not a cache: a report that stands here as delivered is never sent again.
//!
//! A ledger that was set back to a backup may come to hold another entry at the same version, which owes another report. What
//! stands here says of which entry it is.

use std::fmt;

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use bellhop_domain::id::{ReservationId, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{EventStoreError, ReportError, StoreError, Unreadable};
use crate::ledger::EntryId;
use crate::store::{EventStore, PublishFailure};
use crate::streams::{report_stream, report_subject};
use crate::subject::encode_token;

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// How many bytes of the reservation's token a key has at most: far below what a subject may have.
const LONGEST_RESERVATION: usize = 500;

/// Which report: the fact that owes it, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReportKey {
    /// Whose.
    pub reservation: ReservationId,
    /// The ledger's entry that holds the fact.
    pub version: Version,
    /// That entry's id; none where it is not known, and then what stands under this key counts whatever entry it is of.
    pub entry: Option<EntryId>,
    /// Which of its facts, from 0.
    pub index: usize,
    /// To whom, for example `notification`: lower-case letters and `-`.
    pub destination: &'static str,
}

impl fmt::Display for ReportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The version and the index tell reports apart; the reservation is there for the reader, and may be any text.
        let mut reservation = encode_token(&self.reservation.to_string());
        reservation.truncate(LONGEST_RESERVATION);
        write!(
            f,
            "{reservation}.{}-{}.{}",
            self.version, self.index, self.destination
        )
    }
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ReportState {
    /// It was tried, and is still owed.
    Owed {
        /// How often the receiver answered with an error that counts against the report.
        attempts: u32,
        /// The last error, without the answer's body.
        last_error: Option<String>,
        /// When it was first tried.
        first_at: Timestamp,
        /// Who sends it now, if anyone does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sending: Option<Sending>,
        /// When it began to be owed again because an operator had its dead letter replayed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replayed_at: Option<Timestamp>,
    },
    /// The receiver took it.
    Delivered {
        /// When.
        at: Timestamp,
        /// Its answer.
        status: u16,
        /// The how many-th attempt that was.
        attempts: u32,
    },
    /// It is a dead letter.
    DeadLettered {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// It was not true any more when it could leave, so it was not sent.
    Dropped {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
}

/// A report's state as it is stored.
#[derive(Serialize, Deserialize)]
struct Kept<S> {
    #[serde(flatten)]
    state: S,
    /// Of which entry of the ledger. Not there in what earlier versions wrote, which counts for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry: Option<EntryId>,
}

/// One notifier's word that it is about to send a report. Until it is over no other one sends the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    /// Which notifier: a name that it gave itself when it started, and that no other one has.
    pub by: String,
    /// When it said so, by its clock.
    pub since: Timestamp,
    /// When it will have written down what came of it, or was killed; by its clock.
    pub until: Timestamp,
}

impl ReportState {
    /// Owed since now.
    pub fn untried() -> Self {
        Self::Owed {
            attempts: 0,
            last_error: None,
            first_at: Timestamp::now(),
            sending: None,
            replayed_at: None,
        }
    }

    /// Whether nothing is owed any more.
    pub fn is_settled(&self) -> bool {
        !matches!(self, Self::Owed { .. })
    }
}

/// Which change of a report's state this is; given back with the next change, so that two replicas can't both make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(u64);

impl EventStore {
    /// What became of a report, as the bucket's leader knows it; none where it was never tried.
    ///
    /// # Errors
    /// Where the broker does not answer, or the state can't be read.
    pub async fn report(
        &self,
        key: &ReportKey,
    ) -> Result<Option<(ReportState, Revision)>, EventStoreError> {
        self.report_of(&key.to_string(), key.entry).await
    }

    /// As [`EventStore::report`], for a key as it is written.
    pub(crate) async fn report_under(
        &self,
        key: &str,
    ) -> Result<Option<(ReportState, Revision)>, EventStoreError> {
        self.report_of(key, None).await
    }

    async fn report_of(
        &self,
        key: &str,
        entry: Option<EntryId>,
    ) -> Result<Option<(ReportState, Revision)>, EventStoreError> {
        let name = report_stream(self);
        let stream = self.context.get_stream_no_info(&name).await;
        let stream = stream
            .map_err(|error| EventStoreError::broker(format!("look at stream {name}"), error))?;
        match stream
            .get_last_raw_message_by_subject(&report_subject(self, key))
            .await
        {
            Ok(message) => {
                let kept: Kept<ReportState> =
                    serde_json::from_slice(&message.payload).map_err(|error| Unreadable::Body {
                        problem: error.to_string(),
                    })?;
                let is_another_s = entry.is_some() && kept.entry.is_some() && entry != kept.entry;
                let state = if is_another_s {
                    ReportState::untried()
                } else {
                    kept.state
                };
                Ok(Some((state, Revision(message.sequence))))
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(EventStoreError::broker(format!("read report {key}"), error)),
        }
    }

    /// Keeps what became of a report, if it still is as it was at `last` (none: it was never tried).
    ///
    /// # Errors
    /// [`ReportError::Conflict`] where another replica changed it meanwhile.
    pub async fn set_report(
        &self,
        key: &ReportKey,
        state: &ReportState,
        last: Option<Revision>,
    ) -> Result<Revision, ReportError> {
        let what = format!("report {key}");
        let kept = Kept {
            state,
            entry: key.entry,
        };
        let body = serde_json::to_vec(&kept).expect("a report's state has only text keys");
        let message = PublishMessage::build()
            .payload(body.into())
            .expected_last_subject_sequence(last.map_or(0, |revision| revision.0));
        match self
            .publish(
                report_subject(self, &key.to_string()),
                message,
                &what,
                TIMEOUT,
            )
            .await
        {
            Ok(stored) => Ok(Revision(stored.sequence)),
            Err(PublishFailure::WrongSequence) => Err(ReportError::Conflict {
                key: key.to_string(),
            }),
            Err(failure) => {
                let error = failure.into_store_error(&what);
                Err(ReportError::Store(store_failed(what, error)))
            }
        }
    }
}

fn store_failed(what: String, error: StoreError) -> EventStoreError {
    EventStoreError::broker(format!("store {what}"), error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_was_written_before_there_were_claims_is_still_read() {
        let old = r#"{"state":"owed","attempts":2,"last_error":"HTTP 500","first_at":"2026-11-23T10:00:00Z"}"#;
        let kept: Kept<ReportState> = serde_json::from_str(old).unwrap();
        assert!(matches!(
            &kept.state,
            ReportState::Owed {
                attempts: 2,
                sending: None,
                ..
            }
        ));
        assert_eq!(serde_json::to_string(&kept).unwrap(), old);
        assert_eq!(kept.entry, None);
    }
}
