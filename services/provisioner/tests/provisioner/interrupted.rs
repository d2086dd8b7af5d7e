//! Adoptions, hand-backs and orders, with two provisioners that stop anywhere: the same end, each fact once, no second effect.

use std::cell::Cell;
use std::time::Duration;

use bellhop_domain::id::{ReservationId, ResourceId};
use bellhop_domain::reservation::{Fact, Scope};
use bellhop_operators::{KeyText, OperatorOrder};
use serde_json::{Value, json};

use crate::adoption::prepared_before;
use crate::installation::PATIENCE;
use crate::world::{KEY, NS, Running, World, end, flat, in_seconds, is_clean, start};

fn node() -> ResourceId {
    format!("baremetalhost/{NS}/node01").parse().unwrap()
}

fn reservation(event: &str) -> ReservationId {
    format!("reservation-system:{event}").parse().unwrap()
}

impl World {
    /// Plays `story` while provisioners stop: each runs a little longer than the one before, so that they stop at ever other
    /// steps, killed and told to in turn. They go on until all was said, however slow this machine is. Returns two that stay.
    async fn while_provisioners_stop(&self, story: impl Future<Output = ()>) -> [Running; 2] {
        let told = Cell::new(false);
        let stopper = |first: u64, step: u64| {
            let told = &told;
            async move {
                for run in 0_u64.. {
                    let provisioner = self.provisioner();
                    tokio::time::sleep(Duration::from_millis(first + step * run)).await;
                    if run % 3 == 2 {
                        provisioner.stop().await;
                    } else {
                        provisioner.abort().await;
                    }
                    if told.get() {
                        break;
                    }
                }
                self.provisioner()
            }
        };
        let teller = async {
            story.await;
            told.set(true);
        };
        let (one, other, ()) = tokio::join!(stopper(60, 25), stopper(90, 35), teller);
        [one, other]
    }

