//! Waits for the deadlines that the folded ledger holds, and asks for a decision when one has passed.

use std::time::Duration;

use bellhop_domain::id::{AskerId, ResourceId};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::timer::{self, Timer};
use bellhop_domain::reservation::{Command, Policy};
use bellhop_domain::time;
use bellhop_event_store::EventStore;
use bellhop_service::notices::Alarms;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::broker_clock::ClockGuard;
use crate::catch_up;
use crate::decisions::{DecisionError, Decisions};
use crate::folded::FoldedLedger;

/// Never sleep longer: the clock may be set, and a deadline be nearer than it seemed.
const LONGEST: Duration = Duration::from_secs(30);
/// Never spin where a decision that is due can't be recorded.
const SHORTEST: Duration = Duration::from_millis(500);

/// After how long of deliveries that can't be folded the deadlines that release no host fire all the same.
const BEHIND: Duration = Duration::from_secs(300);
/// As [`SHORTEST`], while releases are stopped.
const STOPPED: Duration = Duration::from_secs(5);
/// The alarm for what is withheld.
pub(crate) const RELEASES_STOPPED: &str = "deadline_releases_stopped";
/// A gap between two looks that means that this process was not running.
const AWAY: Duration = Duration::from_secs(90);

/// How often to look for what a crash in the middle of a move left.
const STRAYS: Duration = Duration::from_secs(10);

/// How long what waits in the broker may take to be folded, before a deadline that is due is put off.
const FOLDING: Duration = Duration::from_secs(30);

/// Fires deadlines until told to stop. Everything that waited must be folded when this begins.
pub(crate) async fn run(
    store: EventStore,
    folded: FoldedLedger,
    decisions: Decisions,
    mut guard: ReleaseGuard,
    stop: CancellationToken,
) {
    let mut changes = folded.changes();
    let mut connections = store.connections();
    let mut up_since = Timestamp::now();
    let mut looked = up_since;
    let mut searched = Timestamp::UNIX_EPOCH;
    let mut slept = false;
    let mut behind = None;
    while !stop.is_cancelled() {
        let now = Timestamp::now();
        // This process was stopped, its machine asleep, or the broker away: what passed meanwhile passed while we were away.
        slept |= time::elapsed(looked, now) > AWAY;
        let due = due(&folded, &decisions, up_since, now);
        // A start that came too late may wait for it as well.
        if guard.clock.was_off() {
            guard.clock.is_right().await;
        }
        if slept || connections.has_changed().unwrap_or(false) || !due.is_empty() {
            // An extension may wait in the broker. Wiping can't be undone, so no host is released before it is folded.
            let up_to_date = is_up_to_date(&store, &folded, &stop).await;
            // The connection may have come back while that was asked.
            if up_to_date && (slept || connections.has_changed().unwrap_or(false)) {
                tracing::info!(
                    "was away for a while; deadlines that passed meanwhile begin their hold anew"
                );
                connections.mark_unchanged();
                up_since = Timestamp::now();
                slept = false;
            }
            behind = if up_to_date {
                None
            } else {
                behind.or(Some(now))
            };
            let long_behind = behind.is_some_and(|since| time::elapsed(since, now) > BEHIND);
            guard.alarm_if_behind(long_behind);
            if up_to_date || long_behind {
                let clock_is_right = guard.clock.is_right().await;
                let sure = Sure {
                    up_to_date,
                    clock_is_right,
                };
                fire(&due, &folded, &decisions, &mut guard, up_since, sure, &stop).await;
            }
        }
        looked = Timestamp::now();
        if time::elapsed(searched, now) >= STRAYS {
            searched = now;
            call_back_strays(&folded, &decisions).await;
        }
        let pause = next_due(&folded, &decisions, up_since).map_or(LONGEST, |due| {
            Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
        });
        // What changes may bring a nearer deadline; a burst of changes is one reason to look.
        let wake = async {
            let _changed = changes.recv().await;
            tokio::time::sleep(SHORTEST).await;
        };
        // What is stopped stays due.
        let shortest = if guard.stopped || guard.clock.was_off() || behind.is_some() {
            STOPPED
        } else {
            SHORTEST
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause.clamp(shortest, LONGEST)) => {}
            () = wake => {}
        }
    }
}

/// Whether everything that the broker has is folded: asked anew each time, so that a broker that is away, or a connection that
/// is dead and not noticed yet, puts deadlines off.
async fn is_up_to_date(
    store: &EventStore,
    folded: &FoldedLedger,
    stop: &CancellationToken,
) -> bool {
    let caught_up = catch_up::with_deliveries(store, folded, stop);
    matches!(tokio::time::timeout(FOLDING, caught_up).await, Ok(Some(())))
}

/// Stops releases without an end where there are too many at once (R5): wiping can't be undone, and so many lost ends mean that
/// something else is wrong. It stays stopped until this process is started anew, which begins all holds anew.
pub(crate) struct ReleaseGuard {
    pub(crate) most: usize,
    pub(crate) alarms: Alarms,
    pub(crate) stopped: bool,
    pub(crate) clock: ClockGuard,
}

/// What a deadline is decided upon.
#[derive(Clone, Copy)]
struct Sure {
    /// All that waits in the broker is folded.
    up_to_date: bool,
    /// Our clock is the broker's, nearly.
    clock_is_right: bool,
}

impl ReleaseGuard {
    /// While deliveries can't be folded for long, no host is released, and an operator is told.
    fn alarm_if_behind(&self, behind: bool) {
        if behind {
            let text = "deliveries wait that can't be folded: no host is released because its end did not come";
            self.alarms.raise(RELEASES_STOPPED, "behind", text);
        } else {
            self.alarms.clear(RELEASES_STOPPED, "behind");
        }
    }

