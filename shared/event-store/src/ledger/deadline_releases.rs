//! The permits to release a host because no end came, in the ledger.

use bellhop_domain::id::Version;
use bellhop_domain::quota::Fact;
use jiff::Timestamp;

use super::beside::{EntryBeside, Place};
use crate::error::{AppendError, EventStoreError};
use crate::store::EventStore;
use crate::subject::OF_DEADLINE_RELEASES;

/// One decision about those permits as it stands in the ledger.
pub type DeadlineReleasesEntry = EntryBeside<Fact>;

const PLACE: Place = Place {
    subject: OF_DEADLINE_RELEASES,
    about: "permits to release hosts",
};

impl EventStore {
    /// Appends a decision about who may release a host because no end came, made upon `expected`, the version of the newest
    /// one (0 where there is none).
    ///
    /// # Errors
    /// As for [`EventStore::append`].
    pub async fn append_to_deadline_releases(
        &self,
        expected: Version,
        at: Timestamp,
        facts: &[Fact],
        cause: &str,
    ) -> Result<Version, AppendError> {
        self.append_beside(&PLACE, expected, at, facts, cause, Fact::name)
            .await
    }

    /// The version of the newest decision about that, as the stream's leader knows it; 0 where there is none.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn newest_deadline_releases_version(&self) -> Result<Version, EventStoreError> {
        self.newest_of(OF_DEADLINE_RELEASES).await
    }
}
