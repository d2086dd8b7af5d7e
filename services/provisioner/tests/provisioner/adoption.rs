//! Moving over from the service before Bellhop, and back.

use bellhop_domain::id::{HostRef, ReservationId, SiteId};
use bellhop_domain::reservation::{Fact, Image, Scope};
use bellhop_operators::{AdoptedHost, OperatorOrder};
use bellhop_provisioner::{AdoptableHost, ProvisionerSettings, adoptable_hosts_in};
use bellhop_simulator::cluster::HostSpec;
use serde_json::{Value, json};

use crate::world::{IMAGE, NS, World, end, flat, in_seconds, is_clean, start};

/// A host as the service before Bellhop leaves it: on, its image, its secret, nobody's `consumerRef`.
pub(crate) async fn prepared_before(name: &str) -> World {
    let world = World::with_hosts([HostSpec::new(NS, name).online(true)]).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": format!("{name}-userdata"), "namespace": NS},
        "data": {"userData": "I2Nsb3VkLWNvbmZpZwo="},
    });
    let base = world.cluster.url();
    let client = reqwest::Client::new();
    let made = client
        .post(format!("{base}/api/v1/namespaces/{NS}/secrets"))
        .json(&secret)
        .send()
        .await
        .unwrap();
    assert!(made.status().is_success(), "{made:?}");
    let patch = json!({"spec": {
        "image": {"url": IMAGE, "checksum": format!("{IMAGE}.sha256sum"), "checksumType": "sha256"},
        "userData": {"name": format!("{name}-userdata"), "namespace": NS},
    }});
    let patched = client
        .patch(format!(
            "{base}/apis/metal3.io/v1alpha1/namespaces/{NS}/baremetalhosts/{name}"
        ))
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string())
        .send()
        .await
        .unwrap();
    assert!(patched.status().is_success(), "{patched:?}");
    world
        .until_host(name, |host| {
            host["status"]["provisioning"]["state"] == "provisioned"
        })
        .await;
    world
}

/// The end of a reservation of `node01` that has begun.
fn end_of_a_running_one(event: &str) -> Value {
    let (start, end) = (in_seconds(-3600), in_seconds(60));
    flat("EVENT_END", event, "node01", start, end)
}

impl World {
    async fn adoptable(&self) -> Vec<AdoptableHost> {
        self.adoptable_with(self.settings()).await
    }

    async fn adoptable_with(&self, settings: ProvisionerSettings) -> Vec<AdoptableHost> {
        let mut configuration = kube::Config::new(self.cluster.url().parse().unwrap());
        configuration.default_namespace = NS.to_owned();
        adoptable_hosts_in(&settings, configuration).await.unwrap()
    }

    pub(crate) async fn adopt(&self, reservation: Option<ReservationId>) {
        let until = reservation.is_some().then(|| in_seconds(3600));
        for host in self.adoptable().await {
            self.order(OperatorOrder::Adopt(Box::new(AdoptedHost {
                resource: host.resource,
                host: host.host,
                image: host.image,
                secret: host.secret,
                reservation: reservation.clone(),
                until,
                site: None,
            })))
            .await;
        }
    }

    /// What Bellhop wrote into the host's spec.
    pub(crate) fn written(&self, name: &str) -> Vec<Value> {
        let writes = self.cluster.writes_to_host(NS, name).into_iter();
        writes
            .filter(|write| {
                write.was_accepted() && !write.body["metadata"]["annotations"].is_null()
            })
            .map(|write| write.body["spec"].clone())
            .collect()
    }
}

