//! The circuit of one destination: while nobody answers there, reports wait, and one of them tries at a time. Before it does,
//! it is looked whether anybody answers at all, so that an outage uses up no tries.
//!
//! ```text
//!            no answer, or 429, 502, 503, 504
//!   closed ────────────────────────────────────▶ open: one probe at a time, pauses grow
//!      ▲                                           │
//!      └──────────── any other answer ─────────────┘
//! ```
//!
//! Which of the waiting reports is the probe is left to chance: one that always hangs can't keep the others from leaving.
//! [`Circuit::answers`] tells such a one from an outage.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellhop_service::Dependency;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::retry::Pauses;

/// Whether reports may leave for one destination. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Circuit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    answers: AtomicU64,
    changed: Notify,
    pauses: Pauses,
    /// Told of each change: it logs one line when the circuit opens and one when it closes.
    dependency: Dependency,
    open: Gauge,
}

#[derive(Debug)]
enum State {
    Closed,
    Open {
        failures: u32,
        next_probe: Instant,
        probing: bool,
    },
}

/// Leave to send one report. Dropped without a word it changes nothing, and lets another one probe.
#[derive(Debug)]
pub(crate) struct Permit {
    circuit: Circuit,
    is_probe: bool,
}

impl Circuit {
    pub(crate) fn new(pauses: Pauses, dependency: Dependency, open: Gauge) -> Self {
        dependency.ok();
        Self(Arc::new(Shared {
            state: Mutex::new(State::Closed),
            answers: AtomicU64::new(0),
            changed: Notify::new(),
            pauses,
            dependency,
            open,
        }))
    }

