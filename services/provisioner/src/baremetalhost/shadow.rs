//! A look in a shadow: what would be done is shown, and nothing is done.
//!
//! A host is given to a reservation in a fact that comes before the first write to it. A shadow writes nothing, so its ledger
//! knows no holder: a reservation waits there until it is over, and a fact says which host it would have. That is kept in memory
//! too, to show when the host would be given back.
//!
//! ```text
//!   clean host ──▶ would claim ──▶ its reservation is over, moved or postponed ──▶ would release ──▶ the host is clean again
//! ```

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bellhop_domain::id::{HostRef, ReservationId, ResourceId};
use bellhop_domain::reservation::{Desired, Phase, Resource, desired};

use super::claim;
use super::driver::{Driver, Look, LookError};
use crate::work_queue::Next;

/// How often to look whether a host that would be given back is clean.
const GIVEN_BACK: Duration = Duration::from_secs(5);
const WOULD_CLAIM: &str = "would_claim";
const WOULD_RELEASE: &str = "would_release";

/// What would have been done so far.
#[derive(Default)]
pub(crate) struct Shadow {
    would: Mutex<HashMap<ResourceId, Would>>,
}

/// What would be true of a resource.
#[derive(Clone, Debug)]
enum Would {
    /// The reservation would have the host.
    Hold {
        reservation: ReservationId,
        host: HostRef,
    },
    /// The host would be on its way back.
    Release { host: HostRef },
}

impl Shadow {
    fn of(&self, id: &ResourceId) -> Option<Would> {
        let would = self.would.lock().unwrap_or_else(PoisonError::into_inner);
        would.get(id).cloned()
    }

    fn set(&self, id: &ResourceId, what: Option<Would>) {
        let mut would = self.would.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Some(what) => would.insert(id.clone(), what),
            None => would.remove(id),
        };
    }
}

impl Driver {
    pub(super) async fn show_what_would_be(
        &self,
        look: &Look,
        shadow: &Shadow,
    ) -> Result<Next, LookError> {
        match shadow.of(&look.id) {
            Some(Would::Hold { reservation, .. }) if waits(&look.state, &reservation) => {
                Ok(Next::Rest)
            }
            Some(Would::Hold { reservation, host }) => {
                let (key, name) = (look.id.to_string(), &host.name);
                let text = format!("would release {name} of {reservation}");
                self.shown.clear(WOULD_CLAIM, &key);
                self.shown.show(WOULD_RELEASE, &key, &text);
                shadow.set(&look.id, Some(Would::Release { host }));
                Ok(Next::Again)
            }
            Some(Would::Release { host }) => {
                let host = self.held_host(&host).await?;
                let writer = self.writer(look);
                if host.is_some_and(|host| claim::obstacle(&host, &writer).is_some()) {
                    return Ok(Next::After(GIVEN_BACK));
                }
                self.shown.clear(WOULD_RELEASE, &look.id.to_string());
                shadow.set(&look.id, None);
                Ok(Next::Again)
            }
            None => self.look_for_what_would_be(look, shadow).await,
        }
    }

    /// Nothing is known so far of what would be done.
    async fn look_for_what_would_be(
        &self,
        look: &Look,
        shadow: &Shadow,
    ) -> Result<Next, LookError> {
        // Another one saw it, or this one before it was started anew.
        if let Some((next, host)) = would_have(&look.state) {
            return Ok(self.would_claim(look, &next, host, shadow));
        }
        match desired(&look.state) {
            Desired::Offer { next } => self.offer(look, Some(next)).await,
            Desired::Wait => self.offer(look, None).await,
            Desired::SwitchOn => {
                self.wait(&look.id, Some("a shadow switches no host on"));
                Ok(Next::Rest)
            }
            // No fact of a shadow's ledger gives a host away.
            Desired::Nothing
            | Desired::Adopt(_)
            | Desired::Claim(_)
            | Desired::Keep(_)
            | Desired::Release(_) => {
                self.wait(&look.id, None);
                Ok(Next::Rest)
            }
        }
    }

    /// The host is clean, and its reservation would have it.
    pub(super) fn would_claim(
        &self,
        look: &Look,
        next: &ReservationId,
        host: HostRef,
        shadow: &Shadow,
    ) -> Next {
        let text = format!("would claim {} for {next}", host.name);
        self.wait(&look.id, None);
        self.shown.show(WOULD_CLAIM, &look.id.to_string(), &text);
        let reservation = next.clone();
        shadow.set(&look.id, Some(Would::Hold { reservation, host }));
        Next::Rest
    }
}

/// The first in the queue, and the host that it would have by the ledger.
fn would_have(state: &Resource) -> Option<(ReservationId, HostRef)> {
    let (next, waiting) = state.next()?;
    Some((next.clone(), waiting.would_have.clone()?))
}

/// Whether the reservation would still have its host.
fn waits(state: &Resource, reservation: &ReservationId) -> bool {
    let known = state.reservations.get(reservation);
    known.is_some_and(|known| matches!(known.phase, Phase::Waiting(_)))
}
