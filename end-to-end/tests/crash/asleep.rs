//! A process that is stopped (SIGSTOP) for longer than any time-out, and goes on as if nothing had been.

use std::time::Duration;

use bellhop_end_to_end::site::{MARA, NAMESPACE, TOMAS, is_clean, node};
use bellhop_end_to_end::{A_WHILE, PATIENCE, ServiceKind, System, SystemSettings, wait_for};
use bellhop_simulator::reservation_system::{self as sender, Booking};

use super::{claims, count, in_preparation};

/// Longer than what a service waits for an answer of the broker, of the API server or of a receiver.
const LONG: Duration = Duration::from_secs(20);

fn two_of_each() -> SystemSettings {
    SystemSettings {
        replicas: 2,
        second_webhook: true,
        ..SystemSettings::default()
    }
}

/// Waits until a report of this booking's notification is on its way to a receiver that is slow.
async fn on_its_way(system: &System, booking: &Booking) {
    let before = system.reservations.received().len();
    let slow = sender::Fault::new(sender::FaultKind::Slow { milliseconds: 1500 })
        .on(sender::Endpoint::Notifications)
        .times(1);
    system.reservations.inject(slow);
    system.reservations.start_event(booking.id).await.unwrap();
    let sent = wait_for(PATIENCE, async || {
        let received = system.reservations.received();
        received[before..]
            .iter()
            .any(|it| it.endpoint == sender::Endpoint::Notifications)
            .then_some(())
    });
    sent.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_notifiers_that_fell_asleep_over_a_report_one_goes_on_and_the_other_adds_nothing() {
    let mut system = System::start(two_of_each()).await.unwrap();
    // Nobody knows which of them has the report: each is once the one that wakes late.
    for (person, server, early) in [(MARA, 1, 0), (TOMAS, 2, 1)] {
        let booking = system.book(person, server).unwrap();
        on_its_way(&system, &booking).await;
        for replica in [0, 1] {
            let notifier = system.service(ServiceKind::Notifier, replica);
            notifier.pause().unwrap();
        }
        let early = system.service(ServiceKind::Notifier, early);
        early.resume().unwrap();
        let told = system.wait_for_notification(&booking, "SUCCESS").await;
        told.unwrap();
        let remembered = wait_for(PATIENCE, async || {
            let reports = system.messages("KV_REPORTS").await.ok()?;
            let delivered = |it: &&bellhop_end_to_end::records::Message| {
                it.subject.ends_with(".notification") && it.body.contains("delivered")
            };
            let about = booking.id.to_string();
            let mut delivered = reports.iter().filter(delivered);
            delivered
                .any(|it| it.everything().contains(&about))
                .then_some(())
        });
        remembered.await.unwrap();
        for replica in [0, 1] {
            let notifier = system.service(ServiceKind::Notifier, replica);
            notifier.resume().unwrap();
        }
        tokio::time::sleep(A_WHILE).await;
        // Sent before it slept and again by the other: one repeat for the one stop.
        let heard = system.notifications(&booking, "SUCCESS").len();
        assert!((1..=2).contains(&heard), "heard {heard} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_that_sleeps_holds_up_nobody_and_what_it_reads_when_it_wakes_has_no_second_effect()
 {
    let mut system = System::start(two_of_each()).await.unwrap();
    let booking = system.book(MARA, 1).unwrap();
    // The second: the sender waits for the answer of each before it goes on.
    system.service(ServiceKind::Ingress, 1).pause().unwrap();
    let starting = tokio::spawn({
        let (reservations, id) = (system.reservations.clone(), booking.id);
        async move { reservations.start_event(id).await.unwrap() }
    });
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    system.service(ServiceKind::Ingress, 1).resume().unwrap();
    let sent = starting.await.unwrap();
    assert!(sent.iter().all(sender::Sent::was_delivered), "{sent:?}");
    system.reservations.end_event(booking.id).await.unwrap();
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(claims(&system, 1), 1);
    assert_eq!(count(&system, &booking, "ReservationStarted").await, 1);
    assert_eq!(system.notifications(&booking, "SUCCESS").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_every_process_slept_longer_than_any_time_out_all_goes_on_where_it_stood() {
    let mut system = System::start(two_of_each()).await.unwrap();
    let booking = in_preparation(&system).await;
    for service in system.services() {
        service.pause().unwrap();
    }
    system.nats.pause().unwrap();
    system.cluster.let_go(NAMESPACE, &node(1));
    tokio::time::sleep(LONG).await;
    // The services first: they find a broker that does not answer.
    for service in system.services() {
        service.resume().unwrap();
    }
    let next = system.book(TOMAS, 2).unwrap();
    let sent = system.reservations.start_event(next.id).await.unwrap();
    assert!(
        sent.iter().all(|it| it.status() == Some(202)),
        "it waits in the spools: {sent:?}"
    );
    system.nats.resume().unwrap();
    for booking in [&booking, &next] {
        system
            .wait_for_notification(booking, "SUCCESS")
            .await
            .unwrap();
        system.reservations.end_event(booking.id).await.unwrap();
    }
    for (booking, server) in [(&booking, 1), (&next, 2)] {
        system.wait_for_fact(booking, "HostReleased").await.unwrap();
        assert!(is_clean(&system.host(server)));
        assert_eq!(claims(&system, server), 1);
        assert_eq!(count(&system, booking, "HostProvisioned").await, 1);
        assert_eq!(system.notifications(booking, "SUCCESS").len(), 1);
    }
}
