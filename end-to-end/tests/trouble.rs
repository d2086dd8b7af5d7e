//! What goes wrong around Bellhop is told, or waited for.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use bellhop_domain::reservation::{Fact, FailureReason};
use bellhop_end_to_end::site::{MARA, NAMESPACE, TOMAS, is_clean, is_provisioned, node};
use bellhop_end_to_end::{PATIENCE, System, SystemSettings, wait_for};
use bellhop_simulator::cluster::{Fault, FaultKind, Pauses, Resource, Verb};
use bellhop_simulator::reservation_system as sender;

const NO_BOOT_DEVICE: &str = "Image provisioning failed: no boot device found";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_metal3_is_counted_once_and_a_host_that_recovers_becomes_ready() {
    // Metal3 shows an error for a while before it tries again: long enough to be seen on a loaded machine too.
    let system = System::start(SystemSettings {
        pauses: Pauses::all(Duration::from_secs(3)),
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let fault =
        Fault::provisioning_fails(NAMESPACE, &node(1), "provisioning error", NO_BOOT_DEVICE)
            .times(1);
    system.cluster.inject(fault);
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    let told = system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    assert_eq!(told.user_id, MARA.id());
    let facts = system.facts(&booking).await.unwrap();
    let seen: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::ProvisioningErrorSeen { error, attempt, .. } => {
                Some((error.kind.as_str(), error.message.as_str(), *attempt))
            }
            _ => None,
        })
        .collect();
    assert_eq!(seen, [("provisioning error", NO_BOOT_DEVICE, 1)]);
    assert!(is_provisioned(&system.host(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_host_is_in_error_its_user_reads_metal3s_words_and_then_that_it_is_ready() {
    let system = System::start(SystemSettings {
        pauses: Pauses::all(Duration::from_millis(100)),
        variables: vec![("PROVISIONING_ATTEMPTS", "1000".to_owned())],
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let fault =
        Fault::provisioning_fails(NAMESPACE, &node(1), "provisioning error", NO_BOOT_DEVICE);
    let fault = system.cluster.inject(fault);
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    let told = system
        .wait_for_notification(&booking, "WARNING")
        .await
        .unwrap();
    assert_eq!(told.user_id, MARA.id());
    assert!(told.message.contains(NO_BOOT_DEVICE), "{}", told.message);
    system.cluster.clear_fault(fault);
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_three_errors_the_reservation_fails_with_metal3s_message_and_the_host_is_released() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let fault =
        Fault::provisioning_fails(NAMESPACE, &node(1), "provisioning error", NO_BOOT_DEVICE);
    let fault = system.cluster.inject(fault);
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    let told = system
        .wait_for_notification(&booking, "ERROR")
        .await
        .unwrap();
    assert!(told.message.contains(NO_BOOT_DEVICE), "{}", told.message);
    let log = system
        .wait_for_log(&booking, |log| !log.success)
        .await
        .unwrap();
    assert_eq!(
        (log.event_type.as_str(), log.status_code),
        ("EVENT_START", Some(500))
    );
    system.cluster.clear_fault(fault);
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
    assert!(is_clean(&system.host(1)), "{}", system.host(1));
    assert!(
        system.cluster.secrets(NAMESPACE).is_empty(),
        "the secret is left"
    );
    let failed = system
        .wait_for_fact(&booking, "ReservationFailed")
        .await
        .unwrap();
    let Fact::ReservationFailed {
        reason: FailureReason::ProvisioningErrors { attempts, .. },
        ..
    } = failed
    else {
        panic!("{failed:?}");
    };
    assert_eq!(attempts, 3);

    // Its own end comes later, and the server is free for the next.
    system.reservations.end_event(booking.id).await.unwrap();
    let next = system.book(TOMAS, 1).unwrap();
    system.reservations.start_event(next.id).await.unwrap();
    system
        .wait_for_notification(&next, "SUCCESS")
        .await
        .unwrap();
    assert!(system.notifications(&booking, "SUCCESS").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_of_a_server_without_a_host_fails_and_is_told() {
    let system = System::start(SystemSettings {
        hosts: 1,
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let booking = system.book(MARA, 2).unwrap();
    let sent = system.reservations.start_event(booking.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202));
    let told = system
        .wait_for_notification(&booking, "ERROR")
        .await
        .unwrap();
    assert!(told.message.contains("node02"), "{}", told.message);
    system
        .wait_for_log(&booking, |log| !log.success)
        .await
        .unwrap();
    assert!(
        system.cluster.writes().is_empty(),
        "{:?}",
        system.cluster.writes()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_fails_twice_at_each_write_is_asked_again() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let mut faults = Vec::new();
    for (verb, resource) in [
        (Verb::Create, Resource::Secrets),
        (Verb::Patch, Resource::BareMetalHosts),
        (Verb::Delete, Resource::Secrets),
    ] {
        let fault = Fault::new(FaultKind::InternalError)
            .on(verb)
            .resource(resource)
            .times(2);
        faults.push(system.cluster.inject(fault));
    }
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    system.reservations.end_event(booking.id).await.unwrap();
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
    assert!(is_clean(&system.host(1)));
    assert!(system.cluster.secrets(NAMESPACE).is_empty());
    for fault in faults {
        assert_eq!(system.cluster.fault_hits(fault), 2);
    }
    assert_eq!(system.notifications(&booking, "SUCCESS").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_the_api_server_that_is_lost_leads_to_one_claim() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let lost = Fault::new(FaultKind::LoseAnswer)
        .on(Verb::Patch)
        .resource(Resource::BareMetalHosts)
        .times(1);
    system.cluster.inject(lost);
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    let writes = system.cluster.writes_to_host(NAMESPACE, &node(1));
    let claims = writes
        .iter()
        .filter(|write| write.was_accepted() && write.body.pointer("/spec/image/url").is_some());
    assert_eq!(claims.count(), 1, "{writes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_away_at_the_start_is_waited_for() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    system.cluster.stop().await;
    let booking = system.book(MARA, 1).unwrap();
    let sent = system.reservations.start_event(booking.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202), "the ingress needs no cluster");
    system
        .wait_for_fact(&booking, "ReservationStarted")
        .await
        .unwrap();
    system.cluster.start_listening().await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_down_hears_everything_once_it_is_up_again() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    system.reservations.stop().await;
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system
        .wait_for_fact(&booking, "HostProvisioned")
        .await
        .unwrap();
    tokio::time::sleep(bellhop_end_to_end::A_WHILE).await;
    assert!(system.reservations.notifications().is_empty());
    system.reservations.start_listening().await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    system
        .wait_for_log(&booking, |log| {
            log.response
                .as_deref()
                .is_some_and(|it| it.starts_with("provisioned"))
        })
        .await
        .unwrap();
    assert_eq!(system.notifications(&booking, "SUCCESS").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_the_receiver_answers_500_is_tried_again() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let fault = sender::Fault::new(sender::FaultKind::InternalError)
        .on(sender::Endpoint::Notifications)
        .times(2);
    system.reservations.inject(fault);
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    assert_eq!(system.reservations.refused().len(), 2);
    let settled = wait_for(PATIENCE, async || {
        let reports = system.messages("KV_REPORTS").await.ok()?;
        reports
            .iter()
            .any(|report| {
                report.subject.ends_with(".notification") && report.body.contains("delivered")
            })
            .then_some(())
    });
    assert!(settled.await.is_some());
}
