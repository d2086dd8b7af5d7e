//! Reports that an operator has sent again.

#![allow(clippy::unwrap_used, clippy::panic)]

mod facts;
mod scene;

use std::time::Duration;

use bellhop_domain::id::Version;
use bellhop_domain::reservation::{EndCause, EndOutcome};
use bellhop_event_store::dead_letter::in_order;
use bellhop_event_store::{
    ConsumerLimits, DeadLetter, DeadLetterClass, EventStore, EventStoreSettings, Operator, Replay,
    ReportState, kept,
};
use bellhop_notifier::Destination::{self, Notification, WebhookLog};
use bellhop_simulator::reservation_system::{Endpoint, Fault, FaultKind, User};
use bytes::Bytes;
use facts::Story;
use jiff::Timestamp;
use scene::{Running, Scene, eventually};

/// A user that the reservation system does not know at first.
const LATE: &str = "nobody";

fn mara() -> Operator {
    Operator {
        name: "mara".into(),
        at: Timestamp::now(),
    }
}

async fn plans(store: &EventStore) -> Vec<Replay> {
    let mut plans = Vec::new();
    // The newest first: an operator may name them in any order.
    for letter in store.dead_letters(1, 100).await.unwrap().into_iter().rev() {
        plans.push(store.plan_replay(letter).await.unwrap());
    }
    in_order(plans)
}

/// What `bellhop dead-letters replay` does with all of them.
async fn replay_all(store: &EventStore) {
    for plan in plans(store).await {
        let left_out = store.replay(&plan, &mara()).await.unwrap();
        assert!(left_out.is_empty(), "{left_out:?}");
    }
}

/// A ready server of a user whom the receiver does not know, as a dead letter.
async fn buried(scene: &Scene) -> (Running, Story, Version) {
    let notifier = scene.notifier_with(&["--report-attempts=1"]).await;
    let story = Story::of("5120").by(LATE);
    let ready = scene.append_all(story.to_ready()).await;
    let state = scene.settled(&story, ready, 0, Notification).await;
    assert!(
        matches!(state, ReportState::DeadLettered { .. }),
        "{state:?}"
    );
    scene.settled(&story, ready, 0, WebhookLog).await;
    let letters = scene.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].resources(), [facts::SERVER]);
    (notifier, story, ready)
}