#[tokio::test]
async fn a_host_of_the_service_before_is_adopted_without_a_change_that_metal3_acts_on() {
    let world = prepared_before("node01").await;
    let found = world.adoptable().await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].image.url, IMAGE);
    assert_eq!(found[0].image.checksum_type.as_deref(), Some("sha256"));
    let before = world.cluster.host(NS, "node01").unwrap();
    let _provisioner = world.provisioner();
    let reservation: ReservationId = "reservation-system:1".parse().unwrap();
    world.adopt(Some(reservation)).await;
    world.until("HostClaimed").await;
    let after = world.cluster.host(NS, "node01").unwrap();
    for unchanged in ["image", "userData", "online"] {
        assert_eq!(after["spec"][unchanged], before["spec"][unchanged]);
    }
    assert_eq!(after["spec"]["consumerRef"]["name"], "reservation-system:1");
    assert_eq!(world.written("node01").len(), 1);

    // Its end releases it like any other, its old secret included.
    world
        .says(flat(
            "EVENT_END",
            "1",
            "node01",
            in_seconds(-3600),
            in_seconds(60),
        ))
        .await;
    world.until("HostReleased").await;
    world.until_host("node01", is_clean).await;
    assert!(world.cluster.secrets(NS).is_empty());
}

#[tokio::test]
async fn an_adopted_host_of_which_nobody_knows_whose_it_is_is_released_by_the_end_that_encloses_it()
{
    let world = prepared_before("node01").await;
    let _provisioner = world.provisioner();
    world.adopt(None).await;
    world.until("HostClaimed").await;
    // One who starts meanwhile waits.
    world.says(start("2", "node01")).await;
    world.until("ReservationWaits").await;
    // An end of another time is not its own.
    world
        .says(flat(
            "EVENT_END",
            "3",
            "node01",
            in_seconds(-7200),
            in_seconds(-3600),
        ))
        .await;
    world.quiet().await;
    assert!(world.cluster.host(NS, "node01").unwrap()["spec"]["image"].is_object());
    world
        .says(flat(
            "EVENT_END",
            "1",
            "node01",
            in_seconds(-3600),
            in_seconds(60),
        ))
        .await;
    world
        .until_fact(|fact| {
            fact.name() == "HostProvisioned"
                && fact.reservation().is_some_and(|about| about.event() == "2")
        })
        .await;
    let host = world.cluster.host(NS, "node01").unwrap();
    assert_eq!(host["spec"]["consumerRef"]["name"], "reservation-system:2");
}

#[tokio::test]
async fn an_end_for_a_host_that_was_not_adopted_is_alarmed_and_touches_nothing() {
    let world = prepared_before("node01").await;
    let provisioner = world.provisioner();
    world.says(end_of_a_running_one("1")).await;
    world.until("ReservationEnded").await;
    provisioner
        .until_shown("the end of reservation reservation-system:1 came")
        .await;
    world.quiet().await;
    assert_eq!(world.written("node01"), Vec::<Value>::new());
}

#[tokio::test]
async fn a_host_that_changed_since_it_was_listed_is_not_adopted_and_shown() {
    let world = prepared_before("node01").await;
    let provisioner = world.provisioner();
    let found = world.adoptable().await.remove(0);
    let adopted = AdoptedHost {
        resource: found.resource,
        host: found.host,
        image: Image {
            url: "http://images.invalid/another.img".to_owned(),
            ..found.image
        },
        secret: found.secret,
        reservation: None,
        until: None,
        site: None,
    };
    world.order(OperatorOrder::Adopt(Box::new(adopted))).await;
    world.until("HostAdopted").await;
    provisioner.until_shown("can't be adopted").await;
    assert_eq!(world.written("node01"), Vec::<Value>::new());
}

#[tokio::test]
async fn a_host_that_is_gone_when_it_is_adopted_fails_and_holds_nothing() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    world
        .order(OperatorOrder::Adopt(Box::new(AdoptedHost {
            resource: format!("baremetalhost/{NS}/node02").parse().unwrap(),
            host: HostRef {
                namespace: NS.to_owned(),
                name: "node02".to_owned(),
                uid: "u2".to_owned(),
            },
            image: Image {
                name: None,
                url: IMAGE.to_owned(),
                checksum: None,
                checksum_type: None,
                format: None,
            },
            secret: "node02-userdata".to_owned(),
            reservation: None,
            until: None,
            site: None,
        })))
        .await;
    world.until("ReservationFailed").await;
    world.until("HostReleased").await;
}

