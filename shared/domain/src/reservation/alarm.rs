//! What an operator must look at because of a resource's state. An alarm is on while the state says so.

use std::fmt;

use jiff::Timestamp;

use super::fact::WaitReason;
use super::resource::{Holding, Phase, Resource, Stage};
use crate::id::{ReservationId, ResourceId};
use crate::typed::word;

/// A kind of alarm; the label of its gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// A reservation's end passed without an end event.
    DeadlinePassed,
    /// An announced reservation's start did not come.
    StartOverdue,
    /// Someone else changed a host that we hold.
    HostChangedByOthers,
    /// A ready host shows an error, or is gone.
    ReadyHostTroubled,
    /// A host that should be given to a reservation can't be.
    HostNotClean,
    /// A start came without a usable key.
    KeyMissing,
    /// A booking got another owner while its reservation had a host.
    OwnerChanged,
    /// A start waits until an operator allows it.
    OperatorNeeded,
    /// The sender deleted a resource under its holder.
    HeldResourceDeleted,
    /// The API server refuses to mark an adopted host as ours.
    AdoptionRefused,
    /// An adopted host whose end nobody knows may be over.
    UnknownReservation,
    /// The reservation of an adopted host was moved elsewhere.
    AdoptedHostLeft,
    /// A start came under the id of a reservation that is over.
    StartedWhenOver,
}

impl AlarmKind {
    /// The label of its gauge.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeadlinePassed => "deadline_passed",
            Self::StartOverdue => "start_overdue",
            Self::HostChangedByOthers => "host_changed_by_others",
            Self::ReadyHostTroubled => "ready_host_troubled",
            Self::HostNotClean => "host_not_clean",
            Self::KeyMissing => "key_missing",
            Self::OwnerChanged => "owner_changed",
            Self::OperatorNeeded => "operator_needed",
            Self::HeldResourceDeleted => "held_resource_deleted",
            Self::AdoptionRefused => "adoption_refused",
            Self::UnknownReservation => "unknown_reservation",
            Self::AdoptedHostLeft => "adopted_host_left",
            Self::StartedWhenOver => "started_when_over",
        }
    }
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Of which kind.
    pub kind: AlarmKind,
    /// Which reservation it concerns.
    pub reservation: ReservationId,
    /// What is wrong, for an operator.
    pub text: String,
    /// When it is over by itself, whether or not anything is heard; none where it lasts while the state says so.
    pub until: Option<Timestamp>,
}

