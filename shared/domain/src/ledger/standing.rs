//! Each reservation stands on one resource and has one outcome, though the ledger knows who was first for each resource only.
//!
//! Two replicas may hear of one reservation on two resources at once: its start names one, a change or an end the other. What
//! places it, moves it or ends it is therefore recorded only where *nothing at all* was recorded since: such facts are three or
//! four of a reservation's dozens, so hardly anybody waits for that. Everything else is recorded where nothing new is on its
//! resource.

use super::Ledger;
use crate::id::{ReservationId, ResourceId};
use crate::reservation::Fact;

/// Upon what a decision is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upon {
    /// Nothing was recorded on its resource since it was decided.
    Resource,
    /// Nothing was recorded at all since it was decided.
    WholeLedger,
}

/// A decision says where a reservation stands, or that it is over, and it stands elsewhere: it is to be decided there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reservation {reservation} stands on {place}: what becomes of it is decided there")]
pub struct StandsElsewhere {
    /// Which.
    pub reservation: ReservationId,
    /// Where.
    pub place: ResourceId,
}

impl Ledger {
    /// Upon what the facts of one decision on `id` may be recorded.
    ///
    /// # Errors
    /// Where they are not to be recorded there at all.
    pub fn recorded_upon(&self, id: &ResourceId, facts: &[Fact]) -> Result<Upon, StandsElsewhere> {
        let mut upon = Upon::Resource;
        let mut moved_in = None;
        for fact in facts {
            let Some(reservation) = fact.reservation() else {
                continue;
            };
            let Some(place) = self.place_of(reservation) else {
                upon = Upon::WholeLedger;
                continue;
            };
            let may_stand_on = match fact {
                Fact::ReservationMovedIn(moved) => &moved.from,
                fact if fact.is_outcome() && moved_in != Some(reservation) => id,
                _ => continue,
            };
            upon = Upon::WholeLedger;
            let is_over = place != id && self.is_over(reservation);
            if place != may_stand_on || is_over {
                return Err(StandsElsewhere {
                    reservation: reservation.clone(),
                    place: place.clone(),
                });
            }
            if matches!(fact, Fact::ReservationMovedIn(_)) {
                moved_in = Some(reservation);
            }
        }
        Ok(upon)
    }
}
