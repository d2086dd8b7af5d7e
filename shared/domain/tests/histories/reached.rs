//! What the histories reach: the properties say nothing of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bellhop_domain::reservation::Fact;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::ways::{TABLE, Way, way};
use super::{config, numbers, play, sender};

/// What so many histories reach, which are the same in each run.
const HISTORIES: u32 = 2500;

static REACHED: LazyLock<Reached> = LazyLock::new(|| {
    let mut runner =
        TestRunner::new_with_rng(config(1), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let histories = (sender::bookings(), numbers(1..24), numbers(0..240));
    let mut reached = Reached::default();
    for _ in 0..HISTORIES {
        let (bookings, fates, actions) = histories.new_tree(&mut runner).unwrap().current();
        let world = play(&bookings, &fates, &actions).unwrap();
        for fact in world.facts() {
            *reached.facts.entry(told(fact)).or_default() += 1;
        }
        for way in world.judge.ways {
            *reached.ways.entry(way).or_default() += 1;
        }
    }
    reached
});

/// How often each.
#[derive(Default)]
struct Reached {
    facts: BTreeMap<String, u32>,
    ways: BTreeMap<Way, u32>,
}

/// A fact's name, with its reason.
fn told(fact: &Fact) -> String {
    match fact {
        Fact::ReservationEnded(ended) => {
            format!("{} {:?} {:?}", fact.name(), ended.cause, ended.outcome)
        }
        Fact::ReservationFailed { reason, .. } => {
            let reason = serde_json::to_value(reason).unwrap();
            format!("{} {}", fact.name(), reason["because"].as_str().unwrap())
        }
        Fact::KeyBrought { note: Some(_), .. } => format!("{} by an operator", fact.name()),
        Fact::ReservationWaits { reason, .. } => {
            let reason = serde_json::to_value(reason).unwrap();
            format!("{} {}", fact.name(), reason["for"].as_str().unwrap())
        }
        Fact::HostReleased {
            not_wiped: true, ..
        } => format!("{}, not wiped", fact.name()),
        _ => fact.name().to_owned(),
    }
}

#[test]
fn the_histories_reach_every_fact_and_every_reason() {
    let reached = &REACHED.facts;
    let expected = [
        "ChangeCameTooLate",
        "CleaningSeenOff",
        "DeadlineExtended",
        "DeadlineHeldAgain",
        "DeadlinePassed",
        "DrivingPaused",
        "DrivingResumed",
        "HandBackOrdered",
        "HeldResourceDeleted",
        "HostAdopted",
        "HostAssigned",
        "HostChangedByOthers",
        "HostClaimed",
        "HostHandedBack",
        "HostHeld",
        "HostProvisioned",
        "HostReleased",
        "HostReleased, not wiped",
        "HostUnheld",
        "KeyBrought",
        "KeyBrought by an operator",
        "OwnerChanged",
        "OwnerWithdrawn",
        "ProvisioningErrorCleared",
        "ProvisioningErrorSeen",
        "ProvisioningResumed",
        "ProvisioningSeen",
        "ProvisioningSuspended",
        "ProvisioningUnseen",
        "ReadyHostRecovered",
        "ReadyHostTroubled",
        "ReservationAnnounced",
        "ReservationChanged",
        "ReservationEnded Deadline Cancelled",
        "ReservationEnded Deadline Completed",
        "ReservationEnded Deleted Cancelled",
        "ReservationEnded Deleted Completed",
        "ReservationEnded End Cancelled",
        "ReservationEnded End Completed",
        "ReservationEnded Operator Cancelled",
        "ReservationEnded Operator Completed",
        "ReservationEnded ProvenOver Cancelled",
        "ReservationEnded ProvenOver Completed",
        "ReservationFailed CannotClaim",
        "ReservationFailed HostGone",
        "ReservationFailed HostUnknown",
        "ReservationFailed ImageNotOffered",
        "ReservationFailed NotClaimedInTime",
        "ReservationFailed ProvisioningErrors",
        "ReservationFailed ProvisioningTimeout",
        "ReservationFailed ResourceDeleted",
        "ReservationMissed",
        "ReservationMovedIn",
        "ReservationMovedOut",
        "ReservationPostponed",
        "ReservationRefused",
        "ReservationResumed",
        "ReservationStarted",
        "ReservationWaits Holder",
        "ReservationWaits Host",
        "ReservationWaits Key",
        "ReservationWaits Operator",
        "ReservationWaits Release",
        "ReservationWaits Site",
        "ReservationWaits Turn",
        "SiteSettled",
        "StartAllowed",
        "StartOverdue",
    ];
    let missing: Vec<_> = expected
        .iter()
        .filter(|name| !reached.contains_key(**name))
        .collect();
    assert!(
        missing.is_empty(),
        "never reached: {missing:?}; reached: {reached:#?}"
    );
}

#[test]
fn the_histories_go_every_way() {
    // No way that is not in the table: of each history the judge says that.
    let taken: BTreeSet<Way> = REACHED.ways.keys().cloned().collect();
    let elsewhere = BTreeSet::from(ELSEWHERE.map(|(from, to, _)| way(from, to)));
    let gone = &taken | &elsewhere;
    let never: Vec<_> = TABLE.difference(&gone).collect();
    assert!(
        never.is_empty(),
        "never gone: {never:#?}; gone: {:#?}",
        REACHED.ways
    );
}

/// Ways that these histories need not go, and why. The decisions go each of them (`decisions/pairs`), but where the reason says
/// another thing.
const ELSEWHERE: [(&str, &str, &str); 13] = [
    ("adopting", "moved", "the ledger lets no adopted host go"),
    (
        "announced",
        "postponed",
        "by the ledger: `a_start_that_is_accepted_while_its_booking_is_moved_goes_along`",
    ),
    ("announced", "adopting", SELDOM),
    ("announced", "completed", SELDOM),
    ("claiming", "postponed", SELDOM),
    ("moved", "announced", SELDOM),
    ("postponed", "adopting", SELDOM),
    ("postponed", "completed", SELDOM),
    ("postponed", "failed", SELDOM),
    ("postponed", "moved", SELDOM),
    ("preparing", "postponed", SELDOM),
    ("unknown", "completed", SELDOM),
    ("waiting", "adopting", SELDOM),
];

const SELDOM: &str = "in about one history of a thousand, or fewer";
