//! What a user reads: what happened, to which server, and what to do now. Plain words, at most 500 UTF-16 units; what
//! others say (Metal3, an operator's annotation) is cut first, so that the advice is always there.

use bellhop_domain::preparing::being_prepared;
use bellhop_domain::reservation::{
    Announced, EndCause, EndOutcome, Fact, FailureReason, Phase, Schedule, Stage, TenantKey,
    WaitReason,
};
use bellhop_reservation_system::{MESSAGE_LIMIT, Notification, NotificationType, WebhookId};
use jiff::Timestamp;

use super::text::{self, REASON_LIMIT, span, time};
use super::{About, Body, Occasion, Written, user};

/// How far ahead of now a new booking must start so that the sender surely announces its start: it looks once a minute and
/// never back.
const BOOK_AGAIN: &str = "book again with a start at least two minutes from now";

/// How much a message shows of what is wrong with a key, in UTF-16 units; our own words, and short.
const KEY_LIMIT: usize = 120;
/// The longest address that a message has room for.
const ADDRESS_LIMIT: usize = 160;

pub(super) fn owes(fact: &Fact, occasion: &Occasion<'_>) -> bool {
    match fact {
        Fact::HostProvisioned { .. }
        | Fact::ReservationWaits { .. }
        | Fact::ReservationFailed { .. }
        | Fact::ReservationRefused(_)
        | Fact::ReservationMissed { .. }
        | Fact::ReservationEnded(_)
        | Fact::DeadlinePassed { .. }
        | Fact::DeadlineHeldAgain { .. }
        | Fact::StartOverdue { .. }
        | Fact::ReservationPostponed { .. }
        | Fact::OwnerChanged { .. }
        | Fact::OwnerWithdrawn { .. }
        | Fact::ChangeCameTooLate(_)
        | Fact::DeadlineExtended { .. }
        | Fact::ReadyHostTroubled { .. } => true,
        // A booking that is moved before its start is no news: its user has just moved it. Nor is another namespace.
        Fact::ReservationMovedIn(moved) => moved.started.is_some() && !moved.rehomed,
        // The failure's own report says it all.
        Fact::ProvisioningErrorSeen { reservation, .. } => !occasion.fails_at_once(reservation),
        // Before the host is ready it is nothing that its user could act upon.
        Fact::HostChangedByOthers { .. } => is_ready(occasion),
        Fact::ReservationAnnounced(_)
        | Fact::ReservationChanged(_)
        | Fact::ReservationStarted(_)
        | Fact::HostAssigned { .. }
        | Fact::HostWouldBeAssigned { .. }
        | Fact::HostClaimed { .. }
        | Fact::ProvisioningResumed { .. }
        | Fact::ProvisioningSeen { .. }
        | Fact::ProvisioningUnseen { .. }
        | Fact::ProvisioningSuspended { .. }
        | Fact::ProvisioningErrorCleared { .. }
        | Fact::ReadyHostRecovered { .. }
        | Fact::HostRestored { .. }
        | Fact::CleaningSeenOff { .. }
        // Its user knows that it waits, and for what kind of thing.
        | Fact::WaitReasonChanged { .. }
        | Fact::ReservationMovedOut { .. }
        | Fact::ReservationResumed { .. }
        | Fact::KeyBrought { .. }
        | Fact::StartAllowed { .. }
        | Fact::HostHeld { .. }
        | Fact::HostUnheld { .. }
        | Fact::DrivingPaused { .. }
        | Fact::DrivingResumed { .. }
        // It was ready long before, and its user knows.
        | Fact::HostAdopted(_)
        | Fact::AdoptionRefused { .. }
        | Fact::HandBackOrdered { .. }
        | Fact::HostHandedBack { .. }
        // An operator decides what becomes of it.
        | Fact::HeldResourceDeleted { .. }
        | Fact::SiteSettled { .. }
        // Its user asked for nothing, or is told by the fact beside it.
        | Fact::WordHeard(_)
        | Fact::SiteSeen { .. }
        | Fact::WebhookHeard { .. }
        | Fact::HostReleased { .. } => false,
    }
}

