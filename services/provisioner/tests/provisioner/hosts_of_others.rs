//! Hosts that are not ours, and what others do to those that are.

use bellhop_domain::reservation::{Fact, FailureReason, WaitReason};
use bellhop_simulator::cluster::{Fault, FaultKind, HostSpec, Resource, Verb};
use serde_json::{Value, json};

use crate::world::{IMAGE, NS, World, end, is_clean, start};

fn foreign() -> Value {
    json!({"spec": {"consumerRef": {"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1", "kind": "Metal3Machine", "name": "m1"}}})
}

#[tokio::test]
async fn a_host_that_someone_else_uses_is_waited_for_and_not_written() {
    let world = World::with_host("node01").await;
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &foreign())
        .unwrap();
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    let waits = world.until("ReservationWaits").await;
    assert!(
        matches!(waits, Fact::ReservationWaits { reason: WaitReason::Host { text }, .. } if text.contains("Metal3Machine m1"))
    );
    assert!(provisioner.readyz().await.contains("Metal3Machine m1"));
    world.quiet().await;
    assert!(world.cluster.writes().is_empty());
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &json!({"spec": {"consumerRef": null}}))
        .unwrap();
    world.until("HostProvisioned").await;
}

#[tokio::test]
async fn a_name_that_could_be_a_path_or_a_wild_card_is_only_a_name_that_no_host_has() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    for (event, name) in [
        ("1", "Gi1/0/1"),
        ("2", "../secrets/node01"),
        ("3", "node01?dryRun=All"),
        ("4", "*"),
    ] {
        world.says(start(event, name)).await;
        let failed = world
            .until_fact(|fact| {
                fact.name() == "ReservationFailed"
                    && fact
                        .reservation()
                        .is_some_and(|about| about.event() == event)
            })
            .await;
        assert!(
            matches!(&failed, Fact::ReservationFailed { reason: FailureReason::HostUnknown { text }, .. } if text.contains(name)),
            "{failed:?}"
        );
    }
    assert!(world.cluster.writes().is_empty());
}

#[tokio::test]
async fn a_paused_host_is_waited_for_release_included() {
    let paused = "baremetalhost.metal3.io/paused";
    let world = World::with_hosts([HostSpec::new(NS, "node01").annotation(paused, "")]).await;
    let _provisioner = world.provisioner();
    let pause = |value: Value| json!({"metadata": {"annotations": {paused: value}}});
    world.says(start("1", "node01")).await;
    world.until("ReservationWaits").await;
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &pause(Value::Null))
        .unwrap();
    world.until("HostProvisioned").await;
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &pause(json!("")))
        .unwrap();
    world.says(end("1", "node01")).await;
    world.until("ReservationEnded").await;
    world.quiet().await;
    assert_eq!(
        world.cluster.host(NS, "node01").unwrap()["spec"]["image"]["url"],
        IMAGE
    );
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &pause(Value::Null))
        .unwrap();
    world.until("HostReleased").await;
    world.until_host("node01", is_clean).await;
}

#[tokio::test]
async fn an_image_that_was_removed_by_hand_is_recorded_and_not_set_again() {
    let world = World::with_host("node01").await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &json!({"spec": {"image": null}}))
        .unwrap();
    world.until("HostChangedByOthers").await;
    world.quiet().await;
    assert_eq!(world.claims("node01").len(), 1);
    assert!(
        provisioner
            .readyz()
            .await
            .contains("host_changed_by_others")
    );
    world.says(end("1", "node01")).await;
    world.until("HostReleased").await;
}

#[tokio::test]
async fn a_stripped_host_is_not_claimed_again_for_the_same_reservation() {
    let world = World::with_host("node01").await;
    let fault = Fault::new(FaultKind::InternalError)
        .on(Verb::Get)
        .resource(Resource::BareMetalHosts);
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world
        .until_host("node01", |host| host["spec"]["image"]["url"] == IMAGE)
        .await;
    world.cluster.inject(fault);
    let stripped = json!({"spec": {"image": null, "userData": null, "consumerRef": null}});
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &stripped)
        .unwrap();
    provisioner.abort().await;
    world.cluster.clear_faults();
    let _provisioner = world.provisioner();
    world.until("HostChangedByOthers").await;
    world.quiet().await;
    assert_eq!(world.claims("node01").len(), 1);
}

