//! Bookings that are moved to another resource.

use super::*;

#[test]
fn a_booking_that_is_moved_waits_on_the_new_resource_with_the_key_of_its_start_and_is_released_on_the_old()
 {
    let mut site = Site::ready();
    assert_eq!(
        names(&site.move_in("two", "one", Some(accepted()))),
        ["ReservationMovedIn"]
    );
    assert_eq!(site.ledger.place_of(&a()), Some(&node("two")));
    let two = site.ledger.resource(&node("two")).unwrap();
    assert!(matches!(desired(two), Desired::Offer { next } if *next == a()));
    assert!(
        matches!(site.phase("two"), Phase::Waiting(waiting) if waiting.delivery == accepted().delivery)
    );

    let out = Command::MovedOut {
        reservation: a(),
        to: node("two"),
    };
    assert_eq!(names(&site.decide("one", &out)), ["ReservationMovedOut"]);
    assert!(matches!(
        desired(site.ledger.resource(&node("one")).unwrap()),
        Desired::Release(_)
    ));
    assert_eq!(site.phase("one"), Phase::Moved);
}

#[test]
fn what_a_crash_in_the_middle_of_a_move_left_is_found() {
    let mut site = Site::ready();
    assert_eq!(site.ledger.strays(), []);
    site.move_in("two", "one", Some(accepted()));
    assert_eq!(site.ledger.strays(), [(node("one"), a(), node("two"))]);
    site.decide(
        "one",
        &Command::MovedOut {
            reservation: a(),
            to: node("two"),
        },
    );
    assert_eq!(site.ledger.strays(), []);
}

#[test]
fn a_reservation_that_ends_on_the_old_resource_during_a_move_is_over_on_the_new_one_too() {
    let mut site = Site::ready();
    site.move_in("two", "one", Some(accepted()));
    site.said("one", Said::End, HOUR, 3 * HOUR);
    assert_eq!(site.ledger.strays(), [(node("two"), a(), node("one"))]);
    let out = Command::MovedOut {
        reservation: a(),
        to: node("one"),
    };
    assert_eq!(names(&site.decide("two", &out)), ["ReservationMovedOut"]);
    assert_eq!(site.ledger.strays(), []);
}

#[test]
fn only_a_newer_word_moves_a_reservation_and_an_end_never_does() {
    let mut site = Site {
        now: HOUR - 120,
        ..Site::default()
    };
    let stale = site.word(Said::Changed, HOUR, 3 * HOUR);
    site.now += 30;
    let start = Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    };
    site.said("one", start, HOUR, 3 * HOUR);
    site.now += 30;
    let end = site.word(Said::End, HOUR, 3 * HOUR);
    let newer = site.word(Said::Changed, HOUR, 3 * HOUR);
    let one = site.ledger.resource(&node("one")).unwrap();
    let moved = |word: &Word, to: &str, number: Option<i64>| {
        let word = Word {
            resource_number: number,
            ..word.clone()
        };
        moved_by(&word, &node(to), &node("one"), one)
    };
    let started = Some(Some(accepted_by("d2", 2)));
    assert_eq!(moved(&stale, "two", Some(32)), None);
    assert_eq!(moved(&end, "two", Some(32)), None);
    assert_eq!(moved(&newer, "two", Some(32)), started);
    assert_eq!(moved(&newer, "two", None), started);
    // Renamed by an administrator, or mapped to another namespace by us: the same resource for the sender.
    assert_eq!(moved(&newer, "two", Some(31)), None);
    let elsewhere = ResourceId::new(ResourceKind::new("baremetalhost"), "other", "one");
    assert_eq!(moved_by(&newer, &elsewhere, &node("one"), one), None);
}