/// Why a report would mislead now. Final outcomes are true for ever.
pub(super) fn no_longer_true(about: &About<'_>) -> Option<&'static str> {
    let holding = about.occasion.holding();
    let stage = holding.map(|holding| &holding.stage);
    let phase = &about.reservation.phase;
    let (is_true, reason) = match about.fact {
        Fact::HostProvisioned { .. } => (is_ready(about.occasion), "the reservation is over"),
        Fact::ReservationWaits {
            reason: WaitReason::Site,
            ..
        } => (
            about.reservation.is_unsettled(),
            "the reservation does not wait for that any more",
        ),
        Fact::ReservationWaits { reason, .. } => (
            still_waits(about, reason),
            "the reservation does not wait for that any more",
        ),
        Fact::ProvisioningErrorSeen { .. } => (
            matches!(stage, Some(Stage::Preparing { .. })),
            "the server is not being prepared any more",
        ),
        Fact::DeadlinePassed { hold_until, .. } | Fact::DeadlineHeldAgain { hold_until, .. } => (
            holding.is_some_and(|holding| holding.hold_until == Some(*hold_until)),
            "the reservation is over, was extended, or its host is held for longer",
        ),
        Fact::StartOverdue { .. } => (
            matches!(phase, Phase::Announced { overdue: true }),
            "the start came or was moved to later, or the reservation is over",
        ),
        Fact::ReadyHostTroubled { trouble, .. } => (
            matches!(stage, Some(Stage::Ready { trouble: Some(now) }) if now == trouble),
            "the trouble or the reservation is over",
        ),
        Fact::HostChangedByOthers { change, .. } => (
            is_ready(about.occasion)
                && holding.is_some_and(|holding| holding.changed.as_ref() == Some(change)),
            "the change was undone, or the reservation is over",
        ),
        Fact::ReservationMovedIn(_) => (
            about.reservation.is_live(),
            "the reservation is over, or moved on",
        ),
        Fact::DeadlineExtended { until, .. } => (
            about.reservation.is_live() && about.reservation.end() == Some(*until),
            "the reservation is over, or was extended again",
        ),
        Fact::ReservationPostponed { .. } => (
            matches!(phase, Phase::Postponed(_)),
            "the reservation is over, or its time has come",
        ),
        _ => (true, ""),
    };
    (!is_true).then_some(reason)
}

fn still_waits(about: &About<'_>, reason: &WaitReason) -> bool {
    let is_key = matches!(reason, WaitReason::Key { .. });
    match &about.reservation.phase {
        // Its key can be brought meanwhile, so its user hears at once that there is none.
        Phase::Postponed(waiting) => is_key && waiting.key != TenantKey::InDelivery,
        // What it was told last is forgotten where it need not wait for that any more.
        Phase::Waiting(waiting) => match reason {
            WaitReason::Key { .. } if waiting.key == TenantKey::InDelivery => false,
            WaitReason::Operator { .. } if waiting.allowed => false,
            _ => waiting
                .told
                .as_ref()
                .is_none_or(|told| told.is_same_kind(reason)),
        },
        // It has its host, and the claim is not written yet.
        Phase::Holding => about
            .occasion
            .holding()
            .and_then(|holding| holding.told.as_ref())
            .is_some_and(|told| told.is_same_kind(reason)),
        _ => false,
    }
}

fn is_ready(occasion: &Occasion<'_>) -> bool {
    occasion
        .holding()
        .is_some_and(|holding| matches!(holding.stage, Stage::Ready { .. }))
}

/// How it is coloured, what it is about in a word, and what it says.
struct Message {
    kind: NotificationType,
    event_type: &'static str,
    text: String,
}

pub(super) fn body(webhook: WebhookId, about: &About<'_>) -> Body {
    let Some(message) = message(about) else {
        return Ok(None);
    };
    let resource = about.occasion.resource_id;
    let resource_type = match resource.kind().as_str() {
        "baremetalhost" => "BareMetalHost",
        other => other,
    };
    let user = match about.fact {
        Fact::OwnerWithdrawn { user, .. } => user.as_str(),
        // Whose it is now: its reservation's user is told of what became of that.
        Fact::ChangeCameTooLate(Announced {
            user: Some(user), ..
        }) if !user.as_str().trim().is_empty() => user.as_str(),
        _ => user(about.reservation).unwrap_or_default(),
    };
    let notification = Notification::new(webhook, user, message.kind, &message.text)?
        .event_id(about.id.event())
        .resource_id(resource.name())
        .event_type(message.event_type)
        .metadata("resourceType", resource_type)
        .metadata("resourceName", resource.name())
        .metadata("namespace", resource.namespace());
    let says = format!("{}: {}", message.event_type, message.text);
    Ok(Some(Written {
        body: notification.to_body(),
        says,
    }))
}

fn message(about: &About<'_>) -> Option<Message> {
    use NotificationType::{Error, Info, Success, Warning};

    let name = &about.name;
    let (kind, event_type, text) = match about.fact {
        Fact::HostProvisioned { address, .. } => (
            Success,
            "PROVISIONING_COMPLETED",
            ready(about, address.as_deref()),
        ),
        Fact::ReservationWaits { reason, .. } => {
            let kind = match reason {
                WaitReason::Holder { .. }
                | WaitReason::Release { .. }
                | WaitReason::Turn { .. }
                | WaitReason::Paused { .. } => Info,
                WaitReason::Host { .. }
                | WaitReason::Key { .. }
                | WaitReason::Operator { .. }
                | WaitReason::Site => Warning,
            };
            (kind, "PROVISIONING_WAITING", waits(about, reason))
        }
        Fact::ProvisioningErrorSeen {
            error,
            attempt,
            attempts,
            ..
        } => {
            let error = text::reason(&format!("{}: {}", error.kind, error.message), REASON_LIMIT);
            let text = format!(
                "Preparing server {name} met an error (attempt {attempt} of {attempts}): {error}. It is tried again by \
                 itself; you need not do anything, and you will be told how it ends."
            );
            (Warning, "PROVISIONING_ERROR", text)
        }
        // Perhaps somebody else serves it: a site-wide webhook tells us of all sites.
        Fact::ReservationFailed {
            reason: FailureReason::NotServed { text },
            ..
        } => {
            let text = format!(
                "Server {name} is not prepared for you by this service: {}. If no other service told you that it is prepared, \
                 ask your operator which servers can be reserved.",
                text::reason(text, REASON_LIMIT)
            );
            (Error, "PROVISIONING_FAILED", text)
        }
        Fact::ReservationFailed { reason, .. } => {
            let text = format!(
                "Server {name} could not be prepared for you: {}. Your reservation is over. {}",
                failure(reason, REASON_LIMIT),
                way_out(reason)
            );
            (Error, "PROVISIONING_FAILED", text)
        }
        Fact::ReservationRefused(refused) => {
            let text = format!(
                "Your reservation of server {name} could not be served: {}. Nothing was prepared. If you still need the \
                 server, {BOOK_AGAIN}.",
                match refused.announced.knowledge.schedule {
                    Schedule { start, end } if end <= start => format!(
                        "its end ({}) does not come after its start ({})",
                        time(end),
                        time(start)
                    ),
                    Schedule { end, .. } =>
                        format!("its start reached us only after its end ({})", time(end)),
                }
            );
            (Warning, "RESERVATION_REFUSED", text)
        }
        Fact::ReservationMissed { .. } => {
            let text = format!(
                "Your reservation of server {name} is over, and its start never reached us: the server was not prepared. If \
                 you still need it, {BOOK_AGAIN}."
            );
            (Warning, "RESERVATION_MISSED", text)
        }
        Fact::ReservationEnded(ended) => match ended.outcome {
            EndOutcome::Completed => {
                // Nobody said that it is over; where hosts are not held, this is all that its user hears of it.
                let kind = match ended.cause {
                    EndCause::Deadline | EndCause::ProvenOver => Warning,
                    EndCause::End
                    | EndCause::Deleted
                    | EndCause::Operator
                    | EndCause::MovedAway => Info,
                };
                (kind, "RESERVATION_COMPLETED", completed(about, ended.cause))
            }
            EndOutcome::Cancelled => (Info, "RESERVATION_CANCELLED", cancelled(about, ended.cause)),
        },
        Fact::DeadlinePassed { hold_until, .. } | Fact::DeadlineHeldAgain { hold_until, .. } => {
            (Warning, "RESERVATION_OVERDUE", deadline(about, *hold_until))
        }
        Fact::DeadlineExtended { until, .. } => {
            (Info, "RESERVATION_EXTENDED", extended(about, *until))
        }
        Fact::ReservationMovedIn(moved) => (
            Info,
            "RESERVATION_MOVED",
            moved_here(
                about,
                moved
                    .started
                    .as_ref()
                    .is_some_and(|started| started.host_stays),
            ),
        ),
        Fact::ReservationPostponed { until, .. } => (
            Info,
            "RESERVATION_POSTPONED",
            format!(
                "The start of your reservation of server {name} was moved to {}. {}You are told when it is ready.",
                time(*until),
                given_back(about)
            ),
        ),
        Fact::OwnerChanged { .. } => (Warning, "OWNER_CHANGED", given(about)),
        Fact::OwnerWithdrawn { .. } => (Warning, "OWNER_CHANGED", withdrawn(about)),
        Fact::ChangeCameTooLate(_) if about.occasion.starts_anew() => (
            Warning,
            "CHANGE_CAME_TOO_LATE",
            format!(
                "Your reservation of server {name} has the number of an earlier one, which is over, so no server is prepared for you. \
                 Delete it, and if you need a server, {BOOK_AGAIN}."
            ),
        ),
        Fact::ChangeCameTooLate(change) if is_of_another_user(about, change) => (
            Warning,
            "CHANGE_CAME_TOO_LATE",
            format!(
                "A reservation of server {name} was given to you when it was over, so no server is prepared for you. If you \
                 need a server, {BOOK_AGAIN}."
            ),
        ),
        Fact::ChangeCameTooLate(_) => (
            Warning,
            "CHANGE_CAME_TOO_LATE",
            format!(
                "Your reservation of server {name} was over when it was changed, so the change has no effect. If you need a \
                 server, {BOOK_AGAIN}."
            ),
        ),
        Fact::StartOverdue { .. } => {
            let began = starts(about).map_or_else(String::new, |start| format!(" at {start}"));
            let text = format!(
                "Your reservation of server {name} should have begun{began}, but its start did not reach us, so the server is \
                 not being prepared. If it does not begin soon, delete the reservation and {BOOK_AGAIN}."
            );
            (Warning, "START_OVERDUE", text)
        }
        Fact::ReadyHostTroubled { trouble, .. } => {
            let text = format!(
                "Your server {name} shows a problem: {}. It stays yours{}. If it does not answer as it should, save what you \
                 can and ask your operator, who sees this problem too.",
                text::reason(trouble, REASON_LIMIT),
                until(about)
            );
            (Warning, "HOST_TROUBLED", text)
        }
        Fact::HostChangedByOthers { change, .. } => {
            let text = format!(
                "Somebody else changed how your server {name} is set up: {}. It stays yours{}, but it may be reinstalled: save \
                 your data now and ask your operator, who sees this too.",
                text::reason(change, REASON_LIMIT),
                until(about)
            );
            (Warning, "HOST_CHANGED", text)
        }
        _ => return None,
    };
    Some(Message {
        kind,
        event_type,
        text,
    })
}

fn is_left_to_an_operator(about: &About<'_>) -> bool {
    let holding = about.occasion.holding();
    holding.is_some_and(|holding| holding.owner_changed)
}

/// What the new owner of a booking reads.
fn given(about: &About<'_>) -> String {
    let name = &about.name;
    if is_left_to_an_operator(about) {
        return format!(
            "The reservation of server {name} is yours now. The server was left as it is, with the earlier owner's login: ask \
             the operators what shall become of it."
        );
    }
    match &about.reservation.phase {
        Phase::Announced { .. } => format!(
            "The reservation of server {name} is yours now. Nothing was prepared yet: the server is prepared for you when the \
             reservation starts. You need not do anything; you will be told when it is ready."
        ),
        // Nobody sends a second start (R9).
        Phase::Waiting(waiting) | Phase::Postponed(waiting)
            if waiting.key != TenantKey::InDelivery =>
        {
            format!(
                "The reservation of server {name} is yours now. Its SSH key is the earlier owner's and is not used: ask your \
                 operator to bring yours, or delete the reservation and {BOOK_AGAIN}."
            )
        }
        Phase::Waiting(_)
        | Phase::Postponed(_)
        | Phase::Holding
        | Phase::Moved
        | Phase::Over(_) => {
            format!(
                "The reservation of server {name} was given to you. You will be told what becomes of it."
            )
        }
    }
}

/// What the earlier owner of a booking reads.
fn withdrawn(about: &About<'_>) -> String {
    let server = if is_left_to_an_operator(about) {
        "The server was left as it is: save what you need, and ask the operators what shall become of it."
    } else if about.occasion.assigned_at.is_none() {
        "The server was not prepared for you yet; you need not do anything."
    } else {
        // It was moved at once, or put off, or is over by now.
        "If a server was prepared for you already, it is taken back: treat what is on it as lost."
    };
    format!(
        "Your reservation of server {} was given to another user. {server}",
        about.name
    )
}

fn is_of_another_user(about: &About<'_>, change: &Announced) -> bool {
    let users = change.user.as_ref().zip(about.reservation.user.as_ref());
    users.is_some_and(|(now, then)| now != then)
}

fn ready(about: &About<'_>, address: Option<&str>) -> String {
    let holding = about.occasion.holding();
    let login = holding.map_or("", |holding| holding.terms.login.as_str());
    let has_key = holding.is_some_and(|holding| holding.key == TenantKey::InDelivery);
    let address = address
        .map(str::trim)
        .filter(|address| can_be_typed(address));
    let way_in = match (has_key, address) {
        (false, _) => {
            "No usable SSH key came with your reservation, so only your operator can let you in."
                .to_owned()
        }
        (true, Some(address)) => format!(
            "Log in with:\nssh {login}@{address}\nIts first boot takes some minutes more: if it refuses at first, try again."
        ),
        (true, None) => format!(
            "Log in over SSH as {login} with the key of your profile; your operator knows its address. Its first boot takes \
             some minutes more: if it refuses at first, try again."
        ),
    };
    let end = match ends(about) {
        Some(end) => format!(
            "Your reservation ends at {end}: save your data before, the server is taken back then."
        ),
        None => {
            "Save your data before your reservation ends: the server is taken back then.".to_owned()
        }
    };
    let text = format!("Server {} is ready. {way_in} {end}", about.name);
    let image = holding.and_then(|holding| holding.terms.image.name.as_deref());
    let with_image = image.map(|image| format!("{text} Its image is {image}, as you chose."));
    // What to type and when to save is never cut for it.
    with_image
        .filter(|text| text.encode_utf16().count() <= MESSAGE_LIMIT)
        .unwrap_or(text)
}

/// Whether an address fits into the line to type: a cut one would be a wrong one.
fn can_be_typed(address: &str) -> bool {
    (1..=ADDRESS_LIMIT).contains(&address.len())
        && address.bytes().all(|byte| byte.is_ascii_graphic())
}

fn waits(about: &About<'_>, reason: &WaitReason) -> String {
    let name = &about.name;
    match reason {
        WaitReason::Holder { .. } => format!(
            "Your reservation of server {name} waits: another reservation still has the server. It is prepared for you as soon \
             as it is given back and clean. You need not do anything; you will be told when it is ready."
        ),
        WaitReason::Release { .. } => format!(
            "Your reservation of server {name} waits: the server is being taken back from the reservation before yours. It is \
             prepared for you as soon as it is clean. You need not do anything; you will be told when it is ready."
        ),
        WaitReason::Host { text } => format!(
            "Your reservation of server {name} waits: the server can't be used now ({}). Your operator sees this, and it is \
             prepared for you as soon as it can be{}. If you can't wait, book another server.",
            text::reason(text, REASON_LIMIT),
            ends(about).map_or_else(String::new, |end| format!(", until {end}"))
        ),
        WaitReason::Paused { text } => format!(
            "Your reservation of server {name} waits: {}. It is prepared for you as soon as they let it go on{}. You need not do \
             anything; you will be told when it is ready.",
            text::reason(text, REASON_LIMIT),
            ends(about).map_or_else(String::new, |end| format!(", if that is before {end}"))
        ),
        WaitReason::Operator { .. } => format!(
            "Your reservation of server {name} waits until an operator has looked at the server, who is told. It is prepared for \
             you then{}. If you can't wait, book another server.",
            ends(about).map_or_else(String::new, |end| format!(", if that is before {end}"))
        ),
        WaitReason::Turn { preparing } => format!(
            "Your reservation of server {name} waits for its turn: {}, and no more at once. It is prepared for you as soon as \
             its turn comes. You need not do anything; you will be told when it is ready.",
            being_prepared(*preparing)
        ),
        WaitReason::Key { text } => format!(
            "Server {name} can't be prepared for you: no usable SSH key came with your reservation ({}). Put a valid SSH \
             public key into your profile, delete this reservation, and {BOOK_AGAIN}.",
            text::reason(text, KEY_LIMIT)
        ),
        WaitReason::Site => format!(
            "Your reservation of server {name} waits: reservations of several sites come, and it must be set up first where the \
             servers of each are. Your operator sees this; when it is done, your reservation goes on by itself{}. If you can't \
             wait, ask your operator.",
            ends(about).map_or_else(String::new, |end| format!(", until {end}"))
        ),
    }
}

/// Why a reservation failed, in one line without a full stop; what others said in it takes at most `limit` UTF-16 units.
pub(super) fn failure(reason: &FailureReason, limit: usize) -> String {
    match reason {
        FailureReason::HostUnknown { text }
        | FailureReason::CannotClaim { text }
        | FailureReason::NotServed { text }
        | FailureReason::ImageNotOffered { text } => text::reason(text, limit),
        FailureReason::ProvisioningErrors { error, attempts } => {
            let tries = match attempts {
                1 => "it met an error:".to_owned(),
                _ => format!("it met {attempts} errors; the last:"),
            };
            let error = text::reason(&format!("{}: {}", error.kind, error.message), limit);
            format!("{tries} {error}")
        }
        FailureReason::ProvisioningTimeout { seconds } => {
            format!("it was not ready after {} of work on it", span(*seconds))
        }
        FailureReason::ResourceDeleted => "it was removed from the reservation system".to_owned(),
        FailureReason::HostGone => {
            "it was removed from Kubernetes while it was prepared".to_owned()
        }
        FailureReason::NotClaimedInTime { waited_for } => {
            let why = match waited_for {
                None => "no server could be given to it in time".to_owned(),
                Some(WaitReason::Holder { .. }) => {
                    "another reservation had the server until then".to_owned()
                }
                Some(WaitReason::Release { .. }) => {
                    "the server was not clean again after the reservation before".to_owned()
                }
                Some(WaitReason::Turn { .. }) => {
                    "as many other servers were being prepared until then as can be at once"
                        .to_owned()
                }
                Some(WaitReason::Host { text } | WaitReason::Paused { text }) => {
                    text::reason(text, limit)
                }
                Some(WaitReason::Operator { .. }) => {
                    "no operator allowed it, since what is known of the server was not enough"
                        .to_owned()
                }
                Some(WaitReason::Site) => {
                    "until then it was not said where the servers of its site are".to_owned()
                }
                Some(WaitReason::Key { text }) => {
                    format!(
                        "no usable SSH key came with it ({})",
                        text::reason(text, limit.min(KEY_LIMIT))
                    )
                }
            };
            format!("the end of the reservation came first; {why}")
        }
    }
}

fn way_out(reason: &FailureReason) -> &'static str {
    match reason {
        FailureReason::HostUnknown { .. } => {
            "Book another server, and tell your operator that this one is not set up."
        }
        FailureReason::ProvisioningErrors { .. }
        | FailureReason::ProvisioningTimeout { .. }
        | FailureReason::HostGone
        | FailureReason::CannotClaim { .. } => {
            "Book another server, or ask your operator to look at this one before you book it again."
        }
        FailureReason::ResourceDeleted => "If you still need a server, book another one.",
        FailureReason::NotServed { .. } => "Ask your operator which servers can be reserved.",
        FailureReason::ImageNotOffered { .. } => {
            "Choose one that is offered, or none, and book again with a start at least two minutes from now."
        }
        FailureReason::NotClaimedInTime {
            waited_for: Some(WaitReason::Key { .. }),
        } => "Put a valid SSH public key into your profile, then book again.",
        FailureReason::NotClaimedInTime {
            waited_for: Some(WaitReason::Site),
        } => "Ask your operator about it before you book again.",
        FailureReason::NotClaimedInTime { .. } => {
            "If you still need a server, book this one again or another one."
        }
    }
}

