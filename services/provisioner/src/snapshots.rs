//! Snapshots of the folded ledger, kept now and then, so that a start need not replay years. A cache: whatever is wrong with
//! one, the ledger is read from its beginning. So it is with a snapshot of entries that the ledger does not hold any more: it was
//! set back to a backup, and may have grown past the snapshot again with others.

use std::time::Duration;

use bellhop_domain::id::{LedgerId, Version};
use bellhop_domain::ledger::Ledger;
use bellhop_event_store::{EventStore, Position};
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
    position: Position,
    ledger: L,
}

/// What can be known without the ledger's own form.
#[derive(Deserialize)]
struct Kind {
    format: u32,
    ledger_id: LedgerId,
}

/// The newest snapshot of this ledger, as it is folded; the empty ledger where there is none that can be used.
pub(crate) async fn load(store: &EventStore) -> FoldedLedger {
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
        let Snapshot {
            position, ledger, ..
        } = snapshot;
        let holds = store.still_holds(&position).await;
        if ledger.version() != position.version || !holds.map_err(|error| error.to_string())? {
            let version = ledger.version();
            return Err(format!("the ledger does not hold its entry {version}"));
        }
        Ok((ledger, position))
    };
    // One that is replaced while it is read may never end.
    let usable = tokio::time::timeout(READING, usable).await;
    match usable.unwrap_or_else(|_elapsed| Err("it could not be read in time".to_owned())) {
        Ok((ledger, position)) => {
            tracing::info!(version = %position.version, "began with a snapshot of the ledger");
            FoldedLedger::from(ledger, position)
        }
        Err(reason) => {
            tracing::info!(reason, "no snapshot: reading the ledger from its beginning");
            FoldedLedger::from(Ledger::default(), Version(0).into())
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
    let (version, bytes) = folded.read_at(|ledger, position| {
        let snapshot = Snapshot {
            format,
            ledger_id,
            position,
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use bellhop_domain::id::{ReservationId, ResourceId, ResourceKind, Source};
    use bellhop_domain::reservation::Fact;
    use bellhop_event_store::{EventStoreSettings, NewEntry};
    use bellhop_nats_server::NatsServer;
    use jiff::Timestamp;

    use super::*;

    async fn store_at(server: &NatsServer) -> EventStore {
        let settings = EventStoreSettings::at(server.url());
        let store = EventStore::connect(&settings, "test").await.unwrap();
        store.prepare().await.unwrap();
        store
    }

    /// Appends to a resource of its own.
    async fn append(store: &EventStore, name: &str) {
        let entry = NewEntry {
            at: Timestamp::UNIX_EPOCH,
            facts: vec![Fact::HostClaimed {
                reservation: ReservationId::new(Source::new("reservation-system"), name),
            }],
            traceparent: None,
            cause: "test".into(),
        };
        let node = ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", name);
        store.append(&node, Version(0), &entry).await.unwrap();
    }

    /// A snapshot of all that stands in the ledger.
    async fn snapshot_of(store: &EventStore) -> Vec<u8> {
        let folded = load(store).await;
        let stop = CancellationToken::new();
        let end = store.ledger_end().await.unwrap();
        tokio::select! {
            followed = folded.follow(store, &stop) => followed.unwrap(),
            () = folded.reach(end) => {}
        }
        assert_eq!(keep(store, &folded).await, Some(end));
        store.load_snapshot(NAME).await.unwrap().unwrap()
    }

    fn copy(from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                std::fs::create_dir(&target).unwrap();
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_snapshot_of_what_a_ledger_does_not_hold_any_more_is_not_used() {
        let mut server = NatsServer::start().unwrap();
        let store = store_at(&server).await;
        append(&store, "a").await;
        let backup = tempfile::tempdir().unwrap();
        server.kill().unwrap();
        copy(server.store_dir(), backup.path());
        server.restart().unwrap();
        let store = store_at(&server).await;
        append(&store, "b").await;
        append(&store, "c").await;
        let snapshot = snapshot_of(&store).await;
        assert_eq!(load(&store).await.version(), Version(3));

        server.kill().unwrap();
        std::fs::remove_dir_all(server.store_dir()).unwrap();
        std::fs::create_dir(server.store_dir()).unwrap();
        copy(backup.path(), server.store_dir());
        server.restart().unwrap();
        let store = store_at(&server).await;
        // Of the snapshots there was no backup, or a newer one.
        store.save_snapshot(NAME, &snapshot).await.unwrap();
        assert_eq!(load(&store).await.version(), Version(0));
        // It grows past the snapshot again, on another branch.
        for name in ["d", "e", "f"] {
            append(&store, name).await;
            assert_eq!(load(&store).await.version(), Version(0));
        }
        snapshot_of(&store).await;
        assert_eq!(load(&store).await.version(), Version(4));
    }
}
