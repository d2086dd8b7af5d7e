//! Which entries this notifier has in its hands. The broker hands an entry out again when it did not hear of it for a while,
//! as after an outage of its own; the task that has it goes on, and no second one begins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bellhop_domain::id::Version;
use bellhop_event_store::{Entry, Handed};

/// The entries in hand, each as it was handed out last. Clones share them.
#[derive(Clone, Default)]
pub(super) struct InHand(Arc<Mutex<HashMap<Version, Arc<Handed<Entry>>>>>);

/// One entry in hand, until this is dropped.
pub(super) struct Held {
    all: InHand,
    version: Version,
    pub(super) first: Arc<Handed<Entry>>,
}

impl InHand {
    /// Takes an entry into the hands; none if it is in them already. What is said about it from now on is said about this
    /// handing out.
    pub(super) fn take(&self, handed: Handed<Entry>) -> Option<Held> {
        let version = Version(handed.sequence);
        let handed = Arc::new(handed);
        let before = self.all().insert(version, Arc::clone(&handed));
        before.is_none().then(|| Held {
            all: self.clone(),
            version,
            first: handed,
        })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Version, Arc<Handed<Entry>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The entry as it was handed out last: the broker is told about that one.
    pub(super) fn newest(&self) -> Arc<Handed<Entry>> {
        let newest = self.all.all().get(&self.version).cloned();
        newest.unwrap_or_else(|| Arc::clone(&self.first))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.all().remove(&self.version);
    }
}
