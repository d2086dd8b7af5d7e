//! R2: one holder; R7: a reservation is over at once, and its outcome says whether its host was ready.

use super::*;

#[test]
fn an_end_or_a_deletion_of_another_reservation_leaves_the_holder_alone() {
    for said in [Said::End, Said::Deleted] {
        for mut story in [claiming(), preparing(), ready()] {
            story.said("b", start());
            let before = story.resource.occupancy.clone();
            let facts = story.said("b", said.clone());
            assert_eq!(end(&facts).unwrap().1, EndOutcome::Cancelled);
            assert_eq!(story.resource.occupancy, before);
        }
    }
}

#[test]
fn a_clean_host_is_given_to_nobody_while_another_has_the_resource_or_is_giving_it_back() {
    for mut story in [claiming(), preparing(), ready(), releasing()] {
        story.said("b", start());
        assert_eq!(story.observed(clean()), []);
    }
}

#[test]
fn an_assignment_that_comes_while_another_holds_is_not_folded() {
    let mut story = ready();
    story.said("b", start());
    let before = story.resource.clone();
    story.resource.evolve(Recorded {
        version: before.version,
        at: at(story.now),
        traceparent: None,
        fact: &Fact::HostAssigned {
            reservation: id("b"),
            host: host(),
            secret: "other".to_owned(),
        },
    });
    assert_eq!(story.resource, before);
}

#[test]
fn a_reservation_that_was_ready_is_completed_and_one_that_was_not_is_cancelled() {
    for (mut story, outcome) in [
        (announced(), Outcome::Cancelled),
        (waiting(), Outcome::Cancelled),
        (claiming(), Outcome::Cancelled),
        (preparing(), Outcome::Cancelled),
        (ready(), Outcome::Completed),
    ] {
        story.said("a", Said::End);
        assert_eq!(
            story.resource.reservations[&id("a")].outcome(),
            Some(outcome)
        );
    }
}

#[test]
fn a_reservation_is_over_at_once_while_its_host_is_still_given_back() {
    let story = releasing();
    assert_eq!(
        story.resource.reservations[&id("a")].outcome(),
        Some(Outcome::Completed)
    );
    assert!(story.resource.holding().is_none());
    let Desired::Release(release) = desired(&story.resource) else {
        panic!("{:?}", desired(&story.resource));
    };
    assert_eq!(release.ordered, story.resource.version);
}
