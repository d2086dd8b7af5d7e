//! The tasks of a service by their names, so that a stop can say which of them did not end.

use std::collections::{BTreeSet, HashMap};

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

/// Tasks that run until the service stops; dropped with this.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts one. Several may have the same name.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits for the next one to end; none when there is none.
    pub async fn join_next(&mut self) -> Option<Result<(), JoinError>> {
        let ended = self.running.join_next_with_id().await?;
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.names.remove(&id);
        Some(ended.map(|_| ()))
    }

    /// Waits until all have ended; those that have not by `deadline` are dropped, and the log names them. The error is that of
    /// the last one that panicked.
    ///
    /// # Errors
    /// One panicked.
    pub async fn finish_by(&mut self, deadline: Instant) -> Result<(), JoinError> {
        let mut finished = Ok(());
        let all = async {
            while let Some(ended) = self.join_next().await {
                if ended.is_err() {
                    finished = ended;
                }
            }
        };
        if tokio::time::timeout_at(deadline, all).await.is_err() {
            let left = self.left();
            tracing::warn!(?left, "not finished in the time that a stop has: given up");
            self.running.abort_all();
        }
        finished
    }

    /// Which have not ended.
    fn left(&self) -> BTreeSet<&'static str> {
        self.names.values().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use std::future::pending;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_in_time_and_knows_what_hangs() {
        let mut tasks = Tasks::default();
        tasks.spawn("deliveries", async {
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        tasks.spawn("hosts", pending());
        tasks.spawn("hosts", pending());
        let deadline = Instant::now() + Duration::from_secs(20);
        assert!(tasks.finish_by(deadline).await.is_ok());
        assert_eq!(Instant::now(), deadline);
        assert_eq!(tasks.left(), BTreeSet::from(["hosts"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_longer_than_its_tasks_and_tells_of_a_panic() {
        let mut tasks = Tasks::default();
        tasks.spawn("one", async { panic!("a bug") });
        tasks.spawn("other", async {});
        let now = Instant::now();
        let finished = tasks.finish_by(now + Duration::from_secs(20)).await;
        assert!(finished.is_err_and(|error| error.is_panic()));
        assert_eq!(Instant::now(), now);
    }
}
