//! Every state that a reservation, A, and its resource can be in.

use bellhop_domain::reservation::fact::{Announced, Ended, Refused};
use bellhop_domain::reservation::resource::Waiting;
use bellhop_domain::reservation::{
    Adoption, Note, Occupancy, OperatorWord, Order, Outcome, Phase, Reservation,
};

use super::super::orders::{delivery, note};
use super::super::*;
use super::listed::listed;

listed! {
    /// How far A is. [`place_of`] takes the states of the product apart without a wildcard: a new one is a new line here.
    Place {
        Unknown = "unknown",
        Announced = "announced",
        Overdue = "overdue",
        Waiting = "waiting",
        WithoutKey = "without key",
        AsksOperator = "asks operator",
        Allowed = "allowed",
        Unsettled = "unsettled",
        Postponed = "postponed",
        Moved = "moved",
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
        Refused = "refused",
        Missed = "missed",
        Adopting = "adopting",
        Claiming = "claiming",
        Preparing = "preparing",
        Suspended = "suspended",
        Erring = "erring",
        Ready = "ready",
        Troubled = "troubled",
        Adopted = "adopted",
        Overstaying = "overstaying",
    }
}

listed! {
    /// Who has the resource, where it isn't A.
    Others {
        Nobody = "free",
        Earlier = "held",
        Nameless = "held by unknown",
        Releasing = "releasing",
    }
}

/// When the tables begin: one minute after A's start.
pub(super) const NOW: i64 = HOUR + MINUTE;

/// A state of the two. `others` says nothing where A is the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    pub(super) place: Place,
    pub(super) others: Option<Others>,
}

impl State {
    /// All of them.
    pub(super) fn all() -> Vec<Self> {
        let of = |place: Place| -> Vec<Self> {
            if place.holds() {
                return vec![Self {
                    place,
                    others: None,
                }];
            }
            let with = |others: &Others| Self {
                place,
                others: Some(*others),
            };
            Others::ALL.iter().map(with).collect()
        };
        Place::ALL.iter().copied().flat_map(of).collect()
    }

    /// Which state a resource is in.
    pub(super) fn of(resource: &Resource) -> Self {
        let place = place_of(resource);
        let others = match &resource.occupancy {
            Occupancy::Held(holding) if holding.reservation == id("a") => None,
            Occupancy::Held(holding) if holding.reservation.is_unknown() => Some(Others::Nameless),
            Occupancy::Held(_) => Some(Others::Earlier),
            Occupancy::Free => Some(Others::Nobody),
            Occupancy::Releasing(_) => Some(Others::Releasing),
        };
        Self { place, others }
    }

    /// A story that is in this state, one minute after A's start.
    pub(super) fn story(self) -> Story {
        let mut story = Story {
            now: 30 * MINUTE,
            ..Story::new()
        };
        match self.others {
            None | Some(Others::Nobody) => {}
            Some(Others::Earlier) => story.prepared_for("earlier"),
            Some(Others::Nameless) => {
                story.now = NOW;
                story.adopted_for(None);
                story.observed(provisioned());
            }
            Some(Others::Releasing) => {
                story.prepared_for("earlier");
                story.said("earlier", Said::End);
            }
        }
        story.now = NOW;
        story.bring_to(self.place);
        story
    }
}

impl Place {
    /// Whether A has the resource.
    pub(super) fn holds(self) -> bool {
        match self {
            Self::Adopting
            | Self::Claiming
            | Self::Preparing
            | Self::Suspended
            | Self::Erring
            | Self::Ready
            | Self::Troubled
            | Self::Adopted
            | Self::Overstaying => true,
            Self::Unknown
            | Self::Announced
            | Self::Overdue
            | Self::Waiting
            | Self::WithoutKey
            | Self::AsksOperator
            | Self::Allowed
            | Self::Unsettled
            | Self::Postponed
            | Self::Moved
            | Self::Completed
            | Self::Failed
            | Self::Cancelled
            | Self::Refused
            | Self::Missed => false,
        }
    }
}

