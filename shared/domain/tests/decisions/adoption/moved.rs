//! Adopted hosts whose bookings are changed.

use super::*;

#[test]
fn a_change_of_the_booking_behind_an_adopted_host_raises_no_alarm_about_its_start() {
    let mut story = adopted(None, None);
    story.said("a", Said::Changed);
    assert_eq!(story.wait_until(4 * HOUR), []);
    assert_eq!(alarms(&story.resource), []);
    let facts = story.said("a", Said::End);
    assert_eq!(names(&facts), ["ReservationEnded", "ReservationEnded"]);
}

#[test]
fn an_adopted_host_is_not_taken_back_though_its_reservation_is_known_elsewhere() {
    let node: ResourceId = "baremetalhost/metal3/node01".parse().unwrap();
    let elsewhere: ResourceId = "baremetalhost/metal3/node02".parse().unwrap();
    let mut ledger = Ledger::default();
    let mut story = unknown();
    let facts = story.said("a", Said::Announced);
    ledger.apply(&elsewhere, Version(1), at(0), None, &facts);
    let obstacle = ledger.obstacle_to_adoption(&node, &id("a")).unwrap();
    assert!(obstacle.contains("node02"), "{obstacle}");
    // An adoption that was decided all the same is in use: the sweep for strays leaves it alone.
    let facts = moving_over().ordered(adoption(Some(id("a")), Some(3 * HOUR)));
    ledger.apply(&node, Version(2), at(0), None, &facts);
    assert_eq!(ledger.strays(), []);
    // No end of it releases that host, so an operator is told.
    let alarm = ledger.alarms(&node).remove(0);
    assert_eq!(alarm.kind, AlarmKind::AdoptedHostLeft);
    assert!(alarm.text.contains("node02"), "{}", alarm.text);
    assert_eq!(ledger.alarms(&elsewhere), []);
}

#[test]
fn a_booking_that_got_another_owner_on_an_adopted_host_brings_no_key_of_the_former_one_anywhere() {
    let [here, there]: [ResourceId; 2] =
        ["node01", "node02"].map(|name| format!("baremetalhost/metal3/{name}").parse().unwrap());
    let mut story = waiting();
    story.resource = Resource::default();
    let mut ledger = Ledger::default();
    let mut version = 0;
    let mut recorded = |on: &ResourceId, facts: &[Fact]| {
        version += 1;
        ledger.apply(on, Version(version), at(0), None, facts);
        ledger.clone()
    };
    recorded(&here, &story.said("a", start()));
    recorded(&here, &story.ordered(adoption(Some(id("a")), None)));
    story.now += MINUTE;
    let mut given = story.word("a", Said::Changed, 3 * HOUR, None);
    given.user = Some(UserId::new("nils"));
    let facts = story.decide(&Command::Said(Box::new(given.clone())));
    assert!(names(&facts).contains(&"OwnerChanged"), "{facts:?}");
    recorded(&here, &facts);
    // Whatever whoever moves it knew of the start.
    let mut elsewhere = waiting();
    elsewhere.resource = Resource::default();
    given.resource_number = Some(32);
    let facts = elsewhere.decide(&Command::MovedIn {
        word: Box::new(given),
        from: here.clone(),
        started: Some(AcceptedStart {
            terms: terms(),
            key: TenantKey::InDelivery,
            delivery: delivery(),
            host_stays: true,
        }),
        former: None,
    });
    let ledger = recorded(&there, &facts);
    let moved = &ledger.resource(&there).unwrap().reservations[&id("a")];
    let Phase::Waiting(waiting) = &moved.phase else {
        panic!("{:?}", moved.phase);
    };
    assert!(!waiting.can_claim(), "{:?}", waiting.key);
}

#[test]
fn a_move_says_whether_the_host_before_stays() {
    let [here, there]: [ResourceId; 2] =
        ["node01", "node02"].map(|name| format!("baremetalhost/metal3/{name}").parse().unwrap());
    for (mut story, stays) in [
        (adopted(Some(id("a")), Some(3 * HOUR)), true),
        (ready(), false),
    ] {
        story.now += MINUTE;
        let mut word = story.word("a", Said::Changed, 3 * HOUR, None);
        word.resource_number = Some(32);
        let started = moved_by(&word, &there, &here, &story.resource);
        let started = started.flatten().unwrap();
        assert_eq!(started.host_stays, stays);
    }
}

#[test]
fn an_adopted_host_is_not_taken_back_though_its_booking_is_said_to_start_later() {
    let mut story = adopted(Some(id("a")), Some(3 * HOUR));
    story.now += MINUTE;
    let mut word = story.word("a", Said::Announced, 6 * HOUR, None);
    word.knowledge.schedule.start = at(5 * HOUR);
    let facts = story.decide(&Command::Said(Box::new(word)));
    assert_eq!(names(&facts), ["ReservationChanged"]);
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
}
