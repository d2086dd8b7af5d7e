//! What is decided about no resource: each kind of that has one subject beside those of the resources, with the same rule for
//! who is first.

use bellhop_domain::id::Version;
use bellhop_domain::{capacity, quota};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::decided;
use crate::error::{AppendError, EventStoreError, Unreadable};
use crate::inbox::Raw;
use crate::message::{self, header};
use crate::store::{EventStore, not_a_message};
use crate::subject::{OF_CAPACITY, OF_DEADLINE_RELEASES};

/// One decision about no resource as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryBeside<F> {
    /// Its sequence in LEDGER.
    pub version: Version,
    /// When it was decided.
    pub at: Timestamp,
    /// Its facts.
    pub facts: Vec<F>,
    /// What led to it.
    pub cause: String,
}

/// The body of its message.
#[derive(Serialize, Deserialize)]
struct Body<F> {
    facts: F,
}

/// One decision about the capacity as it stands in the ledger.
pub type CapacityEntry = EntryBeside<capacity::Fact>;
/// One decision about the permits to release a host because no end came as it stands in the ledger.
pub type DeadlineReleasesEntry = EntryBeside<quota::Fact>;

/// A fact that is about no resource.
pub trait FactBeside: Serialize {
    /// The subject that all of its kind stand on.
    const SUBJECT: &'static str;
    /// What they are about, in words.
    const ABOUT: &'static str;

    /// Its name, as it stands in the ledger.
    fn fact_name(&self) -> &'static str;
}

impl FactBeside for capacity::Fact {
    const SUBJECT: &'static str = OF_CAPACITY;
    const ABOUT: &'static str = "facts on the capacity";

    fn fact_name(&self) -> &'static str {
        self.name()
    }
}

impl FactBeside for quota::Fact {
    const SUBJECT: &'static str = OF_DEADLINE_RELEASES;
    const ABOUT: &'static str = "permits to release hosts";

    fn fact_name(&self) -> &'static str {
        self.name()
    }
}

impl EventStore {
    /// Appends a decision about no resource that was made upon `expected`, the version of the newest one of its kind (0 where
    /// there is none).
    ///
    /// # Errors
    /// As for [`EventStore::append`].
    pub async fn append_beside<F: FactBeside>(
        &self,
        expected: Version,
        at: Timestamp,
        facts: &[F],
        cause: &str,
    ) -> Result<Version, AppendError> {
        let names = facts.iter().map(F::fact_name);
        let message = decided(&Body { facts }, names, at, cause)
            .map_err(|bad| not_a_message(F::ABOUT, &bad))?;
        self.append_to(F::SUBJECT, expected, message, F::ABOUT)
            .await
    }

    /// The version of the newest decision of such facts, as the stream's leader knows it; 0 where there is none.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn newest_beside<F: FactBeside>(&self) -> Result<Version, EventStoreError> {
        self.newest_of(F::SUBJECT).await
    }
}

pub(super) fn read<F: DeserializeOwned>(raw: &Raw<'_>) -> Result<EntryBeside<F>, Unreadable> {
    message::check_format(raw.headers)?;
    let body: Body<Vec<F>> =
        serde_json::from_slice(raw.body).map_err(|error| Unreadable::Body {
            problem: error.to_string(),
        })?;
    Ok(EntryBeside {
        version: Version(raw.sequence),
        at: message::time(raw.headers)?,
        facts: body.facts,
        cause: message::text(raw.headers, header::CAUSE)
            .unwrap_or_default()
            .to_owned(),
    })
}
