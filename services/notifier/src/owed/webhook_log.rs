//! What administrators read in the webhook log: what became of each webhook that asked something of us.

use bellhop_domain::preparing::being_prepared;
use bellhop_domain::reservation::{
    EndCause, EndOutcome, Fact, FailureReason, HeardSaid, HeardWord, Outcome, Schedule, WaitReason,
    fact::Ended,
};
use bellhop_domain::time::elapsed;
use bellhop_reservation_system::{EventType, WebhookId, WebhookLog};
use serde_json::json;

use super::{About, Body, StartPayload, Written, notification, text};

/// The statuses that the service before Bellhop wrote, and people look for.
const WENT_WELL: u16 = 200;
const WENT_WRONG: u16 = 500;

pub(super) fn owes(fact: &Fact) -> bool {
    match fact {
        Fact::ReservationStarted(_)
        | Fact::ReservationRefused(_)
        | Fact::HostProvisioned { .. }
        | Fact::ReservationFailed { .. }
        | Fact::ReservationMissed { .. }
        | Fact::WordHeard(_)
        | Fact::ReservationEnded(_) => true,
        Fact::ReservationAnnounced(_)
        | Fact::ReservationChanged(_)
        | Fact::ReservationMovedIn(_)
        | Fact::ReservationMovedOut { .. }
        | Fact::ReservationPostponed { .. }
        | Fact::ReservationResumed { .. }
        | Fact::KeyBrought { .. }
        | Fact::DeadlineExtended { .. }
        | Fact::StartAllowed { .. }
        | Fact::HostHeld { .. }
        | Fact::HostUnheld { .. }
        | Fact::DrivingPaused { .. }
        | Fact::DrivingResumed { .. }
        | Fact::HostAdopted(_)
        | Fact::AdoptionRefused { .. }
        | Fact::HandBackOrdered { .. }
        | Fact::HostHandedBack { .. }
        | Fact::HeldResourceDeleted { .. }
        | Fact::SiteSettled { .. }
        | Fact::OwnerChanged { .. }
        | Fact::OwnerWithdrawn { .. }
        | Fact::ChangeCameTooLate(_)
        | Fact::WebhookHeard { .. }
        | Fact::SiteSeen { .. }
        | Fact::ReservationWaits { .. }
        | Fact::HostAssigned { .. }
        | Fact::HostWouldBeAssigned { .. }
        | Fact::HostClaimed { .. }
        | Fact::ProvisioningResumed { .. }
        | Fact::ProvisioningSeen { .. }
        | Fact::ProvisioningUnseen { .. }
        | Fact::ProvisioningSuspended { .. }
        | Fact::ProvisioningErrorSeen { .. }
        | Fact::ProvisioningErrorCleared { .. }
        | Fact::ReadyHostTroubled { .. }
        | Fact::ReadyHostRecovered { .. }
        | Fact::HostRestored { .. }
        | Fact::CleaningSeenOff { .. }
        | Fact::WaitReasonChanged { .. }
        | Fact::HostChangedByOthers { .. }
        | Fact::StartOverdue { .. }
        | Fact::DeadlinePassed { .. }
        | Fact::DeadlineHeldAgain { .. }
        | Fact::HostReleased { .. } => false,
    }
}

/// Whether the row that a fact owes has the payload of the reservation's start, which the fact does not hold.
pub(super) fn tells_of_start(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::HostProvisioned { .. } | Fact::ReservationFailed { .. }
    )
}

/// One row: an entry is history, so it is true whenever it arrives.
struct Row<'a> {
    event_type: EventType,
    payload: Payload<'a>,
    success: bool,
    response: String,
}

/// What a row shows of the webhook that led to it.
#[derive(Clone, Copy)]
enum Payload<'a> {
    /// Its payload without key, e-mail and name.
    Of(&'a str),
    /// No webhook led to it.
    None,
    /// It was kept once.
    Gone,
}

impl<'a> From<StartPayload<'a>> for Payload<'a> {
    fn from(start: StartPayload<'a>) -> Self {
        match start {
            StartPayload::None => Self::None,
            StartPayload::Kept(payload) => Self::Of(payload),
            StartPayload::Gone => Self::Gone,
        }
    }
}

