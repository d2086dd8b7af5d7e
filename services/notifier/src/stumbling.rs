//! Entries of the ledger that a part of the notifier stumbles over, and what becomes of the others meanwhile.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::hint::black_box;

use bellhop_domain::id::Version;
use bellhop_domain::reservation::{EndCause, EndOutcome, Fact};
use bellhop_event_store::{BuriedLetter, DeadLetterClass, Entry, NewEntry, ReportState, kept};
use bellhop_service::panics::TRIES;
use jiff::Timestamp;

use crate::Destination;
use crate::facts::{SERVER, Story, server};
use crate::scene::{Scene, eventually};

const STUMBLES: &str = "stumbles over ";

/// Panics where `part` is what is to stumble over the entry.
pub(crate) fn over(entry: &Entry, part: &str) {
    if entry.cause.strip_prefix(STUMBLES) == Some(part) {
        panic!("no server for {}", black_box("mara@example.org"));
    }
}

/// Appends a decision that `part` stumbles over.
async fn append(scene: &Scene, part: &str, facts: Vec<Fact>) -> Version {
    let resource = server(SERVER);
    let newest = scene.store.newest_version(&resource).await.unwrap();
    let entry = NewEntry {
        at: Timestamp::now(),
        facts,
        traceparent: None,
        cause: format!("{STUMBLES}{part}"),
    };
    scene.store.append(&resource, newest, &entry).await.unwrap()
}

/// Waits for the letter of a notification that an entry owes.
async fn letter_of(scene: &Scene, version: Version) -> BuriedLetter {
    eventually(&format!("entry {version} is buried"), async || {
        let letters = scene.dead_letters().await.into_iter();
        let mut of_notification =
            letters.filter(|letter| letter.what().as_deref() == Some("notification"));
        of_notification.find(|letter| {
            letter
                .headers
                .iter()
                .any(|(name, value)| match name.as_str() {
                    kept::ENTRY => *value == version.to_string(),
                    kept::REPORT => value.contains(&format!(".{version}-")),
                    _ => false,
                })
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_notifier_stumbles_over_is_a_dead_letter_after_some_tries_and_holds_nobody_up() {
    let scene = Scene::set().await;
    let both = [scene.notifier().await, scene.notifier().await];
    let (poor, other) = (Story::of("5120"), Story::of("5121"));
    scene.append_all(poor.to_preparing()).await;
    let of_report = append(&scene, "a report", vec![poor.provisioned()]).await;
    let of_entry = append(&scene, "what it owes", vec![Story::of("5122").announced()]).await;
    let of_folding = append(&scene, "its folding", vec![Story::of("5123").announced()]).await;
    let ended = poor.ended(EndCause::End, EndOutcome::Completed);
    let behind = scene.append(vec![ended]).await;
    let ready = scene.append_all_on("lab7-node05", other.to_ready()).await;

    let notification = Destination::Notification;
    let sent = scene.settled(&other, ready, 0, notification).await;
    assert!(matches!(sent, ReportState::Delivered { .. }), "{sent:?}");
    for (version, class) in [
        (of_report, DeadLetterClass::Report),
        (of_entry, DeadLetterClass::Delivery),
    ] {
        let letter = letter_of(&scene, version).await;
        assert_eq!((letter.class(), letter.tries), (Some(class), TRIES));
        assert!(letter.reason.contains("panicked"), "{}", letter.reason);
        assert!(!letter.reason.contains("mara"), "{}", letter.reason);
    }
    let settled = scene.settled(&poor, of_report, 0, notification).await;
    assert!(
        matches!(settled, ReportState::DeadLettered { .. }),
        "{settled:?}"
    );
    let sent = scene.settled(&poor, behind, 0, notification).await;
    assert!(matches!(sent, ReportState::Delivered { .. }), "{sent:?}");
    let unread = format!("[!]alarm ledger_unreadable {of_folding}");
    for notifier in both {
        notifier.shows("readyz?verbose", &unread).await;
        notifier.stop().await;
    }
}
