//! While the broker does not take webhooks they wait in the spool, and go there once it does.

use std::path::Path;
use std::time::Duration;

use bellhop_ingress::spool::{self, Part};
use bellhop_ingress::{Ingress, IngressError};
use bellhop_nats_server::NatsServer;
use bellhop_service::telemetry;
use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Harness, SECRET, flat, settings, vector};

/// An ingress with its spool there. It would wait for the broker far longer than any test does.
fn with_spool<'a>(home: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "--webhook-secret",
        SECRET,
        "--store-timeout",
        "3600",
        "--spool-dir",
        home.to_str().unwrap(),
    ];
    [&usual[..], more].concat()
}

/// The broker has all the time that a busy machine takes, as long as it is not known to be away.
const PATIENT: [&str; 2] = ["--spool-after", "600"];

/// One of several starts.
fn start(number: usize) -> Vec<u8> {
    flat(json!({"eventId": number.to_string()}))
}

/// Bodies as a failed test shows them, in order.
fn texts(bodies: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<String> {
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    let mut texts: Vec<_> = bodies.into_iter().map(|body| text(body.as_ref())).collect();
    texts.sort();
    texts
}

/// The bodies of all deliveries.
async fn stored(harness: &Harness) -> Vec<String> {
    texts(harness.deliveries().await.iter().map(|it| &it.body))
}

/// Waits until nothing waits in the spool, and the ingress has seen that.
async fn until_drained(harness: &Harness, home: &Path) {
    harness.until("drained", async || waiting(home) == 0).await;
    harness
        .until("seen to be drained", async || {
            harness.has_metric("bellhop_spool_deliveries 0").await
                && oldest(harness).await == 0.0
                && harness
                    .page("/readyz?verbose")
                    .await
                    .1
                    .contains("[+]spool ok")
        })
        .await;
}

/// For how long, as `/metrics` says, the oldest one has waited.
async fn oldest(harness: &Harness) -> f64 {
    let (_, metrics) = harness.page("/metrics").await;
    let mut lines = metrics.lines();
    let seconds = lines.find_map(|line| line.strip_prefix("bellhop_spool_oldest_seconds "));
    seconds.unwrap().parse().unwrap()
}

fn waiting(home: &Path) -> usize {
    let files: Vec<_> = spool::list(home).unwrap().collect();
    let waiting = files.iter().filter(|file| file.part == Part::Waiting);
    waiting.map(|file| file.entries.len()).sum()
}

#[tokio::test]
async fn what_comes_while_the_broker_is_away_is_accepted_and_stored_once_when_it_is_back() {
    let home = TempDir::new().unwrap();
    let mut harness = Harness::start_with(&with_spool(home.path(), &PATIENT)).await;
    assert_eq!(harness.post(&start(0)).await.status, StatusCode::ACCEPTED);
    harness.lose_broker().await;
    for number in 1..5 {
        let answer = harness.post(&start(number)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert!(answer.body["deliveryId"].is_string(), "{answer:?}");
    }
    // One of them again, a test, and what nobody can read: each is answered as always.
    assert_eq!(harness.post(&start(1)).await.status, StatusCode::ACCEPTED);
    assert_eq!(harness.post(&vector("06")).await.status, StatusCode::OK);
    let unreadable = harness.post(b"no JSON").await;
    unreadable.problem(StatusCode::UNPROCESSABLE_ENTITY);
    let legacy = harness.post(&vector("07")).await;
    assert_eq!(legacy.status, StatusCode::ACCEPTED);

    harness
        .until("spooling", async || {
            let (status, readyz) = harness.page("/readyz?verbose").await;
            status == StatusCode::OK
                && readyz.contains("[+]nats degraded")
                && readyz.contains("webhooks go to the spool")
                && readyz.contains("[+]spool degraded: spooling")
                && harness.has_metric("bellhop_spool_deliveries 8").await
        })
        .await;
    assert_eq!(waiting(home.path()), 8);
    harness
        .until("the age of the oldest", async || {
            oldest(&harness).await > 0.0
        })
        .await;

    harness.nats.restart().unwrap();
    until_drained(&harness, home.path()).await;
    let mut expected: Vec<_> = (0..5).map(start).collect();
    expected.push(vector("06"));
    assert_eq!(stored(&harness).await, texts(expected));
    let letters = harness.dead_letters().await;
    let letters = texts(letters.iter().map(|it| &it.body));
    assert_eq!(letters, texts([b"no JSON".to_vec(), vector("07")]));
    assert_eq!(waiting(home.path()), 0);
    assert!(harness.has_metric("bellhop_spooled_total 8").await);
    assert!(harness.has_metric("bellhop_spool_drained_total 8").await);
    let (_, readyz) = harness.page("/readyz?verbose").await;
    assert!(!readyz.contains("webhook_not_stored"), "{readyz}");
    // The letters came without a webhook of their own time.
    harness
        .until("counted", async || {
            harness.has_metric("bellhop_ingress_dead_letters 2").await
        })
        .await;
}

#[tokio::test]
async fn what_is_stored_from_the_spool_is_what_came() {
    let home = TempDir::new().unwrap();
    let mut harness = Harness::start_with(&with_spool(home.path(), &PATIENT)).await;
    harness.post(&vector("01")).await;
    harness.lose_broker().await;
    let answer = harness.post(&vector("03")).await;
    harness.nats.restart().unwrap();
    until_drained(&harness, home.path()).await;
    let [direct, spooled] = &harness.deliveries().await[..] else {
        panic!("two deliveries")
    };
    assert_eq!(answer.body["deliveryId"], spooled.id.as_str());
    assert_eq!(spooled.body, vector("03"));
    assert_eq!(spooled.event_type.as_deref(), Some("EVENT_END"));
    assert_eq!(
        (&spooled.source, &spooled.site, &spooled.kind, &spooled.name),
        (&direct.source, &direct.site, &direct.kind, &direct.name)
    );
    assert_eq!(spooled.webhook, direct.webhook);
    assert_eq!(spooled.headers, direct.headers);
    assert!(spooled.received_at > direct.received_at);
    let trace = answer.body["traceId"].as_str().unwrap();
    assert!(spooled.traceparent.as_ref().unwrap().contains(trace));
}

#[tokio::test]
async fn a_broker_that_hangs_keeps_no_sender_waiting_and_has_each_webhook_once_afterwards() {
    let home = TempDir::new().unwrap();
    let harness = Harness::start_with(&with_spool(home.path(), &[])).await;
    harness.nats.pause().unwrap();
    for number in 0..5 {
        let answer = harness.post(&start(number)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    assert_eq!(waiting(home.path()), 5);
    harness.nats.resume().unwrap();
    until_drained(&harness, home.path()).await;
    // The first was on its way to the broker already: it is there under the same id.
    assert_eq!(stored(&harness).await, texts((0..5).map(start)));
}

#[tokio::test]
async fn a_broker_that_answers_and_stores_nothing_is_seen_for_what_it_is() {
    let home = TempDir::new().unwrap();
    // What may not be published is dropped without an answer, as by a broker whose disk is full.
    let nats = NatsServer::builder()
        .configuration(
            r#"authorization { users: [{ user: someone, password: "", permissions: { publish: { deny: "deliveries.>" } } }] }
            no_auth_user: someone"#,
        )
        .start()
        .unwrap();
    let harness = Harness::start_unready(nats, &with_spool(home.path(), &[])).await;
    harness.until_ready().await;
    for number in 0..3 {
        let answer = harness.post(&start(number)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    assert_eq!(waiting(home.path()), 3);
    harness
        .until("seen", async || {
            let (status, readyz) = harness.page("/readyz?verbose").await;
            status == StatusCode::OK && readyz.contains("does not confirm what is sent to it")
        })
        .await;
}

#[tokio::test]
async fn however_patient_with_the_broker_it_leaves_the_spool_its_time() {
    let home = TempDir::new().unwrap();
    let folder = home.path().to_str().unwrap();
    let usual = ["--webhook-secret", SECRET, "--spool-dir", folder];
    let arguments = [&usual[..], &["--store-timeout", "5"], &PATIENT].concat();
    let harness = Harness::start_with(&arguments).await;
    harness.nats.pause().unwrap();
    assert_eq!(harness.post(&start(1)).await.status, StatusCode::ACCEPTED);
    assert_eq!(waiting(home.path()), 1);
}

#[tokio::test]
async fn what_waits_survives_a_stop_in_the_middle_of_draining() {
    let home = TempDir::new().unwrap();
    let arguments = with_spool(home.path(), &[]);
    let mut nats = NatsServer::start().unwrap();
    nats.kill().unwrap();
    let mut harness = Harness::start_unready(nats, &arguments).await;
    // It can store, so it is ready, though it never saw the broker.
    assert_eq!(harness.page("/readyz").await.0, StatusCode::OK);
    for number in 0..5 {
        let answer = harness.post(&start(number)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    // The broker comes, and hangs somewhere on the way.
    harness.nats.restart().unwrap();
    harness.nats.pause().unwrap();
    harness.stop.cancel();
    (&mut harness.running).await.unwrap().unwrap();

    harness.nats.resume().unwrap();
    let harness = harness.again(&arguments).await;
    until_drained(&harness, home.path()).await;
    assert_eq!(stored(&harness).await, texts((0..5).map(start)));
}

#[tokio::test]
async fn where_neither_the_broker_nor_the_spool_has_room_it_is_503_and_not_ready() {
    let home = TempDir::new().unwrap();
    let limits = [
        "--max-body-bytes",
        "1000",
        "--spool-max-bytes",
        "73728",
        "--webhook-secret",
        SECRET,
        "--store-timeout",
        "10",
        "--spool-dir",
        home.path().to_str().unwrap(),
    ];
    let mut harness = Harness::start_with(&limits).await;
    harness.lose_broker().await;
    let mut accepted = 0;
    for number in 100..130 {
        let answer = harness.post(&start(number)).await;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        accepted += 1;
    }
    assert_eq!(accepted, 18);
    harness
        .until("unready", async || {
            let (status, readyz) = harness.page("/readyz?verbose").await;
            status == StatusCode::SERVICE_UNAVAILABLE
                && readyz.contains("[-]nats failed")
                && readyz.contains("SPOOL_MAX_BYTES")
                && readyz.contains("[!]alarm webhook_not_stored")
                && readyz.contains("[!]alarm spool_nearly_full")
                && readyz.contains("[!]alarm spool_unusable")
        })
        .await;
    assert!(
        harness
            .has_metric(r#"bellhop_not_spooled_total{reason="full"} 1"#)
            .await
    );

    harness.nats.restart().unwrap();
    until_drained(&harness, home.path()).await;
    assert_eq!(harness.page("/readyz").await.0, StatusCode::OK);
    assert_eq!(stored(&harness).await, texts((100..118).map(start)));
    harness
        .until("over", async || {
            !harness
                .page("/readyz?verbose")
                .await
                .1
                .contains("alarm spool")
        })
        .await;
}

#[tokio::test]
async fn what_a_full_stream_refuses_waits_until_there_is_room_and_dead_letters_pass_it_by() {
    let home = TempDir::new().unwrap();
    let arguments = with_spool(
        home.path(),
        &["--deliveries-max-bytes", "3000", PATIENT[0], PATIENT[1]],
    );
    let harness = Harness::start_with(&arguments).await;
    for number in 100..120 {
        let answer = harness.post(&start(number)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    let waiting_now = waiting(home.path());
    assert!((1..20).contains(&waiting_now), "{waiting_now}");
    harness
        .post(b"no JSON")
        .await
        .problem(StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(harness.dead_letters().await.len(), 1);

    let client = async_nats::connect(harness.nats.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let stream = context.get_stream("DELIVERIES").await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.max_bytes = -1;
    context.update_stream(config).await.unwrap();
    until_drained(&harness, home.path()).await;
    assert_eq!(stored(&harness).await, texts((100..120).map(start)));
}

#[tokio::test]
async fn what_the_broker_refuses_for_good_is_kept_aside_holds_nobody_up_and_is_tried_again() {
    let home = TempDir::new().unwrap();
    let arguments = with_spool(home.path(), &[]);
    let mut nats = NatsServer::builder()
        .configuration("max_payload: 4096")
        .start()
        .unwrap();
    nats.kill().unwrap();
    let mut harness = Harness::start_unready(nats, &arguments).await;
    let large = flat(json!({"eventTitle": "x".repeat(5000)}));
    assert_eq!(harness.post(&large).await.status, StatusCode::ACCEPTED);
    assert_eq!(harness.post(&start(1)).await.status, StatusCode::ACCEPTED);

    harness.nats.restart().unwrap();
    until_drained(&harness, home.path()).await;
    assert_eq!(stored(&harness).await, texts([start(1)]));
    harness
        .until("alarmed", async || {
            let alarm = r#"bellhop_alarms{kind="spool_refused"} 1"#;
            harness.has_metric(alarm).await
        })
        .await;
    let files: Vec<_> = spool::list(home.path()).unwrap().collect();
    let [refused] = &files[..] else {
        panic!("{files:?}")
    };
    assert_eq!(refused.part, Part::Refused);
    assert_eq!(refused.entries[0].body(), &large[..]);

    // An operator lets larger ones in, and starts it again.
    harness.stop.cancel();
    (&mut harness.running).await.unwrap().unwrap();
    let harness = Harness::start_unready(NatsServer::start().unwrap(), &arguments).await;
    until_drained(&harness, home.path()).await;
    assert_eq!(stored(&harness).await, texts([large]));
    assert_eq!(spool::list(home.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_body_larger_than_the_broker_takes_is_not_lost_either() {
    let home = TempDir::new().unwrap();
    let nats = NatsServer::builder()
        .configuration("max_payload: 4096")
        .start()
        .unwrap();
    let harness = Harness::start_unready(nats, &with_spool(home.path(), &PATIENT)).await;
    harness.until_ready().await;
    let large = flat(json!({"eventTitle": "x".repeat(5000)}));
    assert_eq!(harness.post(&large).await.status, StatusCode::ACCEPTED);
    harness
        .until("kept aside", async || {
            let files: Vec<_> = spool::list(home.path()).unwrap().collect();
            let mut refused = files.iter().filter(|file| file.part == Part::Refused);
            refused.any(|file| file.entries.iter().any(|it| it.body() == &large[..]))
        })
        .await;
    let lost = r#"bellhop_alarms{kind="webhook_too_large"} 1"#;
    assert!(!harness.has_metric(lost).await);
}

#[tokio::test]
async fn a_damaged_file_keeps_nobody_from_being_received_and_what_can_be_read_of_it_is_stored() {
    let home = TempDir::new().unwrap();
    let arguments = with_spool(home.path(), &[]);
    let mut nats = NatsServer::start().unwrap();
    nats.kill().unwrap();
    let mut harness = Harness::start_unready(nats, &arguments).await;
    for number in 1..3 {
        harness.post(&start(number)).await;
    }
    harness.stop.cancel();
    (&mut harness.running).await.unwrap().unwrap();
    let files: Vec<_> = spool::list(home.path()).unwrap().collect();
    let mut bytes = std::fs::read(&files[0].path).unwrap();
    bytes.splice(0..0, b"not a line of ours\n".iter().copied());
    std::fs::write(&files[0].path, bytes).unwrap();

    harness.nats.restart().unwrap();
    let harness = harness.again(&arguments).await;
    assert_eq!(harness.post(&start(3)).await.status, StatusCode::ACCEPTED);
    until_drained(&harness, home.path()).await;
    assert_eq!(stored(&harness).await, texts((1..4).map(start)));
    harness
        .until("alarmed", async || {
            let readyz = harness.page("/readyz?verbose").await.1;
            readyz.contains("[!]alarm spool_damaged")
        })
        .await;
}

#[tokio::test]
async fn files_that_can_t_be_read_now_are_alarmed_until_they_can_and_hold_no_other_up() {
    let home = TempDir::new().unwrap();
    let mut harness = Harness::start_with(&with_spool(home.path(), &PATIENT)).await;
    harness.lose_broker().await;
    assert_eq!(harness.post(&start(0)).await.status, StatusCode::ACCEPTED);
    let file = spool::list(home.path()).unwrap().next().unwrap().path;
    // In its place something that can't be read; no permission stops a test that is run by root.
    let hidden = file.with_extension("hidden");
    std::fs::rename(&file, &hidden).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert_eq!(harness.post(&start(1)).await.status, StatusCode::ACCEPTED);
    harness.nats.restart().unwrap();
    let is_alarmed = async || {
        let (_, readyz) = harness.page("/readyz?verbose").await;
        readyz.contains("[!]alarm spool_unread spool: 1 file(s) of the spool can't be read now")
    };
    harness.until("alarmed", is_alarmed).await;
    harness
        .until("stored", async || {
            harness.has_metric("bellhop_spool_drained_total 1").await
        })
        .await;
    assert_eq!(stored(&harness).await, texts([start(1)]));

    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&hidden, &file).unwrap();
    until_drained(&harness, home.path()).await;
    harness.until("calm", async || !is_alarmed().await).await;
    assert_eq!(stored(&harness).await, texts([start(0), start(1)]));
}

#[tokio::test]
async fn a_second_ingress_with_the_same_folder_does_not_start() {
    telemetry::install_for_tests();
    let home = TempDir::new().unwrap();
    let harness = Harness::start_with(&with_spool(home.path(), &[])).await;
    let second = settings(&harness.nats.url(), &with_spool(home.path(), &[]));
    let error = Ingress::bind(second).await.unwrap_err();
    assert!(matches!(error, IngressError::Spool(_)), "{error:?}");
    assert!(error.to_string().starts_with("SPOOL_DIR: "), "{error}");
}

#[tokio::test]
async fn without_a_folder_readyz_says_that_there_is_no_spool() {
    let harness = Harness::start().await;
    let (status, readyz) = harness.page("/readyz?verbose").await;
    assert_eq!(status, StatusCode::OK);
    let line = "[+]spool not configured: SPOOL_DIR is not set";
    assert!(readyz.contains(line), "{readyz}");
    tokio::time::timeout(Duration::from_secs(60), harness.post(&start(1)))
        .await
        .unwrap();
}
