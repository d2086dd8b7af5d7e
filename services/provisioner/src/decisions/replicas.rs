//! Replicas that decide at once, for the tests beside this.

#![allow(clippy::unwrap_used)]

use bellhop_domain::id::Version;
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::Policy;
use bellhop_event_store::{EventStore, EventStoreSettings};
use bellhop_nats_server::NatsServer;
use tokio_util::sync::CancellationToken;

use super::Decisions;
use crate::folded::FoldedLedger;

/// One that reads what is recorded.
pub(super) async fn replica(server: &NatsServer) -> Decisions {
    let replica = one_that_reads_nothing(server).await;
    replica.begin_to_read();
    replica
}

/// One that has read nothing yet.
pub(super) async fn one_that_reads_nothing(server: &NatsServer) -> Decisions {
    let settings = EventStoreSettings::at(server.url());
    let store = EventStore::connect(&settings, "test").await.unwrap();
    store.prepare().await.unwrap();
    let folded = FoldedLedger::from(Ledger::default(), Version(0).into());
    Decisions::new(store, folded, Policy::default())
}

impl Decisions {
    pub(super) fn begin_to_read(&self) {
        let (following, reads) = (self.folded.clone(), self.store.clone());
        tokio::spawn(async move { following.follow(&reads, &CancellationToken::new()).await });
    }
}
