//! Nothing is said to be taken back that is not, or that there never was.

use super::*;

fn message(history: Vec<Vec<Fact>>) -> String {
    let reports = reports(Destination::Notification, history);
    let message = body(&reports.last().unwrap().1)["message"].clone();
    message.as_str().unwrap().to_owned()
}

fn row(history: Vec<Vec<Fact>>) -> String {
    let reports = reports(Destination::WebhookLog, history);
    let response = body(&reports.last().unwrap().1)["response"].clone();
    response.as_str().unwrap().to_owned()
}

fn held(mut history: Vec<Vec<Fact>>, then: Vec<Fact>) -> Vec<Vec<Fact>> {
    history.push(vec![Story::host_held()]);
    history.push(then);
    history
}

#[test]
fn a_host_that_an_operator_holds_is_not_said_to_be_taken_back() {
    let story = Story::of("5120");
    let completed = held(
        story.to_ready(),
        vec![story.ended(EndCause::End, EndOutcome::Completed)],
    );
    let cancelled = held(
        story.to_preparing(),
        vec![story.ended(EndCause::Deleted, EndOutcome::Cancelled)],
    );
    let overdue = held(
        story.to_ready(),
        vec![story.deadline_passed("2026-12-03T19:40:00Z")],
    );
    let postponed = held(story.to_ready(), vec![story.postponed()]);
    for history in [&completed, &cancelled, &overdue, &postponed] {
        let message = message(history.clone());
        assert!(message.contains("An operator keeps"), "{message}");
        assert!(!message.contains("is being taken back"), "{message}");
    }
    for history in [completed, cancelled] {
        let row = row(history);
        assert!(
            row.contains("is not taken back while an operator holds it"),
            "{row}"
        );
    }
    // The same, where the hold is of another reservation's time.
    let mut history = vec![vec![Story::host_held()]];
    history.extend(story.to_ready());
    history.push(vec![story.ended(EndCause::End, EndOutcome::Completed)]);
    assert!(message(history).contains("An operator keeps"));
}

#[test]
fn nothing_is_said_to_be_taken_back_of_who_never_had_a_host() {
    let story = Story::of("5120");
    for then in [
        story.postponed(),
        story.moved_in(),
        story.ended(EndCause::End, EndOutcome::Cancelled),
        story.extended_by_an_operator("2026-12-03T20:00:00Z"),
    ] {
        let history = vec![vec![story.started()], vec![then]];
        let message = message(history);
        assert!(!message.contains("taken back"), "{message}");
    }
    let ended = story.ended(EndCause::End, EndOutcome::Cancelled);
    let row = row(vec![vec![story.started()], vec![ended]]);
    assert!(row.contains("before anything was done"), "{row}");
}

#[test]
fn no_text_says_that_data_are_deleted_since_a_host_may_be_released_without_being_wiped() {
    let texts = all_texts(Destination::Notification);
    assert!(!texts.contains("is deleted"), "{texts}");
    assert!(texts.contains("as lost"));
}
