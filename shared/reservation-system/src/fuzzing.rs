//! What must hold for whatever a sender, or a stranger, sends. `fuzz` looks for inputs that break it; what it found worth
//! keeping is played again by the tests here.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::message_id::message_id;
use crate::signature::sign;
use crate::{
    Content, Signature, Verified, Webhook, WebhookId, WebhookSecret, WebhookSecrets,
    claimed_webhook_id,
};

/// Text of a person that is put where the body has some, to see whether it is printed.
const MARK: &str = "ma.ra@x7";

/// The input's first line is a signature header, the rest is the body.
///
/// A header is accepted where it is well-formed, and says nothing but the bytes that are compared. A body counts as that
/// of whoever's secret signed it, and only then.
pub fn signature(input: &[u8]) {
    let (header, body) = split_line(input);
    let own = WebhookSecret::new("its own").unwrap();
    let former = WebhookSecret::new("its former one").unwrap();
    let shared = WebhookSecret::new("for all others").unwrap();
    let of_twelve = vec![own.clone(), former.clone()];
    let mapping = BTreeMap::from([(WebhookId::from(12), of_twelve)]);
    let secrets = WebhookSecrets::new(vec![shared.clone()], mapping).unwrap();

    // As it came. A fuzzer sees what is compared, and finds a right one after some minutes.
    let right = [&own, &former, &shared].map(|secret| says(sign(secret, body).as_bytes()));
    let is_right = says(header).is_some_and(|it| right.contains(&Some(it)));
    assert_eq!(verified(&secrets, header, body).is_some(), is_right);
    for (secret, twelve) in [(&own, true), (&former, true), (&shared, false)] {
        let right = sign(secret, body);
        let hex = hex::encode(STANDARD.decode(&right).unwrap());
        for form in [
            format!("sha256={hex}"),
            hex.to_uppercase(),
            hex,
            right.clone(),
        ] {
            let by = verified(&secrets, form.as_bytes(), body).expect("it was signed");
            assert_eq!(by.may_speak_for(&WebhookId::from(12)), twelve);
            assert_eq!(by.may_speak_for(&WebhookId::from(13)), !twelve);
            let changed = with_changes(form.as_bytes(), header);
            let still = says(&changed) == says(form.as_bytes());
            assert_eq!(verified(&secrets, &changed, body).is_some(), still);
            let another = [body, header].concat();
            let of_another = verified(&secrets, form.as_bytes(), &another);
            assert_eq!(of_another.is_some(), header.is_empty());
        }
    }
}

fn verified(secrets: &WebhookSecrets, header: &[u8], body: &[u8]) -> Option<Verified> {
    let parsed = Signature::parse(header);
    assert_eq!(parsed.is_ok(), says(header).is_some());
    secrets.verify(&parsed.ok()?, body).ok()
}

/// `right` with the bytes of `changes` put over its own, two for each: where, and which.
fn with_changes(right: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut changed = right.to_vec();
    for change in changes.chunks_exact(2).take(4) {
        let at = usize::from(change[0]) % changed.len();
        changed[at] = change[1];
    }
    changed
}

/// The digits in hexadecimal that a header stands for, worked out without the code that is tested.
fn says(header: &[u8]) -> Option<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = std::str::from_utf8(header).ok()?;
    let text = text.trim_matches(['\t', '\n', '\x0c', '\r', ' ']);
    let hex = text.strip_prefix("sha256=").unwrap_or(text);
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(hex.to_lowercase());
    }
    let digits = text.strip_suffix('=').filter(|it| it.len() == 43)?;
    let mut bits = String::new();
    for byte in digits.bytes() {
        let value = DIGITS.iter().position(|digit| *digit == byte)?;
        bits.push_str(&format!("{value:06b}"));
    }
    // 43 digits are two bits more than 32 bytes.
    let mac = bits.strip_suffix("00")?;
    let hex = mac.as_bytes().chunks(4).map(|four| {
        let four = std::str::from_utf8(four).unwrap();
        format!("{:x}", u8::from_str_radix(four, 2).unwrap())
    });
    Some(hex.collect())
}

