//! What the log says at the start. In a process of its own: a log is the process's.
#![allow(clippy::unwrap_used, missing_docs)]

use bellhop_provisioner::{ProvisionerSettings, run};
use bellhop_service::captured_log::CapturedLog;
use bellhop_service::settings::parse;
use tokio_util::sync::CancellationToken;

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
    let log = CapturedLog::of_process("info");
    failing_start(&[]).await;
    assert_eq!(log.lines_with("WARN"), Vec::<String>::new());
    failing_start(&["--deprovision-image", "http://images.invalid/empty.img"]).await;
    let warnings = log.lines_with("WARN");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("DEPROVISION_IMAGE has no effect"));
}
