//! Which messages this notifier has in its hands: entries of the ledger, or operators' requests. The broker hands one out again
//! when it did not hear of it for a while, as after an outage of its own; the task that has it goes on, and no second one begins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bellhop_event_store::Handed;

/// The messages of a stream in hand by their sequence, each as it was handed out last. Clones share them.
pub(super) struct InHand<T>(Arc<Mutex<BySequence<T>>>);

type BySequence<T> = HashMap<u64, Arc<Handed<T>>>;

/// One message in hand, until this is dropped.
pub(super) struct Held<T> {
    all: InHand<T>,
    pub(super) first: Arc<Handed<T>>,
}

impl<T> Default for InHand<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for InHand<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> InHand<T> {
    /// Takes a message into the hands; none if it is in them already. What is said about it from now on is said about this
    /// handing out.
    pub(super) fn take(&self, handed: Handed<T>) -> Option<Held<T>> {
        let handed = Arc::new(handed);
        let before = self.all().insert(handed.sequence, Arc::clone(&handed));
        before.is_none().then(|| Held {
            all: self.clone(),
            first: handed,
        })
    }

    fn all(&self) -> MutexGuard<'_, BySequence<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Held<T> {
    /// The message as it was handed out last: the broker is told about that one.
    pub(super) fn newest(&self) -> Arc<Handed<T>> {
        let newest = self.all.all().get(&self.first.sequence).cloned();
        newest.unwrap_or_else(|| Arc::clone(&self.first))
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.all.all().remove(&self.first.sequence);
    }
}
