//! The shipped `deploy/nats/permissions.conf` and TLS, held to a real `nats-server`: each user can do its whole job, and each
//! forbidden action is refused.

#![allow(clippy::unwrap_used, clippy::panic)]

mod allowed;
mod forbidden;
mod shipped;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

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

/// A broker with the shipped permissions, and the seeds of its users.
struct Broker {
    server: NatsServer,
    seeds: tempfile::TempDir,
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
        let seeds = tempfile::tempdir().unwrap();
        let mut keys = String::new();
        for user in User::ALL {
            let pair = KeyPair::new_user();
            std::fs::write(seed_file(&seeds, user), pair.seed().unwrap()).unwrap();
            keys.push_str(&format!("{}: {}\n", user.variable(), pair.public_key()));
        }
        let server = builder
            .configuration(keys)
            .configuration(permissions)
            .start()
            .unwrap();
        Self { server, seeds }
    }

    fn settings(&self, user: User) -> EventStoreSettings {
        EventStoreSettings {
            nats_nkey_file: Some(seed_file(&self.seeds, user)),
            create_streams: user == User::Administrator,
            ..EventStoreSettings::at(self.server.url())
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

fn seed_file(seeds: &tempfile::TempDir, user: User) -> PathBuf {
    seeds.path().join(user.variable())
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it comes in time")
}
