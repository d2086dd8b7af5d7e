//! Hosts that the service before Bellhop prepared: taken over as they are.

use bellhop_domain::reservation::{
    AcceptedStart, Adoption, Binding, HostSites, Note, OperatorWord, Order, Phase, Scope, moved_by,
};

use super::orders::{delivery, note};
use super::*;

fn adoption(reservation: Option<ReservationId>, until: Option<i64>) -> Order {
    Order::Adopt(Box::new(Adoption {
        reservation,
        until: until.map(at),
        host: host(),
        secret: "lab7-node04-userdata".to_owned(),
        terms: terms(),
        site: None,
        delivery: delivery(),
    }))
}

fn site(name: &str) -> SiteId {
    SiteId::new(name)
}

/// Adopts the host of `story` as one of this site.
fn adopt_of_site(story: &mut Story, name: &str) -> Vec<Fact> {
    let Order::Adopt(mut adoption) = adoption(None, None) else {
        panic!("not an adoption")
    };
    adoption.site = Some(site(name));
    story.ordered(Order::Adopt(adoption))
}

/// What `site_id` and `resourceId` say of the resource.
fn of_site(mut word: Word, name: &str, number: i64) -> Word {
    word.site = Some(site(name));
    word.resource_number = Some(number);
    word
}

/// In the middle of A's time, of which nothing is known.
fn moving_over() -> Story {
    Story {
        now: 2 * HOUR,
        ..Story::new()
    }
}

fn adopted(reservation: Option<ReservationId>, until: Option<i64>) -> Story {
    let mut story = moving_over();
    let facts = story.ordered(adoption(reservation, until));
    assert_eq!(names(&facts), ["HostAdopted"]);
    assert!(matches!(desired(&story.resource), Desired::Adopt(_)));
    assert_eq!(names(&story.observed(provisioned())), ["HostClaimed"]);
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
    story
}

#[test]
fn a_host_that_was_adopted_for_a_reservation_is_released_at_its_end() {
    let mut story = adopted(Some(id("a")), Some(3 * HOUR));
    let ended = story.said("a", Said::End);
    assert_eq!(end(&ended), Some((EndCause::End, EndOutcome::Completed)));
    let Desired::Release(release) = desired(&story.resource) else {
        panic!("{:?}", story.resource)
    };
    assert!(release.adopted && release.claimed);
}

#[test]
fn an_adoption_that_the_api_server_refuses_is_recorded_once_and_alarmed_until_it_is_there() {
    let mut story = moving_over();
    story.ordered(adoption(Some(id("a")), Some(3 * HOUR)));
    let refused = |text: &str| Observation::AdoptionRefused {
        text: text.to_owned(),
    };
    let facts = story.observed(refused("frozen"));
    assert_eq!(names(&facts), ["AdoptionRefused"]);
    assert_eq!(story.observed(refused("frozen still")), []);
    assert!(matches!(desired(&story.resource), Desired::Adopt(_)));
    let alarm = alarms(&story.resource).remove(0);
    assert_eq!(alarm.kind, AlarmKind::AdoptionRefused);
    assert!(alarm.text.contains("frozen"), "{}", alarm.text);
    assert_eq!(names(&story.observed(provisioned())), ["HostClaimed"]);
    assert_eq!(alarms(&story.resource), []);
    assert_eq!(story.observed(refused("late")), []);
}

#[test]
fn a_host_that_was_adopted_for_a_reservation_has_the_deadline_that_the_operator_named() {
    let mut story = adopted(Some(id("a")), Some(3 * HOUR));
    let passed = story.wait_until(3 * HOUR + 11 * MINUTE);
    assert_eq!(names(&passed), ["DeadlinePassed"]);
}

