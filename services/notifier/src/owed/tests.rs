//! Every fact, and what is sent because of it.

#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_domain::reservation::{EndCause, EndOutcome, FailureReason, TenantKey, WaitReason};
use bellhop_event_store::Entry;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::facts;
use crate::view::LedgerView;

mod kept;
mod rows;

use facts::{Story, entries, host_error, reservation, server};

/// What a history owes to a destination, each composed at once when its entry was taken in.
fn reports(destination: Destination, history: Vec<Vec<Fact>>) -> Vec<(&'static str, Composed)> {
    let mut view = LedgerView::default();
    let mut reports = Vec::new();
    let entries = entries(history);
    for entry in &entries {
        view.take_in(entry);
        for index in view.owing(destination, entry).into_iter().flatten() {
            reports.push((
                entry.facts[index].name(),
                composed(&view, &entries, destination, entry, index),
            ));
        }
    }
    reports
}

/// A report, with the entry of the ledger beside its own that it needs.
fn composed(
    view: &LedgerView,
    entries: &[Entry],
    destination: Destination,
    entry: &Entry,
    index: usize,
) -> Composed {
    let start = view.start_of(destination, entry, index).map(|version| {
        let start = entries.iter().find(|entry| entry.version == version);
        start.unwrap().facts.as_slice()
    });
    view.compose(destination, entry, index, start)
}

/// What a history owes to a destination, composed only when all of it was taken in.
fn late_reports(
    destination: Destination,
    history: Vec<Vec<Fact>>,
) -> Vec<(&'static str, Composed)> {
    let mut view = LedgerView::default();
    let entries = entries(history);
    entries.iter().for_each(|entry| view.take_in(entry));
    let mut reports = Vec::new();
    for entry in &entries {
        for index in view.owing(destination, entry).into_iter().flatten() {
            reports.push((
                entry.facts[index].name(),
                composed(&view, &entries, destination, entry, index),
            ));
        }
    }
    reports
}

fn body(composed: &Composed) -> Value {
    match composed {
        Composed::Send(report) => serde_json::from_slice(&report.first.body).unwrap(),
        other => panic!("not sent: {other:?}"),
    }
}

/// A report in a line: the fact, then what the receiver reads.
fn text((fact, composed): &(&str, Composed)) -> String {
    let body = body(composed);
    let of = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    match body.get("message") {
        Some(_) => format!(
            "{fact} -> {} {}: {}",
            of("type"),
            of("eventType"),
            of("message")
        ),
        None => format!(
            "{fact} -> {} success={} {} {} <- {}",
            of("eventType"),
            body["success"],
            body["statusCode"],
            of("response"),
            of("payload")
        ),
    }
}

fn preparing_then(facts: Vec<Fact>) -> Vec<Vec<Fact>> {
    let mut history = Story::of("5120").to_preparing();
    history.push(facts);
    history
}

fn ready_then(facts: Vec<Fact>) -> Vec<Vec<Fact>> {
    let mut history = Story::of("5120").to_ready();
    history.push(facts);
    history
}

/// A start, when another site was seen and nobody had said where the hosts of each are.
fn of_several_sites(then: Vec<Fact>) -> Vec<Vec<Fact>> {
    let story = Story::of("5120");
    vec![
        vec![Story::of("5119").announced_of("lab-8")],
        vec![story.announced_of("lab-7")],
        vec![story.started()],
        then,
    ]
}

fn wait_reasons() -> [WaitReason; 8] {
    [
        WaitReason::Holder {
            holder: reservation("5119"),
        },
        WaitReason::Release {
            holder: reservation("5119"),
        },
        WaitReason::Host {
            text: "it shows a registration error: the BMC's password is wrong.".to_owned(),
        },
        WaitReason::Key {
            text: "sshPublicKey is missing".to_owned(),
        },
        WaitReason::Operator {
            text: "the host was released, not wiped, after reservation reservation-system:5119"
                .to_owned(),
        },
        WaitReason::Turn { preparing: 2 },
        WaitReason::Site,
        WaitReason::Paused {
            text: "the operators have stopped the work on all servers for now".to_owned(),
        },
    ]
}

