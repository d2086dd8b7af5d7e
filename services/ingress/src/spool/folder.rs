//! The folder: a file for each batch of entries, and who may write there.
//!
//! ```text
//!  SPOOL_DIR/lock                    held by the one process that uses the folder
//!  SPOOL_DIR/00…017.batch            entries that were written and synced together, a line each; removed once stored
//!  SPOOL_DIR/refused/00…012.batch    entries that the broker refused for good; put back into the line at the next start
//!  SPOOL_DIR/damaged/00…009.batch    files that hold lines which can't be read; what could be read of them is stored
//! ```

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::entry::Entry;
use super::file::{
    Batch, BatchId, Contents, FILE_MODE, batches_in, complete, contents, on_disk, sync_folder_of,
    write,
};

/// Only the owner may look into it.
const FOLDER_MODE: u32 = 0o700;
/// The folder of what the broker refused for good.
pub(crate) const REFUSED: &str = "refused";
/// The folder of files with lines that can't be read.
pub(crate) const DAMAGED: &str = "damaged";
/// How many bytes are written to find out whether the folder takes any.
const PROBE: [u8; 4096] = [b'.'; 4096];

/// The spool can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The folder can't be made, read or written.
    #[error("SPOOL_DIR: cannot {what} {}: the ingress needs a folder of its own that it may write to", path.display())]
    Unusable {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "SPOOL_DIR: {} is in use by another process, an ingress or a `spool drain` of bellhop: stop that one, or give each ingress a \
         folder of its own",
        path.display()
    )]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// Not even one webhook would fit.
    #[error(
        "SPOOL_MAX_BYTES: {max_bytes} bytes have no room for a webhook of MAX_BODY_BYTES, which takes up to {needed}"
    )]
    TooSmall {
        /// The setting.
        max_bytes: u64,
        /// What the largest webhook takes.
        needed: u64,
    },
}

/// How much waits, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) entries: u64,
    /// Of the disk, with what was put aside.
    pub(crate) bytes: u64,
    /// When the oldest was spooled.
    pub(crate) since: Option<Timestamp>,
}

/// Files that wait for an operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aside {
    pub(crate) refused: u64,
    pub(crate) damaged: u64,
    /// Of the disk.
    pub(crate) bytes: u64,
}

/// What is left of a file once its entries were sent.
#[derive(Debug, Default)]
pub(crate) struct Remainder {
    /// Not stored yet.
    pub(crate) unsettled: Vec<Entry>,
    /// Refused for good.
    pub(crate) refused: Vec<Entry>,
    /// Lines of it can't be read.
    pub(crate) is_damaged: bool,
}

/// A spool's folder, held by this process.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    max_bytes: u64,
    lock: File,
    index: Mutex<Index>,
}

#[derive(Debug)]
struct Index {
    waiting: BTreeMap<BatchId, Batch>,
    waiting_bytes: u64,
    aside: Aside,
    next: BatchId,
}

