//! Several sites, each with hosts in a namespace of its own.

use std::time::Duration;

use bellhop_domain::id::{DeliveryId, SiteId, Source, WebhookId};
use bellhop_domain::reservation::{Fact, FailureReason, WaitReason};
use bellhop_event_store::NewDelivery;
use bellhop_provisioner::ProvisionerSettings;
use bellhop_reservation_system::{Webhook, message_id};
use bellhop_simulator::cluster::HostSpec;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::installation::{PATIENCE, is_about};
use crate::world::{NS, Running, World, end, start};

/// The namespace of the second site's hosts.
const NS_2: &str = "metal3-2";
const BOTH: &str = "site-1,site-2=metal3-2";

/// What is said of a booking of a resource of this site.
fn of_site(site: &str, mut body: Value) -> Value {
    body["siteId"] = site.into();
    body["resourceId"] = if site == "site-1" { 31 } else { 99 }.into();
    body
}

/// A `node01` of each of two sites.
async fn two_sites() -> World {
    World::with_hosts([HostSpec::new(NS, "node01"), HostSpec::new(NS_2, "node01")]).await
}

fn announced(site: &str, event: &str) -> Value {
    let mut body = of_site(site, start(event, "node01"));
    body["eventType"] = "EVENT_CREATED".into();
    body
}

fn naming(world: &World, sites: &str) -> ProvisionerSettings {
    ProvisionerSettings {
        site_ids: Some(sites.parse().unwrap()),
        ..world.settings()
    }
}

async fn until_ready(world: &World, event: &str) {
    world.until_of(event, "HostProvisioned").await;
}

async fn until_it_waits_for_its_site(world: &World, event: &str) {
    world
        .until_fact(|fact| {
            matches!(fact, Fact::ReservationWaits { reservation, reason: WaitReason::Site } if reservation.event() == event)
        })
        .await;
}

