//! Fields of a JSON object, by the two rules of this module: a required one must be right, an optional one that isn't
//! right isn't there.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Problem, Unreadable};
use crate::ids::{EventId, Private, WebhookId};

/// The longest required text that is accepted, in characters. Real names have at most 100.
const TEXT_LIMIT: usize = 255;
/// The same in bytes: 100 characters of whatever script. A name becomes a subject token in the event store, of up to three
/// characters a byte.
const BYTE_LIMIT: usize = 400;
/// The longest site id, in bytes: a site's is a UUID.
const SITE_LIMIT: usize = 200;

/// The fields of one object. A null is a missing field.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

/// A required field: its key in its object, and its path in the body for the error.
#[derive(Clone, Copy)]
pub(super) struct Required {
    pub(super) key: &'static str,
    pub(super) path: &'static str,
}

impl Required {
    /// A field whose key tells it from all others.
    pub(super) const fn top(key: &'static str) -> Self {
        Self { key, path: key }
    }

    pub(super) fn is(self, problem: Problem) -> Unreadable {
        Unreadable::Field {
            field: self.path,
            problem,
        }
    }

    fn is_not(self, expected: &'static str) -> Unreadable {
        self.is(Problem::WrongType { expected })
    }
}

impl<'a> Fields<'a> {
    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn require(self, field: Required) -> Result<&'a Value, Unreadable> {
        self.get(field.key).ok_or(field.is(Problem::Missing))
    }

    pub(super) fn require_text(self, field: Required) -> Result<&'a str, Unreadable> {
        let text = self
            .require(field)?
            .as_str()
            .ok_or(field.is_not("a string"))?;
        if text.trim().is_empty() {
            return Err(field.is(Problem::Empty));
        }
        if text.chars().count() > TEXT_LIMIT || text.len() > BYTE_LIMIT {
            return Err(field.is(Problem::TooLong));
        }
        Ok(text)
    }

    /// The event processor prints fractions of 0 to 9 digits, in UTC; any other offset is understood too.
    pub(super) fn require_time(self, field: Required) -> Result<Timestamp, Unreadable> {
        let text = self
            .require(field)?
            .as_str()
            .ok_or(field.is_not("a string with a time"))?;
        text.parse().map_err(|_| field.is(Problem::BadTime))
    }

    pub(super) fn require_object(self, field: Required) -> Result<Fields<'a>, Unreadable> {
        self.require(field)?
            .as_object()
            .map(Fields)
            .ok_or(field.is_not("an object"))
    }

    /// A number in the flat form, a string in the nested one.
    pub(super) fn require_webhook_id(self, field: Required) -> Result<WebhookId, Unreadable> {
        match self.require(field)? {
            Value::String(text) if text.trim().is_empty() => Err(field.is(Problem::Empty)),
            Value::String(text) => {
                WebhookId::parse(text).map_err(|_| field.is(Problem::NotAllowed))
            }
            Value::Number(number) => number
                .as_u64()
                .map(WebhookId::from)
                .ok_or(field.is_not("a whole number or a string")),
            _ => Err(field.is_not("a whole number or a string")),
        }
    }

    /// A string in the flat form, a number in the nested one.
    pub(super) fn require_event_id(self, field: Required) -> Result<EventId, Unreadable> {
        let text = match self.require(field)? {
            Value::String(text) => text.clone(),
            Value::Number(number) if !number.is_f64() => number.to_string(),
            _ => return Err(field.is_not("a string or a whole number")),
        };
        if text.trim().is_empty() {
            return Err(field.is(Problem::Empty));
        }
        EventId::parse(&text).map_err(|_| field.is(Problem::TooLong))
    }

    /// A text that isn't blank.
    pub(super) fn text(self, key: &str) -> Option<String> {
        self.get(key)?
            .as_str()
            .filter(|text| !text.trim().is_empty())
            .map(str::to_owned)
    }

    /// A site's id; one of absurd length is no site that anyone serves.
    pub(super) fn site(self, key: &str) -> Option<String> {
        self.text(key).filter(|site| site.len() <= SITE_LIMIT)
    }

    pub(super) fn private(self, key: &str) -> Option<Private> {
        self.text(key).map(Private::new)
    }

    pub(super) fn time(self, key: &str) -> Option<Timestamp> {
        self.get(key)?.as_str()?.parse().ok()
    }

    pub(super) fn whole_number(self, key: &str) -> Option<i64> {
        self.get(key)?.as_i64()
    }

    pub(super) fn object(self, key: &str) -> Option<Fields<'a>> {
        self.get(key)?.as_object().map(Fields)
    }

    /// JSON as text: the sender puts it in a string; an object is taken too.
    pub(super) fn json_text(self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::String(_) => self.text(key),
            value @ (Value::Object(_) | Value::Array(_)) => Some(value.to_string()),
            _ => None,
        }
    }
}