fn failure_reasons() -> Vec<FailureReason> {
    let mut reasons = vec![
        FailureReason::HostUnknown {
            text: "no BareMetalHost named lab7-node04 in metal3".to_owned(),
        },
        FailureReason::ProvisioningErrors {
            error: host_error(),
            attempts: 3,
        },
        FailureReason::ProvisioningTimeout { seconds: 2700 },
        FailureReason::HostGone,
        FailureReason::ResourceDeleted,
        FailureReason::CannotClaim {
            text: "the user-data secret can't be made: forbidden".to_owned(),
        },
        FailureReason::NotServed {
            text: "its site `lab-9` is not served here".to_owned(),
        },
        FailureReason::ImageNotOffered {
            text: "parameter `image` asks for `jammy`; offered: noble, rescue".to_owned(),
        },
        FailureReason::NotClaimedInTime { waited_for: None },
    ];
    reasons.extend(
        wait_reasons().map(|reason| FailureReason::NotClaimedInTime {
            waited_for: Some(reason),
        }),
    );
    reasons
}

fn ends() -> [(EndCause, EndOutcome); 9] {
    [
        (EndCause::End, EndOutcome::Completed),
        (EndCause::Deleted, EndOutcome::Completed),
        (EndCause::Deadline, EndOutcome::Completed),
        (EndCause::ProvenOver, EndOutcome::Completed),
        (EndCause::Operator, EndOutcome::Completed),
        (EndCause::Deleted, EndOutcome::Cancelled),
        (EndCause::Operator, EndOutcome::Cancelled),
        (EndCause::MovedAway, EndOutcome::Completed),
        (EndCause::MovedAway, EndOutcome::Cancelled),
    ]
}

/// Histories that together hold every fact.
fn histories() -> Vec<Vec<Vec<Fact>>> {
    let story = Story::of("5120");
    let mut histories = vec![
        ready_then(vec![story.troubled()]),
        ready_then(vec![story.changed_by_others()]),
        ready_then(vec![story.deadline_passed("2026-12-03T19:40:00Z")]),
        ready_then(vec![story.held_again("2026-12-03T21:00:00Z")]),
        preparing_then(vec![story.error_seen(1)]),
        preparing_then(vec![story.provisioned_somewhere()]),
        vec![
            vec![story.announced()],
            vec![story.overdue()],
            vec![story.missed()],
        ],
        vec![vec![story.refused()]],
        vec![vec![story.moved_in()]],
        ready_then(vec![story.postponed()]),
        ready_then(vec![story.extended_by_an_operator("2026-12-03T20:00:00Z")]),
        ready_then(story.owner_changed()),
        vec![vec![story.announced()], story.owner_changed()],
        vec![vec![story.started()], story.owner_changed()],
        vec![
            vec![story.started()],
            vec![story.assigned()],
            story
                .owner_changed()
                .into_iter()
                .chain([story.postponed()])
                .collect(),
        ],
        vec![
            vec![story.announced()],
            vec![story.missed()],
            vec![story.changed_too_late()],
            vec![story.given_too_late()],
        ],
    ];
    for said in rows::said_when_over() {
        histories.push(ready_then(vec![
            story.ended(EndCause::Operator, EndOutcome::Completed),
            story.heard(said),
        ]));
    }
    histories.push(ready_then(vec![story.heard(HeardSaid::EndBeforeExtension)]));
    histories.push(vec![
        vec![story.announced()],
        vec![story.missed()],
        vec![story.heard(HeardSaid::Start)],
        vec![story.changed_too_late(), story.heard(HeardSaid::StartAnew)],
    ]);
    let key = TenantKey::Missing {
        reason: "sshPublicKey is missing".to_owned(),
    };
    let no_key = vec![
        vec![story.started_with(key)],
        vec![story.assigned()],
        vec![story.claimed()],
        vec![story.provisioned()],
    ];
    histories.push(no_key);
    histories.extend(wait_reasons().map(|reason| match reason {
        WaitReason::Site => of_several_sites(vec![story.waits(WaitReason::Site)]),
        WaitReason::Key { text } => {
            let key = TenantKey::Missing {
                reason: text.clone(),
            };
            let reason = WaitReason::Key { text };
            vec![vec![story.started_with(key), story.waits(reason)]]
        }
        reason => vec![vec![story.started(), story.waits(reason)]],
    }));
    histories.extend(
        failure_reasons()
            .into_iter()
            .map(|reason| preparing_then(vec![story.failed(reason)])),
    );
    histories.extend(ends().map(|(cause, outcome)| match outcome {
        EndOutcome::Completed => ready_then(vec![story.ended(cause, outcome)]),
        EndOutcome::Cancelled => preparing_then(vec![story.ended(cause, outcome)]),
    }));
    histories
}