async fn until_readyz(provisioner: &Running, wanted: impl Fn(&str) -> bool) -> String {
    let url = format!("http://127.0.0.1:{}/readyz?verbose", provisioner.port);
    let told = async {
        loop {
            // It may not listen yet.
            if let Ok(answer) = reqwest::get(&url).await {
                let told = answer.text().await.unwrap();
                if wanted(&told) {
                    return told;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, told).await {
        Ok(told) => told,
        Err(_) => panic!("{}", provisioner.readyz().await),
    }
}

/// For which reservation each host of that name was claimed, by namespace.
fn claims(world: &World, namespace: &str) -> Vec<String> {
    let writes = world
        .cluster
        .writes_to_host(namespace, "node01")
        .into_iter();
    writes
        .filter(|write| write.was_accepted() && write.body["spec"]["image"]["url"].is_string())
        .map(|write| {
            let holder = &write.body["spec"]["consumerRef"]["name"];
            holder.as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn two_servers_of_one_name_are_given_each_to_the_reservations_of_its_site() {
    let world = two_sites().await;
    // No sweep helps: what changes in either namespace is seen by its watch.
    let settings = ProvisionerSettings {
        sweep_interval: Duration::from_secs(3600),
        ..naming(&world, BOTH)
    };
    let provisioner = world.provisioner_with(settings);
    world.says(of_site("site-1", start("1", "node01"))).await;
    world.says(of_site("site-2", start("2", "node01"))).await;
    until_ready(&world, "1").await;
    until_ready(&world, "2").await;
    assert_eq!(claims(&world, NS), ["reservation-system:1"]);
    assert_eq!(claims(&world, NS_2), ["reservation-system:2"]);
    assert_eq!(world.cluster.secrets(NS).len(), 1);
    assert_eq!(world.cluster.secrets(NS_2).len(), 1);

    world.says(of_site("site-2", end("2", "node01"))).await;
    let released = world.until("HostReleased").await;
    assert!(is_about(&released, "2"));
    assert!(world.cluster.secrets(NS_2).is_empty());
    assert_eq!(world.cluster.secrets(NS).len(), 1);
    let told = provisioner.readyz().await;
    assert!(
        told.contains("[+]kubernetes ok") && !told.contains("alarm"),
        "{told}"
    );
}

#[tokio::test]
async fn a_deletion_of_another_site_s_resource_is_alarmed_too() {
    let world = two_sites().await;
    let provisioner = world.provisioner_with(naming(&world, "site-1"));
    world
        .says(json!({
            "eventType": "RESOURCE_DELETED", "timestamp": Timestamp::now(), "webhookId": "12",
            "data": {"id": 31, "name": "node01", "type": {"id": 3, "name": "Server"}, "siteId": "site-2"},
        }))
        .await;
    until_readyz(&provisioner, |told| told.contains("alarm other_site")).await;
    assert!(world.facts().await.is_empty());
}

#[tokio::test]
async fn a_delivery_of_another_site_is_kept_and_alarmed_and_not_acted_on() {
    let world = two_sites().await;
    let provisioner = world.provisioner_with(naming(&world, "site-1"));
    let kept = world.says(of_site("site-2", start("2", "node01"))).await;
    let told = until_readyz(&provisioner, |told| told.contains("alarm other_site")).await;
    assert!(told.contains("site-2"), "{told}");
    // Whatever was to come of it has come by the time that the next one is served.
    world.says(of_site("site-1", start("1", "node01"))).await;
    until_ready(&world, "1").await;
    let facts = world.facts().await;
    assert!(facts.iter().all(|fact| is_about(fact, "1")));
    assert_eq!(claims(&world, NS), ["reservation-system:1"]);
    assert_eq!(claims(&world, NS_2), [""; 0]);
    let delivery = world.store.delivery(kept).await.unwrap();
    assert!(delivery.is_some());
}

#[tokio::test]
async fn from_the_first_delivery_of_a_second_site_new_starts_wait_and_go_on_once_sites_are_named() {
    let world = World::with_hosts([
        HostSpec::new(NS, "node01"),
        HostSpec::new(NS, "node02"),
        HostSpec::new(NS_2, "node01"),
    ])
    .await;
    let provisioner = world.provisioner();
    world.says(of_site("site-1", start("1", "node02"))).await;
    until_ready(&world, "1").await;
    world.says(of_site("site-2", start("B", "node01"))).await;
    world.says(of_site("site-1", start("A", "node01"))).await;
    until_it_waits_for_its_site(&world, "A").await;
    until_it_waits_for_its_site(&world, "B").await;
    until_readyz(&provisioner, |told| told.contains("alarm sites_unsettled")).await;
    provisioner.stop().await;
    // A provisioner that starts anew knows of both sites from the ledger.
    let provisioner = world.provisioner();
    until_readyz(&provisioner, |told| told.contains("alarm sites_unsettled")).await;
    // Who has a server keeps it, and gives it back at its end.
    world.says(of_site("site-1", end("1", "node02"))).await;
    world.until("HostReleased").await;
    assert_eq!(claims(&world, NS), [""; 0]);
    assert_eq!(claims(&world, NS_2), [""; 0]);
    provisioner.stop().await;

    let provisioner = world.provisioner_with(naming(&world, BOTH));
    until_ready(&world, "A").await;
    until_ready(&world, "B").await;
    assert_eq!(claims(&world, NS), ["reservation-system:A"]);
    assert_eq!(claims(&world, NS_2), ["reservation-system:B"]);
    let told = provisioner.readyz().await;
    assert!(!told.contains("alarm"), "{told}");
    // Its end names the server as its start did, and is decided where the reservation went.
    world.says(of_site("site-2", end("B", "node01"))).await;
    world.until_of("B", "HostReleased").await;
}

#[tokio::test]
async fn whatever_a_second_site_sends_makes_new_starts_wait() {
    let event_of_a_resource = json!({
        "eventType": "RESOURCE_UPDATED", "timestamp": Timestamp::now(), "webhookId": "12",
        "data": {"id": 99, "name": "node07", "type": {"id": 3, "name": "Server"}, "siteId": "site-2"},
    });
    let mut of_another_type = of_site("site-2", start("B", "Gi1/0/1"));
    of_another_type["resourceType"] = "Switch Port".into();
    for word in [event_of_a_resource, of_another_type] {
        let world = World::with_host("node01").await;
        let provisioner = world.provisioner();
        world.says(announced("site-1", "A")).await;
        world.until("ReservationAnnounced").await;
        let body = Bytes::from(word.to_string());
        let webhook = Webhook::parse(&body);
        let delivery = NewDelivery {
            id: DeliveryId::new(message_id("reservation-system", &webhook, &body)),
            source: Source::new("reservation-system"),
            // As an ingress reads it.
            site: Some(SiteId::new("site-2")),
            kind: None,
            name: None,
            event_type: None,
            webhook: Some(WebhookId::new("12")),
            received_at: Timestamp::now(),
            traceparent: None,
            headers: Vec::new(),
            body,
        };
        world.installation.deliver(delivery).await;
        world.until("SiteSeen").await;
        until_readyz(&provisioner, |told| told.contains("alarm sites_unsettled")).await;
        world.says(of_site("site-1", start("A", "node01"))).await;
        until_it_waits_for_its_site(&world, "A").await;
        assert_eq!(claims(&world, NS), [""; 0]);
        provisioner.stop().await;
    }
}

#[tokio::test]
async fn during_a_rolling_update_the_provisioner_that_knows_the_sites_settles_what_the_other_leaves()
 {
    let world = two_sites().await;
    let _before = world.provisioner();
    world.says(announced("site-1", "A")).await;
    world.until("ReservationAnnounced").await;
    world.says(of_site("site-2", start("B", "node01"))).await;
    until_it_waits_for_its_site(&world, "B").await;
    world.says(of_site("site-1", start("A", "node01"))).await;
    until_it_waits_for_its_site(&world, "A").await;
    let _after = world.provisioner_with(naming(&world, BOTH));
    until_ready(&world, "A").await;
    until_ready(&world, "B").await;
    world.says(of_site("site-1", end("A", "node01"))).await;
    world.says(of_site("site-2", end("B", "node01"))).await;
    // Whichever of the two has the deliveries in its hands.
    for event in ["C", "D", "E"] {
        world.says(of_site("site-1", start(event, "node01"))).await;
        until_ready(&world, event).await;
        world.says(of_site("site-1", end(event, "node01"))).await;
        let of_2 = format!("{event}2");
        world.says(of_site("site-2", start(&of_2, "node01"))).await;
        until_ready(&world, &of_2).await;
        world.says(of_site("site-2", end(&of_2, "node01"))).await;
    }
    let in_the_first = ["A", "C", "D", "E"].map(|event| format!("reservation-system:{event}"));
    assert_eq!(claims(&world, NS), in_the_first);
    let in_the_second = ["B", "C2", "D2", "E2"].map(|event| format!("reservation-system:{event}"));
    assert_eq!(claims(&world, NS_2), in_the_second);
}

#[tokio::test]
async fn of_two_sites_that_come_at_once_only_the_one_that_the_ledger_heard_of_first_is_served() {
    let world = two_sites().await;
    let (_one, _other) = (world.provisioner(), world.provisioner());
    tokio::join!(
        world.says(of_site("site-1", start("1", "node01"))),
        world.says(of_site("site-2", start("2", "node01"))),
    );
    let first = world
        .until_fact(|fact| matches!(fact, Fact::ReservationStarted(_)))
        .await;
    let (first, second) = if is_about(&first, "1") {
        ("1", "2")
    } else {
        ("2", "1")
    };
    until_ready(&world, first).await;
    until_it_waits_for_its_site(&world, second).await;
    assert_eq!(claims(&world, NS), [format!("reservation-system:{first}")]);
}

#[tokio::test]
async fn a_reservation_that_waited_for_its_site_fails_where_that_is_not_served() {
    let world = two_sites().await;
    let provisioner = world.provisioner();
    world.says(of_site("site-1", start("1", "node01"))).await;
    until_ready(&world, "1").await;
    world.says(of_site("site-2", start("B", "node01"))).await;
    until_it_waits_for_its_site(&world, "B").await;
    provisioner.stop().await;
    let _provisioner = world.provisioner_with(naming(&world, "site-1"));
    let failed = world.until("ReservationFailed").await;
    assert!(
        matches!(&failed, Fact::ReservationFailed { reservation, reason: FailureReason::NotServed { text } }
            if reservation.event() == "B" && text.contains("site-2")),
        "{failed:?}"
    );
    assert_eq!(claims(&world, NS), ["reservation-system:1"]);
}

#[tokio::test]
async fn a_booking_that_was_announced_before_sites_were_named_starts_where_its_site_is() {
    let world = two_sites().await;
    let provisioner = world.provisioner();
    world.says(announced("site-2", "2")).await;
    world.says(announced("site-1", "1")).await;
    world.until_fact(|fact| is_about(fact, "1")).await;
    world.until_fact(|fact| is_about(fact, "2")).await;
    provisioner.stop().await;
    let _provisioner = world.provisioner_with(naming(&world, BOTH));
    world.says(of_site("site-2", start("2", "node01"))).await;
    world.says(of_site("site-1", start("1", "node01"))).await;
    until_ready(&world, "1").await;
    until_ready(&world, "2").await;
    assert_eq!(claims(&world, NS), ["reservation-system:1"]);
    assert_eq!(claims(&world, NS_2), ["reservation-system:2"]);
}

#[tokio::test]
async fn who_has_a_server_of_a_site_that_is_not_named_any_more_gives_it_back_at_its_end() {
    let world = two_sites().await;
    let provisioner = world.provisioner_with(naming(&world, BOTH));
    world.says(of_site("site-2", start("2", "node01"))).await;
    until_ready(&world, "2").await;
    provisioner.stop().await;
    // No sweep helps: the namespace is watched still, since something is in use there.
    let settings = ProvisionerSettings {
        sweep_interval: Duration::from_secs(3600),
        ..naming(&world, "site-1")
    };
    let _provisioner = world.provisioner_with(settings);
    world.says(of_site("site-2", end("2", "node01"))).await;
    world.until_of("2", "HostReleased").await;
    assert!(world.cluster.secrets(NS_2).is_empty());
}
