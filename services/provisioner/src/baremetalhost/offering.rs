//! A look for who waits: the host is found, and given to the first in the queue where it is clean and its turn has come.

use bellhop_domain::id::{HostRef, ReservationId};
use bellhop_domain::preparing::being_prepared;
use bellhop_domain::reservation::Observation;
use sha2::{Digest, Sha256};

use super::claim;
use super::driver::{BLOCKED, Driver, Hands, Look, LookError};
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
        if self.is_paused(&look.id) {
            if self.turns.obstructed(&look.id, &look.state) {
                let text = "an operator paused it".to_owned();
                let upon = look.state.version;
                self.observe(look, Observation::PlaceUnused { text, upon })
                    .await?;
            }
            return Ok(Next::After(BLOCKED));
        }
        let found = match self.find_host(&look.id).await {
            Ok(found) => found,
            Err(error) => {
                self.turns.obstructed(&look.id, &look.state);
                return Err(error);
            }
        };
        let observation = match found {
            Found::One(host) => match (claim::obstacle(&host, &self.writer(look)), next) {
                (Some(text), _) => {
                    self.wait(&look.id, Some(&text));
                    let text = format!("the host {} can't be used now: {text}", host.name());
                    if self.turns.obstructed(&look.id, &look.state) {
                        let upon = look.state.version;
                        Observation::PlaceUnused { text, upon }
                    } else {
                        Observation::NotClean { text }
                    }
                }
                (None, None) => return Ok(Next::Rest),
                (None, Some(next)) if self.waits_for_an_operator(look, next) => {
                    // It is told why; whoever needs a place meanwhile may have it.
                    self.turns.obstructed(&look.id, &look.state);
                    let host = reference(&host);
                    let secret = self.secret_name(&host, next);
                    Observation::Clean { host, secret }
                }
                (None, Some(next)) => match self.turns.of(&look.id, &look.state) {
                    Turn::Now => {
                        let host = reference(&host);
                        if let Hands::Shadow(shadow) = &self.hands {
                            return Ok(self.would_claim(look, next, host, shadow));
                        }
                        let secret = self.secret_name(&host, next);
                        Observation::Clean { host, secret }
                    }
                    // Whoever gets the place: the ledger's change leads back here.
                    Turn::Soon => {
                        self.wait(&look.id, None);
                        return Ok(Next::After(BLOCKED));
                    }
                    Turn::Later { preparing } => {
                        let text = format!("it waits for its turn: {}", being_prepared(preparing));
                        self.wait(&look.id, Some(&text));
                        Observation::NoPlace { preparing }
                    }
                },
            },
            Found::Not(text) => {
                self.turns.obstructed(&look.id, &look.state);
                Observation::NoHost { text }
            }
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

    fn waits_for_an_operator(&self, look: &Look, next: &ReservationId) -> bool {
        let policy = self.decisions.policy();
        look.state.operator_needed(next, policy).is_some()
    }

    /// A name of its own for each reservation on each host: never another tenant's secret (R9).
    fn secret_name(&self, host: &HostRef, reservation: &ReservationId) -> String {
        let mut hash = Sha256::new();
        for part in [self.ledger.as_str(), &host.uid, &reservation.to_string()] {
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
