//! Killing, stopping or restarting any process at any instant changes no final state and loses nothing accepted (R10).
#![allow(clippy::unwrap_used, clippy::panic)]

mod asleep;
mod away;
mod rolling_update;

use std::time::Duration;

use bellhop_end_to_end::site::{
    MARA, NAMESPACE, PEOPLE, TOMAS, is_clean, is_provisioned, node, text,
};
use bellhop_end_to_end::{A_WHILE, PATIENCE, ServiceKind, System, SystemSettings, wait_for};
use bellhop_simulator::cluster::{HostState, Pauses};
use bellhop_simulator::reservation_system::{self as sender, Booking};

/// How often a fact stands in the ledger for a booking.
async fn count(system: &System, booking: &Booking, fact: &str) -> usize {
    let names = system.fact_names(booking).await.unwrap();
    names.iter().filter(|name| **name == fact).count()
}

/// How often a host was claimed.
fn claims(system: &System, server: i64) -> usize {
    let writes = system.cluster.writes_to_host(NAMESPACE, &node(server));
    writes
        .iter()
        .filter(|write| {
            write.was_accepted() && write.body.pointer("/spec/consumerRef/name").is_some()
        })
        .count()
}

/// Started, held while it is prepared.
async fn in_preparation(system: &System) -> Booking {
    system
        .cluster
        .hold_at(NAMESPACE, &node(1), HostState::Provisioning);
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system
        .cluster
        .wait_for_state(NAMESPACE, &node(1), HostState::Provisioning)
        .await
        .unwrap();
    booking
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provisioner_killed_while_a_host_is_prepared_records_it_once_and_its_user_hears_once() {
    let mut system = System::start(SystemSettings::default()).await.unwrap();
    let booking = in_preparation(&system).await;
    system.provisioner().kill().unwrap();
    system.cluster.let_go(NAMESPACE, &node(1));
    system.wait_for_host(1, is_provisioned).await.unwrap();
    assert_eq!(count(&system, &booking, "HostProvisioned").await, 0);
    system.start_services().await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(count(&system, &booking, "HostProvisioned").await, 1);
    assert_eq!(claims(&system, 1), 1);
    // The notifier lived on: not even the one repeat that a kill may cost.
    assert_eq!(system.notifications(&booking, "SUCCESS").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provisioner_killed_while_a_host_is_taken_back_finishes_it_when_it_is_back() {
    let mut system = System::start(SystemSettings::default()).await.unwrap();
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    system
        .cluster
        .hold_at(NAMESPACE, &node(1), HostState::Deprovisioning);
    system.reservations.end_event(booking.id).await.unwrap();
    system
        .cluster
        .wait_for_state(NAMESPACE, &node(1), HostState::Deprovisioning)
        .await
        .unwrap();
    system.provisioner().kill().unwrap();
    system.cluster.let_go(NAMESPACE, &node(1));
    // Another one's start comes while nobody is there.
    let next = system.book(TOMAS, 1).unwrap();
    let sent = system.reservations.start_event(next.id).await.unwrap();
    assert_eq!(
        sent[0].status(),
        Some(202),
        "the ingress needs no provisioner"
    );
    system.start_services().await.unwrap();
    system
        .wait_for_notification(&next, "SUCCESS")
        .await
        .unwrap();
    assert_eq!(count(&system, &booking, "HostReleased").await, 1);
    assert!(system.user_data_of(1)[1].contains(&TOMAS.key()));
    assert!(!system.user_data_of(1)[1].contains(&MARA.key()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notifier_killed_in_the_middle_of_a_report_repeats_it_at_most_once() {
    let mut system = System::start(SystemSettings::default()).await.unwrap();
    let slow = sender::Fault::new(sender::FaultKind::Slow { milliseconds: 700 })
        .on(sender::Endpoint::Notifications)
        .times(1);
    system.reservations.inject(slow);
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    let on_its_way = wait_for(PATIENCE, async || {
        let received = system.reservations.received();
        received
            .iter()
            .any(|it| it.endpoint == sender::Endpoint::Notifications)
            .then_some(())
    });
    on_its_way.await.unwrap();
    system.notifier().kill().unwrap();
    system.start_services().await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    let delivered = wait_for(PATIENCE, async || {
        let reports = system.messages("KV_REPORTS").await.ok()?;
        let last = reports
            .iter()
            .rfind(|report| report.subject.ends_with(".notification"))?;
        last.body.contains("delivered").then_some(())
    });
    delivered.await.unwrap();
    let heard = system.notifications(&booking, "SUCCESS").len();
    assert!((1..=2).contains(&heard), "heard {heard} times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_that_is_stopped_has_answered_what_it_stored_and_what_it_stored_is_served() {
    let mut system = System::start(SystemSettings::default()).await.unwrap();
    system.provisioner().stop().await.unwrap();
    let booking = system.book(MARA, 1).unwrap();
    let sent = system.reservations.start_event(booking.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202));
    system.ingress().kill().unwrap();
    let lost = system.book(TOMAS, 2).unwrap();
    let sent = system.reservations.start_event(lost.id).await.unwrap();
    assert_eq!(sent[0].status(), None, "nobody answers");
    system.start_services().await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    // Its sender does not come again; a person who does is served.
    let sent = system.reservations.start_event(lost.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202));
    system
        .wait_for_notification(&lost, "SUCCESS")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_service_may_be_restarted_at_once_in_the_middle_of_a_preparation() {
    let mut system = System::start(SystemSettings::default()).await.unwrap();
    let booking = in_preparation(&system).await;
    for service in system.services() {
        service.kill().unwrap();
    }
    system.cluster.let_go(NAMESPACE, &node(1));
    system.start_services().await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    for service in system.services() {
        service.stop().await.unwrap();
    }
    system.start_services().await.unwrap();
    system.reservations.end_event(booking.id).await.unwrap();
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
    assert!(is_clean(&system.host(1)));
    assert_eq!(count(&system, &booking, "HostProvisioned").await, 1);
    assert_eq!(system.notifications(&booking, "SUCCESS").len(), 1);
    assert_eq!(claims(&system, 1), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_comes_back_loses_nothing_and_no_service_needs_a_restart() {
    let mut system = System::start(SystemSettings::default()).await.unwrap();
    let booking = in_preparation(&system).await;
    system.nats.kill().unwrap();
    system.cluster.let_go(NAMESPACE, &node(1));
    system.wait_for_host(1, is_provisioned).await.unwrap();
    system.nats.restart().unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    let end = wait_for(PATIENCE, async || {
        let sent = system.reservations.end_event(booking.id).await.ok()?;
        sent[0].was_delivered().then_some(())
    });
    end.await.unwrap();
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
    assert!(is_clean(&system.host(1)));
    assert_eq!(system.notifications(&booking, "SUCCESS").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_comes_while_the_broker_is_away_is_accepted_and_served_when_it_is_back() {
    let mut system = System::start(SystemSettings::default()).await.unwrap();
    system.nats.kill().unwrap();
    let booking = system.book(MARA, 1).unwrap();
    let sent = system.reservations.start_event(booking.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202), "it waits in the spool");
    // Not even the ingress that accepted it need live on.
    system.ingress().kill().unwrap();
    system.nats.restart().unwrap();
    system.start_services().await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    assert!(is_provisioned(&system.host(1)));
    assert_eq!(claims(&system, 1), 1);
    assert_eq!(count(&system, &booking, "ReservationStarted").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_that_slept_past_its_time_with_a_webhook_in_hand_keeps_it_when_it_wakes() {
    let mut system = System::start(SystemSettings {
        variables: vec![
            ("STORE_TIMEOUT", "4".to_owned()),
            ("SPOOL_AFTER", "2".to_owned()),
        ],
        ..SystemSettings::default()
    })
    .await
    .unwrap();
    // The broker says nothing, so the ingress has the webhook in its hands for two seconds.
    system.nats.pause().unwrap();
    let booking = system.book(MARA, 1).unwrap();
    let starting = tokio::spawn({
        let (reservations, id) = (system.reservations.clone(), booking.id);
        async move { reservations.start_event(id).await.unwrap() }
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    system.ingress().pause().unwrap();
    tokio::time::sleep(Duration::from_millis(4500)).await;
    system.ingress().resume().unwrap();
    let sent = starting.await.unwrap();
    assert_eq!(sent[0].status(), Some(202), "its sender still waits");
    system.nats.resume().unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provisioner_that_slept_while_another_worked_changes_nothing_when_it_wakes() {
    let mut system = System::start(SystemSettings {
        replicas: 2,
        ..SystemSettings::default()
    })
    .await
    .unwrap();
    let first = in_preparation(&system).await;
    system.service(ServiceKind::Provisioner, 1).pause().unwrap();
    system.cluster.let_go(NAMESPACE, &node(1));
    system
        .wait_for_notification(&first, "SUCCESS")
        .await
        .unwrap();
    // What the broker handed to the sleeping one is handed out again after a while.
    system.reservations.end_event(first.id).await.unwrap();
    system.wait_for_fact(&first, "HostReleased").await.unwrap();
    let second = system.book(TOMAS, 1).unwrap();
    system.reservations.start_event(second.id).await.unwrap();
    system
        .wait_for_notification(&second, "SUCCESS")
        .await
        .unwrap();
    let before = system.cluster.writes_to_host(NAMESPACE, &node(1)).len();
    system
        .service(ServiceKind::Provisioner, 1)
        .resume()
        .unwrap();
    tokio::time::sleep(A_WHILE).await;
    let writes = system.cluster.writes_to_host(NAMESPACE, &node(1));
    assert!(
        writes[before..].iter().all(|write| !write.was_accepted()),
        "{:?}",
        &writes[before..]
    );
    assert!(is_provisioned(&system.host(1)));
    assert!(text(&system.host(1), "/spec/consumerRef/name").ends_with(&second.id.to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_of_each_service_any_of_which_is_killed_every_reservation_is_served_once() {
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    println!("seed {seed}");
    let mut random = seed;
    let mut next = |limit: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from((random >> 16) % limit).unwrap()
    };
    let mut system = System::start(SystemSettings {
        replicas: 2,
        servers: 6,
        hosts: 6,
        second_webhook: true,
        pauses: Pauses::all(Duration::from_millis(80)),
        ..SystemSettings::default()
    })
    .await
    .unwrap();
    let mut bookings = Vec::new();
    for server in 1..=6 {
        let person = PEOPLE[usize::try_from(server).unwrap() % PEOPLE.len()];
        let booking = system.book(person, server).unwrap();
        let starting = tokio::spawn({
            let (reservations, id) = (system.reservations.clone(), booking.id);
            async move { reservations.start_event(id).await.unwrap() }
        });
        kill_one(&mut system, &mut next).await;
        let sent = starting.await.unwrap();
        assert!(sent.iter().any(sender::Sent::was_delivered), "{sent:?}");
        bookings.push((booking, person, server));
    }
    for (booking, person, server) in &bookings {
        let told = system
            .wait_for_notification(booking, "SUCCESS")
            .await
            .unwrap();
        assert_eq!(told.user_id, person.id());
        assert_eq!(claims(&system, *server), 1);
        assert_eq!(count(&system, booking, "HostProvisioned").await, 1);
        assert!(
            system
                .user_data_of(*server)
                .iter()
                .all(|it| it.contains(&person.key()))
        );
        // The notifier that sent it may have been killed before it could remember: then it came once more.
        let heard = system.notifications(booking, "SUCCESS").len();
        assert!((1..=2).contains(&heard), "heard {heard} times");
    }
    for (booking, _, _) in &bookings {
        let ending = tokio::spawn({
            let (reservations, id) = (system.reservations.clone(), booking.id);
            async move { reservations.end_event(id).await.unwrap() }
        });
        kill_one(&mut system, &mut next).await;
        assert!(
            ending
                .await
                .unwrap()
                .iter()
                .any(sender::Sent::was_delivered)
        );
    }
    for (booking, _, server) in &bookings {
        system.wait_for_fact(booking, "HostReleased").await.unwrap();
        assert!(is_clean(&system.host(*server)), "{}", system.host(*server));
        assert_eq!(count(&system, booking, "ReservationEnded").await, 1);
    }
    assert!(
        system.cluster.secrets(NAMESPACE).is_empty(),
        "a secret is left"
    );
}

/// Kills a service that chance chooses, at an instant that chance chooses, and starts it again.
async fn kill_one(system: &mut System, next: &mut impl FnMut(u32) -> usize) {
    let kind = ServiceKind::ALL[next(3)];
    let (replica, after) = (next(2), next(60));
    println!("kill -9 {kind} {replica} after {after} ms");
    tokio::time::sleep(Duration::from_millis(u64::try_from(after).unwrap())).await;
    let service = system.service(kind, replica);
    service.kill().unwrap();
    service.start().await.unwrap();
    // Kubernetes sends no webhooks to an ingress that is not ready; the other two are not waited for.
    if kind == ServiceKind::Ingress {
        service.until_ready().await.unwrap();
    }
}
