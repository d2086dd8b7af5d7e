//! Things done wrong on purpose. Each must make the histories fail, by the rule that it breaks: what they do not find, they do
//! not check.

use std::time::Duration;

use bellhop_domain::id::ReservationId;
use bellhop_domain::reservation::fact::Ended;
use bellhop_domain::reservation::{
    Command, EndCause, EndOutcome, Fact, FailureReason, OperatorWord, Order, Phase, Policy,
    Resource, Said, Stage, Word, decide,
};
use bellhop_domain::time;
use jiff::Timestamp;

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// No fence is written, and none is compared.
    FenceOff,
    /// The API server takes a write whatever became of the host since it was read.
    PreconditionOff,
    /// The ledger takes facts that were decided upon an old state.
    ExpectedVersionOff,
    /// What places, moves or ends a reservation is recorded where nothing new is on its resource, whatever others recorded of it
    /// elsewhere. Random histories reach that too seldom: `places` plays it.
    ReservationUnguarded,
    /// A delivery is acknowledged before what follows from it is appended.
    AcknowledgedBeforeAppended,
    /// An end or a deletion of any reservation ends the holder.
    HolderCheckOff,
    /// A start that comes again after its reservation's end is accepted.
    StartAfterEndAccepted,
    /// An end ends a reservation that was extended since.
    OldEndBelieved,
    /// A host is claimed though an earlier image is on it.
    UncleanHostClaimed,
    /// A resource is free as soon as its release was written.
    ReleaseNotWaitedFor,
    /// A deadline releases at once, without the hold.
    DeadlineWithoutHold,
    /// A hold that passed while nobody was there releases all the same.
    HoldPassedWhileAway,
    /// Deadlines fire before what waits in the broker is folded.
    DeadlineBeforeDeliveries,
    /// A host that someone else took meanwhile is claimed.
    ForeignHostTaken,
    /// Ready is told from the status of the last time at which the host was provisioned.
    ReadyFromOldStatus,
    /// An error on a ready host fails its reservation.
    ReadyHostFails,
    /// Metal3's errors are not told.
    ErrorsUntold,
    /// The timeout's clock runs while Metal3 does not work.
    TimeoutRunsAlways,
    /// Time counts in which nobody looked at the host.
    UnseenTimeCounts,
    /// The user data of the tenant before is used once more.
    FormerTenantsKey,
    /// A secret that is there is used, whoever the owner was for whom it was made. Random histories reach that too seldom: `owners`
    /// plays it.
    FormerOwnersSecret,
    /// The secret stays when its host is given back, and nobody looks for it later.
    SecretKept,
    /// An image that someone removed by hand is set again.
    ImageSetAgain,
    /// A host gets the image that is configured when it is claimed, not the one of its accepted start.
    ConfiguredImageClaimed,
    /// A host whose holder no fact names is released.
    UnknownHolderReleased,
    /// Hosts are written while an operator paused that.
    PauseIgnored,
    /// A host that an operator holds is released.
    HoldIgnored,
    /// An operator's release ends whoever has the resource by then.
    WhoeverHoldsReleased,
    /// A deadline passes though an operator moved it.
    ExtensionIgnored,
    /// A host that was not wiped is given away without an operator's word.
    GivenAwayNotWiped,
    /// The key that an operator brings is not used, but the one that came with the start.
    StaleKeyUsed,
    /// The host of an adopted reservation that nobody knows is released at any end.
    AdoptedHostReleasedByAnyEnd,
    /// A host is prepared once more when it is adopted.
    AdoptionPreparesAnew,
    /// Whatever host answers to a free resource is switched on when it is handed back.
    HandedBackWhoeverHasIt,
    /// The deletion of its resource ends the holder.
    DeletedResourceReleased,
    /// Of two words of operators the one that is heard last counts, not the one that was said last.
    LastHeardOrderObeyed,
    /// The key that an operator brought is used whoever the owner is by then.
    KeyForWhoeverOwnsIt,
    /// Whether a host is wiped is read when it is clean again, not when its image is taken off.
    CleaningReadAtTheEnd,
    /// That a host was not wiped is told only where its claim was seen.
    UnseenClaimTakenForWiped,
    /// An adopted host is taken back because its booking starts later.
    AdoptedHostPostponed,
    /// The host of a site's resource is given to another one's of the same name.
    SiteIgnored,
    /// A start has a host though nobody has said where those of its site are.
    UnsettledServed,
    /// A host is given away whether or not there is a place for it.
    CapacityIgnored,
}

