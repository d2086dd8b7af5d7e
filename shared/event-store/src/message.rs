//! What all messages have in common: CloudEvents attributes, the trace and the format version as headers.

use std::error::Error as _;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use jiff::Timestamp;

use crate::error::Unreadable;

/// The format version that this code writes.
pub(crate) const FORMAT: u32 = 1;

pub(crate) mod header {
    pub(crate) const FORMAT: &str = "Bellhop-Format";
    pub(crate) const TRACEPARENT: &str = "traceparent";
    pub(crate) const ID: &str = "ce-id";
    pub(crate) const SOURCE: &str = "ce-source";
    pub(crate) const TYPE: &str = "ce-type";
    pub(crate) const TIME: &str = "ce-time";
    pub(crate) const CAUSE: &str = "Bellhop-Cause";
}

/// A message in the making.
pub(crate) struct Outgoing {
    headers: HeaderMap,
    body: Bytes,
}

impl Outgoing {
    /// One with the CloudEvents attributes that every message has.
    pub(crate) fn new(
        id: &str,
        source: &str,
        event_type: &str,
        time: Timestamp,
        body: Bytes,
    ) -> Result<Self, BadHeader> {
        let mut outgoing = Self {
            headers: HeaderMap::new(),
            body,
        };
        outgoing.header("ce-specversion", "1.0")?;
        outgoing.header(header::ID, id)?;
        outgoing.header(header::SOURCE, source)?;
        outgoing.header(header::TYPE, event_type)?;
        outgoing.header(header::TIME, &time.to_string())?;
        outgoing.header("content-type", "application/json")?;
        outgoing.header(header::FORMAT, &FORMAT.to_string())?;
        Ok(outgoing)
    }

    /// Adds a header.
    pub(crate) fn header(&mut self, name: &str, value: &str) -> Result<(), BadHeader> {
        append(&mut self.headers, name, value)
    }

    /// Adds a header where there is a value.
    pub(crate) fn optional(&mut self, name: &str, value: Option<&str>) -> Result<(), BadHeader> {
        value.map_or(Ok(()), |value| self.header(name, value))
    }

    pub(crate) fn headers(self) -> HeaderMap {
        self.headers
    }

    pub(crate) fn into_message(self) -> PublishMessage {
        PublishMessage::build()
            .payload(self.body)
            .headers(self.headers)
    }
}

/// A header that can't be sent.
#[derive(Debug)]
pub(crate) struct BadHeader {
    pub(crate) name: String,
}

/// Adds a header.
pub(crate) fn append(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), BadHeader> {
    let bad = || BadHeader {
        name: name.to_owned(),
    };
    let header: async_nats::HeaderName = name.parse().map_err(|_| bad())?;
    let value: async_nats::HeaderValue = value.parse().map_err(|_| bad())?;
    headers.append(header, value);
    Ok(())
}

/// The text of a header, where it is there.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(async_nats::HeaderValue::as_str)
}

/// The text of a header that must be there.
pub(crate) fn required<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<&'a str, Unreadable> {
    text(headers, name).ok_or(Unreadable::Header { header: name })
}

/// The time of a message.
pub(crate) fn time(headers: &HeaderMap) -> Result<Timestamp, Unreadable> {
    required(headers, header::TIME)?
        .parse()
        .map_err(|_| Unreadable::Header {
            header: header::TIME,
        })
}

/// Refuses what a newer version wrote.
pub(crate) fn check_format(headers: &HeaderMap) -> Result<(), Unreadable> {
    let format = required(headers, header::FORMAT)?
        .parse()
        .map_err(|_| Unreadable::Header {
            header: header::FORMAT,
        })?;
    if format > FORMAT {
        Err(Unreadable::NewerFormat {
            format,
            newest: FORMAT,
        })
    } else {
        Ok(())
    }
}

/// Whether the broker refused a message because the subject's last sequence is another one.
pub(crate) fn is_wrong_sequence(error: &PublishError) -> bool {
    // A replicated stream that can't tell the last sequence has an error code of its own.
    error.kind() == PublishErrorKind::WrongLastSequence
        || code(error) == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

/// Whether the stream takes no message of this size, however often it is sent.
pub(crate) fn is_too_large(error: &PublishError) -> bool {
    let too_large = [
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM,
        ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM,
    ];
    code(error).is_some_and(|code| too_large.contains(&code))
}

/// Reads a stored message. One that makes the reading panic can't be read either, and must end nobody who takes it.
pub(crate) fn read_or_panic<T>(
    read: impl FnOnce() -> Result<T, Unreadable>,
) -> Result<T, Unreadable> {
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    read.unwrap_or_else(|_| {
        Err(Unreadable::Body {
            problem: "reading it panicked".to_owned(),
        })
    })
}

fn code(error: &PublishError) -> Option<ErrorCode> {
    let answer = error.source()?.downcast_ref::<jetstream::Error>()?;
    Some(answer.error_code())
}
