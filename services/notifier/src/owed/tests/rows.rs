//! The rows of the webhook log: which webhook each is about, and its payload.

use super::*;

/// What can be said of a reservation that is over.
pub(super) fn said_when_over() -> [HeardSaid; 5] {
    [
        HeardSaid::Start,
        HeardSaid::StartAnew,
        HeardSaid::Changed,
        HeardSaid::End,
        HeardSaid::Deleted,
    ]
}

#[test]
fn a_log_entry_has_the_number_of_the_resource_and_the_payload_of_the_delivery() {
    let reports = reports(Destination::WebhookLog, Story::of("5120").to_ready());
    let (start, ready) = (body(&reports[0].1), body(&reports[1].1));
    assert_eq!(start["payload"], facts::PAYLOAD);
    assert_eq!(start["resourceId"], facts::SERVER_NUMBER);
    insta::assert_json_snapshot!(ready, @r#"
    {
      "eventType": "EVENT_START",
      "metadata": {
        "eventId": "5120",
        "resourceName": "lab7-node04"
      },
      "payload": "{\"eventType\":\"EVENT_START\",\"eventId\":\"5120\"}",
      "resourceId": 31,
      "response": "provisioned in 240 s",
      "retryCount": 0,
      "statusCode": 200,
      "success": true,
      "webhookId": 12
    }
    "#);
}

#[test]
fn a_payload_that_the_receiver_can_t_take_whole_is_cut_where_one_sees_it() {
    let story = Story::of("5120");
    let Fact::ReservationStarted(mut started) = story.started() else {
        panic!("a start");
    };
    started.payload = format!(r#"{{"eventDescription":"{}"}}"#, "é🦀".repeat(3000));
    let history = vec![vec![Fact::ReservationStarted(started)]];
    let reports = reports(Destination::WebhookLog, history);
    let payload = body(&reports[0].1)["payload"].as_str().unwrap().to_owned();
    let units = payload.encode_utf16().count();
    assert!(
        (3998..=4000).contains(&units) && payload.ends_with('…'),
        "{units}"
    );
}

#[test]
fn a_deletion_is_logged_as_one_and_what_no_delivery_ended_as_an_end() {
    let story = Story::of("5120");
    for (cause, event_type) in [
        (EndCause::End, "EVENT_END"),
        (EndCause::Deleted, "EVENT_DELETED"),
        (EndCause::Deadline, "EVENT_END"),
        (EndCause::ProvenOver, "EVENT_END"),
    ] {
        let history = ready_then(vec![story.ended(cause, EndOutcome::Completed)]);
        let reports = reports(Destination::WebhookLog, history);
        let last = body(&reports.last().unwrap().1);
        assert_eq!(last["eventType"], event_type);
        assert_eq!(last["resourceId"], facts::SERVER_NUMBER);
    }
}

#[test]
fn each_failure_is_logged_once_as_a_start_that_did_not_succeed() {
    let story = Story::of("5120");
    let mut failures: Vec<_> = failure_reasons()
        .into_iter()
        .map(|reason| preparing_then(vec![story.failed(reason)]))
        .collect();
    failures.push(vec![vec![story.refused()]]);
    failures.push(vec![vec![story.announced()], vec![story.missed()]]);
    for history in failures {
        let reports = reports(Destination::WebhookLog, history);
        let logs: Vec<_> = reports.iter().map(|(_, composed)| body(composed)).collect();
        let failed: Vec<_> = logs.iter().filter(|log| log["success"] == false).collect();
        assert_eq!(failed.len(), 1, "{logs:?}");
        assert_eq!(
            (&failed[0]["eventType"], &failed[0]["resourceId"]),
            (
                &Value::from("EVENT_START"),
                &Value::from(facts::SERVER_NUMBER)
            )
        );
    }
}

/// The row that the last fact of a history owes.
fn last_row(history: Vec<Vec<Fact>>) -> Value {
    body(&reports(Destination::WebhookLog, history).pop().unwrap().1)
}

#[test]
fn a_failure_s_row_has_the_payload_of_the_start_that_failed() {
    let story = Story::of("5120");
    let unservable = vec![vec![
        story.announced(),
        story.heard(HeardSaid::Start),
        story.failed(FailureReason::HostGone),
    ]];
    let after_another_start = {
        let mut history = vec![vec![Story::of("5119").started()]];
        history.extend(preparing_then(vec![story.failed(FailureReason::HostGone)]));
        history
    };
    for history in [unservable, after_another_start] {
        let rows = reports(Destination::WebhookLog, history.clone());
        let failures = rows
            .iter()
            .filter(|(fact, _)| *fact != "ReservationStarted");
        assert_eq!(failures.count(), 1, "{rows:?}");
        let row = last_row(history);
        assert_eq!(row["payload"], facts::PAYLOAD);
        assert_eq!(row["eventType"], "EVENT_START");
        assert_eq!(row["resourceId"], facts::SERVER_NUMBER);
    }
}

#[test]
fn a_failure_for_a_deleted_resource_whose_start_never_came_is_a_row_of_that_deletion() {
    let story = Story::of("5120");
    let deleted = || story.failed(FailureReason::ResourceDeleted);
    let row = last_row(vec![vec![story.announced()], vec![deleted()]]);
    assert_eq!(row["eventType"], "RESOURCE_DELETED");
    let row = last_row(preparing_then(vec![deleted()]));
    assert_eq!(row["eventType"], "EVENT_START");
}

#[test]
fn a_row_whose_payload_is_not_in_the_ledger_any_more_says_so() {
    let mut view = LedgerView::default();
    let entries = entries(Story::of("5120").to_ready());
    entries.iter().for_each(|entry| view.take_in(entry));
    let ready = &entries[3];
    assert_eq!(
        view.start_of(Destination::WebhookLog, ready, 0),
        Some(entries[0].version)
    );
    let row = body(&view.compose(Destination::WebhookLog, ready, 0, None));
    insta::assert_snapshot!(row["payload"].as_str().unwrap(), @r#"{"eventId":"5120","note":"the webhook's own payload is not kept any more","resourceName":"lab7-node04"}"#);
}

#[test]
fn a_word_about_what_is_over_is_a_row_of_its_own_and_no_notification() {
    let story = Story::of("5120");
    let ended = ready_then(vec![story.ended(EndCause::Operator, EndOutcome::Completed)]);
    for (said, event_type) in said_when_over().into_iter().zip([
        "EVENT_START",
        "EVENT_START",
        "EVENT_UPDATED",
        "EVENT_END",
        "EVENT_DELETED",
    ]) {
        let mut history = ended.clone();
        let told = reports(Destination::Notification, history.clone()).len();
        history.push(vec![story.heard(said)]);
        assert_eq!(
            reports(Destination::Notification, history.clone()).len(),
            told
        );
        let row = last_row(history);
        assert_eq!(row["eventType"], event_type);
        assert_eq!(row["resourceId"], facts::SERVER_NUMBER);
        let payload = facts::PAYLOAD.replace("EVENT_START", event_type);
        assert_eq!(row["payload"], payload);
    }
}

#[test]
fn the_end_of_who_waited_in_vain_is_a_row_beside_that_of_its_failure() {
    let story = Story::of("5120");
    let failed = FailureReason::NotClaimedInTime { waited_for: None };
    let history = vec![
        vec![story.started()],
        vec![story.failed(failed), story.heard(HeardSaid::End)],
    ];
    let rows = reports(Destination::WebhookLog, history);
    let types: Vec<Value> = rows
        .iter()
        .map(|(_, row)| body(row)["eventType"].clone())
        .collect();
    assert_eq!(types, ["EVENT_START", "EVENT_START", "EVENT_END"]);
}

#[test]
fn an_end_that_is_older_than_an_extension_is_a_row_which_says_that_it_ends_nothing() {
    let story = Story::of("5120");
    let ended = story.ended(EndCause::End, EndOutcome::Completed);
    let heard = || story.heard(HeardSaid::EndBeforeExtension);
    let before = ready_then(vec![heard()]);
    let mut after = ready_then(vec![ended.clone()]);
    after.push(vec![heard()]);
    for history in [before.clone(), after.clone()] {
        let row = last_row(history);
        assert_eq!(row["eventType"], "EVENT_END");
        assert_eq!(row["success"], true);
        let response = row["response"].as_str().unwrap();
        assert!(response.contains("it ends nothing"), "{response}");
    }
    // Nobody is told, and the end that comes at last is told as ever.
    let told = |history| reports(Destination::Notification, history).len();
    assert_eq!(told(before.clone()), told(Story::of("5120").to_ready()));
    let mut history = before;
    history.push(vec![ended]);
    assert_eq!(told(history.clone()), told(after));
    assert_eq!(last_row(history)["statusCode"], 200);
}
