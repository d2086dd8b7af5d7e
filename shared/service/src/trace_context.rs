//! The W3C `traceparent` (<https://www.w3.org/TR/trace-context/>) that travels in messages, annotations and reports.
//!
//! A message that is handled later, by another process, continues the trace that it came from:
//!
//! ```
//! use bellhop_service::trace_context::{TraceParent, set_parent};
//! use tracing::{Instrument as _, info_span};
//!
//! async fn handle(traceparent: Option<TraceParent>) {
//!     let span = info_span!("handle_delivery");
//!     set_parent(&span, traceparent.as_ref()); // before the span is entered
//!     async { /* … */ }.instrument(span).await;
//! }
//! ```

use std::fmt;
use std::str::FromStr;

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A valid `traceparent`, as text of version 00: `00-<trace id>-<span id>-<flags>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent(String);

/// A text that is not a `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a W3C traceparent: expected 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, lower case, ids not zero"
)]
pub struct TraceParentError;

impl TraceParent {
    /// The header's name, for HTTP and for messages.
    pub const HEADER: &str = "traceparent";

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 32 hex digits of the trace's id, as people search for it.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }

    fn from_span_context(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| {
            Self(format!(
                "00-{}-{}-{:02x}",
                context.trace_id(),
                context.span_id(),
                context.trace_flags().to_u8() & 1
            ))
        })
    }

    fn to_span_context(&self) -> SpanContext {
        let is_sampled = self.0.ends_with('1') || self.0.ends_with('3');
        // The text was checked when it was made, so neither parse fails.
        SpanContext::new(
            TraceId::from_hex(self.trace_id()).unwrap_or(TraceId::INVALID),
            SpanId::from_hex(&self.0[36..52]).unwrap_or(SpanId::INVALID),
            TraceFlags::NOT_SAMPLED.with_sampled(is_sampled),
            true,
            TraceState::NONE,
        )
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    /// Reads version 00, and of later versions the part that version 00 knows, as the standard asks.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let known = text.get(..55).ok_or(TraceParentError)?;
        let rest = &text[55..];
        let mut parts = known.split('-');
        let (Some(version), Some(trace), Some(span), Some(flags), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(TraceParentError);
        };
        let is_hex = |part: &str, length: usize| {
            part.len() == length
                && part
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
        let is_valid = is_hex(version, 2)
            && version != "ff"
            && is_hex(trace, 32)
            && !is_zero(trace)
            && is_hex(span, 16)
            && !is_zero(span)
            && is_hex(flags, 2)
            && (rest.is_empty() || version != "00" && rest.starts_with('-'));
        if !is_valid {
            return Err(TraceParentError);
        }
        Ok(Self(format!("00-{trace}-{span}-{flags}")))
    }
}

impl TryFrom<String> for TraceParent {
    type Error = TraceParentError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TraceParent> for String {
    fn from(traceparent: TraceParent) -> Self {
        traceparent.0
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `traceparent` of the span that this is called in; none outside of a span that is traced.
///
/// Asking fixes the span's parent: [`set_parent`] must come first.
#[must_use]
pub fn current_traceparent() -> Option<TraceParent> {
    traceparent_of(&Span::current())
}

/// The `traceparent` of a span; see [`current_traceparent`].
#[must_use]
pub fn traceparent_of(span: &Span) -> Option<TraceParent> {
    TraceParent::from_span_context(span.context().span().span_context())
}

/// Makes a span part of the trace that a message, request or annotation came with. Without one it stays what it is.
///
/// Call it before the span is entered and before its `traceparent` is asked for; later it has no effect.
pub fn set_parent(span: &Span, traceparent: Option<&TraceParent>) {
    if let Some(traceparent) = traceparent {
        let parent = Context::new().with_remote_span_context(traceparent.to_span_context());
        if let Err(error) = span.set_parent(parent) {
            tracing::debug!(%error, "a span keeps its own trace");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::telemetry::install_for_tests;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_traceparent_is_read_and_written_unchanged() {
        let traceparent: TraceParent = TEXT.parse().unwrap();
        assert_eq!(traceparent.to_string(), TEXT);
        assert_eq!(traceparent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let json = serde_json::to_string(&traceparent).unwrap();
        assert_eq!(
            serde_json::from_str::<TraceParent>(&json).unwrap(),
            traceparent
        );
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = TEXT.replacen("00-", "01-", 1) + "-extra";
        assert_eq!(later.parse::<TraceParent>().unwrap().as_str(), TEXT);
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in [
            "",
            "00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-0",
        ] {
            assert_eq!(
                wrong.parse::<TraceParent>(),
                Err(TraceParentError),
                "{wrong}"
            );
        }
        assert!(serde_json::from_str::<TraceParent>("\"x\"").is_err());
    }

    #[test]
    fn a_span_has_a_valid_trace_id_without_any_exporter() {
        install_for_tests();
        let span = tracing::info_span!("step");
        let inside = span.in_scope(|| current_traceparent().unwrap());
        assert_eq!(inside.as_str().parse::<TraceParent>().unwrap(), inside);
        assert!(inside.as_str().ends_with("-01"));
    }

    #[test]
    fn a_span_with_a_parent_continues_its_trace() {
        install_for_tests();
        let parent: TraceParent = TEXT.parse().unwrap();
        let span = tracing::info_span!("step");
        set_parent(&span, Some(&parent));
        let own = span.in_scope(|| current_traceparent().unwrap());
        assert_eq!(own.trace_id(), parent.trace_id());
        assert_ne!(own, parent);

        let inner = span.in_scope(|| tracing::info_span!("inner"));
        assert_eq!(
            traceparent_of(&inner).unwrap().trace_id(),
            parent.trace_id()
        );
    }

    #[test]
    fn outside_of_a_span_there_is_no_traceparent() {
        install_for_tests();
        assert_eq!(current_traceparent(), None);
    }
}
