//! The trace collector, over a real socket.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use bellhop_simulator::trace_collector::{SpanKind, TraceCollector};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status, span, status,
};
use prost::Message as _;

const START: u64 = 1_780_000_000_000_000_000;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn export(service: &str, spans: Vec<Span>) -> Vec<u8> {
    let resource = Resource {
        attributes: vec![attribute(
            "service.name",
            Value::StringValue(service.into()),
        )],
        ..Resource::default()
    };
    let scope_spans = vec![ScopeSpans {
        spans,
        ..ScopeSpans::default()
    }];
    let resource_spans = vec![ResourceSpans {
        resource: Some(resource),
        scope_spans,
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn request() -> Span {
    Span {
        trace_id: vec![0xab; 16],
        span_id: vec![1; 8],
        name: "POST /webhook".into(),
        kind: span::SpanKind::Server as i32,
        start_time_unix_nano: START,
        end_time_unix_nano: START + 12_000_000,
        attributes: vec![attribute("http.response.status_code", Value::IntValue(202))],
        ..Span::default()
    }
}

fn claim() -> Span {
    Span {
        trace_id: vec![0xab; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![1; 8],
        name: "claim the host".into(),
        start_time_unix_nano: START + 3_000_000,
        end_time_unix_nano: START + 8_000_000,
        status: Some(Status {
            message: "conflict".into(),
            code: status::StatusCode::Error as i32,
        }),
        ..Span::default()
    }
}

async fn post(collector: &TraceCollector, content_type: &str, body: Vec<u8>) -> u16 {
    // Nobody else in this process makes a TLS choice.
    let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(format!("{}/v1/traces", collector.endpoint()))
        .header("content-type", content_type);
    request.body(body).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn spans_of_two_services_become_one_tree() {
    let collector = TraceCollector::start().await.unwrap();
    // The child comes first, as it ends first.
    assert_eq!(
        post(
            &collector,
            "application/x-protobuf",
            export("provisioner", vec![claim()])
        )
        .await,
        200
    );
    assert_eq!(
        post(
            &collector,
            "application/x-protobuf",
            export("ingress", vec![request()])
        )
        .await,
        200
    );

    let spans = collector
        .wait_for_spans(Duration::from_secs(5), |spans| spans.len() == 2)
        .await;
    let trace_id = "ab".repeat(16);
    assert_eq!(collector.trace_ids(), std::slice::from_ref(&trace_id));
    assert_eq!(
        (spans[0].service.as_str(), spans[0].parent.as_deref()),
        ("provisioner", Some("0101010101010101"))
    );
    assert_eq!(spans[0].error.as_deref(), Some("conflict"));
    assert_eq!(
        (spans[1].kind, spans[1].took().as_millis()),
        (SpanKind::Server, 12)
    );
    assert_eq!(spans[1].attribute("http.response.status_code"), Some("202"));
    assert_eq!(
        collector.tree(&trace_id),
        "      0 ms  ingress      POST /webhook  12 ms  http.response.status_code=202\n      \
         3 ms  provisioner  └─ claim the host  5 ms  ERROR conflict\n"
    );
}

#[tokio::test]
async fn what_is_no_export_is_refused() {
    let collector = TraceCollector::start().await.unwrap();
    assert_eq!(
        post(
            &collector,
            "application/x-protobuf",
            b"\xff\xff\xff".to_vec()
        )
        .await,
        400
    );
    assert_eq!(
        post(&collector, "application/json", b"{}".to_vec()).await,
        415
    );
    assert!(collector.spans().is_empty());
    assert_eq!(collector.tree("ab"), "");
}
