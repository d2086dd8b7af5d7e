//! A ledger that was set back to a backup, and marks in REPORTS of the entries that it lost.

#![allow(clippy::unwrap_used, clippy::panic)]

mod facts;
mod scene;

use std::path::{Path, PathBuf};

use bellhop_domain::id::Version;
use bellhop_domain::reservation::FailureReason;
use bellhop_event_store::{ReportKey, ReportState};
use bellhop_notifier::Destination::{self, Notification};
use facts::Story;
use scene::{Scene, eventually};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Where the broker has the ledger.
fn ledger_in(store: &Path) -> PathBuf {
    let mut found = vec![store.to_owned()];
    while let Some(folder) = found.pop() {
        if folder.ends_with("streams/LEDGER") {
            return folder;
        }
        let inner = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        found.extend(inner.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    panic!("no LEDGER");
}

async fn until_answers(scene: &Scene) -> Version {
    eventually("the broker answers", async || {
        scene.store.ledger_end().await.ok()
    })
    .await
}

/// Appends what a later report follows from, twice: what was appended first is lost with the ledger. Returns at which version
/// both stand.
async fn lost_and_appended_anew(scene: &mut Scene, story: &Story) -> Version {
    scene.append_all(story.to_preparing()).await;
    let end = until_answers(scene).await;
    let backup = tempfile::tempdir().unwrap();
    scene.nats.kill().unwrap();
    let ledger = ledger_in(scene.nats.store_dir());
    copy(&ledger, backup.path());
    scene.nats.restart().unwrap();
    until_answers(scene).await;

    let notifier = scene.notifier().await;
    let lost = scene.append(vec![story.provisioned()]).await;
    for destination in Destination::ALL {
        let sent = scene.settled(story, lost, 0, destination).await;
        assert!(matches!(sent, ReportState::Delivered { .. }), "{sent:?}");
    }
    notifier.stop().await;

    scene.nats.kill().unwrap();
    std::fs::remove_dir_all(&ledger).unwrap();
    copy(backup.path(), &ledger);
    scene.nats.restart().unwrap();
    assert_eq!(until_answers(scene).await, end);
    let failed = story.failed(FailureReason::HostGone);
    let now = scene.append(vec![failed]).await;
    assert_eq!(now, lost);
    now
}

#[tokio::test]
async fn what_became_of_a_report_of_an_entry_that_the_ledger_lost_settles_no_other_one() {
    let mut scene = Scene::set().await;
    let story = Story::of("5120");
    let failed = lost_and_appended_anew(&mut scene, &story).await;
    let stored = scene.store.entry(failed).await.unwrap().unwrap();
    let key = ReportKey {
        entry: stored.entry.unwrap().id,
        ..Scene::key(&story, failed, 0, Notification)
    };
    assert!(key.entry.is_some());

    let notifier = scene.notifier().await;
    let told_both = async || (scene.told().len() == 2).then_some(());
    eventually("its user is told of the failure too", told_both).await;
    let sent = eventually("that is remembered", async || {
        let (state, _) = scene.store.report(&key).await.ok()??;
        state.is_settled().then_some(state)
    });
    let sent = sent.await;
    assert!(matches!(sent, ReportState::Delivered { .. }), "{sent:?}");
    notifier.stop().await;
}

#[tokio::test]
async fn what_an_older_version_remembered_of_a_report_still_settles_it() {
    let scene = Scene::set().await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    // As a version wrote it that did not say of which entry it is.
    let delivered = ReportState::Delivered {
        at: jiff::Timestamp::now(),
        status: 201,
        attempts: 1,
    };
    let key = Scene::key(&story, ready, 0, Notification);
    scene
        .store
        .set_report(&key, &delivered, None)
        .await
        .unwrap();
    let notifier = scene.notifier().await;
    let log = scene
        .settled(&story, ready, 0, Destination::WebhookLog)
        .await;
    assert!(matches!(log, ReportState::Delivered { .. }), "{log:?}");
    notifier.stop().await;
    let (state, _) = scene.store.report(&key).await.unwrap().unwrap();
    assert_eq!(state, delivered);
    assert_eq!(scene.told(), [""; 0]);
}
