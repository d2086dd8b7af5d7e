//! Dead letters: what could not be handled, kept whole with the reason until an operator replays or drops it.
//!
//! ```text
//!   dead_letters.<service>.<class>.<what>            a letter                                      services ──▶ operators
//!   dead_letters.<service>.delivery.body.<sequence>  that a letter's body is there in DELIVERIES   services
//!   dead_letters.verdicts.<sequence>                 what an operator decided about the letter     operators
//!   dead_letters.replays.<destination>               reports that operators want sent again, in
//!                                                    their order                                   operators ──▶ notifier
//! ```
//!
//! A verdict is written before anything is done, and there is one for each letter: of two operators the first decides. Then it
//! is carried out, and at last the letter is erased. What a crash leaves between is carried out by asking again: each step
//! done twice has no second effect.

mod left_body;
mod redelivery;
mod replay;
mod request;
mod selection;
mod verdict;

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::error::{EventStoreError, StoreError, Unreadable};
use crate::inbox::{Raw, header_list, timestamp};
use crate::message::{self, BadHeader, Outgoing, header};
use crate::store::{EventStore, Stored, not_a_message};
use crate::streams::DEAD_LETTERS;
use crate::subject::{decode_token, encode_token};

pub use self::replay::{Replay, ReplayError, in_order};
pub use self::request::{AskedReport, ReplayRequest};
pub use self::selection::Selection;
pub use self::verdict::{Decided, Operator, Verdict, VerdictError};

/// The letters, and no operator's verdicts and requests, which have fewer tokens.
const LETTERS: &str = "dead_letters.*.*.*";
const ORIGINAL: &str = "Original-";
const REASON: &str = "Bellhop-Reason";
const TRIES: &str = "Bellhop-Tries";
const FIRST_AT: &str = "Bellhop-First-At";

/// Headers that who buries something adds to those of the message, for who replays it.
pub mod kept {
    /// The subject that the message was stored under.
    pub const SUBJECT: &str = "Bellhop-Subject";
    /// The resource's name.
    pub const RESOURCE: &str = "Bellhop-Resource";
    /// A report's key in REPORTS.
    pub const REPORT: &str = "Report";
    /// An entry of LEDGER by its sequence.
    pub const ENTRY: &str = "Entry";
    /// A message of DELIVERIES by its sequence, where a letter is too large to hold its body.
    pub const DELIVERY: &str = "Delivery";
}

/// Two kinds, kept apart: what the system could not handle, and what a receiver would not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterClass {
    /// A delivery or a fact that we can't handle.
    Delivery,
    /// A report that its receiver refused, or that was tried often enough.
    Report,
}

impl DeadLetterClass {
    /// The token in the subject.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Report => "report",
        }
    }
}

/// Something that can't be handled.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Who gives up.
    pub service: &'static str,
    /// On what.
    pub class: DeadLetterClass,
    /// Its id: a repeated burial within the duplicate window is stored once.
    pub id: String,
    /// The source or the destination.
    pub what: String,
    /// Why, without secrets.
    pub reason: String,
    /// How often it was tried.
    pub tries: u64,
    /// When it was first tried.
    pub first_at: Timestamp,
    /// When it was last tried.
    pub last_at: Timestamp,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    /// The message's own headers.
    pub headers: Vec<(String, String)>,
    /// The untouched body.
    pub body: Bytes,
}

/// A dead letter as it is stored.
#[derive(Clone, Debug)]
pub struct BuriedLetter {
    /// Its sequence in DEAD_LETTERS.
    pub sequence: u64,
    /// Its subject, without prefix: service, class and source or destination.
    pub subject: String,
    /// Its id; empty where it is something that this version can't read.
    pub id: String,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub tries: u64,
    /// When it was first tried.
    pub first_at: Timestamp,
    /// When it was last tried.
    pub last_at: Timestamp,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    /// The message's own headers.
    pub headers: Vec<(String, String)>,
    /// The untouched body.
    pub body: Bytes,
}

impl BuriedLetter {
    /// Which kind it is; none where its subject is not of ours.
    pub fn class(&self) -> Option<DeadLetterClass> {
        match self.token(2)? {
            "delivery" => Some(DeadLetterClass::Delivery),
            "report" => Some(DeadLetterClass::Report),
            _ => None,
        }
    }

