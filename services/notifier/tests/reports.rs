//! Reports on their way to a receiver with the real one's checks, over a real broker.

#![allow(clippy::unwrap_used, clippy::panic)]

mod facts;
mod scene;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use bellhop_domain::reservation::{EndCause, EndOutcome, FailureReason, WaitReason};
use bellhop_event_store::{ReportKey, ReportState};
use bellhop_notifier::Destination::{self, Notification, WebhookLog};
use bellhop_simulator::reservation_system::{Endpoint, Fault, FaultKind, User, Webhook};
use facts::{SERVER_NUMBER, Story, USER, host_error, reservation};
use scene::{LIMIT, Running, SECRET, Scene, TRACEPARENT, eventually, receiver};

fn completed(story: &Story) -> bellhop_domain::reservation::Fact {
    story.ended(EndCause::End, EndOutcome::Completed)
}

fn is_delivered(state: &ReportState) -> bool {
    matches!(state, ReportState::Delivered { .. })
}

#[tokio::test]
async fn a_ready_host_is_reported_so_that_the_receiver_accepts_it() {
    let scene = Scene::set().await;
    let notifier = scene.notifier().await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    for destination in Destination::ALL {
        assert!(is_delivered(
            &scene.settled(&story, ready, 0, destination).await
        ));
    }

    let notifications = scene.system.notifications();
    assert_eq!(notifications.len(), 1);
    assert_eq!(
        (
            notifications[0].kind.as_str(),
            notifications[0].user_id.as_str()
        ),
        ("SUCCESS", USER)
    );
    assert!(
        notifications[0]
            .message
            .contains("\nssh prognose@198.51.100.34\n")
    );
    let logs = scene.system.webhook_logs();
    assert_eq!(logs.len(), 2);
    assert_eq!(logs[0].payload, facts::PAYLOAD);
    assert!(
        logs.iter()
            .all(|log| log.success && log.resource_id == Some(SERVER_NUMBER))
    );

    // Each continues the trace of its fact, in a span of its own, and is authorized by nothing but its signature.
    let trace_id = &TRACEPARENT[3..35];
    for received in scene.system.received() {
        let traceparent = received.traceparent.clone().unwrap();
        assert!(
            traceparent.contains(trace_id) && traceparent != TRACEPARENT,
            "{traceparent}"
        );
        assert_eq!(received.header("content-type"), Some("application/json"));
        assert_eq!(received.header("authorization"), None);
    }
    notifier
        .shows("readyz?verbose", "[+]notification-endpoint ok")
        .await;
    notifier
        .shows(
            "metrics",
            r#"bellhop_reports_total{destination="notification",outcome="delivered"} 1"#,
        )
        .await;
    notifier.stop().await;
}

#[tokio::test]
async fn one_reservation_s_reports_arrive_in_order_from_start_to_end() {
    let scene = Scene::set().await;
    let _notifier = scene.notifier().await;
    let story = Story::of("5120");
    let holder = WaitReason::Holder {
        holder: reservation("5119"),
    };
    let waits = scene
        .append(vec![story.started(), story.waits(holder)])
        .await;
    scene.settled(&story, waits, 1, Notification).await;
    scene.append(vec![story.assigned()]).await;
    scene.append(vec![story.claimed(), story.resumed()]).await;
    let error = scene.append(vec![story.error_seen(1)]).await;
    scene.settled(&story, error, 0, Notification).await;
    let ready = scene
        .append(vec![story.error_cleared(), story.provisioned()])
        .await;
    scene.settled(&story, ready, 1, Notification).await;
    let end = scene.append(vec![completed(&story)]).await;
    scene.append(vec![story.released()]).await;
    for destination in Destination::ALL {
        scene.settled(&story, end, 0, destination).await;
    }
    assert_eq!(
        scene.told(),
        [
            "PROVISIONING_WAITING",
            "PROVISIONING_ERROR",
            "PROVISIONING_COMPLETED",
            "RESERVATION_COMPLETED"
        ]
    );
    let logged = scene.logged("5120");
    assert_eq!(logged.len(), 3, "{logged:?}");
    assert!(logged[0].starts_with("EVENT_START start accepted"));
    assert!(logged[1].starts_with("EVENT_START provisioned in"));
    assert!(logged[2].starts_with("EVENT_END ended: completed"));
    assert_eq!(scene.system.refused().len(), 0);
}