#[test]
fn of_two_moves_at_once_the_one_that_was_said_last_counts_whichever_is_stored_last() {
    let mut site = Site::ready();
    let older = Box::new(site.word(Said::Changed, HOUR, 3 * HOUR));
    site.now += 10;
    let newer = Box::new(site.word(Said::Changed, HOUR, 3 * HOUR));
    site.decide(
        "three",
        &Command::MovedIn {
            word: newer,
            from: node("one"),
            started: None,
            former: None,
        },
    );
    site.decide(
        "two",
        &Command::MovedIn {
            word: older,
            from: node("one"),
            started: None,
            former: None,
        },
    );
    assert_eq!(site.ledger.place_of(&a()), Some(&node("three")));
    let mut strays = site.ledger.strays();
    strays.sort();
    assert_eq!(
        strays,
        [
            (node("one"), a(), node("three")),
            (node("two"), a(), node("three"))
        ]
    );
}

#[test]
fn a_booking_that_is_moved_back_goes_on_where_it_was() {
    let mut site = Site::ready();
    site.move_in("two", "one", Some(accepted()));
    site.decide(
        "one",
        &Command::MovedOut {
            reservation: a(),
            to: node("two"),
        },
    );
    site.now += 60;
    let facts = site.move_in("one", "two", Some(accepted()));
    // Its own earlier host is being taken back there.
    assert!(matches!(
        &facts[..],
        [
            Fact::ReservationMovedIn(_),
            Fact::ReservationWaits {
                reason: WaitReason::Release { .. },
                ..
            }
        ]
    ));
    assert_eq!(site.ledger.place_of(&a()), Some(&node("one")));
}

#[test]
fn a_reservation_that_is_over_is_not_moved() {
    let mut site = Site::ready();
    site.said("one", Said::End, HOUR, 3 * HOUR);
    site.move_in("two", "one", None);
    let out = Command::MovedOut {
        reservation: a(),
        to: node("two"),
    };
    assert_eq!(site.decide("one", &out), []);
}

#[test]
fn a_booking_that_comes_back_extended_before_it_had_left_is_held_anew_from_its_new_end() {
    let mut site = Site::ready();
    let grace = i64::try_from(Policy::default().deadline_grace.as_secs()).unwrap();
    assert_eq!(
        names(&site.wait_until("one", 3 * HOUR + grace)),
        ["DeadlinePassed"]
    );
    let word = Box::new(site.word(Said::Changed, HOUR, 5 * HOUR));
    let back = Command::MovedIn {
        word,
        from: node("two"),
        started: Some(accepted()),
        former: None,
    };
    site.decide("one", &back);
    let one = site.ledger.resource(&node("one")).unwrap();
    assert_eq!(
        next_due(one, &Policy::default(), at(0)),
        Some(at(5 * HOUR + grace))
    );
}

/// A replica that has not heard of the start, which is accepted at that moment, moves the booking away.
#[test]
fn a_start_that_is_accepted_while_its_booking_is_moved_goes_along() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    site.now = HOUR - 60;
    let moved = site.word(Said::Changed, HOUR, 3 * HOUR);
    site.said("one", start(terms()), HOUR, 3 * HOUR);
    let moved = Command::MovedIn {
        word: Box::new(moved),
        from: node("one"),
        started: None,
        former: None,
    };
    site.decide("two", &moved);
    let out = Command::MovedOut {
        reservation: a(),
        to: node("two"),
    };
    site.decide("one", &out);
    assert_eq!(names(&site.wait_until("two", HOUR)), ["ReservationResumed"]);
    let Phase::Waiting(waiting) = site.phase("two") else {
        panic!("{:?}", site.phase("two"));
    };
    assert_eq!(
        (waiting.terms, waiting.key),
        (terms(), TenantKey::InDelivery)
    );
}

/// As above, but the start is accepted anew where the booking is, by a replica with another configuration.
#[test]
fn what_its_first_start_fixed_counts_wherever_its_booking_is_moved() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    site.move_in("two", "one", None);
    site.said("one", start(terms()), HOUR, 3 * HOUR);
    let mut other = terms();
    other.image.url = "http://images/other".into();
    assert_eq!(
        names(&site.said("two", start(other), HOUR, 3 * HOUR)),
        ["ReservationStarted"]
    );
    let Phase::Waiting(waiting) = site.phase("two") else {
        panic!("{:?}", site.phase("two"));
    };
    assert_eq!(waiting.terms, terms());
}

