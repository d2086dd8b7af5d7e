//! What happened to a host, a line for each fact.

use bellhop_domain::reservation::{Fact, FailureReason, HostLeft};
use bellhop_event_store::Entry;

use super::waits_for;

/// The facts of one message.
pub(super) fn lines(entry: &Entry) -> Vec<String> {
    let line = |fact: &Fact| {
        let reservation = fact
            .reservation()
            .map(|id| format!(" {id}"))
            .unwrap_or_default();
        let details = details(fact)
            .map(|text| format!(": {text}"))
            .unwrap_or_default();
        format!("{:.3} {}{reservation}{details}", entry.at, fact.name())
    };
    entry.facts.iter().map(line).collect()
}

/// What went wrong, or was in the way, where a fact tells that.
pub(super) fn cause(fact: &Fact) -> Option<String> {
    match fact {
        Fact::ReservationFailed { .. }
        | Fact::ReservationWaits { .. }
        | Fact::WaitReasonChanged { .. }
        | Fact::ProvisioningErrorSeen { .. }
        | Fact::ProvisioningSuspended { .. }
        | Fact::ReadyHostTroubled { .. }
        | Fact::HostChangedByOthers { .. }
        | Fact::AdoptionRefused { .. } => details(fact),
        _ => None,
    }
}

/// What a fact's name and reservation don't tell.
fn details(fact: &Fact) -> Option<String> {
    if let Some(note) = fact.note() {
        return Some(format!("by {}: {}", note.by, note.why));
    }
    Some(match fact {
        Fact::ReservationAnnounced(said) | Fact::ReservationChanged(said) => {
            let schedule = said.knowledge.schedule;
            format!("from {:.0} to {:.0}", schedule.start, schedule.end)
        }
        Fact::ReservationStarted(started) => {
            let schedule = started.knowledge.schedule;
            let image = &started.terms.image.url;
            format!(
                "from {:.0} to {:.0}, image {image}",
                schedule.start, schedule.end
            )
        }
        Fact::ReservationMovedIn(moved) => format!("from {}", moved.from),
        Fact::ReservationMovedOut { to, .. } => format!("to {to}"),
        Fact::ReservationPostponed { until, .. } => format!("until {until:.0}"),
        Fact::ReservationWaits { reason, .. } | Fact::WaitReasonChanged { reason, .. } => {
            waits_for(reason)
        }
        Fact::HostAssigned { host, .. } => format!("host {host}"),
        Fact::ProvisioningSuspended { reason, .. } => reason.clone(),
        Fact::ProvisioningErrorSeen {
            error,
            attempt,
            attempts,
            ..
        } => format!(
            "{}: {} ({attempt} of {attempts})",
            error.kind, error.message
        ),
        Fact::HostProvisioned { address, .. } => address.clone()?,
        Fact::ReadyHostTroubled { trouble, .. } => trouble.clone(),
        Fact::HostChangedByOthers { change, .. } => change.clone(),
        Fact::AdoptionRefused { text, .. } => text.clone(),
        Fact::ReservationEnded(ended) => {
            format!("{:?} by {:?}", ended.outcome, ended.cause).to_lowercase()
        }
        Fact::ReservationFailed { reason, .. } => failure(reason),
        Fact::DeadlinePassed { hold_until, .. } | Fact::DeadlineHeldAgain { hold_until, .. } => {
            format!("held until {hold_until:.0}")
        }
        Fact::HostReleased {
            left, not_wiped, ..
        } => {
            let left = match left {
                HostLeft::Off => "off",
                HostLeft::On => "on",
                HostLeft::Gone => "gone",
            };
            let wiped = if *not_wiped { ", not wiped" } else { "" };
            format!("{left}{wiped}")
        }
        _ => return None,
    })
}

/// Why a reservation failed, in words.
fn failure(reason: &FailureReason) -> String {
    match reason {
        FailureReason::HostUnknown { text }
        | FailureReason::CannotClaim { text }
        | FailureReason::NotServed { text }
        | FailureReason::ImageNotOffered { text } => text.clone(),
        FailureReason::ProvisioningErrors { error, attempts } => {
            format!(
                "{attempts} errors, the last {}: {}",
                error.kind, error.message
            )
        }
        FailureReason::ProvisioningTimeout { seconds } => {
            format!("not ready after {seconds} s of work on it")
        }
        FailureReason::HostGone => "its host was deleted".to_owned(),
        FailureReason::ResourceDeleted => "its resource was deleted".to_owned(),
        FailureReason::NotClaimedInTime { waited_for } => {
            let waited = waited_for.as_ref().map(waits_for);
            waited.map_or_else(
                || "its end came first".to_owned(),
                |why| format!("its end came first; it waited: {why}"),
            )
        }
    }
}
