//! Bookings that are moved to what is not served.

use bellhop_domain::reservation::Binding;

use super::*;

#[test]
fn a_booking_that_is_moved_to_what_is_not_served_gives_its_host_back_and_is_over() {
    let mut site = Site::ready();
    let stale = site.of_unserved(Said::Changed, 32);
    site.now += 10;
    let renamed = site.of_unserved(Said::Changed, 31);
    assert_eq!(names(&site.decide("one", &renamed)), ["ReservationChanged"]);
    assert_eq!(site.decide("one", &stale), [], "it is older");
    site.now += 10;
    let moved = site.of_unserved(Said::Changed, 32);
    let facts = site.decide("one", &moved);
    let [Fact::ReservationEnded(ended)] = &facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!(
        (ended.cause, ended.outcome, ended.resource_number),
        (EndCause::MovedAway, EndOutcome::Completed, Some(32))
    );
    let one = site.ledger.resource(&node("one")).unwrap();
    assert!(matches!(desired(one), Desired::Release(_)));
    assert_eq!(one.bound_to.as_ref().and_then(Binding::number), Some(31));
    // What happens to it there is no business of ours.
    site.now += 10;
    let Command::SaidOfUnserved(mut word) = site.of_unserved(Said::Changed, 32) else {
        unreachable!("it was made so");
    };
    word.knowledge.schedule.end = at(5 * HOUR);
    assert_eq!(site.decide("one", &Command::SaidOfUnserved(word)), []);
}

#[test]
fn an_adopted_host_whose_booking_is_moved_to_what_is_not_served_stays_and_an_operator_is_asked() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    let adopted = Fact::HostAdopted(Box::new(Adopted {
        reservation: a(),
        host: host(),
        secret: "node01-userdata".into(),
        terms: terms(),
        until: Some(at(3 * HOUR)),
        site: None,
        delivery: accepted().delivery,
        note: Note {
            by: "ops".into(),
            why: "moving over".into(),
            at: None,
        },
    }));
    site.recorded("one", adopted);
    site.now += 10;
    let moved = site.of_unserved(Said::Changed, 32);
    assert_eq!(names(&site.decide("one", &moved)), ["ReservationChanged"]);
    assert_eq!(site.phase("one"), Phase::Holding);
    let kinds = |site: &Site| -> Vec<AlarmKind> {
        let alarms = alarms(site.ledger.resource(&node("one")).unwrap());
        alarms.iter().map(|alarm| alarm.kind).collect()
    };
    assert_eq!(kinds(&site), [AlarmKind::AdoptedHostLeft]);
    site.now += 10;
    let back = site.of_unserved(Said::Changed, 31);
    site.decide("one", &back);
    assert_eq!(kinds(&site), []);
    site.now += 10;
    let ended = site.of_unserved(Said::End, 32);
    assert_eq!(names(&site.decide("one", &ended)), ["ReservationEnded"]);
}

#[test]
fn a_booking_that_is_moved_to_what_is_not_served_before_its_start_goes_on_until_that_comes() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    site.now += 10;
    let moved = site.of_unserved(Said::Changed, 32);
    assert_eq!(names(&site.decide("one", &moved)), ["ReservationChanged"]);
    site.now = HOUR - 60;
    let start = site.of_unserved(
        Said::UnservableStart {
            key: TenantKey::InDelivery,
            reason: FailureReason::NotServed {
                text: "its type".into(),
            },
        },
        32,
    );
    assert!(names(&site.decide("one", &start)).contains(&"ReservationFailed"));
}

#[test]
fn a_booking_that_was_moved_to_what_is_not_served_and_comes_back_is_answered() {
    let mut site = Site::ready();
    site.now += 10;
    let moved = site.of_unserved(Said::Changed, 32);
    site.decide("one", &moved);
    site.now += 10;
    assert_eq!(
        names(&site.said("one", Said::Changed, HOUR, 3 * HOUR)),
        ["ChangeCameTooLate", "WordHeard"]
    );
}
