//! Everything that is not a webhook.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::harness::{Harness, SECRET, answered, vector};

#[tokio::test]
async fn an_ingress_that_ends_is_not_ready_and_takes_webhooks_until_its_delay_is_over() {
    let arguments = ["--webhook-secret", SECRET, "--shutdown-delay", "3600"];
    let harness = Harness::start_with(&arguments).await;
    harness.stop.cancel();
    let (status, text) = harness.page("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.starts_with("[-]shutdown failed"), "{text}");
    let answer = harness.post(&vector("01")).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(harness.deliveries().await.len(), 1);
    harness.running.abort();
}

#[tokio::test]
async fn the_document_lists_every_route_and_each_is_there() {
    let harness = Harness::start().await;
    let (status, text) = harness.page("/openapi.json").await;
    assert_eq!(status, StatusCode::OK);
    let document: Value = serde_json::from_str(&text).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let names: Vec<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi.json",
            "/readyz",
            "/webhook",
            "/webhook/{webhook_id}"
        ]
    );
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let url = harness.url(&path.replace("{webhook_id}", "12"));
            let status = harness
                .client
                .request(method, url)
                .send()
                .await
                .unwrap()
                .status();
            assert!(
                operation["responses"].get(status.as_str()).is_some(),
                "{path}: {status}"
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_problems() {
    let harness = Harness::start().await;
    let get = |path: &str| harness.client.get(harness.url(path)).send();
    for path in ["/", "/webhooks", "/webhook/12/more"] {
        answered(get(path).await.unwrap())
            .await
            .problem(StatusCode::NOT_FOUND);
    }
    for (path, allowed) in [("/webhook", "POST"), ("/webhook/12", "POST")] {
        let response = get(path).await.unwrap();
        assert_eq!(response.headers()["allow"], allowed);
        answered(response)
            .await
            .problem(StatusCode::METHOD_NOT_ALLOWED);
    }
    let post = harness
        .client
        .post(harness.url("/healthz"))
        .send()
        .await
        .unwrap();
    answered(post).await.problem(StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_health_page_answers_as_the_old_service_did() {
    let harness = Harness::start().await;
    let (status, text) = harness.page("/healthz").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        text,
        r#"{"status":"healthy","service":"server-provisioning-webhook"}"#
    );
    let (_, readyz) = harness.page("/readyz?verbose").await;
    assert!(readyz.starts_with("[+]nats ok\n"), "{readyz}");
}
