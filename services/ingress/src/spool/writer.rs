//! Writes what many requests bring with one sync: while the disk is busy with one batch, the next one gathers.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};

use super::entry::Entry;
use super::file::on_disk;
use super::folder::Folder;
use crate::metrics::IngressMetrics;

/// How many requests may stand before the writer; a further one waits. Those that are gathered while it syncs share the
/// next sync.
const QUEUE: usize = 256;
/// A batch has at most so many entries, and ends with the entry that makes it larger than so many bytes: one is read back
/// whole.
const BATCH_ENTRIES: usize = 128;
const BATCH_BYTES: usize = 1024 * 1024;
/// How much room there must be for a spool to count as having some again: more than most webhooks take.
const SOME_ROOM: u64 = 64 * 1024;

/// Why something is not in the spool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSpooled {
    /// It has no room.
    #[error("the spool is full ({max_bytes} bytes, SPOOL_MAX_BYTES)")]
    Full {
        /// What it may hold.
        max_bytes: u64,
    },
    /// The disk did not take it.
    #[error("the spool can't be written: {0}")]
    Unwritten(String),
    /// The disk did not answer in time.
    #[error("the spool's disk does not answer")]
    TooSlow,
    /// The process is ending.
    #[error("the spool is closed")]
    Closed,
}

impl NotSpooled {
    /// What went wrong, from a small fixed set: for metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::Unwritten(_) => "unwritten",
            Self::TooSlow => "too_slow",
            Self::Closed => "closed",
        }
    }
}

/// One request that waits for its sync.
struct Waiting {
    entry: Entry,
    answer: Answer,
}

/// Tells a request what became of it.
type Answer = oneshot::Sender<Result<(), NotSpooled>>;

/// The one thread that writes, and the way to it.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    trouble: Arc<Trouble>,
}

/// Why the last webhook was not taken; none once one was.
#[derive(Debug, Default)]
struct Trouble(Mutex<Option<NotSpooled>>);

impl Trouble {
    fn set(&self, trouble: Option<NotSpooled>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn get(&self) -> Option<NotSpooled> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(
        folder: Arc<Folder>,
        arrived: Arc<Notify>,
        metrics: IngressMetrics,
    ) -> io::Result<Self> {
        let (queue, requests) = mpsc::channel(QUEUE);
        let trouble = Arc::new(Trouble::default());
        let seen = Arc::clone(&trouble);
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || write_all(&folder, requests, &seen, &arrived, &metrics))?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
            trouble,
        })
    }

    /// Keeps an entry. When this returns, it is on the disk.
    pub(crate) async fn keep(&self, entry: &Entry, limit: Duration) -> Result<(), NotSpooled> {
        let queue = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or(NotSpooled::Closed)?;
        let (answer, answered) = oneshot::channel();
        let entry = entry.clone();
        let kept = async {
            let waiting = Waiting { entry, answer };
            queue.send(waiting).await.map_err(|_| NotSpooled::Closed)?;
            answered.await.unwrap_or(Err(NotSpooled::Closed))
        };
        let kept = tokio::time::timeout(limit, kept).await;
        kept.unwrap_or_else(|_| {
            self.trouble.set(Some(NotSpooled::TooSlow));
            Err(NotSpooled::TooSlow)
        })
    }

    /// Why it takes nothing at present, as far as it is known.
    pub(crate) fn trouble(&self) -> Option<NotSpooled> {
        self.trouble.get()
    }

    /// It is known to take nothing.
    pub(crate) fn is_in_trouble(&self, why: NotSpooled) {
        self.trouble.set(Some(why));
    }

    /// Looks whether a trouble is over. Blocks as long as the disk does.
    pub(crate) fn look_again(&self, folder: &Folder) {
        let Some(trouble) = self.trouble() else {
            return;
        };
        if folder.room() < SOME_ROOM {
            return;
        }
        match folder.probe() {
            Ok(()) => self.trouble.set(None),
            Err(_) if matches!(trouble, NotSpooled::Unwritten(_)) => {}
            Err(error) => self
                .trouble
                .set(Some(NotSpooled::Unwritten(error.to_string()))),
        }
    }

    /// Takes nothing more, and waits until what was taken is on the disk.
    pub(crate) fn close(&self) {
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the spool's writer had ended before");
        }
    }
}

