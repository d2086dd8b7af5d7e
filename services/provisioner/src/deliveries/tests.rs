#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellhop_domain::id::{DeliveryId, Source};
use bellhop_event_store::{BuriedLetter, EventStoreSettings, NewDelivery, Operator};
use bellhop_nats_server::NatsServer;
use bellhop_service::Metrics;
use tokio::task::JoinHandle;

use super::*;

/// Long enough for a loaded machine; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Decides on everything but what is poison, and remembers on what.
#[derive(Clone, Default)]
struct Stumbling {
    poison: Option<&'static str>,
    decided: Arc<Mutex<Vec<String>>>,
    stumbled: Arc<Mutex<Vec<u64>>>,
}

impl Decides for Stumbling {
    async fn decided(
        &self,
        delivery: &Delivery,
        _stored_at: Timestamp,
        tries: u64,
    ) -> Result<&'static str, DeliveryError> {
        let id = delivery.id.as_str().to_owned();
        if self.poison == Some(&id) {
            self.stumbled.lock().unwrap().push(tries);
            panic!("no host for {}", black_box("mara@example.org"));
        }
        self.decided.lock().unwrap().push(id);
        Ok("decided")
    }
}

async fn store_at(server: &NatsServer) -> EventStore {
    let settings = EventStoreSettings::at(server.url());
    let store = EventStore::connect(&settings, "test").await.unwrap();
    store.prepare().await.unwrap();
    store
}

/// Decides on nothing before it is let.
#[derive(Clone)]
struct Held {
    begun: Arc<AtomicUsize>,
    let_go: CancellationToken,
}

impl Decides for Held {
    async fn decided(
        &self,
        _delivery: &Delivery,
        _stored_at: Timestamp,
        _tries: u64,
    ) -> Result<&'static str, DeliveryError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.let_go.cancelled().await;
        Ok("decided")
    }
}

fn provisioner(
    store: &EventStore,
    deciding: &(impl Decides + Clone),
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let deliveries = Deliveries {
        store: store.clone(),
        metrics: ProvisionerMetrics::new(&Metrics::new("test", "0")),
        deciding: deciding.clone(),
    };
    tokio::spawn(Arc::new(deliveries).run(stop.clone()))
}

async fn deliver(store: &EventStore, id: &str) {
    let delivery = NewDelivery {
        id: DeliveryId::new(id),
        source: Source::new("reservation-system"),
        site: None,
        kind: None,
        name: Some("node01".into()),
        event_type: Some("EVENT_START".into()),
        webhook: None,
        received_at: Timestamp::now(),
        traceparent: None,
        headers: Vec::new(),
        body: "{}".into(),
    };
    store.store_delivery(&delivery, PATIENCE).await.unwrap();
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let seen = tokio::time::timeout(PATIENCE, looking).await;
    seen.unwrap_or_else(|_| panic!("never: {what}"))
}

async fn letters(store: &EventStore) -> Vec<BuriedLetter> {
    store.dead_letters(1, 10).await.unwrap()
}

#[tokio::test]
async fn a_delivery_whose_handling_panics_is_a_dead_letter_after_some_tries_and_ends_no_provisioner()
 {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let stop = CancellationToken::new();
    let stumbling = Stumbling {
        poison: Some("poison"),
        ..Stumbling::default()
    };
    let both = [
        provisioner(&store, &stumbling, &stop),
        provisioner(&store, &stumbling, &stop),
    ];
    deliver(&store, "before").await;
    deliver(&store, "poison").await;
    deliver(&store, "after").await;
    let decided = async || stumbling.decided.lock().unwrap().len() == 2;
    until("the others decided", async || decided().await.then_some(())).await;
    let letter = until("buried", async || letters(&store).await.pop()).await;

    let tries = stumbling.stumbled.lock().unwrap().clone();
    assert_eq!(tries, (1..=panics::TRIES).collect::<Vec<_>>());
    assert_eq!((letter.tries, letter.body.as_ref()), (5, b"{}".as_slice()));
    assert!(letter.reason.contains("panicked"), "{}", letter.reason);
    assert!(!letter.reason.contains("mara"), "{}", letter.reason);
    deliver(&store, "later").await;
    let decided = async || stumbling.decided.lock().unwrap().len() == 3;
    until("they work still", async || decided().await.then_some(())).await;
    assert!(both.iter().all(|running| !running.is_finished()));
    stop.cancel();
    for ended in both {
        ended.await.unwrap();
    }

    // A version that does not stumble over it decides on it.
    let (mended, stop) = (Stumbling::default(), CancellationToken::new());
    let running = provisioner(&store, &mended, &stop);
    let plan = store.plan_replay(letter).await.unwrap();
    let by = Operator {
        name: "mara".into(),
        at: Timestamp::now(),
    };
    store.replay(&plan, &by).await.unwrap();
    let decided = async || mended.decided.lock().unwrap().as_slice() == ["poison"];
    until("it is decided", async || decided().await.then_some(())).await;
    assert!(letters(&store).await.is_empty());
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn what_had_arrived_at_a_stop_and_found_no_place_goes_to_another_provisioner_at_once() {
    let server = NatsServer::start().unwrap();
    let (stopping, other) = (store_at(&server).await, store_at(&server).await);
    let all = AT_ONCE + 16;
    for id in 0..all {
        deliver(&other, &id.to_string()).await;
    }
    let held = Held {
        begun: Arc::default(),
        let_go: CancellationToken::new(),
    };
    let stop = CancellationToken::new();
    let running = provisioner(&stopping, &held, &stop);
    let full = async || held.begun.load(Ordering::SeqCst) == AT_ONCE;
    until("all places are taken", async || full().await.then_some(())).await;
    // An answer to this connection comes after all that was sent before it.
    stopping.deliveries_end().await.unwrap();
    stop.cancel();
    held.let_go.cancel();
    running.await.unwrap();

    // What was not given back comes only after this test gave up.
    let limits = ConsumerLimits {
        ack_wait: PATIENCE * 10,
        max_in_flight: 256,
        batch: 16,
    };
    let mut inbox = other.deliveries(CONSUMER, limits);
    let mut came = BTreeSet::new();
    let mut twice = 0;
    while came.len() < all - AT_ONCE {
        let handed = tokio::time::timeout(PATIENCE, inbox.next()).await.unwrap();
        handed.ack().await.unwrap();
        twice += usize::from(handed.tries == 2);
        came.insert(handed.sequence);
    }
    assert!(twice > 0, "none had arrived, so this shows nothing");
}

#[test]
fn a_late_start_that_waits_for_an_extension_does_not_rest_longer_the_more_often_it_was_tried() {
    for tries in 1..100 {
        assert!(pause_after(&NotSureYet::Extension.into(), tries) <= Duration::from_secs(1));
    }
    assert!(pause_after(&DeliveryError::Behind, 50) >= Duration::from_secs(15));
}
