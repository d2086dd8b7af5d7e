//! `adopt`: hosts that the service before Bellhop prepared.

use bellhop_domain::id::ReservationId;
use bellhop_domain::reservation::{EndCause, Fact};
use bellhop_end_to_end::site::{
    IMAGE, INES, MARA, NAMESPACE, TOMAS, is_clean, is_provisioned, node, text,
};
use bellhop_end_to_end::{A_WHILE, PATIENCE, System, SystemSettings, wait_for};
use bellhop_simulator::reservation_system::Booking;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use crate::{say_at_the_cluster, until_logged_by_ada, until_shown, until_told};

/// Leaves hosts as the service before Bellhop does: on, its image, its secret, nobody's `consumerRef`.
async fn with_hosts_of_the_service_before(numbers: &[i64], settings: SystemSettings) -> System {
    let system = System::start(settings).await.unwrap();
    for number in numbers {
        let node = node(*number);
        let secret = format!("{node}-userdata");
        let made =
            system
                .cluster
                .put_secret(NAMESPACE, &secret, &[("userData", "#cloud-config\n")]);
        made.unwrap();
        let given = json!({"spec": {
            "online": true,
            "image": {"url": IMAGE, "checksum": format!("{IMAGE}.md5"), "checksumType": "md5"},
            "userData": {"name": secret, "namespace": NAMESPACE},
        }});
        let edited = system
            .cluster
            .edit_as_someone_else(NAMESPACE, &node, &given);
        edited.unwrap();
    }
    for number in numbers {
        system.wait_for_host(*number, is_provisioned).await.unwrap();
    }
    system
}

/// A booking whose time has begun, of which the service before Bellhop got the start.
fn running(system: &System, who: bellhop_end_to_end::site::Person, server: i64) -> Booking {
    let now = Timestamp::now();
    let booking = system.book_at(who, server, now - 1.hour(), now + 2.hours());
    booking.unwrap()
}

/// What Metal3 acts on: the spec but for `consumerRef`.
fn acted_on(host: &Value) -> Value {
    let mut spec = host["spec"].clone();
    spec.as_object_mut().unwrap().remove("consumerRef");
    spec
}

