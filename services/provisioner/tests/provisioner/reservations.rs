//! Reservations from start to end.

use std::time::Duration;

use bellhop_domain::reservation::{
    EndCause, EndOutcome, Fact, FailureReason, HostLeft, WaitReason,
};
use bellhop_simulator::cluster::{Fault, HostSpec, HostState};
use serde_json::json;

use crate::world::{IMAGE, KEY, NS, World, end, flat, in_seconds, is_clean, start};

#[tokio::test]
async fn a_start_makes_a_host_ready_and_an_end_leaves_it_clean_and_off_without_our_secret() {
    let world = World::with_host("node01").await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    let host = world.cluster.host(NS, "node01").unwrap();
    assert_eq!(host["spec"]["image"]["url"], IMAGE);
    assert_eq!(host["spec"]["consumerRef"]["name"], "reservation-system:1");
    assert_eq!(
        host["metadata"]["annotations"]["bellhop.dev/installation"],
        "bellhop"
    );
    let secrets = world.cluster.secrets(NS);
    assert_eq!(secrets.len(), 1);
    let read = world.cluster.user_data_reads();
    assert!(read.iter().all(|read| read.user_data.contains(KEY) && read.user_data.starts_with("#cloud-config")));
    assert!(!read.is_empty());

    world.says(end("1", "node01")).await;
    let ended = world.until("ReservationEnded").await;
    assert!(
        matches!(ended, Fact::ReservationEnded(ended) if ended.outcome == EndOutcome::Completed)
    );
    let released = world.until("HostReleased").await;
    assert!(matches!(
        released,
        Fact::HostReleased {
            left: HostLeft::Off,
            ..
        }
    ));
    let host = world.cluster.host(NS, "node01").unwrap();
    assert!(is_clean(&host), "{host:#}");
    assert!(world.cluster.secrets(NS).is_empty());
    let annotations = host["metadata"]["annotations"].as_object().unwrap();
    assert!(annotations.contains_key("bellhop.dev/fence"));
    assert!(!annotations.contains_key("bellhop.dev/installation"));
    provisioner.stop().await;
}

#[tokio::test]
async fn a_second_start_waits_for_the_first_and_gets_a_clean_host_with_its_own_secret() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    world.says(start("A", "node01")).await;
    world.until("HostProvisioned").await;
    world.says(start("B", "node01")).await;
    let waits = world.until("ReservationWaits").await;
    assert!(matches!(
        waits,
        Fact::ReservationWaits {
            reason: WaitReason::Holder { .. },
            ..
        }
    ));
    world.quiet().await;
    assert_eq!(world.claims("node01"), ["reservation-system:A"]);
    world.says(end("A", "node01")).await;
    world
        .until_fact(|fact| {
            fact.name() == "HostProvisioned"
                && fact.reservation().is_some_and(|about| about.event() == "B")
        })
        .await;
    assert_eq!(
        world.claims("node01"),
        ["reservation-system:A", "reservation-system:B"]
    );
    let names = world.fact_names().await;
    let released = names
        .iter()
        .position(|name| *name == "HostReleased")
        .unwrap();
    assert_eq!(
        names[released..]
            .iter()
            .filter(|name| **name == "HostAssigned")
            .count(),
        1
    );
    assert_eq!(world.cluster.secrets(NS).len(), 1);
    // A's end again, and its deletion, leave B alone.
    world
        .says(flat(
            "EVENT_END",
            "A",
            "node01",
            in_seconds(61),
            in_seconds(3601),
        ))
        .await;
    world.quiet().await;
    assert_eq!(
        world.cluster.host(NS, "node01").unwrap()["status"]["provisioning"]["state"],
        "provisioned"
    );
}

#[tokio::test]
async fn an_end_before_its_start_wins_and_nothing_is_prepared() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    world.says(end("1", "node01")).await;
    world.until("ReservationEnded").await;
    world.says(start("1", "node01")).await;
    world.quiet().await;
    // That the start came is recorded, and nothing follows from it.
    assert_eq!(world.fact_names().await, ["ReservationEnded", "WordHeard"]);
    assert!(world.cluster.writes().is_empty());
}

