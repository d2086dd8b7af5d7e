//! What waits in the spool, and the line of text that it is there.
//!
//! A line is a checksum, a space, and JSON: nothing in it can be a line's end, and a line of which one bit has changed is
//! recognised. The body is in base64, so that every body can be kept as it came.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bellhop_domain::id::{DeliveryId, ResourceKind, SiteId, Source, WebhookId};
use bellhop_event_store::{DeadLetter, EventStore, NewDelivery, StoreError, Stored};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::delivery::dead_letter;

/// The format that this version writes.
const FORMAT: u32 = 1;
/// How many hex digits of the SHA-256 stand before the JSON. They recognise damage; nobody could gain by making a line.
const CHECKSUM: usize = 16;

/// What is to be stored in the broker.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A webhook that was read.
    Delivery(NewDelivery),
    /// One that can't be read.
    DeadLetter(DeadLetter),
}

impl Entry {
    /// Its message id: stored twice, it has no second effect.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Delivery(delivery) => delivery.id.as_str(),
            Self::DeadLetter(letter) => &letter.id,
        }
    }

    /// When it arrived.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        match self {
            Self::Delivery(delivery) => delivery.received_at,
            Self::DeadLetter(letter) => letter.first_at,
        }
    }

    /// The body as it came.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        match self {
            Self::Delivery(delivery) => &delivery.body,
            Self::DeadLetter(letter) => &letter.body,
        }
    }

    /// Stores it in the broker. When this returns, it is stored durably.
    pub(crate) async fn store(
        &self,
        store: &EventStore,
        timeout: Duration,
    ) -> Result<Stored, StoreError> {
        match self {
            Self::Delivery(delivery) => store.store_delivery(delivery, timeout).await,
            Self::DeadLetter(letter) => store.bury(letter, timeout).await,
        }
    }

    /// Its line, with the line's end.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        let json = serde_json::to_vec(&Written::from(self))
            .expect("an entry holds nothing but texts and numbers");
        line_of(&json)
    }

    /// Reads a line without its end.
    pub(crate) fn from_line(line: &[u8]) -> Result<Self, UnreadableLine> {
        let (sum, rest) = line
            .split_at_checked(CHECKSUM)
            .ok_or(UnreadableLine::Damaged)?;
        let json = rest.strip_prefix(b" ").ok_or(UnreadableLine::Damaged)?;
        if sum != checksum(json).as_bytes() {
            return Err(UnreadableLine::Damaged);
        }
        let written: Written = serde_json::from_slice(json).map_err(|_| UnreadableLine::Unknown)?;
        if written.format > FORMAT {
            return Err(UnreadableLine::Unknown);
        }
        written.into_entry()
    }
}

/// The line of an entry's JSON, with the line's end.
pub(crate) fn line_of(json: &[u8]) -> Vec<u8> {
    let mut line = checksum(json).into_bytes();
    line.push(b' ');
    line.extend_from_slice(json);
    line.push(b'\n');
    line
}

/// What stands before an entry's JSON.
#[must_use]
pub fn checksum(json: &[u8]) -> String {
    let mut digits = hex::encode(Sha256::digest(json));
    digits.truncate(CHECKSUM);
    digits
}

/// A line is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnreadableLine {
    /// Its bytes are not those that were written.
    #[error("it is damaged")]
    Damaged,
    /// It is whole, and this version can't read it.
    #[error(
        "it has a form that this version does not read: was it written by a newer version of Bellhop?"
    )]
    Unknown,
}

/// An entry's JSON.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    id: String,
    received_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    headers: Vec<(String, String)>,
    #[serde(rename = "as")]
    becomes: Becomes,
    body: String,
}

/// What the broker gets.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Becomes {
    Delivery {
        source: Source,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        site: Option<SiteId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<ResourceKind>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event_type: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        webhook: Option<WebhookId>,
    },
    DeadLetter {
        reason: String,
    },
}

impl From<&Entry> for Written {
    fn from(entry: &Entry) -> Self {
        let (traceparent, headers, becomes) = match entry {
            Entry::Delivery(delivery) => (
                &delivery.traceparent,
                &delivery.headers,
                Becomes::Delivery {
                    source: delivery.source.clone(),
                    site: delivery.site.clone(),
                    kind: delivery.kind.clone(),
                    name: delivery.name.clone(),
                    event_type: delivery.event_type.clone(),
                    webhook: delivery.webhook.clone(),
                },
            ),
            Entry::DeadLetter(letter) => (
                &letter.traceparent,
                &letter.headers,
                Becomes::DeadLetter {
                    reason: letter.reason.clone(),
                },
            ),
        };
        Self {
            format: FORMAT,
            id: entry.id().to_owned(),
            received_at: entry.received_at(),
            traceparent: traceparent.clone(),
            headers: headers.clone(),
            becomes,
            body: STANDARD.encode(entry.body()),
        }
    }
}