impl Alarm {
    /// Whether it is on at that instant.
    pub fn is_on(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The alarms that a resource's state asks for.
pub fn alarms(resource: &Resource) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let mut raise = |kind, reservation: &ReservationId, text: String| {
        alarms.push(Alarm {
            kind,
            reservation: reservation.clone(),
            text,
            until: None,
        });
    };
    for (id, reservation) in &resource.reservations {
        if reservation.resource_deleted && reservation.is_live() {
            raise(
                AlarmKind::HeldResourceDeleted,
                id,
                "its resource was deleted in the reservation system: nothing is wiped, its deadline decides".to_owned(),
            );
        }
        match &reservation.phase {
            Phase::Announced { overdue: true } => {
                raise(
                    AlarmKind::StartOverdue,
                    id,
                    "its time has come, but no start event did".to_owned(),
                );
            }
            Phase::Waiting(waiting) => match &waiting.told {
                Some(WaitReason::Host { text }) => raise(AlarmKind::HostNotClean, id, text.clone()),
                Some(WaitReason::Key { text }) => raise(AlarmKind::KeyMissing, id, text.clone()),
                Some(WaitReason::Operator { text }) => raise(
                    AlarmKind::OperatorNeeded,
                    id,
                    format!(
                        "{text}; `bellhop allow {} --reason '…'` lets it go ahead",
                        word(id)
                    ),
                ),
                // Of sites there is one alarm for all.
                Some(
                    WaitReason::Holder { .. }
                    | WaitReason::Release { .. }
                    | WaitReason::Turn { .. }
                    // What operators ordered is shown wherever it stands.
                    | WaitReason::Paused { .. }
                    | WaitReason::Site,
                )
                | None => {}
            },
            Phase::Announced { overdue: false }
            | Phase::Holding
            | Phase::Postponed(_)
            | Phase::Moved
            | Phase::Over(_) => {}
        }
    }
    if let Some(holding) = resource.holding() {
        let id = &holding.reservation;
        if holding.owner_changed {
            raise(
                AlarmKind::OwnerChanged,
                id,
                "its booking has another owner now; its host was left as it is".to_owned(),
            );
        }
        if let Some(WaitReason::Host { text }) = &holding.told {
            raise(AlarmKind::HostNotClean, id, text.clone());
        }
        if let Some(until) = holding.hold_until {
            raise(
                AlarmKind::DeadlinePassed,
                id,
                format!("its end passed without an end event; held until {until}"),
            );
        }
        if let Some(text) = &holding.adoption_refused {
            raise(
                AlarmKind::AdoptionRefused,
                id,
                format!("{} can't carry our consumerRef: {text}", holding.host),
            );
        }
        let booking = resource.reservations.get(id);
        if holding.adopted_at.is_some()
            && let Some(number) = booking.and_then(|booking| booking.named_elsewhere())
        {
            raise(
                AlarmKind::AdoptedHostLeft,
                id,
                format!(
                    "{} was adopted for it, and its booking is of resource {number} now, which has no place here: its end or its \
                     deadline releases this host. Look whether its user is done there; `bellhop release {} --reason '…'` takes it back",
                    holding.host,
                    word(&holding.host)
                ),
            );
        }
        if let Some(text) = adopted_and_perhaps_over(resource, holding) {
            raise(AlarmKind::UnknownReservation, id, text);
        }
        if let Some(change) = &holding.changed {
            raise(
                AlarmKind::HostChangedByOthers,
                id,
                format!("someone else changed {}: {change}", holding.host),
            );
        }
        if let Stage::Ready {
            trouble: Some(trouble),
        } = &holding.stage
        {
            raise(
                AlarmKind::ReadyHostTroubled,
                id,
                format!("the ready host {} has trouble: {trouble}", holding.host),
            );
        }
    }
    alarms.extend(started_when_over(resource));
    alarms
}

/// Starts that came under the ids of reservations that are over: nothing is prepared for them, and the sender can't know that.
fn started_when_over(resource: &Resource) -> impl Iterator<Item = Alarm> {
    resource.reservations.iter().filter_map(|(id, known)| {
        let times = known.heard.started_anew()?;
        Some(Alarm {
            kind: AlarmKind::StartedWhenOver,
            reservation: id.clone(),
            text: format!(
                "it is over, and a start came under its id for {} until {}: nothing is prepared, and its user is told to book again. \
                 Was the reservation system's database rebuilt or restored, so that ids are given anew?",
                times.start, times.end
            ),
            until: Some(times.end),
        })
    })
}

/// That the reservation of an adopted host stands on another resource: its end is decided there, and a move takes no host away
/// that is in use.
pub(crate) fn adopted_host_left(holding: &Holding, place: &ResourceId) -> Alarm {
    Alarm {
        kind: AlarmKind::AdoptedHostLeft,
        reservation: holding.reservation.clone(),
        until: None,
        text: format!(
            "{} was adopted for it, and it stands on {place} now: neither its end nor a deadline releases this host. Look whether its user \
             is done there; `bellhop release {} --reason '…'` takes it back",
            holding.host,
            word(&holding.host)
        ),
    }
}

/// What tells that an adopted host's reservation, of which no end is known, may be over; none where nothing does. Only somebody
/// who looks can know, and a wipe can't be undone: so it is held and asked about.
fn adopted_and_perhaps_over(resource: &Resource, holding: &Holding) -> Option<String> {
    let since = holding.adopted_at?;
    let sign = match (
        resource.may_have_been_the_unknown_one(),
        resource.successor_of_adopted(),
    ) {
        (Some(ended), _) => format!(
            "reservation {ended}, whose time encloses that, is over, and nobody knows whether it is the one that had this host, or one of another \
             resource of that name"
        ),
        (None, Some((successor, start))) => format!(
            "no end came, and reservation {successor} is to have a host of that name from {start} on"
        ),
        (None, None) => return None,
    };
    Some(format!(
        "{} was adopted at {since}, and is held until an end comes for it; {sign}. Look whether somebody works there; \
         `bellhop release {} --reason '…'` takes it back",
        holding.host,
        word(&holding.host)
    ))
}