#[tokio::test]
async fn a_host_in_error_is_told_each_time_and_fails_after_three() {
    let world = World::with_host("node01").await;
    world.cluster.inject(
        Fault::provisioning_fails(NS, "node01", "provisioning error", "no boot device").times(5),
    );
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    let failed = world.until("ReservationFailed").await;
    let Fact::ReservationFailed {
        reason: FailureReason::ProvisioningErrors { error, attempts },
        ..
    } = failed
    else {
        panic!("{failed:?}");
    };
    assert_eq!(
        (error.kind.as_str(), error.message.as_str(), attempts),
        ("provisioning error", "no boot device", 3)
    );
    world.until("HostReleased").await;
    let errors = world
        .fact_names()
        .await
        .into_iter()
        .filter(|name| *name == "ProvisioningErrorSeen")
        .count();
    assert_eq!(errors, 3);
    world.until_host("node01", is_clean).await;
}

#[tokio::test]
async fn an_unknown_host_fails_and_so_do_two_that_answer_to_one_resource() {
    let twins = [
        HostSpec::new(NS, "blade1").annotation("bellhop.dev/resource", "Rack 1, blade"),
        HostSpec::new(NS, "blade2").label("bellhop.dev/resource", "twin"),
        HostSpec::new(NS, "blade3").annotation("bellhop.dev/resource", "twin"),
    ];
    let world = World::with_hosts(twins).await;
    let _provisioner = world.provisioner();
    let text_of = |event: &'static str| {
        let world = &world;
        async move {
            let failed = world
                .until_fact(|fact| {
                    fact.name() == "ReservationFailed"
                        && fact
                            .reservation()
                            .is_some_and(|about| about.event() == event)
                })
                .await;
            match failed {
                Fact::ReservationFailed {
                    reason: FailureReason::HostUnknown { text },
                    ..
                } => text,
                other => panic!("{other:?}"),
            }
        }
    };
    world.says(start("1", "nowhere")).await;
    assert!(text_of("1").await.contains("no BareMetalHost"));
    world.says(start("2", "twin")).await;
    assert!(text_of("2").await.contains("more than one"));
    // It has an annotation of its own, so it does not answer to its name.
    world.says(start("3", "blade1")).await;
    assert!(text_of("3").await.contains("no BareMetalHost"));
    world.says(start("4", "Rack 1, blade")).await;
    world.until("HostProvisioned").await;
    assert_eq!(world.claims("blade1"), ["reservation-system:4"]);
}

#[tokio::test]
async fn a_start_whose_delivery_was_erased_meanwhile_fails_and_says_so_and_claims_nothing() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    world.says(start("A", "node01")).await;
    world.until_of("A", "HostProvisioned").await;
    let kept = world.says(start("B", "node01")).await;
    world.until_of("B", "ReservationWaits").await;
    assert!(world.store.erase_delivery(kept).await.unwrap());
    world.says(end("A", "node01")).await;
    let failed = world.until_of("B", "ReservationFailed").await;
    let failed = serde_json::to_string(&failed).unwrap();
    assert!(failed.contains("was removed"), "{failed}");
    world.until_host("node01", is_clean).await;
    assert_eq!(world.claims("node01"), ["reservation-system:A"]);
}

#[tokio::test]
async fn a_start_without_a_key_waits_unclaimed_and_never_gets_another_tenants() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    let mut keyless = start("1", "node01");
    keyless["sshPublicKey"] = serde_json::Value::Null;
    world.says(keyless).await;
    let waits = world.until("ReservationWaits").await;
    assert!(matches!(
        waits,
        Fact::ReservationWaits {
            reason: WaitReason::Key { .. },
            ..
        }
    ));
    world.quiet().await;
    assert!(world.cluster.writes().is_empty());
    // The next in the queue has a key, and is not held up.
    world.says(start("2", "node01")).await;
    world.until("HostProvisioned").await;
    assert_eq!(world.claims("node01"), ["reservation-system:2"]);
}

#[tokio::test]
async fn an_end_while_preparing_releases_and_leaves_no_failure() {
    let world = World::with_host("node01").await;
    world
        .cluster
        .set_pause(HostState::Provisioning, Duration::from_secs(2));
    let _provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("ProvisioningResumed").await;
    world.says(end("1", "node01")).await;
    world.until("HostReleased").await;
    let names = world.fact_names().await;
    assert!(
        !names.contains(&"ReservationFailed") && !names.contains(&"HostProvisioned"),
        "{names:?}"
    );
    world.until_host("node01", is_clean).await;
}

