//! All resources, folded from the facts in the order of the ledger, and the index that says where a reservation stands.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{ReservationId, ResourceId, Version};
use crate::reservation::{Fact, Recorded, Resource};

/// Everything that the ledger says. Its serialised form is a snapshot: what folds it must be the same code, so change
/// [`Ledger::FORMAT`] whenever folding or a state's form changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    resources: HashMap<ResourceId, Resource>,
    places: HashMap<ReservationId, ResourceId>,
    version: Version,
}

impl Ledger {
    /// The format of the serialised form.
    pub const FORMAT: u32 = 1;

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
            self.places
                .entry(fact.reservation().clone())
                .or_insert_with(|| id.clone());
        }
        resource.version = version;
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
        self.places.get(reservation)
    }
}
