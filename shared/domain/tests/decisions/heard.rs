//! What is recorded though it changes nothing: the other webhooks of a booking, and words about what is over.

use bellhop_domain::reservation::HeardSaid;

use super::*;

fn keyless() -> Said {
    Said::Start {
        key: TenantKey::Missing {
            reason: "no key".to_owned(),
        },
        terms: terms(),
    }
}

/// A copy of a word, as another webhook sends it a moment later.
fn under(webhook: &str, word: &Word) -> Word {
    let mut copy = word.clone();
    copy.webhook = WebhookId::new(webhook);
    copy.delivery.id = DeliveryId::new(format!("{webhook}-{}", word.delivery.id));
    copy.knowledge.said_by = copy.delivery.id.clone();
    copy.knowledge.said_at += jiff::SignedDuration::from_millis(20);
    copy
}

fn decided(story: &mut Story, word: &Word) -> Vec<Fact> {
    story.decide(&Command::Said(Box::new(word.clone())))
}

/// A reservation of each outcome; its time is over.
fn outcomes() -> Vec<(Outcome, Story)> {
    let mut failed = waiting();
    failed.observed(no_host());
    let mut cancelled = waiting();
    cancelled.said("a", Said::Deleted);
    let mut refused = unknown();
    refused.now = 3 * HOUR;
    refused.said("a", start());
    let mut missed = announced();
    missed.wait_until(4 * HOUR);
    let all = vec![
        (Outcome::Completed, released()),
        (Outcome::Failed, failed),
        (Outcome::Cancelled, cancelled),
        (Outcome::Refused, refused),
        (Outcome::Missed, missed),
    ];
    for (outcome, story) in &all {
        let known = &story.resource.reservations[&id("a")];
        assert_eq!(known.outcome(), Some(*outcome));
    }
    all
}

#[test]
fn a_second_webhook_is_known_though_its_copy_of_the_start_comes_after_a_newer_word() {
    let mut story = unknown();
    let start = story.word("a", start(), 3 * HOUR, None);
    decided(&mut story, &start);
    let copy = under("13", &start);
    story.now = 2 * HOUR;
    story.extended("a", 5 * HOUR);
    story.said("a", Said::Changed);
    let facts = decided(&mut story, &copy);
    assert!(
        matches!(&facts[..], [Fact::WebhookHeard { reservation, webhook, delivery }]
            if *reservation == id("a") && webhook.as_str() == "13" && *delivery == copy.delivery),
        "{facts:?}"
    );
    // Whatever comes under it from now on.
    let late = under("13", &copy);
    assert_eq!(decided(&mut story, &late), []);
}

#[test]
fn a_second_webhook_is_known_though_the_reservation_is_over_when_its_copy_comes() {
    let mut story = unknown();
    let start = story.word("a", start(), 3 * HOUR, None);
    decided(&mut story, &start);
    story.observed(no_host());
    let facts = decided(&mut story, &under("13", &start));
    assert_eq!(names(&facts), ["WebhookHeard"]);
}

#[test]
fn of_a_booking_that_is_told_to_many_webhooks_eight_are_known() {
    let mut story = unknown();
    let start = story.word("a", start(), 3 * HOUR, None);
    decided(&mut story, &start);
    story.observed(no_host());
    let mut under_one_more =
        |webhook: u32| names(&decided(&mut story, &under(&webhook.to_string(), &start)));
    for webhook in 100..107 {
        assert_eq!(under_one_more(webhook), ["WebhookHeard"]);
    }
    assert_eq!(under_one_more(107), [""; 0]);
}

