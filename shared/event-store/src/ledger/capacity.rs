//! The capacity in the ledger: one subject beside those of the resources, with the same rule for who is first.

use bellhop_domain::capacity::Fact;
use bellhop_domain::id::Version;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::decided;
use crate::error::{AppendError, EventStoreError, Unreadable};
use crate::inbox::Raw;
use crate::message::{self, header};
use crate::store::{EventStore, not_a_message};
use crate::subject::OF_CAPACITY;

/// One decision about the capacity as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityEntry {
    /// Its sequence in LEDGER.
    pub version: Version,
    /// When it was decided.
    pub at: Timestamp,
    /// Its facts.
    pub facts: Vec<Fact>,
    /// What led to it.
    pub cause: String,
}

/// The body of its message.
#[derive(Serialize, Deserialize)]
struct Body {
    facts: Vec<Fact>,
}

impl EventStore {
    /// Appends a decision about the capacity that was made upon `expected`, the version of the newest one (0 where there is
    /// none).
    ///
    /// # Errors
    /// As for [`EventStore::append`].
    pub async fn append_to_capacity(
        &self,
        expected: Version,
        at: Timestamp,
        facts: &[Fact],
        cause: &str,
    ) -> Result<Version, AppendError> {
        let what = "facts on the capacity";
        let body = Body {
            facts: facts.to_vec(),
        };
        let names = facts.iter().map(Fact::name);
        let message = decided(&body, names, at, cause).map_err(|bad| not_a_message(what, &bad))?;
        self.append_to(OF_CAPACITY, expected, message, what).await
    }

    /// The version of the newest decision about the capacity, as the stream's leader knows it; 0 where there is none.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn newest_capacity_version(&self) -> Result<Version, EventStoreError> {
        self.newest_of(OF_CAPACITY).await
    }
}

pub(super) fn read(raw: &Raw<'_>) -> Result<CapacityEntry, Unreadable> {
    message::check_format(raw.headers)?;
    let body: Body = serde_json::from_slice(raw.body).map_err(|error| Unreadable::Body {
        problem: error.to_string(),
    })?;
    Ok(CapacityEntry {
        version: Version(raw.sequence),
        at: message::time(raw.headers)?,
        facts: body.facts,
        cause: message::text(raw.headers, header::CAUSE)
            .unwrap_or_default()
            .to_owned(),
    })
}
