//! Deliveries: verified webhooks as they arrived.

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use bellhop_domain::id::{DeliveryId, ResourceKind, SiteId, Source, WebhookId};
use bytes::Bytes;
use jiff::Timestamp;

use crate::error::{EventStoreError, StoreError, Unreadable};
use crate::inbox::{ConsumerLimits, Inbox, Raw, header_list, timestamp};
use crate::message::{self, BadHeader, Outgoing, header};
use crate::store::{EventStore, Stored, not_a_message};
use crate::streams::DELIVERIES;
use crate::subject::{UNKNOWN, decode_token, encode_optional, encode_token};

/// What the headers of the request are called in the message.
const REQUEST_HEADER: &str = "Http-";
const WEBHOOK: &str = "Bellhop-Webhook";

/// A webhook to be stored.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// Its id: the same for the same saying, so that the broker recognises it within the duplicate window.
    pub id: DeliveryId,
    /// Who sent it.
    pub source: Source,
    /// Of which site, where it says so.
    pub site: Option<SiteId>,
    /// For what kind of resource, where it says so.
    pub kind: Option<ResourceKind>,
    /// For which resource, where it says so.
    pub name: Option<String>,
    /// The sender's word for what happened.
    pub event_type: Option<String>,
    /// Under which webhook it came.
    pub webhook: Option<WebhookId>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The trace that it began.
    pub traceparent: Option<String>,
    /// The request's headers, without its signature.
    pub headers: Vec<(String, String)>,
    /// The untouched body.
    pub body: Bytes,
}

/// A stored webhook.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its sequence in DELIVERIES.
    pub sequence: u64,
    /// Its id.
    pub id: DeliveryId,
    /// Who sent it.
    pub source: Source,
    /// Of which site, where it says so.
    pub site: Option<SiteId>,
    /// For what kind of resource, where it says so.
    pub kind: Option<ResourceKind>,
    /// For which resource, where it says so.
    pub name: Option<String>,
    /// The sender's word for what happened.
    pub event_type: Option<String>,
    /// Under which webhook it came.
    pub webhook: Option<WebhookId>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The trace that it began.
    pub traceparent: Option<String>,
    /// The request's headers, without its signature.
    pub headers: Vec<(String, String)>,
    /// The untouched body.
    pub body: Bytes,
}

impl EventStore {
    /// Stores a webhook. When this returns, it is stored durably.
    ///
    /// # Errors
    /// Where no confirmation came within `timeout`, or the broker refused. It may be stored all the same: store it again with
    /// the same id.
    pub async fn store_delivery(
        &self,
        delivery: &NewDelivery,
        timeout: Duration,
    ) -> Result<Stored, StoreError> {
        let what = format!("delivery {}", delivery.id);
        let message = outgoing(delivery)
            .map_err(|bad| not_a_message(&what, &bad))?
            .into_message();
        let message = message.message_id(delivery.id.as_str());
        let subject = self.subject(&subject(delivery));
        let stored = self.publish(subject, message, &what, timeout).await;
        stored.map_err(|failure| failure.into_store_error(&what))
    }

    /// The deliveries, for the durable consumer `name`.
    pub fn deliveries(&self, name: &str, limits: ConsumerLimits) -> Inbox<Delivery> {
        Inbox::new(
            self,
            DELIVERIES,
            name,
            "Bellhop: folds deliveries into the ledger",
            limits,
            |_, raw| read(raw),
        )
    }

    /// A stored delivery; none where it was removed.
    ///
    /// # Errors
    /// Where the broker does not answer, or it can't be read.
    pub async fn delivery(&self, sequence: u64) -> Result<Option<Delivery>, EventStoreError> {
        let Some(found) = self.stored_delivery(sequence).await? else {
            return Ok(None);
        };
        let raw = Raw {
            subject: self.without_prefix(&found.subject),
            sequence,
            headers: &found.headers,
            body: &found.payload,
            stored_at: timestamp(found.time),
        };
        Ok(Some(read(&raw)?))
    }

    /// A delivery's message as it is stored; none where it was removed.
    pub(crate) async fn stored_delivery(
        &self,
        sequence: u64,
    ) -> Result<Option<StreamMessage>, EventStoreError> {
        let stream = self.stream(DELIVERIES).await?;
        self.message_at(&stream, sequence).await
    }