/// Until nobody can send any more.
fn write_all(
    folder: &Folder,
    mut requests: mpsc::Receiver<Waiting>,
    trouble: &Trouble,
    arrived: &Notify,
    metrics: &IngressMetrics,
) {
    while let Some(first) = requests.blocking_recv() {
        let Gathered {
            lines,
            answers,
            no_room,
        } = gather(folder.room(), first, &mut requests);
        let mut written = Ok(());
        if !lines.is_empty() {
            let begun = Instant::now();
            written = folder
                .append(&lines, Timestamp::now())
                .map_err(|error| NotSpooled::Unwritten(error.to_string()));
            if written.is_ok() {
                metrics.spooled(lines.len(), begun.elapsed());
                arrived.notify_one();
            }
        }
        let full = NotSpooled::Full {
            max_bytes: folder.max_bytes(),
        };
        let is_full = !no_room.is_empty();
        trouble.set(written.clone().err().or(is_full.then(|| full.clone())));
        reply(answers, &written);
        reply(no_room, &Err(full));
    }
}

fn reply(answers: Vec<Answer>, result: &Result<(), NotSpooled>) {
    for answer in answers {
        // Whoever waited for it may have given up; then it is stored all the same.
        let _given_up = answer.send(result.clone());
    }
}

/// What is written together.
#[derive(Default)]
struct Gathered {
    lines: Vec<Vec<u8>>,
    /// Who waits for it.
    answers: Vec<Answer>,
    /// For whom there is no room.
    no_room: Vec<Answer>,
}

/// All that wait now, as far as they belong into one batch.
fn gather(room: u64, first: Waiting, requests: &mut mpsc::Receiver<Waiting>) -> Gathered {
    let mut gathered = Gathered::default();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(Waiting { entry, answer }) = next {
        let line = entry.to_line();
        if on_disk((bytes + line.len()) as u64) <= room {
            bytes += line.len();
            gathered.lines.push(line);
            gathered.answers.push(answer);
        } else {
            gathered.no_room.push(answer);
        }
        let seen = gathered.answers.len() + gathered.no_room.len();
        let is_whole = seen >= BATCH_ENTRIES || bytes >= BATCH_BYTES;
        next = if is_whole {
            None
        } else {
            requests.try_recv().ok()
        };
    }
    gathered
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::entry::tests::{delivery, delivery_of};
    use super::*;

    fn waiting(entries: Vec<Entry>) -> (Waiting, mpsc::Receiver<Waiting>) {
        let (queue, mut requests) = mpsc::channel(entries.len());
        for entry in entries {
            let (answer, _) = oneshot::channel();
            assert!(queue.try_send(Waiting { entry, answer }).is_ok());
        }
        (requests.try_recv().unwrap(), requests)
    }

    #[test]
    fn all_that_wait_share_one_batch_up_to_its_limits() {
        let (first, mut requests) = waiting((0..200).map(delivery).collect());
        let gathered = gather(u64::MAX, first, &mut requests);
        assert_eq!(gathered.lines.len(), BATCH_ENTRIES);
        assert_eq!(requests.len(), 200 - BATCH_ENTRIES);

        let large = |number| delivery_of(number, vec![b'x'; BATCH_BYTES].into());
        let (first, mut requests) = waiting((0..3).map(large).collect());
        assert_eq!(gather(u64::MAX, first, &mut requests).lines.len(), 1);
        assert_eq!(requests.len(), 2);
    }

    #[test]
    fn one_for_which_there_is_no_room_keeps_out_no_smaller_one() {
        let large = delivery_of(1, vec![b'x'; 8192].into());
        let (first, mut requests) = waiting(vec![delivery(0), large, delivery(2)]);
        let gathered = gather(4096, first, &mut requests);
        assert_eq!((gathered.lines.len(), gathered.no_room.len()), (2, 1));
    }
}
