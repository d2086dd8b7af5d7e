//! Users that an operator's account vouches for (decentralised JWTs, as `nsc` makes them): a service has a `.creds` file.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bellhop_event_store::EventStoreError;
use serde_json::{Value, json};

use super::shipped::permitted;
use super::*;

/// What `issuer` says of `subject`.
fn token(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: Value) -> String {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let claims = json!({
        "iss": issuer.public_key(), "sub": subject.public_key(), "name": name, "iat": 1, "nats": nats,
    });
    let said = [header, claims].map(|part| BASE64.encode(part.to_string()));
    let said = said.join(".");
    let signature = issuer.sign(said.as_bytes()).unwrap();
    format!("{said}.{}", BASE64.encode(signature))
}

fn account(operator: &KeyPair, account: &KeyPair, name: &str, storage: i64) -> String {
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": storage, "disk_storage": storage, "streams": storage, "consumer": storage,
    });
    let nats = json!({ "type": "account", "version": 2, "limits": limits });
    token(operator, account, name, nats)
}

/// The file of a user who may do what the shipped permissions say.
fn credentials(issuer: &KeyPair, user: User) -> String {
    let permitted = permitted(user);
    let pair = KeyPair::new_user();
    let nats = json!({
        "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1,
        "pub": { "allow": permitted.publish, "deny": permitted.publish_denied },
        "sub": { "allow": permitted.subscribe },
    });
    format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        token(issuer, &pair, user.client_name(), nats),
        pair.seed().unwrap()
    )
}

/// A broker that knows an operator, and by its word one account, and by that one's the users.
fn broker_that_believes_an_operator() -> Broker {
    let operator = KeyPair::new_operator();
    let (system, bellhop) = (KeyPair::new_account(), KeyPair::new_account());
    let itself = json!({ "type": "operator", "version": 2, "system_account": system.public_key() });
    let server = NatsServer::builder()
        .configuration(format!(
            "operator: {}\nsystem_account: {system}\nresolver: MEMORY\n\
             resolver_preload {{\n  {system}: {}\n  {bellhop}: {}\n}}",
            token(&operator, &operator, "operator", itself),
            account(&operator, &system, "SYS", 0),
            account(&operator, &bellhop, "BELLHOP", -1),
            system = system.public_key(),
            bellhop = bellhop.public_key(),
        ))
        .start()
        .unwrap();
    let broker = Broker {
        server,
        keys: tempfile::tempdir().unwrap(),
        known_by: KnownBy::Credentials,
        prefix: None,
    };
    for user in User::ALL {
        std::fs::write(broker.key_file(user), credentials(&bellhop, user)).unwrap();
    }
    broker
}

#[tokio::test]
async fn users_with_credentials_can_do_their_whole_jobs_and_nothing_else() {
    let broker = broker_that_believes_an_operator();
    broker.make_streams().await;
    allowed::each_user_does_its_whole_job(&broker).await;
    forbidden::each_user_is_kept_to_its_job(&broker).await;
}

#[tokio::test]
async fn credentials_of_an_account_that_the_broker_does_not_know_and_a_file_without_any_are_refused()
 {
    let broker = broker_that_believes_an_operator();
    broker.make_streams().await;
    let file = broker.key_file(User::Ingress);
    std::fs::write(
        &file,
        credentials(&KeyPair::new_account(), User::Administrator),
    )
    .unwrap();
    let refused = EventStore::connect(&broker.settings(User::Ingress), "bellhop-ingress").await;
    assert!(
        matches!(refused, Err(EventStoreError::Connect { .. })),
        "{refused:?}"
    );

    let seed = KeyPair::new_user().seed().unwrap();
    std::fs::write(&file, &seed).unwrap();
    let refused = EventStore::connect(&broker.settings(User::Ingress), "bellhop-ingress").await;
    let Err(EventStoreError::Settings { variable, problem }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(variable, "NATS_CREDS_FILE");
    assert!(problem.contains("does not hold NATS credentials"));
    assert!(!problem.contains(&seed), "{problem}");
}
