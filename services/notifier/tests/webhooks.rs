//! Under which webhook a report goes out: that of the accepted start, and where the receiver does not take it (401), each other
//! one under which deliveries about the same booking came.

#![allow(clippy::unwrap_used, clippy::panic)]

mod facts;
mod scene;

use bellhop_domain::id::Version;
use bellhop_domain::reservation::{EndCause, EndOutcome};
use bellhop_event_store::ReportState;
use bellhop_notifier::Destination::{self, Notification, WebhookLog};
use bellhop_simulator::reservation_system::Webhook;
use facts::Story;
use scene::{SECRET, Scene};

const OTHER_SECRET: &str = "the other one";
const NOWHERE: &str = "http://127.0.0.1:9/webhook";

/// Webhook 12 and webhook 13 are known here and over there.
async fn two_webhooks() -> Scene {
    let scene = Scene::set().await;
    scene.set_secrets(&format!(r#"{{"12": "{SECRET}", "13": "{OTHER_SECRET}"}}"#));
    scene
        .system
        .put_webhook(Webhook::new(13, OTHER_SECRET, NOWHERE));
    scene
}

fn disable(scene: &Scene, webhook: u64, secret: &str) {
    let webhook = Webhook::new(webhook, secret, NOWHERE).disabled();
    scene.system.put_webhook(webhook);
}

/// A booking that webhook 13 announced, 12 started and 13 extended: the fact that its host is ready.
async fn ready_under_both(scene: &Scene, story: &Story) -> Version {
    let other = story.clone().under("13");
    scene.append(vec![other.announced()]).await;
    scene.append(vec![story.started()]).await;
    scene
        .append(vec![other.extended("2026-12-03T19:00:00Z")])
        .await;
    scene.append_all(story.to_ready().split_off(1)).await
}

/// The webhooks that requests to an endpoint named, in order.
fn named(scene: &Scene, endpoint: &str) -> Vec<i64> {
    scene
        .received_at(endpoint)
        .iter()
        .map(|received| {
            let body: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
            body["webhookId"].as_i64().unwrap()
        })
        .collect()
}

fn is_delivered(state: &ReportState) -> bool {
    matches!(state, ReportState::Delivered { .. })
}

#[tokio::test]
async fn a_report_goes_out_under_the_webhook_of_the_accepted_start() {
    let scene = two_webhooks().await;
    let _notifier = scene.notifier().await;
    let story = Story::of("5120");
    let ready = ready_under_both(&scene, &story).await;
    for destination in Destination::ALL {
        scene.settled(&story, ready, 0, destination).await;
    }
    let other = story.clone().under("13");
    let end = scene
        .append(vec![other.ended(EndCause::End, EndOutcome::Completed)])
        .await;
    for destination in Destination::ALL {
        scene.settled(&story, end, 0, destination).await;
    }
    assert_eq!(named(&scene, "notifications/webhook"), [12, 12]);
    assert_eq!(named(&scene, "webhooks/log"), [12, 12, 12]);
}

#[tokio::test]
async fn where_that_webhook_is_disabled_a_report_goes_out_once_under_another_of_the_same_booking() {
    let scene = two_webhooks().await;
    disable(&scene, 12, SECRET);
    // All of it is one try.
    let _notifiers = [
        scene.notifier_with(&["--report-attempts=1"]).await,
        scene.notifier_with(&["--report-attempts=1"]).await,
    ];
    let story = Story::of("5120");
    let ready = ready_under_both(&scene, &story).await;
    for destination in Destination::ALL {
        assert!(is_delivered(
            &scene.settled(&story, ready, 0, destination).await
        ));
    }
    assert_eq!(named(&scene, "notifications/webhook"), [12, 13]);
    assert_eq!(scene.told(), ["PROVISIONING_COMPLETED"]);
    assert_eq!(scene.logged("5120").len(), 2);
    assert_eq!(scene.dead_letters().await.len(), 0);
}

#[tokio::test]
async fn where_every_webhook_of_a_booking_is_disabled_its_reports_are_dead_letters_that_name_them()
{
    let scene = two_webhooks().await;
    disable(&scene, 12, SECRET);
    disable(&scene, 13, OTHER_SECRET);
    let notifier = scene.notifier_with(&["--report-attempts=3"]).await;
    let story = Story::of("5120");
    let ready = ready_under_both(&scene, &story).await;
    for destination in Destination::ALL {
        assert!(matches!(
            scene.settled(&story, ready, 0, destination).await,
            ReportState::DeadLettered { reason, .. }
                if reason == "tried 3 times; the last time it answered HTTP 401 under each of the webhooks 12, 13"
        ));
    }
    assert_eq!(
        named(&scene, "notifications/webhook"),
        [12, 13, 12, 13, 12, 13]
    );
    assert_eq!(scene.told(), [""; 0]);
    notifier
        .shows("readyz?verbose", "[!]alarm dead_letters")
        .await;
}

#[tokio::test]
async fn a_webhook_whose_secret_is_not_known_here_is_passed_over() {
    let scene = two_webhooks().await;
    scene.set_secrets(&format!(r#"{{"13": "{OTHER_SECRET}"}}"#));
    let _notifier = scene.notifier_with(&["--report-attempts=1"]).await;
    let story = Story::of("5120");
    let ready = ready_under_both(&scene, &story).await;
    for destination in Destination::ALL {
        assert!(is_delivered(
            &scene.settled(&story, ready, 0, destination).await
        ));
    }
    assert_eq!(named(&scene, "notifications/webhook"), [13]);
}

#[tokio::test]
async fn a_webhook_that_told_of_another_booking_signs_nothing_of_this_one() {
    let scene = two_webhooks().await;
    disable(&scene, 12, SECRET);
    let _notifier = scene.notifier_with(&["--report-attempts=2"]).await;
    let (one, other) = (Story::of("5120"), Story::of("5121").under("13"));
    let ready = scene.append_all_on("one", one.to_ready()).await;
    let other_ready = scene.append_all_on("other", other.to_ready()).await;
    assert!(matches!(
        scene.settled(&one, ready, 0, Notification).await,
        ReportState::DeadLettered { reason, .. }
            if reason == "tried 2 times; the last time it answered HTTP 401"
    ));
    assert!(is_delivered(
        &scene.settled(&other, other_ready, 0, Notification).await
    ));
    assert_eq!(scene.told().len(), 1);
}

#[tokio::test]
async fn under_another_webhook_too_a_deleted_resource_is_left_out() {
    let scene = two_webhooks().await;
    disable(&scene, 12, SECRET);
    let _notifier = scene.notifier_with(&["--report-attempts=1"]).await;
    let mut story = Story::of("5120");
    story.number = Some(999);
    let other = story.clone().under("13");
    scene.append(vec![other.announced()]).await;
    let start = scene.append(vec![story.started()]).await;
    assert!(is_delivered(
        &scene.settled(&story, start, 0, WebhookLog).await
    ));
    assert_eq!(named(&scene, "webhooks/log"), [12, 13, 13]);
    assert_eq!(scene.system.webhook_logs()[0].resource_id, None);
}
