//! Images that users choose.

use bellhop_domain::reservation::{Fact, FailureReason};
use bellhop_provisioner::ProvisionerSettings;
use serde_json::{Value, json};

use crate::installation::is_about;
use crate::world::{IMAGE, NS, World, end, start};

/// A start whose booking has these custom parameters.
fn start_with(event: &str, host: &str, custom_parameters: &str) -> Value {
    let mut body = start(event, host);
    body["customParameters"] = custom_parameters.into();
    body
}

/// Settings with a catalogue of one image, in a folder that must stay.
fn choosing(world: &World, folder: &tempfile::TempDir, image: &str) -> ProvisionerSettings {
    let path = folder.path().join("images.yaml");
    let catalogue = format!(
        "noble:\n  url: http://images.invalid/{image}\n  checksum: abc\n  checksumType: md5\n  format: qcow2\n"
    );
    std::fs::write(&path, catalogue).unwrap();
    ProvisionerSettings {
        image_catalogue_file: Some(path),
        ..world.settings()
    }
}

#[tokio::test]
async fn a_host_gets_the_image_that_its_user_chose_and_the_usual_one_where_none_was_chosen() {
    let world = World::with_host("node01").await;
    let folder = tempfile::tempdir().unwrap();
    let _provisioner = world.provisioner_with(choosing(&world, &folder, "noble.img"));
    world
        .says(start_with(
            "1",
            "node01",
            r#"{"image": "noble", "vlan_id": 7}"#,
        ))
        .await;
    world.until("HostProvisioned").await;
    let host = world.cluster.host(NS, "node01").unwrap();
    assert_eq!(
        host["spec"]["image"],
        json!({
            "url": "http://images.invalid/noble.img", "checksum": "abc", "checksumType": "md5", "format": "qcow2",
        })
    );
    world.says(end("1", "node01")).await;
    world.until("HostReleased").await;
    world
        .says(start_with("2", "node01", r#"{"vlan_id": 7}"#))
        .await;
    world.until_of("2", "HostProvisioned").await;
    let host = world.cluster.host(NS, "node01").unwrap();
    assert_eq!(host["spec"]["image"]["url"], IMAGE);
}

#[tokio::test]
async fn an_image_that_is_not_offered_fails_the_reservation_and_no_host_is_touched() {
    let world = World::with_host("node01").await;
    let folder = tempfile::tempdir().unwrap();
    let _provisioner = world.provisioner_with(choosing(&world, &folder, "noble.img"));
    let elsewhere = r#"{"image": "http://elsewhere.invalid/mine.img"}"#;
    world.says(start_with("1", "node01", elsewhere)).await;
    let failed = world.until("ReservationFailed").await;
    assert!(
        matches!(&failed, Fact::ReservationFailed { reason: FailureReason::ImageNotOffered { text }, .. }
            if text.contains("offered: noble")),
        "{failed:?}"
    );
    // Its end changes nothing, and neither does its start under another name of an image.
    world.says(end("1", "node01")).await;
    world
        .says(start_with("1", "node01", r#"{"image": "noble"}"#))
        .await;
    // The next one is served: whatever was to come of the first had come by then.
    world.says(start("2", "node01")).await;
    world.until("HostProvisioned").await;
    assert_eq!(world.claims("node01"), ["reservation-system:2"]);
    let of_the_first: Vec<&str> = world
        .facts()
        .await
        .iter()
        .filter(|fact| is_about(fact, "1"))
        .map(Fact::name)
        .collect();
    // Each of its three words is recorded, and nothing follows from the last two.
    let expected = [
        "ReservationAnnounced",
        "WordHeard",
        "ReservationFailed",
        "WordHeard",
        "WordHeard",
    ];
    assert_eq!(of_the_first, expected);
}

#[tokio::test]
async fn another_catalogue_changes_nothing_for_a_start_that_was_accepted() {
    let world = World::with_host("node01").await;
    let folder = tempfile::tempdir().unwrap();
    let provisioner = world.provisioner_with(choosing(&world, &folder, "first.img"));
    world.says(start("A", "node01")).await;
    world.until("HostProvisioned").await;
    // B waits for A's host, with the image that its name stands for now.
    world
        .says(start_with("B", "node01", r#"{"image": "noble"}"#))
        .await;
    world.until("ReservationWaits").await;
    provisioner.stop().await;
    let _provisioner = world.provisioner_with(choosing(&world, &folder, "second.img"));
    world.says(end("A", "node01")).await;
    world.until_of("B", "HostProvisioned").await;
    let host = world.cluster.host(NS, "node01").unwrap();
    assert_eq!(
        host["spec"]["image"]["url"],
        "http://images.invalid/first.img"
    );
}

#[tokio::test]
async fn without_a_catalogue_the_custom_parameters_are_not_read() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    world
        .says(start_with("1", "node01", r#"{"image": "jammy"}"#))
        .await;
    world.until("HostProvisioned").await;
    let host = world.cluster.host(NS, "node01").unwrap();
    assert_eq!(host["spec"]["image"]["url"], IMAGE);
}
