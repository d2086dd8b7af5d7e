//! All resources, folded from the facts in the order of the ledger, and the index that says where a reservation stands.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{ReservationId, ResourceId, Version};
use crate::reservation::{Fact, Knowledge, Recorded, Resource};

/// Everything that the ledger says. Its serialised form is a snapshot: what folds it must be the same code, so change
/// [`Ledger::FORMAT`] whenever folding or a state's form changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    resources: HashMap<ResourceId, Resource>,
    places: HashMap<ReservationId, Place>,
    version: Version,
}

impl Ledger {
    /// The format of the serialised form.
    pub const FORMAT: u32 = 5;

    /// Takes in one message of the ledger. One that was taken in before changes nothing.
    pub fn apply(
        &mut self,
        id: &ResourceId,
        version: Version,
        at: Timestamp,
        traceparent: Option<&str>,
        facts: &[Fact],
    ) {
        self.version = self.version.max(version);
        let resource = self.resources.entry(id.clone()).or_default();
        if version <= resource.version {
            return;
        }
        for fact in facts {
            resource.evolve(Recorded {
                version,
                at,
                traceparent,
                fact,
            });
        }
        resource.version = version;
        for fact in facts {
            self.place(fact, id);
        }
    }

    /// The newest message that was taken in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Notes that messages up to `version` were seen, whether or not they held facts.
    pub fn advance(&mut self, version: Version) {
        self.version = self.version.max(version);
    }

    /// A resource; none where no fact names it.
    pub fn resource(&self, id: &ResourceId) -> Option<&Resource> {
        self.resources.get(id)
    }

    /// All resources.
    pub fn resources(&self) -> impl Iterator<Item = (&ResourceId, &Resource)> {
        self.resources.iter()
    }

    /// Where a known reservation stands: deliveries about it are decided there, whatever resource they name.
    pub fn place_of(&self, reservation: &ReservationId) -> Option<&ResourceId> {
        self.places.get(reservation).map(|place| &place.resource)
    }

    /// The reservations that are live where they should not be, with where they are instead: what a crash in the middle of a
    /// move left, or an end that was decided on the old resource during one. What is over is over everywhere.
    pub fn strays(&self) -> Vec<(ResourceId, ReservationId, ResourceId)> {
        let all = || {
            self.resources.iter().flat_map(|(id, resource)| {
                resource.reservations.iter().map(move |known| (id, known))
            })
        };
        let over: HashMap<&ReservationId, &ResourceId> = all()
            .filter(|(_, (_, known))| known.outcome().is_some())
            .map(|(id, (reservation, _))| (reservation, id))
            .collect();
        all()
            .filter(|(_, (_, known))| known.is_live())
            .filter_map(|(id, (reservation, _))| {
                let place = over
                    .get(reservation)
                    .copied()
                    .or_else(|| self.place_of(reservation))?;
                (place != id).then(|| (id.clone(), reservation.clone(), place.clone()))
            })
            .collect()
    }

    /// A reservation stands where it was first told of, until it is moved; of two moves the one that was said last counts,
    /// in whatever order they came.
    fn place(&mut self, fact: &Fact, id: &ResourceId) {
        let moved = match fact {
            Fact::ReservationMovedIn(moved) => Some(&moved.announced.knowledge),
            _ => None,
        };
        let place = Place {
            resource: id.clone(),
            moved: moved.cloned(),
        };
        match (self.places.get_mut(fact.reservation()), moved) {
            (None, _) => {
                self.places.insert(fact.reservation().clone(), place);
            }
            (Some(known), Some(moved))
                if known
                    .moved
                    .as_ref()
                    .is_none_or(|before| moved.is_newer_than(before)) =>
            {
                *known = place;
            }
            (Some(_), _) => {}
        }
    }
}

/// Where a reservation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    resource: ResourceId,
    /// The saying that moved it there; none where it never moved.
    moved: Option<Knowledge>,
}