#[tokio::test]
async fn a_new_configuration_touches_no_host_that_is_ready() {
    let world = World::with_host("node01").await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    provisioner.stop().await;
    let writes = world.cluster.writes().len();
    let mut settings = world.settings();
    settings.provision_image = "http://images.invalid/newer.img".into();
    settings.login_user = "other".into();
    let _provisioner = world.provisioner_with(settings);
    world
        .says(flat(
            "EVENT_UPDATED",
            "9",
            "other",
            in_seconds(60),
            in_seconds(90),
        ))
        .await;
    world.quiet().await;
    assert_eq!(world.cluster.writes().len(), writes);
}

#[tokio::test]
async fn what_can_not_be_read_is_a_dead_letter_with_an_alarm_and_holds_up_nobody() {
    let world = World::with_host("node01").await;
    let provisioner = world.provisioner();
    world
        .says(json!({"eventType": "EVENT_START", "webhookId": 12}))
        .await;
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    let letters = world.store.dead_letters(0, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        letters[0].subject,
        "dead_letters.provisioner.delivery.reservation-system"
    );
    let told = async {
        while !provisioner.readyz().await.contains("alarm dead_letters") {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(40), told)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_missing_end_is_told_held_and_then_released() {
    let world = World::with_host("node01").await;
    let mut settings = world.settings();
    settings.deadline_grace = Duration::from_secs(1);
    settings.deadline_hold = Duration::from_secs(2);
    let _provisioner = world.provisioner_with(settings);
    world
        .says(flat(
            "EVENT_START",
            "1",
            "node01",
            in_seconds(-10),
            in_seconds(3),
        ))
        .await;
    world.until("DeadlinePassed").await;
    assert!(!world.fact_names().await.contains(&"ReservationEnded"));
    world.until("HostReleased").await;
    world.until_host("node01", is_clean).await;
}

#[tokio::test]
async fn a_missing_end_releases_at_once_where_nothing_is_held() {
    let world = World::with_host("node01").await;
    let mut settings = world.settings();
    settings.deadline_grace = Duration::from_secs(1);
    settings.deadline_hold = Duration::ZERO;
    let _provisioner = world.provisioner_with(settings);
    world
        .says(flat(
            "EVENT_START",
            "1",
            "node01",
            in_seconds(-10),
            in_seconds(3),
        ))
        .await;
    let ended = world.until("ReservationEnded").await;
    assert!(
        matches!(&ended, Fact::ReservationEnded(ended) if ended.cause == EndCause::Deadline),
        "{ended:?}"
    );
    world.until("HostReleased").await;
    world.until_host("node01", is_clean).await;
}

#[tokio::test]
async fn a_deadline_does_not_fire_while_what_waits_in_the_broker_is_not_folded() {
    let mut world = World::with_host("node01").await;
    let mut settings = world.settings();
    settings.deadline_grace = Duration::from_secs(1);
    settings.deadline_hold = Duration::from_secs(4);
    let _provisioner = world.provisioner_with(settings);
    world
        .says(flat(
            "EVENT_START",
            "1",
            "node01",
            in_seconds(-10),
            in_seconds(3),
        ))
        .await;
    world.until("DeadlinePassed").await;
    // The broker is away when the hold ends; an extension comes as soon as it is back.
    world.installation.nats().kill().unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.installation.nats().restart().unwrap();
    world
        .says(crate::installation::nested(
            "EVENT_UPDATED",
            1,
            "node01",
            in_seconds(-10),
            in_seconds(600),
        ))
        .await;
    world.until("ReservationChanged").await;
    world.quiet().await;
    let names = world.fact_names().await;
    assert!(!names.contains(&"ReservationEnded"), "{names:?}");
    assert!(!world.cluster.host(NS, "node01").unwrap()["spec"]["image"].is_null());
}

#[tokio::test]
async fn a_large_payload_is_a_good_start_and_the_fact_stays_small() {
    let world = World::with_host("node01").await;
    let _provisioner = world.provisioner();
    let mut large = start("1", "node01");
    large["eventDescription"] = json!("\"".repeat(300_000));
    world.says(large).await;
    world.until("HostProvisioned").await;
    let Fact::ReservationStarted(started) = world.until("ReservationStarted").await else {
        panic!()
    };
    assert!(started.payload.encode_utf16().count() <= 4000);
}

#[tokio::test]
async fn a_start_whose_end_passed_while_its_extension_waited_behind_it_is_served() {
    let world = World::with_host("node01").await;
    world
        .says(flat(
            "EVENT_START",
            "1",
            "node01",
            in_seconds(-100),
            in_seconds(-1),
        ))
        .await;
    world
        .says(crate::installation::nested(
            "EVENT_UPDATED",
            1,
            "node01",
            in_seconds(-100),
            in_seconds(600),
        ))
        .await;
    let _provisioner = world.provisioner();
    world.until("HostProvisioned").await;
}

#[tokio::test]
async fn a_renamed_resource_or_another_namespace_of_ours_moves_no_host() {
    let world = World::with_host("node01").await;
    let provisioner = world.provisioner();
    world.says(start("1", "node01")).await;
    world.until("HostProvisioned").await;
    let mut renamed = crate::installation::nested(
        "EVENT_UPDATED",
        1,
        "node01-new",
        in_seconds(60),
        in_seconds(7200),
    );
    renamed["data"]["resource"]["id"] = json!(31);
    world.says(renamed).await;
    world.until("ReservationChanged").await;
    provisioner.stop().await;
    let mut settings = world.settings();
    settings.k8s_namespace = "other".into();
    let _elsewhere = world.provisioner_with(settings);
    let mut extended = crate::installation::nested(
        "EVENT_UPDATED",
        1,
        "node01",
        in_seconds(60),
        in_seconds(9000),
    );
    extended["data"]["resource"]["id"] = json!(31);
    world.says(extended).await;
    world.until_fact(|fact| matches!(fact, Fact::ReservationChanged(changed) if changed.knowledge.schedule.end > in_seconds(8000))).await;
    world.quiet().await;
    let names = world.fact_names().await;
    assert!(
        !names.contains(&"ReservationMovedOut") && !names.contains(&"ReservationEnded"),
        "{names:?}"
    );
}

#[tokio::test]
async fn many_ends_that_do_not_come_stop_the_releases_with_one_alarm() {
    let hosts = ["node01", "node02", "node03"];
    let world = World::with_hosts(hosts.map(|name| HostSpec::new(NS, name))).await;
    let mut settings = world.settings();
    settings.deadline_grace = Duration::from_millis(500);
    settings.deadline_hold = Duration::from_secs(1);
    settings.deadline_release_max = 2;
    let provisioner = world.provisioner_with(settings);
    for host in hosts {
        world
            .says(flat(
                "EVENT_START",
                host,
                host,
                in_seconds(-10),
                in_seconds(4),
            ))
            .await;
    }
    let told = async {
        while !provisioner
            .readyz()
            .await
            .contains("deadline_releases_stopped")
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told)
        .await
        .unwrap();
    world.quiet().await;
    let ended = world
        .fact_names()
        .await
        .into_iter()
        .filter(|name| *name == "ReservationEnded")
        .count();
    assert_eq!(ended, 2);

    // A later reservation of the third host proves that its holder is over, whatever is stopped.
    for host in hosts {
        let next = format!("after-{host}");
        world
            .says(flat(
                "EVENT_START",
                &next,
                host,
                in_seconds(0),
                in_seconds(3600),
            ))
            .await;
    }
    world
        .until_fact(|fact| {
            matches!(fact, Fact::ReservationEnded(ended) if ended.cause == EndCause::ProvenOver)
        })
        .await;
}

#[tokio::test]
async fn two_provisioners_together_release_no_more_hosts_without_an_end_than_there_may_be() {
    let hosts: Vec<String> = (1..=8).map(|number| format!("node{number:02}")).collect();
    let world = World::with_hosts(hosts.iter().map(|name| HostSpec::new(NS, name))).await;
    let mut settings = world.settings();
    settings.deadline_grace = Duration::from_millis(500);
    settings.deadline_hold = Duration::from_secs(2);
    settings.deadline_release_max = 3;
    let replicas = [(); 2].map(|()| world.provisioner_with(settings.clone()));
    // All at once.
    let end = in_seconds(6);
    for host in &hosts {
        let start = flat("EVENT_START", host, host, in_seconds(-10), end);
        world.says(start).await;
    }
    for replica in &replicas {
        replica.until_shown("deadline_releases_stopped").await;
    }
    world.quiet().await;
    let by_deadline = |fact: &Fact| matches!(fact, Fact::ReservationEnded(ended) if ended.cause == EndCause::Deadline);
    let facts = world.facts().await;
    assert_eq!(facts.iter().filter(|fact| by_deadline(fact)).count(), 3);
}