#[test]
fn what_comes_when_a_reservation_is_over_is_recorded_once_and_changes_nothing() {
    for (outcome, story) in outcomes() {
        for (said, is_recorded) in [
            (
                start(),
                matches!(outcome, Outcome::Cancelled | Outcome::Missed),
            ),
            (Said::End, outcome != Outcome::Completed),
            (Said::Deleted, outcome != Outcome::Cancelled),
        ] {
            // That one's start was accepted, and deleted.
            let is_recorded = is_recorded
                && !(outcome == Outcome::Cancelled && matches!(said, Said::Start { .. }));
            let mut story = story.clone();
            story.now = 4 * HOUR;
            let word = story.word("a", said.clone(), 3 * HOUR, None);
            let facts = decided(&mut story, &word);
            let recorded: &[&str] = if is_recorded { &["WordHeard"] } else { &[] };
            assert_eq!(names(&facts), recorded, "{said:?} when {outcome:?}");
            // Neither a copy of another webhook nor the same again is another word.
            let mut again = story.clone();
            again.now += MINUTE;
            assert_eq!(
                names(&decided(&mut again, &under("13", &word))),
                ["WebhookHeard"]
            );
            assert_eq!(again.said("a", said.clone()), [], "{said:?}");
            let known = &again.resource.reservations[&id("a")];
            assert_eq!(known.outcome(), Some(outcome));
            assert_eq!(again.resource.occupancy, story.resource.occupancy);
        }
    }
}

#[test]
fn a_change_of_what_is_over_is_recorded_once_and_one_that_came_in_time_is_not() {
    let mut story = ready();
    story.now = 2 * HOUR;
    let in_time = story.word("a", Said::Changed, 5 * HOUR, Some(story.now));
    decided(&mut story, &in_time);
    story.now += MINUTE;
    story.said("a", Said::Deleted);
    assert_eq!(decided(&mut story, &in_time), []);
    story.now += MINUTE;
    let late = story.word("a", Said::Changed, 6 * HOUR, Some(story.now));
    let facts = decided(&mut story, &late);
    assert_eq!(names(&facts), ["ChangeCameTooLate", "WordHeard"]);
    let copy = under("13", &late);
    assert_eq!(names(&decided(&mut story, &copy)), ["WebhookHeard"]);
}

#[test]
fn an_end_that_comes_after_the_end_was_moved_is_another_word() {
    let mut story = released();
    story.now = 3 * HOUR;
    let at_first_end = story.word("a", Said::End, 3 * HOUR, None);
    assert_eq!(decided(&mut story, &at_first_end), []);
    story.now = 5 * HOUR;
    let at_second_end = story.word("a", Said::End, 5 * HOUR, None);
    assert_eq!(names(&decided(&mut story, &at_second_end)), ["WordHeard"]);
    assert_eq!(decided(&mut story, &at_first_end), []);
    assert_eq!(decided(&mut story, &at_second_end), []);
}

#[test]
fn an_end_that_is_older_than_an_extension_is_recorded_once_and_ends_nothing() {
    for mut story in [announced(), waiting(), ready()] {
        story.now = 4 * HOUR;
        let mut old = story.word("a", Said::End, 3 * HOUR, None);
        old.knowledge.said_at = at(2 * HOUR);
        let extended = story.word("a", Said::Changed, 5 * HOUR, Some(story.now));
        decided(&mut story, &extended);
        let outcome = story.resource.reservations[&id("a")].outcome();
        let facts = decided(&mut story, &old);
        let [Fact::WordHeard(word)] = &facts[..] else {
            panic!("{facts:?}");
        };
        assert_eq!(word.said, HeardSaid::EndBeforeExtension);
        let known = &story.resource.reservations[&id("a")];
        assert_eq!(known.outcome(), outcome);
        assert_eq!(decided(&mut story, &old), []);
        assert_eq!(
            names(&decided(&mut story, &under("13", &old))),
            ["WebhookHeard"]
        );
        // It says nothing of the host of a service before ours either.
        assert!(story.resource.ended_with_the_service_before().is_none());
    }
}