#[test]
fn a_host_of_which_nobody_knows_whose_it_is_is_held_until_an_end_that_encloses_its_adoption() {
    let mut story = adopted(None, None);
    assert_eq!(
        next_due(&story.resource, &story.policy, at(story.up_since)),
        None
    );
    // B's time does not enclose it.
    story.said("b", Said::End);
    assert!(story.resource.holding().is_some());
    story.now = 3 * HOUR;
    let facts = story.said("a", Said::End);
    assert_eq!(names(&facts), ["ReservationEnded", "ReservationEnded"]);
    assert_eq!(end(&facts), Some((EndCause::End, EndOutcome::Completed)));
    assert_eq!(facts[0].reservation(), Some(&id("a")));
    assert!(matches!(desired(&story.resource), Desired::Release(_)));
}

/// The kinds of the alarms that are on.
fn alarmed(story: &Story) -> Vec<AlarmKind> {
    alarms(&story.resource)
        .into_iter()
        .map(|alarm| alarm.kind)
        .collect()
}

/// An end of A by a webhook that brings the words of several sites.
fn end_of_one_of_several_sites(story: &mut Story, name: &str, number: i64) -> Vec<Fact> {
    let mut word = of_site(story.word("a", Said::End, 3 * HOUR, None), name, number);
    word.only_site = false;
    story.decide(&Command::Said(Box::new(word)))
}

#[test]
fn an_end_of_another_site_s_host_of_that_name_does_not_release_an_adopted_host() {
    let mut story = moving_over();
    adopt_of_site(&mut story, "site-1");
    story.observed(provisioned());
    let facts = end_of_one_of_several_sites(&mut story, "site-2", 77);
    assert_eq!(end(&facts), Some((EndCause::End, EndOutcome::Cancelled)));
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
    // It is none of this host's, and nobody need look.
    assert_eq!(alarmed(&story), []);
}

#[test]
fn an_end_of_its_own_site_releases_an_adopted_host_though_several_sites_send() {
    let mut story = moving_over();
    adopt_of_site(&mut story, "site-1");
    story.observed(provisioned());
    let facts = end_of_one_of_several_sites(&mut story, "site-1", 31);
    assert_eq!(names(&facts), ["ReservationEnded", "ReservationEnded"]);
    assert!(matches!(desired(&story.resource), Desired::Release(_)));
}

#[test]
fn an_end_that_may_be_another_site_s_holds_an_adopted_host_and_asks_an_operator() {
    let mut story = adopted(None, None);
    let facts = end_of_one_of_several_sites(&mut story, "site-2", 77);
    assert_eq!(end(&facts), Some((EndCause::End, EndOutcome::Cancelled)));
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
    assert_eq!(alarmed(&story), [AlarmKind::UnknownReservation]);
    let text = alarms(&story.resource).remove(0).text;
    assert!(text.contains("reservation-system:a"), "{text}");
}

#[test]
fn an_end_that_names_another_number_than_its_host_is_bound_to_holds_it_and_asks() {
    // Somebody had it by Bellhop, it was handed back, and the service before gave it to somebody again.
    let mut story = released();
    assert!(story.resource.bound_to.is_some());
    story.now = 5 * HOUR;
    story.ordered(adoption(None, None));
    story.observed(provisioned());
    let mut word = story.word("b", Said::End, 6 * HOUR, None);
    word.resource_number = Some(77);
    story.decide(&Command::Said(Box::new(word)));
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
    assert_eq!(alarmed(&story), [AlarmKind::UnknownReservation]);
}

#[test]
fn where_two_numbers_have_the_name_of_an_adopted_host_an_end_of_one_holds_it_and_asks() {
    let mut story = adopted(None, None);
    let mut word = story.word("b", Said::Announced, 6 * HOUR, None);
    word.resource_number = Some(77);
    story.decide(&Command::Said(Box::new(word)));
    story.said("a", Said::End);
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
    assert_eq!(alarmed(&story), [AlarmKind::UnknownReservation]);
}

#[test]
fn an_adopted_host_whose_end_is_lost_is_held_and_alarmed_when_another_start_waits_for_it() {
    let mut story = adopted(None, None);
    story.said("b", Said::Announced);
    assert_eq!(alarmed(&story), []);
    story.now = 4 * HOUR - 5 * MINUTE;
    story.said("b", start());
    assert_eq!(alarmed(&story), [AlarmKind::UnknownReservation]);
    let text = alarms(&story.resource).remove(0).text;
    assert!(text.contains("reservation-system:b"), "{text}");
    // It is on until an end or an operator releases the host, which nothing else does.
    story.wait_until(7 * HOUR);
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
    assert_eq!(alarmed(&story), [AlarmKind::UnknownReservation]);
    story.said("a", Said::End);
    assert_eq!(alarmed(&story), []);
}

