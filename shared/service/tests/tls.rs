//! A server that speaks HTTPS, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use bellhop_authority::Authority;
use bellhop_service::server::{Limits, serve_over};
use bellhop_service::tls::{Certificate, TlsSettings};
use bellhop_service::{Alarms, Health, HttpSettings, Metrics, Shown, telemetry};
use reqwest::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

fn settings(folder: &Path) -> TlsSettings {
    TlsSettings {
        tls_cert_file: Some(folder.join("tls.crt")),
        tls_key_file: Some(folder.join("tls.key")),
    }
}

/// A server of the pages of health until the token is cancelled.
async fn start(certificate: Certificate, limits: Limits) -> (SocketAddr, CancellationToken) {
    let http = HttpSettings {
        port: 0,
        listen_address: "127.0.0.1".parse().unwrap(),
        disable_healthz_logs: true,
    };
    let metrics = Metrics::new("test", "1.0");
    let health = Health::new(
        metrics.clone(),
        Alarms::new(&metrics),
        Shown::new(&Metrics::new("test", "1.0")),
    );
    let listener = http.bind().await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let router = health.router(&http);
    let cancelled = token.clone();
    tokio::spawn(serve_over(
        router,
        listener,
        cancelled,
        limits,
        Some(certificate),
    ));
    (address, token)
}

