//! One look at a resource and its host. See the module above for its way.

use std::sync::Arc;
use std::time::Duration;

use bellhop_domain::id::{HostRef, LedgerId, ReservationId, ResourceId, Version};
use bellhop_domain::ledger::StandsElsewhere;
use bellhop_domain::reservation::{
    Command, Desired, Holding, HostLeft, HostSites, Observation, Release, Resource, Scope, Stage,
    desired, vigil,
};
use bellhop_domain::time;
use bellhop_event_store::{AppendError, EventStore, EventStoreError};
use bellhop_service::health::Dependency;
use bellhop_service::notices::{Alarms, Shown};
use bellhop_service::panics::{Panicked, caught};
use bellhop_service::trace_context::{TraceParent, set_parent};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tracing::{Instrument, Span};

use super::adoption::HAND_BACK_REFUSED;
use super::claim;
use super::claiming::refusable;
use super::cluster::{Cluster, ClusterError, SecretOwner, WritableCluster};
use super::fence::{Verdict, Writer};
use super::host::BareMetalHost;
use super::release::{Step, next_step};
use super::shadow::Shadow;
use super::user_data::UserDataBase;
use super::watch::KnownHosts;
use crate::broker_clock::ClockGuard;
use crate::decisions::{DecisionError, Decisions};
use crate::folded::FoldedLedger;
use crate::metrics::ProvisionerMetrics;
use crate::turns::Turns;
use crate::work_queue::Next;

/// How soon to look again at what can't go on by itself and may change without an event.
pub(super) const BLOCKED: Duration = Duration::from_secs(30);

/// Never spin where our clock is set back between two sights.
const SOONEST_SIGHT: Duration = Duration::from_millis(100);

/// The alarm for a host that can't be given back.
const RELEASE_BLOCKED: &str = "release_blocked";

/// Brings hosts to what the ledger asks for.
pub(crate) struct Driver {
    pub(crate) store: EventStore,
    pub(crate) folded: FoldedLedger,
    pub(crate) decisions: Decisions,
    pub(crate) turns: Arc<Turns>,
    pub(crate) cluster: Cluster,
    pub(crate) hands: Hands,
    pub(crate) known: KnownHosts,
    pub(crate) user_data: UserDataBase,
    pub(crate) ledger: LedgerId,
    pub(crate) installation: String,
    pub(crate) address_template: Option<String>,
    pub(crate) power_off: bool,
    pub(crate) clock: ClockGuard,
    pub(crate) shown: Shown,
    pub(crate) alarms: Alarms,
    pub(crate) kubernetes: Dependency,
    pub(crate) metrics: ProvisionerMetrics,
}

/// What may be done to the cluster.
pub(crate) enum Hands {
    /// Whatever the ledger asks for.
    Live(Box<WritableCluster>),
    /// Nothing: what would be done is shown.
    Shadow(Shadow),
}

/// What a look is made upon.
pub(super) struct Look {
    pub(super) id: ResourceId,
    pub(super) state: Resource,
    /// How far the whole ledger was folded when the state was taken.
    folded: Version,
}

impl Look {
    /// A span in the trace of the start that the look is for. Only for what leads to something: most looks do not, and a
    /// reservation of days has thousands of them.
    pub(super) fn span(&self, step: &'static str) -> Span {
        let (reservation, traceparent) = concerns(&self.state);
        let span = tracing::info_span!(
            "drive",
            otel.name = step,
            resource = %self.id,
            reservation = reservation.map(tracing::field::display),
        );
        let traceparent = traceparent.and_then(|text| TraceParent::try_from(text.to_owned()).ok());
        set_parent(&span, traceparent.as_ref());
        span
    }
}