impl Folder {
    /// Takes the folder, makes it where it is missing, and finds what waits there.
    pub(crate) fn open(path: &Path, max_bytes: u64) -> Result<Self, SpoolError> {
        let unusable = |what, path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::Unusable { what, path, source }
        };
        for folder in [path.to_owned(), path.join(REFUSED), path.join(DAMAGED)] {
            make(&folder).map_err(unusable("make the folder", &folder))?;
        }
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(&lock_path)
            .map_err(unusable("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SpoolError::Taken {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(unusable("lock", &lock_path)(source));
            }
        }
        let folder = Self {
            path: path.to_owned(),
            max_bytes,
            lock,
            index: Mutex::new(Index {
                waiting: BTreeMap::new(),
                waiting_bytes: 0,
                aside: Aside::default(),
                next: BatchId(1),
            }),
        };
        folder.find().map_err(unusable("read", path))?;
        Ok(folder)
    }

    /// Lets another process have the folder, whoever still holds this value.
    pub(crate) fn release(&self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the lock of the spool can't be given back before this process ends");
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    pub(crate) fn depth(&self) -> Depth {
        self.index().depth()
    }

    pub(crate) fn aside(&self) -> Aside {
        self.index().aside
    }

    /// How many bytes still fit.
    pub(crate) fn room(&self) -> u64 {
        let index = self.index();
        let taken = index.waiting_bytes + index.aside.bytes;
        self.max_bytes.saturating_sub(taken)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index().waiting.is_empty()
    }

    /// The files that wait, oldest first, after `after`: at most so many, and the one that makes them larger than so many
    /// bytes is the last.
    pub(crate) fn waiting_after(
        &self,
        after: Option<BatchId>,
        count: usize,
        bytes: u64,
    ) -> Vec<BatchId> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let index = self.index();
        let later = index.waiting.range((after, Bound::Unbounded));
        let mut seen = 0;
        let some = later.take(count).take_while(|(_, batch)| {
            let is_wanted = seen < bytes;
            seen += batch.bytes.max(1);
            is_wanted
        });
        some.map(|(id, _)| *id).collect()
    }

    /// The newest file that waits.
    pub(crate) fn newest(&self) -> Option<BatchId> {
        self.index().waiting.keys().next_back().copied()
    }

    /// Writes entries, each as its line, into one new file. When this returns, they are on the disk; where it fails, none
    /// of them is.
    pub(crate) fn append(&self, lines: &[impl AsRef<[u8]>], since: Timestamp) -> io::Result<()> {
        let id = self.index().take_id();
        let path = self.path.join(id.file_name());
        let bytes = write(&path, lines)?;
        let batch = Batch {
            entries: lines.len() as u64,
            bytes,
            since,
            is_whole: true,
        };
        self.index().insert(id, batch);
        Ok(())
    }

    /// Reads a file that waits. That the disk or the system does not let us says nothing of what is in it: it waits on.
    pub(crate) fn read(&self, id: BatchId) -> io::Result<Contents> {
        let path = self.path_of(id);
        let waiting = self.index().waiting.get(&id).copied();
        let read = || {
            if waiting.is_some_and(|batch| !batch.is_whole)
                && let Some(batch) = complete(&path)?
            {
                let mut index = self.index();
                index.remove(id);
                index.insert(id, batch);
            }
            fs::read(&path)
        };
        match read() {
            Ok(bytes) => Ok(contents(&bytes)),
            // An operator took it away, or nothing of it was written whole.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contents::default()),
            Err(error) => Err(error),
        }
    }

    /// Where a file that waits is.
    pub(crate) fn path_of(&self, id: BatchId) -> PathBuf {
        self.path.join(id.file_name())
    }

    /// Takes a file out of the line, once what is left of it is kept elsewhere. Where that can't be kept, the file waits on as
    /// it is. Where the file itself can't be taken away, it is out of the line all the same: this process does not send it
    /// again and again, and what the next one stores twice has no second effect.
    pub(crate) fn settle(&self, id: BatchId, remainder: &Remainder) -> io::Result<()> {
        let path = self.path.join(id.file_name());
        let lines = |entries: &[Entry]| entries.iter().map(Entry::to_line).collect::<Vec<_>>();
        if !remainder.refused.is_empty() {
            let aside = self.path.join(REFUSED).join(id.file_name());
            // One that is there already is from a try that failed afterwards.
            let _absent = fs::remove_file(&aside);
            write(&aside, &lines(&remainder.refused))?;
        }
        if !remainder.unsettled.is_empty() {
            let since = self.index().waiting.get(&id).map(|batch| batch.since);
            let since = since.unwrap_or_else(Timestamp::now);
            self.append(&lines(&remainder.unsettled), since)?;
        }
        self.index().remove(id);
        let taken_away = if remainder.is_damaged {
            fs::rename(&path, self.path.join(DAMAGED).join(id.file_name()))
        } else {
            fs::remove_file(&path)
        };
        match taken_away {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // An operator was first.
            Ok(()) | Err(_) => {}
        }
        if remainder.is_damaged || !remainder.refused.is_empty() {
            self.count_aside()?;
        }
        Ok(())
    }

    /// Counts anew what was put aside: an operator may have removed some of it.
    pub(crate) fn count_aside(&self) -> io::Result<()> {
        let mut aside = Aside::default();
        for (name, count) in [(REFUSED, &mut aside.refused), (DAMAGED, &mut aside.damaged)] {
            for (_, path) in batches_in(&self.path.join(name))? {
                *count += 1;
                aside.bytes += on_disk(fs::metadata(&path).map_or(0, |it| it.len()));
            }
        }
        self.index().aside = aside;
        Ok(())
    }

    /// Whether the folder takes anything.
    pub(crate) fn probe(&self) -> io::Result<()> {
        let path = self.path.join("probe");
        let _absent = fs::remove_file(&path);
        write(&path, &[PROBE])?;
        fs::remove_file(&path)
    }

    /// Finds what waits, at the start.
    fn find(&self) -> io::Result<()> {
        let mut found = batches_in(&self.path)?;
        found.sort();
        let refused = batches_in(&self.path.join(REFUSED))?;
        let damaged = batches_in(&self.path.join(DAMAGED))?;
        let used = found.iter().chain(&refused).chain(&damaged);
        let newest = used.map(|(id, _)| id.0).max().unwrap_or(0);
        self.index().next = BatchId(newest.saturating_add(1));
        // What the broker refused may fit now: whoever set `max_payload` higher starts the ingress again.
        for (_, path) in refused {
            let id = self.index().take_id();
            let back = self.path.join(id.file_name());
            match fs::rename(&path, &back) {
                Ok(()) => found.push((id, back)),
                Err(error) => {
                    tracing::error!(file = %path.display(), %error, "a refused file of the spool stays where it is");
                }
            }
        }
        for (id, path) in found {
            match complete(&path) {
                Ok(Some(batch)) => {
                    self.index().insert(id, batch);
                }
                Ok(None) => {}
                // It must not keep the ingress from receiving. Who drains it tries again, and says so.
                Err(_) => self.index().insert(id, Batch::unseen(&path)),
            }
        }
        self.count_aside()
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Folder {
    /// A child process that is just being started has the file open too, and with it the lock.
    fn drop(&mut self) {
        self.release();
    }
}

impl Index {
    fn take_id(&mut self) -> BatchId {
        let id = self.next;
        self.next = BatchId(id.0 + 1);
        id
    }

    fn insert(&mut self, id: BatchId, batch: Batch) {
        self.waiting_bytes += batch.bytes;
        self.waiting.insert(id, batch);
    }

    fn remove(&mut self, id: BatchId) {
        if let Some(batch) = self.waiting.remove(&id) {
            self.waiting_bytes -= batch.bytes;
        }
    }

    fn depth(&self) -> Depth {
        Depth {
            entries: self.waiting.values().map(|batch| batch.entries).sum(),
            bytes: self.waiting_bytes + self.aside.bytes,
            // What the broker would not take at its turn stands behind younger ones.
            since: self.waiting.values().map(|batch| batch.since).min(),
        }
    }
}

/// Makes a folder where it is missing, and those above it, so that it is still there after a power cut.
fn make(folder: &Path) -> io::Result<()> {
    let missing: Vec<_> = folder.ancestors().take_while(|it| !it.exists()).collect();
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)?;
    missing.into_iter().try_for_each(sync_folder_of)
}