#[tokio::test]
async fn an_end_of_a_second_site_holds_an_adopted_host_of_no_known_site_and_is_alarmed() {
    let world = prepared_before("node01").await;
    let provisioner = world.provisioner();
    let of_site = |site: &str, mut body: Value| {
        body["siteId"] = site.into();
        body
    };
    // A booking of some other host brings the first site to light.
    world.says(of_site("site-1", start("2", "node09"))).await;
    world.until("ReservationStarted").await;
    world.adopt(None).await;
    world.until("HostClaimed").await;
    world
        .says(of_site("site-2", end_of_a_running_one("1")))
        .await;
    world.until_of("1", "ReservationEnded").await;
    provisioner
        .until_shown("alarm unknown_reservation baremetalhost/metal3/node01")
        .await;
    world.quiet().await;
    let host = world.cluster.host(NS, "node01").unwrap();
    assert!(host["spec"]["image"].is_object(), "{host:#}");
}

#[tokio::test]
async fn an_adopted_host_whose_booking_moved_away_is_alarmed_and_its_release_ends_no_reservation() {
    let world = prepared_before("node01").await;
    let provisioner = world.provisioner();
    let reservation: ReservationId = "reservation-system:1".parse().unwrap();
    world.adopt(Some(reservation.clone())).await;
    world.until("HostClaimed").await;
    let (start, end) = (in_seconds(-3600), in_seconds(3600));
    let mut moved = flat("EVENT_UPDATED", "1", "node02", start, end);
    moved["resourceId"] = 32.into();
    world.says(moved).await;
    world.until("ReservationMovedIn").await;
    provisioner
        .until_shown("alarm adopted_host_left baremetalhost/metal3/node01")
        .await;
    world.quiet().await;
    let host = world.cluster.host(NS, "node01").unwrap();
    assert!(host["spec"]["image"].is_object(), "{host:#}");
    world
        .order(OperatorOrder::Release {
            resource: "baremetalhost/metal3/node01".parse().unwrap(),
            reservation,
        })
        .await;
    world.until("HostReleased").await;
    world.until_host("node01", is_clean).await;
    world.quiet().await;
    let facts = world.facts().await;
    assert!(!facts.iter().any(|fact| fact.name() == "ReservationEnded"));
}

#[tokio::test]
async fn of_which_site_an_adoptable_host_is_says_its_namespace_where_sites_are_named() {
    let world = prepared_before("node01").await;
    assert_eq!(world.adoptable().await[0].sites, None);
    for (named, sites) in [
        ("site-1,site-2=lab2", vec!["site-1"]),
        ("site-1,site-2", vec!["site-1", "site-2"]),
    ] {
        let mut settings = world.settings();
        settings.site_ids = Some(named.parse().unwrap());
        let found = world.adoptable_with(settings).await;
        let sites: Vec<SiteId> = sites.into_iter().map(SiteId::new).collect();
        assert_eq!(found[0].sites, Some(sites), "{named}");
    }
}

#[tokio::test]
async fn a_pause_of_a_site_keeps_its_hands_off_an_adopted_host_that_may_be_there() {
    let world = prepared_before("node01").await;
    let provisioner = world.provisioner();
    let resource = Scope::Site(SiteId::new("site-2")).resource();
    world
        .order(OperatorOrder::Pause {
            resource: resource.clone(),
        })
        .await;
    world.until("DrivingPaused").await;
    world.adopt(None).await;
    world.until("HostAdopted").await;
    provisioner
        .until_shown("waiting baremetalhost/metal3/node01: paused by ada")
        .await;
    world.quiet().await;
    assert_eq!(world.written("node01"), Vec::<Value>::new());
    world.order(OperatorOrder::Resume { resource }).await;
    world.until("HostClaimed").await;
}

#[tokio::test]
async fn free_hosts_that_are_handed_back_are_on_again() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    world.says(end("1", "node01")).await;
    world.until("HostReleased").await;
    world
        .order(OperatorOrder::HandBack {
            resource: format!("baremetalhost/{NS}/node01").parse().unwrap(),
        })
        .await;
    let handed_back = world.until("HostHandedBack").await;
    assert!(matches!(handed_back, Fact::HostHandedBack { host } if host.name == "node01"));
    let host = world.cluster.host(NS, "node01").unwrap();
    assert_eq!(host["spec"]["online"], true);
    assert!(host["spec"]["consumerRef"].is_null() && host["spec"]["image"].is_null());
}