#[tokio::test]
async fn a_host_of_another_ledger_is_left_alone_and_so_is_an_unknown_holders() {
    let other = HostSpec::new(NS, "node01")
        .annotation("bellhop.dev/fence", "another-ledger/0123456789ab/7");
    let held = HostSpec::new(NS, "node02").spec(json!({
        "image": {"url": IMAGE}, "online": true,
        "consumerRef": {"apiVersion": "bellhop.dev/v1", "kind": "Reservation", "name": "reservation-system:77"},
    }));
    let world = World::with_hosts([other, held]).await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    let waits = world.until("ReservationWaits").await;
    assert!(
        matches!(waits, Fact::ReservationWaits { reason: WaitReason::Host { text }, .. } if text.contains("another ledger"))
    );
    world.says(end("77", "node02")).await;
    world.until("ReservationEnded").await;
    // Seen in two sweeps in a row.
    let told = async {
        while !provisioner.readyz().await.contains("unknown_holder") {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), told)
        .await
        .unwrap();
    assert!(world.cluster.writes().is_empty());
}

#[tokio::test]
async fn a_host_whose_fence_is_newer_than_our_state_is_not_written() {
    let world = World::with_host("node01").await;
    let ledger = world.store.ledger_id();
    let fence = json!({"metadata": {"annotations": {"bellhop.dev/fence": format!("{ledger}/0123456789ab/1000000")}}});
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &fence)
        .unwrap();
    let writes = world.cluster.writes().len();
    world.says(end("1", "node01")).await;
    world.until("ReservationEnded").await;
    world.quiet().await;
    assert_eq!(world.cluster.writes().len(), writes);
}

#[tokio::test]
async fn a_secret_of_that_name_that_belongs_to_someone_else_is_never_used_or_deleted() {
    let world = World::with_host("node01").await;
    let fault = Fault::new(FaultKind::InternalError)
        .on(Verb::Create)
        .resource(Resource::Secrets);
    world.cluster.inject(fault);
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    let Fact::HostAssigned { secret, .. } = world.until("HostAssigned").await else {
        panic!()
    };
    world
        .cluster
        .put_secret(NS, &secret, &[("userData", "theirs")])
        .unwrap();
    world.cluster.clear_faults();
    let failed = world.until("ReservationFailed").await;
    assert!(matches!(
        failed,
        Fact::ReservationFailed {
            reason: FailureReason::CannotClaim { .. },
            ..
        }
    ));
    world.until("HostReleased").await;
    assert!(world.cluster.secret(NS, &secret).is_some());
    assert!(world.claims("node01").is_empty());
}

#[tokio::test]
async fn a_host_that_is_deleted_while_it_is_prepared_fails_its_reservation() {
    let world = World::with_host("node01").await;
    world.cluster.set_pause(
        bellhop_simulator::cluster::HostState::Provisioning,
        std::time::Duration::from_secs(30),
    );
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("ProvisioningResumed").await;
    assert!(world.cluster.remove_host(NS, "node01"));
    let failed = world.until("ReservationFailed").await;
    assert!(matches!(
        failed,
        Fact::ReservationFailed {
            reason: FailureReason::HostGone,
            ..
        }
    ));
    world.until("HostReleased").await;
    assert!(world.cluster.secrets(NS).is_empty());
}

#[tokio::test]
async fn a_host_that_was_stripped_of_all_but_our_image_is_taken_back_and_wiped() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    let stripped = json!({"spec": {"userData": null, "consumerRef": null}});
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &stripped)
        .unwrap();
    world.until("HostChangedByOthers").await;
    world.says(end("1", "node01")).await;
    world.until("HostReleased").await;
    world.until_host("node01", is_clean).await;
}

#[tokio::test]
async fn the_host_that_is_marked_for_a_resource_serves_it_though_another_has_its_name() {
    let hosts = [
        HostSpec::new(NS, "blade").annotation("bellhop.dev/resource", "node01"),
        HostSpec::new(NS, "node01"),
    ];
    let world = World::with_hosts(hosts).await;
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    assert_eq!(world.claims("blade").len(), 1);
    assert!(world.cluster.writes_to_host(NS, "node01").is_empty());
}
