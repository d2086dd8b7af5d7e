//! The places that connections take, and who leaves when all of them are taken.
//!
//! A connection waits either for its client (a head, the rest of a body) or for us. Who waits for us is never sent away.
//! Of the others the one that has been silent longest leaves: an honest client sends its request in one go, so that
//! silence can't keep it or a probe out, whoever opens how many connections.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// After how long someone else is asked to leave, where the place did not become free.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often the log says that all places are taken.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// All places of one server.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<BTreeMap<u64, Arc<Guest>>>>,
    last_id: u64,
    last_told: Option<Instant>,
}

/// One connection's place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    guest: Arc<Guest>,
    taken: Arc<Mutex<BTreeMap<u64, Arc<Guest>>>>,
    _permit: OwnedSemaphorePermit,
}

/// Who has a place.
#[derive(Debug)]
pub(super) struct Guest {
    /// Since when we wait for the client; none while the client waits for us.
    silent_since: Mutex<Option<Instant>>,
    /// Whether none of its requests is under way, and it was not told that its connection ends.
    may_send_a_request: AtomicBool,
    leave: Notify,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            taken: Arc::default(),
            last_id: 0,
            last_told: None,
        }
    }

    /// Takes a place; where there is none, whoever has been silent longest loses theirs.
    pub(super) async fn take(&mut self) -> Place {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                break permit;
            }
            self.send_one_away();
            let freed = Arc::clone(&self.free).acquire_owned();
            if let Ok(Ok(permit)) = tokio::time::timeout(ASK_AGAIN, freed).await {
                break permit;
            }
        };
        self.last_id += 1;
        let guest = Arc::new(Guest {
            silent_since: Mutex::new(Some(Instant::now())),
            may_send_a_request: AtomicBool::new(true),
            leave: Notify::new(),
        });
        lock(&self.taken).insert(self.last_id, Arc::clone(&guest));
        Place {
            id: self.last_id,
            guest,
            taken: Arc::clone(&self.taken),
            _permit: permit,
        }
    }

    fn send_one_away(&mut self) {
        let taken = lock(&self.taken);
        if self
            .last_told
            .is_none_or(|told| told.elapsed() >= TELL_AGAIN)
        {
            self.last_told = Some(Instant::now());
            tracing::warn!(
                connections = taken.len(),
                "all places for connections are taken: those that have been silent longest are closed"
            );
        }
        let silent = taken
            .values()
            .filter_map(|guest| guest.silent_since().map(|since| (since, guest)));
        if let Some((_, longest)) = silent.min_by_key(|(since, _)| *since) {
            longest.leave.notify_one();
        }
    }
}

impl Place {
    pub(super) fn guest(&self) -> Arc<Guest> {
        Arc::clone(&self.guest)
    }

    /// Returns when the place is needed for someone else.
    pub(super) async fn needed(&self) {
        loop {
            self.guest.leave.notified().await;
            // It may have spoken in between.
            if self.guest.silent_since().is_some() {
                return;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.taken).remove(&self.id);
    }
}

impl Guest {
    /// From now on we wait for the client.
    pub(super) fn client_is_next(&self) {
        *lock(&self.silent_since) = Some(Instant::now());
    }

    /// From now on the client waits for us.
    pub(super) fn we_are_next(&self) {
        *lock(&self.silent_since) = None;
    }

    pub(super) fn may_send_a_request(&self) -> bool {
        self.may_send_a_request.load(Ordering::Relaxed)
    }

    pub(super) fn set_may_send_a_request(&self, may: bool) {
        self.may_send_a_request.store(may, Ordering::Relaxed);
    }

    fn silent_since(&self) -> Option<Instant> {
        *lock(&self.silent_since)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
