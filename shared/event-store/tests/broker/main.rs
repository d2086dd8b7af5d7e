//! What the event store does when the broker or its streams are not as they were.

#![allow(clippy::unwrap_used, clippy::panic)]

mod capacity;
mod clock;
mod dead_letters;
mod inbox;
mod long_names;
mod made_anew;
mod replay;
mod retention;
mod rollup;
mod shadow;

use std::time::Duration;

use bellhop_domain::id::{
    DeliveryId, HostRef, ReservationId, ResourceId, ResourceKind, Source, Version,
};
use bellhop_domain::reservation::Fact;
use bellhop_event_store::{EventStore, EventStoreSettings, NewDelivery, NewEntry};
use bellhop_nats_server::NatsServer;
use bytes::Bytes;
use jiff::Timestamp;

const SOON: Duration = Duration::from_secs(5);
/// Far beyond what anything here takes: a test that waits so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

async fn store_at(server: &NatsServer) -> EventStore {
    let store = EventStore::connect(&EventStoreSettings::at(server.url()), "test")
        .await
        .unwrap();
    store.prepare().await.unwrap();
    store
}

/// A connection of our own, without Bellhop.
async fn jetstream(server: &NatsServer) -> async_nats::jetstream::Context {
    async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it comes in time")
}

fn node(name: &str) -> ResourceId {
    ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", name)
}

fn reservation(event: &str) -> ReservationId {
    ReservationId::new(Source::new("reservation-system"), event)
}

fn entry(event: &str) -> NewEntry {
    NewEntry {
        at: Timestamp::UNIX_EPOCH,
        facts: vec![Fact::HostAssigned {
            reservation: reservation(event),
            host: HostRef {
                namespace: "metal3".into(),
                name: "node".into(),
                uid: "1".into(),
            },
            secret: "node-1".into(),
        }],
        traceparent: None,
        cause: "observation".into(),
    }
}

/// Appends to a resource without entries.
async fn append(store: &EventStore, name: &str) -> Version {
    let appended = store.append(&node(name), Version(0), &entry(name)).await;
    appended.unwrap()
}

fn delivery(id: &str) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::new(id),
        source: Source::new("reservation-system"),
        site: None,
        kind: None,
        name: Some("node01".into()),
        event_type: None,
        webhook: None,
        received_at: Timestamp::UNIX_EPOCH,
        traceparent: None,
        headers: Vec::new(),
        body: Bytes::from_static(b"{}"),
    }
}