#[tokio::test]
async fn a_failed_reservation_is_told_once_with_metal3_s_own_words() {
    let scene = Scene::set().await;
    let _notifier = scene.notifier().await;
    let story = Story::of("5120");
    scene.append_all(story.to_preparing()).await;
    let reason = FailureReason::ProvisioningErrors {
        error: host_error(),
        attempts: 3,
    };
    let failed = scene
        .append(vec![story.error_seen(3), story.failed(reason)])
        .await;
    for destination in Destination::ALL {
        scene.settled(&story, failed, 1, destination).await;
    }
    let notifications = scene.system.notifications();
    assert_eq!(scene.told(), ["PROVISIONING_FAILED"]);
    assert!(
        notifications[0]
            .message
            .contains("provisioning error: image could not be written: checksum mismatch")
    );
    let last = scene.system.webhook_logs().pop().unwrap();
    assert_eq!((last.success, last.status_code), (false, Some(500)));
}

#[tokio::test]
async fn a_receiver_that_was_down_gets_each_report_once_and_in_order_when_it_is_up() {
    let scene = Scene::set().await;
    let notifier = scene.notifier_with(&["--report-attempts=1"]).await;
    scene.system.stop().await;
    let story = Story::of("5120");
    let mut versions = Vec::new();
    scene.append_all(story.to_preparing()).await;
    for attempt in 1..=2 {
        versions.push(scene.append(vec![story.error_seen(attempt)]).await);
        scene.append(vec![story.error_cleared()]).await;
    }
    for destination in ["notification-endpoint", "webhook-log-endpoint"] {
        notifier
            .shows(
                "readyz?verbose",
                &format!("[+]{destination} degraded: cannot connect"),
            )
            .await;
    }
    notifier
        .shows(
            "metrics",
            r#"bellhop_report_circuit_open{destination="notification"} 1"#,
        )
        .await;
    scene.system.start_listening().await.unwrap();
    for version in versions {
        assert!(is_delivered(
            &scene.settled(&story, version, 0, Notification).await
        ));
    }
    let messages: Vec<_> = scene
        .system
        .notifications()
        .into_iter()
        .map(|it| it.message)
        .collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].contains("attempt 1 of 3") && messages[1].contains("attempt 2 of 3"));
    notifier
        .shows("readyz?verbose", "[+]notification-endpoint ok")
        .await;
    assert_eq!(scene.dead_letters().await.len(), 0);
}

#[tokio::test]
async fn a_report_that_is_tried_again_and_again_delays_no_other_reservation() {
    let scene = Scene::set().await;
    let _notifier = scene.notifier_with(&["--report-attempts=1000"]).await;
    let (unknown, known) = (Story::of("5120").by("nobody"), Story::of("5121"));
    let tried = scene.append_all_on("one", unknown.to_ready()).await;
    scene
        .system
        .wait_for_refused(LIMIT, |_| true)
        .await
        .unwrap();
    let served = scene.append_all_on("other", known.to_ready()).await;
    assert!(is_delivered(
        &scene.settled(&known, served, 0, Notification).await
    ));
    let key = ReportKey {
        reservation: unknown.id.clone(),
        version: tried,
        entry: None,
        index: 0,
        destination: "notification",
    };
    let (state, _) = scene.store.report(&key).await.unwrap().unwrap();
    assert!(
        matches!(state, ReportState::Owed { attempts: 1.., .. }),
        "{state:?}"
    );
    // Once its user is known the receiver takes it.
    scene.system.put_user(User::new("nobody", "nobody"));
    assert!(is_delivered(
        &scene.settled(&unknown, tried, 0, Notification).await
    ));
}