async fn until_consumer(system: &System, number: i64, wanted: &str) {
    let consumer = |host: &Value| text(host, "/spec/consumerRef/name").starts_with(wanted);
    assert!(
        system.wait_for_host(number, consumer).await.is_some(),
        "{:#}",
        system.host(number)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_of_the_service_before_are_adopted_as_they_are_and_each_is_released_by_its_own_end() {
    let settings = SystemSettings {
        servers: 5,
        hosts: 5,
        ..SystemSettings::two_of_each()
    };
    let mut system = with_hosts_of_the_service_before(&[1, 2, 3, 4], settings).await;
    lists_them_and_refuses_what_is_wrong(&system).await;
    alarms_the_end_for_one_that_was_not_adopted(&mut system).await;
    adopts_one_for_a_reservation(&mut system).await;
    adopts_the_others_of_unknown_reservations(&mut system).await;
    adopts_the_one_that_was_left_and_releases_it(&system).await;
}

async fn lists_them_and_refuses_what_is_wrong(system: &System) {
    let before = system.cluster.hosts();
    let said = say_at_the_cluster(system, &["adopt", "--dry-run"])
        .await
        .well();
    for number in [1, 2, 3, 4] {
        let line = format!("metal3/node0{number} {IMAGE} held until an end comes for it");
        assert!(said.contains(&line), "{said}");
    }
    assert!(
        !said.contains("node05") && said.contains("nothing was changed"),
        "{said}"
    );

    let whose = ["--reservation", "reservation-system:5120"];
    let of = |host, until| {
        [
            "adopt", "--host", host, whose[0], whose[1], "--until", until,
        ]
    };
    let later = "2096-12-03T20:00:00Z";
    let refused: [(&[&str], &str); 6] = [
        (&of("node01", "2026-01-01T00:00:00Z"), "has passed already"),
        (
            &of("node05", later),
            "node05 can't be adopted: it has no image",
        ),
        (&of("node09", later), "there is none in metal3"),
        (&["adopt", "--host", "node09"], "there is none in metal3"),
        (
            &["adopt", "--host", "node01", "--site", "site-1"],
            "no webhook of any site came so far, so leave --site out",
        ),
        (
            &[
                "adopt", "--host", "node01", "--host", "node02", whose[0], whose[1], "--until",
                later,
            ],
            "with one --host",
        ),
    ];
    for (words, why) in refused {
        say_at_the_cluster(system, words).await.refused(why);
    }
    assert_eq!(system.cluster.hosts(), before);
    assert!(system.messages("DELIVERIES").await.unwrap().is_empty());
}

/// Its user is done; nobody takes the host back but an operator.
async fn alarms_the_end_for_one_that_was_not_adopted(system: &mut System) {
    let before = system.host(4);
    let booking = running(system, MARA, 4);
    system.reservations.end_event(booking.id).await.unwrap();
    until_shown(system, "alarm not_adopted metal3/node04", true).await;
    until_told(system, &booking, "before we began to prepare the server").await;
    let logged = system.wait_for_log(&booking, |log| log.event_type == "EVENT_END");
    logged.await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(system.host(4), before);
    assert!(system.cluster.writes().is_empty());
}

async fn adopts_one_for_a_reservation(system: &mut System) {
    let before = system.host(1);
    let booking = running(system, MARA, 1);
    let id = format!("reservation-system:{}", booking.id);
    let until = booking.end.to_string();
    let words = [
        "adopt",
        "--host",
        "node01",
        "--reservation",
        &id,
        "--until",
        &until,
        "--site",
        "site-1",
    ];
    let said = say_at_the_cluster(system, &words).await.well();
    assert!(
        said.contains(&format!("for {id} until {until} of site site-1")),
        "{said}"
    );
    assert!(
        said.contains("recorded HostAdopted") && said.contains("hosts that are adopted: 1"),
        "{said}"
    );
    until_consumer(system, 1, &id).await;
    assert_eq!(acted_on(&system.host(1)), acted_on(&before));
    assert_eq!(system.host(1)["status"], before["status"]);
    system.wait_for_fact(&booking, "HostClaimed").await.unwrap();
    until_logged_by_ada(system, "HostAdopted").await;
    say_at_the_cluster(system, &words)
        .await
        .refused(&format!("{id} has it already"));
    let elsewhere = [&["adopt", "--host", "node02"], &words[3..]].concat();
    say_at_the_cluster(system, &elsewhere)
        .await
        .refused("can't be adopted");

    system.reservations.end_event(booking.id).await.unwrap();
    until_told(system, &booking, "has ended").await;
    let logged = system.wait_for_log(&booking, |log| log.event_type == "EVENT_END");
    assert!(logged.await.unwrap().success);
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
    assert!(is_clean(&system.host(1)), "{:#}", system.host(1));
    assert!(
        system
            .cluster
            .secret(NAMESPACE, "node01-userdata")
            .is_none()
    );
}

/// Nobody wrote down whose they are: the end or deletion whose time encloses the adoption tells.
async fn adopts_the_others_of_unknown_reservations(system: &mut System) {
    let before = system.host(2);
    let said = say_at_the_cluster(
        system,
        &["adopt", "--host", "node02", "--host", "metal3/node03"],
    );
    let said = said.await.well();
    assert!(said.contains("hosts that are adopted: 2"), "{said}");
    for number in [2, 3] {
        until_consumer(system, number, "adopted:").await;
    }
    assert_eq!(acted_on(&system.host(2)), acted_on(&before));
    // Somebody's end whose time does not enclose the adoption is not its own; who starts meanwhile waits.
    let now = Timestamp::now();
    let earlier = system.book_at(TOMAS, 2, now - 3.hours(), now - 2.hours());
    let earlier = earlier.unwrap();
    system.reservations.end_event(earlier.id).await.unwrap();
    system
        .wait_for_fact(&earlier, "ReservationEnded")
        .await
        .unwrap();
    let next = system.book_at(TOMAS, 2, now + 3.hours(), now + 4.hours());
    let next = next.unwrap();
    system.reservations.start_event(next.id).await.unwrap();
    until_told(system, &next, "waits").await;
    assert!(is_provisioned(&system.host(2)));
    let holder = text(&system.host(2), "/spec/consumerRef/name").to_owned();
    assert!(holder.starts_with("adopted:"), "{holder}");

    let ended = running(system, INES, 2);
    let deleted = running(system, MARA, 3);
    system.reservations.end_event(ended.id).await.unwrap();
    system.reservations.delete(deleted.id).await.unwrap();
    until_told(system, &ended, "has ended").await;
    until_told(system, &deleted, "deleted").await;
    system.wait_for_host(3, is_clean).await.unwrap();
    until_consumer(system, 2, &format!("reservation-system:{}", next.id)).await;
    until_told(system, &next, "is ready. Log in").await;
    assert!(
        system
            .user_data_of(2)
            .iter()
            .any(|read| read.contains(&TOMAS.key()))
    );
    assert!(
        system
            .cluster
            .secret(NAMESPACE, "node02-userdata")
            .is_none()
    );
    let holder: ReservationId = holder.parse().unwrap();
    let released = wait_for(PATIENCE, async || {
        let entries = system.entries().await.ok()?;
        let mut facts = entries.into_iter().flat_map(|entry| entry.facts);
        facts.find_map(|fact| match fact {
            Fact::ReservationEnded(ended) if ended.reservation == holder => Some(ended),
            _ => None,
        })
    });
    let released = released.await.unwrap();
    assert_eq!(released.cause, EndCause::End);
    // What was not known when it was adopted.
    assert_eq!(released.resource_number, Some(32));
    assert_eq!(
        released.site.as_ref().map(|site| site.as_str()),
        Some("site-1")
    );
}

/// As the alarm says: its user is done, so it is adopted and released.
async fn adopts_the_one_that_was_left_and_releases_it(system: &System) {
    let said = say_at_the_cluster(system, &["adopt"]).await.well();
    assert!(
        said.contains("metal3/node04") && said.contains("adopted: 1"),
        "{said}"
    );
    until_consumer(system, 4, "adopted:").await;
    let said = say_at_the_cluster(system, &["release", "node04"])
        .await
        .well();
    assert!(said.contains("recorded ReservationEnded"), "{said}");
    system.wait_for_host(4, is_clean).await.unwrap();
    let said = say_at_the_cluster(system, &["adopt"]).await.well();
    assert!(said.contains("no host can be adopted"), "{said}");
}
