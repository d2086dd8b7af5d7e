//! Servers of the same name of two sites.

use super::*;

#[test]
fn a_booking_of_another_site_s_server_of_the_same_name_does_not_prove_that_the_holder_is_over() {
    let mut story = Story::default();
    story.said("a", start());
    story.observed(clean());
    story.observed(ready());
    story.said("b2", Said::Announced);
    story.now = 4 * HOUR;
    let passed = Command::TimePassed {
        up_since: at(0),
        may_release: true,
        clock_is_right: true,
    };
    let facts = story.decide(&node01("metal3"), &passed);
    assert!(!names(&facts).contains(&"ReservationEnded"), "{facts:?}");
    // One of the same server does.
    story.said("a2", Said::Announced);
    let facts = story.decide(&node01("metal3"), &passed);
    assert!(names(&facts).contains(&"ReservationEnded"), "{facts:?}");
    let released = Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    };
    assert_eq!(names(&story.observed(released)), ["HostReleased"]);
}

/// A's server is ready, and a booking of B's site, of a server of that name, is told of without that one's number.
fn with_another_site_s_booking_without_a_number(said: Said) -> Story {
    let mut story = Story {
        named: true,
        ..Story::default()
    };
    story.said("a", start());
    story.observed(clean());
    story.observed(ready());
    let word = Word {
        resource_number: None,
        ..story.word("b2", said)
    };
    story.decide(&node01("metal3"), &Command::Said(Box::new(word)));
    story
}

#[test]
fn a_booking_of_another_site_that_names_no_number_does_not_prove_that_the_holder_is_over() {
    let mut story = with_another_site_s_booking_without_a_number(Said::Announced);
    story.now = 4 * HOUR;
    let passed = Command::TimePassed {
        up_since: at(0),
        may_release: true,
        clock_is_right: true,
    };
    let facts = story.decide(&node01("metal3"), &passed);
    assert!(!names(&facts).contains(&"ReservationEnded"), "{facts:?}");
}

#[test]
fn a_start_of_another_site_that_names_no_number_waits_for_an_operator_too() {
    let mut story = with_another_site_s_booking_without_a_number(start());
    story.said("a", Said::End);
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    let facts = story.observed(clean());
    assert!(
        matches!(
            facts.as_slice(),
            [Fact::ReservationWaits { reason: WaitReason::Operator { text }, .. }]
                if text.contains("one of site site-b")
        ),
        "{facts:?}"
    );
}
