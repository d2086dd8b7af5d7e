//! Several provisioners, and provisioners that stop anywhere.

use std::cell::Cell;
use std::time::Duration;

use bellhop_simulator::cluster::{HostSpec, HostState};

use crate::world::{NS, World, end, is_clean, start};

#[tokio::test]
async fn two_provisioners_prepare_each_host_once() {
    let hosts: Vec<String> = (0..6).map(|number| format!("node{number:02}")).collect();
    let world = World::with_hosts(hosts.iter().map(|name| HostSpec::new(NS, name))).await;
    let (_one, _two) = (world.provisioner(), world.provisioner());
    for (number, host) in hosts.iter().enumerate() {
        world.says(start(&format!("a{number}"), host)).await;
        world.says(start(&format!("b{number}"), host)).await;
    }
    for number in 0..hosts.len() {
        let event = format!("a{number}");
        world
            .until_fact(|fact| {
                fact.name() == "HostProvisioned"
                    && fact
                        .reservation()
                        .is_some_and(|about| about.event() == event)
            })
            .await;
    }
    for (number, host) in hosts.iter().enumerate() {
        world.says(end(&format!("a{number}"), host)).await;
    }
    for (number, host) in hosts.iter().enumerate() {
        let event = format!("b{number}");
        world
            .until_fact(|fact| {
                fact.name() == "HostProvisioned"
                    && fact
                        .reservation()
                        .is_some_and(|about| about.event() == event)
            })
            .await;
        let wanted = [
            format!("reservation-system:a{number}"),
            format!("reservation-system:b{number}"),
        ];
        assert_eq!(world.claims(host), wanted);
    }
    let facts = world.facts().await;
    assert_eq!(
        facts
            .iter()
            .filter(|fact| fact.name() == "HostProvisioned")
            .count(),
        12
    );
}

#[tokio::test]
async fn a_provisioner_that_stops_anywhere_is_carried_on_by_the_next() {
    let world = World::with_host("node01").await;
    world
        .cluster
        .set_pause(HostState::Provisioning, Duration::from_millis(300));
    let told = Cell::new(false);
    let stopper = async {
        // Each runs a little longer than the one before, so that they stop at ever other steps. They go on until all was
        // said, however slow this machine is, and for some runs more.
        let mut after = 0;
        for run in 0_u64.. {
            let provisioner = world.provisioner();
            tokio::time::sleep(Duration::from_millis(40 + 15 * run)).await;
            provisioner.abort().await;
            after += u32::from(told.get());
            if after >= 5 {
                break;
            }
        }
        world.provisioner()
    };
    let teller = async {
        world.says(start("1", "node01")).await;
        world.until("HostClaimed").await;
        world.says(end("1", "node01")).await;
        world.says(start("2", "node01")).await;
        told.set(true);
    };
    let (_last, ()) = tokio::join!(stopper, teller);
    world
        .until_fact(|fact| {
            fact.name() == "HostProvisioned"
                && fact.reservation().is_some_and(|about| about.event() == "2")
        })
        .await;
    world.says(end("2", "node01")).await;
    world
        .until_fact(|fact| {
            fact.name() == "HostReleased"
                && fact.reservation().is_some_and(|about| about.event() == "2")
        })
        .await;
    world.until_host("node01", is_clean).await;
    assert_eq!(
        world.claims("node01"),
        ["reservation-system:1", "reservation-system:2"]
    );
    assert!(world.cluster.secrets(NS).is_empty());
    let outcomes = world
        .fact_names()
        .await
        .into_iter()
        .filter(|name| *name == "ReservationEnded")
        .count();
    assert_eq!(outcomes, 2);
}

#[tokio::test]
async fn no_host_is_touched_before_the_deliveries_that_waited_are_folded() {
    let world = World::with_host("node01").await;
    for event in ["1", "2", "3"] {
        world.says(start(event, "node01")).await;
    }
    for event in ["1", "2"] {
        world.says(end(event, "node01")).await;
    }
    let _provisioner = world.provisioner();
    world.until("HostProvisioned").await;
    assert_eq!(world.claims("node01"), ["reservation-system:3"]);
}

#[tokio::test]
async fn a_start_from_a_snapshot_goes_on_where_the_ledger_is() {
    let world = World::with_host("node01").await;
    let mut settings = world.settings();
    settings.snapshot_interval = Duration::from_millis(100);
    let provisioner = world.provisioner_with(settings);
    // Enough entries for a snapshot to be worth it.
    for event in 0..120 {
        world.says(end(&format!("past-{event}"), "node01")).await;
    }
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    let mut kept = None;
    for _ in 0..100 {
        kept = world.store.load_snapshot("provisioner").await.unwrap();
        if kept.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(kept.is_some());
    provisioner.stop().await;
    let _next = world.provisioner();
    world.says(start("past-7", "node01")).await;
    world.says(end("1", "node01")).await;
    world.until_fact(|fact| fact.name() == "HostReleased").await;
    assert_eq!(world.claims("node01"), ["reservation-system:1"]);
    // A snapshot that can't be used is no obstacle.
    world
        .store
        .save_snapshot("provisioner", b"{}")
        .await
        .unwrap();
    let _another = world.provisioner();
    world.says(start("2", "node01")).await;
    world
        .until_fact(|fact| {
            fact.name() == "HostProvisioned"
                && fact.reservation().is_some_and(|about| about.event() == "2")
        })
        .await;
}