/// A look failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error("{}", .0.text())]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Decision(#[from] DecisionError),
    #[error(transparent)]
    Store(#[from] EventStoreError),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl Driver {
    /// Looks at `id` and its host. What fails is shown and tried again later.
    pub(crate) async fn look(&self, id: &ResourceId) -> Next {
        let (state, folded) = self.folded.resource_and_version(id);
        let look = Look {
            id: id.clone(),
            state,
            folded,
        };
        let looked = caught(async {
            match &self.hands {
                Hands::Live(cluster) => self.bring_about(&look, cluster).await,
                Hands::Shadow(shadow) => self.show_what_would_be(&look, shadow).await,
            }
        });
        // Whatever a host says must not end what drives the others.
        let result = looked.await.unwrap_or_else(|panicked| Err(panicked.into()));
        let key = id.to_string();
        let (next, outcome) = match result {
            Ok(next) => {
                self.shown.clear("failing", &key);
                (next, "done")
            }
            // Someone else was first at the ledger: begin again when we know what they decided.
            Err(LookError::Decision(DecisionError::Append(AppendError::Conflict { .. }))) => {
                let caught_up = self.decisions.catch_up_on(id).await;
                (
                    if caught_up.is_ok() {
                        Next::Again
                    } else {
                        Next::Failed
                    },
                    "conflict",
                )
            }
            // The reservation was moved meanwhile: what was read here is not its end.
            Err(LookError::Decision(DecisionError::StandsElsewhere(elsewhere))) => {
                let StandsElsewhere { reservation, place } = &elsewhere;
                let let_go = self.decisions.let_go(id, reservation, place, "observation");
                let next = match let_go.await {
                    Ok(()) if self.folded.resource(id).version > look.state.version => Next::Again,
                    _ => Next::Failed,
                };
                (next, "conflict")
            }
            // Someone else was first at the host: begin again at the read, but never spin.
            Err(LookError::Cluster(error)) if error.is_conflict() => (Next::Failed, "conflict"),
            Err(error) => {
                self.shown.show("failing", &key, &error.to_string());
                (Next::Failed, "failed")
            }
        };
        self.metrics.reconciliation(outcome);
        next
    }

    pub(super) fn writer(&self, look: &Look) -> Writer {
        Writer {
            ledger: self.ledger.clone(),
            resource: look.id.clone(),
            version: look.state.version,
            folded: look.folded,
        }
    }

    async fn bring_about(&self, look: &Look, cluster: &WritableCluster) -> Result<Next, LookError> {
        let desired = desired(&look.state);
        if desired != Desired::SwitchOn {
            self.alarms.clear(HAND_BACK_REFUSED, &look.id.to_string());
        }
        match desired {
            Desired::Nothing => {
                self.wait(&look.id, None);
                Ok(Next::Rest)
            }
            Desired::Wait => self.offer(look, None).await,
            Desired::Offer { next } => self.offer(look, Some(next)).await,
            Desired::Adopt(holding) => self.adopt(look, holding, cluster).await,
            Desired::SwitchOn => self.switch_on(look, cluster).await,
            Desired::Claim(holding) => self.claim(look, holding, cluster).await,
            Desired::Keep(holding) => self.keep(look, holding).await,
            Desired::Release(release) => self.release(look, release, cluster).await,
        }
    }

    /// Decides what `observation` means. Returns whether anything follows: then the host is looked at anew.
    pub(super) async fn observe(
        &self,
        look: &Look,
        observation: Observation,
    ) -> Result<bool, LookError> {
        let command = Command::Observed(observation);
        let span = || look.span("observe");
        let decided =
            self.decisions
                .decide_upon(&look.id, &look.state, &command, "observation", span);
        Ok(!decided.await?.is_empty())
    }

    pub(super) fn wait(&self, id: &ResourceId, why: Option<&str>) {
        match why {
            Some(why) => self.shown.show("waiting", &id.to_string(), why),
            None => self.shown.clear("waiting", &id.to_string()),
        }
    }

    /// In words for a user, that an operator stopped all writes to the resource's host; none where nobody did. Shown where it
    /// is, with who did and why.
    pub(super) fn paused(&self, id: &ResourceId) -> Option<String> {
        let (shown, told) = self.folded.read(|ledger| {
            let (scope, note) = ledger.paused(id)?;
            let (with, what) = match scope {
                Scope::Resource(_) => (String::new(), "this server"),
                Scope::Site(_) => (format!(" (with {scope})"), "the servers of its site"),
                Scope::Everything => (format!(" (with {scope})"), "all servers"),
            };
            Some((
                format!("paused by {}{with}: {}", note.by, note.why),
                format!("the operators have stopped the work on {what} for now"),
            ))
        })?;
        self.wait(id, Some(&shown));
        Some(told)
    }

    /// As [`Driver::paused`], after the broker was asked for what operators ordered meanwhile: before each write.
    pub(super) async fn paused_now(&self, look: &Look) -> Result<Option<String>, LookError> {
        match look.state.host_sites() {
            HostSites::These(sites) => {
                self.decisions.catch_up_on(&look.id).await?;
                let sites = sites.into_iter().map(Scope::Site);
                for scope in sites.chain([Scope::Everything]) {
                    self.decisions.catch_up_on(&scope.resource()).await?;
                }
            }
            // A pause of any site may be meant.
            HostSites::Any => self.decisions.catch_up_with_all().await?,
        }
        Ok(self.paused(&look.id))
    }

    /// In words for a user, why a host is not released now, whatever the ledger asks for: an operator's word. Wiping can't be
    /// undone.
    async fn kept_by_an_operator(&self, look: &Look) -> Result<Option<String>, LookError> {
        let paused = self.paused_now(look).await?;
        if let Some(note) = &self.folded.resource(&look.id).orders.held {
            let text = format!("held by {}: {}", note.by, note.why);
            self.wait(&look.id, Some(&text));
            return Ok(Some("the operators keep it as it is for now".to_owned()));
        }
        Ok(paused)
    }

    async fn keep(&self, look: &Look, holding: &Holding) -> Result<Next, LookError> {
        let host = self.held_host(&holding.host).await?;
        // One that is in use is its user's until it is gone.
        let is_ready = matches!(holding.stage, Stage::Ready { .. });
        match host.filter(|host| is_ready || !host.is_being_deleted()) {
            Some(host) => self.claimed(look, holding, &host).await,
            None => Ok(if self.observe(look, Observation::HostGone).await? {
                Next::Again
            } else {
                Next::Rest
            }),
        }
    }

    pub(super) async fn claimed(
        &self,
        look: &Look,
        holding: &Holding,
        host: &BareMetalHost,
    ) -> Result<Next, LookError> {
        let read = claim::read(host, holding, self.address_template.as_deref());
        match &read.progress {
            bellhop_domain::reservation::Progress::Suspended { reason } => {
                self.wait(&look.id, Some(reason))
            }
            _ => self.wait(&look.id, None),
        }
        // Somebody else took our image off. What Metal3 is told of its cleaning may be another thing when it is given back.
        let is_taken_off = read.changed.is_some() && host.image_url().is_none();
        if is_taken_off
            && host.is_never_wiped()
            && !holding.cleaning_off
            && self.observe(look, Observation::CleaningOff).await?
        {
            return Ok(Next::Again);
        }
        let followed = self.observe(look, Observation::Claimed(read)).await?;
        Ok(if followed {
            Next::Again
        } else {
            self.next_sight(holding)
        })
    }

    /// Only time between two looks counts towards the provisioning timeout, and only a look ends it: neither hangs upon a watch
    /// or the sweep.
    fn next_sight(&self, holding: &Holding) -> Next {
        let policy = self.decisions.policy();
        let Some(due) = vigil::next_look(holding, policy) else {
            return Next::Rest;
        };
        let pause = time::elapsed(Timestamp::now(), due);
        Next::After(pause.clamp(SOONEST_SIGHT, vigil::look_interval(policy)))
    }

    async fn release(
        &self,
        look: &Look,
        release: &Release,
        cluster: &WritableCluster,
    ) -> Result<Next, LookError> {
        let host = self
            .cluster
            .host(&release.host.namespace, &release.host.name)
            .await?;
        match next_step(host.as_ref(), release, &self.writer(look), self.power_off) {
            Step::Write(patch) => {
                if let Some(text) = self.kept_by_an_operator(look).await? {
                    self.alarms.clear(RELEASE_BLOCKED, &look.id.to_string());
                    self.observe(look, Observation::Paused { text }).await?;
                    return Ok(Next::After(BLOCKED));
                }
                if self.cleaning_is_off(look, release, host.as_ref()).await? {
                    return Ok(Next::Again);
                }
                let span = look.span("release");
                let written = self
                    .write(cluster, &release.host, &patch, "release")
                    .instrument(span)
                    .await;
                match refusable(written)? {
                    Ok(_) => {
                        self.alarms.clear(RELEASE_BLOCKED, &look.id.to_string());
                        Ok(Next::Again)
                    }
                    Err(refusal) => {
                        self.release_blocked(look, release, host.as_ref(), &refusal, cluster)
                            .await
                    }
                }
            }
            Step::Wait(text) => {
                self.alarms.clear(RELEASE_BLOCKED, &look.id.to_string());
                self.wait(&look.id, Some(&text));
                if self.cleaning_is_off(look, release, host.as_ref()).await? {
                    return Ok(Next::Again);
                }
                let observation = match host.as_ref().and_then(BareMetalHost::error) {
                    Some(_) => Observation::NotClean { text },
                    None => Observation::Releasing,
                };
                self.observe(look, observation).await?;
                Ok(Next::After(BLOCKED))
            }
            Step::Blocked(text) => {
                self.release_blocked(look, release, host.as_ref(), &text, cluster)
                    .await
            }
            Step::Done(left) => {
                // Its claim may have been written though nobody saw it, or somebody else have prepared it.
                let not_wiped = host.is_some_and(|host| host.is_never_wiped());
                self.released(look, release, left, not_wiped, cluster).await
            }
        }
    }

    /// Notes it where Metal3 is told not to clean the host while the image is taken off: it may be told another thing before
    /// the host is clean. Returns whether that was news.
    async fn cleaning_is_off(
        &self,
        look: &Look,
        release: &Release,
        host: Option<&BareMetalHost>,
    ) -> Result<bool, LookError> {
        let is_off = host.is_some_and(|host| {
            host.uid() == release.host.uid && host.is_never_wiped() && !self.is_behind(look, host)
        });
        Ok(is_off && !release.cleaning_off && self.observe(look, Observation::CleaningOff).await?)
    }

    /// Whether a newer decision than is known here has written the host.
    pub(super) fn is_behind(&self, look: &Look, host: &BareMetalHost) -> bool {
        matches!(self.writer(look).check(host), Verdict::Newer(_))
    }

    /// The host can't be given back now, for a reason that an operator must see to.
    async fn release_blocked(
        &self,
        look: &Look,
        release: &Release,
        host: Option<&BareMetalHost>,
        text: &str,
        cluster: &WritableCluster,
    ) -> Result<Next, LookError> {
        let blocked = format!("its release is blocked: {text}");
        self.wait(&look.id, Some(&blocked));
        self.alarms
            .raise(RELEASE_BLOCKED, &look.id.to_string(), text);
        // What can't be given back now need not keep the tenant's key as well.
        let refers = host.and_then(BareMetalHost::user_data) == Some(release.secret.as_str());
        if !refers {
            let owner = self.owner(&release.reservation, &release.host);
            cluster.delete_secret(&release.secret, &owner).await?;
        }
        self.observe(look, Observation::NotClean { text: blocked })
            .await?;
        Ok(Next::After(BLOCKED))
    }

    async fn released(
        &self,
        look: &Look,
        release: &Release,
        left: HostLeft,
        not_wiped: bool,
        cluster: &WritableCluster,
    ) -> Result<Next, LookError> {
        let owner = self.owner(&release.reservation, &release.host);
        if release.adopted {
            cluster
                .delete_adopted_secret(&release.secret, &owner)
                .await?;
        } else {
            cluster.delete_secret(&release.secret, &owner).await?;
        }
        self.wait(&look.id, None);
        self.alarms.clear(RELEASE_BLOCKED, &look.id.to_string());
        self.observe(look, Observation::Released { left, not_wiped })
            .await?;
        Ok(Next::Again)
    }

    /// The assigned host; none where it is gone, or another one has its name.
    pub(super) async fn held_host(
        &self,
        wanted: &HostRef,
    ) -> Result<Option<BareMetalHost>, LookError> {
        let host = self.cluster.host(&wanted.namespace, &wanted.name).await?;
        Ok(host.filter(|host| host.uid() == wanted.uid))
    }

    pub(super) async fn write(
        &self,
        cluster: &WritableCluster,
        host: &HostRef,
        patch: &serde_json::Value,
        what: &'static str,
    ) -> Result<BareMetalHost, ClusterError> {
        let span = tracing::info_span!("write host", %host, what);
        let result = cluster.patch_host(host, patch).instrument(span).await;
        self.metrics
            .host_write(if result.is_ok() { what } else { "refused" });
        if result.is_ok() {
            tracing::info!(%host, what, "wrote the host");
        }
        result
    }

    pub(super) fn owner<'a>(
        &'a self,
        reservation: &'a ReservationId,
        host: &'a HostRef,
    ) -> SecretOwner<'a> {
        SecretOwner {
            reservation,
            host,
            ledger: &self.ledger,
        }
    }

    /// A name of its own each time that a host is given to a reservation: never another tenant's secret, nor one of an owner that
    /// the booking had before (R9). `upon`: the state that this is decided upon; of two decisions upon one only one counts.
    pub(super) fn secret_name(
        &self,
        host: &HostRef,
        reservation: &ReservationId,
        upon: Version,
    ) -> String {
        let mut hash = Sha256::new();
        let (reservation, upon) = (reservation.to_string(), upon.to_string());
        for part in [self.ledger.as_str(), &host.uid, &reservation, &upon] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let digest = hash.finalize();
        let short: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // A host's name is a DNS subdomain of at most 253 characters, and so is a secret's.
        let host: String = host.name.chars().take(220).collect();
        format!("{host}-{short}-userdata")
    }
}

pub(super) fn reference(host: &BareMetalHost) -> HostRef {
    HostRef {
        namespace: host.namespace().to_owned(),
        name: host.name().to_owned(),
        uid: host.uid().to_owned(),
    }
}

/// The reservation that a look at a resource is for, and the trace of its start.
fn concerns(state: &Resource) -> (Option<&ReservationId>, Option<&str>) {
    let reservation = match desired(state) {
        Desired::Nothing | Desired::Wait | Desired::SwitchOn => None,
        Desired::Offer { next } => Some(next),
        Desired::Adopt(holding) | Desired::Claim(holding) | Desired::Keep(holding) => {
            Some(&holding.reservation)
        }
        Desired::Release(release) => Some(&release.reservation),
    };
    let trace = reservation.and_then(|id| state.reservations.get(id)?.traceparent.as_deref());
    (reservation, trace)
}