fn place_of(resource: &Resource) -> Place {
    let Some(known) = resource.reservations.get(&id("a")) else {
        return Place::Unknown;
    };
    match &known.phase {
        Phase::Announced { overdue: false } => Place::Announced,
        Phase::Announced { overdue: true } => Place::Overdue,
        Phase::Waiting(waiting) if waiting.unsettled => Place::Unsettled,
        Phase::Waiting(waiting) if !waiting.can_claim() => Place::WithoutKey,
        Phase::Waiting(waiting) if waiting.allowed => Place::Allowed,
        Phase::Waiting(waiting) if waiting.waits_for_operator() => Place::AsksOperator,
        Phase::Waiting(_) => Place::Waiting,
        Phase::Holding => stage_of(resource),
        Phase::Postponed(_) => Place::Postponed,
        Phase::Moved => Place::Moved,
        Phase::Over(Outcome::Completed) => Place::Completed,
        Phase::Over(Outcome::Failed) => Place::Failed,
        Phase::Over(Outcome::Cancelled) => Place::Cancelled,
        Phase::Over(Outcome::Refused) => Place::Refused,
        Phase::Over(Outcome::Missed) => Place::Missed,
    }
}

fn stage_of(resource: &Resource) -> Place {
    let holding = resource.holding().expect("A holds");
    match &holding.stage {
        _ if holding.hold_until.is_some() => Place::Overstaying,
        Stage::Adopting => Place::Adopting,
        Stage::Claiming => Place::Claiming,
        Stage::Preparing { in_error: true, .. } => Place::Erring,
        Stage::Preparing {
            working_since: Some(_),
            ..
        } => Place::Preparing,
        Stage::Preparing {
            working_since: None,
            ..
        } => Place::Suspended,
        Stage::Ready { trouble: Some(_) } => Place::Troubled,
        Stage::Ready { trouble: None } if holding.adopted_at.is_some() => Place::Adopted,
        Stage::Ready { trouble: None } => Place::Ready,
    }
}

impl Story {
    /// Records what no command of the table leads to from here.
    fn recorded(&mut self, fact: &Fact) {
        let version = Version(self.resource.version.0 + 1);
        self.resource.evolve(Recorded {
            version,
            at: at(self.now),
            traceparent: None,
            fact,
        });
    }

    fn prepared_for(&mut self, event: &str) {
        self.said(event, start());
        self.observed(clean());
        self.observed(working());
        self.observed(provisioned());
    }

    fn adopted_for(&mut self, reservation: Option<ReservationId>) {
        let adoption = Adoption {
            until: reservation.is_some().then(|| at(Self::hours("a").1)),
            reservation,
            host: host(),
            secret: "lab7-node04-userdata".to_owned(),
            terms: terms(),
            site: None,
            delivery: delivery(),
        };
        let word = OperatorWord {
            order: Order::Adopt(Box::new(adoption)),
            note: Note {
                at: Some(at(self.now)),
                ..note()
            },
        };
        self.decide(&Command::Ordered(Box::new(word)));
    }

    fn waiting(&mut self) -> &mut Waiting {
        match self.resource.reservations.get_mut(&id("a")) {
            Some(Reservation {
                phase: Phase::Waiting(waiting),
                ..
            }) => waiting,
            other => panic!("A waits: {other:?}"),
        }
    }

