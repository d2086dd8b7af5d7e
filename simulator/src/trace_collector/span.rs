//! A span as it is kept.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// One step of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The span that it is part of, or that caused it, perhaps in another process.
    pub parent: Option<String>,
    /// `service.name` of the process.
    pub service: String,
    /// What it is called.
    pub name: String,
    /// Which side of a call it is.
    pub kind: SpanKind,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What went wrong, if its status is an error; empty where nothing is said.
    pub error: Option<String>,
    /// What is said about it, as text.
    pub attributes: BTreeMap<String, String>,
}

impl Span {
    /// How long it took.
    pub fn took(&self) -> SignedDuration {
        self.end.duration_since(self.start)
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

/// Which side of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Neither.
    Internal,
    /// It answers a request.
    Server,
    /// It makes a request.
    Client,
    /// It puts a message into a stream.
    Producer,
    /// It takes a message from a stream.
    Consumer,
}
