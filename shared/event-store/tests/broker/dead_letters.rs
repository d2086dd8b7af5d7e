//! Looking at dead letters.

use bellhop_event_store::{DeadLetter, DeadLetterClass};

use super::*;

async fn bury(store: &EventStore, service: &'static str, id: &str) {
    let letter = DeadLetter {
        service,
        class: DeadLetterClass::Delivery,
        id: id.into(),
        what: "reservation-system".into(),
        reason: format!("reason of {id}"),
        tries: 3,
        first_at: Timestamp::UNIX_EPOCH,
        last_at: Timestamp::UNIX_EPOCH,
        traceparent: None,
        headers: Vec::new(),
        body: Bytes::from_static(b"{}"),
    };
    store.bury(&letter, SOON).await.unwrap();
}

#[tokio::test]
async fn dead_letters_are_found_by_service_and_by_sequence_over_gaps() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    for (service, id) in [
        ("ingress", "1"),
        ("notifier", "2"),
        ("ingress", "3"),
        ("ingress", "4"),
    ] {
        bury(&store, service, id).await;
    }
    let stream = jetstream(&server)
        .await
        .get_stream("DEAD_LETTERS")
        .await
        .unwrap();
    stream.delete_message(3).await.unwrap();

    let ids = |letters: Vec<bellhop_event_store::BuriedLetter>| {
        letters
            .into_iter()
            .map(|letter| letter.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ids(store.dead_letters(0, 10).await.unwrap()),
        ["1", "2", "4"]
    );
    assert_eq!(ids(store.dead_letters(2, 1).await.unwrap()), ["2"]);
    assert_eq!(
        ids(store.dead_letters_by("ingress", 0, 10).await.unwrap()),
        ["1", "4"]
    );
    assert_eq!(
        ids(store.dead_letters_by("provisioner", 0, 10).await.unwrap()),
        [""; 0]
    );
    assert_eq!(store.dead_letter(4).await.unwrap().unwrap().id, "4");
    assert!(store.dead_letter(3).await.unwrap().is_none());
    assert!(store.dead_letter(99).await.unwrap().is_none());
}
