//! One task at a time for each report. `REPORTS` keeps two notifiers apart by their names; within one, the ledger's entry and an
//! operator's request, or two requests, may lead to the same report.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bellhop_event_store::ReportKey;
use tokio::sync::OwnedMutexGuard;

type Places = Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>;

/// The reports that are being settled. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct BeingSettled(Places);

/// A report that is this task's alone, until this is dropped.
pub(super) struct Alone {
    all: BeingSettled,
    key: String,
    guard: Option<OwnedMutexGuard<()>>,
}

impl BeingSettled {
    /// Waits until no other task of this notifier settles the report.
    pub(super) async fn alone_with(&self, key: &ReportKey) -> Alone {
        let key = key.to_string();
        let place = {
            let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(places.entry(key.clone()).or_default())
        };
        Alone {
            all: self.clone(),
            key,
            guard: Some(place.lock_owned().await),
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let mut places = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard.take();
        // Whoever waits for it has the place too.
        if places
            .get(&self.key)
            .is_some_and(|place| Arc::strong_count(place) == 1)
        {
            places.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use bellhop_domain::id::{ReservationId, Source};

    use super::*;

    fn key(event: &str) -> ReportKey {
        ReportKey {
            reservation: ReservationId::new(Source::new("reservation-system"), event),
            version: bellhop_domain::id::Version(1),
            entry: None,
            index: 0,
            destination: "notification",
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_one_task_s_at_a_time_and_others_are_not_held_up() {
        let all = BeingSettled::default();
        let first = all.alone_with(&key("1")).await;
        let _other = all.alone_with(&key("2")).await;
        let soon = std::time::Duration::from_secs(1);
        let same = key("1");
        let second = all.alone_with(&same);
        tokio::pin!(second);
        assert!(tokio::time::timeout(soon, &mut second).await.is_err());
        drop(first);
        drop(second.await);
        let places = all.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(places.len(), 1);
    }
}
