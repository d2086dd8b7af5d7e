//! The ledger: what was decided, in order, for ever.

mod beside;
mod follower;
mod identity;

use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use bellhop_domain::id::{ResourceId, Version};
use bellhop_domain::reservation::Fact;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::beside::{CapacityEntry, DeadlineReleasesEntry, EntryBeside, FactBeside};
pub use self::follower::{Follower, Position};
pub(crate) use self::identity::NotTheLedger;
use crate::error::{AppendError, EventStoreError, Unreadable};
use crate::inbox::{ConsumerLimits, Inbox, Raw, header_list, timestamp};
use crate::message::{self, BadHeader, Outgoing, header};
use crate::store::{EventStore, PublishFailure, not_a_message};
use crate::streams::LEDGER;
use crate::subject::{OF_CAPACITY, OF_DEADLINE_RELEASES, OF_RESOURCES, of_resource, resource_of};

const APPEND_TIMEOUT: Duration = Duration::from_secs(5);

/// One decision to be appended.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// When it was decided.
    pub at: Timestamp,
    /// What follows, in order; not empty.
    pub facts: Vec<Fact>,
    /// The trace that led to it.
    pub traceparent: Option<String>,
    /// What led to it: a delivery's id, `observation`, `time`.
    pub cause: String,
}

/// What stands in the ledger: a decision about one of the kinds of aggregates that there are.
#[derive(Clone, Debug)]
pub enum LedgerEntry {
    /// About a resource.
    Resource(Entry),
    /// About the capacity.
    Capacity(CapacityEntry),
    /// About the permits to release a host because no end came.
    DeadlineReleases(DeadlineReleasesEntry),
}

impl LedgerEntry {
    /// Its sequence in LEDGER.
    pub fn version(&self) -> Version {
        match self {
            Self::Resource(entry) => entry.version,
            Self::Capacity(entry) => entry.version,
            Self::DeadlineReleases(entry) => entry.version,
        }
    }

    /// The decision, where it is about a resource.
    pub fn into_resource(self) -> Option<Entry> {
        match self {
            Self::Resource(entry) => Some(entry),
            Self::Capacity(_) | Self::DeadlineReleases(_) => None,
        }
    }
}

/// Which decision it is, whatever version it stands at: where the ledger is set back to a backup, another one may come to stand
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryId(Uuid);

/// One decision about a resource as it stands in the ledger.
#[derive(Clone, Debug)]
pub struct Entry {
    /// On which resource.
    pub resource: ResourceId,
    /// Its sequence in LEDGER.
    pub version: Version,
    /// Its id; none where who stored it gave it none.
    pub id: Option<EntryId>,
    /// When it was decided.
    pub at: Timestamp,
    /// Its facts.
    pub facts: Vec<Fact>,
    /// The trace that led to it.
    pub traceparent: Option<String>,
    /// What led to it.
    pub cause: String,
}

/// A message of LEDGER as it is stored, for one that may not be readable.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    /// What it says, or why it can't be read.
    pub entry: Result<Entry, Unreadable>,
    /// When the broker stored it.
    pub stored_at: Timestamp,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
}

/// The body of a message in LEDGER.
#[derive(Serialize, Deserialize)]
struct Body {
    resource: ResourceId,
    facts: Vec<Fact>,
}

impl EventStore {
    /// Appends a decision that was made upon `expected`, the version of the resource's newest entry (0 where it has none).
    ///
    /// # Errors
    /// [`AppendError::Conflict`] where the resource has newer entries: wait until the follower has passed them
    /// ([`EventStore::newest_version`]) and decide again. [`AppendError::OtherLedger`] where the stream was made anew: nothing
    /// was sent. After any other error it may be appended or not; deciding again finds out, since a second append of the
    /// same decision would be a conflict.
    pub async fn append(
        &self,
        resource: &ResourceId,
        expected: Version,
        entry: &NewEntry,
    ) -> Result<Version, AppendError> {
        let what = format!("facts on {resource}");
        let message = outgoing(resource, entry).map_err(|bad| not_a_message(&what, &bad))?;
        self.append_to(&of_resource(resource), expected, message, &what)
            .await
    }

    /// As [`EventStore::append`], where `expected` is the version of the newest entry of the whole ledger: nothing may have been
    /// appended since, on whatever resource. For what is decided about more than its resource.
    ///
    /// # Errors
    /// As for [`EventStore::append`]; after [`AppendError::Conflict`] the ledger has entries after `expected`.
    pub async fn append_at_end(
        &self,
        resource: &ResourceId,
        expected: Version,
        entry: &NewEntry,
    ) -> Result<Version, AppendError> {
        let what = format!("facts on {resource}");
        let message = outgoing(resource, entry).map_err(|bad| not_a_message(&what, &bad))?;
        let message = message.into_message().expected_last_sequence(expected.0);
        self.append_expecting(&of_resource(resource), expected, message, &what)
            .await
    }

    async fn append_to(
        &self,
        subject: &str,
        expected: Version,
        message: Outgoing,
        what: &str,
    ) -> Result<Version, AppendError> {
        let message = message.into_message();
        let message = message.expected_last_subject_sequence(expected.0);
        self.append_expecting(subject, expected, message, what)
            .await
    }

