//! Starts that are moved to another time.

use super::*;

#[test]
fn a_start_that_is_moved_to_later_gives_the_host_back_and_starts_again_by_itself() {
    let mut site = Site::ready();
    let facts = site.said("one", Said::Changed, 5 * HOUR, 7 * HOUR);
    assert_eq!(
        names(&facts),
        ["ReservationChanged", "ReservationPostponed"]
    );
    let one = site.ledger.resource(&node("one")).unwrap();
    assert!(matches!(desired(one), Desired::Release(_)));
    // As early as the sender's own starts come.
    assert_eq!(
        next_due(one, &Policy::default(), at(0)),
        Some(at(5 * HOUR - 300))
    );
    site.observed(
        "one",
        Observation::Released {
            left: bellhop_domain::reservation::HostLeft::Off,
            not_wiped: false,
        },
    );
    assert_eq!(
        desired(site.ledger.resource(&node("one")).unwrap()),
        Desired::Nothing
    );
    assert_eq!(
        names(&site.wait_until("one", 5 * HOUR - 300)),
        ["ReservationResumed"]
    );
    assert!(matches!(
        desired(site.ledger.resource(&node("one")).unwrap()),
        Desired::Offer { .. }
    ));
}

#[test]
fn a_start_that_is_moved_by_less_than_it_comes_early_changes_nothing_on_the_host() {
    let mut site = Site::ready();
    assert_eq!(
        names(&site.said("one", Said::Changed, HOUR + 200, 3 * HOUR)),
        ["ReservationChanged"]
    );
}

#[test]
fn a_postponed_reservation_that_ends_is_over_and_one_that_is_brought_forward_starts() {
    let mut site = Site::ready();
    site.said("one", Said::Changed, 5 * HOUR, 7 * HOUR);
    site.now += 60;
    site.said("one", Said::Changed, 2 * HOUR, 4 * HOUR);
    assert_eq!(
        names(&site.wait_until("one", 2 * HOUR - 300)),
        ["ReservationResumed", "ReservationWaits"]
    );
    site.said("one", Said::Changed, 5 * HOUR, 7 * HOUR);
    assert_eq!(
        names(&site.said("one", Said::Deleted, 5 * HOUR, 7 * HOUR)),
        ["ReservationEnded"]
    );
    assert_eq!(site.wait_until("one", 9 * HOUR), []);
}

#[test]
fn a_start_that_comes_after_its_booking_was_moved_to_later_waits_for_the_new_time() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let start = Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    };
    let early = site.word(start, HOUR, 3 * HOUR);
    site.now += 10;
    site.said("one", Said::Changed, 5 * HOUR, 7 * HOUR);
    let facts = site.decide("one", &Command::Said(Box::new(early)));
    assert_eq!(
        names(&facts),
        ["ReservationStarted", "ReservationPostponed"]
    );
}

#[test]
fn a_start_that_is_moved_to_later_when_it_was_overdue_is_watched_again() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    let grace = i64::try_from(Policy::default().start_grace.as_secs()).unwrap();
    assert_eq!(
        names(&site.wait_until("one", HOUR + grace)),
        ["StartOverdue"]
    );
    // Its end alone says nothing of its start.
    site.said("one", Said::Changed, HOUR, 4 * HOUR);
    assert!(!alarms(site.ledger.resource(&node("one")).unwrap()).is_empty());
    site.now += 60;
    site.said("one", Said::Changed, 5 * HOUR, 7 * HOUR);
    let one = site.ledger.resource(&node("one")).unwrap();
    assert_eq!(alarms(one), []);
    assert_eq!(
        next_due(one, &Policy::default(), at(0)),
        Some(at(5 * HOUR + grace))
    );
    assert_eq!(
        names(&site.wait_until("one", 5 * HOUR + grace)),
        ["StartOverdue"]
    );
}

#[test]
fn a_postponed_reservation_whose_whole_time_passed_while_nobody_was_there_has_failed() {
    let mut site = Site::ready();
    site.said("one", Said::Changed, 10 * HOUR, 12 * HOUR);
    site.now = 13 * HOUR;
    let command = Command::TimePassed {
        up_since: at(site.now),
        may_release: true,
        clock_is_right: true,
    };
    // What was said meanwhile may still be on its way.
    assert_eq!(site.decide("one", &command), []);
    site.now += 20;
    let facts = site.decide("one", &command);
    assert_eq!(names(&facts), ["ReservationFailed"]);
}

#[test]
fn a_start_that_is_said_again_after_its_booking_was_moved_to_later_and_back_starts_at_once() {
    let mut site = Site {
        now: HOUR / 2,
        ..Site::default()
    };
    site.said("one", start(terms()), HOUR, 3 * HOUR);
    site.now += 1;
    let facts = site.said("one", Said::Changed, 4 * HOUR, 6 * HOUR);
    assert_eq!(
        names(&facts),
        ["ReservationChanged", "ReservationPostponed"]
    );
    site.now += 1;
    let word = site.word(start(terms()), HOUR, 3 * HOUR);
    // One that is older than the change says nothing of it.
    let mut older = word.clone();
    older.knowledge.said_at = at(HOUR / 2 - 1);
    site.decide("one", &Command::Said(Box::new(older)));
    assert!(matches!(site.phase("one"), Phase::Postponed(_)));
    let facts = site.decide("one", &Command::Said(Box::new(word)));
    assert_eq!(names(&facts), ["ReservationChanged", "ReservationResumed"]);
    assert!(matches!(site.phase("one"), Phase::Waiting(_)));
}
