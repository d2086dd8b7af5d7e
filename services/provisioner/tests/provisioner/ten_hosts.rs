//! What must never happen to many hosts at once: a lost ledger, and a new configuration, under ten that are in use.

use std::time::Duration;

use bellhop_domain::reservation::Fact;
use bellhop_simulator::cluster::HostSpec;
use serde_json::Value;

use crate::installation::Installation;
use crate::world::{NS, World, start};

const HOSTS: usize = 10;

fn host(number: usize) -> String {
    format!("node{number:02}")
}

/// Ten hosts, each ready for a reservation of its own; no provisioner runs any more.
async fn ten_ready_hosts() -> World {
    let world = World::with_hosts((0..HOSTS).map(|number| HostSpec::new(NS, &host(number)))).await;
    let provisioner = world.provisioner();
    for number in 0..HOSTS {
        world.says(start(&number.to_string(), &host(number))).await;
    }
    for number in 0..HOSTS {
        let event = number.to_string();
        world
            .until_fact(|fact| {
                fact.name() == "HostProvisioned"
                    && fact
                        .reservation()
                        .is_some_and(|about| about.event() == event)
            })
            .await;
    }
    provisioner.stop().await;
    world
}

impl World {
    fn ten_specs(&self) -> Vec<Value> {
        let specs = (0..HOSTS).map(|number| self.cluster.host(NS, &host(number)).unwrap());
        specs.map(|host| host["spec"].clone()).collect()
    }
}

#[tokio::test]
async fn a_ledger_that_was_emptied_under_ten_held_hosts_changes_none_of_them() {
    let World { cluster, .. } = ten_ready_hosts().await;
    let world = World {
        installation: Installation::new().await,
        cluster,
    };
    let (before, writes) = (world.ten_specs(), world.cluster.writes().len());
    let provisioner = world.provisioner();
    // Each is shown as held by nobody that the ledger knows: so each was seen, and left alone.
    let all_told = async {
        loop {
            let readyz = provisioner.readyz().await;
            let told = readyz
                .lines()
                .filter(|line| line.contains("unknown_holder"));
            if told.count() == HOSTS {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_told)
        .await
        .unwrap();
    assert_eq!(world.ten_specs(), before);
    assert_eq!(world.cluster.writes().len(), writes);
}

#[tokio::test]
async fn a_new_provision_image_under_ten_ready_hosts_changes_none_of_them() {
    let world = ten_ready_hosts().await;
    let (before, writes) = (world.ten_specs(), world.cluster.writes().len());
    let mut settings = world.settings();
    settings.provision_image = "http://images.invalid/newer.img".into();
    settings.sweep_interval = Duration::from_millis(200);
    let _provisioner = world.provisioner_with(settings);
    // A new one gets the new image, so the new configuration is in use, and was for several sweeps.
    world.says(start("new", "node99")).await;
    world
        .until_fact(|fact| {
            matches!(fact, Fact::ReservationStarted(started)
                if started.reservation.event() == "new" && started.terms.image.url.ends_with("newer.img"))
        })
        .await;
    world.until("ReservationFailed").await;
    world.quiet().await;
    assert_eq!(world.ten_specs(), before);
    assert_eq!(world.cluster.writes().len(), writes);
}