impl Mutant {
    pub(crate) const ALL: [Self; 41] = [
        Self::FenceOff,
        Self::PreconditionOff,
        Self::ExpectedVersionOff,
        Self::AcknowledgedBeforeAppended,
        Self::HolderCheckOff,
        Self::StartAfterEndAccepted,
        Self::OldEndBelieved,
        Self::UncleanHostClaimed,
        Self::ReleaseNotWaitedFor,
        Self::DeadlineWithoutHold,
        Self::HoldPassedWhileAway,
        Self::DeadlineBeforeDeliveries,
        Self::ForeignHostTaken,
        Self::ReadyFromOldStatus,
        Self::ReadyHostFails,
        Self::ErrorsUntold,
        Self::TimeoutRunsAlways,
        Self::UnseenTimeCounts,
        Self::FormerTenantsKey,
        Self::SecretKept,
        Self::ImageSetAgain,
        Self::ConfiguredImageClaimed,
        Self::UnknownHolderReleased,
        Self::PauseIgnored,
        Self::HoldIgnored,
        Self::WhoeverHoldsReleased,
        Self::ExtensionIgnored,
        Self::GivenAwayNotWiped,
        Self::StaleKeyUsed,
        Self::AdoptedHostReleasedByAnyEnd,
        Self::AdoptionPreparesAnew,
        Self::HandedBackWhoeverHasIt,
        Self::DeletedResourceReleased,
        Self::LastHeardOrderObeyed,
        Self::KeyForWhoeverOwnsIt,
        Self::CleaningReadAtTheEnd,
        Self::UnseenClaimTakenForWiped,
        Self::AdoptedHostPostponed,
        Self::SiteIgnored,
        Self::UnsettledServed,
        Self::CapacityIgnored,
    ];

