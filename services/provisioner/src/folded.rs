//! The ledger, followed and folded in memory: what every decision is made upon.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bellhop_domain::id::{ReservationId, ResourceId, Version};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::Resource;
use bellhop_event_store::{EventStore, FollowError, LedgerEntry, Position};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// What a new entry of the ledger is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A resource.
    Resource(ResourceId),
    /// The capacity.
    Capacity,
}

/// How many changes may wait for a slow listener; one that is slower looks at all of them.
const CHANGES: usize = 4096;

/// The folded ledger. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FoldedLedger {
    folded: Arc<RwLock<Folded>>,
    version: watch::Sender<Version>,
    changes: broadcast::Sender<Change>,
}

/// The state, and up to where it is folded.
struct Folded {
    ledger: Ledger,
    position: Position,
}

impl FoldedLedger {
    /// Begins with what is folded already, up to `position`.
    pub(crate) fn from(ledger: Ledger, position: Position) -> Self {
        Self {
            version: watch::Sender::new(ledger.version()),
            folded: Arc::new(RwLock::new(Folded { ledger, position })),
            changes: broadcast::Sender::new(CHANGES),
        }
    }

    /// Follows the ledger for ever.
    pub(crate) async fn follow(
        &self,
        store: &EventStore,
        stop: &CancellationToken,
    ) -> Result<(), FollowError> {
        let mut follower = store.follow_ledger(self.read_at(|_, position| position));
        loop {
            let entry = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                entry = follower.next() => entry?,
            };
            self.apply(&entry, follower.position());
        }
    }

    fn apply(&self, entry: &LedgerEntry, position: Position) {
        let mut folded = self.folded.write().unwrap_or_else(PoisonError::into_inner);
        let ledger = &mut folded.ledger;
        let change = match entry {
            LedgerEntry::Resource(entry) => {
                ledger.apply(
                    &entry.resource,
                    entry.version,
                    entry.at,
                    entry.traceparent.as_deref(),
                    &entry.facts,
                );
                Some(Change::Resource(entry.resource.clone()))
            }
            LedgerEntry::Capacity(entry) => {
                ledger.apply_to_capacity(entry.version, &entry.facts);
                Some(Change::Capacity)
            }
            // Who has a permit was waiting for it.
            LedgerEntry::DeadlineReleases(entry) => {
                ledger.apply_to_deadline_releases(entry.version, entry.at, &entry.facts);
                None
            }
        };
        folded.position = position;
        drop(folded);
        self.version.send_replace(entry.version());
        if let Some(change) = change {
            // Nobody listens before the start is complete.
            let _nobody = self.changes.send(change);
        }
    }

    /// Waits until everything up to `version` is folded.
    pub(crate) async fn reach(&self, version: Version) {
        let mut seen = self.version.subscribe();
        // The sender lives as long as `self`.
        let _reached = seen.wait_for(|seen| *seen >= version).await;
    }

    /// Waits until everything up to `version` is folded, at most `limit`. Returns whether it was.
    pub(crate) async fn reach_within(&self, version: Version, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.reach(version))
            .await
            .is_ok()
    }

    /// How far the ledger is folded.
    pub(crate) fn version(&self) -> Version {
        *self.version.borrow()
    }

    /// The state of a resource; that of one without facts where nothing is known of it.
    pub(crate) fn resource(&self, id: &ResourceId) -> Resource {
        self.read(|ledger| ledger.resource(id).cloned())
            .unwrap_or_default()
    }

    /// The state of a resource, with how far the whole ledger was folded at that instant.
    pub(crate) fn resource_and_version(&self, id: &ResourceId) -> (Resource, Version) {
        self.read(|ledger| {
            (
                ledger.resource(id).cloned().unwrap_or_default(),
                ledger.version(),
            )
        })
    }

    /// Where a known reservation stands.
    pub(crate) fn place_of(&self, reservation: &ReservationId) -> Option<ResourceId> {
        self.read(|ledger| ledger.place_of(reservation).cloned())
    }

    /// The ids of the resources that `wanted` holds for.
    pub(crate) fn resources_where(
        &self,
        wanted: impl Fn(&ResourceId, &Resource) -> bool,
    ) -> Vec<ResourceId> {
        self.read(|ledger| {
            ledger
                .resources()
                .filter(|(id, resource)| wanted(id, resource))
                .map(|(id, _)| id.clone())
                .collect()
        })
    }

    /// Calls `use_it` with the folded ledger. Keep it short: folding waits meanwhile.
    pub(crate) fn read<T>(&self, use_it: impl FnOnce(&Ledger) -> T) -> T {
        self.read_at(|ledger, _| use_it(ledger))
    }

    /// As [`FoldedLedger::read`], with up to where it is folded at that instant.
    pub(crate) fn read_at<T>(&self, use_it: impl FnOnce(&Ledger, Position) -> T) -> T {
        let folded = self.folded.read().unwrap_or_else(PoisonError::into_inner);
        use_it(&folded.ledger, folded.position)
    }

    /// What changes from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}
