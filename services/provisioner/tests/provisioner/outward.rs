//! Kubernetes is who shows a certificate of the cluster's authority for its name. Nobody else hears anything of us.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use bellhop_authority::Authority;
use bellhop_service::TlsSettings;
use bellhop_service::server::{Limits, serve_over};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::world::{NS, World};

/// Somebody in the API server's place, who counts the requests that come with the token.
struct Place {
    url: String,
    requests: Arc<AtomicUsize>,
    _running: DropGuard,
}

impl Place {
    async fn open(authority: &Authority, name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let issued = authority.issue(name).unwrap();
        let (certificate, key) = issued.write(folder.path()).unwrap();
        let tls = TlsSettings {
            tls_cert_file: Some(certificate),
            tls_key_file: Some(key),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let requests = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&requests);
        let router = Router::new().fallback(async move |headers: HeaderMap| {
            assert_eq!(headers[header::AUTHORIZATION], "Bearer of-this-test");
            counted.fetch_add(1, Ordering::Relaxed);
            StatusCode::SERVICE_UNAVAILABLE
        });
        let stop = CancellationToken::new();
        let certificate = tls.certificate().unwrap();
        tokio::spawn(serve_over(
            router,
            listener,
            stop.clone(),
            Limits::default(),
            certificate,
        ));
        Self {
            url,
            requests,
            _running: stop.drop_guard(),
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// What leads to this place, and names this authority.
async fn leading_to(place: &Place, authority: &Authority) -> kube::Config {
    let authority = base64::engine::general_purpose::STANDARD.encode(authority.pem());
    let text = format!(
        "{{\"apiVersion\": \"v1\", \"kind\": \"Config\", \"current-context\": \"c\",
          \"clusters\": [{{\"name\": \"c\", \"cluster\": {{\"server\": \"{}\", \"certificate-authority-data\": \"{authority}\"}}}}],
          \"users\": [{{\"name\": \"u\", \"user\": {{\"token\": \"of-this-test\"}}}}],
          \"contexts\": [{{\"name\": \"c\", \"context\": {{\"cluster\": \"c\", \"user\": \"u\", \"namespace\": \"{NS}\"}}}}]}}",
        place.url
    );
    let kubeconfig = Kubeconfig::from_yaml(&text).unwrap();
    let options = KubeConfigOptions::default();
    kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap()
}

#[tokio::test]
async fn who_is_in_the_api_server_s_place_without_its_certificate_gets_no_request_and_no_token() {
    let world = World::with_host("node01").await;
    let (known, unknown) = (Authority::new().unwrap(), Authority::new().unwrap());
    for (issuer, name, is_believed) in [
        (&known, "127.0.0.1", true),
        (&known, "elsewhere.example", false),
        (&unknown, "127.0.0.1", false),
    ] {
        let place = Place::open(issuer, name).await;
        let configuration = leading_to(&place, &known).await;
        let provisioner = world.provisioner_in(configuration, world.settings());
        let seen = async {
            loop {
                let readyz = provisioner.readyz().await;
                if place.requests() > 0 || readyz.contains("invalid peer certificate") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(60), seen).await;
        assert!(seen.is_ok(), "{}", provisioner.readyz().await);
        assert_eq!(place.requests() > 0, is_believed, "{name}");
        provisioner.stop().await;
    }
}