    /// The sequence of the newest delivery.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn deliveries_end(&self) -> Result<u64, EventStoreError> {
        Ok(self
            .stream(DELIVERIES)
            .await?
            .cached_info()
            .state
            .last_sequence)
    }

    /// Up to which sequence the durable consumer `name` has handled every delivery.
    ///
    /// # Errors
    /// Where the broker does not answer, or there is no such consumer.
    pub async fn deliveries_handled(&self, name: &str) -> Result<u64, EventStoreError> {
        let stream = self.stream(DELIVERIES).await?;
        let info = stream.consumer_info(name).await;
        let info = info
            .map_err(|error| EventStoreError::broker(format!("look at consumer {name}"), error))?;
        // With nothing pending the floor stands at the last message that was handed out. A consumer that is being made, or
        // read from the disk, says so too, before the broker has counted what there is for it: so it is asked itself.
        let idle = info.num_pending == 0 && info.num_ack_pending == 0;
        let handed_out = info.delivered.stream_sequence;
        let end = stream.cached_info().state.last_sequence;
        let waits = idle && handed_out < end && {
            let next = self.next_in(&stream, "deliveries.>", handed_out + 1);
            next.await?.is_some()
        };
        Ok(if idle && !waits {
            end
        } else {
            info.ack_floor.stream_sequence
        })
    }
}

/// Where a delivery is stored, without prefix.
pub(crate) fn subject(delivery: &NewDelivery) -> String {
    format!(
        "deliveries.{}.{}.{}.{}",
        encode_token(delivery.source.as_str()),
        encode_optional(delivery.site.as_ref().map(SiteId::as_str)),
        encode_optional(delivery.kind.as_ref().map(ResourceKind::as_str)),
        encode_optional(delivery.name.as_deref()),
    )
}

pub(crate) fn outgoing(delivery: &NewDelivery) -> Result<Outgoing, BadHeader> {
    let event_type = delivery.event_type.as_deref().unwrap_or("unknown");
    let mut outgoing = Outgoing::new(
        delivery.id.as_str(),
        delivery.source.as_str(),
        event_type,
        delivery.received_at,
        delivery.body.clone(),
    )?;
    outgoing.optional(WEBHOOK, delivery.webhook.as_ref().map(WebhookId::as_str))?;
    outgoing.optional(header::TRACEPARENT, delivery.traceparent.as_deref())?;
    for (name, value) in &delivery.headers {
        outgoing.header(&format!("{REQUEST_HEADER}{name}"), value)?;
    }
    Ok(outgoing)
}

fn read(raw: &Raw<'_>) -> Result<Delivery, Unreadable> {
    message::check_format(raw.headers)?;
    let not_ours = || Unreadable::Subject {
        subject: raw.subject.to_owned(),
    };
    let tokens: Vec<&str> = raw.subject.split('.').collect();
    let ["deliveries", source, site, kind, name] = tokens.as_slice() else {
        return Err(not_ours());
    };
    let optional = |token: &str| match token {
        UNKNOWN => Ok(None),
        token => decode_token(token).map(Some).map_err(|_| not_ours()),
    };
    let event_type = message::required(raw.headers, header::TYPE)?;
    Ok(Delivery {
        sequence: raw.sequence,
        id: DeliveryId::new(message::required(raw.headers, header::ID)?),
        source: Source::new(decode_token(source).map_err(|_| not_ours())?),
        site: optional(site)?.map(SiteId::new),
        kind: optional(kind)?.map(ResourceKind::new),
        name: optional(name)?,
        event_type: (event_type != "unknown").then(|| event_type.to_owned()),
        webhook: message::text(raw.headers, WEBHOOK).map(WebhookId::new),
        received_at: message::time(raw.headers).unwrap_or(raw.stored_at),
        traceparent: message::text(raw.headers, header::TRACEPARENT).map(str::to_owned),
        headers: header_list(Some(raw.headers))
            .into_iter()
            .filter_map(|(name, value)| {
                Some((name.strip_prefix(REQUEST_HEADER)?.to_owned(), value))
            })
            .collect(),
        body: raw.body.clone(),
    })
}
