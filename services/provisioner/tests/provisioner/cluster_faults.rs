//! An API server that fails, is slow, is away, or lets another writer in between.

use std::time::Duration;

use bellhop_domain::reservation::{Fact, FailureReason};
use bellhop_simulator::cluster::{Fault, FaultKind, HostSpec, HostState, Resource, Verb};
use rstest::rstest;
use serde_json::json;

use crate::world::{NS, World, end, is_clean, start};

#[rstest]
#[case::fails_twice(Fault::new(FaultKind::InternalError).on(Verb::Patch).times(2))]
#[case::forbids_once(Fault::new(FaultKind::Forbidden).on(Verb::Create).resource(Resource::Secrets).times(1))]
#[case::throttles(Fault::new(FaultKind::TooManyRequests { retry_after_seconds: 1 }).on(Verb::Patch).times(2))]
#[case::conflicts(Fault::new(FaultKind::Conflict).on(Verb::Patch).times(3))]
#[case::loses_the_answer_of_the_claim(Fault::new(FaultKind::LoseAnswer).on(Verb::Patch).times(1))]
#[case::loses_the_answer_of_the_secret(Fault::new(FaultKind::LoseAnswer).on(Verb::Create).resource(Resource::Secrets).times(1))]
#[case::cuts_reads(Fault::new(FaultKind::CutConnection).on(Verb::Get).times(3))]
#[case::lets_another_writer_in(Fault::new(FaultKind::AnotherWriter { patch: json!({"metadata": {"labels": {"x": "y"}}}) }).on(Verb::Patch).times(2))]
#[case::drops_watches(Fault::new(FaultKind::DropWatch).times(5))]
#[case::expires_watches(Fault::new(FaultKind::ExpireWatch).times(2))]
#[tokio::test]
async fn a_reservation_comes_and_goes_all_the_same_when_the_api_server(#[case] fault: Fault) {
    let world = World::with_host("node01").await;
    world.cluster.inject(fault);
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    world.says(end("1", "node01")).await;
    world.until("HostReleased").await;
    world.until_host("node01", is_clean).await;
    assert_eq!(world.claims("node01").len(), 1);
    assert!(!world.fact_names().await.contains(&"ReservationFailed"));
    assert!(world.cluster.secrets(NS).is_empty());
}

#[tokio::test]
async fn an_api_server_that_is_away_is_no_failure() {
    let world = World::with_host("node01").await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world
        .until_host("node01", |host| host["spec"]["image"]["url"].is_string())
        .await;
    world.cluster.stop().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(provisioner.readyz().await.contains("failing"));
    world.cluster.start_listening().await.unwrap();
    world.until("HostProvisioned").await;
    assert!(!world.fact_names().await.contains(&"ReservationFailed"));
}

#[tokio::test]
async fn the_timeout_is_not_used_up_by_an_api_server_that_is_away_and_passes_without_a_sweep() {
    let timeout = Duration::from_secs(12);
    let world = World::with_host("node01").await;
    world.cluster.hold_at(NS, "node01", HostState::Provisioning);
    let mut settings = world.settings();
    settings.provisioning_timeout = timeout;
    settings.sweep_interval = Duration::from_secs(3600);
    let _provisioner = world.provisioner_with(settings);
    world.says(start("1", "node01")).await;
    world.until("ProvisioningResumed").await;
    // Metal3 is held up as well: a host that is looked at again after all that time has not used it up.
    world.cluster.stop().await;
    tokio::time::sleep(timeout + Duration::from_secs(1)).await;
    world.cluster.start_listening().await.unwrap();
    world.until("ProvisioningUnseen").await;
    assert!(!world.fact_names().await.contains(&"ReservationFailed"));
    // Nothing changes any more, and nobody sweeps.
    let failed = world.until("ReservationFailed").await;
    let reason = FailureReason::ProvisioningTimeout { seconds: 12 };
    assert!(matches!(failed, Fact::ReservationFailed { reason: because, .. } if because == reason));
    assert!(world.fact_names().await.contains(&"ProvisioningSeen"));
}

#[rstest]
#[case::a_read(Verb::Get)]
#[case::a_write(Verb::Patch)]
#[tokio::test]
async fn a_host_that_never_answers_holds_up_no_other(#[case] verb: Verb) {
    holds_up_no_other(Fault::new(FaultKind::Hang).on(verb)).await;
}

#[rstest]
#[case::a_read(Verb::Get)]
#[case::a_write(Verb::Patch)]
#[tokio::test]
async fn a_host_whose_requests_are_throttled_holds_up_no_other(#[case] verb: Verb) {
    let throttled = FaultKind::TooManyRequests {
        retry_after_seconds: 1,
    };
    holds_up_no_other(Fault::new(throttled).on(verb)).await;
}

/// Another host is prepared while each request to one meets `fault`, and that one when it is over.
async fn holds_up_no_other(fault: Fault) {
    let world = World::with_hosts([HostSpec::new(NS, "node01"), HostSpec::new(NS, "node02")]).await;
    let fault = world.cluster.inject(fault.host(NS, "node01"));
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostAssigned").await;
    while world.cluster.fault_hits(fault) == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.says(start("2", "node02")).await;
    world.until_of("2", "HostProvisioned").await;
    assert!(!world.fact_names().await.contains(&"ReservationFailed"));
    world.cluster.clear_fault(fault);
    world.until_of("1", "HostProvisioned").await;
}
