//! A shadow composes what it would report, logs it, and sends nothing.

#![allow(clippy::unwrap_used, clippy::panic)]

mod facts;
mod scene;

use std::io::Write;
use std::sync::{Arc, Mutex};

use bellhop_domain::reservation::{EndCause, EndOutcome, WaitReason};
use bellhop_event_store::{EventStoreSettings, Mode, ReportState, SetupError};
use bellhop_notifier::{Destination, Notifier, NotifierError};
use facts::{Story, USER};
use scene::{Running, Scene};
use tokio_util::sync::CancellationToken;

/// What this thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_shadow_logs_what_it_would_report_and_sends_nothing_though_it_has_endpoints() {
    let scene = Scene::set_in(Mode::Shadow).await;
    let log = Log::default();
    let written = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || written.clone())
        .with_ansi(false)
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let notifier = scene.notifier().await;
    let story = Story::of("5120");
    let waits = story.waits(WaitReason::Turn { preparing: 2 });
    scene.append(vec![story.started()]).await;
    let waits = scene.append(vec![waits]).await;
    // Before it is not true any more.
    scene
        .settled(&story, waits, 0, Destination::Notification)
        .await;
    let ended = story.ended(EndCause::End, EndOutcome::Cancelled);
    let last = scene.append(vec![ended]).await;
    for destination in Destination::ALL {
        let state = scene.settled(&story, last, 0, destination).await;
        assert!(
            matches!(&state, ReportState::Dropped { reason, .. } if reason == "MODE=shadow"),
            "{state:?}"
        );
    }
    assert!(scene.system.received().is_empty());
    let text = log.text();
    let would_report: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("would report destination"))
        .collect();
    for said in [
        "PROVISIONING_WAITING: Your reservation of server",
        "RESERVATION_CANCELLED: Your reservation of server",
        "EVENT_START 200: start accepted for server",
        "EVENT_END 200: ended: cancelled",
    ] {
        let lines = would_report.iter().filter(|line| line.contains(said));
        assert_eq!(lines.count(), 1, "{said}: {would_report:#?}");
    }
    assert_eq!(would_report.len(), 4, "{would_report:#?}");
    assert!(!text.contains(USER), "{text}");

    let page = notifier.page("readyz?verbose").await;
    for line in [
        "[ ]shown shadow notifier: MODE=shadow",
        "[+]notification-endpoint not configured: a shadow reports nothing",
    ] {
        assert!(page.contains(line), "{page}");
    }
    let metrics = notifier.page("metrics").await;
    assert!(
        metrics.contains("bellhop_shown{kind=\"shadow\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_shadow_needs_neither_endpoint_nor_secret() {
    let scene = Scene::set_in(Mode::Shadow).await;
    let settings =
        scene.settings_without_endpoints(&[], &["--webhook-secret-file=/nowhere/to/be/found"]);
    let notifier = Running::start(settings).await;
    notifier
        .shows("readyz?verbose", "readyz check passed")
        .await;
    notifier.stop().await;
}

#[tokio::test]
async fn a_live_notifier_does_not_report_what_a_shadow_decided() {
    let scene = Scene::set_in(Mode::Shadow).await;
    let mut settings = scene.settings(&[]);
    settings.event_store = EventStoreSettings {
        mode: Mode::Live,
        stream_prefix: Some("shadow".to_owned()),
        ..settings.event_store
    };
    let notifier = Notifier::bind(settings).await.unwrap();
    let run = notifier.run(CancellationToken::new());
    let refused = tokio::time::timeout(scene::LIMIT, run).await.unwrap();
    assert!(
        matches!(
            refused,
            Err(NotifierError::Setup(SetupError::OtherMode { .. }))
        ),
        "{refused:?}"
    );
}
