//! The broker behind TLS, with a certificate of our own authority.

use std::path::Path;

use super::*;
use bellhop_event_store::EventStoreError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// An authority's certificate in `ca.crt`, and a certificate for 127.0.0.1 by it.
pub(super) fn certificates(folder: &Path) {
    let authority = bellhop_authority::Authority::new().unwrap();
    std::fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    let issued = authority.issue("127.0.0.1").unwrap();
    issued.write(folder).unwrap();
}

fn with_tls(folder: &Path) -> NatsServerBuilder {
    let folder = folder.display();
    NatsServer::builder().configuration(format!(
        "tls {{ cert_file: \"{folder}/tls.crt\", key_file: \"{folder}/tls.key\", timeout: 5 }}"
    ))
}

#[tokio::test]
async fn the_broker_is_reached_over_tls_by_whoever_knows_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let broker = Broker::start(with_tls(folder.path()));
    let known = EventStoreSettings {
        nats_ca_file: Some(folder.path().join("ca.crt")),
        ..broker.settings(User::Administrator)
    };
    let store = EventStore::connect(&known, "bellhop-setup").await.unwrap();
    store.set_up().await.unwrap();

    let unknown = broker.settings(User::Administrator);
    let refused = EventStore::connect(&unknown, "bellhop-setup").await;
    assert!(
        matches!(refused, Err(EventStoreError::Connect { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear_where_an_authority_is_set() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    // Somebody between us and the broker can make it look so.
    let broker = Broker::start(NatsServer::builder());
    let settings = EventStoreSettings {
        nats_ca_file: Some(folder.path().join("ca.crt")),
        ..broker.settings(User::Administrator)
    };
    let refused = EventStore::connect(&settings, "bellhop-setup").await;
    assert!(
        matches!(refused, Err(EventStoreError::Connect { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn who_is_in_the_broker_s_place_without_its_certificate_hears_nothing_of_who_we_are() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let broker = Broker::start(NatsServer::builder());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = EventStoreSettings {
        nats_url: format!("nats://{}", listener.local_addr().unwrap()),
        nats_ca_file: Some(folder.path().join("ca.crt")),
        ..broker.settings(User::Administrator)
    };
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let info = r#"{"server_id":"x","version":"2.12.0","max_payload":1000000,"headers":true,"nonce":"abc","tls_required":false}"#;
        let greeting = format!("INFO {info}\r\n");
        stream.write_all(greeting.as_bytes()).await.unwrap();
        let mut heard = [0; 4096];
        let length = stream.read(&mut heard).await.unwrap();
        heard[..length].to_vec()
    });
    let refused = EventStore::connect(&settings, "bellhop-setup").await;
    assert!(
        matches!(refused, Err(EventStoreError::Connect { .. })),
        "{refused:?}"
    );
    // The first message of a TLS handshake, if anything; in the clear it would be `CONNECT`, with the public key.
    let heard = heard.await.unwrap();
    assert!(heard.is_empty() || heard[..2] == [0x16, 3], "{heard:?}");
}
