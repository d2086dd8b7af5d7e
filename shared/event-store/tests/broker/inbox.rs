//! What waits in a service's memory when the connection is lost.

use bellhop_event_store::ConsumerLimits;

use super::*;

#[tokio::test]
async fn what_had_arrived_before_the_connection_was_lost_is_handed_out_at_once() {
    let mut server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    for id in 0..20 {
        let stored = store.store_delivery(&delivery(&id.to_string()), SOON).await;
        stored.unwrap();
    }
    // What is thrown away comes back only after this test gave up.
    let limits = ConsumerLimits {
        ack_wait: PATIENCE * 10,
        max_in_flight: 100,
        batch: 100,
    };
    let mut inbox = store.deliveries("provisioner", limits);
    let first = within(inbox.next()).await;
    assert_eq!(first.sequence, 1);
    let stream = jetstream(&server)
        .await
        .get_stream("DELIVERIES")
        .await
        .unwrap();
    within(async {
        while stream
            .consumer_info("provisioner")
            .await
            .unwrap()
            .num_ack_pending
            < 20
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // An answer to this connection comes after all that was sent before it.
    store.deliveries_end().await.unwrap();

    server.kill().unwrap();
    within(async {
        while store.is_connected() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    server.restart().unwrap();
    within(async { while store.deliveries_end().await.is_err() {} }).await;

    for sequence in 2..=20 {
        assert_eq!(within(inbox.next()).await.sequence, sequence);
    }
}
