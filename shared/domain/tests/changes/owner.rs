//! Bookings that get another owner (R9).

use super::*;

#[test]
fn a_changed_owner_is_told_once_and_leaves_the_host_as_it_is() {
    let mut site = Site::ready();
    let mut word = site.word(Said::Changed, HOUR, 3 * HOUR);
    word.user = Some(UserId::new("nils"));
    let facts = site.decide("one", &Command::Said(Box::new(word)));
    assert_eq!(
        names(&facts),
        ["ReservationChanged", "OwnerWithdrawn", "OwnerChanged"]
    );
    let one = site.ledger.resource(&node("one")).unwrap();
    assert!(matches!(desired(one), Desired::Keep(_)));
    assert!(
        alarms(one)
            .iter()
            .any(|alarm| alarm.kind == AlarmKind::OwnerChanged)
    );
}

#[test]
fn a_new_owner_whose_start_brings_the_key_has_a_reservation_like_any_other() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    site.now += 10;
    let mut word = site.word(Said::Changed, HOUR, 3 * HOUR);
    word.user = Some(UserId::new("nils"));
    let facts = site.decide("one", &Command::Said(Box::new(word)));
    assert!(names(&facts).contains(&"OwnerChanged"));
    assert_eq!(alarms(site.ledger.resource(&node("one")).unwrap()), []);
    site.now = HOUR - 60;
    let said = Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    };
    let mut start = site.word(said, HOUR, 3 * HOUR);
    start.user = Some(UserId::new("nils"));
    site.decide("one", &Command::Said(Box::new(start)));
    site.prepared("one");
    let one = site.ledger.resource(&node("one")).unwrap();
    let holding = one.holding().unwrap();
    assert_eq!(holding.key, TenantKey::InDelivery);
    assert_eq!(alarms(one), []);
}

#[test]
fn a_new_owner_never_gets_a_host_with_the_former_owner_s_key() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    site.said("one", start(terms()), HOUR, 3 * HOUR);
    let nils = |word: Word| Word {
        user: Some(UserId::new("nils")),
        ..word
    };
    site.now += 10;
    let changed = nils(site.word(Said::Changed, HOUR, 3 * HOUR));
    let facts = site.decide("one", &Command::Said(Box::new(changed)));
    assert!(matches!(
        facts.last(),
        Some(Fact::ReservationWaits {
            reason: WaitReason::Key { .. },
            ..
        })
    ));
    assert_eq!(
        desired(site.ledger.resource(&node("one")).unwrap()),
        Desired::Wait
    );
    site.now += 10;
    let again = nils(site.word(start(terms()), HOUR, 3 * HOUR));
    assert!(names(&site.decide("one", &Command::Said(Box::new(again)))).contains(&"KeyBrought"));

    let mut site = Site::ready();
    let word = Box::new(nils(site.word(Said::Changed, HOUR, 3 * HOUR)));
    let former = Some(UserId::new("mara"));
    let facts = site.decide(
        "two",
        &Command::MovedIn {
            word,
            from: node("one"),
            started: Some(accepted()),
            former,
        },
    );
    assert!(names(&facts).contains(&"OwnerWithdrawn"));
    assert_eq!(
        desired(site.ledger.resource(&node("two")).unwrap()),
        Desired::Wait
    );
}

/// A start by mara with her key, then a change that gives the booking to nils.
fn given_to_nils_while_it_waits() -> (Site, Word) {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let said = Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    };
    let start = site.word(said, HOUR, 3 * HOUR);
    site.decide("one", &Command::Said(Box::new(start.clone())));
    site.now += 10;
    let mut changed = site.word(Said::Changed, HOUR, 3 * HOUR);
    changed.user = Some(UserId::new("nils"));
    site.decide("one", &Command::Said(Box::new(changed)));
    (site, start)
}

#[test]
fn a_start_that_comes_again_after_its_booking_was_given_to_another_brings_that_one_no_key() {
    let (mut site, start) = given_to_nils_while_it_waits();
    let facts = site.decide("one", &Command::Said(Box::new(start)));
    assert_eq!(names(&facts), [""; 0]);
    let one = site.ledger.resource(&node("one")).unwrap();
    assert_eq!(desired(one), Desired::Wait);
}

#[test]
fn a_start_that_is_older_than_the_change_of_its_owner_brings_the_new_one_no_key_either() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let said = Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    };
    let start = site.word(said, HOUR, 3 * HOUR);
    site.now += 10;
    let mut changed = site.word(Said::Changed, HOUR, 3 * HOUR);
    changed.user = Some(UserId::new("nils"));
    site.decide("one", &Command::Said(Box::new(changed)));
    let facts = site.decide("one", &Command::Said(Box::new(start)));
    assert_eq!(names(&facts), ["ReservationStarted", "ReservationWaits"]);
    let one = site.ledger.resource(&node("one")).unwrap();
    assert_eq!(one.reservations[&a()].user, Some(UserId::new("nils")));
    assert_eq!(desired(one), Desired::Wait);
}

#[test]
fn the_key_of_a_former_owner_does_not_come_along_when_a_host_is_given_back_and_another_got_later() {
    let mut site = Site::ready();
    let mut word = site.word(Said::Changed, 10 * HOUR, 12 * HOUR);
    word.user = Some(UserId::new("nils"));
    let facts = site.decide("one", &Command::Said(Box::new(word)));
    assert!(names(&facts).contains(&"OwnerChanged"));
    let one = site.ledger.resource(&node("one")).unwrap();
    let Phase::Postponed(waiting) = &one.reservations[&a()].phase else {
        panic!("{:?}", one.reservations[&a()].phase);
    };
    assert!(!waiting.can_claim());
}

#[test]
fn a_booking_that_is_moved_back_belongs_to_whom_it_was_given_meanwhile() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    for (from, to) in [("one", "two"), ("two", "one")] {
        site.now += 10;
        let mut word = site.word(Said::Changed, HOUR, 3 * HOUR);
        word.user = Some(UserId::new("nils"));
        let stands = site.ledger.resource(&node(from)).unwrap();
        let moved = Command::MovedIn {
            word: Box::new(word),
            from: node(from),
            started: None,
            former: stands.reservations[&a()].user.clone(),
        };
        site.decide(to, &moved);
        let out = Command::MovedOut {
            reservation: a(),
            to: node(to),
        };
        site.decide(from, &out);
    }
    let one = site.ledger.resource(&node("one")).unwrap();
    assert_eq!(one.reservations[&a()].user, Some(UserId::new("nils")));
}
