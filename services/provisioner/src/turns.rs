//! Whose turn it is to be prepared, where the number of servers that are prepared at once is limited.
//!
//! ```text
//!   look ─clean, asks─▶ sights ─┐
//!                               ├─▶ compare: places ◀─▶ reservations ─▶ LEDGER (capacity) ─▶ folded ─▶ look, with a place
//!   ledger, sweep ──────────────┘
//! ```
//!
//! Every provisioner compares, and the append settles who was first. What it compares is all in the ledger, but for which
//! hosts are clean: each has seen that for itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bellhop_domain::capacity::{Fact, Limits, decide};
use bellhop_domain::id::{ResourceId, Version};
use bellhop_domain::preparing::{Sight, asks, claims};
use bellhop_domain::reservation::Resource;
use bellhop_event_store::{AppendError, EventStore, EventStoreError};
use bellhop_service::trouble::Trouble;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::folded::FoldedLedger;
use crate::metrics::ProvisionerMetrics;

/// How often to compare, whether or not anything changed.
const SWEEP: Duration = Duration::from_secs(10);
/// How often in a row another provisioner may be first.
const TRIES: usize = 20;
/// How long our own reading may take to pass what was just appended.
const READING: Duration = Duration::from_secs(10);
const CAUSE: &str = "capacity";

/// Grants places, and takes them back.
pub(crate) struct Turns {
    store: EventStore,
    folded: FoldedLedger,
    /// None where nothing is limited: then nobody needs a place.
    limits: Option<Limits>,
    sights: Mutex<HashMap<ResourceId, Sight>>,
    sighted: Notify,
    metrics: ProvisionerMetrics,
}

/// Whether the first in a resource's queue may have its host now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It may.
    Now,
    /// There is room; a place is granted to it, or to one that comes before it.
    Soon,
    /// There is no room.
    Later {
        /// How many servers are being prepared.
        preparing: u32,
    },
}

impl Turns {
    pub(crate) fn new(
        store: EventStore,
        folded: FoldedLedger,
        limits: Option<Limits>,
        metrics: ProvisionerMetrics,
    ) -> Self {
        Self {
            store,
            folded,
            limits,
            sights: Mutex::default(),
            sighted: Notify::new(),
            metrics,
        }
    }

    /// The host that the first in the queue would get is clean: whether it may have it. Asks for a place where it has none.
    pub(crate) fn of(&self, id: &ResourceId, state: &Resource) -> Turn {
        let Some(limits) = &self.limits else {
            return Turn::Now;
        };
        let Some(request) = asks(id, state) else {
            return Turn::Soon;
        };
        self.note(id, Sight::Clean(state.version));
        self.folded.read(|ledger| {
            let capacity = ledger.capacity();
            if capacity.has(&request.asker) {
                return Turn::Now;
            }
            match capacity.crowd(request.group.as_ref(), limits) {
                None => Turn::Soon,
                Some(preparing) => Turn::Later {
                    preparing: u32::try_from(preparing).unwrap_or(u32::MAX),
                },
            }
        })
    }

    /// The host that the first in the queue would get can't be used, or not be read. Returns whether it has a place all the
    /// same, granted upon this state.
    pub(crate) fn obstructed(&self, id: &ResourceId, state: &Resource) -> bool {
        if self.limits.is_none() {
            return false;
        }
        self.note(id, Sight::Obstructed);
        asks(id, state).is_some_and(|request| {
            self.folded
                .read(|ledger| ledger.capacity().has(&request.asker))
        })
    }

    fn note(&self, id: &ResourceId, sight: Sight) {
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        if sights.insert(id.clone(), sight) != Some(sight) {
            self.sighted.notify_one();
        }
    }

    /// Grants places and takes them back until told to stop.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let Some(limits) = self.limits else {
            return;
        };
        let mut changes = self.folded.changes();
        let mut trouble = Trouble::with("decide who is prepared next");
        while !stop.is_cancelled() {
            // A burst of changes is one reason to compare.
            while changes.try_recv().is_ok() {}
            trouble.note(self.compare(&limits).await);
            self.metrics
                .places_taken(self.folded.read(|ledger| ledger.capacity().taken()));
            tokio::select! {
                () = stop.cancelled() => {}
                _ = changes.recv() => {}
                () = self.sighted.notified() => {}
                () = tokio::time::sleep(SWEEP) => {}
            }
        }
    }

    /// Brings the places to what the reservations ask for.
    async fn compare(&self, limits: &Limits) -> Result<(), TurnsError> {
        for _ in 0..TRIES {
            let (expected, facts) = self.decide(limits);
            if facts.is_empty() {
                return Ok(());
            }
            let appended = (self.store)
                .append_beside(expected, Timestamp::now(), &facts, CAUSE)
                .await;
            let newest = match appended {
                Ok(version) => {
                    facts.iter().for_each(log);
                    version
                }
                Err(AppendError::Conflict { .. }) => self.store.newest_beside::<Fact>().await?,
                Err(error) => return Err(error.into()),
            };
            if !self.folded.reach_within(newest, READING).await {
                return Err(TurnsError::Behind { version: newest });
            }
        }
        Ok(())
    }

    fn decide(&self, limits: &Limits) -> (Version, Vec<Fact>) {
        let sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        let sight = |id: &ResourceId| sights.get(id).copied().unwrap_or(Sight::Unseen);
        self.folded.read(|ledger| {
            let capacity = ledger.capacity();
            let facts = decide(capacity, &claims(ledger, sight), limits);
            (capacity.version(), facts)
        })
    }
}

/// The places could not be compared now.
#[derive(Debug, thiserror::Error)]
enum TurnsError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Store(#[from] EventStoreError),
    #[error("what was decided on the capacity ({version}) was not read within {} s", READING.as_secs())]
    Behind { version: Version },
}

fn log(fact: &Fact) {
    let (name, asker) = (fact.name(), fact.asker());
    match fact {
        Fact::PlaceGranted { group, .. } => {
            let site = group.as_ref().map(tracing::field::display);
            tracing::info!(%asker, site, cause = CAUSE, "{name}");
        }
        Fact::PlaceReturned { .. } => tracing::info!(%asker, cause = CAUSE, "{name}"),
    }
}
