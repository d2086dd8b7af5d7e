//! Facts are kept for ever: what is written today is read by every later version.
//!
//! `facts.jsonl` holds at least one of each kind as it stands in ledgers, `capacity_facts.jsonl` those of the capacity,
//! `quota_facts.jsonl` those of a quota. Lines are added, never changed: where a test here fails, it is the code that has to go
//! back.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::Duration;

use bellhop_domain::capacity;
use bellhop_domain::id::{ReservationId, Source};
use bellhop_domain::quota;
use bellhop_domain::reservation::{Fact, FailureReason, HostError, HostLeft};

fn lines() -> impl Iterator<Item = &'static str> {
    include_str!("facts.jsonl").lines()
}

fn facts() -> impl Iterator<Item = Fact> {
    lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
}

/// A new variant does not compile until it is counted here, and then wants its line in `facts.jsonl`.
const KINDS: usize = 51;

fn kind(fact: &Fact) -> usize {
    match fact {
        Fact::ReservationAnnounced(_) => 0,
        Fact::ReservationChanged(_) => 1,
        Fact::ReservationStarted(_) => 2,
        Fact::ReservationRefused(_) => 3,
        Fact::ReservationWaits { .. } => 4,
        Fact::HostAssigned { .. } => 5,
        Fact::HostClaimed { .. } => 6,
        Fact::ProvisioningResumed { .. } => 7,
        Fact::ProvisioningSuspended { .. } => 8,
        Fact::ProvisioningErrorSeen { .. } => 9,
        Fact::ProvisioningErrorCleared { .. } => 10,
        Fact::HostProvisioned { .. } => 11,
        Fact::ReadyHostTroubled { .. } => 12,
        Fact::ReadyHostRecovered { .. } => 13,
        Fact::HostChangedByOthers { .. } => 14,
        Fact::ReservationEnded(_) => 15,
        Fact::ReservationFailed { .. } => 16,
        Fact::StartOverdue { .. } => 17,
        Fact::ReservationMissed { .. } => 18,
        Fact::DeadlinePassed { .. } => 19,
        Fact::DeadlineHeldAgain { .. } => 20,
        Fact::HostReleased { .. } => 21,
        Fact::ReservationMovedIn(_) => 22,
        Fact::ReservationMovedOut { .. } => 23,
        Fact::ReservationPostponed { .. } => 24,
        Fact::ReservationResumed { .. } => 25,
        Fact::OwnerChanged { .. } => 26,
        Fact::ChangeCameTooLate(_) => 27,
        Fact::OwnerWithdrawn { .. } => 28,
        Fact::KeyBrought { .. } => 29,
        Fact::DeadlineExtended { .. } => 30,
        Fact::StartAllowed { .. } => 31,
        Fact::HostHeld { .. } => 32,
        Fact::HostUnheld { .. } => 33,
        Fact::DrivingPaused { .. } => 34,
        Fact::DrivingResumed { .. } => 35,
        Fact::HeldResourceDeleted { .. } => 36,
        Fact::HostAdopted(_) => 37,
        Fact::HandBackOrdered { .. } => 38,
        Fact::HostHandedBack { .. } => 39,
        Fact::SiteSettled { .. } => 40,
        Fact::AdoptionRefused { .. } => 41,
        Fact::ProvisioningSeen { .. } => 42,
        Fact::ProvisioningUnseen { .. } => 43,
        Fact::WordHeard(_) => 44,
        Fact::WebhookHeard { .. } => 45,
        Fact::SiteSeen { .. } => 46,
        Fact::HostWouldBeAssigned { .. } => 47,
        Fact::WaitReasonChanged { .. } => 48,
        Fact::HostRestored { .. } => 49,
        Fact::CleaningSeenOff { .. } => 50,
    }
}

#[test]
fn every_fact_ever_written_is_read_and_written_again_as_it_was() {
    for (line, fact) in lines().zip(facts()) {
        assert_eq!(serde_json::to_string(&fact).unwrap(), line);
    }
}

#[test]
fn every_kind_of_fact_has_been_written_down() {
    let kinds: BTreeSet<usize> = facts().map(|fact| kind(&fact)).collect();
    assert_eq!(kinds, (0..KINDS).collect());
}

