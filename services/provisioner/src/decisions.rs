//! Decide, append, and again where someone else was first.

mod at_end;
mod permits;
#[cfg(test)]
mod replicas;

use std::sync::Arc;
use std::time::Duration;

use bellhop_domain::id::{ReservationId, ResourceId, Version};
use bellhop_domain::ledger::{Ledger, StandsElsewhere, Upon};
use bellhop_domain::reservation::{Command, Fact, Policy, Resource, decide};
use bellhop_event_store::{AppendError, ErrorClass, EventStore, EventStoreError, NewEntry};
use bellhop_service::trace_context::current_traceparent;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tracing::{Instrument, Span};

use crate::folded::FoldedLedger;

/// How often a decision is made anew because another replica was first. Each time that one got ahead, so this many in a row
/// means that something else is wrong.
const TRIES: usize = 20;
/// How long our own reading may take to pass what was just appended.
const READING: Duration = Duration::from_secs(10);

/// Makes decisions and records them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Decisions {
    store: EventStore,
    folded: FoldedLedger,
    policy: Policy,
    /// Whoever appends at the ledger's end: of several in one process only one can be right.
    at_end: Arc<Mutex<()>>,
}

/// A decision could not be recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecisionError {
    /// It could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The newest version could not be asked for.
    #[error(transparent)]
    Store(#[from] EventStoreError),
    /// Our own reading of the ledger did not come.
    #[error("the ledger's entry {version} was not read within {} s", READING.as_secs())]
    Behind { version: Version },
    /// A reservation stands on another resource by now, and what becomes of it is decided there.
    #[error(transparent)]
    StandsElsewhere(#[from] StandsElsewhere),
    /// Others were first again and again.
    #[error("{TRIES} decisions in a row on {resource} were overtaken")]
    Overtaken { resource: ResourceId },
}

impl DecisionError {
    /// What to do about it.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Append(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::StandsElsewhere(_) => ErrorClass::Conflict,
            Self::Behind { .. } | Self::Overtaken { .. } => ErrorClass::Transient,
        }
    }
}

impl Decisions {
    pub(crate) fn new(store: EventStore, folded: FoldedLedger, policy: Policy) -> Self {
        Self {
            store,
            folded,
            policy,
            at_end: Arc::default(),
        }
    }

    /// Decides on `resource` as it stands now; when this returns, what follows is in the ledger and folded. Where another
    /// replica decides at once, one of the two wins, and the other decides again upon what the winner left. What would end a
    /// reservation that stands elsewhere by now is not recorded here: it is let go.
    pub(crate) async fn decide(
        &self,
        resource: &ResourceId,
        command: &Command,
        cause: &str,
    ) -> Result<(), DecisionError> {
        self.decide_while(resource, command, cause, |_| true).await
    }

    /// As [`Decisions::decide`], as long as `still` holds for the folded ledger: for a command that may be overtaken.
    pub(crate) async fn decide_while(
        &self,
        resource: &ResourceId,
        command: &Command,
        cause: &str,
        still: impl Fn(&Ledger) -> bool,
    ) -> Result<(), DecisionError> {
        for _ in 0..TRIES {
            let state = self.folded.resource(resource);
            if !self.folded.read(&still) {
                return Ok(());
            }
            match self
                .decide_upon(resource, &state, command, cause, Span::current)
                .await
            {
                Err(DecisionError::Append(AppendError::Conflict { .. })) => {
                    self.catch_up_on(resource).await?;
                }
                Err(DecisionError::StandsElsewhere(StandsElsewhere { reservation, place })) => {
                    Box::pin(self.let_go(resource, &reservation, &place, cause)).await?;
                    // What is said of it is decided where it stands, by whoever asked.
                    if self.folded.resource(resource).version == state.version {
                        return Ok(());
                    }
                }
                other => return other.map(drop),
            }
        }
        Err(DecisionError::Overtaken {
            resource: resource.clone(),
        })
    }

