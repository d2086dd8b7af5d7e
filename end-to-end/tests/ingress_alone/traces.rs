//! Whose traces the ingress carries on.

use bellhop_end_to_end::PATIENCE;
use bellhop_simulator::trace_collector::TraceCollector;

use crate::{Ingress, client, post, signature, start};

const STRANGERS: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SENDERS: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn into_the_trace_that_a_stranger_names_nothing_is_written() {
    let traces = TraceCollector::start().await.unwrap();
    let endpoint = traces.endpoint();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("LOG_LEVEL", "DEBUG"),
    ];
    let ingress = Ingress::start(&variables).await;
    let client = client();
    let body = start("1");
    for (signed, trace, status) in [
        (Some(signature(b"something else")), STRANGERS, 401),
        (None, STRANGERS, 401),
        (Some(signature(&body)), SENDERS, 202),
    ] {
        let request = client.post(format!("{}/webhook", ingress.service.url()));
        let mut request = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
        if let Some(signature) = signed {
            request = request.header("x-webhook-signature", signature);
        }
        let answer = request.body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), status);
        let said = answer.text().await.unwrap();
        assert_eq!(said.contains(trace), status == 202, "{said}");
    }
    // The probe of what comes later than all of it.
    assert_eq!(
        post(&client, &ingress.address(), start("2"))
            .await
            .unwrap()
            .status(),
        202
    );
    let spans = traces.wait_for_spans(PATIENCE, |spans| {
        let of_senders = spans.iter().any(|span| span.trace_id == SENDERS);
        let of_later = spans
            .iter()
            .any(|span| ![SENDERS, STRANGERS].contains(&span.trace_id.as_str()));
        of_senders && of_later
    });
    let spans = spans.await;
    assert!(
        spans.iter().any(|span| span.trace_id == SENDERS),
        "{spans:?}"
    );
    assert!(traces.spans_of(STRANGERS).is_empty());
    let log = ingress.service.log_text();
    assert!(!log.contains(STRANGERS), "{log}");
}