#[test]
fn an_adopted_host_whose_end_is_lost_is_alarmed_when_the_start_of_a_later_booking_should_have_come()
{
    let mut story = adopted(None, None);
    story.said("b", Said::Announced);
    // One that is deleted before it begins proves nothing.
    let mut deleted = story.clone();
    deleted.said("b", Said::Deleted);
    deleted.wait_until(5 * HOUR);
    assert_eq!(alarmed(&deleted), []);
    story.wait_until(4 * HOUR + 3 * MINUTE);
    assert!(alarmed(&story).contains(&AlarmKind::UnknownReservation));
}

#[test]
fn a_host_that_was_adopted_for_a_reservation_without_a_known_end_is_alarmed_too_and_one_with_an_end_is_not()
 {
    for (until, expected) in [
        (None, vec![AlarmKind::UnknownReservation]),
        (Some(5 * HOUR), vec![]),
    ] {
        let mut story = adopted(Some(id("a")), until);
        story.now = 4 * HOUR - 5 * MINUTE;
        story.said("b", start());
        assert_eq!(alarmed(&story), expected);
    }
}

/// The reservation that a host of the service before may have its image from.
fn left(story: &Story) -> Option<&ReservationId> {
    let ended = story.resource.ended_with_the_service_before();
    ended.map(|(reservation, _)| reservation)
}

#[test]
fn a_host_that_was_not_adopted_may_be_left_once_an_end_or_deletion_of_a_running_reservation_came() {
    for said in [Said::End, Said::Deleted] {
        let mut story = moving_over();
        assert_eq!(left(&story), None);
        story.said("a", said);
        assert_eq!(left(&story), Some(&id("a")));
        // What is booked later is no sign that the host is used again, before it begins.
        story.said("b", Said::Announced);
        assert_eq!(left(&story), Some(&id("a")));
        story.now = 4 * HOUR - 5 * MINUTE;
        story.said("b", start());
        assert_eq!(left(&story), None);
    }
}

#[test]
fn a_host_that_was_not_adopted_may_be_left_by_one_whose_start_reached_us_and_found_it_in_use() {
    for ended_by_us_first in [false, true] {
        let mut story = waiting();
        story.observed(not_clean());
        if ended_by_us_first {
            let facts = story.wait_until(3 * HOUR);
            assert_eq!(names(&facts), ["ReservationFailed"]);
        }
        assert_eq!(left(&story), None);
        story.now = 3 * HOUR + MINUTE;
        story.said("a", Said::End);
        let known = &story.resource.reservations[&id("a")];
        assert_eq!(known.outcome(), Some(Outcome::Failed));
        assert_eq!(left(&story), Some(&id("a")));
        assert_eq!(desired(&story.resource), Desired::Nothing);
    }
}

#[test]
fn a_host_that_was_prepared_here_and_failed_is_not_left_by_the_service_before() {
    let mut story = preparing();
    story.observed(Observation::HostGone);
    story.observed(Observation::Released {
        left: HostLeft::Gone,
        not_wiped: false,
    });
    story.now = 3 * HOUR;
    assert_eq!(names(&story.said("a", Said::End)), ["WordHeard"]);
    assert_eq!(left(&story), None);
}

#[test]
fn a_deletion_of_what_has_not_begun_or_is_long_over_tells_nothing_of_a_host_that_was_not_adopted() {
    for now in [HOUR - MINUTE, 5 * HOUR] {
        let mut story = Story {
            now,
            ..Story::new()
        };
        story.said("a", Said::Deleted);
        assert_eq!(left(&story), None);
    }
    // One booking runs with the service before, and a later one is deleted.
    let mut story = moving_over();
    story.said("a", Said::Announced);
    story.said("b", Said::Deleted);
    assert_eq!(left(&story), None);
}

