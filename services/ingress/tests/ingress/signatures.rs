//! Who is let in.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use bellhop_reservation_system::SIGNATURE_HEADER;
use reqwest::StatusCode;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::harness::{
    Answered, Harness, SECRET, answered, flat, signature, vector, vector_signature,
};

fn refusal() -> Answered {
    Answered {
        status: StatusCode::UNAUTHORIZED,
        content_type: "application/problem+json".to_owned(),
        body: json!({
            "type": "about:blank",
            "title": "Unauthorized",
            "status": 401,
            "detail": "Invalid webhook signature",
        }),
    }
}

/// The status of a request with any bytes as signature, valid in HTTP or not.
fn raw_status(address: SocketAddr, body: &[u8], signature: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    let mut request = head.into_bytes();
    request.extend_from_slice(format!("{SIGNATURE_HEADER}: ").as_bytes());
    request.extend_from_slice(signature);
    request.extend_from_slice(b"\r\n\r\n");
    request.extend_from_slice(body);
    stream.write_all(&request).unwrap();
    let mut answer = Vec::new();
    // The server may close before it has read all of a request that is no HTTP.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_any_bit_of_the_signature_changed_nobody_gets_in() {
    let harness = Harness::start().await;
    let (body, right) = (vector("08"), vector_signature("08").into_bytes());
    let address = harness.address;
    tokio::task::spawn_blocking(move || {
        assert_eq!(raw_status(address, &body, &right), 202);
        for bit in 0..right.len() * 8 {
            let mut changed = right.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let status = raw_status(address, &body, &changed);
            // Some bytes are no HTTP at all, and the HTTP library says so before we see them.
            let byte = changed[bit / 8];
            let is_control = byte.is_ascii_control() && byte != b'\t';
            let expected = if is_control { 400 } else { 401 };
            assert_eq!(status, expected, "bit {bit}");
        }
    })
    .await
    .unwrap();
    assert_eq!(harness.dead_letters().await.len(), 1);
}

#[tokio::test]
async fn with_any_bit_of_the_body_changed_nobody_gets_in() {
    let harness = Harness::start().await;
    for number in ["01", "02", "03", "04", "05", "06", "07", "08", "09", "12"] {
        let (body, right) = (vector(number), vector_signature(number));
        let bits = body.len() * 8;
        // A spread over all bytes and all places in a byte, with both ends.
        for bit in (0..bits).step_by((bits / 60) | 1).chain([bits - 1]) {
            let mut changed = body.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let answer = harness.post_signed("/webhook", &changed, &right).await;
            assert_eq!(answer, refusal(), "{number}, bit {bit}");
        }
        for other in [&body[..body.len() - 1], &[&body[..], b"\n"].concat(), b""] {
            assert_eq!(
                harness.post_signed("/webhook", other, &right).await,
                refusal(),
                "{number}"
            );
        }
    }
    assert!(harness.deliveries().await.is_empty());
    assert!(harness.dead_letters().await.is_empty());
}

#[tokio::test]
async fn every_reason_to_refuse_has_the_same_answer() {
    let (harness, _mapping) = with_two_webhooks().await;
    let body = flat(json!({}));
    let right = signature(SECRET, &body);
    let of_13 = flat(json!({"webhookId": 13}));
    let of_nobody = flat(json!({"webhookId": 99}));

    let unsigned = harness
        .client
        .post(harness.url("/webhook"))
        .body(body.clone());
    assert_eq!(answered(unsigned.send().await.unwrap()).await, refusal());
    let twice = harness.client.post(harness.url("/webhook"));
    let twice = twice
        .header(SIGNATURE_HEADER, &right)
        .header(SIGNATURE_HEADER, &right)
        .body(body.clone());
    assert_eq!(answered(twice.send().await.unwrap()).await, refusal());

    for (path, body, signature) in [
        ("/webhook", &body, String::new()),
        ("/webhook", &body, "not a signature".to_owned()),
        ("/webhook", &body, signature("stranger", &body)),
        // A secret speaks for its own webhook only, in the body and in the path.
        ("/webhook", &of_13, signature(SECRET, &of_13)),
        ("/webhook", &of_nobody, signature(SECRET, &of_nobody)),
        ("/webhook/13", &body, right.clone()),
        ("/webhook/13", &body, signature("thirteen", &body)),
        ("/webhook/99", &body, right.clone()),
        ("/webhook/not%20an%20id", &body, right.clone()),
        ("/webhook/%ff", &body, right.clone()),
        // Nobody who can't sign hears what is wrong with a body.
        ("/webhook", &b"no JSON".to_vec(), String::new()),
        ("/webhook", &flat_unreadable(12), String::new()),
        // What can't be read must be the sender's too.
        (
            "/webhook",
            &flat_unreadable(13),
            signature(SECRET, &flat_unreadable(13)),
        ),
        (
            "/webhook/13",
            &b"no JSON".to_vec(),
            signature(SECRET, b"no JSON"),
        ),
    ] {
        let answer = harness.post_signed(path, body, &signature).await;
        assert_eq!(
            answer,
            refusal(),
            "{path} {}",
            String::from_utf8_lossy(body)
        );
    }
    assert!(harness.deliveries().await.is_empty());
    assert!(harness.dead_letters().await.is_empty());
}

