//! What others do to a host while we hold it.

use bellhop_domain::reservation::{Fact, FailureReason};
use bellhop_simulator::cluster::HostState;
use serde_json::{Value, json};

use super::stage::Stage;
use crate::installation::{end, start};
use crate::world::is_clean;

async fn ready() -> (Stage, crate::installation::Running) {
    let stage = Stage::with_host("node01").await;
    let provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    stage.until("HostProvisioned").await;
    (stage, provisioner)
}

#[tokio::test]
async fn an_image_that_someone_removed_is_recorded_and_not_set_again() {
    let (stage, _provisioner) = ready().await;
    stage
        .patch_host("node01", json!({"spec": {"image": null}}))
        .await;
    stage.until("HostChangedByOthers").await;
    stage.quiet().await;
    stage
        .until_claims("node01", &["reservation-system:1"])
        .await;
    stage.says(end("1", "node01")).await;
    stage.until("HostReleased").await;
    stage.until_host("node01", is_clean).await;
}

#[tokio::test]
async fn a_host_that_is_deleted_while_it_is_prepared_stays_until_metal3_lets_go_and_its_reservation_fails()
 {
    let stage = Stage::with_host("node01").await;
    stage.place.hold_at("node01", HostState::Provisioning);
    let _provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    stage
        .until_host("node01", |host| {
            host["status"]["provisioning"]["state"] == "provisioning"
        })
        .await;
    let path = stage.place.host_path("node01");
    stage.administrator.delete(&path, json!({})).await.unwrap();
    let host = stage.host("node01").await;
    assert!(host["metadata"]["deletionTimestamp"].is_string());
    stage.place.let_go("node01");
    let failed = stage.until("ReservationFailed").await;
    assert!(matches!(
        failed,
        Fact::ReservationFailed {
            reason: FailureReason::HostGone,
            ..
        }
    ));
    stage.until("HostReleased").await;
    assert!(stage.administrator.get(&path).await.is_err());
    assert!(stage.secrets().await.is_empty());
}

#[tokio::test]
async fn a_ready_host_that_is_deleted_is_still_released_by_its_end() {
    let (stage, _provisioner) = ready().await;
    stage.place.hold_at("node01", HostState::Deprovisioning);
    let path = stage.place.host_path("node01");
    stage.administrator.delete(&path, json!({})).await.unwrap();
    stage.says(end("1", "node01")).await;
    stage.until("ReservationEnded").await;
    stage
        .until_host("node01", |host| host["spec"]["image"].is_null())
        .await;
    stage.place.let_go("node01");
    stage.until("HostReleased").await;
    assert!(stage.secrets().await.is_empty());
}

#[tokio::test]
async fn a_paused_and_a_detached_host_are_released_when_metal3_has_them_again() {
    for annotation in [
        "baremetalhost.metal3.io/paused",
        "baremetalhost.metal3.io/detached",
    ] {
        let (stage, _provisioner) = ready().await;
        let set = |value: Value| json!({"metadata": {"annotations": {annotation: value}}});
        stage.patch_host("node01", set(json!(""))).await;
        stage.says(end("1", "node01")).await;
        stage.until("ReservationEnded").await;
        stage.quiet().await;
        assert!(stage.host("node01").await["spec"]["image"].is_object());
        stage.patch_host("node01", set(Value::Null)).await;
        stage.until("HostReleased").await;
        stage.until_host("node01", is_clean).await;
    }
}

#[tokio::test]
async fn a_replica_with_an_older_state_than_the_hosts_fence_writes_nothing() {
    let (stage, provisioner) = ready().await;
    let host = stage.host("node01").await;
    let written = host["metadata"]["annotations"]["bellhop.dev/fence"].as_str();
    let (resource, _version) = written.unwrap().rsplit_once('/').unwrap();
    let fence = format!("{resource}/1000000");
    let fenced = stage
        .patch_host(
            "node01",
            json!({"metadata": {"annotations": {"bellhop.dev/fence": fence}}}),
        )
        .await;
    stage.says(end("1", "node01")).await;
    stage.until("ReservationEnded").await;
    provisioner
        .until_shown("a newer decision has written it")
        .await;
    stage.quiet().await;
    let host = stage.host("node01").await;
    assert_eq!(
        host["metadata"]["resourceVersion"],
        fenced["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn a_write_that_a_stale_replica_prepared_is_refused_by_the_server() {
    let stage = Stage::with_host("node01").await;
    // What a replica that fell asleep between its read and its write would send when it wakes.
    let read = stage.host("node01").await;
    let stale = json!({
        "metadata": {"uid": read["metadata"]["uid"], "resourceVersion": read["metadata"]["resourceVersion"],
                     "annotations": {"bellhop.dev/fence": format!("{}/0123456789ab/1", stage.store.ledger_id())}},
        "spec": {"online": true, "image": {"url": "http://images.invalid/stale"},
                 "consumerRef": {"apiVersion": "bellhop.dev/v1", "kind": "Reservation", "name": "reservation-system:0"}},
    });
    let _provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    stage.until("HostProvisioned").await;
    let answer = stage
        .as_provisioner()
        .patch(&stage.place.host_path("node01"), &stale)
        .await;
    assert_eq!(answer.unwrap_err().code, 409);
    // The same for a host that was deleted and made again: the version may fit by chance, the uid does not.
    stage
        .until_claims("node01", &["reservation-system:1"])
        .await;
}