#[test]
fn an_end_that_comes_again_after_a_later_extension_is_no_other_word() {
    let mut story = ready();
    story.now = 3 * HOUR;
    let ended = story.word("a", Said::End, 3 * HOUR, None);
    assert_eq!(names(&decided(&mut story, &ended)), ["ReservationEnded"]);
    story.now += MINUTE;
    let extended = story.word("a", Said::Changed, 5 * HOUR, Some(story.now));
    decided(&mut story, &extended);
    assert_eq!(decided(&mut story, &ended), []);
}

#[test]
fn the_end_of_who_waited_in_vain_is_recorded_whether_it_or_our_timer_comes_first() {
    let mut heard_first = waiting();
    let mut timed_first = waiting();
    heard_first.now = 3 * HOUR;
    let facts = heard_first.said("a", Said::End);
    assert_eq!(names(&facts), ["ReservationFailed", "WordHeard"]);
    let facts = timed_first.wait_until(3 * HOUR);
    assert_eq!(names(&facts), ["ReservationFailed"]);
    assert_eq!(names(&timed_first.said("a", Said::End)), ["WordHeard"]);
    for mut story in [heard_first, timed_first] {
        story.now += MINUTE;
        assert_eq!(story.said("a", Said::End), []);
    }
}

#[test]
fn the_end_of_one_that_is_postponed_and_has_no_key_is_a_failure_and_its_deletion_is_none() {
    let mut story = unknown();
    story.said("a", keyless());
    let mut later = story.word("a", Said::Changed, 9 * HOUR, Some(story.now));
    later.knowledge.schedule.start = at(8 * HOUR);
    let facts = decided(&mut story, &later);
    assert_eq!(
        names(&facts),
        ["ReservationChanged", "ReservationPostponed"]
    );
    let mut deleted = story.clone();
    let facts = deleted.said("a", Said::Deleted);
    assert_eq!(
        end(&facts),
        Some((EndCause::Deleted, EndOutcome::Cancelled))
    );
    story.now = 2 * HOUR;
    let word = story.word("a", Said::End, 9 * HOUR, None);
    let facts = decided(&mut story, &word);
    assert_eq!(names(&facts), ["ReservationFailed", "WordHeard"]);
    assert!(matches!(
        failure(&facts),
        Some(FailureReason::NotClaimedInTime {
            waited_for: Some(WaitReason::Key { .. })
        })
    ));
}

#[test]
fn a_start_of_later_times_under_the_id_of_one_that_is_over_is_told_and_alarmed_until_its_end() {
    for (outcome, mut story) in outcomes() {
        story.now = 100 * HOUR;
        let mut word = story.word("a", start(), 103 * HOUR, None);
        word.knowledge.schedule.start = at(100 * HOUR + 5 * MINUTE);
        let facts = decided(&mut story, &word);
        assert_eq!(names(&facts), ["ChangeCameTooLate", "WordHeard"]);
        assert_eq!(decided(&mut story, &word), []);
        let known = &story.resource.reservations[&id("a")];
        assert_eq!(known.outcome(), Some(outcome));
        assert_eq!(desired(&story.resource), Desired::Nothing);
        let alarm = alarms(&story.resource).remove(0);
        assert_eq!(alarm.kind, AlarmKind::StartedWhenOver);
        assert!(alarm.is_on(at(story.now)) && !alarm.is_on(at(103 * HOUR)));
        // Its own end, or its deletion, is the end of that.
        story.now = 101 * HOUR;
        let mut word = story.word("a", Said::End, 103 * HOUR, None);
        word.knowledge.schedule.start = at(100 * HOUR + 5 * MINUTE);
        assert_eq!(names(&decided(&mut story, &word)), ["WordHeard"]);
        assert_eq!(alarms(&story.resource), []);
    }
}

#[test]
fn a_start_within_the_times_of_one_that_is_over_raises_no_alarm() {
    let mut story = unknown();
    story.said("a", Said::Deleted);
    let facts = story.said("a", start());
    assert_eq!(names(&facts), ["WordHeard"]);
    assert_eq!(alarms(&story.resource), []);
}
