//! What the reservation system wants to hear back: a notification for the user, and an entry in the webhook log.
//!
//! The receiver is strict: a field that it doesn't know is a 400, so these types have exactly its fields. A text that
//! is too long fails only in its database, as a 500, so texts are cut here. It counts as Java does, in UTF-16 units.

use std::borrow::Cow;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::ids::WebhookId;
use crate::webhook::EventType;

/// The longest message of a notification, in UTF-16 code units.
pub const MESSAGE_LIMIT: usize = 500;
/// The longest payload and the longest response of a webhook log entry, in UTF-16 code units.
pub const LOG_TEXT_LIMIT: usize = 4000;

/// What a cut text ends with.
const CUT_MARK: char = '…';

/// How a notification is coloured in the user's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NotificationType {
    /// Something to know.
    Info,
    /// What was asked for is done.
    Success,
    /// Something to watch.
    Warning,
    /// What was asked for failed.
    Error,
}

/// Why the receiver would refuse a callback whatever else it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedByReceiver {
    /// `userId` is required.
    #[error("a notification needs a user id")]
    BlankUser,
    /// `message` is required.
    #[error("a notification needs a message")]
    BlankMessage,
    /// `payload` is required.
    #[error("a webhook log entry needs a payload")]
    BlankPayload,
    /// `eventType` must be one of the receiver's own names.
    #[error("a webhook log entry needs an event type that the reservation system knows")]
    UnknownEventType,
}

/// The body of `POST /api/notifications/webhook`: one line in the user's bell.
///
/// The receiver reads `webhookId`, `userId`, `message` and `type`; it accepts and ignores the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    webhook_id: WebhookId,
    user_id: String,
    message: String,
    r#type: NotificationType,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
}

impl Notification {
    /// A message to a user; cut to [`MESSAGE_LIMIT`] where it is longer.
    ///
    /// # Errors
    /// [`RefusedByReceiver`] where the user id or the message is blank.
    pub fn new(
        webhook_id: WebhookId,
        user_id: &str,
        kind: NotificationType,
        message: &str,
    ) -> Result<Self, RefusedByReceiver> {
        if user_id.trim().is_empty() {
            return Err(RefusedByReceiver::BlankUser);
        }
        if message.trim().is_empty() {
            return Err(RefusedByReceiver::BlankMessage);
        }
        Ok(Self {
            webhook_id,
            user_id: user_id.to_owned(),
            message: cut(message.trim(), MESSAGE_LIMIT).into_owned(),
            r#type: kind,
            event_id: None,
            resource_id: None,
            event_type: None,
            metadata: Metadata::default(),
        })
    }

    /// Names the booking.
    #[must_use]
    pub fn event_id(mut self, event_id: impl Into<String>) -> Self {
        self.event_id = Some(event_id.into());
        self
    }

    /// Names the resource: free text here, unlike in [`WebhookLog`].
    #[must_use]
    pub fn resource_id(mut self, resource_id: impl Into<String>) -> Self {
        self.resource_id = Some(resource_id.into());
        self
    }

    /// Says what the message is about, for example `PROVISIONING_COMPLETED`.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = Some(event_type.into());
        self
    }

    /// Adds a piece of information, in this order.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.0.push((name.into(), value.into()));
        self
    }

    /// The webhook whose secret must sign this.
    pub fn webhook_id(&self) -> &WebhookId {
        &self.webhook_id
    }

    /// The bytes to sign and to send.
    pub fn to_body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers always become JSON")
    }
}

/// The body of `POST /api/webhooks/log`: one row that administrators see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookLog {
    webhook_id: WebhookId,
    event_type: String,
    payload: String,
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<String>,
    retry_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<i64>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
}

impl WebhookLog {
    /// An entry about one webhook. `payload` is free text (JSON in a string, by custom), without personal data;
    /// cut to [`LOG_TEXT_LIMIT`] where it is longer.
    ///
    /// # Errors
    /// [`RefusedByReceiver`] where the payload is blank or the event type isn't the receiver's own.
    pub fn new(
        webhook_id: WebhookId,
        event_type: &EventType,
        payload: &str,
        success: bool,
    ) -> Result<Self, RefusedByReceiver> {
        if !event_type.is_known() {
            return Err(RefusedByReceiver::UnknownEventType);
        }
        if payload.trim().is_empty() {
            return Err(RefusedByReceiver::BlankPayload);
        }
        Ok(Self {
            webhook_id,
            event_type: event_type.as_str().to_owned(),
            payload: cut(payload, LOG_TEXT_LIMIT).into_owned(),
            success,
            status_code: None,
            response: None,
            retry_count: 0,
            resource_id: None,
            metadata: Metadata::default(),
        })
    }