#[tokio::test]
async fn an_unknown_user_s_report_is_tried_so_often_and_then_buried() {
    let scene = Scene::set().await;
    let notifier = scene.notifier_with(&["--report-attempts=3"]).await;
    let unknown = Story::of("5120").by("nobody");
    let buried = scene.append_all_on("one", unknown.to_ready()).await;
    assert!(matches!(
        scene.settled(&unknown, buried, 0, Notification).await,
        ReportState::DeadLettered { .. }
    ));
    assert_eq!(scene.system.refused().len(), 3);

    let letters = scene.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        letters[0].subject,
        "dead_letters.notifier.report.notification"
    );
    assert_eq!(
        (letters[0].tries, letters[0].reason.contains("HTTP 500")),
        (3, true)
    );
    let text = format!(
        "{:?} {}",
        letters[0],
        String::from_utf8_lossy(&letters[0].body)
    );
    assert!(
        text.contains("nobody")
            && !text.contains(SECRET)
            && !text.to_lowercase().contains("signature")
    );
    notifier
        .shows("readyz?verbose", "[!]alarm dead_letters")
        .await;
    // The circuit is for receivers that don't answer; this one does.
    notifier
        .shows("readyz?verbose", "[+]notification-endpoint ok")
        .await;
    // What comes after it about the same reservation leaves once it is buried.
    scene.system.put_user(User::new("nobody", "nobody"));
    let end = scene.append_on("one", vec![completed(&unknown)]).await;
    assert!(is_delivered(
        &scene.settled(&unknown, end, 0, Notification).await
    ));
}