/// Whether somebody who believes this authority alone is answered, on a connection of its own.
async fn is_answered(address: SocketAddr, authority: &Authority) -> bool {
    telemetry::install_crypto_provider();
    let believed = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([believed])
        .build()
        .unwrap();
    let answer = client.get(format!("https://{address}/livez")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// Reads until the server closes.
async fn until_closed(mut stream: TcpStream) -> Vec<u8> {
    let read = move || {
        let mut answer = Vec::new();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream.read_to_end(&mut answer).unwrap();
        answer
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_finish_their_handshake_keep_nobody_out() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new().unwrap();
    authority
        .issue("127.0.0.1")
        .unwrap()
        .write(folder.path())
        .unwrap();
    let certificate = settings(folder.path()).certificate().unwrap().unwrap();
    let limits = Limits {
        connections: 2,
        header_time: Duration::from_secs(3600),
        ..Limits::default()
    };
    let (address, token) = start(certificate, limits).await;
    let silent: Vec<TcpStream> = (0..6)
        .map(|number| {
            let mut stream = TcpStream::connect(address).unwrap();
            // The beginning of a client's first message, or nothing.
            stream.write_all(&[0x16, 3, 1][..number % 4]).unwrap();
            stream
        })
        .collect();
    assert!(is_answered(address, &authority).await);
    drop(silent);
    token.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_crosses_the_end_of_its_connection_is_handled_over_tls_too() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new().unwrap();
    let issued = authority.issue("127.0.0.1").unwrap();
    issued.write(folder.path()).unwrap();
    let certificate = settings(folder.path()).certificate().unwrap().unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let handle = axum::routing::post(async move |body: String| tell.send(body).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let router = axum::Router::new().route("/", handle);
    let (limits, cancelled) = (Limits::default(), token.clone());
    tokio::spawn(serve_over(
        router,
        listener,
        cancelled,
        limits,
        Some(certificate),
    ));

    telemetry::install_crypto_provider();
    let mut believed = rustls::RootCertStore::empty();
    let pem = CertificateDer::from_pem_slice(authority.pem().as_bytes());
    believed.add(pem.unwrap()).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(believed)
        .with_no_client_auth();
    let name = "127.0.0.1".try_into().unwrap();
    let client = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut stream = rustls::StreamOwned::new(client, TcpStream::connect(address).unwrap());
    let request = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nmore";
    stream.write_all(request).unwrap();
    assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
    assert_eq!(told.recv().await.unwrap(), "more");
    token.cancel();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    stream.write_all(request).unwrap();
    let late = tokio::time::timeout(Duration::from_secs(10), told.recv()).await;
    assert_eq!(late.unwrap().unwrap(), "more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_come_or_is_none_ends_the_connection() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new().unwrap();
    authority
        .issue("127.0.0.1")
        .unwrap()
        .write(folder.path())
        .unwrap();
    let certificate = settings(folder.path()).certificate().unwrap().unwrap();
    let limits = Limits {
        header_time: Duration::from_millis(200),
        ..Limits::default()
    };
    let (address, token) = start(certificate.clone(), limits).await;
    let silent = TcpStream::connect(address).unwrap();
    assert!(until_closed(silent).await.is_empty());
    token.cancel();

    let (address, token) = start(certificate, Limits::default()).await;
    let mut plain = TcpStream::connect(address).unwrap();
    plain
        .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let answer = until_closed(plain).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    token.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_without_a_restart_and_one_that_can_t_be_used_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let (old, new) = (Authority::new().unwrap(), Authority::new().unwrap());
    old.issue("127.0.0.1")
        .unwrap()
        .write(folder.path())
        .unwrap();
    let certificate = settings(folder.path()).certificate().unwrap().unwrap();
    let alarms = Alarms::new(&Metrics::new("test", "1.0"));
    let stop = CancellationToken::new();
    tokio::spawn(certificate.clone().follow(alarms.clone(), stop.clone()));
    let (address, token) = start(certificate, Limits::default()).await;
    assert!(is_answered(address, &old).await);
    assert!(!is_answered(address, &new).await);

    let until = async |what: &str, holds: &dyn Fn() -> bool| {
        for _ in 0..3000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not {what}: {:?}", alarms.list());
    };
    // The new one without its key.
    let issued = new.issue("127.0.0.1").unwrap();
    std::fs::write(folder.path().join("tls.crt"), &issued.certificate).unwrap();
    until("alarmed", &|| !alarms.list().is_empty()).await;
    let alarm = alarms.list().remove(0);
    assert_eq!(alarm.kind, "tls_certificate");
    assert!(alarm.text.contains("TLS_CERT_FILE and TLS_KEY_FILE"));
    assert!(is_answered(address, &old).await);

    issued.write(folder.path()).unwrap();
    until("calm", &|| alarms.list().is_empty()).await;
    assert!(is_answered(address, &new).await);
    assert!(!is_answered(address, &old).await);
    stop.cancel();
    token.cancel();
}

#[test]
fn what_can_t_be_used_at_the_start_is_named_by_its_variable_and_the_key_is_not_shown() {
    let folder = TempDir::new().unwrap();
    let issued = Authority::new().unwrap().issue("127.0.0.1").unwrap();
    let (certificate, key) = issued.write(folder.path()).unwrap();
    let secret = issued.key.lines().nth(1).unwrap();
    let other = Authority::new().unwrap().issue("127.0.0.1").unwrap();

    let good = settings(folder.path());
    let shown = format!("{:?}", good.certificate().unwrap().unwrap());
    assert!(!shown.contains(secret), "{shown}");
    let refused = |settings: TlsSettings| {
        let error = settings.certificate().unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains(secret), "{text}");
        error.to_string()
    };

    let half = TlsSettings {
        tls_key_file: None,
        ..good.clone()
    };
    assert_eq!(
        refused(half),
        "TLS_CERT_FILE is set and TLS_KEY_FILE is not: HTTPS needs both, HTTP neither"
    );
    let half = TlsSettings {
        tls_cert_file: None,
        ..good.clone()
    };
    assert!(refused(half).starts_with("TLS_KEY_FILE is set"));
    let swapped = TlsSettings {
        tls_cert_file: Some(key.clone()),
        tls_key_file: Some(certificate.clone()),
    };
    assert!(refused(swapped).starts_with("TLS_CERT_FILE: "));
    for (path, text, begin) in [
        (&certificate, "no PEM", "TLS_CERT_FILE: "),
        (&key, "no PEM", "TLS_KEY_FILE: "),
        (&key, &other.key, "TLS_CERT_FILE and TLS_KEY_FILE: "),
    ] {
        issued.write(folder.path()).unwrap();
        std::fs::write(path, text).unwrap();
        let text = refused(good.clone());
        assert!(text.starts_with(begin), "{text}");
    }
    issued.write(folder.path()).unwrap();
    std::fs::remove_file(&key).unwrap();
    assert!(refused(good).starts_with("TLS_KEY_FILE: "));
}