fn completed(about: &About<'_>, cause: EndCause) -> String {
    let name = &about.name;
    let what = match cause {
        EndCause::End => format!("Your reservation of server {name} has ended."),
        EndCause::Deleted => format!("Your reservation of server {name} was deleted."),
        EndCause::Operator => {
            format!("Your reservation of server {name} was ended by an operator.")
        }
        EndCause::MovedAway => format!(
            "Your reservation was moved from server {name} to something that this service does not prepare."
        ),
        EndCause::Deadline | EndCause::ProvenOver => {
            let end = ends(about).map_or_else(String::new, |end| format!(" ({end})"));
            let why = match cause {
                EndCause::ProvenOver => "the next reservation of the server begins",
                _ => "the time after it is over too",
            };
            format!("The end of your reservation of server {name} passed{end}, and {why}.")
        }
    };
    let server = if about.occasion.is_kept() {
        "An operator keeps the server as it is for now, and it is taken back when they let go of it: treat the data on it as lost."
    } else {
        "The server is being taken back: your access ends now; treat the data on it as lost."
    };
    format!("{what} {server} If you need it again, make a new reservation.")
}

/// By an operator.
fn extended(about: &About<'_>, until: Timestamp) -> String {
    let (name, until) = (&about.name, time(until));
    if about.occasion.holding().is_none() {
        return format!(
            "An operator extended your reservation of server {name} until {until}, unless it is ended before."
        );
    }
    format!(
        "An operator keeps server {name} for you until {until}, unless your reservation is ended before. Save your data before: the \
         server is taken back then."
    )
}

