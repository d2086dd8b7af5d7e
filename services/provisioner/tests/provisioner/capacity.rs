//! No more servers are prepared at once than may be, in the order of their starts, whichever provisioner stops where.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use bellhop_domain::capacity;
use bellhop_domain::id::ReservationId;
use bellhop_domain::reservation::{Fact, WaitReason};
use bellhop_event_store::LedgerEntry;
use bellhop_provisioner::ProvisionerSettings;
use bellhop_simulator::cluster::{HostSpec, HostState};
use serde_json::{Value, json};

use crate::installation::PATIENCE;
use crate::world::{NS, World, end, flat, in_seconds};

const PAUSED: &str = "baremetalhost.metal3.io/paused";

/// The servers `node01` and so on.
async fn world_with(servers: usize) -> World {
    let hosts = (1..=servers).map(|number| HostSpec::new(NS, &node(number)));
    World::with_hosts(hosts).await
}

fn node(number: usize) -> String {
    format!("node{number:02}")
}

fn limited(world: &World, in_all: u32, per_site: u32) -> ProvisionerSettings {
    ProvisionerSettings {
        preparing_max: NonZeroU32::new(in_all),
        preparing_max_per_site: NonZeroU32::new(per_site),
        ..world.settings()
    }
}

/// A start of the reservation that is called like its server, `minutes` from now.
fn start_in(minutes: i64, host: &str, site: &str) -> Value {
    let (start, end) = (in_seconds(60 * minutes), in_seconds(7200));
    let mut start = flat("EVENT_START", host, host, start, end);
    start["siteId"] = site.into();
    start
}

/// What the ledger says of the places, walked through entry by entry.
#[derive(Default)]
struct Walk {
    places: BTreeSet<String>,
    preparing: BTreeSet<ReservationId>,
    most: usize,
    /// In which order servers were given away.
    given: Vec<String>,
}

impl Walk {
    async fn through(world: &World) -> Self {
        let mut walk = Self::default();
        for entry in world.entries().await {
            match entry {
                LedgerEntry::Resource(entry) => entry.facts.iter().for_each(|fact| walk.fact(fact)),
                LedgerEntry::Capacity(entry) => {
                    entry.facts.iter().for_each(|fact| walk.place(fact))
                }
                LedgerEntry::DeadlineReleases(_) => {}
            }
            walk.most = walk.most.max(walk.preparing.len());
        }
        walk
    }

    fn fact(&mut self, fact: &Fact) {
        let Some(reservation) = fact.reservation() else {
            return;
        };
        match fact {
            Fact::HostAssigned { .. } => {
                let has_place = |asker: &String| asker.starts_with(&format!("{reservation} on "));
                let place = self.places.iter().find(|asker| has_place(asker));
                assert!(place.is_some(), "{reservation} has no place");
                self.preparing.insert(reservation.clone());
                self.given.push(reservation.event().to_owned());
            }
            Fact::HostProvisioned { .. }
            | Fact::ReservationEnded(_)
            | Fact::ReservationFailed { .. } => {
                self.preparing.remove(reservation);
            }
            _ => {}
        }
    }

    fn place(&mut self, fact: &capacity::Fact) {
        let asker = fact.asker().to_string();
        let changed = match fact {
            capacity::Fact::PlaceGranted { .. } => self.places.insert(asker.clone()),
            capacity::Fact::PlaceReturned { .. } => self.places.remove(&asker),
        };
        assert!(changed, "{fact:?}");
    }
}

