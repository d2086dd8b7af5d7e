//! What others do to a host while we hold it.

use bellhop_domain::reservation::{Fact, FailureReason};
use bellhop_simulator::cluster::HostState;
use serde_json::{Value, json};

use super::between::Kept;
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

/// What keeps a host in deletion, whatever Metal3 does.
const KEPT: &str = "example.com/keeps";

/// Deletes a host, which something keeps.
async fn delete(stage: &Stage, name: &str) {
    let finalizers = stage.host(name).await["metadata"]["finalizers"].clone();
    let mut finalizers = finalizers.as_array().cloned().unwrap_or_default();
    finalizers.push(json!(KEPT));
    stage
        .patch_host(name, json!({"metadata": {"finalizers": finalizers}}))
        .await;
    let path = stage.place.host_path(name);
    stage.administrator.delete(&path, json!({})).await.unwrap();
    let host = stage.host(name).await;
    assert!(host["metadata"]["deletionTimestamp"].is_string());
}

/// Metal3 lets go of a host in deletion, and then what keeps it.
async fn let_it_be_deleted(stage: &Stage, name: &str) {
    let is_last = |host: &Value| host["metadata"]["finalizers"] == json!([KEPT]);
    stage.until_host(name, is_last).await;
    stage
        .patch_host(name, json!({"metadata": {"finalizers": null}}))
        .await;
    stage.until_gone(name).await;
}

/// Its reservation failed because its host is no more.
async fn failed_for_want_of_its_host(stage: &Stage) {
    let failed = stage.until("ReservationFailed").await;
    assert!(
        matches!(
            failed,
            Fact::ReservationFailed {
                reason: FailureReason::HostGone,
                ..
            }
        ),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_host_that_is_deleted_before_its_claim_is_not_claimed_and_its_reservation_fails() {
    let stage = Stage::with_host("node01").await;
    stage.between.keep_back(Kept::HostWrite);
    let _provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    stage.between.until_kept().await;
    delete(&stage, "node01").await;
    let refused = stage.between.let_through().await;
    assert_eq!(refused.code, 409, "{refused:?}");
    failed_for_want_of_its_host(&stage).await;
    stage.until("HostReleased").await;
    let host = stage.host("node01").await;
    for field in ["image", "userData", "consumerRef"] {
        assert!(host["spec"][field].is_null(), "{host:#}");
    }
    assert!(stage.secrets().await.is_empty());
    let_it_be_deleted(&stage, "node01").await;
    stage.until_claims("node01", &[]).await;
}

#[tokio::test]
async fn a_host_that_is_deleted_while_it_is_prepared_fails_its_reservation_and_is_released_when_it_is_gone()
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
    delete(&stage, "node01").await;
    failed_for_want_of_its_host(&stage).await;
    // What we wrote is taken back; who is next waits until it is known what becomes of the host.
    stage
        .until_host("node01", |host| host["spec"]["image"].is_null())
        .await;
    stage.says(start("2", "node01")).await;
    stage.until_of("2", "ReservationWaits").await;
    stage.place.let_go("node01");
    stage.quiet().await;
    assert!(!stage.fact_names().await.contains(&"HostReleased"));
    let_it_be_deleted(&stage, "node01").await;
    stage.until("HostReleased").await;
    assert!(stage.secrets().await.is_empty());
    let Fact::ReservationFailed { reason, .. } = stage.until_of("2", "ReservationFailed").await
    else {
        panic!()
    };
    assert!(
        matches!(reason, FailureReason::HostUnknown { .. }),
        "{reason:?}"
    );
    stage
        .until_claims("node01", &["reservation-system:1"])
        .await;
}

#[tokio::test]
async fn a_ready_host_that_is_deleted_is_told_of_stays_its_users_and_is_released_by_its_end() {
    let (stage, provisioner) = ready().await;
    delete(&stage, "node01").await;
    let told = stage.until("HostChangedByOthers").await;
    let Fact::HostChangedByOthers { change, .. } = told else {
        panic!()
    };
    assert_eq!(change, "it is being deleted in Kubernetes");
    provisioner
        .until_shown("alarm host_changed_by_others")
        .await;
    stage.quiet().await;
    assert!(stage.host("node01").await["spec"]["image"].is_object());
    stage.says(end("1", "node01")).await;
    stage.until("ReservationEnded").await;
    stage
        .until_host("node01", |host| host["spec"]["image"].is_null())
        .await;
    let_it_be_deleted(&stage, "node01").await;
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
