//! What is stored: a delivery, or a dead letter where nobody can read it.

use std::time::Duration;

use bellhop_domain::id::{DeliveryId, ReservationId, SiteId, Source};
use bellhop_event_store::{DeadLetter, DeadLetterClass, NewDelivery};
use bellhop_reservation_system::{EventType, Unreadable, Webhook, WebhookId, message_id};
use bytes::Bytes;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};

use crate::{SERVICE, SOURCE};
use bellhop_domain::served::ResourceTypes;

/// The headers that are kept: what tells whence a request came. Others may hold what must not be kept (a signature,
/// credentials, a token under whatever name a proxy chose).
const KEPT: [&str; 5] = [
    "content-type",
    "user-agent",
    "traceparent",
    "x-request-id",
    "x-forwarded-for",
];
/// How many bytes of headers are kept with a delivery. Real requests have some 300. What no longer fits is left out: it
/// must not keep a signed body from being stored.
const HEADERS_LIMIT: usize = 8 * 1024;
/// The longest site id that becomes part of a subject, in bytes. Real ones are UUIDs.
const SITE_ID_LIMIT: usize = 128;

/// A request that its sender answers for, read as far as it can be read.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) received_at: Timestamp,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) webhook_id: Option<WebhookId>,
    pub(crate) reading: Result<Webhook, Unreadable>,
}

impl Arrival {
    /// The id of what is stored: the same for what was said before.
    pub(crate) fn id(&self) -> DeliveryId {
        DeliveryId::new(message_id(SOURCE, &self.reading, &self.body))
    }

    /// The reservation that it is about, for logs and traces.
    pub(crate) fn reservation(&self) -> Option<ReservationId> {
        let booking = self.reading.as_ref().ok()?.booking()?;
        Some(ReservationId::new(
            Source::new(SOURCE),
            booking.event_id.as_str(),
        ))
    }

    /// How far the sender's clock was from ours when it was sent; zero where it doesn't say.
    pub(crate) fn distance_from_our_clock(&self) -> Duration {
        let timestamp = self
            .reading
            .as_ref()
            .ok()
            .and_then(|webhook| webhook.timestamp);
        timestamp.map_or(Duration::ZERO, |timestamp| {
            let distance: SignedDuration = timestamp.duration_since(self.received_at);
            distance.unsigned_abs()
        })
    }

    /// The delivery of a webhook that was read.
    pub(crate) fn delivery(
        &self,
        webhook: &Webhook,
        types: &ResourceTypes,
        traceparent: Option<String>,
    ) -> NewDelivery {
        let resource = webhook.resource();
        let type_name = resource.and_then(|resource| resource.type_name.as_deref());
        let site = resource.and_then(|resource| resource.site_id.as_deref());
        NewDelivery {
            id: self.id(),
            source: Source::new(SOURCE),
            site: site
                .filter(|site| site.len() <= SITE_ID_LIMIT)
                .map(SiteId::new),
            kind: type_name.and_then(|name| types.kind_of(name)).cloned(),
            name: resource.map(|resource| resource.name.clone()),
            event_type: Some(header_text(&webhook.event_type)),
            webhook: Some(bellhop_domain::id::WebhookId::new(
                webhook.webhook_id.as_str(),
            )),
            received_at: self.received_at,
            traceparent,
            headers: self.headers.clone(),
            body: self.body.clone(),
        }
    }

    /// The dead letter of a body that can't be read.
    pub(crate) fn dead_letter(
        &self,
        unreadable: Unreadable,
        traceparent: Option<String>,
    ) -> DeadLetter {
        let of_webhook = self
            .webhook_id
            .as_ref()
            .map_or_else(String::new, |id| format!(" (webhook {id})"));
        dead_letter(
            self.id().as_str().to_owned(),
            format!("{unreadable}{of_webhook}"),
            self.received_at,
            traceparent,
            self.headers.clone(),
            self.body.clone(),
        )
    }
}

/// A dead letter of this service: tried once, when it came.
pub(crate) fn dead_letter(
    id: String,
    reason: String,
    received_at: Timestamp,
    traceparent: Option<String>,
    headers: Vec<(String, String)>,
    body: Bytes,
) -> DeadLetter {
    DeadLetter {
        service: SERVICE,
        class: DeadLetterClass::Delivery,
        id,
        what: SOURCE.to_owned(),
        reason,
        tries: 1,
        first_at: received_at,
        last_at: received_at,
        traceparent,
        headers,
        body,
    }
}

/// The headers that are kept, as far as they fit.
pub(crate) fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut room = HEADERS_LIMIT;
    headers
        .iter()
        .filter(|(name, _)| KEPT.contains(&name.as_str()))
        .filter_map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            room = room.checked_sub(name.as_str().len() + value.len())?;
            Some((name.as_str().to_owned(), value))
        })
        .collect()
}

/// An event type as a message's header takes it: one that is not in the contract may hold anything.
fn header_text(event_type: &EventType) -> String {
    event_type
        .as_str()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{HeaderName, HeaderValue, header};

    use super::*;

    #[test]
    fn only_headers_that_are_known_to_be_harmless_are_kept() {
        let mut headers = HeaderMap::new();
        for name in [
            "X-Webhook-Signature",
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "X-Api-Key",
            "X-Auth-Token",
        ] {
            let name: HeaderName = name.parse().unwrap();
            headers.insert(name, HeaderValue::from_static("secret"));
        }
        headers.insert(header::USER_AGENT, HeaderValue::from_static("Java/23"));
        assert_eq!(
            kept_headers(&headers),
            [("user-agent".to_owned(), "Java/23".to_owned())]
        );
    }

    #[test]
    fn headers_that_do_not_fit_are_left_out() {
        let mut headers = HeaderMap::new();
        let long = HeaderValue::from_str(&"x".repeat(HEADERS_LIMIT)).unwrap();
        headers.insert(HeaderName::from_static("x-forwarded-for"), long);
        headers.insert(
            HeaderName::from_static("x-request-id"),
            HeaderValue::from_bytes(b"\xff").unwrap(),
        );
        assert_eq!(
            kept_headers(&headers),
            [("x-request-id".to_owned(), "\u{fffd}".to_owned())]
        );
    }

    #[test]
    fn an_event_type_of_any_text_fits_a_header() {
        let event_type = EventType::parse("A\r\nNats-Msg-Id: 1");
        assert_eq!(header_text(&event_type), "A  Nats-Msg-Id: 1");
    }
}
