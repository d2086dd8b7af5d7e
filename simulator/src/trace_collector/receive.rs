//! From an OTLP export to spans.

use std::collections::BTreeMap;

use axum::body::Bytes;
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, Span as WireSpan, Status, span, status,
};
use prost::{DecodeError, Message as _};

use super::span::{Span, SpanKind};

pub(super) fn spans_in(body: Bytes) -> Result<Vec<Span>, DecodeError> {
    let request = ExportTraceServiceRequest::decode(body)?;
    Ok(request
        .resource_spans
        .into_iter()
        .flat_map(spans_of_process)
        .collect())
}

fn spans_of_process(process: ResourceSpans) -> Vec<Span> {
    let attributes = process
        .resource
        .map(|resource| texts(resource.attributes))
        .unwrap_or_default();
    let service = attributes
        .get("service.name")
        .cloned()
        .unwrap_or_else(|| "unknown".into());
    let spans = process
        .scope_spans
        .into_iter()
        .flat_map(|scope| scope.spans);
    spans.map(|span| span_of(span, &service)).collect()
}

fn span_of(span: WireSpan, service: &str) -> Span {
    Span {
        trace_id: hex::encode(span.trace_id),
        span_id: hex::encode(span.span_id),
        parent: (!span.parent_span_id.is_empty()).then(|| hex::encode(span.parent_span_id)),
        service: service.to_owned(),
        name: span.name,
        kind: kind_of(span.kind),
        start: time_of(span.start_time_unix_nano),
        end: time_of(span.end_time_unix_nano),
        error: span.status.and_then(error_of),
        attributes: texts(span.attributes),
    }
}

fn kind_of(kind: i32) -> SpanKind {
    match span::SpanKind::try_from(kind) {
        Ok(span::SpanKind::Server) => SpanKind::Server,
        Ok(span::SpanKind::Client) => SpanKind::Client,
        Ok(span::SpanKind::Producer) => SpanKind::Producer,
        Ok(span::SpanKind::Consumer) => SpanKind::Consumer,
        Ok(span::SpanKind::Internal | span::SpanKind::Unspecified) | Err(_) => SpanKind::Internal,
    }
}

fn error_of(status: Status) -> Option<String> {
    (status.code() == status::StatusCode::Error).then_some(status.message)
}

/// Nanoseconds of 64 bits end in the year 2554, well within what is known.
fn time_of(nanoseconds: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::MAX)
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes
        .into_iter()
        .map(|attribute| (attribute.key, text_of(attribute.value)))
        .collect()
}

fn text_of(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BytesValue(bytes)) => hex::encode(bytes),
        Some(Value::ArrayValue(list)) => {
            let texts: Vec<String> = list
                .values
                .into_iter()
                .map(|value| text_of(Some(value)))
                .collect();
            format!("[{}]", texts.join(", "))
        }
        Some(Value::KvlistValue(map)) => {
            let texts: Vec<String> = texts(map.values)
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{{{}}}", texts.join(", "))
        }
        // Other kinds may come with newer versions of the protocol.
        _ => String::new(),
    }
}
