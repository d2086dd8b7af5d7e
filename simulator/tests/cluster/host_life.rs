//! The life of a host.

use std::time::Duration;

use bellhop_simulator::cluster::{
    Cluster, ClusterSettings, Fault, FaultKind, HostSpec, HostState, HostState as S,
};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::{NS, RELEASE, claim, cluster_with, hosts, image, merge, reach, refusal, until};

const A: &str = "http://images.invalid/a.img";
const B: &str = "http://images.invalid/b.img";

async fn claimed(cluster: &Cluster) -> Value {
    cluster
        .put_secret(NS, "node01-user-data", &[("userData", "#cloud-config")])
        .unwrap();
    merge(&hosts(cluster), "node01", claim(A)).await.unwrap();
    reach(cluster, "node01", S::Provisioned).await
}

#[tokio::test]
async fn a_host_goes_from_registration_to_a_reservation_and_back() {
    let cluster = cluster_with(&[]).await;
    cluster
        .add_host(HostSpec::new(NS, "node01").unregistered())
        .unwrap();
    reach(&cluster, "node01", S::Available).await;
    let host = claimed(&cluster).await;
    assert_eq!(host["status"]["provisioning"]["image"], image(A));
    assert_eq!(host["status"]["poweredOn"], true);
    assert_eq!(host["status"]["operationalStatus"], "OK");

    merge(&hosts(&cluster), "node01", RELEASE()).await.unwrap();
    let host = reach(&cluster, "node01", S::Available).await;
    assert_eq!(host["status"]["provisioning"]["image"], json!({"url": ""}));
    assert_eq!(host["status"]["poweredOn"], false);
    assert_eq!(
        cluster.state_path(NS, "node01"),
        [
            S::Registering,
            S::Inspecting,
            S::Preparing,
            S::Available,
            S::Provisioning,
            S::Provisioned,
            S::Deprovisioning,
            S::Available,
        ]
    );
    // The image is shown from provisioned on, no earlier and no longer.
    for record in cluster.states(NS, "node01") {
        let on_host = matches!(record.state, Some(S::Provisioned | S::Deprovisioning));
        assert_eq!(!record.image_url.is_empty(), on_host, "{record:?}");
    }
}

#[tokio::test]
async fn the_operator_reads_the_user_data_for_whoever_claims_the_host() {
    let cluster = cluster_with(&["node01"]).await;
    claimed(&cluster).await;
    let reads = cluster.user_data_reads();
    assert_eq!(reads.len(), 1);
    assert_eq!(
        (reads[0].secret.as_str(), reads[0].user_data.as_str()),
        ("node01-user-data", "#cloud-config")
    );
    assert_eq!(
        reads[0].consumer,
        Some(json!({"kind": "Reservation", "name": "5120"}))
    );
    assert!(!format!("{reads:?}").contains("cloud-config"));
}

#[tokio::test]
async fn only_another_image_url_means_another_installation() {
    let cluster = cluster_with(&["node01"]).await;
    claimed(&cluster).await;
    cluster
        .put_secret(NS, "other", &[("userData", "other")])
        .unwrap();
    let others = json!({"spec": {"userData": {"name": "other"}, "image": {"checksum": "auto", "checksumType": "auto"}}});
    merge(&hosts(&cluster), "node01", others).await.unwrap();
    // Power shows that Metal3 has looked at the host since.
    merge(
        &hosts(&cluster),
        "node01",
        json!({"spec": {"online": false}}),
    )
    .await
    .unwrap();
    until(&cluster, "node01", |host| {
        host["status"]["poweredOn"] == false
    })
    .await;
    assert_eq!(
        cluster.state_path(NS, "node01"),
        [S::Available, S::Provisioning, S::Provisioned]
    );

    merge(
        &hosts(&cluster),
        "node01",
        json!({"spec": {"online": true, "image": {"url": B}}}),
    )
    .await
    .unwrap();
    until(&cluster, "node01", |host| {
        host["status"]["provisioning"]["image"]["url"] == B
    })
    .await;
    assert_eq!(
        cluster.state_path(NS, "node01"),
        [
            S::Available,
            S::Provisioning,
            S::Provisioned,
            S::Deprovisioning,
            S::Available,
            S::Provisioning,
            S::Provisioned,
        ]
    );
    assert_eq!(cluster.user_data_reads().last().unwrap().user_data, "other");
}

