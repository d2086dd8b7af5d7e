//! The event store over NATS JetStream: what is stored where, in which form, and how it is read again.
//!
//! ```text
//!   DELIVERIES    deliveries.<source>.<site>.<kind>.<name>    one verified webhook, untouched     ingress ──▶ provisioner
//!   LEDGER        ledger.<kind>.<namespace>.<name>            one decision: its facts, in order   provisioner ──▶ all
//!                 ledger.capacity                             the same, about the capacity
//!                 ledger.deadline_releases                    the same, about releases without an end
//!   DEAD_LETTERS  dead_letters.<service>.<class>.<what>       what could not be handled, and why  all ──▶ operators
//!                 dead_letters.verdicts.…, .replays.…         what operators decided about that     operators ──▶ notifier
//!   SNAPSHOTS     one object for each reader                  a fold of the ledger: a cache         provisioner
//!   REPORTS       <reservation>.<version>-<index>.<destination>   what became of a report (a bucket)   notifier
//! ```
//!
//! - [`EventStore::connect`], [`EventStore::prepare`]: the broker, and the streams on it ([`streams`]);
//! - [`EventStore::append`]: one decision, stored only if nothing else was decided on its resource meanwhile ([`ledger`]);
//! - [`EventStore::follow_ledger`]: everything that the ledger says, in order, for ever;
//! - [`inbox::Inbox`]: a durable consumer that hands out messages one by one and never gives up;
//! - [`subject`]: names from outside as subject tokens.
//!
//! A publish without an answer may or may not be stored. Deliveries and dead letters carry a message id, so they can be sent
//! again; an append carries the version that it was decided upon, so a late one is refused.
//!
//! Messages are JSON with CloudEvents attributes (<https://cloudevents.io>, binary mode) and `traceparent` as headers.

pub mod clock;
pub mod dead_letter;
pub mod delivery;
pub mod erasure;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod inbox;
pub mod ledger;
mod message;
mod operators_records;
pub mod report;
pub mod retention;
pub mod settings;
pub mod snapshot;
mod store;
pub mod streams;
pub mod subject;

pub use clock::BrokerClock;
pub use dead_letter::{
    AskedReport, BuriedLetter, DeadLetter, DeadLetterClass, Decided, Operator, Replay, ReplayError,
    ReplayRequest, Selection, Verdict, VerdictError, kept,
};
pub use delivery::{Delivery, NewDelivery};
pub use erasure::{Erasure, StoredDelivery};
pub use error::{
    AppendError, ErrorClass, EventStoreError, FollowError, ReportError, SetupError, StoreError,
    Unreadable,
};
pub use inbox::{ConsumerLimits, Handed, Inbox};
pub use ledger::{
    CapacityEntry, DeadlineReleasesEntry, Entry, EntryBeside, EntryId, FactBeside, Follower,
    LedgerEntry, NewEntry, Position, StoredEntry,
};
pub use report::{ReportKey, ReportState, Revision, Sending};
pub use retention::Retention;
pub use settings::{EventStoreSettings, Mode};
pub use store::{EventStore, Stored};
