//! Hosts that the service before Bellhop prepared: taken over as they are.

mod left;
mod moved;
mod sites;

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