    /// The outcome as an HTTP status, by custom 200 or 500.
    #[must_use]
    pub fn status_code(mut self, status_code: u16) -> Self {
        self.status_code = Some(status_code);
        self
    }

    /// What happened, in words; cut to [`LOG_TEXT_LIMIT`].
    #[must_use]
    pub fn response(mut self, response: &str) -> Self {
        self.response = Some(cut(response, LOG_TEXT_LIMIT).into_owned());
        self
    }

    /// How many tries came before.
    #[must_use]
    pub fn retry_count(mut self, retry_count: u32) -> Self {
        self.retry_count = retry_count;
        self
    }

    /// The reservation system's own number of the resource. An unknown one is answered 404.
    #[must_use]
    pub fn resource_id(mut self, resource_id: i64) -> Self {
        self.resource_id = Some(resource_id);
        self
    }

    /// Adds a piece of information, in this order.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.0.push((name.into(), value.into()));
        self
    }

    /// The webhook whose secret must sign this.
    pub fn webhook_id(&self) -> &WebhookId {
        &self.webhook_id
    }

    /// The bytes to sign and to send.
    pub fn to_body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers always become JSON")
    }
}

/// Names and values that the receiver keeps nowhere; a JSON object in the order given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Metadata(Vec<(String, String)>);

impl Metadata {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Cuts a text to at most `max_utf16_units` UTF-16 code units, between characters; a cut text ends with `…`.
pub fn cut(text: &str, max_utf16_units: usize) -> Cow<'_, str> {
    if text.encode_utf16().count() <= max_utf16_units {
        return Cow::Borrowed(text);
    }
    let mut left = max_utf16_units.saturating_sub(CUT_MARK.len_utf16());
    let mut short: String = text
        .chars()
        .take_while(|character| match left.checked_sub(character.len_utf16()) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        })
        .collect();
    if max_utf16_units > 0 {
        short.push(CUT_MARK);
    }
    Cow::Owned(short)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message_of(text: &str) -> String {
        let notification =
            Notification::new(WebhookId::from(12), "user", NotificationType::Info, text).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&notification.to_body()).unwrap();
        body["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_message_within_the_limit_is_sent_as_it_is() {
        let message = "é".repeat(500);
        assert_eq!(message_of(&message), message);
    }

    #[test]
    fn a_longer_message_is_cut_visibly() {
        let cut = message_of(&"a".repeat(501));
        assert_eq!(cut, "a".repeat(499) + "…");
    }

    #[test]
    fn a_character_of_two_units_is_not_split() {
        let cut = message_of(&("a".repeat(498) + "🦀🦀"));
        assert_eq!(cut, "a".repeat(498) + "…");
    }

    #[test]
    fn what_the_receiver_would_refuse_is_not_made() {
        let webhook = || WebhookId::from(12);
        let info = NotificationType::Info;
        assert_eq!(
            Notification::new(webhook(), " ", info, "x"),
            Err(RefusedByReceiver::BlankUser)
        );
        assert_eq!(
            Notification::new(webhook(), "u", info, "\n"),
            Err(RefusedByReceiver::BlankMessage)
        );
        assert_eq!(
            WebhookLog::new(webhook(), &EventType::EventStart, "", true),
            Err(RefusedByReceiver::BlankPayload)
        );
        assert_eq!(
            WebhookLog::new(
                webhook(),
                &EventType::Other("PROVISIONING_COMPLETED".into()),
                "x",
                true
            ),
            Err(RefusedByReceiver::UnknownEventType)
        );
    }

    #[test]
    fn payload_and_response_of_a_log_are_cut_each() {
        let long = "x".repeat(5000);
        let log = WebhookLog::new(WebhookId::from(12), &EventType::EventEnd, &long, false)
            .unwrap()
            .response(&long);
        let body: serde_json::Value = serde_json::from_slice(&log.to_body()).unwrap();
        for field in ["payload", "response"] {
            let text = body[field].as_str().unwrap();
            assert_eq!(text.encode_utf16().count(), LOG_TEXT_LIMIT);
            assert!(text.ends_with('…'));
        }
    }

    proptest! {
        #[test]
        fn a_cut_text_keeps_its_limit_and_its_beginning(text in "[a-zé🦀 ]{0,60}", limit in 0usize..60) {
            let short = cut(&text, limit);
            prop_assert!(short.encode_utf16().count() <= limit);
            if text.encode_utf16().count() <= limit {
                prop_assert_eq!(short.as_ref(), text.as_str());
            } else if limit > 0 {
                let beginning = short.strip_suffix(CUT_MARK);
                prop_assert!(beginning.is_some_and(|beginning| text.starts_with(beginning)));
            }
        }
    }
}
