//! No report is sent twice: not when the broker hands an entry out again, and not by two notifiers.

#![allow(clippy::unwrap_used, clippy::panic)]

mod facts;
mod scene;

use std::time::Duration;

use bellhop_domain::id::Version;
use bellhop_event_store::{ReportState, Sending};
use bellhop_notifier::Destination::{self, Notification};
use bellhop_simulator::reservation_system::{Endpoint, Fault, FaultKind};
use facts::Story;
use jiff::{SignedDuration, Timestamp};
use scene::{Scene, eventually};

fn is_delivered(state: &ReportState) -> bool {
    matches!(state, ReportState::Delivered { .. })
}

/// Writes down that another notifier began to send the report at `since`, and ends at `until`.
async fn claimed_by_another(
    scene: &Scene,
    story: &Story,
    version: Version,
    since: Timestamp,
    until: Timestamp,
) {
    let state = ReportState::Owed {
        attempts: 0,
        last_error: None,
        first_at: since,
        sending: Some(Sending {
            by: "another notifier".to_owned(),
            since,
            until,
        }),
        replayed_at: None,
    };
    let key = Scene::key(story, version, 0, Notification);
    scene.store.set_report(&key, &state, None).await.unwrap();
}

#[tokio::test]
async fn an_outage_of_the_broker_during_one_of_the_receiver_tells_nobody_twice() {
    const STORIES: u64 = 20;
    let mut scene = Scene::set().await;
    scene.system.stop().await;
    let notifier = scene.notifier().await;
    let mut owed = Vec::new();
    for number in 0..STORIES {
        let story = Story::of(&format!("{}", 6000 + number));
        let server = format!("node{number:02}");
        let ready = scene.append_all_on(&server, story.to_ready()).await;
        owed.push((story, ready));
    }
    for (story, ready) in &owed {
        let key = Scene::key(story, *ready, 0, Notification);
        eventually("it waits in the notifier's hands", async || {
            scene.store.report(&key).await.unwrap()
        })
        .await;
    }
    // Away for longer than the broker waits to hear of an entry.
    scene.nats.kill().unwrap();
    tokio::time::sleep(Duration::from_secs(17)).await;
    scene.nats.restart().unwrap();
    eventually("what is in hand was handed out again", async || {
        let delivered = scene.consumer(Notification).await?.delivered;
        (delivered.consumer_sequence > delivered.stream_sequence).then_some(())
    })
    .await;
    // Slow enough for a second one to be sent while the first is under way.
    scene
        .system
        .inject(Fault::new(FaultKind::Slow { milliseconds: 500 }));
    scene.system.start_listening().await.unwrap();
    for (story, ready) in &owed {
        for destination in Destination::ALL {
            assert!(is_delivered(
                &scene.settled(story, *ready, 0, destination).await
            ));
        }
    }
    eventually("nothing is in any hands", async || {
        (scene.consumer(Notification).await?.num_ack_pending == 0).then_some(())
    })
    .await;
    notifier.stop().await;
    assert_eq!(scene.told().len() as u64, STORIES);
    assert_eq!(scene.system.webhook_logs().len() as u64, 2 * STORIES);
}

#[tokio::test]
async fn a_report_that_another_notifier_sends_is_left_to_it() {
    let scene = Scene::set().await;
    let (its, ours) = (Story::of("5120"), Story::of("5121"));
    let ready = scene.append_all_on("one", its.to_ready()).await;
    let now = Timestamp::now();
    claimed_by_another(
        &scene,
        &its,
        ready,
        now,
        now + SignedDuration::from_secs(3600),
    )
    .await;
    let _notifier = scene.notifier().await;
    let after = scene.append_all_on("other", ours.to_ready()).await;
    scene.settled(&ours, after, 0, Notification).await;
    eventually("only the other one's is in hand", async || {
        (scene.consumer(Notification).await?.num_ack_pending == 1).then_some(())
    })
    .await;
    let key = Scene::key(&its, ready, 0, Notification);
    let (_, revision) = scene.store.report(&key).await.unwrap().unwrap();
    let state = ReportState::Delivered {
        at: Timestamp::now(),
        status: 200,
        attempts: 1,
    };
    let set = scene.store.set_report(&key, &state, Some(revision));
    set.await.unwrap();
    eventually("it is handled", async || {
        (scene.consumer(Notification).await?.num_ack_pending == 0).then_some(())
    })
    .await;
    let told = scene.system.notifications();
    assert!(
        told.len() == 1 && told[0].event_id.as_deref() == Some("5121"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_report_whose_notifier_was_killed_while_it_sent_is_sent_by_the_next_one() {
    let scene = Scene::set().await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    let now = Timestamp::now();
    claimed_by_another(
        &scene,
        &story,
        ready,
        now - SignedDuration::from_secs(60),
        now - SignedDuration::from_secs(20),
    )
    .await;
    let _notifier = scene.notifier().await;
    assert!(is_delivered(
        &scene.settled(&story, ready, 0, Notification).await
    ));
    assert_eq!(scene.told(), ["PROVISIONING_COMPLETED"]);
}

#[tokio::test]
async fn one_whose_clock_is_wrong_holds_a_report_no_longer_than_it_said_it_takes() {
    let scene = Scene::set().await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    let tomorrow = Timestamp::now() + SignedDuration::from_hours(24);
    claimed_by_another(
        &scene,
        &story,
        ready,
        tomorrow,
        tomorrow + SignedDuration::from_secs(4),
    )
    .await;
    let _notifier = scene.notifier().await;
    assert!(is_delivered(
        &scene.settled(&story, ready, 0, Notification).await
    ));
}

#[tokio::test]
async fn what_a_stopping_notifier_gives_back_goes_to_another_one_and_not_to_itself() {
    let scene = Scene::set().await;
    scene.system.inject(
        Fault::new(FaultKind::Slow {
            milliseconds: 4_000,
        })
        .on(Endpoint::Notifications)
        .times(1),
    );
    let notifier = scene.notifier_with(&["--report-attempts=1000"]).await;
    // One request goes on for a while after the stop, and one report is tried again and again.
    let (slow, refused) = (Story::of("5120"), Story::of("5121").by("nobody"));
    let in_flight = scene.append_all_on("one", slow.to_ready()).await;
    eventually("the request is under way", async || {
        (!scene.received_at("notifications/webhook").is_empty()).then_some(())
    })
    .await;
    scene.append_all_on("other", refused.to_ready()).await;
    scene
        .system
        .wait_for_refused(scene::LIMIT, |_| true)
        .await
        .unwrap();
    eventually("all else is handled", async || {
        (scene.consumer(Notification).await?.num_ack_pending == 2).then_some(())
    })
    .await;
    notifier.stop().await;
    assert!(is_delivered(
        &scene.settled(&slow, in_flight, 0, Notification).await
    ));
    let delivered = scene.consumer(Notification).await.unwrap().delivered;
    assert_eq!(delivered.consumer_sequence, delivered.stream_sequence);
}