    fn bring_to(&mut self, place: Place) {
        let a = || id("a");
        match place {
            Place::Unknown => {}
            Place::Announced => {
                self.said("a", Said::Announced);
            }
            Place::Overdue => {
                self.bring_to(Place::Announced);
                self.recorded(&Fact::StartOverdue { reservation: a() });
            }
            Place::Waiting => {
                self.said("a", start());
            }
            Place::WithoutKey => {
                self.said("a", start_without_key());
            }
            Place::AsksOperator => {
                self.bring_to(Place::Waiting);
                self.recorded(&Fact::ReservationWaits {
                    reservation: a(),
                    reason: WaitReason::Operator {
                        text: "not wiped".to_owned(),
                    },
                });
            }
            Place::Allowed => {
                self.bring_to(Place::AsksOperator);
                self.recorded(&Fact::StartAllowed {
                    reservation: a(),
                    note: note(),
                });
            }
            // The ledger marks it, which knows the other sites.
            Place::Unsettled => {
                self.bring_to(Place::Waiting);
                self.waiting().unsettled = true;
            }
            Place::Postponed => {
                self.bring_to(Place::Waiting);
                let mut word = self.word("a", Said::Changed, Self::hours("a").1, Some(self.now));
                word.knowledge.schedule.start = at(2 * HOUR);
                self.decide(&Command::Said(Box::new(word)));
            }
            Place::Moved => {
                self.bring_to(Place::Waiting);
                self.recorded(&Fact::ReservationMovedOut {
                    reservation: a(),
                    to: another_resource(),
                    note: None,
                });
            }
            Place::Completed => self.ended(EndOutcome::Completed),
            Place::Cancelled => self.ended(EndOutcome::Cancelled),
            Place::Failed => {
                self.bring_to(Place::Waiting);
                self.recorded(&Fact::ReservationFailed {
                    reservation: a(),
                    reason: FailureReason::HostGone,
                });
            }
            Place::Refused => {
                let word = self.word("a", start(), Self::hours("a").1, None);
                self.recorded(&Fact::ReservationRefused(Refused {
                    announced: Announced {
                        reservation: a(),
                        user: word.user,
                        webhook: word.webhook,
                        resource_number: word.resource_number,
                        site: word.site,
                        knowledge: word.knowledge,
                        delivery: word.delivery,
                    },
                    payload: word.payload,
                }));
            }
            Place::Missed => {
                self.bring_to(Place::Announced);
                self.recorded(&Fact::ReservationMissed { reservation: a() });
            }
            Place::Adopting => self.adopted_for(Some(a())),
            Place::Adopted => {
                self.bring_to(Place::Adopting);
                self.observed(provisioned());
            }
            Place::Claiming => {
                self.bring_to(Place::Waiting);
                self.observed(clean());
            }
            Place::Preparing => {
                self.bring_to(Place::Claiming);
                self.observed(working());
            }
            Place::Suspended => {
                self.bring_to(Place::Claiming);
                self.observed(paused());
            }
            Place::Erring => {
                self.bring_to(Place::Preparing);
                self.observed(failing("no disk"));
            }
            Place::Ready => self.prepared_for("a"),
            Place::Troubled => {
                self.bring_to(Place::Ready);
                self.observed(failing("power"));
            }
            Place::Overstaying => {
                self.bring_to(Place::Ready);
                self.recorded(&Fact::DeadlinePassed {
                    reservation: a(),
                    hold_until: at(5 * HOUR),
                });
            }
        }
    }

    /// A ends, whoever has the resource.
    fn ended(&mut self, outcome: EndOutcome) {
        self.bring_to(Place::Waiting);
        let word = self.word("a", Said::End, Self::hours("a").1, None);
        self.recorded(&Fact::ReservationEnded(Ended {
            reservation: word.reservation,
            cause: EndCause::End,
            outcome,
            user: word.user,
            webhook: Some(word.webhook),
            resource_number: word.resource_number,
            site: word.site,
            delivery: Some(word.delivery),
            payload: Some(word.payload),
            knowledge: Some(word.knowledge),
            note: None,
        }));
    }
}

pub(super) fn start_without_key() -> Said {
    Said::Start {
        key: TenantKey::Missing {
            reason: "no key".to_owned(),
        },
        terms: terms(),
    }
}

pub(super) fn another_resource() -> ResourceId {
    ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "lab7-node05")
}
