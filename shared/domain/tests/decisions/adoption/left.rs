//! Hosts that were not adopted, and may have been left by an end that came here.

use super::*;

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
