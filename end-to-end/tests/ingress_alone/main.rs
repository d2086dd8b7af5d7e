//! The ingress as a process of its own, with a broker and nothing behind it: whoever attacks it, and when it ends.
#![allow(clippy::unwrap_used, clippy::panic)]

mod full_disk;
mod overload;
mod rolling_update;
mod stop;
mod traces;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bellhop_end_to_end::{PATIENCE, Service, ServiceKind, program};
use bellhop_nats_server::NatsServer;
use bellhop_reservation_system::{SIGNATURE_HEADER, WebhookSecret, sign};
use reqwest::{Client, Response};
use serde_json::json;
use tempfile::TempDir;

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// An ingress that is ready, its broker and its folder.
struct Ingress {
    service: Service,
    nats: NatsServer,
    folder: TempDir,
}

impl Ingress {
    async fn start(variables: &[(&str, &str)]) -> Self {
        Self::start_as(program::bellhop().unwrap(), variables).await
    }

    async fn start_as(program: PathBuf, variables: &[(&str, &str)]) -> Self {
        let nats = NatsServer::start().unwrap();
        let folder = TempDir::with_prefix("bellhop-").unwrap();
        let mut service = service(program, &nats, folder.path(), variables);
        service.start().await.unwrap();
        service.until_ready().await.unwrap();
        Self {
            service,
            nats,
            folder,
        }
    }

    fn address(&self) -> String {
        self.service.url().replace("http://", "")
    }
}

/// An ingress with a log and a spool in this folder, which does not run yet.
fn service(
    program: PathBuf,
    nats: &NatsServer,
    folder: &Path,
    variables: &[(&str, &str)],
) -> Service {
    let spool = folder.join("spool").display().to_string();
    let url = nats.url();
    let usual = [
        ("LISTEN_ADDRESS", "127.0.0.1"),
        ("LOG_FORMAT", "json"),
        ("NATS_URL", &url),
        ("SHUTDOWN_DELAY", "0"),
        ("SPOOL_DIR", &spool),
        ("WEBHOOK_SECRET", SECRET),
    ];
    let variables = usual.iter().chain(variables);
    let variables: BTreeMap<_, _> = variables
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let log = folder.join("ingress.log");
    Service::new(ServiceKind::Ingress, program, variables, log, client())
}

/// A sender that has a new connection for each webhook: an idle one may make room for others.
fn client() -> Client {
    let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

/// A start with an event id of its own.
fn start(event_id: &str) -> Vec<u8> {
    let event = json!({
        "eventType": "EVENT_START",
        "webhookId": 12,
        "eventId": event_id,
        "userId": "user-1",
        "resourceName": "lab7-node04",
        "resourceType": "Server",
        "eventStart": "2026-12-03T08:00:00Z",
        "eventEnd": "2026-12-03T17:30:00Z",
    });
    event.to_string().into_bytes()
}

fn signature(body: &[u8]) -> String {
    sign(&WebhookSecret::new(SECRET).unwrap(), body)
}

async fn post(client: &Client, ingress: &str, body: Vec<u8>) -> Result<Response, reqwest::Error> {
    let request = client.post(format!("http://{ingress}/webhook"));
    let request = request.header(SIGNATURE_HEADER, signature(&body));
    request.body(body).send().await
}
