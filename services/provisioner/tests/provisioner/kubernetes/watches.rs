//! Watches that the API server ends. What happens while there is none is found by the next one alone: nothing sweeps here.

use bellhop_domain::reservation::Fact;
use bellhop_simulator::cluster::HostState;
use serde_json::json;

use super::between::{Between, Watches};
use super::stage::Stage;
use crate::installation::{Running, start};

/// A provisioner behind a go-between, with one host that is being prepared and one that is ready.
async fn preparing_and_ready() -> (Stage, Between, Running) {
    let stage = Stage::with_host("node01").await;
    stage.add_host("node02", json!({})).await;
    stage.place.hold_at("node01", HostState::Provisioning);
    let between = stage.go_between().await;
    let provisioner = stage.provisioner_over(&between);
    stage.says(start("1", "node01")).await;
    stage.says(start("2", "node02")).await;
    stage.until_of("1", "ProvisioningResumed").await;
    stage.until_of("2", "HostProvisioned").await;
    (stage, between, provisioner)
}

/// The one becomes ready, and the other is deleted.
async fn much_happens(stage: &Stage) {
    stage.place.let_go("node01");
    stage
        .until_host("node01", |host| {
            host["status"]["provisioning"]["state"] == "provisioned"
        })
        .await;
    let path = stage.place.host_path("node02");
    stage.administrator.delete(&path, json!({})).await.unwrap();
    stage.until_gone("node02").await;
    stage.quiet().await;
    let names = stage.fact_names().await;
    let ready = names.iter().filter(|name| **name == "HostProvisioned");
    assert_eq!(ready.count(), 1, "{names:?}");
}

/// All that happened is known.
async fn nothing_was_missed(stage: &Stage, provisioner: &Running) {
    stage.until_of("1", "HostProvisioned").await;
    let Fact::ReadyHostTroubled { trouble, .. } = stage.until_of("2", "ReadyHostTroubled").await
    else {
        panic!()
    };
    assert!(trouble.contains("does not exist any more"), "{trouble}");
    provisioner.until_shown("[+]kubernetes ok").await;
}

#[tokio::test]
async fn a_watch_that_the_server_closes_goes_on_where_it_was_without_a_list() {
    let (stage, between, provisioner) = preparing_and_ready().await;
    between.hold().await;
    let before = between.counts();
    much_happens(&stage).await;
    between.set(Watches::Short);
    nothing_was_missed(&stage, &provisioner).await;
    between.until_watches(before, 3).await;
    assert_eq!(between.counts().lists, before.lists);
}

#[tokio::test]
async fn a_watch_from_a_version_that_the_server_has_forgotten_becomes_one_list_and_misses_nothing()
{
    let (stage, between, provisioner) = preparing_and_ready().await;
    between.hold().await;
    let before = between.counts();
    much_happens(&stage).await;
    between.set(Watches::Forgotten(stage.place.forgotten_version(), 3));
    nothing_was_missed(&stage, &provisioner).await;
    // Three were answered 410, and the fourth is a good one.
    between.until_watches(before, 4).await;
    assert_eq!(between.counts().lists, before.lists + 3);
}

#[tokio::test]
async fn watches_that_are_closed_at_once_are_not_asked_for_in_a_rush() {
    let (stage, between, _provisioner) = preparing_and_ready().await;
    let (before, begun) = (between.counts(), tokio::time::Instant::now());
    between.set(Watches::Closed);
    between.until_watches(before, 1).await;
    stage.quiet().await;
    let (after, seconds) = (between.counts(), begun.elapsed().as_secs());
    assert!(u64::from(after.watches - before.watches) <= seconds + 2);
    assert_eq!(after.lists, before.lists);
}
