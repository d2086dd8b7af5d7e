//! What was sent, and what came back.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::fault::{Endpoint, FaultKind};

/// One webhook that was sent: one attempt, as the real senders make.
#[derive(Debug, Clone, Serialize)]
pub struct Sent {
    /// Counts from 1.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// On behalf of which webhook.
    pub webhook_id: u64,
    /// The event type, or `raw`.
    pub event_type: String,
    /// Where to.
    pub url: String,
    /// The bytes.
    #[serde(serialize_with = "as_text")]
    pub body: Bytes,
    /// What came of it.
    pub outcome: Outcome,
    /// How long the answer took.
    #[serde(serialize_with = "as_milliseconds", rename = "took_milliseconds")]
    pub took: Duration,
}

impl Sent {
    /// The answer's status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match &self.outcome {
            Outcome::Answered { status, .. } => Some(*status),
            Outcome::Failed { .. } => None,
        }
    }

    /// The answer as JSON, if it was that.
    pub fn answer(&self) -> Option<Value> {
        match &self.outcome {
            Outcome::Answered { body, .. } => serde_json::from_str(body).ok(),
            Outcome::Failed { .. } => None,
        }
    }

    /// Whether the sender takes it as delivered.
    pub fn was_delivered(&self) -> bool {
        self.status()
            .is_some_and(|status| (200..300).contains(&status))
    }
}

/// What came of a webhook.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An answer.
    Answered {
        /// Its status.
        status: u16,
        /// Its body.
        body: String,
    },
    /// None.
    Failed {
        /// Why.
        reason: String,
    },
}

/// One request that was received, whatever came of it. `Debug` and JSON leave out the answer's body, which may hold
/// a secret, and the signature.
#[derive(Clone, Serialize)]
pub struct Received {
    /// Counts from 1.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Which of the two.
    pub endpoint: Endpoint,
    /// The path, as it was asked for.
    pub path: String,
    /// All headers, names in lower case.
    #[serde(skip)]
    pub headers: Vec<(String, String)>,
    /// The W3C trace context, if one came.
    pub traceparent: Option<String>,
    /// The bytes.
    #[serde(serialize_with = "as_text")]
    pub body: Bytes,
    /// What was made to go wrong.
    pub fault: Option<FaultKind>,
    /// The answer's status; `None` where the connection was cut or is left hanging.
    pub status: Option<u16>,
    /// The answer's body. The real one puts the webhook's secret into that of an accepted log entry.
    #[serde(skip)]
    pub answer: String,
}

impl Received {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find_map(|(header, value)| (header == name).then_some(value.as_str()))
    }

    /// Whether it was answered with a 2xx.
    pub fn was_accepted(&self) -> bool {
        self.status
            .is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether its sender can't know that it was accepted: another answer, or none. Not (yet) for one in work.
    pub fn was_refused(&self) -> bool {
        match self.status {
            Some(_) => !self.was_accepted(),
            None => self.fault.as_ref().is_some_and(FaultKind::leaves_no_answer),
        }
    }

    /// The body as JSON, if it is that.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("sequence", &self.sequence)
            .field("path", &self.path)
            .field("status", &self.status)
            .field("fault", &self.fault)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// A notification that was accepted: a row in the user's bell.
#[derive(Debug, Clone, Serialize)]
pub struct Notification {
    /// Counts from 1; the same message twice is two rows.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Whose secret signed it.
    pub webhook_id: u64,
    /// The user.
    pub user_id: String,
    /// The text.
    pub message: String,
    /// `INFO`, `SUCCESS`, `WARNING` or `ERROR`.
    pub kind: String,
    /// Ignored by the real one.
    pub event_id: Option<String>,
    /// Ignored by the real one.
    pub resource_id: Option<String>,
    /// Ignored by the real one.
    pub event_type: Option<String>,
    /// Ignored by the real one.
    pub metadata: Option<Value>,
    /// The W3C trace context that came with it.
    pub traceparent: Option<String>,
}

/// A log entry that was accepted: a row that administrators see.
#[derive(Debug, Clone, Serialize)]
pub struct WebhookLog {
    /// Counts from 1.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Whose secret signed it.
    pub webhook_id: u64,
    /// One of the reservation system's own event types.
    pub event_type: String,
    /// The text.
    pub payload: String,
    /// Whether it went well.
    pub success: bool,
    /// As an HTTP status.
    pub status_code: Option<i64>,
    /// In words.
    pub response: Option<String>,
    /// How many tries came before.
    pub retry_count: i64,
    /// The resource's number.
    pub resource_id: Option<i64>,
    /// Ignored by the real one.
    pub metadata: Option<Value>,
    /// The W3C trace context that came with it.
    pub traceparent: Option<String>,
}

fn as_text<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}

fn as_milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(duration.as_millis())
}
