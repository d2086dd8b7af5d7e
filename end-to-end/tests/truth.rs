//! What is said of a host is so: no stale success, no false error (R8, R12).
#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_end_to_end::site::{INES, MARA, NAMESPACE, TOMAS, is_clean, is_provisioned, node};
use bellhop_end_to_end::{A_WHILE, PATIENCE, ServiceKind, System, SystemSettings, wait_for};
use bellhop_simulator::cluster::{Fault, FaultKind, HostState, Resource, Verb};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_break_or_expire_and_an_api_server_that_is_away_fail_nobody() {
    let system = System::start(SystemSettings {
        variables: vec![("PROVISIONING_TIMEOUT", "60".to_owned())],
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let node_1 = node(1);
    system
        .cluster
        .hold_at(NAMESPACE, &node_1, HostState::Provisioning);
    let booking = system.started(MARA, 1).await.unwrap();
    system
        .cluster
        .wait_for_state(NAMESPACE, &node_1, HostState::Provisioning)
        .await
        .unwrap();
    system.cluster.drop_watches();
    // The next ones begin with 410: what they knew is forgotten.
    system.cluster.forget_history();
    let expired = Fault::new(FaultKind::ExpireWatch)
        .resource(Resource::BareMetalHosts)
        .times(1);
    system.cluster.inject(expired);
    system.cluster.drop_watches();
    system.cluster.stop().await;
    tokio::time::sleep(A_WHILE).await;
    system.cluster.let_go(NAMESPACE, &node_1);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(system.told(&booking), []);
    system.cluster.start_listening().await.unwrap();
    system
        .wait_for_told(&booking, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    assert_eq!(system.told(&booking).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_metal3_and_its_end_are_told_as_they_are_seen_and_wait_for_no_sweep() {
    let system = System::start(SystemSettings {
        variables: vec![("SWEEP_INTERVAL", "3600".to_owned())],
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let node_1 = node(1);
    system
        .cluster
        .hold_at(NAMESPACE, &node_1, HostState::Provisioning);
    let booking = system.started(MARA, 1).await.unwrap();
    system
        .wait_for_fact(&booking, "ProvisioningResumed")
        .await
        .unwrap();
    // All looks that the start led to are over: the next one for the timeout's sake is minutes away.
    tokio::time::sleep(A_WHILE).await;
    let fault = Fault::provisioning_fails(NAMESPACE, &node_1, "provisioning error", "no disk");
    let fault = system.cluster.inject(fault);
    system.cluster.let_go(NAMESPACE, &node_1);
    let told = system
        .wait_for_told(&booking, "PROVISIONING_ERROR")
        .await
        .unwrap();
    assert!(told.message.contains("no disk"), "{}", told.message);
    system.cluster.clear_fault(fault);
    system
        .wait_for_told(&booking, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_while_a_host_is_prepared_or_in_error_leaves_no_error_for_later() {
    let system = System::start(SystemSettings {
        variables: vec![("PROVISIONING_TIMEOUT", "2".to_owned())],
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let node_1 = node(1);
    system
        .cluster
        .hold_at(NAMESPACE, &node_1, HostState::Provisioning);
    // Their next one fails, and nobody is left to hear of it.
    let fault = Fault::provisioning_fails(NAMESPACE, &node_1, "provisioning error", "no disk");
    system.cluster.inject(fault.times(1));
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system
        .cluster
        .wait_for_state(NAMESPACE, &node_1, HostState::Provisioning)
        .await
        .unwrap();
    system.reservations.end_event(booking.id).await.unwrap();
    system
        .wait_for_told(&booking, "RESERVATION_CANCELLED")
        .await
        .unwrap();
    system.cluster.let_go(NAMESPACE, &node_1);
    system.wait_for_host(1, is_clean).await.unwrap();
    // Beyond the time that it might have taken.
    tokio::time::sleep(2 * A_WHILE).await;
    assert!(system.notifications(&booking, "ERROR").is_empty());
    assert!(system.notifications(&booking, "SUCCESS").is_empty());
    let names = system.fact_names(&booking).await.unwrap();
    assert!(!names.contains(&"ReservationFailed"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_befalls_a_ready_host_is_a_warning_with_an_alarm_and_takes_nothing_away() {
    let mut system = System::start(SystemSettings {
        servers: 3,
        hosts: 3,
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let powerless = system.ready(MARA, 1).await.unwrap();
    let stripped = system.ready(TOMAS, 2).await.unwrap();
    let lost = system.ready(INES, 3).await.unwrap();

    // The power can't be managed: a warning, nothing more.
    let error_message = "the BMC does not answer".to_owned();
    let fault = Fault::new(FaultKind::PowerFails { error_message }).host(NAMESPACE, &node(1));
    let fault = system.cluster.inject(fault);
    let off = json!({"spec": {"online": false}});
    system
        .cluster
        .edit_as_someone_else(NAMESPACE, &node(1), &off)
        .unwrap();
    let told = system
        .wait_for_told(&powerless, "HOST_TROUBLED")
        .await
        .unwrap();
    assert_eq!(told.kind, "WARNING");
    for said in ["the BMC does not answer", "It stays yours"] {
        assert!(told.message.contains(said), "{}", told.message);
    }
    let id = powerless.id.to_string();
    system
        .wait_for_shown(&["ready_host_troubled", &id])
        .await
        .unwrap();
    system.cluster.clear_fault(fault);
    assert!(
        system
            .wait_for_not_shown(&["ready_host_troubled", &id])
            .await
    );

    // Somebody removed the image by hand: recorded, alarmed, not set again.
    let no_image = json!({"spec": {"image": null}});
    system
        .cluster
        .edit_as_someone_else(NAMESPACE, &node(2), &no_image)
        .unwrap();
    let told = system
        .wait_for_told(&stripped, "HOST_CHANGED")
        .await
        .unwrap();
    assert_eq!(told.kind, "WARNING");
    let id = stripped.id.to_string();
    system
        .wait_for_shown(&["host_changed_by_others", &id])
        .await
        .unwrap();
    system
        .wait_for_fact(&stripped, "HostChangedByOthers")
        .await
        .unwrap();

    // The host is deleted: said so, and not taken for released.
    assert!(system.cluster.remove_host(NAMESPACE, &node(3)));
    let told = system.wait_for_told(&lost, "HOST_TROUBLED").await.unwrap();
    assert_eq!(told.kind, "WARNING");
    let id = lost.id.to_string();
    system
        .wait_for_shown(&["ready_host_troubled", &id])
        .await
        .unwrap();

    tokio::time::sleep(A_WHILE).await;
    assert_eq!(system.claims(2).len(), 1);
    for booking in [&powerless, &stripped, &lost] {
        let names = system.fact_names(booking).await.unwrap();
        assert!(!names.contains(&"ReservationFailed"), "{names:?}");
        assert!(system.notifications(booking, "ERROR").is_empty());
        system.reservations.end_event(booking.id).await.unwrap();
        let told = system.wait_for_told(booking, "RESERVATION_COMPLETED").await;
        assert_eq!(told.unwrap().kind, "INFO");
    }
    for server in [1, 2] {
        system.wait_for_host(server, is_clean).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_image_or_a_lost_ledger_under_ten_ready_hosts_changes_none_of_them() {
    let mut system = System::start(SystemSettings {
        servers: 10,
        hosts: 10,
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let mut bookings = Vec::new();
    for server in 1..=10 {
        bookings.push(system.started(MARA, server).await.unwrap());
    }
    for booking in &bookings {
        let told = system
            .wait_for_told(booking, "PROVISIONING_COMPLETED")
            .await;
        assert!(told.is_some());
    }
    let writes = system.cluster.writes().len();
    let deletes = system.cluster.requests(Verb::Delete, Resource::Secrets);

    system.stop_all(ServiceKind::Provisioner).await.unwrap();
    let other = "http://images.example/another.img";
    for provisioner in system.all(ServiceKind::Provisioner) {
        provisioner.set_variable("PROVISION_IMAGE", other);
    }
    system.start_services().await.unwrap();
    // Whatever it does, it has done it once it has served the next word.
    system.say(&["hold", &node(1)]).await.unwrap();
    tokio::time::sleep(2 * A_WHILE).await;
    assert_eq!(system.cluster.writes().len(), writes);

    for service in system.services() {
        service.stop().await.unwrap();
    }
    let broker = async_nats::connect(system.nats.url()).await.unwrap();
    let broker = async_nats::jetstream::new(broker);
    for stream in broker_streams(&broker).await {
        broker.delete_stream(&stream).await.unwrap();
    }
    system.start_services().await.unwrap();
    for server in 1..=10 {
        let host = node(server);
        let shown = system.wait_for_shown(&["unknown_holder", &host]).await;
        assert!(shown.unwrap().contains("left alone"));
    }
    // An end of a reservation that nobody knows any more, and a start for another: neither touches a held host.
    system.reservations.end_event(bookings[0].id).await.unwrap();
    let next = system.started(TOMAS, 2).await.unwrap();
    let told = system.wait_for_told(&next, "PROVISIONING_WAITING").await;
    assert_eq!(told.unwrap().kind, "WARNING");
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(system.cluster.writes().len(), writes);
    assert_eq!(
        system.cluster.requests(Verb::Delete, Resource::Secrets),
        deletes
    );
    let ready = wait_for(PATIENCE, async || {
        let ready = (1..=10).filter(|&it| is_provisioned(&system.host(it)));
        (ready.count() == 10).then_some(())
    });
    assert!(ready.await.is_some());
}

async fn broker_streams(broker: &async_nats::jetstream::Context) -> Vec<String> {
    use futures::TryStreamExt as _;
    broker.stream_names().try_collect().await.unwrap()
}
