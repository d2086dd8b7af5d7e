//! What one message of a stream may do to others.

use super::*;

async fn allows_rollup(server: &NatsServer) -> bool {
    let stream = jetstream(server).await.get_stream("KV_REPORTS").await;
    stream.unwrap().cached_info().config.allow_rollup
}

#[tokio::test]
async fn a_bucket_of_an_earlier_version_is_changed_so_that_one_report_erases_no_other() {
    let server = NatsServer::start().unwrap();
    store_at(&server).await;
    assert!(!allows_rollup(&server).await);
    let context = jetstream(&server).await;
    let stream = context.get_stream("KV_REPORTS").await.unwrap();
    let mut earlier = stream.cached_info().config.clone();
    earlier.allow_rollup = true;
    context.update_stream(&earlier).await.unwrap();

    // Who may make no streams leaves it, and works on it.
    let settings = EventStoreSettings {
        create_streams: false,
        ..EventStoreSettings::at(server.url())
    };
    let store = EventStore::connect(&settings, "test").await.unwrap();
    store.prepare().await.unwrap();
    assert!(allows_rollup(&server).await);
    store.set_up().await.unwrap();
    assert!(!allows_rollup(&server).await);
}