fn all_texts(destination: Destination) -> String {
    let mut lines: Vec<String> = Vec::new();
    for report in histories()
        .into_iter()
        .flat_map(|history| reports(destination, history))
    {
        let line = text(&report);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("\n\n")
}

#[test]
fn users_read_what_happened_to_which_server_and_what_to_do() {
    insta::assert_snapshot!("notifications", all_texts(Destination::Notification));
}

#[test]
fn administrators_read_what_became_of_each_webhook() {
    insta::assert_snapshot!("webhook_log", all_texts(Destination::WebhookLog));
}

#[test]
fn a_notification_names_booking_and_server_as_the_receiver_knows_them() {
    let reports = reports(Destination::Notification, Story::of("5120").to_ready());
    let mut body = body(&reports[0].1);
    assert!(
        body["message"]
            .take()
            .as_str()
            .unwrap()
            .contains("\nssh prognose@198.51.100.34\n")
    );
    insta::assert_json_snapshot!(body, @r#"
    {
      "eventId": "5120",
      "eventType": "PROVISIONING_COMPLETED",
      "message": null,
      "metadata": {
        "namespace": "metal3",
        "resourceName": "lab7-node04",
        "resourceType": "BareMetalHost"
      },
      "resourceId": "lab7-node04",
      "type": "SUCCESS",
      "userId": "9f0c2f6e-5a51-4c0e-9d7a-2f3b1c4d5e6f",
      "webhookId": 12
    }
    "#);
}

#[test]
fn a_reservation_without_a_user_is_logged_and_notified_to_nobody() {
    for story in [Story::of("5120").by_nobody(), Story::of("5120").by(" ")] {
        assert_eq!(reports(Destination::Notification, story.to_ready()), []);
        assert_eq!(reports(Destination::WebhookLog, story.to_ready()).len(), 2);
    }
}

#[test]
fn of_a_changed_owner_each_of_the_two_is_told() {
    let story = Story::of("5120");
    let told = reports(Destination::Notification, ready_then(story.owner_changed()));
    let users: Vec<String> = told
        .iter()
        .filter(|(fact, _)| fact.starts_with("Owner"))
        .map(|(_, composed)| body(composed)["userId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        users,
        ["9f0c2f6e-5a51-4c0e-9d7a-2f3b1c4d5e6f", "another-user"]
    );
}

#[test]
fn who_is_given_a_booking_that_is_over_is_told_of_it() {
    let story = Story::of("5120");
    let history = vec![
        vec![story.announced()],
        vec![story.missed()],
        vec![story.given_too_late()],
    ];
    let told = reports(Destination::Notification, history);
    let (fact, composed) = told.last().unwrap();
    assert_eq!(*fact, "ChangeCameTooLate");
    assert_eq!(body(composed)["userId"], "another-user");
}

#[test]
fn a_name_of_full_stops_is_named_whole() {
    let mut view = LedgerView::default();
    let story = Story::of("5120");
    let mut history = entries(vec![vec![story.refused()]]);
    let entry = &mut history[0];
    entry.resource = server("..");
    view.take_in(entry);
    let told = body(&view.compose(Destination::Notification, entry, 0, None));
    let told = told["message"].as_str().unwrap();
    assert!(
        told.starts_with("Your reservation of server .. could not be served"),
        "{told}"
    );
}

#[test]
fn whose_booking_ends_before_it_begins_is_told_so_and_not_that_it_came_late() {
    let mut refused = Story::of("5120").refused();
    if let Fact::ReservationRefused(refused) = &mut refused {
        let schedule = &mut refused.announced.knowledge.schedule;
        schedule.end = schedule.start;
    }
    for (destination, field) in [
        (Destination::Notification, "message"),
        (Destination::WebhookLog, "response"),
    ] {
        let reports = reports(destination, vec![vec![refused.clone()]]);
        let told = body(&reports[0].1);
        let told = told[field].as_str().unwrap();
        let why = "end (2026-12-03 08:00 UTC) does not come after its start (2026-12-03 08:00 UTC)";
        assert!(told.contains(why), "{told}");
        assert!(!told.contains("only after"), "{told}");
    }
}

#[test]
fn the_error_that_ends_a_reservation_is_reported_once() {
    let story = Story::of("5120");
    let reason = FailureReason::ProvisioningErrors {
        error: host_error(),
        attempts: 3,
    };
    let reports = reports(
        Destination::Notification,
        preparing_then(vec![story.error_seen(3), story.failed(reason)]),
    );
    let facts: Vec<_> = reports.iter().map(|(fact, _)| *fact).collect();
    assert_eq!(facts, ["ReservationFailed"]);
}

#[test]
fn who_chose_an_image_reads_its_name_where_there_is_room_for_it() {
    let told = |image: &str, address: &str| {
        let history = vec![
            vec![Story::of("5120").started_choosing(image)],
            vec![Story::of("5120").assigned()],
            vec![Story::of("5120").claimed()],
            vec![Fact::HostProvisioned {
                reservation: Story::of("5120").id,
                address: Some(address.to_owned()),
            }],
        ];
        let ready = reports(Destination::Notification, history).remove(0);
        body(&ready.1)["message"].as_str().unwrap().to_owned()
    };
    let message = told("noble", "198.51.100.34");
    assert!(
        message.ends_with(" Its image is noble, as you chose."),
        "{message}"
    );
    let message = told(&"n".repeat(90), &"a".repeat(160));
    assert!(message.ends_with("is taken back then."), "{message}");
}

#[test]
fn that_a_site_is_settled_is_no_news_and_who_waited_for_it_is_not_told_so_afterwards() {
    let story = Story::of("5120");
    let settled = Fact::SiteSettled {
        reservation: story.id.clone(),
    };
    let mut history = of_several_sites(vec![story.waits(WaitReason::Site)]);
    history.push(vec![settled]);
    let late = late_reports(Destination::Notification, history);
    assert!(
        matches!(late[..], [("ReservationWaits", Composed::NoLongerTrue(_))]),
        "{late:?}"
    );
    let rehomed = vec![vec![story.rehomed()]];
    assert_eq!(reports(Destination::Notification, rehomed), []);
}

#[test]
fn a_host_that_others_change_before_it_is_ready_is_no_news_for_its_user() {
    let history = preparing_then(vec![Story::of("5120").changed_by_others()]);
    assert_eq!(reports(Destination::Notification, history), []);
}

#[test]
fn what_is_said_of_a_reservation_that_is_over_is_owed_to_nobody() {
    let story = Story::of("5120");
    let mut history = ready_then(vec![story.ended(EndCause::End, EndOutcome::Completed)]);
    let before = reports(Destination::Notification, history.clone()).len();
    history.push(vec![
        story.ended(EndCause::Deleted, EndOutcome::Completed),
        story.failed(FailureReason::HostGone),
    ]);
    assert_eq!(reports(Destination::Notification, history).len(), before);
}

#[test]
fn one_entry_that_ends_a_reservation_twice_owes_one_outcome() {
    let story = Story::of("5120");
    let twice = vec![
        story.failed(FailureReason::HostGone),
        story.ended(EndCause::End, EndOutcome::Cancelled),
    ];
    let reports = reports(Destination::Notification, preparing_then(twice));
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].0, "ReservationFailed");
}

#[test]
fn of_two_outcomes_that_were_decided_at_once_on_two_resources_the_first_is_told() {
    let story = Story::of("5120");
    let history = vec![vec![story.refused()], vec![story.missed()]];
    let mut entries = entries(history);
    entries[1].resource = server("another");
    let mut view = LedgerView::default();
    for destination in Destination::ALL {
        let mut owing = Vec::new();
        for entry in &entries {
            view.take_in(entry);
            owing.push(view.owing(destination, entry).len());
        }
        assert_eq!(owing, [1, 0]);
    }
}

#[test]
fn ready_is_not_told_after_the_end() {
    let story = Story::of("5120");
    let history = || ready_then(vec![story.ended(EndCause::End, EndOutcome::Completed)]);
    let notifications = late_reports(Destination::Notification, history());
    assert!(matches!(
        notifications[0],
        ("HostProvisioned", Composed::NoLongerTrue(_))
    ));
    assert!(matches!(
        notifications[1],
        ("ReservationEnded", Composed::Send(_))
    ));
    // The log is history: it is true whenever it is read.
    let logs = late_reports(Destination::WebhookLog, history());
    assert!(
        logs.iter()
            .all(|(_, composed)| matches!(composed, Composed::Send(_)))
    );
    assert_eq!(logs.len(), 3);
}

#[test]
fn who_brought_no_key_hears_it_at_once_though_the_booking_was_moved_to_later() {
    let story = Story::of("5120");
    let text = "no SSH public key came with it".to_owned();
    let started = story.started_with(TenantKey::Missing {
        reason: text.clone(),
    });
    let waits = story.waits(WaitReason::Key { text });
    let history = vec![vec![started, waits, story.postponed()]];
    let told = late_reports(Destination::Notification, history);
    let of_key = told.iter().find(|(name, _)| *name == "ReservationWaits");
    assert!(matches!(of_key, Some((_, Composed::Send(_)))), "{told:?}");
}

#[test]
fn what_passed_before_it_could_be_told_is_not_told() {
    let story = Story::of("5120");
    let holder = WaitReason::Holder {
        holder: reservation("5119"),
    };
    let waited = {
        let mut history = vec![vec![story.started(), story.waits(holder)]];
        history.extend(story.to_preparing().split_off(1));
        history
    };
    let mut erred = preparing_then(vec![story.error_seen(1)]);
    erred.push(vec![story.provisioned()]);
    let mut recovered = ready_then(vec![story.troubled()]);
    recovered.push(vec![story.recovered()]);
    let mut extended = ready_then(vec![story.deadline_passed("2026-12-03T19:40:00Z")]);
    extended.push(vec![story.extended("2026-12-04T17:30:00Z")]);
    let came = vec![
        vec![story.announced()],
        vec![story.overdue()],
        vec![story.started()],
    ];
    let without_key = || {
        let key = WaitReason::Key {
            text: "no SSH public key came with it".to_owned(),
        };
        let started = story.started_with(TenantKey::Missing {
            reason: "no SSH public key came with it".to_owned(),
        });
        vec![vec![started], vec![story.waits(key)]]
    };
    let mut keyed = without_key();
    keyed.push(vec![story.key_brought()]);
    for (history, fact) in [
        (waited, "ReservationWaits"),
        (keyed, "ReservationWaits"),
        (erred, "ProvisioningErrorSeen"),
        (recovered, "ReadyHostTroubled"),
        (extended, "DeadlinePassed"),
        (came, "StartOverdue"),
    ] {
        let late = late_reports(Destination::Notification, history);
        let composed = late
            .iter()
            .find_map(|(name, composed)| (*name == fact).then_some(composed));
        assert!(
            matches!(composed, Some(Composed::NoLongerTrue(_))),
            "{fact}: {composed:?}"
        );
    }
}

#[test]
fn a_text_tells_the_end_as_it_is_now() {
    let mut history = Story::of("5120").to_ready();
    history.push(vec![Story::of("5120").extended("2026-12-05T09:00:00Z")]);
    let late = late_reports(Destination::Notification, history);
    let message = body(&late[0].1)["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("2026-12-05 09:00 UTC") && !message.contains("17:30"),
        "{message}"
    );
}

/// Under which webhooks a report may leave, in the order in which they are tried.
fn webhooks(composed: &Composed) -> Vec<String> {
    let Composed::Send(report) = composed else {
        panic!("not sent: {composed:?}");
    };
    let named = |copy: &ReportCopy| {
        let body: Value = serde_json::from_slice(&copy.body).unwrap();
        assert_eq!(body["webhookId"].to_string(), copy.webhook.to_string());
        copy.webhook.to_string()
    };
    report.copies().map(named).collect()
}

#[test]
fn a_report_leaves_under_the_webhook_of_the_accepted_start_and_else_under_the_others_in_their_order()
 {
    let story = Story::of("5120");
    let under = |webhook| story.clone().under(webhook);
    let mut history = vec![
        vec![under("13").announced()],
        vec![under("14").extended("2026-12-03T18:00:00Z")],
        vec![under("12").started()],
        vec![under("15").extended("2026-12-03T19:00:00Z")],
    ];
    history.extend(story.to_ready().split_off(1));
    history.push(vec![
        under("13").ended(EndCause::End, EndOutcome::Completed),
    ]);
    for destination in Destination::ALL {
        let reports = late_reports(destination, history.clone());
        let (_, end) = reports.last().unwrap();
        assert_eq!(webhooks(end), ["12", "13", "14", "15"]);
    }
    // Moved by a saying under another webhook, it is still the start's.
    history.insert(4, vec![under("16").moved_in()]);
    let reports = late_reports(Destination::WebhookLog, history);
    assert_eq!(webhooks(&reports[0].1)[0], "12");
}

#[test]
fn a_webhook_whose_copy_came_late_signs_reports_too() {
    let story = Story::of("5120");
    let mut history = story.to_ready();
    history.push(vec![story.clone().under("13").webhook_heard()]);
    for destination in Destination::ALL {
        let reports = late_reports(destination, history.clone());
        for (_, report) in &reports {
            assert_eq!(webhooks(report), ["12", "13"]);
        }
    }
}

#[test]
fn however_many_webhooks_tell_of_a_booking_a_report_is_tried_under_eight_at_most() {
    let story = Story::of("5120");
    let announced = |webhook: u32| vec![story.clone().under(&webhook.to_string()).announced()];
    let mut history: Vec<_> = (100..120).map(announced).collect();
    history.push(vec![story.started()]);
    let reports = late_reports(Destination::WebhookLog, history);
    let tried = webhooks(&reports[0].1);
    assert_eq!((tried.len(), tried[0].as_str()), (8, "12"));
}

#[test]
fn a_completed_reservation_s_user_is_told_that_it_is_ready_and_that_it_is_over_and_nothing_else() {
    let story = Story::of("5120");
    let mut history = ready_then(vec![story.ended(EndCause::End, EndOutcome::Completed)]);
    history.push(vec![story.released()]);
    let told = reports(Destination::Notification, history);
    let told: Vec<_> = told.iter().map(|(fact, _)| *fact).collect();
    assert_eq!(told, ["HostProvisioned", "ReservationEnded"]);
}

#[test]
fn a_webhook_id_that_can_t_be_one_makes_a_report_unsendable() {
    let history = Story::of("5120").under("not an id").to_ready();
    for (_, composed) in reports(Destination::WebhookLog, history) {
        assert!(matches!(composed, Composed::Unsendable(_)), "{composed:?}");
    }
}

#[test]
fn each_report_knows_the_one_before_it_about_the_same_reservation() {
    use crate::view::Place;
    use bellhop_domain::id::Version;

    let (one, other) = (Story::of("5120"), Story::of("5121"));
    let holder = WaitReason::Holder {
        holder: one.id.clone(),
    };
    let mut history = one.to_ready();
    history.push(vec![other.started(), other.waits(holder)]);
    history.push(vec![one.ended(EndCause::End, EndOutcome::Completed)]);
    let mut view = LedgerView::default();
    entries(history)
        .iter()
        .for_each(|entry| view.take_in(entry));
    let place = |version, index| Place {
        version: Version(version),
        index,
        entry: None,
    };
    let previous = |destination, story: &Story, at| view.previous(destination, &story.id, at);
    assert_eq!(
        previous(Destination::Notification, &one, place(6, 0)),
        Some(place(4, 0))
    );
    assert_eq!(previous(Destination::Notification, &one, place(4, 0)), None);
    assert_eq!(
        previous(Destination::Notification, &other, place(5, 1)),
        None
    );
    assert_eq!(
        previous(Destination::WebhookLog, &one, place(4, 0)),
        Some(place(1, 0))
    );
}

fn wild() -> impl Strategy<Value = String> {
    prop_oneof![
        "[\\PC\\n\\t]{0,900}",
        Just("🦀".repeat(700)),
        Just(String::new())
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_others_say_the_receiver_s_limits_are_kept_and_the_advice_is_not_cut(
        text in wild(), name in prop_oneof!["[ -~é🦀]{1,100}", Just("n".repeat(100))], address in prop_oneof![wild(), "[a-z0-9.:]{150,165}"],
    ) {
        prop_assume!(!name.trim().is_empty());
        let story = Story::of("5120");
        let error = bellhop_domain::reservation::HostError { kind: "provisioning error".to_owned(), message: text.clone() };
        let key = TenantKey::Missing { reason: text.clone() };
        let facts = [
            Fact::HostProvisioned { reservation: story.id.clone(), address: Some(address) },
            story.failed(FailureReason::ProvisioningErrors { error: error.clone(), attempts: 3 }),
            story.failed(FailureReason::HostUnknown { text: text.clone() }),
            story.failed(FailureReason::ImageNotOffered { text: text.clone() }),
            story.failed(FailureReason::NotClaimedInTime { waited_for: Some(WaitReason::Key { text: text.clone() }) }),
            Fact::ProvisioningErrorSeen { reservation: story.id.clone(), error, attempt: 1, attempts: 3 },
        ];
        let ready = [
            Fact::ReadyHostTroubled { reservation: story.id.clone(), trouble: text.clone() },
            Fact::HostChangedByOthers { reservation: story.id.clone(), change: text.clone() },
            story.deadline_passed("2026-12-03T19:40:00Z"),
            story.ended(EndCause::ProvenOver, EndOutcome::Completed),
        ];
        let waiting = [
            story.waits(WaitReason::Host { text: text.clone() }),
            story.waits(WaitReason::Key { text: text.clone() }),
        ];
        let mut histories: Vec<_> = facts.into_iter().map(|fact| preparing_then(vec![fact])).collect();
        histories.extend(ready.into_iter().map(|fact| ready_then(vec![fact])));
        histories.extend(waiting.into_iter().map(|fact| vec![vec![story.started_with(key.clone()), fact]]));
        for history in histories {
            let mut view = LedgerView::default();
            for mut entry in entries(history) {
                entry.resource = server(&name);
                view.take_in(&entry);
                for destination in Destination::ALL {
                    for index in view.owing(destination, &entry).into_iter().flatten() {
                        let body = body(&view.compose(destination, &entry, index, None));
                        let units = |field: &str| body[field].as_str().map_or(0, |text| text.encode_utf16().count());
                        prop_assert!(units("message") <= 500 && units("payload") <= 4000 && units("response") <= 4000);
                        if let Some(message) = body["message"].as_str() {
                            prop_assert!(message.ends_with('.'), "cut: {message}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_move_from_an_adopted_host_does_not_say_that_it_is_taken_back() {
    let story = Story::of("5120");
    let moved = vec![vec![story.moved_from_an_adopted_host()]];
    let report = reports(Destination::Notification, moved).remove(0);
    let message = body(&report.1)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("stays as it is"), "{message}");
    assert!(!message.contains("deleted"), "{message}");
}
