//! The capacity in the ledger.

use bellhop_domain::capacity::Fact;
use bellhop_domain::id::Version;
use jiff::Timestamp;

use super::beside::{EntryBeside, Place};
use crate::error::{AppendError, EventStoreError};
use crate::store::EventStore;
use crate::subject::OF_CAPACITY;

/// One decision about the capacity as it stands in the ledger.
pub type CapacityEntry = EntryBeside<Fact>;

const PLACE: Place = Place {
    subject: OF_CAPACITY,
    about: "facts on the capacity",
};

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
        self.append_beside(&PLACE, expected, at, facts, cause, Fact::name)
            .await
    }

    /// The version of the newest decision about the capacity, as the stream's leader knows it; 0 where there is none.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn newest_capacity_version(&self) -> Result<Version, EventStoreError> {
        self.newest_of(OF_CAPACITY).await
    }
}
