//! HTTPS, where there is a certificate.

use bellhop_authority::Authority;
use bellhop_ingress::{Ingress, IngressError};
use bellhop_nats_server::NatsServer;
use reqwest::{Certificate, Client, StatusCode};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Harness, SECRET, flat, settings};

#[tokio::test]
async fn webhooks_and_probes_come_over_tls_where_there_is_a_certificate() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new().unwrap();
    let issued = authority.issue("127.0.0.1").unwrap();
    let (certificate, key) = issued.write(folder.path()).unwrap();
    let arguments = [
        "--webhook-secret",
        SECRET,
        "--tls-cert-file",
        certificate.to_str().unwrap(),
        "--tls-key-file",
        key.to_str().unwrap(),
    ];
    let mut harness = Harness::start_unready(NatsServer::start().unwrap(), &arguments).await;
    let believed = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    harness.client = Client::builder()
        .tls_certs_only([believed])
        .https_only(true)
        .build()
        .unwrap();
    harness.scheme = "https";
    harness.until_ready().await;

    let answer = harness.post(&flat(json!({}))).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let outcome = r#"bellhop_webhooks_total{outcome="accepted"} 1"#;
    assert!(harness.has_metric(outcome).await);
    assert_eq!(harness.page("/livez").await.0, StatusCode::OK);

    let in_the_clear = Client::new();
    let url = harness.url("/livez").replace("https", "http");
    assert!(in_the_clear.get(url).send().await.is_err());
}

#[tokio::test]
async fn a_certificate_that_can_t_be_used_stops_the_start() {
    let arguments = ["--webhook-secret", SECRET, "--tls-cert-file", "/nowhere"];
    let refused = Ingress::bind(settings("nats://127.0.0.1:1", &arguments)).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, IngressError::Tls(_)));
    assert!(error.to_string().contains("TLS_KEY_FILE"), "{error}");
}
