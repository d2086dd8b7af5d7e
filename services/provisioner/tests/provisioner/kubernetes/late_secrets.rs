//! A provisioner that slept just before it made a secret makes it when the reservation is over and the host was given back, and
//! is killed before it finds that.

use std::time::Duration;

use bellhop_domain::reservation::Fact;
use serde_json::json;

use super::between::{Between, Kept};
use super::stage::Stage;
use crate::installation::{PATIENCE, Running, end, start};

/// Someone is about to make a secret, and is killed; somebody else works on after it and gives the host back.
async fn released_before_the_secret_was_made() -> (Stage, Between, Running) {
    let stage = Stage::with_host("node01").await;
    let between = stage.go_between().await;
    between.keep_back(Kept::Secret);
    let sleeper = stage.provisioner_over(&between);
    stage.says(start("1", "node01")).await;
    between.until_kept().await;
    sleeper.abort().await;
    stage.says(end("1", "node01")).await;
    let provisioner = stage.provisioner();
    stage.until("HostReleased").await;
    assert!(stage.secrets().await.is_empty());
    (stage, between, provisioner)
}

async fn until_no_secret_is_left(stage: &Stage) {
    let search = async {
        while !stage.secrets().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let searched = tokio::time::timeout(PATIENCE, search).await;
    assert!(searched.is_ok(), "left: {:?}", stage.secrets().await);
}

#[tokio::test]
async fn a_secret_that_was_made_too_late_by_one_that_was_killed_goes_with_a_sweep() {
    let (stage, between, _provisioner) = released_before_the_secret_was_made().await;
    assert!(between.let_through().await.was_accepted());
    until_no_secret_is_left(&stage).await;
}

#[tokio::test]
async fn a_secret_that_was_made_too_late_goes_when_a_provisioner_starts() {
    let (stage, between, provisioner) = released_before_the_secret_was_made().await;
    provisioner.stop().await;
    assert!(between.let_through().await.was_accepted());
    assert_eq!(stage.secrets().await.len(), 1);
    let _next = stage.provisioner_over(&between);
    until_no_secret_is_left(&stage).await;
}

#[tokio::test]
async fn a_secret_of_a_spent_name_that_someone_else_made_stays_and_is_not_read_in_a_rush() {
    let (stage, between, provisioner) = released_before_the_secret_was_made().await;
    provisioner.stop().await;
    let Fact::HostAssigned { secret: name, .. } = stage.until("HostAssigned").await else {
        panic!()
    };
    let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
    let path = stage.secrets_path();
    stage.administrator.create(&path, &theirs).await.unwrap();
    let next = stage.provisioner_over(&between);
    between.until_secrets_read(1).await;
    stage.quiet().await;
    assert!(stage.secret(&name).await.is_ok());
    assert_eq!(between.counts().secrets_read, 1);
    next.stop().await;
}
