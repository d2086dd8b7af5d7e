//! What the log says at the start. In a process of its own: a log is the process's.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io;
use std::sync::{Arc, Mutex};

use bellhop_provisioner::{ProvisionerSettings, run};
use bellhop_service::settings::parse;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    fn warnings(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains("WARN"));
        lines.map(str::to_owned).collect()
    }
}

/// A start that fails at once, at a file that isn't there, or before for want of a cluster.
async fn failing_start(further: &[&str]) {
    let arguments = [
        "provisioner",
        "--provision-image",
        "http://images.invalid/noble.img",
        "--user-data-base-file",
        "/nonexistent/user-data",
    ];
    let arguments = arguments.iter().chain(further).copied();
    let settings: ProvisionerSettings = parse(arguments).unwrap();
    assert!(run(settings, CancellationToken::new()).await.is_err());
}

#[tokio::test]
async fn a_setting_without_effect_is_warned_of_once_before_anything_that_may_fail() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .init();
    failing_start(&[]).await;
    assert_eq!(log.warnings(), Vec::<String>::new());
    failing_start(&["--deprovision-image", "http://images.invalid/empty.img"]).await;
    let warnings = log.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("DEPROVISION_IMAGE has no effect"));
}