    /// What a resource may be released for now, because no end came.
    async fn lets_pass(
        &mut self,
        resource: &ResourceId,
        folded: &FoldedLedger,
        decisions: &Decisions,
        up_since: Timestamp,
    ) -> Result<Pass, DecisionError> {
        let due = folded.read(|ledger| due_release(ledger, resource, decisions.policy(), up_since));
        let asker = match due {
            DueRelease::None => return Ok(Pass::No),
            DueRelease::Free => return Ok(Pass::Free),
            DueRelease::Of(asker) => asker,
        };
        self.stopped = self.stopped
            || !decisions
                .permit_release(resource, &asker, self.most)
                .await?;
        if self.stopped {
            let text = format!(
                "{} hosts were released within ten minutes because no end came: no further one is. Are the sender's ends \
                 lost, or is a clock wrong? Restart the provisioners to begin the holds anew",
                self.most
            );
            self.alarms.raise(RELEASES_STOPPED, "all", &text);
            return Ok(Pass::No);
        }
        Ok(Pass::With(asker))
    }
}

/// What a resource may be released for because time passed.
enum Pass {
    /// For nothing.
    No,
    /// What is due takes away no host of which it is not known that its reservation is over.
    Free,
    /// A hold that passed, with this permit.
    With(AskerId),
}

impl Pass {
    /// Whether it is good still, in the light of the newest state. A permit is, for a short time, and for that hold alone; and of
    /// what was free another provisioner may have made a hold that passed since.
    fn is_good(&self, ledger: &Ledger, due: &DueRelease) -> bool {
        match self {
            Self::No => true,
            Self::Free => !matches!(due, DueRelease::Of(_)),
            Self::With(asker) => {
                let is_of_another = matches!(due, DueRelease::Of(other) if other != asker);
                !is_of_another && ledger.deadline_releases().permits(asker, Timestamp::now())
            }
        }
    }
}

/// What there is on a resource to be released for now.
enum DueRelease {
    None,
    /// What is due takes away no host of which it is not known that its reservation is over.
    Free,
    /// A hold that passed: who asks for a permit.
    Of(AskerId),
}

fn due_release(
    ledger: &Ledger,
    resource: &ResourceId,
    policy: &Policy,
    up_since: Timestamp,
) -> DueRelease {
    let now = Timestamp::now();
    let Some(state) = ledger.resource(resource) else {
        return DueRelease::None;
    };
    let timers = timer::timers(state, policy, up_since);
    let due = || timers.iter().filter(|(due, _)| *due <= now);
    // Another reservation proves that this one is over: that is no missing end any more, and decided first.
    if due().any(|(_, timer)| matches!(timer, Timer::ProvenOver(_))) {
        return DueRelease::Free;
    }
    let hold = due().find_map(|(due, timer)| match timer {
        Timer::Hold(reservation) => Some((due, reservation)),
        _ => None,
    });
    match hold {
        None => DueRelease::None,
        // It begins anew.
        Some((due, _)) if *due < up_since => DueRelease::Free,
        // The same whenever its hold ends: what a killed provisioner was given for it is not lost when the hold begins anew.
        Some((_, reservation)) => {
            DueRelease::Of(AskerId::new(format!("{reservation} on {resource}")))
        }
    }
}

async fn fire(
    due: &[ResourceId],
    folded: &FoldedLedger,
    decisions: &Decisions,
    guard: &mut ReleaseGuard,
    up_since: Timestamp,
    sure: Sure,
    stop: &CancellationToken,
) {
    for resource in due {
        if stop.is_cancelled() {
            return;
        }
        let fired = async {
            let pass = if sure.up_to_date && sure.clock_is_right {
                guard
                    .lets_pass(resource, folded, decisions, up_since)
                    .await?
            } else {
                Pass::No
            };
            let command = Command::TimePassed {
                up_since,
                may_release: !matches!(pass, Pass::No),
                clock_is_right: sure.clock_is_right,
            };
            decisions
                .decide_while(resource, &command, "time", |ledger| {
                    let due = due_release(ledger, resource, decisions.policy(), up_since);
                    pass.is_good(ledger, &due)
                })
                .await
        };
        if let Err(error) = fired.await {
            tracing::warn!(
                %resource,
                error = &error as &dyn std::error::Error,
                "could not decide on a deadline; trying again"
            );
        }
    }
}

/// Finishes moves: a reservation is live on one resource only.
async fn call_back_strays(folded: &FoldedLedger, decisions: &Decisions) {
    for (resource, reservation, to) in folded.read(Ledger::strays) {
        if let Err(error) = decisions
            .let_go(&resource, &reservation, &to, "sweep")
            .await
        {
            tracing::warn!(%resource, error = &error as &dyn std::error::Error, "could not finish a move; trying again");
        }
    }
}

fn due(
    folded: &FoldedLedger,
    decisions: &Decisions,
    up_since: Timestamp,
    now: Timestamp,
) -> Vec<ResourceId> {
    folded.resources_where(|_, resource| {
        timer::next_due(resource, decisions.policy(), up_since).is_some_and(|due| due <= now)
    })
}

fn next_due(
    folded: &FoldedLedger,
    decisions: &Decisions,
    up_since: Timestamp,
) -> Option<Timestamp> {
    folded.read(|ledger| {
        ledger
            .resources()
            .filter_map(|(_, resource)| timer::next_due(resource, decisions.policy(), up_since))
            .min()
    })
}