#[tokio::test]
async fn a_webhook_may_come_by_the_path_of_its_own_id() {
    let (harness, _mapping) = with_two_webhooks().await;
    let body = flat(json!({}));
    let answer = harness
        .post_signed("/webhook/12", &body, &signature(SECRET, &body))
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let other = flat(json!({"webhookId": "13"}));
    let answer = harness
        .post_signed("/webhook/", &other, &signature("thirteen", &other))
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);

    let answer = harness
        .post_signed("/webhook/12", b"no JSON", &signature(SECRET, b"no JSON"))
        .await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        harness.dead_letters().await[0].reason,
        "the body is not JSON (webhook 12)"
    );
}

#[tokio::test]
async fn the_forms_of_a_signature_that_guides_print_are_accepted_too() {
    let harness = Harness::start().await;
    for (number, form) in ["", "sha256="].into_iter().enumerate() {
        let body = flat(json!({"eventId": number.to_string()}));
        let hex = hex_of(&signature(SECRET, &body));
        let answer = harness
            .post_signed("/webhook", &body, &format!("{form}{hex}"))
            .await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{form}");
    }
}

#[tokio::test]
async fn the_content_type_is_not_judged() {
    let harness = Harness::start().await;
    let body = flat(json!({}));
    let request = harness
        .client
        .post(harness.url("/webhook"))
        .header("content-type", "text/plain");
    let request = request
        .header(SIGNATURE_HEADER, signature(SECRET, &body))
        .body(body);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::ACCEPTED);
}

fn flat_unreadable(webhook_id: u64) -> Vec<u8> {
    flat(json!({"webhookId": webhook_id, "eventStart": null}))
}

/// An ingress that knows webhook 12 by the vectors' secret and 13 by another one, and no default.
async fn with_two_webhooks() -> (Harness, NamedTempFile) {
    let mapping = NamedTempFile::new().unwrap();
    std::fs::write(
        &mapping,
        json!({"12": SECRET, "13": "thirteen"}).to_string(),
    )
    .unwrap();
    let path = mapping.path().to_str().unwrap();
    (
        Harness::start_with(&["--webhook-secrets-path", path]).await,
        mapping,
    )
}

/// Hexadecimal digits of what Base64 holds.
fn hex_of(base64: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = String::new();
    for byte in base64.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|letter| *letter == byte).unwrap();
        bits.push_str(&format!("{value:06b}"));
    }
    let digits = bits.as_bytes().chunks_exact(4).take(64);
    digits
        .map(|four| {
            let value = u8::from_str_radix(std::str::from_utf8(four).unwrap(), 2).unwrap();
            format!("{value:x}")
        })
        .collect()
}

#[tokio::test]
async fn a_secret_that_is_not_the_senders_is_alarmed_until_a_signature_is_right() {
    let harness = Harness::start().await;
    let is_alarmed = async || {
        harness
            .has_metric(r#"bellhop_alarms{kind="webhooks_unauthorized"} 1"#)
            .await
    };
    let body = flat(json!({}));
    for _ in 0..3 {
        assert!(!is_alarmed().await);
        let wrong = signature("rotated", &body);
        let answer = harness.post_signed("/webhook", &body, &wrong).await;
        assert_eq!(answer, refusal());
    }
    assert!(is_alarmed().await);
    assert_eq!(harness.post(&body).await.status, StatusCode::ACCEPTED);
    assert!(!is_alarmed().await);
}

#[tokio::test]
async fn a_large_body_is_checked_like_any_other() {
    let harness = Harness::start().await;
    let body = flat(json!({"eventTitle": "x".repeat(100_000)}));
    let wrong = signature("stranger", &body);
    assert_eq!(
        harness.post_signed("/webhook", &body, &wrong).await,
        refusal()
    );
    assert_eq!(harness.post(&body).await.status, StatusCode::ACCEPTED);
}
