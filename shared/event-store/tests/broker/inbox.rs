//! What waits in a service's memory when the connection is lost.

use async_nats::jetstream::consumer::pull;
use bellhop_event_store::ConsumerLimits;
use futures::StreamExt;

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

#[tokio::test]
async fn what_had_arrived_at_a_stop_goes_to_the_other_replica_at_once() {
    let server = NatsServer::start().unwrap();
    let (stopping, other) = (store_at(&server).await, store_at(&server).await);
    for id in 0..40 {
        let stored = other.store_delivery(&delivery(&id.to_string()), SOON).await;
        stored.unwrap();
    }
    // What is not given back comes only after this test gave up.
    let limits = ConsumerLimits {
        ack_wait: PATIENCE * 10,
        max_in_flight: 100,
        batch: 16,
    };
    let mut inbox = stopping.deliveries("provisioner", limits);
    let first = within(inbox.next()).await;
    first.ack().await.unwrap();
    // An answer to this connection comes after all that was sent before it.
    stopping.deliveries_end().await.unwrap();
    inbox.hand_back().await;

    let mut inbox = other.deliveries("provisioner", limits);
    let mut came = std::collections::BTreeSet::new();
    let mut twice = 0;
    while came.len() < 39 {
        let handed = within(inbox.next()).await;
        handed.ack().await.unwrap();
        twice += usize::from(handed.tries == 2);
        came.insert(handed.sequence);
    }
    assert_eq!(came.first(), Some(&2));
    assert_eq!(
        twice, 15,
        "so many had arrived, and none was asked for at the stop"
    );
}

#[tokio::test]
async fn a_consumer_that_is_just_being_made_has_handled_nothing() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    store.store_delivery(&delivery("1"), SOON).await.unwrap();
    for number in 0..200 {
        let name = format!("consumer-{number}");
        let mut inbox = store.deliveries(&name, ConsumerLimits::default());
        let handled = async {
            loop {
                if let Ok(handled) = store.deliveries_handled(&name).await {
                    return handled;
                }
            }
        };
        let (opened, handled) = tokio::join!(inbox.open(), within(handled));
        opened.unwrap();
        assert_eq!(handled, 0, "the {number}th");
    }
}

#[tokio::test]
async fn a_delivery_that_was_removed_before_it_was_handed_out_is_not_waited_for() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    store.store_delivery(&delivery("1"), SOON).await.unwrap();
    let stream = jetstream(&server).await.get_stream("DELIVERIES").await;
    let stream = stream.unwrap();
    // One that asks for nothing behind our back.
    let consumer = stream
        .create_consumer(pull::Config {
            durable_name: Some("provisioner".into()),
            ..pull::Config::default()
        })
        .await
        .unwrap();
    let mut first = consumer.fetch().max_messages(1).messages().await.unwrap();
    let first = within(first.next()).await.unwrap().unwrap();
    first.double_ack().await.unwrap();
    let last = store.store_delivery(&delivery("2"), SOON).await.unwrap();
    assert_eq!(store.deliveries_handled("provisioner").await.unwrap(), 1);
    stream.delete_message(last.sequence).await.unwrap();
    let end = store.deliveries_end().await.unwrap();
    assert_eq!(store.deliveries_handled("provisioner").await.unwrap(), end);
}