/// Waits until every place has gone back.
async fn until_no_place_is_taken(world: &World) -> Walk {
    let emptied = async {
        loop {
            let walk = Walk::through(world).await;
            if walk.places.is_empty() {
                return walk;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, emptied).await.unwrap()
}

async fn until_ready(world: &World, event: &str) {
    let ready = |fact: &Fact| {
        fact.name() == "HostProvisioned"
            && fact
                .reservation()
                .is_some_and(|about| about.event() == event)
    };
    world.until_fact(ready).await;
}

#[tokio::test]
async fn two_provisioners_prepare_no_more_at_once_than_may_be_and_in_the_order_of_the_starts() {
    let world = world_with(6).await;
    // They come in another order than they start.
    for number in [4, 2, 6, 1, 5, 3] {
        let minutes = i64::try_from(number).unwrap();
        world.says(start_in(minutes, &node(number), "a")).await;
    }
    let _one = world.provisioner_with(limited(&world, 1, 0));
    let _two = world.provisioner_with(limited(&world, 1, 0));
    until_ready(&world, "node06").await;
    let walk = until_no_place_is_taken(&world).await;
    assert_eq!(walk.most, 1);
    let in_order: Vec<String> = (1..=6).map(node).collect();
    assert_eq!(walk.given, in_order);
}

#[tokio::test]
async fn provisioners_that_stop_anywhere_lose_no_place_and_give_none_twice() {
    let world = world_with(8).await;
    world
        .cluster
        .set_pause(HostState::Provisioning, Duration::from_millis(150));
    for number in 1..=8 {
        world.says(start_in(1, &node(number), "a")).await;
    }
    let settings = limited(&world, 2, 0);
    let _steady = world.provisioner_with(settings.clone());
    // Each runs a little longer than the one before, so that they stop at ever other steps.
    for run in 0..15_u64 {
        let provisioner = world.provisioner_with(settings.clone());
        tokio::time::sleep(Duration::from_millis(40 + 20 * run)).await;
        provisioner.abort().await;
    }
    for number in 1..=8 {
        until_ready(&world, &node(number)).await;
        assert_eq!(
            world.claims(&node(number)),
            [format!("reservation-system:{}", node(number))]
        );
    }
    let walk = until_no_place_is_taken(&world).await;
    assert!((1..=2).contains(&walk.most), "{}", walk.most);
}

#[tokio::test]
async fn each_site_has_places_of_its_own() {
    let world = world_with(3).await;
    for number in 1..=3 {
        world
            .cluster
            .hold_at(NS, &node(number), HostState::Provisioning);
    }
    let settings = ProvisionerSettings {
        site_ids: Some("a,b".parse().unwrap()),
        ..limited(&world, 0, 1)
    };
    let _provisioner = world.provisioner_with(settings);
    world.says(start_in(1, "node01", "a")).await;
    world.until("HostClaimed").await;
    world.says(start_in(2, "node02", "a")).await;
    let waits = world.until("ReservationWaits").await;
    assert_eq!(waits.reservation().unwrap().event(), "node02");
    world.says(start_in(3, "node03", "b")).await;
    let claimed = |fact: &Fact| {
        fact.name() == "HostClaimed"
            && fact
                .reservation()
                .is_some_and(|about| about.event() == "node03")
    };
    world.until_fact(claimed).await;
    assert_eq!(Walk::through(&world).await.given, ["node01", "node03"]);
    world.cluster.let_go(NS, "node01");
    world.cluster.let_go(NS, "node02");
    until_ready(&world, "node02").await;
}

#[tokio::test]
async fn who_waits_for_its_turn_is_told_and_one_whose_host_is_not_clean_holds_up_nobody() {
    let world = world_with(3).await;
    let pause = |value: Value| json!({"metadata": {"annotations": {PAUSED: value}}});
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &pause("".into()))
        .unwrap();
    world.cluster.hold_at(NS, "node02", HostState::Provisioning);
    let provisioner = world.provisioner_with(limited(&world, 1, 0));
    world.says(start_in(1, "node01", "a")).await;
    let waits = world.until("ReservationWaits").await;
    assert!(
        matches!(&waits, Fact::ReservationWaits { reason: WaitReason::Host { text }, .. } if text.contains("paused")),
        "{waits:?}"
    );
    world.says(start_in(2, "node02", "a")).await;
    world.until("HostClaimed").await;
    world.says(start_in(3, "node03", "a")).await;
    let turn = |event: &'static str| {
        move |fact: &Fact| {
            let reason = match fact {
                Fact::ReservationWaits { reason, .. } => reason,
                _ => return false,
            };
            fact.reservation()
                .is_some_and(|about| about.event() == event)
                && *reason == WaitReason::Turn { preparing: 1 }
        }
    };
    world.until_fact(turn("node03")).await;
    let page = provisioner.readyz().await;
    assert!(
        page.contains("[ ]shown waiting baremetalhost/metal3/node03: it waits for its turn: 1 server is being prepared"),
        "{page}"
    );
    // The first one can go now, and waits for its turn too: before the third, since it starts before it.
    world
        .cluster
        .edit_as_someone_else(NS, "node01", &pause(Value::Null))
        .unwrap();
    world.until_fact(turn("node01")).await;
    world.cluster.let_go(NS, "node02");
    until_ready(&world, "node03").await;
    assert_eq!(
        Walk::through(&world).await.given,
        ["node02", "node01", "node03"]
    );
}

#[tokio::test]
async fn a_reservation_that_ends_while_it_is_prepared_gives_its_place_to_the_next() {
    let world = world_with(2).await;
    world.cluster.hold_at(NS, "node01", HostState::Provisioning);
    let _provisioner = world.provisioner_with(limited(&world, 1, 0));
    world.says(start_in(1, "node01", "a")).await;
    world.until("HostClaimed").await;
    world.says(start_in(2, "node02", "a")).await;
    world.until("ReservationWaits").await;
    world.says(end("node01", "node01")).await;
    until_ready(&world, "node02").await;
    until_no_place_is_taken(&world).await;
}

#[tokio::test]
async fn without_a_limit_no_fact_is_about_the_capacity() {
    let world = world_with(1).await;
    let _provisioner = world.provisioner();
    world.says(start_in(1, "node01", "a")).await;
    world.until("HostProvisioned").await;
    let of_capacity = |entry: &LedgerEntry| matches!(entry, LedgerEntry::Capacity(_));
    assert!(!world.entries().await.iter().any(of_capacity));
}
