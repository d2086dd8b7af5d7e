//! What retention asks of the broker.

use std::collections::HashSet;

use bellhop_event_store::Retention;
use futures::StreamExt;
use jiff::SignedDuration;

use super::*;

fn all_but_the_first(referred_to: &HashSet<u64>, handled: u64) -> Retention<'_> {
    Retention {
        keep: Duration::from_secs(3600),
        handled,
        referred_to,
        at_most: 1000,
    }
}

#[tokio::test]
async fn what_went_before_is_not_asked_for_again() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    const COUNT: u64 = 100;
    for id in 0..COUNT {
        let stored = store.store_delivery(&delivery(&id.to_string()), SOON).await;
        stored.unwrap();
    }
    let first = HashSet::from([1]);
    let retention = all_but_the_first(&first, COUNT - 1);
    let later = Timestamp::now() + SignedDuration::from_hours(2);
    let removed = store.remove_deliveries(&retention, later).await.unwrap();
    assert_eq!(removed as u64, COUNT - 2);

    let client = async_nats::connect(server.url()).await.unwrap();
    let mut requests = client
        .subscribe("$JS.API.STREAM.MSG.GET.DELIVERIES")
        .await
        .unwrap();
    client.flush().await.unwrap();
    let removed = store.remove_deliveries(&retention, later).await.unwrap();
    assert_eq!(removed, 0);
    // The subscriber has got everything that came before this.
    client
        .publish("$JS.API.STREAM.MSG.GET.DELIVERIES", "end".into())
        .await
        .unwrap();
    let mut count = 0;
    while within(requests.next()).await.unwrap().payload != "end" {
        count += 1;
    }
    assert_eq!(count, 1);
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_not_taken_for_gaps() {
    let server = NatsServer::builder()
        .configuration(
            r#"authorization { users = [
                { user: blind, password: "blind:%", permissions: { publish: { deny: ["$JS.API.STREAM.MSG.GET.>"] } } }
            ] }"#,
        )
        .start()
        .unwrap();
    // A password in the URL is encoded there.
    let url = server.url().replace("://", "://blind:blind%3A%25@");
    let store = EventStore::connect(&EventStoreSettings::at(url), "test")
        .await
        .unwrap();
    store.prepare().await.unwrap();
    store.store_delivery(&delivery("one"), SOON).await.unwrap();
    let nobody = HashSet::new();
    let retention = all_but_the_first(&nobody, 1);
    let later = Timestamp::now() + SignedDuration::from_hours(2);
    let error = store.remove_deliveries(&retention, later).await;
    assert!(error.is_err(), "{error:?}");
    let letters = store.dead_letters(1, 10).await;
    assert!(letters.is_err(), "{letters:?}");
}
