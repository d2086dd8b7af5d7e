//! Images by choice, and how many hosts are prepared at once.
#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_end_to_end::site::{
    self, INES, MARA, NAMESPACE, TOMAS, is_clean, is_provisioned, node, text,
};
use bellhop_end_to_end::{A_WHILE, System, SystemSettings};
use bellhop_simulator::cluster::HostState;
use bellhop_simulator::reservation_system::{Booking, NewBooking};
use jiff::{Timestamp, ToSpan as _};

const NOBLE: &str = "http://images.example/noble-of-the-lab.img";

/// A booking of a server with these custom parameters, whose start is sent.
async fn started_with(system: &System, server: i64, custom_parameters: &str) -> Booking {
    let now = Timestamp::now();
    let booking = NewBooking::new(MARA.id(), node(server), now, now + 2.hours())
        .custom_parameters(custom_parameters);
    let booking = system.reservations.book(booking).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    booking
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_gets_the_image_of_the_catalogue_that_was_named_and_never_a_url_of_the_payload() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = folder.path().join("images.json");
    let images = serde_json::json!({
        "noble": {"url": NOBLE, "checksum": "abc", "checksumType": "md5", "format": "qcow2"},
    });
    std::fs::write(&catalogue, images.to_string()).unwrap();
    let system = System::start(SystemSettings {
        servers: 3,
        hosts: 3,
        variables: vec![
            ("IMAGE_CATALOGUE_FILE", catalogue.display().to_string()),
            ("IMAGE_PARAMETER", "os".to_owned()),
        ],
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();

    let chosen = started_with(&system, 1, r#"{"os": "noble", "vlan_id": 7}"#).await;
    let told = system
        .wait_for_told(&chosen, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    assert!(
        told.message.contains("Its image is noble"),
        "{}",
        told.message
    );
    let host = system.host(1);
    assert_eq!(
        host["spec"]["image"],
        serde_json::json!({"url": NOBLE, "checksum": "abc", "checksumType": "md5", "format": "qcow2"})
    );

    // Keys that are not the one for images are ignored, whatever they hold.
    let usual = started_with(&system, 2, r#"{"image": "http://elsewhere.invalid/x.img"}"#).await;
    system
        .wait_for_told(&usual, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    assert_eq!(text(&system.host(2), "/spec/image/url"), site::IMAGE);

    for wrong in [
        r#"{"os": "jammy"}"#,
        r#"{"os": "http://elsewhere.invalid/x.img"}"#,
    ] {
        let failed = started_with(&system, 3, wrong).await;
        let told = system
            .wait_for_told(&failed, "PROVISIONING_FAILED")
            .await
            .unwrap();
        assert_eq!(told.kind, "ERROR");
        for said in ["noble", "Choose one that is offered"] {
            assert!(told.message.contains(said), "{}", told.message);
        }
        let log = system.wait_for_log(&failed, |log| !log.success).await;
        assert_eq!(log.unwrap().event_type, "EVENT_START");
    }
    assert!(
        system
            .cluster
            .writes_to_host(NAMESPACE, &node(3))
            .is_empty()
    );
    let writes = system.cluster.writes();
    assert!(
        writes
            .iter()
            .all(|write| !write.body.to_string().contains("elsewhere"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_hosts_are_prepared_at_once_than_may_be_and_the_earliest_start_goes_first() {
    let system = System::start(SystemSettings {
        servers: 3,
        hosts: 3,
        variables: vec![("PREPARING_MAX", "1".to_owned())],
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    for server in 1..=3 {
        let node = node(server);
        system
            .cluster
            .hold_at(NAMESPACE, &node, HostState::Provisioning);
    }
    let first = system.started(MARA, 1).await.unwrap();
    let node_1 = node(1);
    system
        .cluster
        .wait_for_state(NAMESPACE, &node_1, HostState::Provisioning)
        .await
        .unwrap();
    // The later one is told first.
    let at = |seconds: i64| first.start + seconds.seconds();
    let last = system.book_at(TOMAS, 2, at(30), at(7200)).unwrap();
    let second = system.book_at(INES, 3, at(10), at(7200)).unwrap();
    for booking in [&last, &second] {
        system.reservations.start_event(booking.id).await.unwrap();
        let told = system.wait_for_told(booking, "PROVISIONING_WAITING").await;
        let told = told.unwrap();
        assert_eq!(told.kind, "INFO");
        assert!(
            told.message.contains("waits for its turn"),
            "{}",
            told.message
        );
    }
    tokio::time::sleep(A_WHILE).await;
    assert!(is_clean(&system.host(2)) && is_clean(&system.host(3)));

    system.cluster.let_go(NAMESPACE, &node(1));
    let node_3 = node(3);
    system
        .cluster
        .wait_for_state(NAMESPACE, &node_3, HostState::Provisioning)
        .await
        .unwrap();
    assert!(is_provisioned(&system.host(1)) && is_clean(&system.host(2)));
    // One that ends while it is prepared gives its place to the next.
    system.reservations.end_event(second.id).await.unwrap();
    system.cluster.let_go(NAMESPACE, &node(3));
    system.cluster.let_go(NAMESPACE, &node(2));
    system
        .wait_for_told(&last, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    system.wait_for_host(3, is_clean).await.unwrap();
    let told: Vec<_> = system.told(&second).into_iter().map(|(_, of)| of).collect();
    assert_eq!(told, ["PROVISIONING_WAITING", "RESERVATION_CANCELLED"]);
}