#[test]
fn a_key_that_is_brought_while_its_booking_is_moved_goes_along() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let keyless = Said::Start {
        key: TenantKey::Missing {
            reason: "none".into(),
        },
        terms: terms(),
    };
    site.said("one", keyless, HOUR, 3 * HOUR);
    let before = AcceptedStart {
        key: TenantKey::Missing {
            reason: "none".into(),
        },
        ..accepted()
    };
    let brought = Fact::KeyBrought {
        reservation: a(),
        delivery: accepted_by("key", 7).delivery,
        note: None,
    };
    site.recorded("one", brought);
    site.move_in("two", "one", Some(before));
    let Phase::Waiting(waiting) = site.phase("two") else {
        panic!("{:?}", site.phase("two"));
    };
    assert!(waiting.can_claim());
    assert_eq!(waiting.delivery, accepted_by("key", 7).delivery);
}

#[test]
fn an_operator_s_extension_goes_along_with_the_booking() {
    let mut site = Site::ready();
    let extended = Fact::DeadlineExtended {
        reservation: a(),
        until: at(9 * HOUR),
        note: Note {
            by: "ops".into(),
            why: "still at work".into(),
            at: None,
        },
    };
    site.recorded("one", extended);
    site.now += 10;
    site.move_in("two", "one", Some(accepted()));
    let two = site.ledger.resource(&node("two")).unwrap();
    assert_eq!(two.reservations[&a()].end(), Some(at(9 * HOUR)));
}

#[test]
fn a_booking_that_is_told_of_on_two_resources_at_once_stands_where_the_newer_saying_says() {
    for newer_first in [false, true] {
        let mut site = Site {
            now: HOUR - 600,
            ..Site::default()
        };
        let created = site.word(Said::Announced, HOUR, 3 * HOUR);
        site.now += 10;
        let updated = site.word(Said::Changed, HOUR, 3 * HOUR);
        let mut sayings = [("one", &created), ("two", &updated)];
        if newer_first {
            sayings.reverse();
        }
        // Both decided before either knew of the other.
        for (on, word) in sayings {
            site.decide(on, &Command::Said(Box::new(word.clone())));
        }
        let stands = site.ledger.place_of(&a()).cloned().unwrap();
        if stands == node("one") {
            let word = Box::new(updated.clone());
            site.decide(
                "two",
                &Command::MovedIn {
                    word,
                    from: stands,
                    started: None,
                    former: None,
                },
            );
        }
        assert_eq!(site.ledger.place_of(&a()), Some(&node("two")));
        assert_eq!(site.ledger.strays(), [(node("one"), a(), node("two"))]);
        site.decide(
            "one",
            &Command::MovedOut {
                reservation: a(),
                to: node("two"),
            },
        );
        let start = Said::Start {
            key: TenantKey::InDelivery,
            terms: terms(),
        };
        assert_eq!(
            names(&site.said("two", start, HOUR, 3 * HOUR)),
            ["ReservationStarted"]
        );
    }
}

#[test]
fn a_reservation_belongs_to_the_site_that_its_start_or_the_move_here_named() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let of = |site: &Site, on: &str| {
        let resource = site.ledger.resource(&node(on)).unwrap();
        resource.reservations[&a()].site.clone()
    };
    let announced = Word {
        site: None,
        ..site.word(Said::Announced, HOUR, 3 * HOUR)
    };
    site.decide("one", &Command::Said(Box::new(announced)));
    assert_eq!(of(&site, "one"), None);
    site.said("one", start(terms()), HOUR, 3 * HOUR);
    assert_eq!(of(&site, "one"), Some(SiteId::new("lab-7")));
    site.now += 10;
    let moved = Word {
        site: Some(SiteId::new("lab-8")),
        ..site.word(Said::Changed, HOUR, 3 * HOUR)
    };
    site.decide(
        "two",
        &Command::MovedIn {
            word: Box::new(moved),
            from: node("one"),
            started: Some(accepted()),
            former: None,
        },
    );
    assert_eq!(of(&site, "two"), Some(SiteId::new("lab-8")));
}
