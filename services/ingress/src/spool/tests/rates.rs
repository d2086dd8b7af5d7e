//! How fast the spool is, beside a broker on the same disk.

use std::sync::Arc;
use std::time::Instant;

use bellhop_event_store::{EventStore, EventStoreSettings};
use bellhop_nats_server::NatsServer;
use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};
use tempfile::TempDir;

use super::super::entry::tests::delivery_of;
use super::{LONG, spool};

/// How many are stored for each figure.
const COUNT: u64 = 4000;

/// Stores so many a second, of which so many at once; `round` tells them from others.
async fn rate(round: u64, at_once: u64, store: impl Fn(u64) -> BoxFuture<'static, ()>) -> f64 {
    let begun = Instant::now();
    stream::iter(round * COUNT..(round + 1) * COUNT)
        .map(|number| tokio::spawn(store(number)))
        .buffer_unordered(usize::try_from(at_once).unwrap())
        .for_each(async |done| done.unwrap())
        .await;
    COUNT as f64 / begun.elapsed().as_secs_f64()
}

/// `cargo test --release -p bellhop-ingress rates -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and asserts nothing"]
async fn rates_of_the_spool_and_of_a_broker_on_the_same_disk() {
    let home = TempDir::new().unwrap();
    let spool = Arc::new(spool(home.path(), &[]).unwrap());
    let server = NatsServer::builder()
        .jetstream_configuration("sync_interval: always")
        .start()
        .unwrap();
    let settings = EventStoreSettings::at(server.url());
    let store = EventStore::connect(&settings, "rates").await.unwrap();
    store.prepare_deliveries().await.unwrap();
    let entry = |number| delivery_of(number, vec![b'x'; 1500].into());
    for (round, at_once) in (1..).zip([1, 16, 64, 256]) {
        let in_spool = rate(round, at_once, |number| {
            let spool = Arc::clone(&spool);
            Box::pin(async move { spool.keep(&entry(number), LONG).await.unwrap() })
        });
        let in_spool = in_spool.await;
        let in_broker = rate(round, at_once, |number| {
            let store = store.clone();
            Box::pin(async move {
                entry(number).store(&store, LONG).await.unwrap();
            })
        });
        let in_broker = in_broker.await;
        let ratio = in_spool / in_broker;
        println!(
            "{at_once:>3} at once: spool {in_spool:>6.0}/s, broker {in_broker:>6.0}/s, ratio {ratio:.1}"
        );
    }
}
