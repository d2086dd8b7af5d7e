//! A shadow receives, decides and shows; it writes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use bellhop_domain::reservation::{EndOutcome, Fact};
use bellhop_event_store::{Mode, SetupError};
use bellhop_provisioner::{ProvisionerError, run_in};
use bellhop_simulator::cluster::{Cluster, Resource, Verb};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::installation::{Installation, PATIENCE, Running};
use crate::world::{IMAGE, NS, World, end, start};

/// A shadow in an installation of its own.
async fn shadow_world() -> World {
    let world = World::with_host("node01").await;
    World {
        installation: Installation::of(Mode::Shadow).await,
        cluster: world.cluster,
    }
}

async fn until_page(shadow: &Running, wanted: impl Fn(&str) -> bool) -> String {
    let looked = async {
        loop {
            let page = shadow.readyz().await;
            if wanted(&page) {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, looked).await {
        Ok(page) => page,
        Err(_) => panic!("the page stays {}", shadow.readyz().await),
    }
}

/// How often anything was asked for that changes the cluster, or that only who changes it needs.
fn requests_to_write(cluster: &Cluster) -> u64 {
    let verbs = [Verb::Create, Verb::Update, Verb::Patch, Verb::Delete];
    let kinds = [Resource::BareMetalHosts, Resource::Secrets];
    let writes = kinds
        .iter()
        .flat_map(|kind| verbs.map(|verb| cluster.requests(verb, *kind)));
    writes.sum::<u64>() + cluster.requests(Verb::Get, Resource::Secrets)
}

/// What the service that Bellhop shall replace does to a host.
fn someone_elses(image: Value) -> Value {
    json!({"spec": {"online": true, "image": image}})
}

#[tokio::test]
async fn a_shadow_shows_what_it_would_claim_and_release_and_asks_for_no_write() {
    let world = shadow_world().await;
    let shadow = world.provisioner();
    world.says(start("1", "node01")).await;
    let claims = "[ ]shown would_claim baremetalhost/metal3/node01: would claim node01 for reservation-system:1";
    let page = until_page(&shadow, |page| page.contains(claims)).await;
    assert!(
        page.contains("[ ]shown shadow provisioner: MODE=shadow"),
        "{page}"
    );
    assert!(
        shadow
            .page("/metrics")
            .await
            .contains("bellhop_shown{kind=\"shadow\"} 1")
    );

    // The other one prepares it. The shadow would have it all the same.
    let image = json!({"url": IMAGE, "checksum": "c", "checksumType": "sha256"});
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &someone_elses(image))
        .unwrap();
    world
        .until_host("node01", |host| {
            host["status"]["provisioning"]["state"] == "provisioned"
        })
        .await;
    world.quiet().await;
    assert!(shadow.readyz().await.contains(claims));

    world.says(end("1", "node01")).await;
    let releases = "[ ]shown would_release baremetalhost/metal3/node01: would release node01 of reservation-system:1";
    let page = until_page(&shadow, |page| page.contains(releases)).await;
    assert!(!page.contains("would claim"), "{page}");
    // A second one waits until the other has given the host back, as it would for us.
    world.says(start("2", "node01")).await;
    world
        .cluster
        .edit_as_someone_else(
            NS,
            "node01",
            &json!({"spec": {"online": false, "image": null}}),
        )
        .unwrap();
    let page = until_page(&shadow, |page| {
        page.contains("would claim node01 for reservation-system:2")
    })
    .await;
    assert!(!page.contains("would release"), "{page}");

    let facts: BTreeSet<_> = world.fact_names().await.into_iter().collect();
    let expected = [
        "HostWouldBeAssigned",
        "ReservationEnded",
        "ReservationStarted",
    ];
    assert_eq!(facts, expected.into());
    // What became of it is what would have become of it.
    let outcomes = world
        .facts()
        .await
        .into_iter()
        .filter_map(|fact| match fact {
            Fact::ReservationEnded(ended) => Some(ended.outcome),
            _ => None,
        });
    assert_eq!(outcomes.collect::<Vec<_>>(), [EndOutcome::Completed]);
    assert_eq!(requests_to_write(&world.cluster), 0);
    shadow.stop().await;
}

#[tokio::test]
async fn a_shadow_says_for_which_host_it_would_wait() {
    let world = shadow_world().await;
    let foreign = json!({"spec": {"consumerRef": {"apiVersion": "x/v1", "kind": "Metal3Machine", "name": "m1"}}});
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &foreign)
        .unwrap();
    let shadow = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("ReservationWaits").await;
    let page = shadow.readyz().await;
    assert!(
        page.contains("[ ]shown waiting baremetalhost/metal3/node01: Metal3Machine m1 uses it"),
        "{page}"
    );
    assert_eq!(requests_to_write(&world.cluster), 0);
}

#[tokio::test]
async fn beside_a_live_one_a_shadow_decides_upon_its_own_ledger_and_leaves_the_host_alone() {
    let world = World::with_host("node01").await;
    let beside: Installation = world.installation.beside(Mode::Shadow).await;
    let _live = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;

    let mut configuration = kube::Config::new(world.cluster.url().parse().unwrap());
    configuration.default_namespace = NS.to_owned();
    let _shadow = beside.provisioner_in(configuration, beside.settings_for(NS));
    beside.says(start("1", "node01")).await;
    beside.until("ReservationWaits").await;
    beside.says(end("1", "node01")).await;
    beside.until("ReservationEnded").await;
    world.quiet().await;
    // The end was the shadow's to hear.
    assert!(!world.fact_names().await.contains(&"ReservationEnded"));
    assert_eq!(world.claims("node01"), ["reservation-system:1"]);
    world.says(end("1", "node01")).await;
    world.until("HostReleased").await;
}

#[tokio::test]
async fn a_live_provisioner_does_not_begin_with_a_shadows_ledger() {
    let world = shadow_world().await;
    let mut settings = world.settings();
    settings.event_store.mode = Mode::Live;
    settings.event_store.stream_prefix = Some("shadow".to_owned());
    settings.http.port = 0;
    let configuration = kube::Config::new(world.cluster.url().parse().unwrap());
    let run = run_in(settings, configuration, CancellationToken::new());
    let refused = tokio::time::timeout(PATIENCE, run).await.unwrap();
    assert!(
        matches!(
            refused,
            Err(ProvisionerError::Setup(SetupError::OtherMode { .. }))
        ),
        "{refused:?}"
    );
}
