//! A look at the host of a holder whose claim was not seen yet: the secret is made, then the claim is written.

use std::time::Duration;

use bellhop_domain::reservation::{Holding, Observation, Reservation, TenantKey};
use bellhop_service::trace_context::{TraceParent, current_traceparent};
use jiff::Timestamp;
use tracing::Instrument;

use super::claim;
use super::cluster::{ClusterError, SecretCreated, WritableCluster};
use super::driver::{BLOCKED, Driver, Look, LookError};
use super::fence::Verdict;
use super::host::BareMetalHost;
use crate::words::brought_key;
use crate::work_queue::Next;

impl Driver {
    pub(super) async fn claim(
        &self,
        look: &Look,
        holding: &Holding,
        cluster: &WritableCluster,
    ) -> Result<Next, LookError> {
        let host = self.held_host(&holding.host).await?;
        // One that is being deleted is never prepared for anyone.
        let Some(host) = host.filter(|host| !host.is_being_deleted()) else {
            return Ok(if self.observe(look, Observation::HostGone).await? {
                Next::Again
            } else {
                Next::Rest
            });
        };
        if let Verdict::Open(written) = self.writer(look).check(&host)
            && claim::was_written(&host, holding, written)
        {
            self.wait(&look.id, None);
            return self.claimed(look, holding, &host).await;
        }
        let reservation = look.state.reservations.get(&holding.reservation);
        let end = reservation.and_then(Reservation::end);
        if end.is_some_and(|end| end <= Timestamp::now()) && !self.clock.is_right().await {
            self.wait(
                &look.id,
                Some("its end passed by our clock, which is not the broker's"),
            );
            return Ok(Next::After(BLOCKED));
        }
        if self.observe(look, Observation::Unclaimed).await? {
            return Ok(Next::Again);
        }
        if let Some(obstacle) = claim::obstacle(&host, &self.writer(look)) {
            self.wait(&look.id, Some(&obstacle));
            let text = format!("the host {} can't be used now: {obstacle}", host.name());
            if !self.is_behind(look, &host) {
                self.observe(look, Observation::NotClean { text }).await?;
            }
            return Ok(Next::After(BLOCKED));
        }
        if let Some(text) = self.paused_now(look).await? {
            self.observe(look, Observation::Paused { text }).await?;
            return Ok(Next::After(BLOCKED));
        }
        // Whose it is may have changed since.
        if self.folded.resource(&look.id).version != look.state.version {
            return Ok(Next::Again);
        }
        self.wait(&look.id, None);
        let written = self
            .write_claim(look, holding, &host, cluster)
            .instrument(look.span("claim"))
            .await;
        if written.is_err() {
            self.forget_secret(look, holding, cluster).await;
        }
        match written? {
            Claimed::Written => Ok(Next::Again),
            Claimed::Later => Ok(Next::After(Duration::from_secs(1))),
            Claimed::Refused(text) => {
                self.observe(look, Observation::ClaimRefused { text })
                    .await?;
                Ok(Next::Again)
            }
        }
    }

    async fn write_claim(
        &self,
        look: &Look,
        holding: &Holding,
        host: &BareMetalHost,
        cluster: &WritableCluster,
    ) -> Result<Claimed, LookError> {
        let key = match self.key(holding).await? {
            Ok(key) => key,
            Err(reason) => return Ok(Claimed::Refused(reason)),
        };
        let user_data = self.user_data.render(&holding.terms.login, key.as_deref());
        let owner = self.owner(&holding.reservation, &holding.host);
        let created = cluster
            .create_secret(&holding.secret, &owner, holding.user_data_of, user_data)
            .await;
        match refusable(created)? {
            Ok(SecretCreated::Ours) => {}
            Ok(SecretCreated::BeingDeleted | SecretCreated::Newer) => return Ok(Claimed::Later),
            Ok(SecretCreated::SomeoneElses) => {
                return Ok(Claimed::Refused(format!(
                    "a secret named {} belongs to someone else",
                    holding.secret
                )));
            }
            Err(refusal) => return Ok(Claimed::Refused(refusal)),
        }
        let traceparent = current_traceparent();
        let traceparent = traceparent.as_ref().map(TraceParent::as_str);
        let patch = claim::patch(
            host,
            holding,
            &self.writer(look),
            &self.installation,
            traceparent,
        );
        match refusable(self.write(cluster, &holding.host, &patch, "claim").await)? {
            Ok(_) => Ok(Claimed::Written),
            Err(refusal) => Ok(Claimed::Refused(refusal)),
        }
    }

    /// After a claim that failed: the reservation may be over by now, and whoever released its host found no secret yet (R9).
    async fn forget_secret(&self, look: &Look, holding: &Holding, cluster: &WritableCluster) {
        if let Err(error) = self.decisions.catch_up_on(&look.id).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "could not ask who has the resource now"
            );
        }
        let now = self.folded.resource(&look.id);
        if now
            .holding()
            .is_some_and(|now| now.secret == holding.secret)
        {
            return;
        }
        let owner = self.owner(&holding.reservation, &holding.host);
        if let Err(error) = cluster.delete_secret(&holding.secret, &owner).await {
            tracing::warn!(
                secret = holding.secret,
                error = error.text(),
                "could not delete a secret that is not needed any more"
            );
        }
    }

    /// The tenant's key, from the delivery that brought it: no fact may hold it. The inner error says why there is none.
    async fn key(&self, holding: &Holding) -> Result<Result<Option<String>, String>, LookError> {
        // None came, or the one that is in the delivery is a former owner's.
        if let TenantKey::Missing { reason } = &holding.key {
            return Ok(if holding.terms.without_key {
                Ok(None)
            } else {
                Err(format!("no usable SSH key came: {reason}"))
            });
        }
        let Some(delivery) = self.store.delivery(holding.delivery.sequence).await? else {
            return Ok(Err(
                "the delivery that brought the SSH key was removed".to_owned()
            ));
        };
        let key = if delivery.id == holding.delivery.id {
            brought_key(&delivery)
        } else {
            Err("the delivery that brought the SSH key is not what it was".to_owned())
        };
        Ok(match key {
            Ok(key) => Ok(Some(key.as_str().to_owned())),
            Err(_) if holding.terms.without_key => Ok(None),
            Err(reason) => Err(reason),
        })
    }
}

enum Claimed {
    Written,
    Later,
    Refused(String),
}

/// Tells a refusal that trying again won't change from other errors.
pub(super) fn refusable<T>(
    result: Result<T, ClusterError>,
) -> Result<Result<T, String>, ClusterError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => match error.refusal() {
            Some(refusal) => Ok(Err(format!("Kubernetes refused it: {refusal}"))),
            None => Err(error),
        },
    }
}
