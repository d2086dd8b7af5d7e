//! Snapshots of the folded ledger, kept now and then, so that a start need not replay years. A cache: whatever is wrong with
//! one, the ledger is read from its beginning.

use std::time::Duration;

use bellhop_domain::id::{LedgerId, Version};
use bellhop_domain::ledger::Ledger;
use bellhop_event_store::EventStore;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::folded::FoldedLedger;

const NAME: &str = "provisioner";
/// How long reading one may take.
const READING: Duration = Duration::from_secs(30);
/// A snapshot pays when a start reads so many entries fewer.
const WORTH_IT: u64 = 100;

#[derive(Serialize, Deserialize)]
struct Snapshot<L> {
    format: u32,
    ledger_id: LedgerId,
    ledger: L,
}

/// What can be known without the ledger's own form.
#[derive(Deserialize)]
struct Kind {
    format: u32,
    ledger_id: LedgerId,
}

/// The newest snapshot of this ledger; the empty ledger where there is none that can be used.
pub(crate) async fn load(store: &EventStore) -> Ledger {
    let usable = async {
        let bytes = store
            .load_snapshot(NAME)
            .await
            .map_err(|error| error.to_string())?
            .ok_or("there is none")?;
        let kind: Kind = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if kind.format != Ledger::FORMAT || kind.ledger_id != store.ledger_id() {
            return Err("it is of another version or another ledger".to_owned());
        }
        let snapshot: Snapshot<Ledger> =
            serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let end = store
            .ledger_end()
            .await
            .map_err(|error| error.to_string())?;
        if snapshot.ledger.version() > end {
            return Err(format!("it is newer than the ledger, which ends at {end}"));
        }
        Ok(snapshot.ledger)
    };
    // One that is replaced while it is read may never end.
    let usable = tokio::time::timeout(READING, usable).await;
    match usable.unwrap_or_else(|_elapsed| Err("it could not be read in time".to_owned())) {
        Ok(ledger) => {
            tracing::info!(version = %ledger.version(), "began with a snapshot of the ledger");
            ledger
        }
        Err(reason) => {
            tracing::info!(reason, "no snapshot: reading the ledger from its beginning");
            Ledger::default()
        }
    }
}

/// Keeps a snapshot `every` so often, if enough has happened since the last, until told to stop.
pub(crate) async fn run(
    store: EventStore,
    folded: FoldedLedger,
    every: Duration,
    stop: CancellationToken,
) {
    let mut kept = Version(0);
    loop {
        // Replicas need not keep theirs at the same instant.
        let pause = every.mul_f64(rand::random_range(0.8..=1.2));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if folded.version().0 >= kept.0 + WORTH_IT {
            kept = keep(&store, &folded).await.unwrap_or(kept);
        }
    }
}

async fn keep(store: &EventStore, folded: &FoldedLedger) -> Option<Version> {
    let (ledger_id, format) = (store.ledger_id(), Ledger::FORMAT);
    let (version, bytes) = folded.read(|ledger| {
        let snapshot = Snapshot {
            format,
            ledger_id,
            ledger,
        };
        (
            ledger.version(),
            serde_json::to_vec(&snapshot).expect("the ledger has only text keys"),
        )
    });
    match store.save_snapshot(NAME, &bytes).await {
        Ok(()) => {
            tracing::debug!(%version, bytes = bytes.len(), "kept a snapshot of the ledger");
            Some(version)
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not keep a snapshot of the ledger"
            );
            None
        }
    }
}
