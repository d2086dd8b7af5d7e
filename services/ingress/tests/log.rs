//! What the log says, and what it never says. In a process of its own: a log is the process's.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "ingress/harness.rs"]
#[allow(dead_code, reason = "the tests beside this one need more of it")]
mod harness;

use bellhop_service::captured_log::CapturedLog;
use serde_json::json;

use crate::harness::{Harness, SECRET, flat, signature, vector, vector_signature};

#[tokio::test]
async fn each_decision_is_one_line_and_nothing_private_is_in_any_of_them() {
    // Everything that our own crates could ever write, and what libraries write unasked.
    let log = CapturedLog::of_process("info,bellhop=trace");

    let count = |text: &str| log.lines_with(text).len();

    let home = tempfile::tempdir().unwrap();
    let spool = home.path().to_str().unwrap();
    // The broker has all the time that a busy machine takes.
    let patient = ["--store-timeout", "3600", "--spool-after", "600"];
    let usual = ["--webhook-secret", SECRET, "--spool-dir", spool];
    let arguments = [usual, patient].concat();
    let mut harness = Harness::start_with(&arguments).await;
    for number in ["01", "02", "03", "04", "05", "06", "07", "08", "09", "12"] {
        harness
            .post_signed("/webhook", &vector(number), &vector_signature(number))
            .await;
    }
    let unreadable = flat(
        json!({"eventStart": null, "email": "mara.conti@uni.example", "sshPublicKey": "ssh-ed25519 AAAAC3"}),
    );
    harness.post(&unreadable).await;
    harness
        .post_signed("/webhook", &vector("01"), &vector_signature("02"))
        .await;
    harness
        .post_signed("/webhook", &vector("01"), "mara.conti")
        .await;
    // Strangers don't fill the log: there is a line for each reason now, and the next one in a minute.
    for _ in 0..20 {
        harness
            .post_signed("/webhook", &vector("01"), &vector_signature("02"))
            .await;
    }
    harness.page("/healthz").await;
    harness.page("/readyz?verbose").await;

    holds_nothing_private(&log.text(), &signature(SECRET, &unreadable));
    assert_eq!(count("webhook accepted"), 5);
    assert_eq!(count("no action needed"), 2);
    assert_eq!(count("received before"), 1);
    assert_eq!(count("it is kept as a dead letter"), 3);
    assert_eq!(count("a webhook is refused"), 2);
    assert_eq!(count("probe answered"), 0);
    assert!(
        log.text()
            .contains(r#"reservation="reservation-system:5120""#)
    );

    // Nor while they wait in the spool, and when they leave it.
    harness.lose_broker().await;
    for number in ["01", "03", "07"] {
        harness
            .post_signed("/webhook", &vector(number), &vector_signature(number))
            .await;
    }
    harness.post(&unreadable).await;
    harness.nats.restart().unwrap();
    harness
        .until("drained", async || {
            let files = bellhop_ingress::spool::list(home.path()).unwrap().count();
            files == 0 && count("webhooks of the spool are stored in NATS") > 0
        })
        .await;
    assert!(count("spooled=true") > 0);
    holds_nothing_private(&log.text(), &signature(SECRET, &unreadable));
}

fn holds_nothing_private(text: &str, last_signature: &str) {
    for private in [
        "mara",
        "uni.example",
        "ssh-ed25519",
        "AAAAC3",
        SECRET,
        "RDMA",
        "two-node",
        last_signature,
    ] {
        assert!(!text.contains(private), "{private} in:\n{text}");
    }
    for number in ["01", "02", "03", "07", "08"] {
        assert!(!text.contains(&vector_signature(number)), "{text}");
    }
}
