//! What of a dead letter goes to DELIVERIES again, or where an operator's request to the notifier was.
//!
//! A replayed delivery keeps its id, body, headers and time, so that what follows is what would have followed then, and facts
//! refer to it as ever. Only the id that the broker knows it by is another one, so that it is not taken for a repetition.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use bellhop_domain::id::{DeliveryId, Source};
use bytes::Bytes;

use super::replay::{ReplayError, unreplayable};
use super::request::REQUESTS;
use super::{BuriedLetter, kept, left_body};
use crate::delivery::{self, NewDelivery};
use crate::inbox::{header_list, timestamp};
use crate::message::{BadHeader, header};
use crate::store::{EventStore, not_a_message};

/// Which dead letter it was, in the headers of the delivery that it becomes.
const REPLAY: &str = "Bellhop-Replay";
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest name from a body that nobody could read, as part of a subject. The reservation system's are no longer.
const LONGEST_NAME: usize = 100;

/// A delivery as it is stored again.
#[derive(Debug)]
pub(super) struct Redelivery {
    /// Without prefix.
    pub(super) subject: String,
    pub(super) id: String,
    headers: HeaderMap,
    body: Bytes,
}

impl EventStore {
    /// What a letter becomes; the letter itself is not touched.
    pub(super) async fn redelivery(
        &self,
        letter: &BuriedLetter,
    ) -> Result<Redelivery, ReplayError> {
        if let Some(sequence) = left_body::place_of(letter) {
            return self.redelivery_of(letter, sequence).await;
        }
        let unfit = |bad: BadHeader| {
            let what = format!("dead letter {}", letter.sequence);
            ReplayError::NotStored(not_a_message(&what, &bad))
        };
        match letter.header(header::ID) {
            // It was in DELIVERIES, or is such a request.
            Some(id) => {
                let subject = letter
                    .header(kept::SUBJECT)
                    .map(|subject| self.without_prefix(subject))
                    .filter(|subject| {
                        subject.starts_with("deliveries.") || subject.starts_with(REQUESTS)
                    })
                    .map_or_else(|| delivery::subject(&unread(letter)), str::to_owned);
                Ok(Redelivery {
                    subject,
                    id: id.to_owned(),
                    headers: original(letter.headers.clone()).map_err(unfit)?,
                    body: letter.body.clone(),
                })
            }
            // It never was: the ingress could not read it.
            None => {
                let delivery = unread(letter);
                let outgoing = delivery::outgoing(&delivery).map_err(unfit)?;
                Ok(Redelivery {
                    subject: delivery::subject(&delivery),
                    id: letter.id.clone(),
                    headers: outgoing.headers(),
                    body: letter.body.clone(),
                })
            }
        }
    }

    /// The letter was too large to hold its body, which is still in DELIVERIES.
    async fn redelivery_of(
        &self,
        letter: &BuriedLetter,
        sequence: u64,
    ) -> Result<Redelivery, ReplayError> {
        let gone = || {
            let problem = format!("its body was in DELIVERIES at {sequence}, and is not any more");
            unreplayable(letter, &problem)
        };
        let found = self.stored_delivery(sequence).await?.ok_or_else(gone)?;
        if timestamp(found.time) != letter.first_at {
            return Err(gone());
        }
        let headers = original(header_list(Some(&found.headers)));
        Ok(Redelivery {
            subject: self.without_prefix(&found.subject).to_owned(),
            id: found
                .headers
                .get(header::ID)
                .map_or_else(|| letter.id.clone(), ToString::to_string),
            headers: headers.map_err(|bad| {
                ReplayError::NotStored(not_a_message(&format!("delivery {sequence}"), &bad))
            })?,
            body: found.payload,
        })
    }

    /// Stores it as the replay of this letter; a second time within the duplicate window it is not stored again.
    pub(super) async fn deliver_again(
        &self,
        letter: u64,
        redelivery: &Redelivery,
    ) -> Result<(), ReplayError> {
        let what = format!("delivery {}", redelivery.id);
        let mut headers = redelivery.headers.clone();
        headers.insert(REPLAY, letter.to_string().as_str());
        let message = PublishMessage::build()
            .payload(redelivery.body.clone())
            .headers(headers)
            .message_id(format!("{}.replay-{letter}", redelivery.id));
        let subject = self.subject(&redelivery.subject);
        let stored = self.publish(subject, message, &what, TIMEOUT).await;
        stored.map_err(|failure| failure.into_store_error(&what))?;
        Ok(())
    }
}

/// The headers of a message as it was stored, without the broker's and those that were added to the letter.
fn original(headers: Vec<(String, String)>) -> Result<HeaderMap, BadHeader> {
    let added = |name: &str| {
        name.starts_with("Nats-")
            || [kept::SUBJECT, kept::RESOURCE, kept::DELIVERY, REPLAY].contains(&name)
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if !added(&name) {
            crate::message::append(&mut map, &name, &value)?;
        }
    }
    Ok(map)
}

/// The delivery that a letter of the ingress would have been. What it is about is unknown, but for a name that it shows; who
/// reads it then looks into the body.
fn unread(letter: &BuriedLetter) -> NewDelivery {
    let name = match letter.resources().as_slice() {
        [name] if name.len() <= LONGEST_NAME => Some(name.clone()),
        _ => None,
    };
    NewDelivery {
        id: DeliveryId::new(&letter.id),
        source: Source::new(letter.what().unwrap_or_default()),
        site: None,
        kind: None,
        name,
        event_type: None,
        webhook: None,
        received_at: letter.first_at,
        traceparent: letter.traceparent.clone(),
        headers: letter.headers.clone(),
        body: letter.body.clone(),
    }
}
