//! Reservations from start to end, and what may happen to the provisioner's line to the API server meanwhile.

use std::time::Duration;

use bellhop_domain::reservation::{EndOutcome, Fact, FailureReason};
use bellhop_simulator::cluster::HostState;

use super::stage::Stage;
use crate::installation::{IMAGE, end, start};
use crate::world::is_clean;

#[tokio::test]
async fn a_reservation_comes_and_goes_and_leaves_a_clean_host() {
    let stage = Stage::with_host("node01").await;
    let _provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    stage.until("HostProvisioned").await;
    let host = stage.host("node01").await;
    assert_eq!(host["status"]["provisioning"]["image"]["url"], IMAGE);
    assert_eq!(host["spec"]["online"], true);
    assert_eq!(stage.secrets().await.len(), 1);
    stage.says(end("1", "node01")).await;
    let ended = stage.until("ReservationEnded").await;
    assert!(
        matches!(ended, Fact::ReservationEnded(ended) if ended.outcome == EndOutcome::Completed)
    );
    stage.until("HostReleased").await;
    let host = stage.host("node01").await;
    assert!(is_clean(&host), "{host:#}");
    assert!(stage.secrets().await.is_empty());
    stage
        .until_claims("node01", &["reservation-system:1"])
        .await;
}

#[tokio::test]
async fn a_host_goes_from_one_reservation_to_the_next_clean() {
    let stage = Stage::with_host("node01").await;
    let _provisioner = stage.provisioner();
    stage.says(start("A", "node01")).await;
    stage.until("HostProvisioned").await;
    stage.says(start("B", "node01")).await;
    stage.until("ReservationWaits").await;
    stage.says(end("A", "node01")).await;
    stage
        .until_fact(|fact| {
            fact.name() == "HostProvisioned"
                && fact.reservation().is_some_and(|about| about.event() == "B")
        })
        .await;
    let claims = ["reservation-system:A", "reservation-system:B"];
    stage.until_claims("node01", &claims).await;
    assert_eq!(stage.secrets().await.len(), 1);
}

#[tokio::test]
async fn a_host_that_fails_is_told_with_metal3s_words_and_released() {
    let stage = Stage::with_host("node01").await;
    stage
        .place
        .installations_fail("node01", "no boot device", 9);
    let _provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    let failed = stage.until("ReservationFailed").await;
    let Fact::ReservationFailed {
        reason: FailureReason::ProvisioningErrors { error, attempts },
        ..
    } = failed
    else {
        panic!("{failed:?}");
    };
    assert_eq!(
        (error.kind.as_str(), error.message.as_str(), attempts),
        ("provisioning error", "no boot device", 3)
    );
    stage.until("HostReleased").await;
    stage.until_host("node01", is_clean).await;
    assert!(stage.secrets().await.is_empty());
}

#[tokio::test]
async fn watches_that_break_off_are_taken_up_again() {
    let stage = Stage::with_host("node01").await;
    stage.place.hold_at("node01", HostState::Provisioning);
    let _provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    stage
        .until_host("node01", |host| {
            host["status"]["provisioning"]["state"] == "provisioning"
        })
        .await;
    for _ in 0..3 {
        stage.cut();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.place.let_go("node01");
    stage.until("HostProvisioned").await;
}

#[tokio::test]
async fn an_api_server_that_can_not_be_reached_is_no_failure() {
    let stage = Stage::with_host("node01").await;
    let _provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    stage
        .until_host("node01", |host| host["spec"]["image"]["url"].is_string())
        .await;
    stage.set_reachable(false);
    stage
        .until_host("node01", |host| {
            host["status"]["provisioning"]["state"] == "provisioned"
        })
        .await;
    stage.quiet().await;
    stage.set_reachable(true);
    stage.until("HostProvisioned").await;
    assert!(!stage.fact_names().await.contains(&"ReservationFailed"));
}
