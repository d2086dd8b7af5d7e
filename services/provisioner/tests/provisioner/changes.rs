//! Bookings that are changed after their start.

use std::time::Duration;

use bellhop_domain::reservation::{EndCause, Fact, FailureReason, Scope, WaitReason};
use bellhop_operators::OperatorOrder;
use bellhop_provisioner::NoSshKey;
use bellhop_simulator::cluster::{Fault, FaultKind, HostSpec, Verb};

use crate::installation::nested;
use crate::world::{KEY, NS, World, end, in_seconds, is_clean, start};

#[tokio::test]
async fn a_booking_that_is_moved_gets_the_other_host_with_its_own_key_and_gives_the_first_back() {
    let world = World::with_hosts([HostSpec::new(NS, "node01"), HostSpec::new(NS, "node02")]).await;
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    world
        .says(nested(
            "EVENT_UPDATED",
            1,
            "node02",
            in_seconds(60),
            in_seconds(3600),
        ))
        .await;
    world
        .until_host("node02", |host| {
            host["status"]["provisioning"]["state"] == "provisioned"
        })
        .await;
    world.until_host("node01", is_clean).await;
    let reads = world.cluster.user_data_reads();
    assert!(
        reads
            .iter()
            .any(|read| read.host == "node02" && read.user_data.contains(KEY))
    );
    // The event processor names the new resource; an end that names the old one would do as well.
    world.says(end("1", "node02")).await;
    world
        .until_fact(|fact| matches!(fact, Fact::ReservationEnded(_)))
        .await;
    world.until_host("node02", is_clean).await;
    while world
        .fact_names()
        .await
        .iter()
        .filter(|name| **name == "HostReleased")
        .count()
        < 2
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(world.cluster.secrets(NS).is_empty());
    let names = world.fact_names().await;
    assert_eq!(
        names
            .iter()
            .filter(|name| **name == "ReservationEnded")
            .count(),
        1
    );
    assert_eq!(
        names.iter().filter(|name| **name == "HostReleased").count(),
        2
    );
}

#[tokio::test]
async fn a_booking_that_is_moved_to_a_type_that_is_not_served_gives_its_host_to_the_next() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    let mut moved = nested(
        "EVENT_UPDATED",
        1,
        "cloud-7",
        in_seconds(60),
        in_seconds(3600),
    );
    moved["data"]["resource"]["type"] = serde_json::json!({"id": 9, "name": "Virtual machine"});
    world.says(moved).await;
    let ended = world
        .until_fact(|fact| matches!(fact, Fact::ReservationEnded(_)))
        .await;
    assert!(
        matches!(&ended, Fact::ReservationEnded(ended) if ended.cause == EndCause::MovedAway),
        "{ended:?}"
    );
    world.until_host("node01", is_clean).await;
    world.says(start("2", "node01")).await;
    world
        .until_host("node01", |host| {
            host["status"]["provisioning"]["state"] == "provisioned"
        })
        .await;
}

#[tokio::test]
async fn a_move_that_was_cut_in_the_middle_is_finished_and_never_leaves_two_hosts() {
    let world = World::with_hosts([HostSpec::new(NS, "node01"), HostSpec::new(NS, "node02")]).await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    provisioner.stop().await;
    world
        .says(nested(
            "EVENT_UPDATED",
            1,
            "node02",
            in_seconds(60),
            in_seconds(3600),
        ))
        .await;
    for run in 0..12_u64 {
        let provisioner = world.provisioner();
        tokio::time::sleep(Duration::from_millis(30 + 15 * run)).await;
        provisioner.abort().await;
    }
    let _provisioner = world.provisioner();
    world
        .until_host("node02", |host| {
            host["status"]["provisioning"]["state"] == "provisioned"
        })
        .await;
    world.until_host("node01", is_clean).await;
    assert_eq!(
        world.claims("node01").len() + world.claims("node02").len(),
        2
    );
}

#[tokio::test]
async fn a_start_that_is_moved_to_later_gives_the_host_back_and_gets_one_again_when_its_time_comes()
{
    let world = World::with_host("node01").await;
    let mut settings = world.settings();
    settings.start_lead = Duration::from_secs(1);
    let _provisioner = world.provisioner_with(settings);
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    // Later than the start that was told, by the lead and a little more.
    world
        .says(nested(
            "EVENT_UPDATED",
            1,
            "node01",
            in_seconds(64),
            in_seconds(3600),
        ))
        .await;
    world.until("ReservationPostponed").await;
    world.until_host("node01", is_clean).await;
    // Brought forward again: nobody sends a second start.
    tokio::time::sleep(Duration::from_millis(20)).await;
    world
        .says(nested(
            "EVENT_UPDATED",
            1,
            "node01",
            in_seconds(2),
            in_seconds(3600),
        ))
        .await;
    world
        .until_fact(|fact| matches!(fact, Fact::ReservationResumed { .. }))
        .await;
    world
        .until_host("node01", |host| {
            host["status"]["provisioning"]["state"] == "provisioned"
        })
        .await;
    // What a provisioner that slept makes for the first assignment is never read for the second.
    let secrets: Vec<_> = (world.facts().await.into_iter())
        .filter_map(|fact| match fact {
            Fact::HostAssigned { secret, .. } => Some(secret),
            _ => None,
        })
        .collect();
    assert_eq!(secrets.len(), 2);
    assert_ne!(secrets[0], secrets[1]);
}

