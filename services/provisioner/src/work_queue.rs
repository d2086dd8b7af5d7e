//! Which resources are to be looked at, and when. One at a time for each resource; what comes while it is looked at counts for
//! one more look; a failure makes the next look wait longer, for this resource alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellhop_domain::id::ResourceId;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing to do until something changes.
    Rest,
    /// Something changed by this look: look again at once.
    Again,
    /// Look again after this long, if nothing changes before.
    After(Duration),
    /// It failed: look again after a pause that grows with each failure in a row.
    Failed,
}

#[derive(Debug)]
struct Work {
    due: Option<Instant>,
    busy: bool,
    /// Asked for while it was busy.
    asked: bool,
    failures: u32,
}

/// The queue. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct WorkQueue {
    work: Arc<Mutex<HashMap<ResourceId, Work>>>,
    changed: Arc<Notify>,
}

impl WorkQueue {
    /// Asks for a look at `resource`, at once. While its looks fail, the pause is kept, so that a busy watch does not spin.
    pub(crate) fn ask(&self, resource: &ResourceId) {
        let mut all = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let work = all.entry(resource.clone()).or_insert(Work {
            due: None,
            busy: false,
            asked: false,
            failures: 0,
        });
        if work.busy {
            work.asked = true;
        } else if work.failures == 0 || work.due.is_none() {
            work.due = Some(Instant::now());
        }
        drop(all);
        self.changed.notify_one();
    }

    /// The next resource to look at; waits until one is due. Tell the outcome with [`WorkQueue::done`].
    pub(crate) async fn next(&self) -> ResourceId {
        loop {
            let changed = self.changed.notified();
            match self.take_due() {
                Ok(resource) => {
                    // Another worker may find the next one.
                    self.changed.notify_one();
                    return resource;
                }
                Err(Some(due)) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
                Err(None) => changed.await,
            }
        }
    }

    /// Says what came of the look at `resource`.
    pub(crate) fn done(&self, resource: &ResourceId, next: Next) {
        let mut all = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(work) = all.get_mut(resource) else {
            return;
        };
        work.busy = false;
        let asked = std::mem::take(&mut work.asked);
        work.failures = if next == Next::Failed {
            work.failures.saturating_add(1)
        } else {
            0
        };
        let now = Instant::now();
        work.due = match next {
            Next::Failed => Some(now + pause(work.failures, rand::random())),
            Next::Again => Some(now),
            _ if asked => Some(now),
            Next::After(pause) => Some(now + pause),
            Next::Rest => None,
        };
        if work.due.is_none() {
            all.remove(resource);
        }
        drop(all);
        self.changed.notify_one();
    }

    fn take_due(&self) -> Result<ResourceId, Option<Instant>> {
        let mut all = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = all.iter_mut().filter(|(_, work)| !work.busy);
        let Some((resource, work)) = idle
            .filter(|(_, work)| work.due.is_some())
            .min_by_key(|(_, work)| work.due)
        else {
            return Err(None);
        };
        match work.due {
            Some(due) if due > Instant::now() => Err(Some(due)),
            _ => {
                work.busy = true;
                work.due = None;
                Ok(resource.clone())
            }
        }
    }
}

/// Twice as long after each failure in a row; `chance`, from 0 to 1, leaves between half and all of it, so that what failed
/// together does not come again together.
fn pause(failures: u32, chance: f64) -> Duration {
    FIRST_PAUSE
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(LONGEST_PAUSE)
        .mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bellhop_domain::id::ResourceKind;

    use super::*;

    #[test]
    fn pauses_grow_with_the_failures_in_a_row_up_to_the_longest_and_chance_takes_half_at_most() {
        for failures in 1..=200 {
            let (least, most) = (pause(failures, 0.0), pause(failures, 1.0));
            assert_eq!(least * 2, most);
            assert!(most <= LONGEST_PAUSE);
            let next = pause(failures + 1, 1.0);
            assert!(
                next == most * 2 || next == LONGEST_PAUSE,
                "after {failures}"
            );
        }
        assert_eq!(pause(1, 1.0), FIRST_PAUSE);
        assert_eq!(pause(200, 1.0), LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_together_does_not_come_again_together() {
        let queue = WorkQueue::default();
        let nodes: Vec<_> = (0..20).map(|number| node(&number.to_string())).collect();
        nodes.iter().for_each(|node| queue.ask(node));
        for _ in &nodes {
            queue.done(&queue.next().await, Next::Failed);
        }
        let failed = Instant::now();
        let mut again = std::collections::BTreeSet::new();
        for _ in &nodes {
            let resource = queue.next().await;
            again.insert(failed.elapsed());
            queue.done(&resource, Next::Rest);
        }
        assert!(again.len() > 1, "all at once: {again:?}");
        assert!(again.first() >= Some(&(FIRST_PAUSE / 2)), "{again:?}");
    }

    fn node(name: &str) -> ResourceId {
        ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", name)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_during_a_look_gives_one_more_look() {
        let queue = WorkQueue::default();
        queue.ask(&node("a"));
        let resource = queue.next().await;
        queue.ask(&node("a"));
        queue.ask(&node("a"));
        assert!(
            tokio::time::timeout(Duration::from_secs(1), queue.next())
                .await
                .is_err()
        );
        queue.done(&resource, Next::Rest);
        assert_eq!(queue.next().await, node("a"));
        queue.done(&resource, Next::Rest);
        assert!(
            tokio::time::timeout(Duration::from_secs(1000), queue.next())
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_resource_waits_longer_each_time_and_holds_up_nobody() {
        let queue = WorkQueue::default();
        let started = Instant::now();
        queue.ask(&node("bad"));
        for _ in 0..12 {
            let resource = queue.next().await;
            queue.done(&resource, Next::Failed);
            queue.ask(&node("bad"));
        }
        assert!(started.elapsed() > Duration::from_secs(30));
        queue.ask(&node("good"));
        let asked = Instant::now();
        assert_eq!(queue.next().await, node("good"));
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resource_is_looked_at_by_one_worker_at_a_time() {
        let queue = WorkQueue::default();
        queue.ask(&node("a"));
        queue.ask(&node("b"));
        let first = queue.next().await;
        let second = queue.next().await;
        assert_ne!(first, second);
        queue.done(&first, Next::After(Duration::from_secs(5)));
        let before = Instant::now();
        assert_eq!(queue.next().await, first);
        assert_eq!(before.elapsed(), Duration::from_secs(5));
    }
}