/// The input is a body.
///
/// Whatever it is, it has an id that fits a header, and what can be read of it does not hang on how it is written, on when it
/// was sent, or on what is not in the contract. Nothing private of it is printed.
pub fn payload(input: &[u8]) {
    let read = Webhook::parse(input);
    let id = message_id("reservation-system", &read, input);
    assert!(id.len() <= 180, "{id}");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_=".contains(&byte);
    assert!(id.bytes().all(plain), "{id}");
    assert_eq!(id.contains(".unreadable."), read.is_err());
    let Ok(webhook) = &read else {
        return;
    };
    assert_eq!(
        claimed_webhook_id(input).as_ref(),
        Some(&webhook.webhook_id)
    );
    bounded(webhook);

    let Ok(Value::Object(mut object)) = serde_json::from_slice(input) else {
        panic!("it was read, and is no object");
    };
    let again = serde_json::to_vec_pretty(&object).unwrap();
    if !has_fraction(&Value::Object(object.clone())) {
        assert_eq!(&Webhook::parse(&again), &read);
    }
    let same_id = |body: &[u8]| message_id("reservation-system", &Webhook::parse(body), body);
    // Of what is not in the contract nothing is known but its bytes.
    if webhook.content != Content::Other && !has_fraction(&Value::Object(object.clone())) {
        assert_eq!(same_id(&again), id);
        object.insert("timestamp".into(), "2026-12-03T07:55:20Z".into());
        object.insert("not in the contract".into(), true.into());
        assert_eq!(same_id(&serde_json::to_vec(&object).unwrap()), id);
    }
    for field in ["username", "email", "sshPublicKey"] {
        if object.contains_key(field) {
            object.insert(field.into(), MARK.into());
        }
    }
    let marked = serde_json::to_vec(&object).unwrap();
    let is_elsewhere = String::from_utf8_lossy(&again).contains(MARK);
    let printed = format!("{:?}", Webhook::parse(&marked));
    assert!(is_elsewhere || !printed.contains(MARK));
}

/// The parser takes the nearest number but one for some that are written with more digits than a number has, so that these are
/// others when they were written and read again. The real sender has none: its custom parameters are a text, which is kept.
fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_fraction),
        Value::Object(fields) => fields.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// What becomes part of subjects and keys has a length that these can have.
fn bounded(webhook: &Webhook) {
    if let Some(resource) = webhook.resource() {
        assert!(!resource.name.trim().is_empty() && resource.name.len() <= 400);
        assert!(resource.site_id.as_ref().is_none_or(|it| it.len() <= 200));
    }
    if let Some(booking) = webhook.booking() {
        let event_id = booking.event_id.as_str();
        assert!(!event_id.trim().is_empty() && event_id.chars().count() <= 200);
        assert!(
            booking
                .user_id
                .as_ref()
                .is_none_or(|it| !it.trim().is_empty())
        );
    }
}

fn split_line(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n');
    end.map_or((input, &[]), |end| (&input[..end], &input[end + 1..]))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn replay(name: &str, one: fn(&[u8])) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        let inputs = std::fs::read_dir(root.join(name)).unwrap();
        let inputs: Vec<_> = inputs
            .map(|it| std::fs::read(it.unwrap().path()).unwrap())
            .collect();
        assert!(inputs.len() >= 12, "{}", inputs.len());
        inputs.iter().for_each(|input| one(input));
    }

    #[test]
    fn what_was_fuzzed_as_a_signature_holds_on_every_kept_input() {
        replay("signature", super::signature);
    }

    #[test]
    fn what_was_fuzzed_as_a_payload_holds_on_every_kept_input() {
        replay("payload", super::payload);
    }
}
