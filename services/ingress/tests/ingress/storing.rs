//! A 2xx leaves only after the broker has acknowledged, and what was verified is seen through.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use bellhop_nats_server::NatsServer;
use bellhop_reservation_system::SIGNATURE_HEADER;
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{Harness, SECRET, flat, signature};

/// Waits until a webhook was verified and waits for the broker.
async fn until_under_way(harness: &Harness) {
    harness
        .until("under way", async || {
            harness.has_metric("bellhop_webhooks_under_way 1").await
        })
        .await;
}

/// Does not wait long for a broker that is away, but long enough for one that is busy.
const QUICK: [&str; 4] = ["--webhook-secret", SECRET, "--store-timeout", "2"];

#[tokio::test]
async fn without_the_broker_it_is_503_and_with_it_again_202() {
    let mut harness = Harness::start_with(&QUICK).await;
    harness.nats.kill().unwrap();
    let body = flat(json!({}));
    let request = harness.client.post(harness.url("/webhook"));
    let request = request
        .header(SIGNATURE_HEADER, signature(SECRET, &body))
        .body(body.clone());
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let retry_after = response.headers()["retry-after"].to_str().unwrap();
    assert!(retry_after.parse::<u64>().unwrap() > 0, "{retry_after}");
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );

    // Unready, it would get no webhook, and nobody would know of those that are lost.
    let (status, readyz) = harness.page("/readyz?verbose").await;
    assert_eq!(status, StatusCode::OK, "{readyz}");
    assert!(readyz.contains("[+]nats degraded"), "{readyz}");
    assert!(readyz.contains("[!]alarm webhook_not_stored"), "{readyz}");
    assert_eq!(harness.page("/livez").await.0, StatusCode::OK);

    harness.nats.restart().unwrap();
    harness.until_ready().await;
    let answer = harness.post(&flat(json!({"eventId": "5121"}))).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    // One webhook is lost all the same: whoever looks once a minute must see it.
    assert!(
        harness
            .has_metric(r#"bellhop_alarms{kind="webhook_not_stored"} 1"#)
            .await
    );
    let deliveries = harness.deliveries().await;
    assert!(
        deliveries
            .iter()
            .any(|delivery| delivery.body == flat(json!({"eventId": "5121"})))
    );
}

