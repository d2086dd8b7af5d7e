//! What an operator means by a name.

use bellhop_domain::id::{ReservationId, ResourceId};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{Occupancy, Scope};
use bellhop_service::one_line;

use crate::Failure;

/// The live reservation that an operator means.
pub(crate) fn reservation(text: &str, ledger: &Ledger) -> Result<ReservationId, Failure> {
    let mut found: Vec<&ReservationId> = ledger
        .resources()
        .flat_map(|(_, resource)| &resource.reservations)
        .filter(|(id, known)| known.is_live() && (id.to_string() == text || id.event() == text))
        .map(|(id, _)| id)
        .collect();
    found.sort();
    found.dedup();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(one_line(&not_live(text, ledger)).into()),
        several => Err(format!("{text} may be any of {}: name one whole", list(several)).into()),
    }
}

/// The resource that an operator means, by its whole id, its name, or its host's.
pub(crate) fn resource(text: &str, ledger: &Ledger) -> Result<ResourceId, Failure> {
    let mut found: Vec<&ResourceId> = ledger
        .resources()
        .filter(|(id, _)| !Scope::covers_more_than(id))
        .filter(|(id, resource)| {
            let host = match &resource.occupancy {
                Occupancy::Free => None,
                Occupancy::Held(holding) => Some(&holding.host),
                Occupancy::Releasing(release) => Some(&release.host),
            };
            id.to_string() == text
                || id.name() == text
                || host.is_some_and(|host| host.name == text || host.to_string() == text)
        })
        .map(|(id, _)| id)
        .collect();
    found.sort();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        // One that no reservation ever reached has no facts yet; its whole id is believed.
        [] => text.parse().ok().filter(|id| !Scope::covers_more_than(id)).ok_or_else(|| {
            format!(
                "no resource or host {text} is known: name it whole, as baremetalhost/NAMESPACE/{text}"
            )
            .into()
        }),
        several => Err(format!("{text} may be any of {}: name one whole", list(several)).into()),
    }
}

pub(crate) fn list<T: ToString>(several: &[&T]) -> String {
    let names: Vec<String> = several.iter().map(|one| one.to_string()).collect();
    one_line(&names.join(", ")).into_owned()
}

/// Why no live reservation is called so.
fn not_live(text: &str, ledger: &Ledger) -> String {
    let mut all = ledger
        .resources()
        .flat_map(|(_, resource)| &resource.reservations);
    let over = all.find_map(|(id, known)| {
        let named = id.to_string() == text || id.event() == text;
        Some((id, known.outcome().filter(|_| named)?))
    });
    match over {
        Some((id, outcome)) => {
            let outcome = format!("{outcome:?}").to_lowercase();
            format!("reservation {id} is over: {outcome}")
        }
        None => format!(
            "no reservation {text} that is not over is known: `bellhop facts` shows all that are"
        ),
    }
}

/// Who has a resource.
pub(crate) fn holder(id: &ResourceId, ledger: &Ledger) -> Result<ReservationId, Failure> {
    let text = match ledger.resource(id).map(|resource| &resource.occupancy) {
        Some(Occupancy::Held(holding)) => return Ok(holding.reservation.clone()),
        Some(Occupancy::Releasing(release)) => format!(
            "{id} is being given back already: {} is over",
            release.reservation
        ),
        Some(Occupancy::Free) | None => format!("nobody holds {id}"),
    };
    Err(one_line(&text).into())
}
