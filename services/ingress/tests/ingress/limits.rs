//! A slow, huge or deep request costs little.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bellhop_reservation_system::SIGNATURE_HEADER;
use reqwest::{Body, StatusCode};
use serde_json::json;

use crate::harness::{Harness, SECRET, answered, flat, signature};

/// Sends these bytes, then nothing more, and reads until the server closes.
async fn sent_and_left(address: SocketAddr, bytes: Vec<u8>) -> String {
    let talk = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

#[tokio::test]
async fn a_body_of_the_limit_is_taken_and_one_byte_more_is_413() {
    let body = flat(json!({}));
    let limit = body.len().to_string();
    let harness =
        Harness::start_with(&["--webhook-secret", SECRET, "--max-body-bytes", &limit]).await;
    assert_eq!(harness.post(&body).await.status, StatusCode::ACCEPTED);

    let larger = [&body[..], b" "].concat();
    let answer = harness.post(&larger).await;
    assert_eq!(
        answer.problem(StatusCode::PAYLOAD_TOO_LARGE),
        format!("the body is larger than {limit} bytes")
    );
    // Nobody needs a signature to be told so, and the length need not be announced.
    let frames = futures::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1000])));
    let request = harness
        .client
        .post(harness.url("/webhook"))
        .body(Body::wrap_stream(frames));
    answered(request.send().await.unwrap())
        .await
        .problem(StatusCode::PAYLOAD_TOO_LARGE);
    assert!(
        harness
            .has_metric(r#"bellhop_webhook_bodies_refused_total{reason="too_large"} 2"#)
            .await
    );
    assert_eq!(harness.deliveries().await.len(), 1);
}

#[tokio::test]
async fn a_body_of_the_default_limit_is_read_and_a_larger_one_refused() {
    let harness = Harness::start().await;
    let mut body = flat(json!({}));
    body.resize(1 << 20, b' ');
    // The test's broker takes no message of this size, so it is the broker's limit that is met.
    let answer = harness.post(&body).await;
    assert_eq!(
        answer.problem(StatusCode::PAYLOAD_TOO_LARGE),
        "the body is larger than the broker takes"
    );
    body.push(b' ');
    let answer = harness.post(&body).await;
    assert_eq!(
        answer.problem(StatusCode::PAYLOAD_TOO_LARGE),
        "the body is larger than 1048576 bytes"
    );
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let harness =
        Harness::start_with(&["--webhook-secret", SECRET, "--body-read-timeout", "0.3"]).await;
    let body = flat(json!({}));
    let request = format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{SIGNATURE_HEADER}: {}\r\n\r\n{{",
        body.len(),
        signature(SECRET, &body)
    );
    let answer = sent_and_left(harness.address, request.into_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert!(
        harness
            .has_metric(r#"bellhop_webhook_bodies_refused_total{reason="too_slow"} 1"#)
            .await
    );
    assert!(harness.deliveries().await.is_empty());
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let harness =
        Harness::start_with(&["--webhook-secret", SECRET, "--header-read-timeout", "0.3"]).await;
    let answer = sent_and_left(harness.address, b"POST /webhook HTTP/1.1\r\nHost".to_vec()).await;
    assert!(!answer.contains("200"), "{answer}");
    // The client's idle connection is overdue as well; a fresh one is not.
    let body = flat(json!({}));
    let request = reqwest::Client::new().post(harness.url("/webhook"));
    let request = request
        .header(SIGNATURE_HEADER, signature(SECRET, &body))
        .body(body);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn clients_that_send_nothing_keep_no_webhook_and_no_probe_out() {
    let harness = Harness::start_with(&[
        "--webhook-secret",
        SECRET,
        "--max-connections",
        "2",
        "--header-read-timeout",
        "3600",
    ])
    .await;
    let silent: Vec<TcpStream> = (0..4)
        .map(|_| TcpStream::connect(harness.address).unwrap())
        .collect();
    let fresh = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    let body = flat(json!({}));
    let request = fresh
        .post(harness.url("/webhook"))
        .header(SIGNATURE_HEADER, signature(SECRET, &body));
    assert_eq!(
        request.body(body).send().await.unwrap().status(),
        StatusCode::ACCEPTED
    );
    let livez = fresh.get(harness.url("/livez")).send().await.unwrap();
    assert_eq!(livez.status(), StatusCode::OK);
    drop(silent);
}
