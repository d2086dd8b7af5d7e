//! Every delivery any number of times, in any order, under any webhook (R3), and what is reported of it (R7).
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use bellhop_end_to_end::site::{
    INES, MARA, NAMESPACE, SECOND_WEBHOOK, TOMAS, WEBHOOK, is_clean, node, webhook_secret,
};
use bellhop_end_to_end::{A_WHILE, ServiceKind, System, SystemSettings};
use bellhop_simulator::reservation_system::{NewBooking, Webhook};
use jiff::{Timestamp, ToSpan as _};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_again_when_the_broker_has_forgotten_it_prepares_once_and_reports_once() {
    let system = System::start(SystemSettings {
        second_webhook: true,
        variables: vec![("DUPLICATE_WINDOW", "1".to_owned())],
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let booking = system.ready(MARA, 1).await.unwrap();
    // Longer than the broker remembers: the copy is a delivery of its own.
    let again = async |what: &str| {
        let stored = system.messages("DELIVERIES").await.unwrap().len();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        match what {
            "start" => system.reservations.start_event(booking.id).await.unwrap(),
            _ => system.reservations.end_event(booking.id).await.unwrap(),
        };
        assert!(system.messages("DELIVERIES").await.unwrap().len() > stored);
    };
    again("start").await;
    system.reservations.end_event(booking.id).await.unwrap();
    system
        .wait_for_told(&booking, "RESERVATION_COMPLETED")
        .await
        .unwrap();
    again("end").await;
    again("start").await;
    let next = system.ready(TOMAS, 1).await.unwrap();
    assert!(system.has(&next, 1));
    assert_eq!(
        system.told(&booking),
        [
            ("SUCCESS".to_owned(), "PROVISIONING_COMPLETED".to_owned()),
            ("INFO".to_owned(), "RESERVATION_COMPLETED".to_owned())
        ]
    );
    assert_eq!(system.claims(1).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_waited_while_the_provisioner_was_away_only_what_is_still_wished_is_prepared() {
    let mut system = System::start(SystemSettings {
        variables: vec![("DUPLICATE_WINDOW", "1".to_owned())],
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    system.stop_all(ServiceKind::Provisioner).await.unwrap();
    let first = system.started(MARA, 1).await.unwrap();
    system.reservations.end_event(first.id).await.unwrap();
    let second = system.started(TOMAS, 1).await.unwrap();
    let over = system.started(INES, 2).await.unwrap();
    system.reservations.end_event(over.id).await.unwrap();
    // Longer than the broker remembers: the second start is a delivery of its own.
    let stored = system.messages("DELIVERIES").await.unwrap().len();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    system.reservations.start_event(over.id).await.unwrap();
    let with_it = system.messages("DELIVERIES").await.unwrap().len();
    assert_eq!(with_it, stored + 1);
    system.start_services().await.unwrap();
    system
        .wait_for_told(&second, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    for booking in [&first, &over] {
        system
            .wait_for_fact(booking, "ReservationEnded")
            .await
            .unwrap();
        assert!(system.notifications(booking, "SUCCESS").is_empty());
    }
    tokio::time::sleep(A_WHILE).await;
    // A's start may have been decided before its end: then it was given back before anything was on it.
    assert_eq!(system.user_data_of(1).len(), 1);
    assert!(system.user_data_of(1)[0].contains(&TOMAS.key()));
    assert!(is_clean(&system.host(2)));
    assert!(system.user_data_of(2).is_empty());
    assert!(system.claims(2).is_empty(), "{:?}", system.claims(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_go_out_under_the_webhook_of_the_start_and_where_that_is_disabled_under_the_other()
{
    let system = System::start(SystemSettings {
        second_webhook: true,
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let booking = system.ready(MARA, 1).await.unwrap();
    let told = system
        .wait_for_told(&booking, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    system.reservations.end_event(booking.id).await.unwrap();
    let ended = system
        .wait_for_told(&booking, "RESERVATION_COMPLETED")
        .await
        .unwrap();
    assert_eq!(ended.webhook_id, told.webhook_id);

    // Both bring the start; then the one that the reports go out under is switched off.
    system.cluster.hold_at(
        NAMESPACE,
        &node(2),
        bellhop_simulator::cluster::HostState::Provisioning,
    );
    let next = system.started(TOMAS, 2).await.unwrap();
    let log = system
        .wait_for_log(&next, |log| log.event_type == "EVENT_START")
        .await
        .unwrap();
    let url = "http://127.0.0.1:9/webhook";
    let off = Webhook::new(log.webhook_id, webhook_secret(log.webhook_id), url).disabled();
    system.reservations.put_webhook(off);
    system.cluster.let_go(NAMESPACE, &node(2));
    let told = system
        .wait_for_told(&next, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    let webhooks = [WEBHOOK, SECOND_WEBHOOK];
    assert!(webhooks.contains(&log.webhook_id) && webhooks.contains(&told.webhook_id));
    assert_ne!(told.webhook_id, log.webhook_id);
    assert_eq!(system.notifications(&next, "SUCCESS").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_what_became_of_each_word_with_its_type_its_number_and_no_private_text() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let now = Timestamp::now();
    for number in [1, 2] {
        let mut server = bellhop_end_to_end::site::server(number);
        server.specs = "ü".repeat(5000);
        system.reservations.put_resource(server);
    }
    let book = |server| {
        let booking = NewBooking::new(MARA.id(), node(server), now, now + 2.hours())
            .description("what a person wrote");
        system.reservations.book(booking).unwrap()
    };
    let (ended, deleted, unknown) = (book(1), book(2), {
        let server = bellhop_end_to_end::site::server(3);
        system.reservations.put_resource(server);
        book(3)
    });
    for booking in [&ended, &deleted, &unknown] {
        system.reservations.start_event(booking.id).await.unwrap();
    }
    for booking in [&ended, &deleted] {
        system
            .wait_for_told(booking, "PROVISIONING_COMPLETED")
            .await
            .unwrap();
    }
    system.reservations.end_event(ended.id).await.unwrap();
    system.reservations.delete(deleted.id).await.unwrap();
    let expected = [
        (&ended, "EVENT_END", true, 31),
        (&deleted, "EVENT_DELETED", true, 32),
        (&unknown, "EVENT_START", false, 33),
    ];
    for (booking, last, success, number) in expected {
        let log = system
            .wait_for_log(booking, |log| {
                log.event_type == last && log.success == success
            })
            .await
            .unwrap();
        let status = if success { 200 } else { 500 };
        assert_eq!(log.status_code, Some(status));
        assert_eq!(log.resource_id, Some(number));
        assert!(log.response.is_some_and(|response| !response.is_empty()));
    }
    system
        .wait_for_told(&unknown, "PROVISIONING_FAILED")
        .await
        .unwrap();
    for booking in [&ended, &deleted] {
        system
            .wait_for_told(booking, "RESERVATION_COMPLETED")
            .await
            .unwrap();
        assert_eq!(system.told(booking).len(), 2, "{:?}", system.told(booking));
    }
    assert_eq!(system.told(&unknown).len(), 1);

    let logs = system.reservations.webhook_logs();
    let mut cut = 0;
    for log in &logs {
        let units = log.payload.encode_utf16().count();
        assert!((1..=4000).contains(&units), "{units}");
        cut += usize::from(units > 3900);
        let wrote = "what a person wrote".to_owned();
        for private in [MARA.key(), MARA.email(), "sshPublicKey".to_owned(), wrote] {
            assert!(!log.payload.contains(&private), "{}", log.payload);
        }
    }
    assert!(cut >= 2, "no payload was as long as it may be");
    let starts = |booking: &bellhop_simulator::reservation_system::Booking| {
        let id = booking.id.to_string();
        let about = logs.iter().filter(|log| {
            log.event_type == "EVENT_START"
                && log.metadata.as_ref().is_some_and(|it| it["eventId"] == id)
        });
        about.map(|log| log.success).collect::<Vec<_>>()
    };
    // Accepted, then ready; or failed at once.
    assert_eq!(starts(&ended), [true, true]);
    assert_eq!(starts(&deleted), [true, true]);
    assert_eq!(starts(&unknown).last(), Some(&false));
    assert!(system.reservations.refused().is_empty());
}
