//! Where secrets come from, and how they change.

use std::path::Path;

use bellhop_ingress::{Ingress, IngressError};
use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Answered, Harness, flat, settings, signature};

fn write(path: &Path, text: &str) {
    // As tools do that never leave half a file.
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// Posts something new that webhook 12 signs with this secret.
async fn post(harness: &Harness, secret: &str) -> Answered {
    let event_id = jiff::Timestamp::now().as_nanosecond().to_string();
    let body = flat(json!({"eventId": event_id}));
    harness
        .post_signed("/webhook", &body, &signature(secret, &body))
        .await
}

async fn gets_in(harness: &Harness, secret: &str) -> bool {
    post(harness, secret).await.status == StatusCode::ACCEPTED
}

async fn is_alarmed(harness: &Harness) -> bool {
    harness
        .has_metric(r#"bellhop_alarms{kind="webhook_secrets"} 1"#)
        .await
}

#[tokio::test]
async fn a_rotation_needs_no_restart() {
    let folder = TempDir::new().unwrap();
    let mapping = folder.path().join("secrets.yaml");
    write(&mapping, "12: first\n");
    let harness = Harness::start_with(&["--webhook-secrets-path", mapping.to_str().unwrap()]).await;
    assert!(gets_in(&harness, "first").await);
    assert!(!gets_in(&harness, "second").await);

    write(&mapping, "12: [second, first]\n");
    harness
        .until("rotating", async || gets_in(&harness, "second").await)
        .await;
    assert!(gets_in(&harness, "first").await);

    write(&mapping, "12: second\n");
    harness
        .until("rotated", async || !gets_in(&harness, "first").await)
        .await;
    assert!(gets_in(&harness, "second").await);
}

#[tokio::test]
async fn a_reload_that_cannot_be_used_keeps_the_secrets_and_is_alarmed_until_it_can() {
    let folder = TempDir::new().unwrap();
    let mapping = folder.path().join("secrets.yaml");
    write(&mapping, "12: first\n");
    let harness = Harness::start_with(&["--webhook-secrets-path", mapping.to_str().unwrap()]).await;

    for broken in ["12: [not closed", "12: ''", "{}"] {
        write(&mapping, broken);
        harness
            .until("alarmed", async || is_alarmed(&harness).await)
            .await;
        let (_, readyz) = harness.page("/readyz?verbose").await;
        assert!(!readyz.contains("not closed"), "{readyz}");
        assert!(gets_in(&harness, "first").await, "{broken}");
        write(&mapping, "12: first\n");
        harness
            .until("calm", async || !is_alarmed(&harness).await)
            .await;
    }
    std::fs::remove_file(&mapping).unwrap();
    harness
        .until("alarmed", async || is_alarmed(&harness).await)
        .await;
    assert!(gets_in(&harness, "first").await);
}

#[tokio::test]
async fn a_folder_and_a_secret_file_are_read_again_too() {
    let folder = TempDir::new().unwrap();
    let by_id = folder.path().join("by-id");
    std::fs::create_dir(&by_id).unwrap();
    std::fs::write(by_id.join("13"), "thirteen\n").unwrap();
    let default = folder.path().join("default");
    write(&default, "default\n");
    let harness = Harness::start_with(&[
        "--webhook-secrets-path",
        by_id.to_str().unwrap(),
        "--webhook-secret-file",
        default.to_str().unwrap(),
    ])
    .await;
    assert!(gets_in(&harness, "default").await);

    write(&default, "newer default\ndefault\n");
    harness
        .until("rotating", async || {
            gets_in(&harness, "newer default").await
        })
        .await;
    assert!(gets_in(&harness, "default").await);

    std::fs::write(by_id.join("12"), "twelve\n").unwrap();
    harness
        .until("named", async || gets_in(&harness, "twelve").await)
        .await;
    assert!(!gets_in(&harness, "default").await);
}

#[tokio::test]
async fn without_any_secret_it_does_not_start() {
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.json");
    write(&empty, "{}");
    for arguments in [
        &[][..],
        &["--webhook-secrets-path", empty.to_str().unwrap()],
    ] {
        let refused = Ingress::bind(settings("nats://127.0.0.1:1", arguments)).await;
        let error = refused.unwrap_err();
        assert!(matches!(error, IngressError::Secrets(_)));
        let text = error.to_string();
        for variable in [
            "WEBHOOK_SECRET,",
            "WEBHOOK_SECRETS_PATH",
            "ACCEPT_UNSIGNED_WEBHOOKS",
        ] {
            assert!(text.contains(variable), "{text}");
        }
    }
}

#[tokio::test]
async fn secrets_that_cannot_be_read_at_start_are_named_by_variable_and_file() {
    for (variable, argument) in [
        ("WEBHOOK_SECRETS_PATH", "--webhook-secrets-path"),
        ("WEBHOOK_SECRET_FILE", "--webhook-secret-file"),
    ] {
        let refused = Ingress::bind(settings(
            "nats://127.0.0.1:1",
            &[argument, "/nowhere/at/all"],
        ))
        .await;
        let error = refused.unwrap_err();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        assert!(
            text.contains(variable) && text.contains("/nowhere/at/all"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn unsigned_webhooks_are_accepted_only_where_it_is_asked_for_and_there_is_no_secret() {
    let folder = TempDir::new().unwrap();
    let mapping = folder.path().join("secrets.yaml");
    write(&mapping, "{}\n");
    let harness = Harness::start_with(&[
        "--accept-unsigned-webhooks",
        "true",
        "--webhook-secrets-path",
        mapping.to_str().unwrap(),
    ])
    .await;
    let unsigned = async || {
        let event_id = jiff::Timestamp::now().as_nanosecond().to_string();
        let request = harness.client.post(harness.url("/webhook"));
        // A stranger must not write into other people's traces.
        let request = request.header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
        let response = request
            .body(flat(json!({"eventId": event_id})))
            .send()
            .await
            .unwrap();
        crate::harness::answered(response).await
    };
    let answer = unsigned().await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_ne!(answer.body["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let (_, readyz) = harness.page("/readyz?verbose").await;
    assert!(readyz.contains("[ ]shown unsigned_webhooks"), "{readyz}");

    write(&mapping, "12: twelve\n");
    harness
        .until("closed", async || {
            unsigned().await.status == StatusCode::UNAUTHORIZED
        })
        .await;
    assert!(gets_in(&harness, "twelve").await);
}

#[tokio::test]
async fn the_metrics_say_when_each_secret_was_last_used_and_not_what_it_is() {
    let folder = TempDir::new().unwrap();
    let mapping = folder.path().join("secrets.yaml");
    write(&mapping, "12: [zebra]\n13: other\n");
    let harness = Harness::start_with(&["--webhook-secrets-path", mapping.to_str().unwrap()]).await;
    let last_used = async |webhook: u32, position: u32| {
        let begin = format!(
            "bellhop_webhook_secret_last_used_timestamp_seconds{{webhook=\"{webhook}\",position=\"{position}\"}} "
        );
        let (_, metrics) = harness.page("/metrics").await;
        assert!(!metrics.contains("zebra") && !metrics.contains("yak"));
        let time = metrics.lines().find_map(|it| it.strip_prefix(&begin));
        time.map(|it| it.parse::<f64>().unwrap())
    };
    assert_eq!(last_used(12, 1).await, Some(0.0));
    assert!(!gets_in(&harness, "stranger").await);
    assert_eq!(last_used(12, 1).await, Some(0.0));
    let before = jiff::Timestamp::now().as_second();
    assert!(gets_in(&harness, "zebra").await);
    let used = last_used(12, 1).await.unwrap();
    assert!(used >= before as f64, "{used}");
    assert_eq!(last_used(13, 1).await, Some(0.0));

    write(&mapping, "12: [yak, zebra]\n");
    let rotated = async || last_used(12, 2).await.is_some();
    harness.until("rotated", rotated).await;
    assert_eq!(last_used(12, 1).await, Some(0.0));
    assert_eq!(last_used(12, 2).await, Some(used));
    assert!(gets_in(&harness, "yak").await);
    assert!(last_used(12, 1).await.unwrap() >= used);
    // The old one may go when this no longer changes.
    assert_eq!(last_used(12, 2).await, Some(used));
}

#[tokio::test]
async fn a_weak_secret_is_warned_of_until_another_is_in_its_place() {
    let folder = TempDir::new().unwrap();
    let mapping = folder.path().join("secrets.yaml");
    write(&mapping, "12: hunter2\n");
    let harness = Harness::start_with(&["--webhook-secrets-path", mapping.to_str().unwrap()]).await;
    let (_, readyz) = harness.page("/readyz?verbose").await;
    let warned = "shown weak_secret secret 1 of webhook 12: it has fewer than 20 characters";
    assert!(readyz.contains(warned), "{readyz}");
    assert!(!readyz.contains("hunter2"), "{readyz}");

    write(&mapping, &format!("12: {}\n", crate::harness::SECRET));
    let calm = async || {
        !harness
            .page("/readyz?verbose")
            .await
            .1
            .contains("weak_secret")
    };
    harness.until("calm", calm).await;
}
