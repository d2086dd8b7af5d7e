//! A stop while a destination hangs. In a process of its own: a log is the process's.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod facts;
mod scene;

use std::time::Duration;

use bellhop_event_store::ReportState;
use bellhop_notifier::Destination::Notification;
use bellhop_service::captured_log::CapturedLog;
use bellhop_simulator::reservation_system::{Endpoint, Fault, FaultKind};
use facts::Story;
use scene::{Scene, eventually};

/// Far more than a stop may take, and far less than the destination hangs.
const BOUND: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_though_a_destination_hangs_and_says_that_a_report_was_cut_off() {
    let log = CapturedLog::of_process("info");
    let scene = Scene::set().await;
    let hang = Fault::new(FaultKind::Hang).on(Endpoint::Notifications);
    scene.system.inject(hang);
    let notifier = scene.notifier_with(&["--notification-timeout=3600"]).await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    let key = Scene::key(&story, ready, 0, Notification);
    eventually("it is being sent", async || {
        match scene.store.report(&key).await.ok()?? {
            (ReportState::Owed { sending, .. }, _) => sending,
            _ => None,
        }
    })
    .await;
    let ended = tokio::time::timeout(BOUND, notifier.stop()).await;
    assert!(ended.is_ok(), "{}", log.text());
    let said = log.lines_with("reports still in flight are cut off");
    assert_eq!(said.len(), 1, "{}", log.text());
    assert!(said[0].contains("notification"), "{said:?}");
    let (state, _) = scene.store.report(&key).await.unwrap().unwrap();
    assert!(matches!(state, ReportState::Owed { .. }), "{state:?}");
}
