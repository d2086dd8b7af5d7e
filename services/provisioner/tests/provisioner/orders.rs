//! What operators order, over a real broker and the simulated cluster.

use bellhop_domain::id::{ReservationId, ResourceId};
use bellhop_domain::reservation::{EndCause, Fact, Scope, WaitReason};
use bellhop_operators::{KeyText, OperatorMessage, OperatorOrder};
use bellhop_simulator::cluster::HostSpec;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::installation::{Installation, nested};
use crate::world::{KEY, NS, World, end, flat, in_seconds, is_clean, start};

impl Installation {
    pub(crate) async fn order(&self, order: OperatorOrder) {
        let message = OperatorMessage {
            order,
            by: "ada".to_owned(),
            why: "its user asked".to_owned(),
        };
        self.deliver(message.to_delivery(Timestamp::now())).await;
    }
}

impl World {
    fn image(&self, host: &str) -> Value {
        self.cluster.host(NS, host).unwrap()["spec"]["image"]["url"].clone()
    }
}

fn node(name: &str) -> ResourceId {
    format!("baremetalhost/{NS}/{name}").parse().unwrap()
}

fn reservation(event: &str) -> ReservationId {
    format!("reservation-system:{event}").parse().unwrap()
}

fn is_about(fact: &Fact, name: &str, event: &str) -> bool {
    fact.name() == name && fact.reservation() == Some(&reservation(event))
}

#[tokio::test]
async fn a_held_host_is_not_released_whatever_comes_until_it_is_let_go() {
    let world = World::with_host("node01").await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    let resource = node("node01");
    world
        .order(OperatorOrder::Hold {
            resource: resource.clone(),
        })
        .await;
    world.until("HostHeld").await;
    world.says(end("1", "node01")).await;
    world.until("ReservationEnded").await;
    provisioner.until_shown("held by ada").await;
    world.quiet().await;
    assert!(world.image("node01").is_string());

    world.order(OperatorOrder::Unhold { resource }).await;
    world.until("HostReleased").await;
    world.until_host("node01", is_clean).await;
}

#[tokio::test]
async fn while_everything_is_paused_all_is_decided_and_no_host_is_written() {
    let world = World::with_host("node01").await;
    let provisioner = world.provisioner();
    let resource = Scope::Everything.resource();
    world
        .order(OperatorOrder::Pause {
            resource: resource.clone(),
        })
        .await;
    world.until("DrivingPaused").await;
    world.says(start("1", "node01")).await;
    world.until("ReservationStarted").await;
    provisioner.until_shown("paused by ada").await;
    let waits = world.until("ReservationWaits").await;
    assert!(
        matches!(&waits, Fact::ReservationWaits { reason: WaitReason::Paused { text }, .. } if text.contains("all servers")),
        "{waits:?}"
    );
    world.quiet().await;
    assert!(world.cluster.writes_to_host(NS, "node01").is_empty());

    world.order(OperatorOrder::Resume { resource }).await;
    world.until("HostProvisioned").await;

    // An end that comes while its host is paused is decided too, and its host given back afterwards.
    let resource = node("node01");
    world
        .order(OperatorOrder::Pause {
            resource: resource.clone(),
        })
        .await;
    world
        .until_fact(|fact| fact.name() == "DrivingPaused")
        .await;
    world.says(end("1", "node01")).await;
    world.until("ReservationEnded").await;
    provisioner.until_shown("shown waiting").await;
    world.quiet().await;
    assert!(world.image("node01").is_string());
    world.order(OperatorOrder::Resume { resource }).await;
    world.until_host("node01", is_clean).await;
}

#[tokio::test]
async fn an_operator_s_release_ends_the_holder_and_wipes_its_host() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    let release = |event| OperatorOrder::Release {
        resource: node("node01"),
        reservation: reservation(event),
    };
    // One that was aimed at an earlier holder touches nobody.
    world.order(release("0")).await;
    world.order(release("1")).await;
    let ended = world.until("ReservationEnded").await;
    assert!(
        matches!(&ended, Fact::ReservationEnded(ended) if ended.cause == EndCause::Operator
            && ended.note.as_ref().is_some_and(|note| note.by == "ada")),
        "{ended:?}"
    );
    world.until("HostReleased").await;
    world.until_host("node01", is_clean).await;
}

