//! The spool: where webhooks wait while the broker does not take them.
//!
//! ```text
//!  webhook ─▶ NATS? ── no, or not within SPOOL_AFTER ─▶ writer ─▶ folder ─▶ 2xx
//!                                                                   │
//!                                         NATS ◀── drain ◀──────────┘  (later; newer ones go straight to NATS)
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `entry` | what waits, and its line of text |
//! | `file` | one file of them: written and synced whole, read |
//! | `folder` | all files, and the one process that may use them |
//! | `listing` | what an operator sees of them |
//! | `writer` | one thread that writes what many requests bring with one sync |
//! | `drain` | what waits goes to the broker |
//! | `watch` | readiness, metrics and alarms |
//!
//! **Why files of lines and no embedded database.** What matters here is what is left after the worst day. Sixteen bytes
//! were changed at random places of a store of 300 webhooks whose process had been killed, 150 times: redb 4.6 could not
//! open 94 of these stores, which is all 300 webhooks lost; SQLite lost a part in 69, since it drops what stands in its log
//! after the damage. Here it is the line that was hit. A removed file also takes the keys and addresses in it along,
//! where a database keeps them in free pages; its size is what SPOOL_MAX_BYTES counts; a full disk leaves nothing to be
//! repaired; and an operator can read it with `cat`. Its speed is not what decides: a webhook alone takes two syncs, of its
//! file and of the folder, some milliseconds; many share them, and are faster than the broker on the same disk
//! (`tests/rates.rs`).

mod drain;
mod entry;
mod file;
mod folder;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod listing;
#[cfg(test)]
mod tests;
mod watch;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellhop_event_store::{EventStore, EventStoreError, EventStoreSettings, SetupError};
use tokio::sync::Notify;

pub use drain::{DrainTrouble, Pass, Unread};
pub use entry::{Entry, checksum};
pub use folder::SpoolError;
pub use listing::{Part, SpoolFile, list};
pub(crate) use watch::SpoolWatch;
pub(crate) use writer::NotSpooled;

use crate::SERVICE;
use crate::broker::Broker;
use crate::metrics::IngressMetrics;
use crate::settings::SpoolSettings;
use file::on_disk;
use folder::Folder;
use writer::Writer;

/// The longest pause between two tries to bring what waits to the broker. Shorter than a refusal is shown, so that one that
/// lasts is seen to last.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The first one.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// What an entry has besides its body: at most 8 KiB of headers, each byte of which may take six in JSON, and its names.
const BESIDES_BODY: u64 = 64 * 1024;
/// How long `bellhop spool drain` waits for each acknowledgement.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(5);

/// The spool of a running ingress.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: Arc<Folder>,
    writer: Writer,
    /// Told by the writer of each batch.
    arrived: Arc<Notify>,
    /// Why files could not be read when they were last tried, as it was logged.
    unread: Mutex<Option<String>>,
    metrics: IngressMetrics,
}

impl Spool {
    /// Takes the folder of the settings; none where they name none.
    pub(crate) fn open(
        settings: &SpoolSettings,
        max_body_bytes: usize,
        metrics: IngressMetrics,
    ) -> Result<Option<Self>, SpoolError> {
        let Some(path) = &settings.spool_dir else {
            return Ok(None);
        };
        let max_bytes = settings.spool_max_bytes.get();
        let needed = on_disk((max_body_bytes as u64).div_ceil(3) * 4 + BESIDES_BODY);
        if max_bytes < needed {
            return Err(SpoolError::TooSmall { max_bytes, needed });
        }
        let unusable = |what| {
            let path = path.clone();
            move |source| SpoolError::Unusable { what, path, source }
        };
        let folder = Arc::new(Folder::open(path, max_bytes)?);
        let arrived = Arc::new(Notify::new());
        let writer = Writer::start(Arc::clone(&folder), Arc::clone(&arrived), metrics.clone())
            .map_err(unusable("start a thread for"))?;
        match folder.probe() {
            Ok(()) => {}
            // That passes, and the broker may be there.
            Err(error) if is_full_disk(&error) => {
                writer.is_in_trouble(NotSpooled::Unwritten(error.to_string()));
            }
            Err(error) => return Err(unusable("write to")(error)),
        }
        let waiting = folder.depth().entries;
        if waiting > 0 {
            tracing::info!(waiting, "webhooks of an earlier process wait in the spool");
        }
        Ok(Some(Self {
            folder,
            writer,
            arrived,
            unread: Mutex::default(),
            metrics,
        }))
    }