    /// Decides upon `state`, and on nothing newer: for what was read in the light of that state. Where facts follow, they are
    /// recorded in a span of `span`. Returns them.
    pub(crate) async fn decide_upon(
        &self,
        resource: &ResourceId,
        state: &Resource,
        command: &Command,
        cause: &str,
        span: impl FnOnce() -> Span,
    ) -> Result<Vec<Fact>, DecisionError> {
        let at = Timestamp::now();
        let facts = decide(state, command, at, &self.policy);
        if facts.is_empty() {
            return Ok(facts);
        }
        self.record(resource, state.version, at, facts, cause)
            .instrument(span())
            .await
    }

    async fn record(
        &self,
        resource: &ResourceId,
        expected: Version,
        at: Timestamp,
        facts: Vec<Fact>,
        cause: &str,
    ) -> Result<Vec<Fact>, DecisionError> {
        let traceparent = current_traceparent().map(|traceparent| traceparent.as_str().to_owned());
        let entry = NewEntry {
            at,
            facts,
            traceparent,
            cause: cause.to_owned(),
        };
        let upon = (self.folded).read(|ledger| ledger.recorded_upon(resource, &entry.facts))?;
        let version = match upon {
            Upon::Resource => self.store.append(resource, expected, &entry).await?,
            Upon::WholeLedger => self.append_at_end(resource, expected, &entry).await?,
        };
        log(resource, &entry);
        self.read_up_to(version).await?;
        Ok(entry.facts)
    }

    /// Lets a reservation go from a resource on which it does not stand any more.
    pub(crate) async fn let_go(
        &self,
        resource: &ResourceId,
        reservation: &ReservationId,
        to: &ResourceId,
        cause: &str,
    ) -> Result<(), DecisionError> {
        let out = Command::MovedOut {
            reservation: reservation.clone(),
            to: to.clone(),
        };
        // It may have come back meanwhile.
        let astray = |ledger: &Ledger| {
            ledger
                .strays()
                .iter()
                .any(|(on, stray, _)| on == resource && stray == reservation)
        };
        self.decide_while(resource, &out, cause, astray).await
    }

    /// Waits until what others decided on `resource` is folded.
    pub(crate) async fn catch_up_on(&self, resource: &ResourceId) -> Result<(), DecisionError> {
        let newest = self.store.newest_version(resource).await?;
        self.read_up_to(newest).await
    }

    /// Waits until all that others decided by now is folded.
    pub(crate) async fn catch_up_with_all(&self) -> Result<(), DecisionError> {
        let end = self.store.ledger_end().await?;
        self.read_up_to(end).await
    }

    /// The patience that decisions are made with.
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    async fn read_up_to(&self, version: Version) -> Result<(), DecisionError> {
        let read = self.folded.reach_within(version, READING).await;
        if read {
            Ok(())
        } else {
            Err(DecisionError::Behind { version })
        }
    }
}

/// One line for each fact: what an operator reads to know what happened and why.
fn log(resource: &ResourceId, entry: &NewEntry) {
    for fact in &entry.facts {
        let (name, cause) = (fact.name(), &entry.cause);
        let reservation = fact.reservation().map(tracing::field::display);
        // Who ordered it, and why.
        let by = fact.note().map(|note| note.by.as_str());
        let why = fact.note().map(|note| note.why.as_str());
        match fact {
            Fact::ReservationFailed { reason, .. } => {
                tracing::error!(%resource, reservation, cause, ?reason, "{name}");
            }
            Fact::ProvisioningErrorSeen {
                error,
                attempt,
                attempts,
                ..
            } => {
                tracing::warn!(%resource, reservation, cause, error = error.kind, message = error.message, attempt, attempts, "{name}");
            }
            Fact::ReservationWaits { reason, .. } => {
                tracing::info!(%resource, reservation, cause, ?reason, "{name}")
            }
            Fact::HostReleased {
                not_wiped: true, ..
            } => tracing::warn!(%resource, reservation, cause, "{name}: released, not wiped"),
            Fact::HostAssigned { host, .. } => {
                tracing::info!(%resource, reservation, cause, %host, "{name}")
            }
            Fact::ReservationEnded(ended) => {
                tracing::info!(%resource, reservation, cause, by, why, outcome = ?ended.outcome, ended_by = ?ended.cause, "{name}");
            }
            _ => tracing::info!(%resource, reservation, cause, by, why, "{name}"),
        }
    }
}