pub(super) fn body(webhook: WebhookId, about: &About<'_>, number: Option<i64>) -> Body {
    let Some(row) = row(about) else {
        return Ok(None);
    };
    let event_id = about.id.event();
    let payload = match row.payload {
        Payload::Of(payload) if !payload.trim().is_empty() => payload.to_owned(),
        Payload::Of(_) | Payload::None => {
            json!({"eventId": event_id, "resourceName": about.name}).to_string()
        }
        Payload::Gone => json!({
            "eventId": event_id,
            "resourceName": about.name,
            "note": "the webhook's own payload is not kept any more",
        })
        .to_string(),
    };
    let status = if row.success { WENT_WELL } else { WENT_WRONG };
    let mut log = WebhookLog::new(webhook, &row.event_type, &payload, row.success)?
        .status_code(status)
        .response(&row.response)
        .metadata("eventId", event_id)
        .metadata("resourceName", about.name.as_str());
    if let Some(number) = number {
        log = log.resource_id(number);
    }
    let says = format!("{} {status}: {}", row.event_type, row.response);
    Ok(Some(Written {
        body: log.to_body(),
        says,
    }))
}

fn row<'a>(about: &About<'a>) -> Option<Row<'a>> {
    let name = &about.name;
    let start = |payload, success, response| Row {
        event_type: EventType::EventStart,
        payload,
        success,
        response,
    };
    Some(match about.fact {
        Fact::ReservationStarted(started) => {
            let next = match waits_at_once(about) {
                Some(reason) => waiting(reason),
                None => "the server is prepared next".to_owned(),
            };
            start(
                Payload::Of(&started.payload),
                true,
                format!("start accepted for server {name}; {next}"),
            )
        }
        Fact::HostProvisioned { .. } => {
            let response = match about.occasion.assigned_at {
                Some(assigned) => {
                    let took = elapsed(assigned, about.occasion.at).as_secs_f64().round();
                    format!("provisioned in {took} s")
                }
                None => "provisioned".to_owned(),
            };
            start(about.occasion.start.into(), true, response)
        }
        Fact::ReservationFailed { reason, .. } => {
            let text = notification::failure(reason, 2000);
            Row {
                event_type: failed_by(reason, about.occasion.start),
                payload: about.occasion.start.into(),
                success: false,
                response: format!("failed: {text}"),
            }
        }
        Fact::ReservationRefused(refused) => start(
            Payload::Of(&refused.payload),
            false,
            match refused.announced.knowledge.schedule {
                Schedule { start, end } if end <= start => format!(
                    "refused: the reservation's end ({}) does not come after its start ({})",
                    text::time(end),
                    text::time(start)
                ),
                Schedule { end, .. } => format!(
                    "refused: the start came after the reservation's end ({})",
                    text::time(end)
                ),
            },
        ),
        Fact::ReservationMissed { .. } => start(
            Payload::None,
            false,
            "missed: the reservation was announced, but no start event came before its end"
                .to_owned(),
        ),
        Fact::ReservationEnded(ended) => end(ended, about),
        Fact::WordHeard(word) => heard(word, about),
        _ => return None,
    })
}

/// Which webhook asked for what failed: its start; where none came, that which deleted its resource.
fn failed_by(reason: &FailureReason, start: StartPayload<'_>) -> EventType {
    match (reason, start) {
        (FailureReason::ResourceDeleted, StartPayload::None) => EventType::ResourceDeleted,
        _ => EventType::EventStart,
    }
}