    /// Keeps an entry until the broker takes it. When this returns, it is on the disk.
    pub(crate) async fn keep(&self, entry: &Entry, limit: Duration) -> Result<(), NotSpooled> {
        let kept = self.writer.keep(entry, limit).await;
        if let Err(why) = &kept {
            self.metrics.not_spooled(why.label());
        }
        kept
    }

    /// Why it takes nothing at present, as far as it is known.
    pub(crate) fn trouble(&self) -> Option<NotSpooled> {
        self.writer.trouble()
    }

    /// Brings what waits to the broker, for ever. It may be dropped at any point: what is not confirmed stays.
    pub(crate) async fn drain(&self, broker: &Broker, timeout: Duration) {
        let mut failures = 0;
        loop {
            if self.folder.is_empty() {
                failures = 0;
                self.note_unread(None);
                self.arrived.notified().await;
                continue;
            }
            let store = broker.until_there().await;
            let stored = |count| {
                self.metrics.drained(count);
                // From now on newer ones need not wait behind them.
                broker.stored();
                // There may be dead letters among them.
                broker.look_now();
            };
            let pass = Pass::make(&self.folder, store, timeout, stored).await;
            if pass.stored > 0 {
                let (stored, left) = (pass.stored, pass.left);
                tracing::info!(stored, left, "webhooks of the spool are stored in NATS");
                failures = 0;
            }
            if pass.trouble.is_none() || pass.unread.is_some() {
                self.note_unread(pass.unread.as_ref());
            }
            if pass.is_complete() {
                continue;
            }
            failures += 1;
            let pause = pause_after(failures, rand::random());
            if let Some(trouble) = &pass.trouble {
                tracing::debug!(
                    ?pause,
                    left = pass.left,
                    "webhooks wait on in the spool: {trouble}"
                );
            }
            match &pass.trouble {
                None => {}
                Some(DrainTrouble::Broker(error)) => broker.failed(error),
                Some(DrainTrouble::Folder(error)) => {
                    let why = error.to_string();
                    self.writer.is_in_trouble(NotSpooled::Unwritten(why));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = broker.until_back() => {}
            }
        }
    }

    /// One line when files can't be read, one when that changes, and one when it is over.
    fn note_unread(&self, unread: Option<&Unread>) {
        let now = unread.map(ToString::to_string);
        let mut known = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        match &now {
            _ if now == *known => {}
            Some(text) => tracing::error!("{text}; they wait on, and are tried again"),
            None => tracing::info!("all files of the spool can be read again"),
        }
        *known = now;
    }

    /// Why files could not be read when they were last tried.
    fn unread(&self) -> Option<String> {
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        unread.clone()
    }

    /// Takes nothing more, and lets another process have the folder. Blocks until what was taken is on the disk.
    pub(crate) fn close(&self) {
        self.writer.close();
        self.folder.release();
    }
}

fn is_full_disk(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// How long to wait after so many tries in a row that brought nothing: twice as long each time, and somewhere in the upper
/// half of that, so that several ingresses don't come at once. `chance` is from 0 to 1.
fn pause_after(failures: u32, chance: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    let longest = (SHORTEST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + chance / 2.0)
}

/// Why a spool can't be drained.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// Its folder can't be used, or an ingress uses it: that one drains it by itself.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// There is no such folder.
    #[error("SPOOL_DIR: there is no folder {}", .0.display())]
    Missing(PathBuf),
    /// The broker can't be reached.
    #[error(transparent)]
    Broker(#[from] EventStoreError),
    /// Its streams are not as they must be.
    #[error(transparent)]
    Streams(#[from] SetupError),
}

/// Brings what waits in a folder to the broker, once: for a spool whose ingress does not run any more.
///
/// # Errors
/// Another process uses the folder, or the broker can't be used. What could not be stored is in the [`Pass`].
pub async fn drain(path: &Path, settings: &EventStoreSettings) -> Result<Pass, DrainError> {
    if !path.is_dir() {
        return Err(DrainError::Missing(path.to_owned()));
    }
    let folder = Arc::new(Folder::open(path, u64::MAX)?);
    // It stands in for the ingress, with that one's user of the broker, who hears no answers but those to this name.
    let store = EventStore::connect(settings, &format!("bellhop-{SERVICE}")).await?;
    store.prepare_deliveries().await?;
    Ok(Pass::make(&folder, &store, ACKNOWLEDGEMENT, |_| {}).await)
}