    /// Waits until the ledger holds as many facts of this name. Longer than other tests: what a provisioner that is killed has
    /// in its hands comes again only after a while.
    async fn until_all(&self, name: &str, count: usize) {
        let search = async {
            while self.counted(&[name]).await[0].1 < count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(8 * PATIENCE, search).await;
        assert!(
            found.is_ok(),
            "no {name} among {:?}",
            self.fact_names().await
        );
    }

    /// How many facts there are of each of these names.
    async fn counted<'a>(&self, names: &'a [&'a str]) -> Vec<(&'a str, usize)> {
        let facts = self.facts().await;
        let count = |name: &str| facts.iter().filter(|fact| fact.name() == name).count();
        names.iter().map(|name| (*name, count(name))).collect()
    }

    fn spec(&self) -> Value {
        self.cluster.host(NS, "node01").unwrap()["spec"].clone()
    }
}

#[tokio::test]
async fn an_adoption_its_end_and_a_hand_back_happen_once_though_provisioners_stop_anywhere() {
    let world = prepared_before("node01").await;
    let before = world.spec();
    let story = async {
        world.adopt(Some(reservation("1"))).await;
        world.until_all("HostClaimed", 1).await;
        for unchanged in ["image", "userData", "online"] {
            assert_eq!(world.spec()[unchanged], before[unchanged]);
        }
        let ended = flat(
            "EVENT_END",
            "1",
            "node01",
            in_seconds(-3600),
            in_seconds(60),
        );
        world.says(ended).await;
        world.until_all("HostReleased", 1).await;
        world.until_host("node01", is_clean).await;
        world
            .order(OperatorOrder::HandBack { resource: node() })
            .await;
        world.until_all("HostHandedBack", 1).await;
    };
    let _two = world.while_provisioners_stop(story).await;
    world.quiet().await;

    let once = [
        "HostAdopted",
        "HostClaimed",
        "ReservationEnded",
        "HostReleased",
        "HandBackOrdered",
        "HostHandedBack",
    ];
    assert_eq!(world.counted(&once).await, once.map(|name| (name, 1)));
    let written = world.written("node01");
    let [adopted, given_back, let_go, switched_on] = written.as_slice() else {
        panic!("{written:#?}")
    };
    assert_eq!(adopted["consumerRef"]["name"], "reservation-system:1");
    assert_eq!(
        *given_back,
        json!({"image": null, "userData": null, "online": false})
    );
    assert_eq!(*let_go, json!({"consumerRef": null}));
    assert_eq!(*switched_on, json!({"online": true}));
    assert!(world.cluster.secrets(NS).is_empty());
}

#[tokio::test]
async fn operators_words_are_obeyed_once_each_though_provisioners_stop_anywhere() {
    let world = World::with_host("node01").await;
    let everything = Scope::Everything.resource();
    let story = async {
        let order = |order| world.order(order);
        world.says(start("1", "node01")).await;
        world.until_all("HostProvisioned", 1).await;
        order(OperatorOrder::Hold { resource: node() }).await;
        world.until_all("HostHeld", 1).await;
        world.says(end("1", "node01")).await;
        world.until_all("ReservationEnded", 1).await;
        let resource = everything.clone();
        order(OperatorOrder::Pause { resource }).await;
        world.until_all("DrivingPaused", 1).await;
        order(OperatorOrder::Unhold { resource: node() }).await;
        world.until_all("HostUnheld", 1).await;
        world.quiet().await;
        assert!(world.spec()["image"].is_object());
        let resource = everything.clone();
        order(OperatorOrder::Resume { resource }).await;
        world.until_all("HostReleased", 1).await;

        let mut keyless = start("2", "node01");
        keyless.as_object_mut().unwrap().remove("sshPublicKey");
        world.says(keyless).await;
        world.until_all("ReservationWaits", 1).await;
        let reservation = reservation("2");
        let until = in_seconds(7200);
        order(OperatorOrder::Extend {
            reservation: reservation.clone(),
            until,
        })
        .await;
        world.until_all("DeadlineExtended", 1).await;
        order(OperatorOrder::Retry {
            reservation: reservation.clone(),
            user: None,
            ssh_public_key: KeyText::new(KEY),
        })
        .await;
        world.until_all("HostProvisioned", 2).await;
        order(OperatorOrder::Release {
            resource: node(),
            reservation,
        })
        .await;
        world.until_all("HostReleased", 2).await;
    };
    let _two = world.while_provisioners_stop(story).await;
    world.quiet().await;

    let once = [
        "HostHeld",
        "DrivingPaused",
        "HostUnheld",
        "DrivingResumed",
        "DeadlineExtended",
        "KeyBrought",
    ];
    assert_eq!(world.counted(&once).await, once.map(|name| (name, 1)));
    let twice = ["HostProvisioned", "ReservationEnded", "HostReleased"];
    assert_eq!(world.counted(&twice).await, twice.map(|name| (name, 2)));
    assert_eq!(
        world.claims("node01"),
        ["reservation-system:1", "reservation-system:2"]
    );
    world.until_host("node01", is_clean).await;
    assert!(world.cluster.secrets(NS).is_empty());
}

#[tokio::test]
async fn words_that_waited_together_count_in_the_order_in_which_they_were_said() {
    let world = World::with_host("node01").await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until_all("HostProvisioned", 1).await;
    provisioner.stop().await;
    for _ in 0..6 {
        world
            .order(OperatorOrder::Unhold { resource: node() })
            .await;
        world.order(OperatorOrder::Hold { resource: node() }).await;
    }
    world.says(end("1", "node01")).await;
    let _two = [world.provisioner(), world.provisioner()];
    world.until_all("ReservationEnded", 1).await;
    world.until_all("HostHeld", 1).await;
    world.quiet().await;
    assert!(world.spec()["image"].is_object());
    let facts = world.facts().await;
    let last = facts
        .iter()
        .rfind(|fact| matches!(fact, Fact::HostHeld { .. } | Fact::HostUnheld { .. }));
    assert!(matches!(last, Some(Fact::HostHeld { .. })), "{facts:#?}");
}