    /// Waits until a report may be sent.
    pub(crate) async fn enter(&self) -> Permit {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let probe_at = match &mut *self.state() {
                State::Closed => return self.permit(false),
                State::Open { probing: true, .. } => None,
                State::Open {
                    next_probe,
                    probing,
                    ..
                } => {
                    if *next_probe <= Instant::now() {
                        *probing = true;
                        return self.permit(true);
                    }
                    Some(*next_probe)
                }
            };
            match probe_at {
                Some(instant) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(instant) => {}
                },
                None => changed.await,
            }
        }
    }

    /// How many reports the destination has answered.
    pub(crate) fn answers(&self) -> u64 {
        self.0.answers.load(Ordering::Relaxed)
    }

    fn permit(&self, is_probe: bool) -> Permit {
        Permit {
            circuit: self.clone(),
            is_probe,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Whether the circuit is open, and this is the one report that tries.
    pub(crate) fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// The destination answered, whatever it said: the circuit closes.
    pub(crate) fn answered(mut self) {
        self.is_probe = false;
        let shared = &self.circuit.0;
        shared.answers.fetch_add(1, Ordering::Relaxed);
        let was_open = {
            let mut state = self.circuit.state();
            matches!(
                std::mem::replace(&mut *state, State::Closed),
                State::Open { .. }
            )
        };
        if was_open {
            shared.open.set(0);
            shared.dependency.ok();
            shared.changed.notify_waiters();
        }
    }

    /// It did not, or asked to be left alone: the circuit opens, or stays open for longer. Those that had left before it
    /// opened change nothing more, unless they know of a longer wait.
    pub(crate) fn unavailable(mut self, why: &str, retry_after: Option<Duration>, chance: f64) {
        let is_probe = std::mem::take(&mut self.is_probe);
        let shared = &self.circuit.0;
        let opens = {
            let mut state = self.circuit.state();
            let (opens, failures, earlier) = match &*state {
                State::Closed => (true, 1, None),
                State::Open {
                    failures,
                    next_probe,
                    ..
                } if is_probe => (false, failures + 1, Some(*next_probe)),
                State::Open {
                    failures,
                    next_probe,
                    ..
                } => (false, *failures, Some(*next_probe)),
            };
            let probing = !is_probe && matches!(&*state, State::Open { probing: true, .. });
            let pause = if opens || is_probe {
                shared.pauses.pause(failures, retry_after, chance)
            } else {
                retry_after
                    .unwrap_or_default()
                    .min(crate::retry::LONGEST_RETRY_AFTER)
            };
            let next_probe = Instant::now() + pause;
            *state = State::Open {
                failures,
                next_probe: earlier.map_or(next_probe, |earlier| earlier.max(next_probe)),
                probing,
            };
            opens
        };
        if opens {
            shared.open.set(1);
            shared.dependency.degraded(format!(
                "{why}; its reports wait, and one of them tries now and then"
            ));
        }
        shared.changed.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_probe
            && let State::Open { probing, .. } = &mut *self.circuit.state()
        {
            *probing = false;
            self.circuit.0.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use bellhop_service::health::DependencyState;
    use bellhop_service::{Alarms, Health, Metrics, Shown};
    use futures::FutureExt as _;

    use super::*;

    fn circuit() -> (Circuit, Dependency) {
        let metrics = Metrics::new("test", "0");
        let health = Health::new(metrics.clone(), Alarms::new(&metrics), Shown::new(&metrics));
        let dependency = health.dependency("receiver");
        let pauses = Pauses {
            min: Duration::from_secs(1),
            max: Duration::from_secs(60),
        };
        (
            Circuit::new(pauses, dependency.clone(), Gauge::default()),
            dependency,
        )
    }

    fn is_shut(circuit: &Circuit) -> bool {
        circuit.enter().now_or_never().is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_is_open_one_probe_leaves_at_a_time_and_its_answer_lets_all_go() {
        let (circuit, dependency) = circuit();
        circuit
            .enter()
            .await
            .unavailable("connection refused", None, 0.0);
        assert!(is_shut(&circuit));
        assert!(matches!(dependency.state(), DependencyState::Degraded(_)));
        let probe = circuit.enter().await;
        assert!(is_shut(&circuit));
        probe.answered();
        assert_eq!(dependency.state(), DependencyState::Ok);
        let (_one, _other) = (circuit.enter().await, circuit.enter().await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_before_a_probe_grows_with_each_one_that_fails() {
        let (circuit, _) = circuit();
        circuit.enter().await.unavailable("timeout", None, 0.0);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let before = Instant::now();
            circuit.enter().await.unavailable("timeout", None, 0.0);
            pauses.push(before.elapsed().as_secs_f64().round());
        }
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_is_away_for_eight_hours_is_probed_twice_a_minute_at_most_and_once_at_least()
     {
        let (circuit, _) = circuit();
        circuit.enter().await.unavailable("timeout", None, 0.0);
        let began = Instant::now();
        let mut probes = 0;
        while began.elapsed() < Duration::from_secs(8 * 3600) {
            let chance = f64::from(probes % 11) / 10.0;
            circuit.enter().await.unavailable("timeout", None, chance);
            probes += 1;
        }
        assert!((8 * 60..=8 * 120 + 8).contains(&probes), "{probes}");
        // It is back: the next probe finds that out, and then nobody waits.
        let before = Instant::now();
        circuit.enter().await.answered();
        assert!(before.elapsed().as_secs_f64() <= 60.5);
        assert!(!is_shut(&circuit));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_had_left_before_it_opened_count_as_one_failure() {
        let (circuit, _) = circuit();
        let mut left = Vec::new();
        for _ in 0..5 {
            left.push(circuit.enter().await);
        }
        for permit in left {
            permit.unavailable("timeout", None, 0.0);
        }
        let before = Instant::now();
        circuit.enter().await.answered();
        assert_eq!(before.elapsed().as_secs_f64().round(), 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_lets_another_one_try() {
        let (circuit, _) = circuit();
        circuit.enter().await.unavailable("timeout", None, 0.0);
        let probe = circuit.enter().await;
        let waiting = tokio::spawn({
            let circuit = circuit.clone();
            async move { circuit.enter().await.answered() }
        });
        tokio::task::yield_now().await;
        drop(probe);
        assert!(waiting.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_after_keeps_it_shut_for_that_long() {
        let (circuit, _) = circuit();
        let before = Instant::now();
        circuit
            .enter()
            .await
            .unavailable("HTTP 429", Some(Duration::from_secs(300)), 0.5);
        circuit.enter().await.answered();
        assert_eq!(before.elapsed().as_secs_f64().round(), 300.0);
    }
}