#[test]
fn what_we_gave_and_took_back_tells_nothing_of_a_host_that_the_service_before_prepared_again() {
    assert_eq!(left(&released()), None);
    // It ended while we prepared.
    let mut story = preparing();
    story.now = 2 * HOUR;
    story.said("a", Said::End);
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    assert_eq!(left(&story), None);
    // It was adopted.
    let mut story = adopted(None, None);
    story.said("a", Said::End);
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    assert_eq!(left(&story), None);
}

#[test]
fn an_end_from_before_a_hand_back_tells_nothing_of_the_host_after_it() {
    let mut story = moving_over();
    story.said("a", Said::End);
    let word = OperatorWord {
        order: Order::HandBack,
        note: Note {
            at: Some(at(3 * HOUR)),
            ..note()
        },
    };
    assert_eq!(
        names(&story.decide(&Command::Ordered(Box::new(word)))),
        ["HandBackOrdered"]
    );
    assert_eq!(left(&story), None);
}

#[test]
fn a_deletion_that_encloses_an_adoption_releases_too() {
    let mut story = adopted(None, None);
    let facts = story.said("a", Said::Deleted);
    assert_eq!(
        end(&facts),
        Some((EndCause::Deleted, EndOutcome::Completed))
    );
    assert!(matches!(desired(&story.resource), Desired::Release(_)));
}

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
fn a_host_that_somebody_has_is_not_adopted_nor_one_for_a_reservation_that_is_over() {
    let mut story = ready();
    assert_eq!(story.ordered(adoption(None, None)), []);
    let mut story = released();
    assert_eq!(story.ordered(adoption(Some(id("a")), Some(8 * HOUR))), []);
}

#[test]
fn who_starts_while_an_adopted_host_is_held_waits_and_is_given_it_clean() {
    let mut story = adopted(None, None);
    let facts = story.said("b", start());
    assert_eq!(names(&facts), ["ReservationStarted", "ReservationWaits"]);
    story.said("a", Said::End);
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    let facts = story.observed(clean());
    assert_eq!(facts[0].reservation(), Some(&id("b")));
}

#[test]
fn a_free_host_that_is_handed_back_is_switched_on_once() {
    let mut story = released();
    story.ordered(Order::HandBack);
    assert_eq!(desired(&story.resource), Desired::SwitchOn);
    let on = || Observation::SwitchedOn { host: host() };
    assert_eq!(names(&story.observed(on())), ["HostHandedBack"]);
    assert_eq!(desired(&story.resource), Desired::Nothing);
    // Who starts meanwhile goes first, and the host is not handed back afterwards.
    story.ordered(Order::HandBack);
    story.said("b", start());
    assert!(matches!(desired(&story.resource), Desired::Offer { .. }));
    story.observed(clean());
    assert_eq!(story.resource.orders.handed_back, None);
}

#[test]
fn what_was_said_before_an_adoption_is_of_somebody_who_had_the_host_before() {
    let mut story = adopted(None, None);
    let mut word = story.word("a", Said::Deleted, 3 * HOUR, None);
    word.knowledge.said_at = at(HOUR + 30 * MINUTE);
    story.decide(&Command::Said(Box::new(word)));
    assert!(story.resource.holding().is_some());
}

#[test]
fn a_start_that_reached_both_services_waits_for_its_end_which_releases_the_adopted_host() {
    let mut story = adopted(None, None);
    let facts = story.said("a", start());
    assert_eq!(names(&facts), ["ReservationStarted", "ReservationWaits"]);
    // The sender tells of an end up to a minute after it.
    assert_eq!(story.wait_until(3 * HOUR + 40), []);
    let facts = story.said("a", Said::End);
    assert_eq!(names(&facts), ["ReservationEnded", "ReservationEnded"]);
    assert_eq!(end(&facts), Some((EndCause::End, EndOutcome::Completed)));
    assert!(matches!(desired(&story.resource), Desired::Release(_)));
}