#[tokio::test]
async fn a_failed_provisioning_is_shown_cleaned_up_and_tried_again() {
    let cluster = cluster_with(&["node01"]).await;
    let fault =
        Fault::provisioning_fails(NS, "node01", "provisioning error", "no boot device").times(2);
    let fault = cluster.inject(fault);
    claimed(&cluster).await;
    assert_eq!(cluster.fault_hits(fault), 2);
    let attempt = [S::Provisioning, S::Deprovisioning, S::Available];
    let expected: Vec<HostState> = [S::Available]
        .into_iter()
        .chain(attempt)
        .chain(attempt)
        .chain([S::Provisioning, S::Provisioned])
        .collect();
    assert_eq!(cluster.state_path(NS, "node01"), expected);

    let states = cluster.states(NS, "node01");
    let shown: Vec<_> = states
        .iter()
        .map(|record| {
            (
                record.state.unwrap(),
                record.error_type.as_str(),
                record.error_count,
            )
        })
        .collect();
    let first_attempt = [
        (S::Available, "", 0),
        (S::Provisioning, "", 0),
        (S::Provisioning, "provisioning error", 1),
        (S::Deprovisioning, "provisioning error", 1),
        (S::Deprovisioning, "", 1),
        (S::Available, "", 0),
    ];
    assert_eq!(shown[..6], first_attempt);
    assert_eq!(states[2].error_message, "no boot device");
    assert_eq!(states[2].operational_status, "error");
}

#[tokio::test]
async fn a_missing_user_data_secret_is_a_provisioning_error() {
    let cluster = cluster_with(&["node01"]).await;
    merge(&hosts(&cluster), "node01", claim(A)).await.unwrap();
    let host = until(&cluster, "node01", |host| {
        host["status"]["errorType"] == "provisioning error"
    })
    .await;
    assert!(
        host["status"]["errorMessage"]
            .as_str()
            .unwrap()
            .contains("node01-user-data")
    );
    cluster
        .put_secret(NS, "node01-user-data", &[("value", "late")])
        .unwrap();
    reach(&cluster, "node01", S::Provisioned).await;
}

#[tokio::test]
async fn a_release_ends_a_provisioning_that_never_would() {
    let cluster = cluster_with(&["node01"]).await;
    cluster.inject(
        Fault::new(FaultKind::NeverFinishes {
            state: S::Provisioning,
        })
        .host(NS, "node01"),
    );
    cluster
        .put_secret(NS, "node01-user-data", &[("userData", "")])
        .unwrap();
    merge(&hosts(&cluster), "node01", claim(A)).await.unwrap();
    reach(&cluster, "node01", S::Provisioning).await;
    merge(&hosts(&cluster), "node01", RELEASE()).await.unwrap();
    reach(&cluster, "node01", S::Available).await;
    assert!(!cluster.state_path(NS, "node01").contains(&S::Provisioned));
}

#[tokio::test]
async fn an_image_waits_for_power_for_the_pause_and_for_the_reattachment() {
    let cluster = cluster_with(&["node01", "node02"]).await;
    let hosts = hosts(&cluster);
    let without_user_data = json!({"spec": {"online": false, "image": image(A)},
        "metadata": {"annotations": {"baremetalhost.metal3.io/paused": "", "baremetalhost.metal3.io/detached": ""}}});
    merge(&hosts, "node01", without_user_data).await.unwrap();
    merge(&hosts, "node01", json!({"spec": {"online": true}}))
        .await
        .unwrap();
    // Another host shows that time has passed.
    merge(
        &hosts,
        "node02",
        json!({"spec": {"online": true, "image": image(A)}}),
    )
    .await
    .unwrap();
    reach(&cluster, "node02", S::Provisioned).await;
    assert_eq!(
        cluster.states(NS, "node01").len(),
        1,
        "a paused host is left alone"
    );

    merge(
        &hosts,
        "node01",
        json!({"metadata": {"annotations": {"baremetalhost.metal3.io/paused": null}}}),
    )
    .await
    .unwrap();
    let host = until(&cluster, "node01", |host| {
        host["status"]["operationalStatus"] == "detached"
    })
    .await;
    assert_eq!(host["status"]["provisioning"]["state"], "available");
    merge(
        &hosts,
        "node01",
        json!({"spec": {"online": false}, "metadata": {"annotations": null}}),
    )
    .await
    .unwrap();
    until(&cluster, "node01", |host| {
        host["status"]["operationalStatus"] == "OK"
    })
    .await;
    assert_eq!(cluster.state_path(NS, "node01"), [S::Available]);
    merge(&hosts, "node01", json!({"spec": {"online": true}}))
        .await
        .unwrap();
    reach(&cluster, "node01", S::Provisioned).await;
}

