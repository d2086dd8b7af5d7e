//! Names that come from outside, checked once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest webhook id that is accepted, in characters. The real ones are decimal numbers of 64 bits.
const WEBHOOK_ID_LIMIT: usize = 64;
/// The longest event id that is accepted, in characters. The real ones are decimal numbers of 64 bits.
const EVENT_ID_LIMIT: usize = 200;

/// The reservation system's id of one configured webhook. It decides which secret signs, both ways.
///
/// The event processor sends it as a number, the back end as a string: `12` and `"12"` are the same id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebhookId(String);

/// A webhook id that is not 1 to 64 ASCII letters, digits, `-` and `_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook id is 1 to {WEBHOOK_ID_LIMIT} ASCII letters, digits, `-` and `_`")]
pub struct InvalidWebhookId;

impl WebhookId {
    /// Takes an id as text, from a payload, a path or a configuration.
    ///
    /// # Errors
    /// [`InvalidWebhookId`] for anything but 1 to 64 ASCII letters, digits, `-` and `_`.
    pub fn parse(text: &str) -> Result<Self, InvalidWebhookId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if text.is_empty() || text.len() > WEBHOOK_ID_LIMIT || !text.bytes().all(allowed) {
            return Err(InvalidWebhookId);
        }
        Ok(Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a number, where it is one in the form that the sender would print.
    fn as_number(&self) -> Option<u64> {
        self.0
            .parse::<u64>()
            .ok()
            .filter(|number| number.to_string() == self.0)
    }
}

impl From<u64> for WebhookId {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl FromStr for WebhookId {
    type Err = InvalidWebhookId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookId({})", self.0)
    }
}

/// A number where the id is one, as in the receiver's own examples, else a string.
impl Serialize for WebhookId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_number() {
            Some(number) => serializer.serialize_u64(number),
            None => serializer.serialize_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for WebhookId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl de::Visitor<'_> for NumberOrText {
            type Value = WebhookId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a webhook id, as a number or a string")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<WebhookId, E> {
                Ok(WebhookId::from(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<WebhookId, E> {
                u64::try_from(number)
                    .map(WebhookId::from)
                    .map_err(|_| E::custom(InvalidWebhookId))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WebhookId, E> {
                WebhookId::parse(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

/// The sender's id of one booking: any text that isn't blank, at most 200 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(String);

/// An event id that is blank or longer than 200 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event id is 1 to {EVENT_ID_LIMIT} characters, not all of them white space")]
pub struct InvalidEventId;

impl EventId {
    /// Takes an event id as text.
    ///
    /// # Errors
    /// [`InvalidEventId`] where it is blank or longer than 200 characters.
    pub fn parse(text: &str) -> Result<Self, InvalidEventId> {
        if text.trim().is_empty() || text.chars().count() > EVENT_ID_LIMIT {
            return Err(InvalidEventId);
        }
        Ok(Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as text, taken out.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text about a person (name, e-mail, key) that must not reach a log: `Debug` doesn't print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Private(String);

impl Private {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. Where it is written to is the caller's care.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private]")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_id_is_the_same_as_number_and_as_text() {
        let number: WebhookId = serde_json::from_str("12").unwrap();
        let text: WebhookId = serde_json::from_str("\"12\"").unwrap();
        assert_eq!(number, text);
        assert_eq!(serde_json::to_string(&text).unwrap(), "12");
    }

    #[test]
    fn a_webhook_id_that_is_no_plain_number_stays_text() {
        for text in ["012", "lab-7", "99999999999999999999999"] {
            let id = WebhookId::parse(text).unwrap();
            assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        }
    }

    #[test]
    fn a_webhook_id_with_other_characters_is_refused() {
        for text in ["", " 12", "1.2", "1/2", "ü", &"1".repeat(65)] {
            assert_eq!(WebhookId::parse(text), Err(InvalidWebhookId), "{text:?}");
        }
    }

    #[test]
    fn private_text_is_not_printed() {
        assert_eq!(
            format!("{:?}", Private::new("mara@uni.example")),
            "[private]"
        );
    }
}