    /// The rules of which at least one must be found broken.
    pub(crate) fn breaks(self) -> &'static [&'static str] {
        match self {
            Self::FenceOff => &["R2", "R4", "R9", "R12"],
            Self::HolderCheckOff => &["R2"],
            Self::PreconditionOff => &["R2", "R4", "R6", "R12", "R13"],
            Self::ExpectedVersionOff => &["R2", "R7"],
            Self::AcknowledgedBeforeAppended => &["R3", "R10"],
            Self::ReservationUnguarded | Self::StartAfterEndAccepted => &["R7"],
            Self::OldEndBelieved => &["R3"],
            Self::UncleanHostClaimed => &["R2", "R4", "R6"],
            Self::ReleaseNotWaitedFor => &["R2", "R4"],
            Self::DeadlineWithoutHold
            | Self::HoldPassedWhileAway
            | Self::DeadlineBeforeDeliveries => &["R5"],
            Self::ForeignHostTaken => &["R6"],
            Self::ReadyFromOldStatus
            | Self::ReadyHostFails
            | Self::ErrorsUntold
            | Self::TimeoutRunsAlways
            | Self::UnseenTimeCounts => &["R8"],
            Self::FormerTenantsKey | Self::FormerOwnersSecret | Self::SecretKept => &["R9"],
            Self::ImageSetAgain | Self::ConfiguredImageClaimed => &["R12"],
            Self::UnknownHolderReleased => &["R13"],
            Self::PauseIgnored | Self::HoldIgnored | Self::HandedBackWhoeverHasIt => &["R6"],
            Self::WhoeverHoldsReleased | Self::AdoptedHostReleasedByAnyEnd => &["R2"],
            Self::ExtensionIgnored | Self::DeletedResourceReleased => &["R5"],
            Self::GivenAwayNotWiped
            | Self::CleaningReadAtTheEnd
            | Self::UnseenClaimTakenForWiped => &["R4"],
            Self::StaleKeyUsed | Self::KeyForWhoeverOwnsIt => &["R9"],
            Self::LastHeardOrderObeyed => &["R3"],
            Self::AdoptedHostPostponed => &["R12"],
            Self::AdoptionPreparesAnew => &["R6", "R12", "R13"],
            Self::SiteIgnored => &["R4"],
            Self::UnsettledServed => &["R6"],
            Self::CapacityIgnored => &["capacity"],
        }
    }

    /// The decision with this wrong in it.
    pub(crate) fn decide(
        self,
        state: &Resource,
        command: &Command,
        now: Timestamp,
        policy: &Policy,
    ) -> Vec<Fact> {
        let right = |state: &Resource, command: &Command| decide(state, command, now, policy);
        match (self, command) {
            (Self::HolderCheckOff, Command::Said(word)) if is_last_word(word) => {
                let holder = state.holding().map(|holding| holding.reservation.clone());
                let word = Word {
                    reservation: holder.unwrap_or_else(|| word.reservation.clone()),
                    ..(**word).clone()
                };
                right(state, &Command::Said(Box::new(word)))
            }
            (Self::StartAfterEndAccepted, Command::Said(word))
                if matches!(word.said, Said::Start { .. }) && is_over(state, word) =>
            {
                let mut forgetful = state.clone();
                forgetful.reservations.remove(&word.reservation);
                right(&forgetful, command)
            }
            (Self::OldEndBelieved, Command::Said(word)) if matches!(word.said, Said::End) => {
                let mut word = (**word).clone();
                word.knowledge.said_at = Timestamp::MAX;
                right(state, &Command::Said(Box::new(word)))
            }
            (Self::DeadlineWithoutHold, Command::TimePassed { .. }) => right(state, command)
                .into_iter()
                .map(|fact| match fact {
                    Fact::DeadlinePassed { reservation, .. } => {
                        ended_by_deadline(state, reservation)
                    }
                    other => other,
                })
                .collect(),
            (Self::HoldPassedWhileAway, Command::TimePassed { may_release, .. }) => {
                let always = Command::TimePassed {
                    up_since: Timestamp::MIN,
                    may_release: *may_release,
                    clock_is_right: true,
                };
                right(state, &always)
            }
            (Self::ReadyHostFails, Command::Observed(_)) => {
                let mut facts = right(state, command);
                if let Some(Fact::ReadyHostTroubled { reservation, .. }) = facts.last() {
                    let reservation = reservation.clone();
                    facts.push(Fact::ReservationFailed {
                        reservation,
                        reason: FailureReason::HostGone,
                    });
                }
                facts
            }
            (Self::WhoeverHoldsReleased, Command::Ordered(word)) => right(
                state,
                &Command::Ordered(Box::new(of_the_holder(state, word))),
            ),
            (Self::LastHeardOrderObeyed, Command::Ordered(word)) => {
                let mut word = word.clone();
                word.note.at = Some(time::after(now, Duration::from_secs(1)));
                right(state, &Command::Ordered(word))
            }
            (Self::KeyForWhoeverOwnsIt, Command::Ordered(word)) => {
                let mut word = word.clone();
                if let Order::BringKey { user, .. } = &mut word.order {
                    *user = None;
                }
                right(state, &Command::Ordered(word))
            }
            (Self::AdoptedHostPostponed, Command::Said(word)) => {
                let mut facts = right(state, command);
                let schedule = word.knowledge.schedule;
                let changes = matches!(facts.as_slice(), [Fact::ReservationChanged(_)]);
                let holds = (state.holding()).is_some_and(|holding| {
                    holding.adopted_at.is_some() && holding.reservation == word.reservation
                });
                if changes && holds && schedule.start > now {
                    facts.push(Fact::ReservationPostponed {
                        reservation: word.reservation.clone(),
                        until: schedule.start,
                    });
                }
                facts
            }
            (Self::ExtensionIgnored, Command::TimePassed { .. }) => {
                let mut forgetful = state.clone();
                for known in forgetful.reservations.values_mut() {
                    known.extended_until = None;
                }
                right(&forgetful, command)
            }
            (Self::UnseenTimeCounts, Command::Observed(_)) => right(state, command)
                .into_iter()
                .map(|fact| match fact {
                    Fact::ProvisioningUnseen { reservation } => {
                        Fact::ProvisioningSeen { reservation }
                    }
                    other => other,
                })
                .collect(),
            (Self::GivenAwayNotWiped, Command::Observed(_)) => {
                let mut forgetful = state.clone();
                forgetful.not_wiped = None;
                right(&forgetful, command)
            }
            (Self::SiteIgnored, Command::Observed(_)) => {
                let mut forgetful = state.clone();
                forgetful.bound_to = None;
                right(&forgetful, command)
            }
            (Self::StaleKeyUsed, Command::Ordered(_)) => {
                let mut facts = right(state, command);
                for fact in &mut facts {
                    if let Fact::KeyBrought {
                        reservation,
                        delivery,
                        ..
                    } = fact
                        && let Some(Phase::Waiting(waiting) | Phase::Postponed(waiting)) =
                            (state.reservations.get(reservation)).map(|known| &known.phase)
                    {
                        *delivery = waiting.delivery.clone();
                    }
                }
                facts
            }
            (Self::AdoptedHostReleasedByAnyEnd, Command::Said(word))
                if is_last_word(word) && state.unknown_since().is_some() =>
            {
                let mut word = (**word).clone();
                let since = state.unknown_since().unwrap_or(now);
                word.knowledge.schedule.start = since;
                word.knowledge.schedule.end = since;
                word.knowledge.said_at = Timestamp::MAX;
                // Nor does it matter of which host of that name.
                (word.site, word.resource_number, word.only_site) = (None, None, true);
                right(state, &Command::Said(Box::new(word)))
            }
            (Self::DeletedResourceReleased, Command::ResourceDeleted { .. }) => {
                let mut facts = right(state, command);
                if let Some(Fact::HeldResourceDeleted { reservation, .. }) = facts.last() {
                    facts.push(ended_by_deadline(state, reservation.clone()));
                }
                facts
            }
            _ => right(state, command),
        }
    }
}

/// An operator's release, aimed at whoever has the resource.
fn of_the_holder(state: &Resource, word: &OperatorWord) -> OperatorWord {
    let mut word = word.clone();
    if let (Order::Release { reservation }, Some(holding)) = (&mut word.order, state.holding()) {
        *reservation = holding.reservation.clone();
    }
    word
}

fn is_last_word(word: &Word) -> bool {
    matches!(word.said, Said::End | Said::Deleted)
}

fn is_over(state: &Resource, word: &Word) -> bool {
    state
        .reservations
        .get(&word.reservation)
        .is_some_and(|known| matches!(known.phase, Phase::Over(_)))
}

fn ended_by_deadline(state: &Resource, reservation: ReservationId) -> Fact {
    let was_ready = state
        .holding()
        .is_some_and(|holding| matches!(holding.stage, Stage::Ready { .. }));
    Fact::ReservationEnded(Ended {
        reservation,
        cause: EndCause::Deadline,
        outcome: if was_ready {
            EndOutcome::Completed
        } else {
            EndOutcome::Cancelled
        },
        note: None,
        site: None,
        user: None,
        webhook: None,
        resource_number: None,
        delivery: None,
        payload: None,
        knowledge: None,
    })
}
