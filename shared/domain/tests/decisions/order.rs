//! R3: the order in which deliveries come, and how often.

use super::*;

#[test]
fn an_end_or_a_deletion_before_the_start_wins() {
    for said in [Said::End, Said::Deleted] {
        let mut story = unknown();
        story.said("a", said);
        let before = story.resource.reservations[&id("a")].outcome();
        assert_eq!(names(&story.said("a", start())), ["WordHeard"]);
        assert_eq!(story.resource.reservations[&id("a")].outcome(), before);
        assert_eq!(desired(&story.resource), Desired::Nothing);
    }
}

#[test]
fn a_start_whose_end_has_passed_is_refused_and_nothing_is_prepared() {
    let mut story = unknown();
    story.now = 3 * HOUR;
    assert_eq!(names(&story.said("a", start())), ["ReservationRefused"]);
    assert_eq!(desired(&story.resource), Desired::Nothing);
    assert_eq!(story.said("a", start()), []);
}

#[test]
fn a_start_whose_end_does_not_come_after_it_is_refused_and_an_end_with_such_times_still_ends() {
    let begin = Story::hours("a").0;
    for end in [begin, begin - HOUR] {
        let mut story = unknown();
        story.now = begin - 2 * HOUR;
        let word = story.word("a", start(), end, None);
        let facts = story.decide(&Command::Said(Box::new(word)));
        assert_eq!(names(&facts), ["ReservationRefused"]);
        assert_eq!(desired(&story.resource), Desired::Nothing);

        let mut story = ready();
        let word = story.word("a", Said::End, end, None);
        let facts = story.decide(&Command::Said(Box::new(word)));
        assert_eq!(names(&facts), ["ReservationEnded"]);
    }
}

#[test]
fn a_late_start_of_a_booking_that_is_known_to_be_extended_is_accepted() {
    let mut story = announced();
    story.extended("a", 5 * HOUR);
    story.now = 3 * HOUR;
    // The start was sent before the extension, so its own times are older.
    let mut word = story.word("a", start(), 3 * HOUR, None);
    word.knowledge.said_at = at(50 * MINUTE);
    let facts = story.decide(&Command::Said(Box::new(word)));
    assert_eq!(names(&facts), ["ReservationStarted"]);
}

#[test]
fn an_end_older_than_a_known_extension_ends_nothing_and_the_one_at_the_new_end_does() {
    let mut story = ready();
    story.now = 2 * HOUR;
    story.extended("a", 5 * HOUR);
    let mut old = story.word("a", Said::End, 3 * HOUR, None);
    old.knowledge.said_at = at(2 * HOUR - 1);
    let facts = story.decide(&Command::Said(Box::new(old.clone())));
    assert_eq!(names(&facts), ["WordHeard"]);
    assert!(story.resource.holding().is_some());
    assert_eq!(story.decide(&Command::Said(Box::new(old.clone()))), []);
    story.now = 5 * HOUR;
    let new = story.word("a", Said::End, 5 * HOUR, None);
    let facts = story.decide(&Command::Said(Box::new(new)));
    assert_eq!(end(&facts), Some((EndCause::End, EndOutcome::Completed)));
    assert_eq!(story.decide(&Command::Said(Box::new(old))), []);
}

#[test]
fn a_deletion_ends_a_reservation_though_an_extension_is_known() {
    let mut story = ready();
    story.extended("a", 5 * HOUR);
    let facts = story.said("a", Said::Deleted);
    assert_eq!(
        end(&facts),
        Some((EndCause::Deleted, EndOutcome::Completed))
    );
}

#[test]
fn an_older_update_changes_nothing() {
    let mut story = ready();
    story.now = 2 * HOUR;
    story.extended("a", 5 * HOUR);
    let older = story.word("a", Said::Changed, 4 * HOUR, Some(HOUR));
    assert_eq!(story.decide(&Command::Said(Box::new(older))), []);
}

#[test]
fn a_message_of_the_ledger_that_was_taken_in_is_not_taken_in_again() {
    let resource = ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "lab7-node04");
    let mut story = waiting();
    let facts = [
        decide(
            &story.resource,
            &Command::Observed(clean()),
            at(story.now),
            &story.policy,
        ),
        story.said("a", Said::Deleted),
    ];
    let mut ledger = Ledger::default();
    for (version, facts) in [(7, &facts[1]), (7, &facts[0]), (3, &facts[0])] {
        ledger.apply(&resource, Version(version), at(0), None, facts);
    }
    let state = ledger.resource(&resource).unwrap();
    assert_eq!(state.version, Version(7));
    assert_eq!(state.occupancy, Occupancy::Free);
    assert_eq!(ledger.place_of(&id("a")), Some(&resource));
}