#[test]
fn a_host_that_was_adopted_and_given_back_may_be_adopted_again() {
    let mut story = adopted(None, None);
    story.said("a", Said::End);
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    let Order::Adopt(mut again) = adoption(None, None) else {
        panic!()
    };
    again.delivery.sequence += 1;
    let facts = story.ordered(Order::Adopt(again));
    assert_eq!(names(&facts), ["HostAdopted"]);
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

#[test]
fn an_end_that_is_older_than_a_known_extension_does_not_release_an_adopted_host() {
    let mut story = adopted(None, None);
    let end = story.word("a", Said::End, 3 * HOUR, None);
    story.now += MINUTE;
    let extended = story.word("a", Said::Changed, 5 * HOUR, None);
    story.decide(&Command::Said(Box::new(extended)));
    let facts = story.decide(&Command::Said(Box::new(end)));
    assert_eq!(names(&facts), ["WordHeard"]);
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
}

/// Whether a pause of this site covers the resource with these facts.
fn is_paused_with(facts: &[Fact], paused: &str) -> bool {
    let node: ResourceId = "baremetalhost/metal3/node01".parse().unwrap();
    let mut ledger = Ledger::default();
    ledger.apply(&node, Version(1), at(2 * HOUR), None, facts);
    let pause = [Fact::DrivingPaused { note: note() }];
    let scope = Scope::Site(site(paused)).resource();
    ledger.apply(&scope, Version(2), at(2 * HOUR), None, &pause);
    ledger.paused(&node).is_some()
}

#[test]
fn a_pause_of_any_site_covers_an_adopted_host_of_which_no_site_is_known() {
    let facts = moving_over().ordered(adoption(None, None));
    assert!(is_paused_with(&facts, "site-1") && is_paused_with(&facts, "site-2"));
}

#[test]
fn a_pause_of_its_site_covers_an_adopted_host_and_one_of_another_site_does_not() {
    let facts = adopt_of_site(&mut moving_over(), "site-1");
    assert!(is_paused_with(&facts, "site-1") && !is_paused_with(&facts, "site-2"));
}

#[test]
fn a_pause_of_a_site_covers_what_it_may_be_meant_for_until_the_host_is_clean() {
    // Its end brings its site to light, and its host is not clean yet.
    let mut story = adopted(None, None);
    let ended = story.word("a", Said::End, 3 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(ended, "site-1", 31))));
    let these = HostSites::These([site("site-1")].into());
    assert_eq!(story.resource.host_sites(), these);
    // Free, as when it is handed back: what is known from before.
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    assert_eq!(story.resource.host_sites(), these);
    // Somebody who waits may be of another site.
    let start = story.word("b", start(), 8 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(start, "site-2", 77))));
    assert_eq!(
        story.resource.host_sites(),
        HostSites::These([site("site-1"), site("site-2")].into())
    );
    // Of a host of which nothing at all was said, nobody knows.
    assert_eq!(Resource::default().host_sites(), HostSites::Any);
}

#[test]
fn an_adopted_host_is_bound_to_the_resource_that_its_reservation_or_its_end_names() {
    let bound = Binding::new(Some(site("site-1")), Some(31));
    // Its reservation was announced to us before.
    let mut story = moving_over();
    let word = story.word("a", Said::Announced, 3 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(word, "site-1", 31))));
    let facts = story.ordered(adoption(Some(id("a")), Some(3 * HOUR)));
    assert_eq!(names(&facts), ["HostAdopted"]);
    assert_eq!(story.resource.bound_to, bound);
    // Nobody knew whose it is before its end.
    let mut story = adopted(None, None);
    assert_eq!(story.resource.bound_to, None);
    let word = story.word("a", Said::End, 3 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(word, "site-1", 31))));
    assert_eq!(story.resource.bound_to, bound);
    // So one of another site's resource of that name waits for an operator.
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    let word = story.word("b", start(), 8 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(word, "site-2", 31))));
    assert_eq!(names(&story.observed(clean())), ["ReservationWaits"]);
}

