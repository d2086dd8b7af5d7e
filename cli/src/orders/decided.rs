//! What was decided upon a word, and what comes of it.

use std::io::Write;

use bellhop_domain::id::{ReservationId, ResourceId};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{EndCause, Fact, Note, Resource, Scope};
use bellhop_domain::typed::word;
use bellhop_event_store::EventStore;
use bellhop_service::one_line;

use crate::Failure;

/// Prints what was decided upon a delivery, as soon as it is.
pub(super) async fn decided(
    store: &EventStore,
    ledger: &Ledger,
    delivery: &str,
) -> Result<(), Failure> {
    let mut follower = store.follow_ledger(ledger.version());
    loop {
        let entry = match follower.next().await?.into_resource() {
            Some(entry) if entry.cause == delivery => entry,
            _ => continue,
        };
        let mut out = std::io::stdout().lock();
        for fact in &entry.facts {
            let about = match fact.reservation() {
                Some(reservation) => format!("{} of {reservation}", entry.resource),
                None => entry.resource.to_string(),
            };
            writeln!(out, "recorded {} on {}", fact.name(), one_line(&about))?;
            if let Some(next) = what_comes(fact, &entry.resource, ledger) {
                writeln!(out, "{}", one_line(&next))?;
            }
        }
        return Ok(());
    }
}

/// What comes of a fact that an operator's word led to, as things stood when it was said.
fn what_comes(fact: &Fact, resource: &ResourceId, ledger: &Ledger) -> Option<String> {
    let scope = Scope::of(resource);
    Some(match fact {
        Fact::HostHeld { .. } => {
            format!(
                "{scope} is not released, whatever comes, until `{}`",
                unhold(resource)
            )
        }
        Fact::DrivingPaused { .. } => format!(
            "no host is written ({scope}) until `{}`; what comes is decided all the same",
            resume(&scope)
        ),
        Fact::DrivingResumed { .. } => {
            let wider = wider_pause(&scope, ledger)?;
            format!("{scope} stays paused: {wider} is paused too")
        }
        Fact::HostAdopted(_) => next(resource, ledger, "the host gets our consumerRef next"),
        Fact::HandBackOrdered { .. } => next(resource, ledger, "the host is switched on next"),
        Fact::ReservationEnded(ended) if ended.cause == EndCause::Operator => {
            match held(resource, ledger) {
                Some(note) if has_host(&ended.reservation, resource, ledger) => format!(
                    "the host is held by {}: it is given back after `{}`",
                    note.by,
                    unhold(resource)
                ),
                // It had none, so there is nothing to give back.
                _ if !has_host(&ended.reservation, resource, ledger) => return None,
                _ => next(
                    resource,
                    ledger,
                    "the host is given back next, and wiped unless its automatedCleaningMode is disabled",
                ),
            }
        }
        _ => return None,
    })
}

/// What a provisioner does next, unless a pause keeps it from it.
fn next(resource: &ResourceId, ledger: &Ledger, what: &str) -> String {
    match ledger.paused(resource) {
        None => format!("{what}; what keeps it waiting is in a provisioner's /readyz?verbose"),
        Some((scope, note)) => format!(
            "{what}, after `{}`: {scope} is paused by {}",
            resume(&scope),
            note.by
        ),
    }
}

/// Whether the reservation had the resource's host when the word was said.
fn has_host(reservation: &ReservationId, resource: &ResourceId, ledger: &Ledger) -> bool {
    let holding = ledger.resource(resource).and_then(Resource::holding);
    holding.is_some_and(|holding| holding.reservation == *reservation)
}

fn held<'a>(resource: &ResourceId, ledger: &'a Ledger) -> Option<&'a Note> {
    ledger.resource(resource)?.orders.held.as_ref()
}

/// A pause that covers more, and stays when that of `scope` is lifted.
fn wider_pause(scope: &Scope, ledger: &Ledger) -> Option<Scope> {
    let is_paused = |wider: &Scope| {
        let state = ledger.resource(&wider.resource());
        state.is_some_and(|state| state.orders.paused.is_some())
    };
    match scope {
        Scope::Everything => None,
        _ if is_paused(&Scope::Everything) => Some(Scope::Everything),
        Scope::Site(_) => None,
        Scope::Resource(resource) => ledger.site_pause(resource).map(|(scope, _)| scope),
    }
}

/// The command that ends a hold.
fn unhold(resource: &ResourceId) -> String {
    format!("bellhop unhold {} --reason '…'", word(resource))
}

/// The command that ends a pause.
pub(crate) fn resume(scope: &Scope) -> String {
    match scope {
        Scope::Everything => "bellhop resume --reason '…'".to_owned(),
        Scope::Site(site) => format!("bellhop resume --site={} --reason '…'", word(site)),
        Scope::Resource(resource) => {
            format!("bellhop resume --host={} --reason '…'", word(resource))
        }
    }
}