#[tokio::test]
async fn an_unreadable_body_is_not_answered_422_before_it_is_kept() {
    let mut harness = Harness::start_with(&QUICK).await;
    harness.nats.kill().unwrap();
    let answer = harness.post(b"no JSON").await;
    answer.problem(StatusCode::SERVICE_UNAVAILABLE);
    harness.nats.restart().unwrap();
    harness.until_ready().await;
    harness
        .post(b"no JSON")
        .await
        .problem(StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(harness.dead_letters().await.len(), 1);
}

#[tokio::test]
async fn it_starts_without_the_broker_and_is_ready_once_there_is_one() {
    let mut nats = NatsServer::start().unwrap();
    nats.kill().unwrap();
    let mut harness = Harness::start_unready(nats, &QUICK).await;
    assert_eq!(harness.page("/livez").await.0, StatusCode::OK);
    assert_eq!(
        harness.page("/readyz").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    harness
        .post(&flat(json!({})))
        .await
        .problem(StatusCode::SERVICE_UNAVAILABLE);

    harness.nats.restart().unwrap();
    harness.until_ready().await;
    assert_eq!(
        harness.post(&flat(json!({}))).await.status,
        StatusCode::ACCEPTED
    );
}

#[tokio::test]
async fn a_webhook_that_comes_before_the_first_connection_waits_for_it() {
    let mut nats = NatsServer::start().unwrap();
    nats.kill().unwrap();
    let patient = ["--webhook-secret", SECRET, "--store-timeout", "20"];
    let mut harness = Harness::start_unready(nats, &patient).await;
    let body = flat(json!({}));
    let request = harness.client.post(harness.url("/webhook"));
    let request = request
        .header(SIGNATURE_HEADER, signature(SECRET, &body))
        .body(body);
    let sent = tokio::spawn(request.send());
    until_under_way(&harness).await;
    harness.nats.restart().unwrap();
    assert_eq!(sent.await.unwrap().unwrap().status(), StatusCode::ACCEPTED);
    assert_eq!(harness.deliveries().await.len(), 1);
}

#[tokio::test]
async fn streams_that_are_missing_and_may_not_be_made_are_waited_for() {
    let arguments = [&QUICK[..], &["--create-streams", "false"]].concat();
    let harness = Harness::start_unready(NatsServer::start().unwrap(), &arguments).await;
    harness
        .until("told", async || {
            harness.page("/readyz").await.1.contains("bellhop setup")
        })
        .await;
    harness
        .post(&flat(json!({})))
        .await
        .problem(StatusCode::SERVICE_UNAVAILABLE);

    harness.store().await;
    harness.until_ready().await;
    assert_eq!(
        harness.post(&flat(json!({}))).await.status,
        StatusCode::ACCEPTED
    );
}

#[tokio::test]
async fn a_stream_of_another_service_that_is_set_up_wrongly_turns_no_webhook_away() {
    let nats = NatsServer::start().unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let reports = async_nats::jetstream::stream::Config {
        name: "KV_REPORTS".to_owned(),
        subjects: vec!["$KV.REPORTS.>".to_owned()],
        max_age: Duration::from_secs(3600),
        ..Default::default()
    };
    let context = async_nats::jetstream::new(client);
    context.create_stream(reports).await.unwrap();
    let harness = Harness::start_unready(nats, &QUICK).await;
    harness.until_ready().await;
    assert_eq!(
        harness.post(&flat(json!({}))).await.status,
        StatusCode::ACCEPTED
    );
}

#[tokio::test]
async fn a_stream_that_is_full_is_503_and_degraded() {
    let arguments = [&QUICK[..], &["--deliveries-max-bytes", "3000"]].concat();
    let harness = Harness::start_with(&arguments).await;
    let mut stored = 0;
    for number in 0..20 {
        let answer = harness
            .post(&flat(json!({"eventId": number.to_string()})))
            .await;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        stored += 1;
    }
    assert!((1..20).contains(&stored), "{stored}");
    assert_eq!(harness.deliveries().await.len(), stored);
    let (status, readyz) = harness.page("/readyz?verbose").await;
    assert_eq!(status, StatusCode::OK);
    assert!(readyz.contains("maximum bytes exceeded"), "{readyz}");
}

#[tokio::test]
async fn a_body_larger_than_the_broker_takes_is_413_and_alarmed() {
    let nats = NatsServer::builder()
        .configuration("max_payload: 4096")
        .start()
        .unwrap();
    let harness = Harness::start_unready(nats, &QUICK).await;
    harness.until_ready().await;
    let answer = harness
        .post(&flat(json!({"eventTitle": "x".repeat(5000)})))
        .await;
    answer.problem(StatusCode::PAYLOAD_TOO_LARGE);
    assert!(
        harness
            .has_metric(r#"bellhop_alarms{kind="webhook_too_large"} 1"#)
            .await
    );
    assert!(
        !harness
            .has_metric(r#"bellhop_alarms{kind="webhook_not_stored"} 1"#)
            .await
    );
    assert_eq!(
        harness.post(&flat(json!({}))).await.status,
        StatusCode::ACCEPTED
    );
}

#[tokio::test]
async fn a_webhook_is_stored_even_if_its_sender_hangs_up() {
    let harness = Harness::start().await;
    harness.nats.pause().unwrap();
    let body = flat(json!({}));
    let mut stream = TcpStream::connect(harness.address).unwrap();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{SIGNATURE_HEADER}: {}\r\n\r\n",
        body.len(),
        signature(SECRET, &body)
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    until_under_way(&harness).await;
    drop(stream);
    // Nothing shows that the ingress has noticed; if it has not yet, this test is only weaker.
    tokio::time::sleep(Duration::from_millis(100)).await;
    harness.nats.resume().unwrap();
    harness
        .until("stored", async || {
            harness
                .has_metric("bellhop_webhook_store_seconds_count 1")
                .await
        })
        .await;
    assert_eq!(harness.deliveries().await[0].body, body);
}

#[tokio::test]
async fn a_stop_lets_open_requests_end() {
    let mut harness = Harness::start().await;
    harness.nats.pause().unwrap();
    let body = flat(json!({}));
    let request = harness.client.post(harness.url("/webhook"));
    let request = request
        .header(SIGNATURE_HEADER, signature(SECRET, &body))
        .body(body);
    let open = tokio::spawn(request.send());
    until_under_way(&harness).await;

    harness.stop.cancel();
    harness
        .until("closed", async || {
            TcpStream::connect(harness.address).is_err()
        })
        .await;
    assert!(!open.is_finished());
    harness.nats.resume().unwrap();

    assert_eq!(open.await.unwrap().unwrap().status(), StatusCode::ACCEPTED);
    (&mut harness.running).await.unwrap().unwrap();
    assert_eq!(harness.deliveries().await.len(), 1);
}
