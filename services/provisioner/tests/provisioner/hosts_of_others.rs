//! Hosts that are not ours, and what others do to those that are.

use std::time::Duration;

use bellhop_domain::reservation::{Fact, FailureReason, WaitReason};
use bellhop_simulator::cluster::{
    ClusterSettings, Fault, FaultKind, HostSpec, HostState, Pauses, Resource, Verb,
};
use serde_json::{Value, json};

use crate::world::{IMAGE, NS, Running, World, end, is_clean, start};

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
async fn a_ready_host_that_its_user_switched_off_is_left_off_without_a_word() {
    let world = World::with_host("node01").await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    let (writes, facts) = (world.cluster.writes().len(), world.fact_names().await);
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &json!({"spec": {"online": false}}))
        .unwrap();
    world
        .until_host("node01", |host| host["status"]["poweredOn"] == false)
        .await;
    world.quiet().await;
    assert_eq!(world.cluster.writes().len(), writes);
    assert_eq!(world.fact_names().await, facts);
    assert!(!provisioner.readyz().await.contains("[!]alarm"));
    world.says(end("1", "node01")).await;
    world.until("HostReleased").await;
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
async fn a_name_that_holds_line_ends_forges_no_line_of_readyz() {
    let name = "evil\u{1b}[31m\n[!]alarm FAKE";
    let host = HostSpec::new(NS, "node01")
        .annotation("bellhop.dev/resource", name)
        .annotation("baremetalhost.metal3.io/paused", "");
    let world = World::with_hosts([host]).await;
    let provisioner = world.provisioner();
    world.says(start("1", name)).await;
    world.until("ReservationWaits").await;
    provisioner.until_shown("alarm host_not_clean").await;
    provisioner.until_shown("shown waiting").await;
    let readyz = provisioner.readyz().await;
    assert!(!readyz.contains('\u{1b}'), "{readyz}");
    assert!(!readyz.contains("\n[!]alarm FAKE"), "{readyz}");
    assert!(
        readyz.contains(r"evil\u{1b}[31m\n[!]alarm FAKE"),
        "{readyz}"
    );
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
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &fence)
        .unwrap();
    let writes = world.cluster.writes().len();
    world.says(end("1", "node01")).await;
    world.until("ReservationEnded").await;
    provisioner
        .until_shown("a newer decision has written it")
        .await;
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

/// Two hosts, and a provisioner whose watch has told of them and tells nothing more.
async fn behind_a_watch_that_hangs() -> (World, Running) {
    let hosts = ["blade", "node01"].map(|name| HostSpec::new(NS, name));
    let world = World::with_hosts(hosts).await;
    world
        .cluster
        .inject(Fault::new(FaultKind::Hang).on(Verb::Watch));
    let provisioner = world.provisioner();
    provisioner.until_shown("[+]kubernetes ok").await;
    (world, provisioner)
}

fn marked() -> Value {
    json!({"metadata": {"annotations": {"bellhop.dev/resource": "node01"}}})
}

#[tokio::test]
async fn a_host_that_was_marked_while_the_watch_is_behind_is_the_one_that_is_given() {
    let (world, _provisioner) = behind_a_watch_that_hangs().await;
    let marked = world.cluster.edit_as_someone_else(NS, "blade", &marked());
    marked.unwrap();
    world.says(start("1", "node01")).await;
    let Fact::HostAssigned { host, .. } = world.until("HostAssigned").await else {
        panic!()
    };
    assert_eq!(host.name, "blade");
    world.until("HostProvisioned").await;
    assert!(world.cluster.writes_to_host(NS, "node01").is_empty());
}

#[tokio::test]
async fn two_hosts_that_are_marked_for_one_resource_are_noticed_though_the_watch_is_behind() {
    let (world, _provisioner) = behind_a_watch_that_hangs().await;
    for name in ["blade", "node01"] {
        let marked = world.cluster.edit_as_someone_else(NS, name, &marked());
        marked.unwrap();
    }
    world.says(start("1", "node01")).await;
    let failed = world.until("ReservationFailed").await;
    assert!(
        matches!(&failed, Fact::ReservationFailed { reason: FailureReason::HostUnknown { text }, .. } if text.contains("more than one")),
        "{failed:?}"
    );
    assert!(world.cluster.writes().is_empty());
}

#[tokio::test]
async fn the_alarm_of_a_change_by_others_ends_when_the_host_is_as_it_was_set_again() {
    let world = World::with_host("node01").await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    let image = world.cluster.host(NS, "node01").unwrap()["spec"]["image"].clone();
    let edit = |image: Value| {
        let spec = json!({"spec": {"image": image}});
        world.cluster.edit_as_someone_else(NS, "node01", &spec)
    };
    edit(Value::Null).unwrap();
    world.until("HostChangedByOthers").await;
    provisioner
        .until_shown("alarm host_changed_by_others")
        .await;
    edit(image).unwrap();
    world.until("HostRestored").await;
    while provisioner
        .readyz()
        .await
        .contains("host_changed_by_others")
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.claims("node01").len(), 1);
}

#[tokio::test]
async fn a_host_that_may_be_cleaned_only_after_its_image_was_taken_off_is_released_not_wiped() {
    let cleaning = |mode: &str| json!({"automatedCleaningMode": mode});
    let settings = ClusterSettings {
        hosts: vec![HostSpec::new(NS, "node01").spec(cleaning("disabled"))],
        pauses: Pauses::default().with(HostState::Deprovisioning, Duration::from_secs(2)),
        ..ClusterSettings::default()
    };
    let world = World::in_cluster(settings).await;
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    world.says(end("1", "node01")).await;
    world
        .until_host("node01", |host| {
            host["status"]["provisioning"]["state"] == "deprovisioning"
        })
        .await;
    let metadata = json!({"spec": cleaning("metadata")});
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &metadata)
        .unwrap();
    let released = world.until("HostReleased").await;
    assert!(
        matches!(
            released,
            Fact::HostReleased {
                not_wiped: true,
                ..
            }
        ),
        "{released:?}"
    );
    world.says(start("2", "node01")).await;
    let waits = world.until("ReservationWaits").await;
    assert!(
        matches!(
            waits,
            Fact::ReservationWaits {
                reason: WaitReason::Operator { .. },
                ..
            }
        ),
        "{waits:?}"
    );
}
