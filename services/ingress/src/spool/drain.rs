//! Brings what waits in the spool to the broker, oldest first, as far as the broker takes it.
//!
//! Nothing relies on order, and what is stored twice has no second effect. So a file is removed only after the broker has
//! confirmed all of it, several are under way at once, and one that the broker does not take now holds nobody up.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellhop_event_store::{ErrorClass, EventStore, StoreError};
use futures::{StreamExt as _, stream};

use super::entry::Entry;
use super::file::BatchId;
use super::folder::{Folder, Remainder};
use crate::secrets::with_causes;

/// How many files are read at once, and about how many bytes of them.
const FILES: usize = 64;
const BYTES: u64 = 8 * 1024 * 1024;
/// How many entries are on their way to the broker at once.
const IN_FLIGHT: usize = 16;

/// What came of one way through everything that waited when it began.
#[derive(Debug, Default)]
pub struct Pass {
    /// How many the broker has.
    pub stored: usize,
    /// How many it refused for good. They are kept aside.
    pub refused: usize,
    /// How many lines could not be read. Their files are kept aside.
    pub unreadable: usize,
    /// How many wait on, as far as the pass went.
    pub left: usize,
    /// Why some wait on.
    pub trouble: Option<DrainTrouble>,
    /// Which files wait on because they could not be read.
    pub unread: Option<Unread>,
}

/// Files that can't be read now. That may pass, so they stay where they are.
#[derive(Debug, thiserror::Error)]
#[error("{files} file(s) of the spool can't be read now, the first of them {}: {source}", first.display())]
pub struct Unread {
    /// How many.
    pub files: usize,
    /// The first of them.
    pub first: PathBuf,
    /// The operating system's word on it.
    pub source: io::Error,
}

/// Why something waits on.
#[derive(Debug, thiserror::Error)]
pub enum DrainTrouble {
    /// The broker does not take it now.
    #[error(transparent)]
    Broker(StoreError),
    /// What was stored can't be taken out of the spool.
    #[error("the spool's folder can't be changed")]
    Folder(#[source] io::Error),
}

/// Why the rest of a pass is not tried.
struct Stop;

/// What became of an entry.
#[derive(Clone, Copy)]
enum Outcome {
    Stored,
    Refused,
    Left,
}

impl Pass {
    /// Goes once through everything that waits now, and tells `stored` of each number that is stored. Ends early where the
    /// broker does not answer.
    pub(crate) async fn make(
        folder: &Arc<Folder>,
        store: &EventStore,
        timeout: Duration,
        stored: impl Fn(usize),
    ) -> Self {
        let mut pass = Self::default();
        let newest = folder.newest();
        let mut after = None;
        loop {
            let mut ids = folder.waiting_after(after, FILES, BYTES);
            ids.retain(|id| Some(*id) <= newest);
            let Some(last) = ids.last() else {
                return pass;
            };
            after = Some(*last);
            let before = pass.stored;
            let sent = pass.send(folder, store, ids, timeout).await;
            if pass.stored > before {
                stored(pass.stored - before);
            }
            if sent.is_err() {
                return pass;
            }
        }
    }

    async fn send(
        &mut self,
        folder: &Arc<Folder>,
        store: &EventStore,
        ids: Vec<BatchId>,
        timeout: Duration,
    ) -> Result<(), Stop> {
        let reading = {
            let folder = Arc::clone(folder);
            blocking(move || ids.into_iter().map(|id| (id, folder.read(id))).collect())
        };
        let files: Vec<_> = reading.await?;
        let mut batches = Vec::new();
        let mut entries = Vec::new();
        for (id, contents) in files {
            let contents = match contents {
                Ok(contents) => contents,
                Err(error) => {
                    self.could_not_read(folder.path_of(id), error);
                    continue;
                }
            };
            let place = batches.len();
            for why in &contents.unreadable {
                tracing::error!(file = %id, "a line of the spool can't be read: {why}");
            }
            self.unreadable += contents.unreadable.len();
            let remainder = Remainder {
                is_damaged: !contents.unreadable.is_empty(),
                ..Remainder::default()
            };
            batches.push((id, remainder, 0));
            entries.extend(contents.entries.into_iter().map(|entry| (place, entry)));
        }
        let (outcomes, end) = self.store_all(store, &entries, timeout).await;
        for ((place, entry), outcome) in entries.into_iter().zip(outcomes) {
            let (_, remainder, settled) = &mut batches[place];
            match outcome {
                Outcome::Stored => *settled += 1,
                Outcome::Refused => {
                    *settled += 1;
                    remainder.refused.push(entry);
                }
                Outcome::Left => remainder.unsettled.push(entry),
            }
        }
        // What nothing came of waits on as it is.
        batches.retain(|(_, remainder, settled)| *settled > 0 || remainder.unsettled.is_empty());
        let folder = Arc::clone(folder);
        let settling = blocking(move || {
            batches
                .iter()
                .try_for_each(|(id, remainder, _)| folder.settle(*id, remainder))
        });
        if let Err(error) = settling.await? {
            self.trouble = Some(DrainTrouble::Folder(error));
            return Err(Stop);
        }
        end
    }

    /// Stores entries, several at once, and says what became of each. Ends at the first that the broker does not answer.
    async fn store_all(
        &mut self,
        store: &EventStore,
        entries: &[(usize, Entry)],
        timeout: Duration,
    ) -> (Vec<Outcome>, Result<(), Stop>) {
        let mut outcomes = vec![Outcome::Left; entries.len()];
        let mut end = Ok(());
        // Copies share the bodies.
        let copies: Vec<Entry> = entries.iter().map(|(_, entry)| entry.clone()).collect();
        let mut results = stream::iter(copies.into_iter().enumerate())
            .map(async |(place, entry)| {
                let result = entry.store(store, timeout).await;
                (place, entry, result)
            })
            .buffer_unordered(IN_FLIGHT);
        while let Some((place, entry, result)) = results.next().await {
            match result {
                Ok(_) => {
                    self.stored += 1;
                    outcomes[place] = Outcome::Stored;
                }
                Err(error) if error.class() == ErrorClass::Permanent => {
                    self.refuse(&entry, &error);
                    outcomes[place] = Outcome::Refused;
                }
                Err(error) => {
                    let is_silent = matches!(error, StoreError::Unconfirmed { .. });
                    self.trouble = Some(DrainTrouble::Broker(error));
                    if is_silent {
                        end = Err(Stop);
                        break;
                    }
                }
            }
        }
        let left = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Left));
        self.left += left.count();
        (outcomes, end)
    }

    /// Whether nothing waits on of what it found. Else there is a pause before the next one.
    pub(super) fn is_complete(&self) -> bool {
        self.trouble.is_none() && self.unread.is_none()
    }

    fn could_not_read(&mut self, path: PathBuf, source: io::Error) {
        let unread = self.unread.get_or_insert(Unread {
            files: 0,
            first: path,
            source,
        });
        unread.files += 1;
    }

    fn refuse(&mut self, entry: &Entry, error: &StoreError) {
        tracing::error!(
            delivery = entry.id(),
            "a spooled webhook can't be stored as it is, and is kept aside: {}",
            with_causes(error)
        );
        self.refused += 1;
    }
}

/// Work on the disk, beside the workers.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stop> {
    // It fails only if the process is ending.
    tokio::task::spawn_blocking(work).await.map_err(|_| Stop)
}
