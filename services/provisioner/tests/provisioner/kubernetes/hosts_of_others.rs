//! Hosts that can't be claimed now, each for its own reason.

use bellhop_domain::reservation::{Fact, WaitReason};
use rstest::rstest;
use serde_json::{Value, json};

use super::stage::Stage;
use crate::installation::start;

/// How others use a host, what takes that back, and what the waiting user is told.
#[rstest]
#[case::someone_else_uses_it(
    json!({"spec": {"consumerRef": {"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1", "kind": "Metal3Machine", "name": "m1"}}}),
    json!({"spec": {"consumerRef": null}}),
    "Metal3Machine m1"
)]
#[case::externally_provisioned(
    json!({"spec": {"externallyProvisioned": true}}),
    Value::Null,
    "externally provisioned"
)]
#[case::paused(
    json!({"metadata": {"annotations": {"baremetalhost.metal3.io/paused": ""}}}),
    json!({"metadata": {"annotations": {"baremetalhost.metal3.io/paused": null}}}),
    "paused"
)]
#[case::detached(
    json!({"metadata": {"annotations": {"baremetalhost.metal3.io/detached": ""}}}),
    json!({"metadata": {"annotations": {"baremetalhost.metal3.io/detached": null}}}),
    "detached"
)]
#[case::has_a_custom_deploy(
    json!({"spec": {"customDeploy": {"method": "install_coreos"}}}),
    json!({"spec": {"customDeploy": null}}),
    "an image that Bellhop did not set"
)]
#[tokio::test]
async fn a_host_is_waited_for_and_not_written_while(
    #[case] used: Value,
    #[case] given_back: Value,
    #[case] told: &str,
) {
    let stage = Stage::with_host("node01").await;
    stage.patch_host("node01", used).await;
    let provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    let waits = stage.until("ReservationWaits").await;
    assert!(
        matches!(&waits, Fact::ReservationWaits { reason: WaitReason::Host { text }, .. } if text.contains(told)),
        "{waits:?}"
    );
    stage.quiet().await;
    let host = stage.host("node01").await;
    assert_eq!(host["spec"].get("userData"), None);
    assert_eq!(
        host["metadata"]["annotations"].get("bellhop.dev/fence"),
        None
    );
    assert!(stage.secrets().await.is_empty());
    if given_back.is_null() {
        return provisioner.stop().await;
    }
    stage.patch_host("node01", given_back).await;
    stage.until("HostProvisioned").await;
}

#[tokio::test]
async fn a_host_that_is_being_deleted_is_not_claimed() {
    let stage = Stage::new().await;
    stage
        .add_host(
            "node01",
            json!({"metadata": {"finalizers": ["example.com/keeps"]}}),
        )
        .await;
    let path = stage.place.host_path("node01");
    stage.administrator.delete(&path, json!({})).await.unwrap();
    let _provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    let waits = stage.until("ReservationWaits").await;
    assert!(
        matches!(&waits, Fact::ReservationWaits { reason: WaitReason::Host { text }, .. } if text.contains("being deleted")),
        "{waits:?}"
    );
    stage.quiet().await;
    assert!(stage.host("node01").await["spec"].get("image").is_none());
    stage
        .patch_host("node01", json!({"metadata": {"finalizers": null}}))
        .await;
    stage.until("ReservationFailed").await;
}
