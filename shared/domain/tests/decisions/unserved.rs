//! Starts that nothing can be given to.

use super::*;

#[test]
fn a_start_that_nothing_can_be_given_to_fails_at_once_and_no_host_is_asked_for() {
    for (mut story, expected) in [
        (
            unknown(),
            ["ReservationAnnounced", "WordHeard", "ReservationFailed"],
        ),
        (
            announced(),
            ["ReservationChanged", "WordHeard", "ReservationFailed"],
        ),
    ] {
        story.now += 1;
        let facts = story.said("a", unservable());
        assert_eq!(names(&facts), expected);
        assert!(matches!(
            failure(&facts),
            Some(FailureReason::ImageNotOffered { .. })
        ));
        let known = &story.resource.reservations[&id("a")];
        assert_eq!(known.outcome(), Some(Outcome::Failed));
        // Whoever reports it knows whom to tell, and with which secret.
        assert!(known.user.is_some() && known.webhook.is_some());
        assert_eq!(desired(&story.resource), Desired::Nothing);
        assert_eq!(
            next_due(&story.resource, &story.policy, at(story.up_since)),
            None
        );
    }
}

#[test]
fn what_comes_after_an_unservable_start_changes_nothing() {
    let mut story = unknown();
    story.said("a", unservable());
    for (said, recorded) in [
        (start(), vec![]),
        (unservable(), vec![]),
        (Said::End, vec!["WordHeard"]),
        (Said::Deleted, vec!["WordHeard"]),
    ] {
        story.now += 1;
        assert_eq!(names(&story.said("a", said)), recorded);
        let known = &story.resource.reservations[&id("a")];
        assert_eq!(known.outcome(), Some(Outcome::Failed));
        assert_eq!(desired(&story.resource), Desired::Nothing);
    }
    story.now = Story::hours("a").1;
    assert_eq!(story.said("a", Said::End), []);
}

#[test]
fn a_start_that_was_accepted_stays_though_its_repetition_could_be_given_nothing() {
    for mut story in [waiting(), claiming(), ready()] {
        story.now += 1;
        let before = story.resource.holding().cloned();
        assert_eq!(
            names(&story.said("a", unservable())),
            ["ReservationChanged"]
        );
        assert_eq!(story.resource.holding().cloned(), before);
    }
}

#[test]
fn a_key_that_comes_with_an_unservable_repetition_is_a_key_all_the_same() {
    let mut story = unknown();
    let keyless = Said::Start {
        key: TenantKey::Missing {
            reason: "no key".to_owned(),
        },
        terms: terms(),
    };
    story.said("a", keyless);
    story.now += 1;
    let facts = story.said("a", unservable());
    assert_eq!(names(&facts), ["ReservationChanged", "KeyBrought"]);
}

#[test]
fn an_unservable_start_that_comes_too_late_is_refused_as_any_other() {
    let mut story = unknown();
    story.now = Story::hours("a").1;
    assert_eq!(
        names(&story.said("a", unservable())),
        ["ReservationRefused"]
    );
}