impl Written {
    fn into_entry(self) -> Result<Entry, UnreadableLine> {
        let Self {
            format: _,
            id,
            received_at,
            traceparent,
            headers,
            becomes,
            body,
        } = self;
        let body = STANDARD.decode(body).map_err(|_| UnreadableLine::Unknown)?;
        let body = Bytes::from(body);
        Ok(match becomes {
            Becomes::Delivery {
                source,
                site,
                kind,
                name,
                event_type,
                webhook,
            } => Entry::Delivery(NewDelivery {
                id: DeliveryId::new(id),
                source,
                site,
                kind,
                name,
                event_type,
                webhook,
                received_at,
                traceparent,
                headers,
                body,
            }),
            Becomes::DeadLetter { reason } => Entry::DeadLetter(dead_letter(
                id,
                reason,
                received_at,
                traceparent,
                headers,
                body,
            )),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A delivery that differs from others by its number.
    pub(crate) fn delivery(number: u64) -> Entry {
        delivery_of(
            number,
            Bytes::from(format!("{{\"eventId\": \"{number}\"}}")),
        )
    }

    pub(crate) fn delivery_of(number: u64, body: Bytes) -> Entry {
        Entry::Delivery(NewDelivery {
            id: DeliveryId::new(format!("reservation-system.12.EVENT_START.{number}")),
            source: Source::new("reservation-system"),
            site: Some(SiteId::new("lab-7")),
            kind: None,
            name: Some("lab7-node04".to_owned()),
            event_type: Some("EVENT_START".to_owned()),
            webhook: Some(WebhookId::new("12")),
            received_at: "2026-12-03T07:55:20.118402771Z".parse().unwrap(),
            traceparent: None,
            headers: vec![("user-agent".to_owned(), "Java/23\u{1}".to_owned())],
            body,
        })
    }

    fn letter(body: Bytes) -> Entry {
        Entry::DeadLetter(dead_letter(
            "reservation-system.unreadable.1".to_owned(),
            "it is\nno JSON".to_owned(),
            "2026-12-03T07:55:20Z".parse().unwrap(),
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            Vec::new(),
            body,
        ))
    }

    fn without_end(line: &[u8]) -> &[u8] {
        line.strip_suffix(b"\n").unwrap()
    }

    proptest! {
        #[test]
        fn every_body_comes_back_as_it_was_from_one_line(body: Vec<u8>) {
            for entry in [delivery_of(1, body.clone().into()), letter(body.clone().into())] {
                let line = entry.to_line();
                let line = without_end(&line);
                prop_assert!(!line.contains(&b'\n'));
                let read = Entry::from_line(line).unwrap();
                prop_assert_eq!(format!("{read:?}"), format!("{entry:?}"));
            }
        }
    }

    #[test]
    fn a_line_of_which_any_byte_has_changed_or_is_missing_is_recognised() {
        let line = delivery(1).to_line();
        let line = without_end(&line);
        for place in 0..line.len() {
            let mut changed = line.to_vec();
            changed[place] ^= 1;
            assert!(Entry::from_line(&changed).is_err(), "{place}");
            assert!(Entry::from_line(&line[..place]).is_err(), "{place}");
        }
    }

    #[test]
    fn a_whole_line_of_a_newer_version_is_told_from_a_damaged_one() {
        let json = br#"{"format": 2}"#;
        let line = [checksum(json).as_bytes(), b" ", json].concat();
        assert_eq!(
            Entry::from_line(&line).unwrap_err(),
            UnreadableLine::Unknown
        );
    }

    #[test]
    fn lines_of_this_version_are_read_for_ever() {
        let delivery = br#"{"format":1,"id":"i","received_at":"2026-12-03T07:55:20Z","headers":[["user-agent","Java/23"]],"as":{"delivery":{"source":"reservation-system","site":"lab-7","kind":"baremetalhost","name":"node04","event_type":"EVENT_START","webhook":"12"}},"body":"e30="}"#;
        let letter = br#"{"format":1,"id":"i","received_at":"2026-12-03T07:55:20Z","traceparent":"t","headers":[],"as":{"dead_letter":{"reason":"no JSON"}},"body":"AP8="}"#;
        for json in [&delivery[..], letter] {
            let line = [checksum(json).as_bytes(), b" ", json].concat();
            let written = Entry::from_line(&line).unwrap().to_line();
            assert_eq!(without_end(&written), line);
        }
    }
}
