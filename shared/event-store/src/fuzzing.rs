//! What must hold of subjects, whatever names come from outside. `fuzz` looks for inputs that break it; what it found worth
//! keeping is played again by the test here.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use bellhop_domain::id::{
    DeliveryId, ReservationId, ResourceId, ResourceKind, SiteId, Source, Version,
};
use bytes::Bytes;
use jiff::Timestamp;

use crate::delivery::{self, NewDelivery};
use crate::report::ReportKey;
use crate::subject::{UNKNOWN, decode_token, encode_token, of_resource, resource_of};

/// Each line of the input is a name, and a token.
///
/// A name comes back from its token, two names never have the same one, and no name can be taken for a subject's own
/// characters. A token is what a name became, or none.
pub fn subject(input: &[u8]) {
    let lines: Vec<String> = input
        .split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    for line in &lines {
        name(line);
        token(line);
    }
    let at = |index: usize| lines.get(index).map_or("", String::as_str);
    let (first, second, third) = (at(0), at(1), at(2));
    assert_eq!(encode_token(first) == encode_token(second), first == second);

    let resource = ResourceId::new(ResourceKind::new(first), second, third);
    let ledger = of_resource(&resource);
    assert_eq!(plain_tokens(&ledger), 4);
    assert_eq!(resource_of(&ledger), Some(resource));
    // A subject of the ledger is of one resource only, or two could hold one host.
    let raw = String::from_utf8_lossy(input);
    if let Some(resource) = resource_of(&raw) {
        assert_eq!(of_resource(&resource), raw);
    }
    of_a_delivery(first, second, third);
    of_a_report(first, second);
}

fn name(text: &str) {
    let token = encode_token(text);
    assert_eq!(plain_tokens(&token), 1);
    assert_ne!(token, UNKNOWN);
    assert_eq!(decode_token(&token).as_deref(), Ok(text));
}

fn token(text: &str) {
    if let Ok(name) = decode_token(text) {
        assert_eq!(encode_token(&name), text);
    }
}

fn of_a_delivery(source: &str, site: &str, name: &str) {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let delivery = NewDelivery {
        id: DeliveryId::new("i"),
        source: Source::new(source),
        site: known(site).map(SiteId::new),
        kind: None,
        name: known(name),
        event_type: known(source),
        webhook: None,
        received_at: Timestamp::UNIX_EPOCH,
        traceparent: None,
        headers: vec![("user-agent".to_owned(), site.to_owned())],
        body: Bytes::new(),
    };
    let subject = delivery::subject(&delivery);
    assert_eq!(plain_tokens(&subject), 5);
    let unknown = subject.split('.').filter(|token| *token == UNKNOWN).count();
    let left_out = 1 + usize::from(site.is_empty()) + usize::from(name.is_empty());
    assert_eq!(unknown, left_out);
    // It is stored, or refused with a reason.
    let _: Result<_, _> = delivery::outgoing(&delivery);
}

fn of_a_report(source: &str, event: &str) {
    let key = |version| {
        let report = ReportKey {
            reservation: ReservationId::new(Source::new(source), event),
            version: Version(version),
            entry: None,
            index: 0,
            destination: "notification",
        };
        report.to_string()
    };
    assert_eq!(plain_tokens(&key(7)), 3);
    assert!(key(7).len() < 600);
    assert_ne!(key(7), key(8));
}

/// How many tokens a subject has, none of which is empty or means several.
fn plain_tokens(subject: &str) -> usize {
    let tokens = subject.split('.');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/=".contains(&byte);
    tokens
        .inspect(|token| assert!(!token.is_empty() && token.bytes().all(plain), "{subject}"))
        .count()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn what_was_fuzzed_as_a_subject_holds_on_every_kept_input() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/subject");
        let inputs = std::fs::read_dir(root).unwrap();
        let inputs: Vec<_> = inputs
            .map(|it| std::fs::read(it.unwrap().path()).unwrap())
            .collect();
        assert!(inputs.len() >= 12, "{}", inputs.len());
        inputs.iter().for_each(|input| super::subject(input));
    }
}