#[tokio::test]
async fn a_key_that_an_operator_brings_prepares_the_host_with_it() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    let mut keyless = start("1", "node01");
    keyless.as_object_mut().unwrap().remove("sshPublicKey");
    world.says(keyless).await;
    world.until("ReservationWaits").await;
    world
        .order(OperatorOrder::Retry {
            reservation: reservation("1"),
            user: None,
            ssh_public_key: KeyText::new(KEY),
        })
        .await;
    world.until("HostProvisioned").await;
    let read = world.cluster.user_data_reads();
    assert!(!read.is_empty() && read.iter().all(|read| read.user_data.contains(KEY)));
    let facts = world.facts().await;
    assert!(!format!("{facts:?}").contains(KEY));
}

#[tokio::test]
async fn a_host_that_is_never_wiped_is_given_to_the_next_only_when_an_operator_allows_it() {
    let host = HostSpec::new(NS, "node01").spec(json!({"automatedCleaningMode": "disabled"}));
    let world = World::with_hosts([host]).await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    world.says(end("1", "node01")).await;
    let released = world.until("HostReleased").await;
    assert!(
        matches!(
            released,
            Fact::HostReleased {
                not_wiped: true,
                ..
            }
        ),
        "{released:?}"
    );
    world.says(start("2", "node01")).await;
    let waits = world
        .until_fact(|fact| is_about(fact, "ReservationWaits", "2"))
        .await;
    assert!(matches!(
        waits,
        Fact::ReservationWaits {
            reason: WaitReason::Operator { .. },
            ..
        }
    ));
    provisioner.until_shown("operator_needed").await;
    assert_eq!(world.claims("node01"), ["reservation-system:1"]);
    world
        .order(OperatorOrder::Allow {
            reservation: reservation("2"),
        })
        .await;
    world
        .until_fact(|fact| is_about(fact, "HostProvisioned", "2"))
        .await;
}

#[tokio::test]
async fn a_deadline_that_an_operator_moved_does_not_fire_before() {
    let world = World::with_host("node01").await;
    let mut settings = world.settings();
    settings.deadline_grace = std::time::Duration::ZERO;
    let _provisioner = world.provisioner_with(settings);
    let soon = in_seconds(4);
    world
        .says(flat("EVENT_START", "1", "node01", in_seconds(-60), soon))
        .await;
    world.until("HostProvisioned").await;
    world
        .order(OperatorOrder::Extend {
            reservation: reservation("1"),
            until: in_seconds(3600),
        })
        .await;
    world.until("DeadlineExtended").await;
    // Past the end that was booked.
    while Timestamp::now() < soon {
        world.quiet().await;
    }
    world.quiet().await;
    assert!(!world.fact_names().await.contains(&"DeadlinePassed"));
}

#[tokio::test]
async fn a_resource_that_is_deleted_under_its_holder_is_alarmed_and_not_wiped() {
    let world = World::with_host("node01").await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    world.says(start("2", "node01")).await;
    world.until("ReservationWaits").await;
    let mut deleted = nested(
        "RESOURCE_DELETED",
        0,
        "node01",
        in_seconds(0),
        in_seconds(1),
    );
    deleted["data"] = json!({"id": 31, "name": "node01", "type": {"id": 3, "name": "Server"}, "siteId": "site-1"});
    world.says(deleted).await;
    world
        .until_fact(|fact| is_about(fact, "ReservationFailed", "2"))
        .await;
    world
        .until_fact(|fact| is_about(fact, "HeldResourceDeleted", "1"))
        .await;
    provisioner.until_shown("held_resource_deleted").await;
    world.quiet().await;
    assert!(world.image("node01").is_string());
}

#[tokio::test]
async fn an_order_that_can_not_be_read_is_a_dead_letter_and_says_nothing_of_a_key() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    world
        .order(OperatorOrder::Retry {
            reservation: reservation("1"),
            user: None,
            ssh_public_key: KeyText::new("ssh-ed25519 AAAAnotakey"),
        })
        .await;
    for _ in 0..300 {
        let letters = world.store.dead_letters(1, 10).await.unwrap();
        if let Some(letter) = letters.first() {
            assert!(!letter.reason.contains("AAAAnotakey"), "{}", letter.reason);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("it is no dead letter");
}
