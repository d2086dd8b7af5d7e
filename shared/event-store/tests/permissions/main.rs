//! The shipped `deploy/nats/permissions.conf` and TLS, held to a real `nats-server`: each user can do its whole job, and each
//! forbidden action is refused.

#![allow(clippy::unwrap_used, clippy::panic)]

mod allowed;
mod credentials;
mod forbidden;
mod prefix;
mod shipped;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use async_nats::ConnectOptions;
use bellhop_event_store::{EventStore, EventStoreSettings};
use bellhop_nats_server::{NatsServer, NatsServerBuilder};
use nkeys::KeyPair;

const PERMISSIONS: &str = include_str!("../../../../deploy/nats/permissions.conf");
const SOON: Duration = Duration::from_secs(5);
/// Far beyond what anything here takes: a test that waits so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Ingress,
    Provisioner,
    Notifier,
    Operator,
    Administrator,
}

impl User {
    const ALL: [Self; 5] = [
        Self::Ingress,
        Self::Provisioner,
        Self::Notifier,
        Self::Operator,
        Self::Administrator,
    ];

    fn variable(self) -> String {
        format!("BELLHOP_{}_NKEY", format!("{self:?}").to_uppercase())
    }

    /// As the programs call themselves.
    fn client_name(self) -> &'static str {
        match self {
            Self::Ingress => "bellhop-ingress",
            Self::Provisioner => "bellhop-provisioner",
            Self::Notifier => "bellhop-notifier",
            Self::Operator => "bellhop-dead-letters",
            Self::Administrator => "bellhop-setup",
        }
    }
}

/// A broker with the shipped permissions, and the keys of its users.
struct Broker {
    server: NatsServer,
    keys: tempfile::TempDir,
    known_by: KnownBy,
    prefix: Option<&'static str>,
}

/// How the broker knows its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KnownBy {
    /// By the public keys in its configuration.
    Nkey,
    /// By what an account signed for them.
    Credentials,
}

impl Broker {
    async fn with_streams() -> Self {
        let broker = Self::start(NatsServer::builder());
        broker.make_streams().await;
        broker
    }

    async fn make_streams(&self) {
        let store = self.store(User::Administrator).await;
        store.set_up().await.unwrap();
    }

    fn start(builder: NatsServerBuilder) -> Self {
        Self::start_with(builder, PERMISSIONS)
    }

    fn start_with(builder: NatsServerBuilder, permissions: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut public = String::new();
        for user in User::ALL {
            let pair = KeyPair::new_user();
            std::fs::write(folder.path().join(user.variable()), pair.seed().unwrap()).unwrap();
            public.push_str(&format!("{}: {}\n", user.variable(), pair.public_key()));
        }
        let server = builder
            .configuration(public)
            .configuration(permissions)
            .start()
            .unwrap();
        Self {
            server,
            keys: folder,
            known_by: KnownBy::Nkey,
            prefix: None,
        }
    }

    /// Where this user's key is: a seed, or credentials.
    fn key_file(&self, user: User) -> PathBuf {
        self.keys.path().join(user.variable())
    }

    fn settings(&self, user: User) -> EventStoreSettings {
        let key = Some(self.key_file(user));
        let (nats_nkey_file, nats_creds_file) = match self.known_by {
            KnownBy::Nkey => (key, None),
            KnownBy::Credentials => (None, key),
        };
        EventStoreSettings {
            nats_nkey_file,
            nats_creds_file,
            stream_prefix: self.prefix.map(str::to_owned),
            create_streams: user == User::Administrator,
            ..EventStoreSettings::at(self.server.url())
        }
    }

    /// For a client with this user's key that is none of our programs.
    fn connect_options(&self, user: User) -> ConnectOptions {
        let key = std::fs::read_to_string(self.key_file(user)).unwrap();
        match self.known_by {
            KnownBy::Nkey => ConnectOptions::with_nkey(key),
            KnownBy::Credentials => ConnectOptions::with_credentials(&key).unwrap(),
        }
    }

    async fn store(&self, user: User) -> EventStore {
        EventStore::connect(&self.settings(user), user.client_name())
            .await
            .unwrap()
    }

    /// What the broker refused.
    fn violations(&self) -> Vec<String> {
        let log = self.server.log_text();
        let violations = log.lines().filter(|line| line.contains("Violation"));
        violations.map(str::to_owned).collect()
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it comes in time")
}