    /// Who gave up.
    pub fn service(&self) -> Option<String> {
        decode_token(self.token(1)?).ok()
    }

    /// The source or the destination.
    pub fn what(&self) -> Option<String> {
        decode_token(self.token(3)?).ok()
    }

    /// The resources that it is about, as far as it says: by its headers, else by a body that could not be read as a whole.
    pub fn resources(&self) -> Vec<String> {
        if let Some(name) = self.header(kept::RESOURCE) {
            return vec![name.to_owned()];
        }
        let token = self
            .header(kept::SUBJECT)
            .and_then(|subject| subject.rsplit('.').next());
        if let Some(name) = token.and_then(|token| decode_token(token).ok()) {
            return vec![name];
        }
        let mut names = Vec::new();
        if let Ok(body) = serde_json::from_slice(&self.body) {
            resource_names(&body, &mut names);
        }
        names
    }

    /// A header of the message that it was, or of those in [`kept`].
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    fn token(&self, index: usize) -> Option<&str> {
        self.subject.split('.').nth(index)
    }
}

/// The names of resources in a payload of any form: `resourceName`, or the `name` of a `resource`.
fn resource_names(value: &serde_json::Value, names: &mut Vec<String>) {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), value) {
                    ("resourceName", Value::String(name)) => names.push(name.clone()),
                    ("resource", Value::Object(resource)) => {
                        names.extend(
                            resource
                                .get("name")
                                .and_then(Value::as_str)
                                .map(str::to_owned),
                        );
                    }
                    _ => resource_names(value, names),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| resource_names(value, names)),
        _ => {}
    }
}

impl EventStore {
    /// Stores a dead letter. When this returns, it is stored durably; only then may the original be given up.
    ///
    /// # Errors
    /// As for [`EventStore::store_delivery`].
    pub async fn bury(&self, letter: &DeadLetter, timeout: Duration) -> Result<Stored, StoreError> {
        self.keep_left_body(letter, timeout).await?;
        let what = format!("dead letter {}", letter.id);
        let message = outgoing(letter)
            .map_err(|bad| not_a_message(&what, &bad))?
            .into_message()
            .message_id(&letter.id);
        let subject = self.subject(&format!(
            "dead_letters.{}.{}.{}",
            encode_token(letter.service),
            letter.class.as_str(),
            encode_token(&letter.what)
        ));
        let stored = self.publish(subject, message, &what, timeout).await;
        stored.map_err(|failure| failure.into_store_error(&what))
    }

    /// How many dead letters a service has.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn dead_letters_of(&self, service: &str) -> Result<u64, EventStoreError> {
        let filter = self.subject(&subjects_of(service));
        let stream = self.stream(DEAD_LETTERS).await?;
        let info = stream.info_builder().subjects(filter).fetch().await;
        let subjects =
            info.map_err(|error| EventStoreError::broker("count dead letters", error))?;
        let mut total = 0;
        let mut subjects = subjects;
        while let Some(subject) = futures::StreamExt::next(&mut subjects).await {
            let (_, count) =
                subject.map_err(|error| EventStoreError::broker("count dead letters", error))?;
            total += u64::try_from(count).unwrap_or(u64::MAX);
        }
        Ok(total)
    }

    /// The dead letters from the sequence `from` on, oldest first, at most `limit`.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn dead_letters(
        &self,
        from: u64,
        limit: usize,
    ) -> Result<Vec<BuriedLetter>, EventStoreError> {
        self.letters(&Selection::default(), from, limit).await
    }

    /// As [`EventStore::dead_letters`], only those that are selected.
    ///
    /// # Errors
    /// As there.
    pub async fn select_dead_letters(
        &self,
        selection: &Selection,
        from: u64,
        limit: usize,
    ) -> Result<Vec<BuriedLetter>, EventStoreError> {
        self.letters(selection, from, limit).await
    }

    /// As [`EventStore::dead_letters`], only those of one service.
    ///
    /// # Errors
    /// As there.
    pub async fn dead_letters_by(
        &self,
        service: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<BuriedLetter>, EventStoreError> {
        let selection = Selection {
            service: Some(service.to_owned()),
            ..Selection::default()
        };
        self.letters(&selection, from, limit).await
    }

    /// The sequence of the newest message of DEAD_LETTERS.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn dead_letters_end(&self) -> Result<u64, EventStoreError> {
        let stream = self.stream(DEAD_LETTERS).await?;
        Ok(stream.cached_info().state.last_sequence)
    }

    /// The dead letter at a sequence; none where there is none.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn dead_letter(
        &self,
        sequence: u64,
    ) -> Result<Option<BuriedLetter>, EventStoreError> {
        let letters = self.dead_letters(sequence, 1).await?;
        Ok(letters
            .into_iter()
            .find(|letter| letter.sequence == sequence))
    }

    async fn letters(
        &self,
        selection: &Selection,
        mut from: u64,
        limit: usize,
    ) -> Result<Vec<BuriedLetter>, EventStoreError> {
        let stream = self.stream(DEAD_LETTERS).await?;
        let subjects = selection.subjects();
        let mut letters = Vec::new();
        while letters.len() < limit {
            let Some(found) = self.next_in(&stream, &subjects, from).await? else {
                break;
            };
            let raw = Raw {
                subject: self.without_prefix(&found.subject),
                sequence: found.sequence,
                headers: &found.headers,
                body: &found.payload,
                stored_at: timestamp(found.time),
            };
            from = found.sequence + 1;
            let letter = read(&raw).unwrap_or_else(|problem| unread(&raw, &problem));
            if selection.takes(&letter) {
                letters.push(letter);
            }
        }
        Ok(letters)
    }
}

