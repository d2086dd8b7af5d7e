//! R5: an end that does not come, a start that does not come; and when the next of these is due.

use super::*;

#[test]
fn a_missing_end_is_told_after_the_grace_then_the_host_is_held_then_released() {
    let mut story = ready();
    assert_eq!(story.wait_until(3 * HOUR + 10 * MINUTE - 1), []);
    let facts = story.wait_until(3 * HOUR + 10 * MINUTE);
    assert_eq!(names(&facts), ["DeadlinePassed"]);
    assert_eq!(alarms(&story.resource)[0].kind, AlarmKind::DeadlinePassed);
    assert_eq!(story.wait_until(5 * HOUR + 10 * MINUTE - 1), []);
    let facts = story.wait_until(5 * HOUR + 10 * MINUTE);
    assert_eq!(
        end(&facts),
        Some((EndCause::Deadline, EndOutcome::Completed))
    );
    assert_eq!(alarms(&story.resource), []);
}

#[test]
fn a_hold_that_passed_while_nobody_was_there_begins_anew() {
    let mut story = ready();
    story.wait_until(3 * HOUR + 10 * MINUTE);
    let facts = story.away_until(24 * HOUR);
    assert_eq!(names(&facts), ["DeadlineHeldAgain"]);
    assert_eq!(story.wait_until(26 * HOUR - 1), []);
    assert!(end(&story.wait_until(26 * HOUR)).is_some());
}

#[test]
fn an_end_that_passed_while_nobody_was_there_is_held_for_the_whole_hold() {
    let mut story = ready();
    assert_eq!(names(&story.away_until(24 * HOUR)), ["DeadlinePassed"]);
    assert_eq!(
        next_due(&story.resource, &story.policy, at(story.up_since)),
        Some(at(26 * HOUR))
    );
}

#[test]
fn a_later_reservation_whose_time_has_come_proves_that_the_holder_is_over_and_nothing_is_held() {
    for said in [Said::Announced, start()] {
        let mut story = ready();
        story.said("b", said);
        story.wait_until(3 * HOUR + 10 * MINUTE);
        assert!(story.resource.holding().is_some(), "B's time has not come");
        let facts = story.wait_until(4 * HOUR);
        assert_eq!(
            end(&facts),
            Some((EndCause::ProvenOver, EndOutcome::Completed))
        );
    }
}

#[test]
fn nobody_is_told_of_a_hold_when_it_is_proven_at_once_that_the_holder_is_over() {
    let mut story = ready();
    story.said("b", start());
    assert_eq!(names(&story.wait_until(4 * HOUR)), ["ReservationEnded"]);
}

#[test]
fn a_reservation_that_is_over_proves_nothing() {
    let mut story = ready();
    story.said("b", start());
    story.said("b", Said::Deleted);
    assert_eq!(names(&story.wait_until(4 * HOUR)), ["DeadlinePassed"]);
}

#[test]
fn an_extension_during_the_hold_ends_it_and_the_new_end_has_its_own_grace_and_hold() {
    let mut story = ready();
    story.wait_until(3 * HOUR + 10 * MINUTE);
    story.extended("a", 12 * HOUR);
    assert_eq!(alarms(&story.resource), []);
    let facts = story.wait_until(12 * HOUR + 10 * MINUTE);
    assert_eq!(names(&facts), ["DeadlinePassed"]);
    assert!(story.resource.holding().is_some());
}

#[test]
fn an_announced_reservation_whose_start_does_not_come_raises_an_alarm_and_is_missed_at_its_end() {
    let mut story = announced();
    let facts = story.wait_until(HOUR + 2 * MINUTE);
    assert_eq!(names(&facts), ["StartOverdue"]);
    assert_eq!(alarms(&story.resource)[0].kind, AlarmKind::StartOverdue);
    let facts = story.wait_until(3 * HOUR + 2 * MINUTE);
    assert_eq!(names(&facts), ["ReservationMissed"]);
    assert_eq!(alarms(&story.resource), []);
    assert_eq!(names(&story.said("a", start())), ["WordHeard"]);
    let known = &story.resource.reservations[&id("a")];
    assert_eq!(known.outcome(), Some(Outcome::Missed));
    assert_eq!(desired(&story.resource), Desired::Nothing);
}

#[test]
fn a_state_without_a_deadline_asks_for_no_timer() {
    for story in [unknown(), releasing(), released()] {
        assert_eq!(
            next_due(&story.resource, &story.policy, at(story.up_since)),
            None
        );
    }
}

#[test]
fn the_next_timer_is_the_earliest_of_all() {
    let mut story = preparing();
    story.said("b", Said::Announced);
    assert_eq!(
        next_due(&story.resource, &story.policy, at(story.up_since)),
        Some(at(3 * HOUR + 10 * MINUTE))
    );
    story.policy.deadline_grace = Duration::from_secs(24 * 3600);
    assert_eq!(
        next_due(&story.resource, &story.policy, at(story.up_since)),
        Some(at(4 * HOUR + 2 * MINUTE))
    );
}