#[tokio::test]
async fn a_host_that_may_be_prepared_without_a_key_does_not_get_the_one_of_its_booking_s_former_owner()
 {
    let world = World::with_host("node01").await;
    let mut settings = world.settings();
    settings.no_ssh_key = NoSshKey::Provision;
    let _provisioner = world.provisioner_with(settings);
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    world.says(start("2", "node01")).await;
    world.until("ReservationWaits").await;
    let mut given = nested(
        "EVENT_UPDATED",
        2,
        "node01",
        in_seconds(60),
        in_seconds(3600),
    );
    given["data"]["resource"]["id"] = 31.into();
    given["data"]["keycloakId"] = "another-user".into();
    world.says(given).await;
    world.until("OwnerChanged").await;
    let reads = world.cluster.user_data_reads().len();
    world.says(end("1", "node01")).await;
    world
        .until_fact(|fact| {
            fact.name() == "HostProvisioned"
                && fact.reservation().is_some_and(|about| about.event() == "2")
        })
        .await;
    let user_data = world.cluster.user_data_reads().split_off(reads);
    assert!(!user_data.is_empty());
    assert!(!user_data.iter().any(|read| read.user_data.contains(KEY)));
}

#[tokio::test]
async fn a_host_that_was_given_but_not_claimed_when_its_booking_got_another_owner_is_not_claimed_with_the_first_one_s_key()
 {
    let world = World::with_host("node01").await;
    let fault = Fault::new(FaultKind::InternalError).on(Verb::Patch);
    let fault = world.cluster.inject(fault);
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostAssigned").await;
    let mut given = nested(
        "EVENT_UPDATED",
        1,
        "node01",
        in_seconds(60),
        in_seconds(3600),
    );
    given["data"]["resource"]["id"] = 31.into();
    given["data"]["keycloakId"] = "another-user".into();
    world.says(given).await;
    world.until("OwnerChanged").await;
    // Decided without a write of the host; its release needs one.
    let failed = world.until("ReservationFailed").await;
    world.cluster.clear_fault(fault);
    assert!(
        matches!(&failed, Fact::ReservationFailed { reason: FailureReason::CannotClaim { text }, .. } if text.contains("another owner")),
        "{failed:?}"
    );
    world.until("HostReleased").await;
    assert_eq!(world.claims("node01"), [""; 0]);
    assert!(world.cluster.secrets(NS).is_empty());
}

#[tokio::test]
async fn a_secret_that_was_made_before_its_booking_got_another_owner_prepares_no_host_though_none_needs_a_key()
 {
    let world = World::with_host("node01").await;
    let fault = Fault::new(FaultKind::InternalError).on(Verb::Patch);
    let fault = world.cluster.inject(fault);
    let mut settings = world.settings();
    settings.no_ssh_key = NoSshKey::Provision;
    let _provisioner = world.provisioner_with(settings);
    world.says(start("1", "node01")).await;
    world.until("HostAssigned").await;
    while world.cluster.secrets(NS).is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut given = nested(
        "EVENT_UPDATED",
        1,
        "node01",
        in_seconds(60),
        in_seconds(3600),
    );
    given["data"]["resource"]["id"] = 31.into();
    given["data"]["keycloakId"] = "another-user".into();
    world.says(given).await;
    world.until("OwnerChanged").await;
    world.cluster.clear_fault(fault);
    world.until("HostProvisioned").await;
    let reads = world.cluster.user_data_reads();
    assert!(!reads.is_empty());
    assert!(!reads.iter().any(|read| read.user_data.contains(KEY)));
    world.says(end("1", "node01")).await;
    world.until("HostReleased").await;
    assert!(world.cluster.secrets(NS).is_empty());
}

#[tokio::test]
async fn who_has_a_host_that_an_operator_paused_before_it_was_claimed_is_told() {
    let world = World::with_host("node01").await;
    let fault = Fault::new(FaultKind::InternalError).on(Verb::Patch);
    let fault = world.cluster.inject(fault);
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostAssigned").await;
    let resource = Scope::Everything.resource();
    let pause = OperatorOrder::Pause {
        resource: resource.clone(),
    };
    world.order(pause).await;
    let waits = world.until("ReservationWaits").await;
    assert!(
        matches!(
            waits,
            Fact::ReservationWaits {
                reason: WaitReason::Paused { .. },
                ..
            }
        ),
        "{waits:?}"
    );
    world.cluster.clear_fault(fault);
    let resume = OperatorOrder::Resume { resource };
    world.order(resume).await;
    world.until("HostProvisioned").await;
}
