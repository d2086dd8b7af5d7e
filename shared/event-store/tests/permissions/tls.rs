//! The broker behind TLS, with a certificate of our own authority.

use std::path::Path;

use super::*;
use bellhop_event_store::EventStoreError;

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