#[test]
fn a_fact_s_name_is_its_type_in_the_ledger() {
    for fact in facts() {
        assert_eq!(serde_json::to_value(&fact).unwrap()["type"], fact.name());
    }
}

#[test]
fn a_fact_is_about_the_reservation_that_it_names() {
    for fact in facts() {
        let written = serde_json::to_value(&fact).unwrap();
        assert_eq!(
            written["reservation"].as_str().map(str::to_owned),
            fact.reservation().map(ToString::to_string)
        );
    }
}

#[test]
fn a_field_that_a_later_version_added_does_not_keep_an_older_one_from_reading() {
    for line in lines() {
        let mut written: serde_json::Value = serde_json::from_str(line).unwrap();
        written["added_later"] = true.into();
        let read: Fact = serde_json::from_value(written).unwrap();
        assert_eq!(read, serde_json::from_str(line).unwrap());
    }
}

#[test]
fn who_ordered_a_fact_and_why_is_told_of_every_fact_that_an_operator_s_word_led_to() {
    for line in lines() {
        let written: serde_json::Value = serde_json::from_str(line).unwrap();
        let fact: Fact = serde_json::from_str(line).unwrap();
        let note = fact.note().map(|note| serde_json::to_value(note).unwrap());
        assert_eq!(note.as_ref(), written.get("note"), "{line}");
    }
}

#[test]
fn a_failure_stands_in_the_ledger_in_metal3s_own_words() {
    let fact = Fact::ReservationFailed {
        reservation: ReservationId::new(Source::new("reservation-system"), "5120"),
        reason: FailureReason::ProvisioningErrors {
            error: HostError {
                kind: "provisioning error".to_owned(),
                message: "no disk".to_owned(),
            },
            attempts: 3,
        },
    };
    assert_eq!(
        serde_json::to_value(&fact).unwrap(),
        serde_json::json!({
            "type": "ReservationFailed",
            "reservation": "reservation-system:5120",
            "reason": {
                "because": "ProvisioningErrors",
                "error": {"errorType": "provisioning error", "errorMessage": "no disk"},
                "attempts": 3,
            },
        })
    );
}

#[test]
fn a_duration_stands_in_the_ledger_in_seconds() {
    let written = r#"{"type":"HostReleased","reservation":"reservation-system:5120","took":91.25,"left":"Off"}"#;
    let fact: Fact = serde_json::from_str(written).unwrap();
    assert_eq!(
        fact,
        Fact::HostReleased {
            reservation: ReservationId::new(Source::new("reservation-system"), "5120"),
            took: Duration::from_millis(91_250),
            left: HostLeft::Off,
            not_wiped: false,
        }
    );
    // Whole seconds too, as another writer of JSON might put them.
    assert!(serde_json::from_str::<Fact>(&written.replace("91.25", "91")).is_ok());
}

#[test]
fn every_fact_about_the_capacity_is_read_and_written_again_as_it_was() {
    let mut kinds = BTreeSet::new();
    for line in include_str!("capacity_facts.jsonl").lines() {
        let fact: capacity::Fact = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&fact).unwrap(), line);
        assert_eq!(
            serde_json::to_value(&fact).unwrap()["type"],
            fact.name(),
            "{line}"
        );
        // A new variant does not compile until it is counted here, and then wants its line.
        kinds.insert(match fact {
            capacity::Fact::PlaceGranted { .. } => 0,
            capacity::Fact::PlaceReturned { .. } => 1,
        });
    }
    assert_eq!(kinds, (0..2).collect());
}

#[test]
fn every_fact_about_a_quota_is_read_and_written_again_as_it_was() {
    let mut kinds = BTreeSet::new();
    for line in include_str!("quota_facts.jsonl").lines() {
        let fact: quota::Fact = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&fact).unwrap(), line);
        let kind = &serde_json::to_value(&fact).unwrap()["type"];
        assert_eq!(kind, fact.name(), "{line}");
        // A new variant does not compile until it is counted here, and then wants its line.
        kinds.insert(match fact {
            quota::Fact::PermitGranted { .. } => 0,
        });
    }
    assert_eq!(kinds, (0..1).collect());
}
