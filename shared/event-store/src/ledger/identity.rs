//! Whether LEDGER is still the ledger that was read.
//!
//! A broker that lost its store gets its streams again from the first service that may make them. What a process folded
//! before would then be taken for the new ledger's state, and new facts be folded onto it: the absence of facts would cause
//! effects. The stream's metadata carries an id that tells two ledgers apart.

use std::sync::atomic::Ordering;

use async_nats::jetstream::stream::Stream;
use bellhop_domain::id::LedgerId;

use crate::error::{EventStoreError, OtherLedger};
use crate::store::EventStore;
use crate::streams::{LEDGER, ledger_id};

/// Nothing may be read from or sent to LEDGER now.
#[derive(Debug)]
pub(crate) enum NotTheLedger {
    /// It is another one.
    Other(OtherLedger),
    /// It could not be looked at.
    NotSeen(EventStoreError),
}

impl EventStore {
    /// Refuses another ledger than the one that was prepared. The broker is asked once for each connection: a store that is
    /// lost takes the connection with it. A stream that is deleted and made anew under a connection is the follower's to
    /// notice, whose consumer goes with it.
    pub(crate) async fn check_ledger(&self, connection: u64) -> Result<(), NotTheLedger> {
        if self.ledger_seen_over.load(Ordering::Relaxed) != connection {
            look(self, self.prepared_ledger()).await?;
            self.ledger_seen_over.store(connection, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The stream, and which ledger it is, if that is the one that is `known`.
pub(super) async fn look(
    store: &EventStore,
    known: Option<&LedgerId>,
) -> Result<(Stream, Option<LedgerId>), NotTheLedger> {
    let stream = store.stream(LEDGER).await.map_err(NotTheLedger::NotSeen)?;
    let found = ledger_id(&stream.cached_info().config);
    match known {
        Some(known) if found.as_ref() != Some(known) => Err(NotTheLedger::Other(OtherLedger {
            known: known.clone(),
            found,
        })),
        _ => Ok((stream, found)),
    }
}