/// What a start of `reservation` for `resource`, of which it tells so much, leads to once its host is clean.
fn given_to(story: &mut Story, reservation: &str, of: (Option<&str>, Option<i64>)) -> Vec<Fact> {
    let mut word = story.word("b", start(), Story::hours("b").1, None);
    word.reservation = id(reservation);
    (word.site, word.resource_number) = (of.0.map(site), of.1);
    story.decide(&Command::Said(Box::new(word)));
    let facts = story.observed(clean());
    if names(&facts) == ["HostAssigned"] {
        story.ordered(Order::Release {
            reservation: id(reservation),
        });
        story.observed(Observation::Released {
            left: HostLeft::Off,
            not_wiped: false,
        });
    }
    facts
}

#[test]
fn a_host_that_was_adopted_with_its_site_alone_is_bound_to_that_and_to_what_comes_to_light_later() {
    let mut story = moving_over();
    adopt_of_site(&mut story, "site-1");
    assert_eq!(
        story.resource.bound_to,
        Binding::new(Some(site("site-1")), None)
    );
    story.observed(provisioned());
    let holder = story.resource.holding().unwrap().reservation.clone();
    story.ordered(Order::Release {
        reservation: holder,
    });
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    // One of another site waits for an operator, whether or not its number is told.
    for (other, number) in [("b", Some(31)), ("c", None)] {
        let mut story = story.clone();
        let facts = given_to(&mut story, other, (Some("site-2"), number));
        assert!(
            matches!(&facts[..], [Fact::ReservationWaits { reason: WaitReason::Operator { text }, .. }] if text.contains("site-1") && text.contains("site-2")),
            "{facts:?}"
        );
    }
    assert_eq!(
        names(&given_to(&mut story, "b", (Some("site-1"), Some(31)))),
        ["HostAssigned"]
    );
    // What a later one does not tell is known all the same.
    for of in [(None, Some(31)), (Some("site-1"), None)] {
        let mut story = story.clone();
        assert_eq!(names(&given_to(&mut story, "c", of)), ["HostAssigned"]);
        assert_eq!(
            story.resource.bound_to,
            Binding::new(Some(site("site-1")), Some(31))
        );
        let facts = given_to(&mut story, "d", (Some("site-1"), Some(77)));
        assert_eq!(names(&facts), ["ReservationWaits"]);
    }
}

#[test]
fn where_two_numbers_have_the_name_of_a_host_whose_site_alone_is_known_an_end_of_one_holds_it() {
    let mut story = moving_over();
    adopt_of_site(&mut story, "site-1");
    story.observed(provisioned());
    let word = story.word("b", Said::Announced, 6 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(word, "site-1", 77))));
    let word = story.word("a", Said::End, 3 * HOUR, None);
    story.decide(&Command::Said(Box::new(of_site(word, "site-1", 31))));
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
}

#[test]
fn what_an_operator_says_of_a_host_s_site_makes_it_no_site_that_sends() {
    let node: ResourceId = "baremetalhost/metal3/node01".parse().unwrap();
    let facts = adopt_of_site(&mut moving_over(), "site-1");
    let mut ledger = Ledger::default();
    ledger.apply(&node, Version(1), at(2 * HOUR), None, &facts);
    assert_eq!(ledger.sites().len(), 0);
}

#[test]
fn a_site_is_the_only_one_until_anything_is_said_of_another() {
    let node: ResourceId = "baremetalhost/metal3/node01".parse().unwrap();
    let mut ledger = Ledger::default();
    let mut story = unknown();
    for (version, (event, name, is_only)) in [("a", "site-1", true), ("b", "site-2", false)]
        .into_iter()
        .enumerate()
    {
        let word = story.word(event, Said::Announced, 8 * HOUR, None);
        let facts = story.decide(&Command::Said(Box::new(of_site(word, name, 31))));
        let version = Version(version as u64 + 1);
        ledger.apply(&node, version, at(0), None, &facts);
        assert_eq!(ledger.is_only_site(Some(&site("site-1"))), is_only);
        assert_eq!(ledger.is_only_site(None), is_only);
    }
    assert!(!ledger.is_only_site(Some(&site("site-2"))));
}