    async fn append_expecting(
        &self,
        subject: &str,
        expected: Version,
        message: PublishMessage,
        what: &str,
    ) -> Result<Version, AppendError> {
        match self
            .publish_to_ledger(self.subject(subject), message, what, APPEND_TIMEOUT)
            .await
        {
            Ok(stored) => Ok(Version(stored.sequence)),
            Err(PublishFailure::WrongSequence) => Err(AppendError::Conflict {
                what: what.to_owned(),
                expected,
            }),
            Err(PublishFailure::OtherLedger(other)) => Err(AppendError::OtherLedger(other)),
            Err(PublishFailure::Store(error)) => Err(AppendError::Store(error)),
        }
    }

    /// The version of a resource's newest entry, as the stream's leader knows it; 0 where it has none.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn newest_version(&self, resource: &ResourceId) -> Result<Version, EventStoreError> {
        self.newest_of(&of_resource(resource)).await
    }

    async fn newest_of(&self, subject: &str) -> Result<Version, EventStoreError> {
        use async_nats::jetstream::stream::RawMessageErrorKind;
        let stream = self.stream(LEDGER).await?;
        let full = self.subject(subject);
        match stream.get_last_raw_message_by_subject(&full).await {
            Ok(message) => Ok(Version(message.sequence)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(Version(0)),
            Err(error) => Err(EventStoreError::broker(
                format!("read the newest facts on {subject}"),
                error,
            )),
        }
    }

    /// The sequence of the ledger's newest entry.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn ledger_end(&self) -> Result<Version, EventStoreError> {
        Ok(Version(
            self.stream(LEDGER).await?.cached_info().state.last_sequence,
        ))
    }

    /// The entry at a version; none where there is none.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn entry(&self, version: Version) -> Result<Option<StoredEntry>, EventStoreError> {
        let stream = self.stream(LEDGER).await?;
        let found = self.message_at(&stream, version.0).await?;
        Ok(found.map(|found| {
            let raw = Raw {
                subject: self.without_prefix(&found.subject),
                sequence: version.0,
                headers: &found.headers,
                body: &found.payload,
                stored_at: timestamp(found.time),
            };
            StoredEntry {
                entry: message::read_or_panic(|| read_resource(&raw)),
                stored_at: raw.stored_at,
                headers: header_list(Some(&found.headers)),
                body: found.payload.clone(),
            }
        }))
    }

    /// Everything that the ledger says after a position, or a version of which no more is known, in order.
    pub fn follow_ledger(&self, after: impl Into<Position>) -> Follower {
        Follower::new(self, after.into())
    }

    /// What the ledger says of resources, for the durable consumer `name`: for what must be done once for each entry.
    pub fn ledger_consumer(&self, name: &str, limits: ConsumerLimits) -> Inbox<Entry> {
        Inbox::new(
            self,
            LEDGER,
            name,
            "Bellhop: reports what the ledger says",
            limits,
            |_, raw| read_resource(raw),
        )
        .only(OF_RESOURCES)
    }
}

fn outgoing(resource: &ResourceId, entry: &NewEntry) -> Result<Outgoing, BadHeader> {
    let body = Body {
        resource: resource.clone(),
        facts: entry.facts.clone(),
    };
    let names = entry.facts.iter().map(Fact::name);
    let mut outgoing = decided(&body, names, entry.at, &entry.cause)?;
    outgoing.optional(header::TRACEPARENT, entry.traceparent.as_deref())?;
    Ok(outgoing)
}

/// What all decisions have in common.
fn decided<'a>(
    body: &impl Serialize,
    names: impl Iterator<Item = &'a str>,
    at: Timestamp,
    cause: &str,
) -> Result<Outgoing, BadHeader> {
    let body = serde_json::to_vec(body).expect("facts have only text keys and finite numbers");
    let names = names.collect::<Vec<_>>().join(",");
    let id = Uuid::now_v7().to_string();
    let mut outgoing = Outgoing::new(&id, "bellhop/provisioner", &names, at, Bytes::from(body))?;
    outgoing.header(header::CAUSE, cause)?;
    Ok(outgoing)
}

fn read(raw: &Raw<'_>) -> Result<LedgerEntry, Unreadable> {
    match raw.subject {
        OF_CAPACITY => beside::read(raw).map(LedgerEntry::Capacity),
        OF_DEADLINE_RELEASES => beside::read(raw).map(LedgerEntry::DeadlineReleases),
        _ => read_resource(raw).map(LedgerEntry::Resource),
    }
}

fn read_resource(raw: &Raw<'_>) -> Result<Entry, Unreadable> {
    message::check_format(raw.headers)?;
    let resource = resource_of(raw.subject).ok_or_else(|| Unreadable::Subject {
        subject: raw.subject.to_owned(),
    })?;
    let body: Body = serde_json::from_slice(raw.body).map_err(|error| Unreadable::Body {
        problem: error.to_string(),
    })?;
    Ok(Entry {
        resource,
        version: Version(raw.sequence),
        id: message::text(raw.headers, header::ID)
            .and_then(|id| Uuid::parse_str(id).ok())
            .map(EntryId),
        at: message::time(raw.headers)?,
        facts: body.facts,
        traceparent: message::text(raw.headers, header::TRACEPARENT).map(str::to_owned),
        cause: message::text(raw.headers, header::CAUSE)
            .unwrap_or_default()
            .to_owned(),
    })
}
