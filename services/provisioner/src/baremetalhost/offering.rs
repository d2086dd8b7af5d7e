//! A look at the host that the first in a resource's queue would get.

use bellhop_domain::id::{HostRef, ReservationId};
use bellhop_domain::preparing::being_prepared;
use bellhop_domain::reservation::{Observation, WaitReason};

use super::claim;
use super::driver::{BLOCKED, Driver, Hands, Look, LookError, reference};
use super::finding::Found;
use super::host::BareMetalHost;
use crate::turns::Turn;
use crate::work_queue::Next;

impl Driver {
    pub(super) async fn offer(
        &self,
        look: &Look,
        next: Option<&ReservationId>,
    ) -> Result<Next, LookError> {
        if let Some(text) = self.paused(&look.id) {
            let observation = if self.turns.obstructed(&look.id, &look.state) {
                let reason = WaitReason::Paused { text };
                let upon = look.state.version;
                Observation::PlaceUnused { reason, upon }
            } else {
                Observation::Paused { text }
            };
            self.observe(look, observation).await?;
            return Ok(Next::After(BLOCKED));
        }
        let sight = match self.sight(look, next).await {
            Ok(sight) => sight,
            Err(error) => {
                // A place that it has all the same goes to another.
                if self.turns.obstructed(&look.id, &look.state) {
                    let (text, upon) = (error.to_string(), look.state.version);
                    let reason = WaitReason::Host { text };
                    self.observe(look, Observation::PlaceUnused { reason, upon })
                        .await?;
                }
                return Err(error);
            }
        };
        let observation = match sight {
            Sight::Free => return Ok(Next::Rest),
            Sight::Shadowed { host, next } => {
                self.observe(look, Observation::WouldBeClaimed { host })
                    .await?;
                return Ok(next);
            }
            Sight::SoonItsTurn => {
                self.wait(&look.id, None);
                return Ok(Next::After(BLOCKED));
            }
            Sight::Of(observation) => observation,
        };
        let clean = matches!(observation, Observation::Clean { .. });
        let followed = self.observe(look, observation).await?;
        if clean {
            self.wait(&look.id, None);
        }
        Ok(if followed {
            Next::Again
        } else {
            Next::After(BLOCKED)
        })
    }

    /// What is seen of the host. That it can't be used is believed of the one that the watch knows; it is given away only
    /// where a list of all hosts says that it is the resource's: the watch may not have told yet of one that was marked.
    async fn sight(&self, look: &Look, next: Option<&ReservationId>) -> Result<Sight, LookError> {
        if let Some(host) = self.likely_host(&look.id).await? {
            let sight = self.sight_of(look, &host, next);
            if !matches!(sight, Sight::Of(Observation::Clean { .. })) {
                return Ok(sight);
            }
        }
        Ok(match self.find_host(&look.id).await? {
            Found::One(host) => self.sight_of(look, &host, next),
            Found::Not(text) => {
                self.turns.obstructed(&look.id, &look.state);
                Sight::Of(Observation::NoHost { text })
            }
        })
    }

    fn sight_of(&self, look: &Look, host: &BareMetalHost, next: Option<&ReservationId>) -> Sight {
        if let Some(text) = claim::obstacle(host, &self.writer(look)) {
            self.wait(&look.id, Some(&text));
            let text = format!("the host {} can't be used now: {text}", host.name());
            return Sight::Of(if self.turns.obstructed(&look.id, &look.state) {
                let upon = look.state.version;
                let reason = WaitReason::Host { text };
                Observation::PlaceUnused { reason, upon }
            } else {
                Observation::NotClean { text }
            });
        }
        let Some(next) = next else {
            return Sight::Free;
        };
        let policy = self.decisions.policy();
        let clean = || {
            let host = reference(host);
            let secret = self.secret_name(&host, next, look.state.version);
            Sight::Of(Observation::Clean { host, secret })
        };
        if look.state.operator_needed(next, policy).is_some() {
            // It is told why; whoever needs a place meanwhile may have it.
            self.turns.obstructed(&look.id, &look.state);
            return clean();
        }
        match self.turns.of(&look.id, &look.state) {
            Turn::Now => match &self.hands {
                Hands::Shadow(shadow) => {
                    let host = reference(host);
                    let next = self.would_claim(look, next, host.clone(), shadow);
                    Sight::Shadowed { host, next }
                }
                Hands::Live(_) => clean(),
            },
            // Whoever gets the place: the ledger's change leads back here.
            Turn::Soon => Sight::SoonItsTurn,
            Turn::Later { preparing } => {
                let text = format!("it waits for its turn: {}", being_prepared(preparing));
                self.wait(&look.id, Some(&text));
                Sight::Of(Observation::NoPlace { preparing })
            }
        }
    }
}

/// What is seen of the host that the first in the queue would get.
enum Sight {
    /// It is clean, and nobody asks for it now.
    Free,
    /// It is clean, and a shadow has said that it would be claimed.
    Shadowed { host: HostRef, next: Next },
    /// It is clean, and there is room for it soon.
    SoonItsTurn,
    /// Something that may have to be recorded.
    Of(Observation),
}