#[tokio::test]
async fn a_definite_refusal_is_not_repeated_and_the_next_report_leaves() {
    let scene = Scene::set().await;
    let starts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&starts);
    let endpoint = receiver(move |_, body| {
        if body.contains("EVENT_START") {
            counted.fetch_add(1, Ordering::Relaxed);
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::CREATED
        }
    })
    .await;
    let endpoint = format!("--webhook-log-endpoint={endpoint}");
    let _notifier = Running::start(scene.settings_without_endpoints(&[&endpoint], &[])).await;
    let story = Story::of("5120");
    let start = scene.append(vec![story.started()]).await;
    assert!(matches!(
        scene.settled(&story, start, 0, WebhookLog).await,
        ReportState::DeadLettered { reason, .. } if reason.contains("400")
    ));
    let end = scene
        .append(vec![story.ended(EndCause::Deleted, EndOutcome::Cancelled)])
        .await;
    assert!(is_delivered(
        &scene.settled(&story, end, 0, WebhookLog).await
    ));
    assert_eq!(starts.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_became_of_a_deleted_resource_is_logged_without_its_number() {
    let scene = Scene::set().await;
    let _notifier = scene.notifier_with(&["--report-attempts=1"]).await;
    let mut story = Story::of("5120");
    story.number = Some(999);
    let start = scene.append(vec![story.started()]).await;
    assert!(is_delivered(
        &scene.settled(&story, start, 0, WebhookLog).await
    ));
    let logs = scene.system.webhook_logs();
    assert_eq!((logs.len(), logs[0].resource_id), (1, None));
    assert_eq!(scene.system.refused().len(), 1);
}

#[tokio::test]
async fn while_a_secret_is_replaced_the_receiver_may_have_either() {
    let scene = Scene::set().await;
    scene.set_secrets(&format!(r#"{{"12": ["the new one", "{SECRET}"]}}"#));
    let _notifier = scene.notifier_with(&["--report-attempts=1"]).await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    scene.settled(&story, ready, 0, Notification).await;
    scene
        .system
        .put_webhook(Webhook::new(12, "the new one", "http://127.0.0.1:9"));
    let end = scene.append(vec![completed(&story)]).await;
    scene.settled(&story, end, 0, Notification).await;
    assert_eq!(
        scene.told(),
        ["PROVISIONING_COMPLETED", "RESERVATION_COMPLETED"]
    );
}

#[tokio::test]
async fn a_secret_that_the_receiver_does_not_have_yet_loses_no_report() {
    let scene = Scene::set().await;
    scene.set_secrets(r#"{"12": "the new one"}"#);
    let _notifier = scene.notifier_with(&["--report-attempts=1000"]).await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    eventually("it was refused, and tried again", async || {
        let received = scene.received_at("notifications/webhook");
        (received.len() > 1).then_some(())
    })
    .await;
    scene
        .system
        .put_webhook(Webhook::new(12, "the new one", "http://127.0.0.1:9"));
    for destination in Destination::ALL {
        assert!(is_delivered(
            &scene.settled(&story, ready, 0, destination).await
        ));
    }
}

#[tokio::test]
async fn a_wrong_secret_is_tried_so_often_and_then_the_report_is_buried() {
    let scene = Scene::set().await;
    scene.set_secrets(r#"{"12": ["wrong", "too"]}"#);
    let _notifier = scene.notifier_with(&["--report-attempts=3"]).await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    assert!(matches!(
        scene.settled(&story, ready, 0, Notification).await,
        ReportState::DeadLettered { reason, .. }
            if reason == "tried 3 times; the last time it answered HTTP 401"
    ));
    assert_eq!(scene.received_at("notifications/webhook").len(), 6);
}

#[tokio::test]
async fn a_receiver_whose_answers_never_arrive_is_not_sent_a_report_for_ever() {
    let scene = Scene::set().await;
    scene
        .system
        .inject(Fault::new(FaultKind::LoseAnswer).on(Endpoint::Notifications));
    let _notifier = scene.notifier_with(&["--report-attempts=3"]).await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    assert!(matches!(
        scene.settled(&story, ready, 0, Notification).await,
        ReportState::DeadLettered { reason, .. } if reason.contains("the connection broke")
    ));
    assert_eq!(scene.told(), ["PROVISIONING_COMPLETED"; 3]);
    assert_eq!(scene.dead_letters().await[0].tries, 3);
}

#[tokio::test]
async fn an_outage_behind_a_proxy_uses_up_no_tries() {
    let scene = Scene::set().await;
    let is_up = Arc::new(AtomicBool::new(false));
    let (looks, posts) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let proxy = {
        let (is_up, looks, posts) = (Arc::clone(&is_up), Arc::clone(&looks), Arc::clone(&posts));
        receiver(move |method, _| {
            let is_post = method == Method::POST;
            let count = if is_post { &posts } else { &looks };
            count.fetch_add(1, Ordering::Relaxed);
            match (is_up.load(Ordering::Relaxed), is_post) {
                (false, _) => StatusCode::BAD_GATEWAY,
                (true, false) => StatusCode::METHOD_NOT_ALLOWED,
                (true, true) => StatusCode::CREATED,
            }
        })
        .await
    };
    let endpoint = format!("--notification-endpoint={proxy}");
    let settings = scene.settings_without_endpoints(&[&endpoint], &["--report-attempts=2"]);
    let _notifier = Running::start(settings).await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    eventually("it was looked again and again", async || {
        (looks.load(Ordering::Relaxed) >= 5).then_some(())
    })
    .await;
    assert_eq!(posts.load(Ordering::Relaxed), 1);
    is_up.store(true, Ordering::Relaxed);
    assert!(is_delivered(
        &scene.settled(&story, ready, 0, Notification).await
    ));
}

#[tokio::test]
async fn a_lost_answer_repeats_its_report_once_at_most() {
    let scene = Scene::set().await;
    scene.system.inject(
        Fault::new(FaultKind::LoseAnswer)
            .on(Endpoint::Notifications)
            .times(1),
    );
    let _notifier = scene.notifier().await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    scene.settled(&story, ready, 0, Notification).await;
    let end = scene.append(vec![completed(&story)]).await;
    scene.settled(&story, end, 0, Notification).await;
    assert_eq!(
        scene.told(),
        [
            "PROVISIONING_COMPLETED",
            "PROVISIONING_COMPLETED",
            "RESERVATION_COMPLETED"
        ]
    );
}

#[tokio::test]
async fn a_receiver_that_hangs_does_not_keep_the_other_destination_waiting() {
    let scene = Scene::set().await;
    scene
        .system
        .inject(Fault::new(FaultKind::Hang).on(Endpoint::Notifications));
    let notifier = scene.notifier_with(&["--notification-timeout=0.3"]).await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    assert!(is_delivered(
        &scene.settled(&story, ready, 0, WebhookLog).await
    ));
    notifier
        .shows(
            "readyz?verbose",
            "[+]notification-endpoint degraded: no answer within 0.3 s",
        )
        .await;
    scene.system.clear_faults();
    assert!(is_delivered(
        &scene.settled(&story, ready, 0, Notification).await
    ));
    assert_eq!(scene.told(), ["PROVISIONING_COMPLETED"]);
}

#[tokio::test]
async fn a_report_that_its_receiver_always_stumbles_over_holds_no_other_up() {
    let scene = Scene::set().await;
    let stumbles = |_, body: String| {
        if body.contains("5120") {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        }
    };
    let endpoint = format!("--notification-endpoint={}", receiver(stumbles).await);
    let _notifier =
        Running::start(scene.settings_without_endpoints(&[&endpoint], &["--report-attempts=1"]))
            .await;
    let stumbled_over = Story::of("5120");
    let owed = scene.append_all_on("one", stumbled_over.to_ready()).await;
    for number in 0..8 {
        let other = Story::of(&format!("{}", 6000 + number));
        let ready = scene
            .append_all_on(&format!("node{number}"), other.to_ready())
            .await;
        assert!(is_delivered(
            &scene.settled(&other, ready, 0, Notification).await
        ));
    }
    let key = ReportKey {
        reservation: stumbled_over.id,
        version: owed,
        entry: None,
        index: 0,
        destination: "notification",
    };
    let (state, _) = scene.store.report(&key).await.unwrap().unwrap();
    assert!(
        matches!(state, ReportState::Owed { attempts: 0, .. }),
        "{state:?}"
    );
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    let scene = Scene::set().await;
    let busy = FaultKind::TooManyRequests {
        retry_after_seconds: 1,
    };
    scene
        .system
        .inject(Fault::new(busy).on(Endpoint::Notifications).times(1));
    let _notifier = scene.notifier_with(&["--report-attempts=1"]).await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    assert!(is_delivered(
        &scene.settled(&story, ready, 0, Notification).await
    ));
    let received = scene.received_at("notifications/webhook");
    assert_eq!(received.len(), 2);
    let pause = received[1].at.duration_since(received[0].at);
    assert!(
        pause.as_secs_f64() >= 1.0,
        "asked for a second, got {pause:?}"
    );
}

#[tokio::test]
async fn a_notifier_that_comes_back_repeats_nothing_that_was_settled() {
    let scene = Scene::set().await;
    let story = Story::of("5120");
    let killed = scene.notifier().await;
    let ready = scene.append_all(story.to_ready()).await;
    for destination in Destination::ALL {
        scene.settled(&story, ready, 0, destination).await;
    }
    drop(killed);
    let end = scene.append(vec![completed(&story)]).await;
    let _notifier = scene.notifier().await;
    for destination in Destination::ALL {
        scene.settled(&story, end, 0, destination).await;
    }
    assert_eq!(
        scene.told(),
        ["PROVISIONING_COMPLETED", "RESERVATION_COMPLETED"]
    );
    assert_eq!(scene.logged("5120").len(), 3);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_request_loses_no_report_and_settles_it_once() {
    let scene = Scene::set().await;
    scene.system.inject(
        Fault::new(FaultKind::Hang)
            .on(Endpoint::Notifications)
            .times(1),
    );
    let killed = scene.notifier_with(&["--notification-timeout=5"]).await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    eventually("the request is under way", async || {
        (!scene.received_at("notifications/webhook").is_empty()).then_some(())
    })
    .await;
    drop(killed);
    let _notifier = scene.notifier().await;
    for destination in Destination::ALL {
        assert!(is_delivered(
            &scene.settled(&story, ready, 0, destination).await
        ));
    }
    assert_eq!(scene.told(), ["PROVISIONING_COMPLETED"]);
    assert_eq!(scene.received_at("notifications/webhook").len(), 2);
}

#[tokio::test]
async fn the_broker_s_restart_loses_and_repeats_nothing() {
    let mut scene = Scene::set().await;
    let notifier = scene.notifier().await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    scene.settled(&story, ready, 0, Notification).await;
    scene.nats.restart().unwrap();
    eventually("the broker is back", async || {
        scene.store.ledger_end().await.ok()
    })
    .await;
    let end = scene.append(vec![completed(&story)]).await;
    for destination in Destination::ALL {
        assert!(is_delivered(
            &scene.settled(&story, end, 0, destination).await
        ));
    }
    assert_eq!(
        scene.told(),
        ["PROVISIONING_COMPLETED", "RESERVATION_COMPLETED"]
    );
    notifier.shows("readyz?verbose", "[+]nats ok").await;
}

#[tokio::test]
async fn two_notifiers_send_each_report_once_and_each_reservation_s_in_order() {
    let scene = Scene::set().await;
    let notifiers = [scene.notifier().await, scene.notifier().await];
    let mut lasts = Vec::new();
    for number in 0..12 {
        let story = Story::of(&format!("{}", 6000 + number));
        let server = format!("node{number:02}");
        scene.append_all_on(&server, story.to_preparing()).await;
        for attempt in 1..=2 {
            scene
                .append_on(&server, vec![story.error_seen(attempt)])
                .await;
        }
        let reason = FailureReason::ProvisioningTimeout { seconds: 2700 };
        let last = scene.append_on(&server, vec![story.failed(reason)]).await;
        lasts.push((story, last));
    }
    for (story, last) in &lasts {
        for destination in Destination::ALL {
            scene.settled(story, *last, 0, destination).await;
        }
    }
    for (story, _) in &lasts {
        let of_story: Vec<_> = scene
            .system
            .notifications()
            .into_iter()
            .filter(|notification| notification.event_id.as_deref() == Some(story.id.event()))
            .map(|notification| notification.event_type.unwrap())
            .collect();
        // Errors that the failure overtook were not true any more; none comes twice, and none after the failure.
        assert_eq!(
            of_story.last().map(String::as_str),
            Some("PROVISIONING_FAILED")
        );
        assert!(
            of_story
                .iter()
                .filter(|it| *it == "PROVISIONING_FAILED")
                .count()
                == 1
                && of_story.len() <= 3
        );
        let logged = scene.logged(story.id.event());
        assert_eq!(logged.len(), 2, "{logged:?}");
        assert!(logged[0].contains("start accepted") && logged[1].contains("failed"));
    }
    for notifier in notifiers {
        notifier.stop().await;
    }
}

#[tokio::test]
async fn an_end_that_came_while_nobody_could_be_told_replaces_ready() {
    let scene = Scene::set().await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    let end = scene.append(vec![completed(&story)]).await;
    let _notifier = scene.notifier().await;
    scene.settled(&story, end, 0, Notification).await;
    assert!(matches!(
        scene.settled(&story, ready, 0, Notification).await,
        ReportState::Dropped { .. }
    ));
    assert_eq!(scene.told(), ["RESERVATION_COMPLETED"]);
}

#[tokio::test]
async fn a_webhook_without_a_secret_is_a_dead_letter_and_sends_nothing() {
    let scene = Scene::set().await;
    let notifier = scene.notifier().await;
    let story = Story::of("5120").under("77");
    let ready = scene.append_all(story.to_ready()).await;
    for destination in Destination::ALL {
        assert!(matches!(
            scene.settled(&story, ready, 0, destination).await,
            ReportState::DeadLettered { reason, .. } if reason.contains("no secret of webhook 77")
        ));
    }
    assert_eq!(scene.system.received().len(), 0);
    notifier
        .shows("readyz?verbose", "[!]alarm dead_letters")
        .await;
}

#[tokio::test]
async fn an_entry_that_can_t_be_read_is_a_dead_letter_and_blocks_nobody() {
    let scene = Scene::set().await;
    scene.append_garbage().await;
    let notifier = scene.notifier().await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    for destination in Destination::ALL {
        assert!(is_delivered(
            &scene.settled(&story, ready, 0, destination).await
        ));
    }
    eventually("both destinations have buried it", async || {
        (scene.dead_letters().await.len() == 2).then_some(())
    })
    .await;
    assert!(
        scene
            .dead_letters()
            .await
            .iter()
            .all(|letter| letter.body == "garbage")
    );
    notifier
        .shows("readyz?verbose", "[!]alarm ledger_unreadable 1")
        .await;
}

#[tokio::test]
async fn a_destination_without_an_endpoint_hears_only_of_what_happens_once_it_has_one() {
    let scene = Scene::set().await;
    let log = format!(
        "--webhook-log-endpoint={}",
        scene.system.webhook_log_endpoint()
    );
    let without = Running::start(scene.settings_without_endpoints(&[&log], &[])).await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    assert!(is_delivered(
        &scene.settled(&story, ready, 0, WebhookLog).await
    ));
    assert!(matches!(
        scene.settled(&story, ready, 0, Notification).await,
        ReportState::Dropped { reason, .. } if reason == "NOTIFICATION_ENDPOINT is not set"
    ));
    let page = without.page("readyz?verbose").await;
    assert!(
        page.contains("[+]notification-endpoint not configured")
            && page.contains("readyz check passed"),
        "{page}"
    );
    without.stop().await;

    let _with = scene.notifier().await;
    let end = scene.append(vec![completed(&story)]).await;
    assert!(is_delivered(
        &scene.settled(&story, end, 0, Notification).await
    ));
    assert_eq!(scene.told(), ["RESERVATION_COMPLETED"]);
}

#[tokio::test]
async fn a_stop_in_the_middle_loses_nothing() {
    let scene = Scene::set().await;
    scene.system.stop().await;
    let notifier = scene.notifier().await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    notifier
        .shows("readyz?verbose", "[+]notification-endpoint degraded")
        .await;
    let key = ReportKey {
        reservation: story.id.clone(),
        version: ready,
        entry: None,
        index: 0,
        destination: "notification",
    };
    eventually("it stands as owed", async || {
        scene.store.report(&key).await.unwrap()
    })
    .await;
    notifier.stop().await;
    scene.system.start_listening().await.unwrap();
    let _next = scene.notifier().await;
    assert!(is_delivered(
        &scene.settled(&story, ready, 0, Notification).await
    ));
    assert_eq!(scene.told(), ["PROVISIONING_COMPLETED"]);
}

#[tokio::test]
async fn endpoints_without_any_secret_are_no_start() {
    let arguments = [
        "notifier",
        "--port=0",
        "--notification-endpoint=http://127.0.0.1:9/api",
    ];
    let settings = bellhop_service::settings::parse(arguments).unwrap();
    let token = tokio_util::sync::CancellationToken::new();
    let run = tokio::time::timeout(
        Duration::from_secs(10),
        bellhop_notifier::run(settings, token),
    );
    let error = run.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("WEBHOOK_SECRET"), "{error}");
}