#[tokio::test]
async fn a_host_without_a_place_is_delayed_until_there_is_one() {
    let settings = ClusterSettings {
        hosts: vec![HostSpec::new(NS, "node01"), HostSpec::new(NS, "node02")],
        capacity: Some(1),
        ..ClusterSettings::default()
    };
    let cluster = Cluster::start(settings).await.unwrap();
    cluster.hold_at(NS, "node01", S::Provisioning);
    let online = json!({"spec": {"online": true, "image": image(A)}});
    merge(&hosts(&cluster), "node01", online.clone())
        .await
        .unwrap();
    reach(&cluster, "node01", S::Provisioning).await;
    merge(&hosts(&cluster), "node02", online).await.unwrap();
    let host = until(&cluster, "node02", |host| {
        host["status"]["operationalStatus"] == "delayed"
    })
    .await;
    assert_eq!(host["status"]["provisioning"]["state"], "available");
    assert!(host["status"].get("errorType").is_none());
    cluster.let_go(NS, "node01");
    reach(&cluster, "node02", S::Provisioned).await;
}

#[tokio::test]
async fn an_externally_provisioned_host_keeps_its_own_state() {
    let cluster = cluster_with(&["node01"]).await;
    merge(
        &hosts(&cluster),
        "node01",
        json!({"spec": {"externallyProvisioned": true}}),
    )
    .await
    .unwrap();
    reach(&cluster, "node01", S::ExternallyProvisioned).await;
    merge(
        &hosts(&cluster),
        "node01",
        json!({"spec": {"externallyProvisioned": null}}),
    )
    .await
    .unwrap();
    reach(&cluster, "node01", S::Available).await;
}

#[tokio::test]
async fn power_that_fails_is_an_error_until_it_works_again() {
    let cluster = cluster_with(&["node01"]).await;
    claimed(&cluster).await;
    let fault = cluster.inject(
        Fault::new(FaultKind::PowerFails {
            error_message: "no answer".to_owned(),
        })
        .host(NS, "node01"),
    );
    let host = until(&cluster, "node01", |host| {
        host["status"]["errorType"] == "power management error"
    })
    .await;
    assert_eq!(host["status"]["provisioning"]["state"], "provisioned");
    cluster.clear_fault(fault);
    until(&cluster, "node01", |host| {
        host["status"]["operationalStatus"] == "OK"
    })
    .await;
}

#[tokio::test]
async fn an_image_removed_by_hand_ends_the_installation() {
    let cluster = cluster_with(&["node01"]).await;
    claimed(&cluster).await;
    cluster
        .edit_as_someone_else(NS, "node01", &json!({"spec": {"image": null}}))
        .unwrap();
    let host = until(&cluster, "node01", |host| {
        HostState::of(host) == Some(S::Available) && host["status"]["poweredOn"] == true
    });
    assert_eq!(host.await["spec"]["online"], true);
}

#[tokio::test]
async fn a_deleted_host_is_deprovisioned_and_powered_off_first() {
    let cluster = cluster_with(&["node01"]).await;
    claimed(&cluster).await;
    let waiting = hosts(&cluster)
        .delete("node01", &DeleteParams::default())
        .await
        .unwrap();
    assert!(
        waiting
            .left()
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    let limit = tokio::time::Instant::now() + crate::PATIENCE;
    while cluster.host(NS, "node01").is_some() && tokio::time::Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(refusal(hosts(&cluster).get("node01").await).code, 404);
    assert_eq!(
        cluster.state_path(NS, "node01")[2..],
        [
            S::Provisioned,
            S::Deprovisioning,
            S::PoweringOffBeforeDelete,
            S::Deleting,
        ]
    );
}

#[tokio::test]
async fn a_held_host_stands_still_and_then_goes_on() {
    let cluster = cluster_with(&["node01", "node02"]).await;
    cluster.hold(NS, "node01");
    let online = json!({"spec": {"online": true, "image": image(A)}});
    merge(&hosts(&cluster), "node01", online.clone())
        .await
        .unwrap();
    merge(&hosts(&cluster), "node02", online).await.unwrap();
    reach(&cluster, "node02", S::Provisioned).await;
    assert_eq!(cluster.state_path(NS, "node01"), [S::Available]);
    cluster.let_go(NS, "node01");
    reach(&cluster, "node01", S::Provisioned).await;
}