/// Where a service's dead letters are, without prefix.
fn subjects_of(service: &str) -> String {
    format!("dead_letters.{}.*.*", encode_token(service))
}

fn outgoing(letter: &DeadLetter) -> Result<Outgoing, BadHeader> {
    let source = format!("bellhop/{}", letter.service);
    let event_type = format!("dead-letter.{}", letter.class.as_str());
    let mut outgoing = Outgoing::new(
        &letter.id,
        &source,
        &event_type,
        letter.last_at,
        letter.body.clone(),
    )?;
    outgoing.header(REASON, &letter.reason.replace(['\r', '\n'], " "))?;
    outgoing.header(TRIES, &letter.tries.to_string())?;
    outgoing.header(FIRST_AT, &letter.first_at.to_string())?;
    outgoing.optional(header::TRACEPARENT, letter.traceparent.as_deref())?;
    for (name, value) in &letter.headers {
        outgoing.header(&format!("{ORIGINAL}{name}"), value)?;
    }
    Ok(outgoing)
}

fn read(raw: &Raw<'_>) -> Result<BuriedLetter, Unreadable> {
    message::check_format(raw.headers)?;
    let last_at = message::time(raw.headers).unwrap_or(raw.stored_at);
    Ok(BuriedLetter {
        sequence: raw.sequence,
        subject: raw.subject.to_owned(),
        id: message::required(raw.headers, header::ID)?.to_owned(),
        reason: message::required(raw.headers, REASON)?.to_owned(),
        tries: message::text(raw.headers, TRIES)
            .and_then(|tries| tries.parse().ok())
            .unwrap_or(1),
        first_at: message::text(raw.headers, FIRST_AT)
            .and_then(|at| at.parse().ok())
            .unwrap_or(last_at),
        last_at,
        traceparent: message::text(raw.headers, header::TRACEPARENT).map(str::to_owned),
        headers: header_list(Some(raw.headers))
            .into_iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(ORIGINAL)?.to_owned(), value)))
            .collect(),
        body: raw.body.clone(),
    })
}

/// What stands among the dead letters and can't be read must not hide the others. It can be looked at and dropped.
fn unread(raw: &Raw<'_>, problem: &Unreadable) -> BuriedLetter {
    BuriedLetter {
        sequence: raw.sequence,
        subject: raw.subject.to_owned(),
        id: String::new(),
        reason: format!("not a dead letter that this version reads: {problem}"),
        tries: 0,
        first_at: raw.stored_at,
        last_at: raw.stored_at,
        traceparent: None,
        headers: header_list(Some(raw.headers)),
        body: raw.body.clone(),
    }
}
