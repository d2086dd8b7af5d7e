//! Dead letters that operators replay or drop.

use std::path::Path;

use bellhop_domain::id::DeliveryId;
use bellhop_event_store::dead_letter::in_order;
use bellhop_event_store::{
    AskedReport, BuriedLetter, ConsumerLimits, DeadLetter, DeadLetterClass, Delivery, Handed,
    Operator, Replay, ReplayError, ReportKey, ReportState, Verdict, VerdictError, kept,
};

use super::*;

/// What nobody else's file holds.
const MARK: &str = "a-key-that-nobody-may-find";

fn mara() -> Operator {
    Operator {
        name: "mara".into(),
        at: Timestamp::from_second(1_800_000_000).unwrap(),
    }
}

fn letter(service: &'static str, id: &str) -> DeadLetter {
    DeadLetter {
        service,
        class: DeadLetterClass::Delivery,
        id: id.into(),
        what: "reservation-system".into(),
        reason: format!("reason of {id}"),
        tries: 1,
        first_at: Timestamp::from_second(1_800_000_000).unwrap(),
        last_at: Timestamp::from_second(1_800_000_060).unwrap(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        headers: vec![("user-agent".into(), "Java/23".into())],
        body: Bytes::from(format!(r#"{{"resourceName":"node01","key":"{MARK}"}}"#)),
    }
}

async fn bury(store: &EventStore, letter: &DeadLetter) -> BuriedLetter {
    let sequence = store.bury(letter, SOON).await.unwrap().sequence;
    store.dead_letter(sequence).await.unwrap().unwrap()
}

async fn replay(store: &EventStore, letter: &BuriedLetter) -> Vec<VerdictError> {
    let plan = store.plan_replay(letter.clone()).await.unwrap();
    store.replay(&plan, &mara()).await.unwrap()
}

/// A stored delivery, handed to whoever gives up on it.
async fn handed(store: &EventStore, delivery: &NewDelivery) -> Handed<Delivery> {
    store.store_delivery(delivery, SOON).await.unwrap();
    let mut inbox = store.deliveries("provisioner", ConsumerLimits::default());
    within(inbox.next()).await
}

fn given_up(handed: &Handed<Delivery>) -> DeadLetter {
    let mut headers = handed.headers();
    headers.push((kept::SUBJECT.into(), handed.subject().into()));
    DeadLetter {
        headers,
        body: handed.body(),
        first_at: handed.stored_at,
        ..letter("provisioner", &format!("provisioner-{}", handed.sequence))
    }
}

/// The messages of a stream.
async fn count(server: &NatsServer, stream: &str) -> u64 {
    let stream = jetstream(server).await.get_stream(stream).await.unwrap();
    stream.cached_info().state.messages
}

#[tokio::test]
async fn a_replayed_delivery_is_stored_again_as_it_was_within_the_duplicate_window() {
    let server = NatsServer::start().unwrap();
    for prefix in [None, Some("lab".to_owned())] {
        let settings = EventStoreSettings {
            stream_prefix: prefix,
            ..EventStoreSettings::at(server.url())
        };
        let store = EventStore::connect(&settings, "test").await.unwrap();
        store.prepare().await.unwrap();
        replays_as_it_was(&store).await;
    }
}

async fn replays_as_it_was(store: &EventStore) {
    let first = handed(store, &delivery("one")).await;
    let buried = bury(store, &given_up(&first)).await;
    assert_eq!(buried.resources(), ["node01"]);

    assert!(replay(store, &buried).await.is_empty());

    let first = first.item.unwrap();
    let again = store.delivery(2).await.unwrap().unwrap();
    assert_eq!(
        (&again.id, &again.source, &again.name, again.received_at),
        (&first.id, &first.source, &first.name, first.received_at)
    );
    assert_eq!((again.body, again.headers), (first.body, first.headers));
    assert!(store.dead_letter(buried.sequence).await.unwrap().is_none());
    assert_eq!(store.dead_letters_of("provisioner").await.unwrap(), 0);
}

#[tokio::test]
async fn what_the_ingress_could_not_read_becomes_a_delivery_with_its_id_and_time() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let buried = bury(
        &store,
        &letter("ingress", "reservation-system.unreadable.1"),
    )
    .await;
    replay(&store, &buried).await;

    let mut inbox = store.deliveries("provisioner", ConsumerLimits::default());
    let handed = within(inbox.next()).await;
    assert_eq!(
        handed.subject(),
        "deliveries.reservation-system.=unknown.=unknown.node01"
    );
    let delivery = handed.item.unwrap();
    assert_eq!(
        delivery.id,
        DeliveryId::new("reservation-system.unreadable.1")
    );
    assert_eq!(delivery.source, Source::new("reservation-system"));
    assert_eq!(delivery.received_at, buried.first_at);
    assert_eq!(delivery.traceparent, buried.traceparent);
    assert_eq!(
        (delivery.headers, delivery.body),
        (buried.headers, buried.body)
    );
}

#[tokio::test]
async fn a_letter_too_large_for_its_body_is_replayed_from_what_deliveries_still_has() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let first = handed(&store, &delivery("one")).await;
    let short = DeadLetter {
        headers: vec![(kept::DELIVERY.into(), first.sequence.to_string())],
        body: Bytes::new(),
        ..given_up(&first)
    };
    let buried = bury(&store, &short).await;
    replay(&store, &buried).await;
    let again = store.delivery(2).await.unwrap().unwrap();
    let first_again = first.item.as_ref().unwrap();
    assert_eq!(
        (again.id, again.body),
        (first_again.id.clone(), first_again.body.clone())
    );

    // Another message stands there, or none any more.
    let id = "provisioner-2".to_owned();
    let not_this_one = bury(
        &store,
        &DeadLetter {
            id,
            headers: Vec::new(),
            ..short.clone()
        },
    )
    .await;
    let id = "provisioner-77".to_owned();
    let removed = bury(
        &store,
        &DeadLetter {
            id,
            headers: Vec::new(),
            ..short
        },
    )
    .await;
    for letter in [not_this_one, removed] {
        let refused = store.plan_replay(letter).await.unwrap_err();
        assert!(
            matches!(refused, ReplayError::Unreplayable { .. }),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn two_operators_at_once_store_one_delivery_and_one_verdict() {
    let server = NatsServer::start().unwrap();
    let (one, other) = (store_at(&server).await, store_at(&server).await);
    for number in 0..10 {
        let buried = bury(&one, &letter("ingress", &number.to_string())).await;
        let plans = [
            one.plan_replay(buried.clone()).await.unwrap(),
            other.plan_replay(buried.clone()).await.unwrap(),
        ];
        let (by_one, by_other) = (mara(), mara());
        let (first, second) = tokio::join!(
            one.replay(&plans[0], &by_one),
            other.replay(&plans[1], &by_other)
        );
        for left_out in [first, second].into_iter().flat_map(Result::unwrap) {
            assert!(matches!(left_out, VerdictError::Gone { .. }), "{left_out}");
        }
        assert_eq!(count(&server, "DELIVERIES").await, number + 1);
    }
    assert_eq!(one.verdicts(1, 100).await.unwrap().len(), 10);
    assert_eq!(one.dead_letters(1, 100).await.unwrap().len(), 0);
}

#[tokio::test]
async fn of_a_replay_and_a_drop_at_once_one_is_done() {
    let server = NatsServer::start().unwrap();
    let (one, other) = (store_at(&server).await, store_at(&server).await);
    let mut replayed = 0;
    for number in 0..10 {
        let buried = bury(&one, &letter("ingress", &number.to_string())).await;
        let plan = one.plan_replay(buried.clone()).await.unwrap();
        let (by_one, by_other) = (mara(), mara());
        let (left_out, dropped) = tokio::join!(
            one.replay(&plan, &by_one),
            other.drop_dead_letter(&buried, &by_other, "a test")
        );
        let was_replayed = left_out.unwrap().is_empty();
        assert_ne!(was_replayed, dropped.is_ok(), "{dropped:?}");
        replayed += u64::from(was_replayed);
        assert_eq!(count(&server, "DELIVERIES").await, replayed);
        assert!(one.dead_letter(buried.sequence).await.unwrap().is_none());
    }
    let verdicts = one.verdicts(1, 100).await.unwrap();
    let replays = verdicts
        .iter()
        .filter(|(_, decided)| decided.verdict == Verdict::Replay);
    assert_eq!((verdicts.len(), replays.count() as u64), (10, replayed));
}

/// A broker with a user for whom one kind of request gets no answer.
fn where_nobody_may(publish: &str) -> NatsServer {
    NatsServer::builder()
        .configuration(format!(
            r#"authorization {{ users = [
                {{ user: all, password: all }}
                {{ user: some, password: some, permissions: {{ publish: {{ deny: ["{publish}"] }} }} }}
            ] }}"#
        ))
        .start()
        .unwrap()
}

async fn store_as(server: &NatsServer, user: &str) -> EventStore {
    let url = server.url().replace("://", &format!("://{user}:{user}@"));
    let store = EventStore::connect(&EventStoreSettings::at(url), "test")
        .await
        .unwrap();
    store.prepare().await.unwrap();
    store
}

#[tokio::test]
async fn a_replay_that_was_cut_off_before_or_after_it_stored_is_finished_by_the_next() {
    for denied in ["deliveries.>", "$JS.API.STREAM.MSG.DELETE.>"] {
        let server = where_nobody_may(denied);
        let (all, some) = (
            store_as(&server, "all").await,
            store_as(&server, "some").await,
        );
        let buried = bury(&all, &letter("ingress", "one")).await;
        let plan = some.plan_replay(buried.clone()).await.unwrap();
        some.replay(&plan, &mara()).await.unwrap_err();
        assert!(all.dead_letter(buried.sequence).await.unwrap().is_some());
        // What was begun is not turned into something else.
        let other = all.drop_dead_letter(&buried, &mara(), "a test").await;
        assert!(
            matches!(other, Err(VerdictError::DecidedOtherwise { .. })),
            "{other:?}"
        );

        assert!(replay(&all, &buried).await.is_empty());
        assert_eq!(all.deliveries_end().await.unwrap(), 1, "{denied}");
        assert!(all.dead_letter(buried.sequence).await.unwrap().is_none());
        assert_eq!(all.verdicts(1, 100).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_dropped_letter_is_gone_from_the_files_and_who_dropped_it_and_why_is_kept() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let buried = bury(&store, &letter("ingress", "one")).await;
    assert!(holds(server.store_dir(), MARK));
    store
        .drop_dead_letter(&buried, &mara(), "sent by a test")
        .await
        .unwrap();
    assert!(!holds(server.store_dir(), MARK));

    let verdicts = store.verdicts(1, 100).await.unwrap();
    let [(_, decided)] = verdicts.as_slice() else {
        panic!("{verdicts:?}");
    };
    let because = "sent by a test".to_owned();
    assert_eq!(decided.verdict, Verdict::Drop { because });
    assert_eq!((decided.by.as_str(), decided.at), ("mara", mara().at));
    assert_eq!(
        (decided.sequence, decided.reason.as_str()),
        (1, "reason of one")
    );
    // A verdict is no dead letter.
    assert_eq!(store.dead_letters(1, 100).await.unwrap().len(), 0);
    assert_eq!(store.dead_letters_of("ingress").await.unwrap(), 0);

    let again = store.drop_dead_letter(&buried, &mara(), "twice").await;
    assert!(
        matches!(again, Err(VerdictError::Gone { sequence: 1 })),
        "{again:?}"
    );
}

fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder)
        .unwrap()
        .map(Result::unwrap)
        .any(|entry| {
            let path = entry.path();
            if path.is_dir() {
                return holds(&path, text);
            }
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        })
}

fn report_letter(key: &ReportKey) -> DeadLetter {
    DeadLetter {
        class: DeadLetterClass::Report,
        what: key.destination.into(),
        headers: vec![(kept::REPORT.into(), key.to_string())],
        ..letter("notifier", &key.to_string())
    }
}

fn key(version: u64, index: usize) -> ReportKey {
    ReportKey {
        reservation: reservation("5120"),
        version: Version(version),
        entry: None,
        index,
        destination: "notification",
    }
}

#[tokio::test]
async fn reports_about_one_reservation_are_asked_for_together_in_the_ledger_s_order() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let mut plans: Vec<Replay> = Vec::new();
    let mut asked = Vec::new();
    for key in [key(12, 0), key(3, 1), key(3, 0)] {
        let state = ReportState::DeadLettered {
            at: Timestamp::UNIX_EPOCH,
            reason: "a test".into(),
        };
        let revision = store.set_report(&key, &state, None).await.unwrap();
        let buried = bury(&store, &report_letter(&key)).await;
        plans.push(store.plan_replay(buried).await.unwrap());
        asked.insert(
            0,
            AskedReport {
                entry: key.version,
                fact: Some(key.index),
                revision: Some(revision),
            },
        );
    }
    let plans = in_order(plans);
    assert_eq!(plans.len(), 1);
    assert_eq!(plans[0].sequences().collect::<Vec<_>>(), [3, 2, 1]);
    assert!(store.replay(&plans[0], &mara()).await.unwrap().is_empty());

    let limits = ConsumerLimits::default();
    let mut requests = store.replay_requests("notifier-replays", "notification", limits);
    let request = within(requests.next()).await.item.unwrap();
    assert_eq!((request.by.as_str(), request.reports), ("mara", asked));
    assert_eq!(store.dead_letters(1, 100).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_letter_whose_report_was_delivered_meanwhile_goes_and_nothing_is_asked_for() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let state = ReportState::Delivered {
        at: Timestamp::UNIX_EPOCH,
        status: 200,
        attempts: 1,
    };
    store.set_report(&key(3, 0), &state, None).await.unwrap();
    let buried = bury(&store, &report_letter(&key(3, 0))).await;
    let before = count(&server, "DEAD_LETTERS").await;
    replay(&store, &buried).await;
    assert!(store.dead_letter(buried.sequence).await.unwrap().is_none());
    // The verdict, in the place of the letter.
    assert_eq!(count(&server, "DEAD_LETTERS").await, before);
}

#[tokio::test]
async fn a_letter_whose_report_is_in_the_notifier_s_hands_is_left_alone() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    let buried = bury(&store, &report_letter(&key(3, 0))).await;
    let owed = |first_at| ReportState::Owed {
        attempts: 1,
        last_error: None,
        first_at,
        sending: None,
        replayed_at: None,
    };
    // The notifier died after it stored the letter: it is tried once more.
    let same = owed(buried.first_at);
    let revision = store.set_report(&key(3, 0), &same, None).await.unwrap();
    let refused = store.plan_replay(buried.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("in hand"), "{refused}");
    // Owed since an earlier replay of this letter, which was cut off: that is finished.
    let again = owed(Timestamp::now());
    store
        .set_report(&key(3, 0), &again, Some(revision))
        .await
        .unwrap();
    assert!(replay(&store, &buried).await.is_empty());
}

#[tokio::test]
async fn what_is_no_dead_letter_hides_no_other_and_can_only_be_dropped() {
    let server = NatsServer::start().unwrap();
    let store = store_at(&server).await;
    bury(&store, &letter("ingress", "one")).await;
    let context = jetstream(&server).await;
    let subject = "dead_letters.ingress.delivery.other";
    let stored = context.publish(subject, "garbage".into()).await.unwrap();
    stored.await.unwrap();
    bury(&store, &letter("ingress", "two")).await;

    let letters = store.dead_letters(1, 10).await.unwrap();
    let sequences: Vec<_> = letters.iter().map(|letter| letter.sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
    let garbage = &letters[1];
    let refused = store.plan_replay(garbage.clone()).await.unwrap_err();
    assert!(
        refused.to_string().contains("not a dead letter"),
        "{refused}"
    );
    store
        .drop_dead_letter(garbage, &mara(), "a test")
        .await
        .unwrap();
    assert_eq!(store.dead_letters(1, 10).await.unwrap().len(), 2);
}
