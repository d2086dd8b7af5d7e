//! Reports go to the configured destinations and to nobody else: over HTTPS only to who shows a certificate of a known
//! authority for the endpoint's name, and never where a redirect points.

#![allow(clippy::unwrap_used, clippy::panic)]

mod facts;
mod scene;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bellhop_authority::Authority;
use bellhop_event_store::ReportState;
use bellhop_notifier::Destination;
use bellhop_service::TlsSettings;
use bellhop_service::server::{Limits, serve_over};
use facts::Story;
use scene::{Running, Scene, eventually};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A destination behind a real TLS socket, which counts the requests that it gets.
struct Place {
    url: String,
    requests: Arc<AtomicUsize>,
    _folder: TempDir,
    _running: DropGuard,
}

impl Place {
    /// It shows a certificate for this name, and answers each request with what `answer` says to its number.
    async fn open(
        authority: &Authority,
        name: &str,
        answer: impl Fn(usize) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let issued = authority.issue(name).unwrap();
        let (certificate, key) = issued.write(folder.path()).unwrap();
        let tls = TlsSettings {
            tls_cert_file: Some(certificate),
            tls_key_file: Some(key),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/reports", listener.local_addr().unwrap());
        let requests = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&requests);
        let router = Router::new().fallback(move || {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(answer(number))
        });
        let stop = CancellationToken::new();
        tokio::spawn(serve_over(
            router,
            listener,
            stop.clone(),
            Limits::default(),
            tls.certificate().unwrap(),
        ));
        Self {
            url,
            requests,
            _folder: folder,
            _running: stop.drop_guard(),
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn takes_all(_: usize) -> Response {
    StatusCode::OK.into_response()
}

/// The file for `REPORT_CA_FILE`.
fn known(authority: &Authority) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca.crt");
    std::fs::write(&path, authority.pem()).unwrap();
    (folder, path)
}

/// A notifier that sends notifications to one place and entries of the webhook log to another.
async fn notifier(scene: &Scene, [told, logged]: [&Place; 2], authority: &Authority) -> Running {
    let (_folder, path) = known(authority);
    let endpoints = [
        format!("--notification-endpoint={}", told.url),
        format!("--webhook-log-endpoint={}", logged.url),
    ];
    let ca = format!("--report-ca-file={}", path.display());
    Running::start(scene.settings_without_endpoints(&[&endpoints[0], &endpoints[1]], &[&ca])).await
}

#[tokio::test]
async fn over_https_reports_go_to_who_has_a_certificate_of_a_known_authority() {
    let scene = Scene::set().await;
    let authority = Authority::new().unwrap();
    let place = Place::open(&authority, "127.0.0.1", takes_all).await;
    let _notifier = notifier(&scene, [&place, &place], &authority).await;
    let story = Story::of("5120");
    let ready = scene.append_all(story.to_ready()).await;
    for destination in Destination::ALL {
        let state = scene.settled(&story, ready, 0, destination).await;
        assert!(matches!(state, ReportState::Delivered { .. }), "{state:?}");
    }
    assert!(place.requests() >= 2);
}

#[tokio::test]
async fn who_has_a_certificate_for_another_name_or_of_an_unknown_authority_gets_nothing() {
    let scene = Scene::set().await;
    let (authority, unknown) = (Authority::new().unwrap(), Authority::new().unwrap());
    let of_another_name = Place::open(&authority, "elsewhere.example", takes_all).await;
    let of_an_unknown = Place::open(&unknown, "127.0.0.1", takes_all).await;
    let notifier = notifier(&scene, [&of_another_name, &of_an_unknown], &authority).await;
    scene.append_all(Story::of("5120").to_ready()).await;

    eventually("both are seen not to be who they should be", async || {
        let readyz = notifier.page("readyz?verbose").await;
        let refused = readyz.matches("invalid peer certificate").count();
        (refused == 2).then_some(())
    })
    .await;
    assert_eq!(of_another_name.requests(), 0);
    assert_eq!(of_an_unknown.requests(), 0);
    // Nothing is lost by it: it waits until the right one is there.
    assert_eq!(scene.dead_letters().await.len(), 0);
}

#[tokio::test]
async fn where_a_redirect_points_nothing_is_sent() {
    let scene = Scene::set().await;
    let authority = Authority::new().unwrap();
    let elsewhere = Place::open(&authority, "127.0.0.1", takes_all).await;
    let there = elsewhere.url.clone();
    let redirects = move |number: usize| {
        let status = [301, 302, 303, 307, 308][number % 5];
        let status = StatusCode::from_u16(status).unwrap();
        (status, [(header::LOCATION, there.clone())]).into_response()
    };
    let place = Place::open(&authority, "127.0.0.1", redirects).await;
    let notifier = notifier(&scene, [&place, &place], &authority).await;
    scene.append_all(Story::of("5120").to_ready()).await;

    eventually("each kind of redirect was met", async || {
        (place.requests() >= 10).then_some(())
    })
    .await;
    notifier
        .shows("readyz?verbose", "redirects are not followed")
        .await;
    assert_eq!(elsewhere.requests(), 0);
}