/// What became of a webhook that changed nothing: its reservation was over when it came, or it was out of date.
fn heard<'a>(word: &'a HeardWord, about: &About<'_>) -> Row<'a> {
    let outcome = about.reservation.outcome();
    let (event_type, success, effect) = match word.said {
        // Who was deleted or served before wants nothing of it any more.
        HeardSaid::Start => (
            EventType::EventStart,
            matches!(outcome, Some(Outcome::Completed | Outcome::Cancelled)),
            "nothing is prepared",
        ),
        HeardSaid::StartAnew => (
            EventType::EventStart,
            false,
            "nothing is prepared; its times are later than that one's, so the id was given anew: book again",
        ),
        HeardSaid::Changed => (EventType::EventUpdated, true, "the change has no effect"),
        HeardSaid::End => (EventType::EventEnd, true, "there was nothing to end"),
        HeardSaid::EndBeforeExtension => {
            let text = "this is older than what is known of the reservation, which was extended: it ends nothing";
            return Row {
                event_type: EventType::EventEnd,
                payload: Payload::Of(&word.payload),
                success: true,
                response: text.to_owned(),
            };
        }
        HeardSaid::Deleted => (EventType::EventDeleted, true, "there was nothing to end"),
    };
    let outcome = match outcome {
        Some(Outcome::Completed) => " (completed)",
        Some(Outcome::Failed) => " (failed)",
        Some(Outcome::Cancelled) => " (cancelled)",
        Some(Outcome::Refused) => " (refused)",
        Some(Outcome::Missed) => " (missed)",
        None => "",
    };
    Row {
        event_type,
        payload: Payload::Of(&word.payload),
        success,
        response: format!("the reservation was over{outcome} when this came: {effect}"),
    }
}

fn end<'a>(ended: &'a Ended, about: &About<'_>) -> Row<'a> {
    let name = &about.name;
    let (event_type, said) = match ended.cause {
        EndCause::End => (EventType::EventEnd, "ended"),
        EndCause::Deleted => (EventType::EventDeleted, "deleted"),
        EndCause::Deadline => (
            EventType::EventEnd,
            "no end event came; ended by its deadline and the hold after it",
        ),
        EndCause::ProvenOver => (
            EventType::EventEnd,
            "no end event came; ended because the server's next reservation begins",
        ),
        EndCause::Operator => (EventType::EventEnd, "ended by an operator"),
        EndCause::MovedAway => (
            EventType::EventUpdated,
            "moved to a resource that is not served here",
        ),
    };
    let is_kept = about.occasion.is_kept();
    let effect = match ended.outcome {
        EndOutcome::Completed if is_kept => {
            format!("completed; server {name} is not taken back while an operator holds it")
        }
        EndOutcome::Completed => format!("completed; server {name} is being taken back"),
        EndOutcome::Cancelled if about.occasion.assigned_at.is_none() => {
            format!("cancelled before anything was done to server {name}")
        }
        EndOutcome::Cancelled if is_kept => format!(
            "cancelled before server {name} was ready; it is not taken back while an operator holds it"
        ),
        EndOutcome::Cancelled => {
            format!("cancelled before server {name} was ready; what was begun is taken back")
        }
    };
    Row {
        event_type,
        payload: ended.payload.as_deref().map_or(Payload::None, Payload::Of),
        success: true,
        response: format!("{said}: {effect}"),
    }
}

/// Why the reservation whose start is accepted in this entry can't have its host yet, where the entry says so.
fn waits_at_once<'a>(about: &About<'a>) -> Option<&'a WaitReason> {
    about.occasion.facts.iter().find_map(|fact| match fact {
        Fact::ReservationWaits {
            reservation,
            reason,
        } if reservation == about.id => Some(reason),
        _ => None,
    })
}

fn waiting(reason: &WaitReason) -> String {
    match reason {
        WaitReason::Holder { holder } => format!("it waits: reservation {holder} has the server"),
        WaitReason::Release { holder } => {
            format!("it waits: the server is being taken back from reservation {holder}")
        }
        WaitReason::Turn { preparing } => {
            format!("it waits for its turn: {}", being_prepared(*preparing))
        }
        WaitReason::Host { text } | WaitReason::Paused { text } => {
            format!("it waits: {}", text::reason(text, 2000))
        }
        WaitReason::Operator { text } => {
            format!("it waits for an operator: {}", text::reason(text, 2000))
        }
        WaitReason::Site => {
            "it waits: nobody has said yet where the servers of its site are (SITE_IDS)".to_owned()
        }
        WaitReason::Key { text } => {
            format!(
                "it can't have a server without a usable SSH key: {}",
                text::reason(text, 2000)
            )
        }
    }
}