/// What becomes of the server of a reservation that gives it back and goes on; empty where it never had one.
fn given_back(about: &About<'_>) -> &'static str {
    if about.occasion.assigned_at.is_none() {
        ""
    } else if about.occasion.is_kept() {
        "An operator keeps the server as it is for now; treat what is on it as lost. "
    } else {
        "What was prepared for you is taken back: treat what is on it as lost. "
    }
}

fn cancelled(about: &About<'_>, cause: EndCause) -> String {
    let name = &about.name;
    let what = match cause {
        EndCause::End => "ended",
        EndCause::Deleted => "was deleted",
        EndCause::Operator => "was ended by an operator",
        EndCause::MovedAway => "was moved to something that this service does not prepare,",
        EndCause::Deadline | EndCause::ProvenOver => "passed its end",
    };
    // Who had the server of the service before Bellhop reads this too: nothing was begun here.
    let state = if about.occasion.assigned_at.is_none() {
        "before we began to prepare the server"
    } else if about.occasion.is_kept() {
        "before the server was ready. An operator keeps it as it is for now"
    } else {
        "before the server was ready. What was begun is taken back"
    };
    format!(
        "Your reservation of server {name} {what} {state}; you need not do anything. If you need the server, make a new \
         reservation."
    )
}

/// `stays`: whether the server before was adopted.
fn moved_here(about: &About<'_>, stays: bool) -> String {
    let before = if stays {
        " The server that you had stays as it is until an operator takes it back: save your data."
    } else if about.occasion.assigned_at.is_none() {
        ""
    } else {
        " If a server was prepared for you before, it is taken back: treat what is on it as lost."
    };
    format!(
        "Your reservation was moved to server {}, which is prepared for you when it is free.{before}",
        about.name
    )
}

fn deadline(about: &About<'_>, hold_until: Timestamp) -> String {
    let end = ends(about).map_or_else(String::new, |end| format!(" at {end}"));
    if about.occasion.is_kept() {
        return format!(
            "Your reservation of server {} ended{end}, but we were not told to take the server back. An operator keeps it as it is \
             for now, and it may be taken back at any time from {} on: save your data now. To keep it, extend your reservation.",
            about.name,
            time(hold_until)
        );
    }
    format!(
        "Your reservation of server {} ended{end}, but we were not told to take the server back. Save your data now: the \
         server is taken back at {}, or earlier if the end is told or the next reservation begins. To keep it, extend your \
         reservation.",
        about.name,
        time(hold_until)
    )
}

fn starts(about: &About<'_>) -> Option<String> {
    about
        .reservation
        .schedule()
        .map(|schedule| time(schedule.start))
}

fn ends(about: &About<'_>) -> Option<String> {
    about.reservation.end().map(time)
}

fn until(about: &About<'_>) -> String {
    ends(about).map_or_else(String::new, |end| format!(" until {end}"))
}