async fn delivered(scene: &Scene, story: &Story, version: Version, destination: Destination) {
    let key = Scene::key(story, version, 0, destination);
    eventually(&format!("{key} is delivered"), async || {
        let (state, _) = scene.store.report(&key).await.ok()??;
        matches!(state, ReportState::Delivered { .. }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_report_whose_cause_was_mended_is_replayed_and_delivered_once() {
    let scene = Scene::set().await;
    let (_notifier, story, ready) = buried(&scene).await;
    scene.system.put_user(User::new(LATE, LATE));
    replay_all(&scene.store).await;
    delivered(&scene, &story, ready, Notification).await;
    assert_eq!(scene.told(), ["PROVISIONING_COMPLETED"]);
    assert!(scene.dead_letters().await.is_empty());
}

#[tokio::test]
async fn what_was_asked_for_while_no_notifier_ran_is_sent_by_the_next_one() {
    let scene = Scene::set().await;
    let (notifier, story, ready) = buried(&scene).await;
    notifier.stop().await;
    scene.system.put_user(User::new(LATE, LATE));
    replay_all(&scene.store).await;
    let _next = scene.notifier().await;
    delivered(&scene, &story, ready, Notification).await;
    assert_eq!(scene.told(), ["PROVISIONING_COMPLETED"]);
}

#[tokio::test]
async fn a_replayed_report_that_is_not_true_any_more_is_not_sent() {
    let scene = Scene::set().await;
    let (notifier, story, ready) = buried(&scene).await;
    notifier.stop().await;
    scene.system.put_user(User::new(LATE, LATE));
    let end = vec![story.ended(EndCause::End, EndOutcome::Completed)];
    let end = scene.append(end).await;
    replay_all(&scene.store).await;
    let _next = scene.notifier().await;
    delivered(&scene, &story, end, Notification).await;
    let key = Scene::key(&story, ready, 0, Notification);
    eventually("ready is dropped", async || {
        let (state, _) = scene.store.report(&key).await.unwrap()?;
        matches!(state, ReportState::Dropped { .. }).then_some(())
    })
    .await;
    assert_eq!(scene.told(), ["RESERVATION_COMPLETED"]);
}

#[tokio::test]
async fn a_replayed_report_that_fails_again_is_a_dead_letter_again() {
    let scene = Scene::set().await;
    let (_notifier, story, ready) = buried(&scene).await;
    let before = scene.dead_letters().await.remove(0);
    replay_all(&scene.store).await;
    // Well within the duplicate window.
    let after = eventually("there is another letter", async || {
        scene.dead_letters().await.pop()
    })
    .await;
    assert!(after.sequence > before.sequence);
    assert_eq!((after.tries, &after.body), (1, &before.body));
    assert!(matches!(
        scene.settled(&story, ready, 0, Notification).await,
        ReportState::DeadLettered { .. }
    ));
    // And can be replayed as the first could.
    scene.system.put_user(User::new(LATE, LATE));
    replay_all(&scene.store).await;
    delivered(&scene, &story, ready, Notification).await;
    assert_eq!(scene.told(), ["PROVISIONING_COMPLETED"]);
}

#[tokio::test]
async fn two_operators_who_replay_at_once_have_it_sent_once() {
    let scene = Scene::set().await;
    let (_notifier, story, ready) = buried(&scene).await;
    scene.system.put_user(User::new(LATE, LATE));
    let settings = EventStoreSettings::at(scene.nats.url());
    let other = EventStore::connect(&settings, "other").await.unwrap();
    let (ours, theirs) = (plans(&scene.store).await, plans(&other).await);
    let (first, second) = (mara(), mara());
    let (first, second) = tokio::join!(
        scene.store.replay(&ours[0], &first),
        other.replay(&theirs[0], &second)
    );
    first.unwrap();
    second.unwrap();
    delivered(&scene, &story, ready, Notification).await;
    // What both asked for is handled.
    let client = async_nats::connect(scene.nats.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let stream = context.get_stream("DEAD_LETTERS").await.unwrap();
    eventually("no request is open", async || {
        let info = stream
            .consumer_info(Notification.replay_consumer())
            .await
            .ok()?;
        (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
    assert_eq!(scene.told(), ["PROVISIONING_COMPLETED"]);
}

#[tokio::test]
async fn replayed_reports_about_one_reservation_leave_in_the_ledger_s_order() {
    let scene = Scene::set().await;
    scene
        .system
        .inject(Fault::new(FaultKind::InternalError).on(Endpoint::WebhookLog));
    let notifier = scene.notifier_with(&["--report-attempts=1"]).await;
    let story = Story::of("5120");
    scene.append_all(story.to_ready()).await;
    let end = vec![story.ended(EndCause::End, EndOutcome::Completed)];
    let end = scene.append(end).await;
    scene.settled(&story, end, 0, WebhookLog).await;
    assert_eq!(scene.dead_letters().await.len(), 3);
    scene.system.clear_faults();
    replay_all(&scene.store).await;
    delivered(&scene, &story, end, WebhookLog).await;
    let logged = scene.logged("5120");
    let begins = [
        "EVENT_START start accepted",
        "EVENT_START provisioned",
        "EVENT_END",
    ];
    assert_eq!(logged.len(), begins.len(), "{logged:?}");
    for (line, begin) in logged.iter().zip(begins) {
        assert!(line.starts_with(begin), "{logged:?}");
    }
    notifier.stop().await;
}

#[tokio::test]
async fn a_notifier_that_dies_with_a_request_in_hand_leaves_it_to_the_next() {
    let scene = Scene::set().await;
    let (notifier, story, ready) = buried(&scene).await;
    scene.system.stop().await;
    replay_all(&scene.store).await;
    let key = Scene::key(&story, ready, 0, Notification);
    notifier
        .shows("readyz?verbose", "[+]notification-endpoint degraded")
        .await;
    // From now on it only looks whether anybody answers, and sends nothing.
    eventually("it is owed again, and not being sent", async || {
        let (state, _) = scene.store.report(&key).await.unwrap()?;
        let ReportState::Owed {
            replayed_at: Some(_),
            sending,
            ..
        } = state
        else {
            return None;
        };
        sending.is_none().then_some(())
    })
    .await;
    drop(notifier);
    scene.system.put_user(User::new(LATE, LATE));
    scene.system.start_listening().await.unwrap();
    let _next = scene.notifier().await;
    delivered(&scene, &story, ready, Notification).await;
    assert_eq!(scene.told(), ["PROVISIONING_COMPLETED"]);
}

#[tokio::test]
async fn a_replay_to_a_destination_without_an_endpoint_stays_a_dead_letter() {
    let scene = Scene::set().await;
    let (notifier, story, ready) = buried(&scene).await;
    notifier.stop().await;
    let log = format!(
        "--webhook-log-endpoint={}",
        scene.system.webhook_log_endpoint()
    );
    let without = Running::start(scene.settings_without_endpoints(&[&log], &[])).await;
    replay_all(&scene.store).await;
    let letter = eventually("it is a dead letter", async || {
        scene.dead_letters().await.pop()
    })
    .await;
    assert_eq!(letter.reason, "NOTIFICATION_ENDPOINT is not set");
    without.stop().await;

    scene.system.put_user(User::new(LATE, LATE));
    let _with = scene.notifier().await;
    replay_all(&scene.store).await;
    delivered(&scene, &story, ready, Notification).await;
}

/// What an earlier notifier, which could not read the entry, left: a letter, and nothing in REPORTS.
async fn left_unread(scene: &Scene, version: Version, id: String) {
    let mut entries = scene
        .store
        .ledger_consumer(Notification.consumer(), ConsumerLimits::default());
    loop {
        let handed = entries.next().await;
        handed.ack().await.unwrap();
        if handed.sequence == version.0 {
            break;
        }
    }
    let letter = DeadLetter {
        service: "notifier",
        class: DeadLetterClass::Delivery,
        id,
        what: Notification.name().into(),
        reason: format!("entry {version} of the ledger can't be read"),
        tries: 1,
        first_at: Timestamp::now(),
        last_at: Timestamp::now(),
        traceparent: None,
        headers: vec![(kept::ENTRY.into(), version.to_string())],
        body: Bytes::new(),
    };
    let stored = scene.store.bury(&letter, scene::LIMIT).await;
    stored.unwrap();
}

#[tokio::test]
async fn an_entry_that_an_earlier_version_could_not_read_is_reported_by_one_that_can() {
    let scene = Scene::set().await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    left_unread(&scene, ready, format!("ledger-{ready}-notification")).await;
    let _notifier = scene.notifier().await;
    replay_all(&scene.store).await;
    delivered(&scene, &story, ready, Notification).await;
    assert_eq!(scene.told(), ["PROVISIONING_COMPLETED"]);
}

#[tokio::test]
async fn an_entry_that_still_can_t_be_read_is_a_dead_letter_again() {
    let scene = Scene::set().await;
    scene.append_garbage().await;
    let _notifier = scene.notifier().await;
    eventually("both destinations have buried it", async || {
        (scene.dead_letters().await.len() == 2).then_some(())
    })
    .await;
    let before = scene.dead_letters().await;
    replay_all(&scene.store).await;
    let after = eventually("both have buried it again", async || {
        let letters = scene.dead_letters().await;
        (letters.len() == 2 && letters[0].sequence > before[1].sequence).then_some(letters)
    })
    .await;
    assert!(after.iter().all(|letter| letter.body == "garbage"));
}

#[tokio::test]
async fn a_request_of_a_newer_format_is_a_dead_letter_once_nobody_of_that_version_took_it() {
    const REQUESTS: &str = "dead_letters.replays.notification";
    let scene = Scene::set().await;
    // As a newer version's operator stores it.
    let mut letter = DeadLetter {
        service: "notifier",
        class: DeadLetterClass::Delivery,
        id: "newer".into(),
        what: Notification.name().into(),
        reason: "a test".into(),
        tries: 1,
        first_at: Timestamp::now(),
        last_at: Timestamp::now(),
        traceparent: None,
        headers: Vec::new(),
        body: "{}".into(),
    };
    for (name, value) in [
        ("ce-id", "request"),
        ("Bellhop-Format", "2"),
        (kept::SUBJECT, REQUESTS),
    ] {
        letter.headers.push((name.into(), value.into()));
    }
    let patience = Duration::from_secs(5);
    scene.store.bury(&letter, patience).await.unwrap();
    replay_all(&scene.store).await;
    // As often as it is handed out within some minutes.
    let limits = ConsumerLimits::default();
    let mut inbox =
        scene
            .store
            .replay_requests(Notification.replay_consumer(), Notification.name(), limits);
    for tries in 1..20 {
        let handed = inbox.next().await;
        assert_eq!(handed.tries, tries);
        assert!(handed.item.is_err());
        // The last time it rests until nobody reads here any more.
        let rest = if tries == 19 { 2 } else { 0 };
        handed.retry_after(Duration::from_secs(rest)).await;
    }
    drop(inbox);

    let _notifier = scene.notifier().await;
    let letter = eventually("it is a dead letter", async || {
        scene.dead_letters().await.pop()
    })
    .await;
    assert!(letter.reason.contains("format 2, newer than"), "{letter:?}");
    // A version that reads it can have it asked once more, as it came.
    let plan = scene.store.plan_replay(letter).await.unwrap();
    assert_eq!(
        plan.to_string(),
        format!("delivery request goes to {REQUESTS}")
    );
}
