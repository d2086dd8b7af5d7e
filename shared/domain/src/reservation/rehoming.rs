//! Reservations that stand in another namespace than the hosts of their site are in.
//!
//! The sender knows nothing of namespaces: it means the same resource as before. So no word of its moves such a reservation;
//! our configuration does, and only one that has nothing yet: an announcement fixes nothing, and neither does a start that was
//! accepted when nobody had said where the hosts of its site are (R12).

use super::command::{Said, Word};
use super::fact::{AcceptedStart, Announced, DeliveryRef};
use super::resource::{Phase, Reservation, Resource};
use crate::id::{ReservationId, ResourceId};

/// What is taken along to the other namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehoming {
    /// Where the reservation stands.
    pub from: ResourceId,
    /// What is known of it.
    pub announced: Announced,
    /// What its accepted start gave it, where it had started.
    pub started: Option<AcceptedStart>,
    /// Whether its start was moved to later.
    pub postponed: bool,
    /// Whether it is configured where the hosts of its site are.
    pub site_named: bool,
}

impl Rehoming {
    /// What a word that names the resource `named` does to an announced reservation that stands on `stands`, in that state, with
    /// where to: none where both are in one namespace. However old the word is, the configuration is that of today.
    pub fn by_word(
        word: &Word,
        named: &ResourceId,
        stands: &ResourceId,
        state: &Resource,
    ) -> Option<(ResourceId, Self)> {
        let known = state.reservations.get(&word.reservation)?;
        let announced = matches!(known.phase, Phase::Announced { .. });
        let ends = matches!(word.said, Said::End | Said::Deleted);
        let elsewhere = named.namespace() != stands.namespace() && named.kind() == stands.kind();
        if !announced || ends || !elsewhere {
            return None;
        }
        let rehoming = Self {
            from: stands.clone(),
            announced: as_announced(&word.reservation, known, &word.delivery)?,
            started: None,
            postponed: false,
            site_named: word.site_named,
        };
        Some((in_namespace(stands, named.namespace()), rehoming))
    }

    /// What takes an unsettled reservation from `stands` to `namespace`, where the hosts of its site are, with where to.
    pub fn of_unsettled(
        reservation: &ReservationId,
        stands: &ResourceId,
        state: &Resource,
        namespace: &str,
    ) -> Option<(ResourceId, Self)> {
        let known = state.reservations.get(reservation)?;
        let (Phase::Waiting(waiting) | Phase::Postponed(waiting)) = &known.phase else {
            return None;
        };
        if !waiting.unsettled || namespace == stands.namespace() {
            return None;
        }
        let rehoming = Self {
            from: stands.clone(),
            announced: as_announced(reservation, known, &waiting.delivery)?,
            started: Some(AcceptedStart::from(waiting.as_ref())),
            postponed: matches!(known.phase, Phase::Postponed(_)),
            site_named: true,
        };
        Some((in_namespace(stands, namespace), rehoming))
    }
}

fn in_namespace(resource: &ResourceId, namespace: &str) -> ResourceId {
    ResourceId::new(resource.kind().clone(), namespace, resource.name())
}

/// What is known of a reservation, in the form of an announcement; none where nobody told anything of it.
fn as_announced(
    id: &ReservationId,
    known: &Reservation,
    delivery: &DeliveryRef,
) -> Option<Announced> {
    Some(Announced {
        reservation: id.clone(),
        user: known.user.clone(),
        webhook: known.webhook.clone()?,
        resource_number: known.resource_number,
        site: known.site.clone(),
        knowledge: known.times.newest()?.clone(),
        delivery: delivery.clone(),
    })
}
