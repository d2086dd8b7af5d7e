//! A shadow writes nothing, and its outcomes are those of the hosts that it would have given all the same.

use super::*;

fn would_be_claimed() -> Observation {
    Observation::WouldBeClaimed { host: host() }
}

#[test]
fn who_would_have_had_a_host_is_completed_at_its_end_by_whatever_ends_it() {
    let mut story = waiting();
    assert_eq!(
        names(&story.observed(would_be_claimed())),
        ["HostWouldBeAssigned"]
    );
    assert_eq!(story.resource.occupancy, Occupancy::Free);
    let completed = |cause| Some((cause, EndOutcome::Completed));
    let mut early = story.clone();
    assert_eq!(end(&early.said("a", Said::End)), completed(EndCause::End));
    let mut deleted = story.clone();
    assert_eq!(
        end(&deleted.said("a", Said::Deleted)),
        completed(EndCause::Deleted)
    );
    let mut unheard = story.clone();
    assert_eq!(
        end(&unheard.wait_until(3 * HOUR)),
        completed(EndCause::Deadline)
    );
    story.now = 3 * HOUR;
    assert_eq!(end(&story.said("a", Said::End)), completed(EndCause::End));
}

#[test]
fn who_would_have_had_to_wait_until_its_end_fails_in_a_shadow_too() {
    let mut story = waiting();
    story.observed(not_clean());
    story.now = 3 * HOUR;
    assert!(failure(&story.said("a", Said::End)).is_some());
}

#[test]
fn a_host_that_would_have_been_given_and_was_postponed_is_not_had_any_more() {
    let mut story = waiting();
    story.observed(would_be_claimed());
    let mut later = story.word("a", Said::Changed, 9 * HOUR, Some(story.now));
    later.knowledge.schedule.start = at(8 * HOUR);
    story.decide(&Command::Said(Box::new(later)));
    let facts = story.said("a", Said::Deleted);
    assert_eq!(
        end(&facts),
        Some((EndCause::Deleted, EndOutcome::Cancelled))
    );
}
