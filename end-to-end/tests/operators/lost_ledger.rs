//! `adopt` after the ledger was lost.

use bellhop_end_to_end::site::{IMAGE, MARA, NAMESPACE, TOMAS, is_clean, is_provisioned};
use bellhop_end_to_end::{System, SystemSettings};
use jiff::{Timestamp, ToSpan as _};

use crate::{say_at_the_cluster, until_shown, until_told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_a_lost_ledger_left_is_adopted_for_its_user_and_released_at_its_end() {
    let mut system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    until_told(&system, &booking, "is ready. Log in").await;
    let id = format!("reservation-system:{}", booking.id);
    say_at_the_cluster(&system, &["adopt", "--host", "node01"])
        .await
        .refused(&format!("{id} has it already"));

    for service in system.services() {
        service.kill().unwrap();
    }
    system.nats.kill().unwrap();
    std::fs::remove_dir_all(system.nats.store_dir()).unwrap();
    system.nats.restart().unwrap();
    system.start_services().await.unwrap();
    until_shown(&mut system, "alarm unknown_holder metal3/node01", true).await;
    let before = system.host(1);
    assert!(is_provisioned(&before), "{before:#}");

    // It may be another installation's of that name: it is not taken among all others.
    let said = say_at_the_cluster(&system, &["adopt"]).await.well();
    assert!(
        said.contains(&format!("left alone: its consumerRef is {id}"))
            && said.contains("adopt it by name: --host metal3/node01"),
        "{said}"
    );
    assert!(!said.contains("recorded"), "{said}");
    let said = say_at_the_cluster(&system, &["adopt", "--host", "node01", "--dry-run"])
        .await
        .well();
    assert!(
        said.contains(&format!("metal3/node01 {IMAGE} for {id}")),
        "{said}"
    );
    let until = (Timestamp::now() + 2.hours()).to_string();
    let whose = |id: &'static str| {
        [
            "adopt",
            "--host",
            "node01",
            "--until",
            until.as_str(),
            "--reservation",
            id,
        ]
    };
    let another = say_at_the_cluster(&system, &whose("reservation-system:99")).await;
    assert!(
        another.out.contains(&format!("its consumerRef is {id}")),
        "{another:?}"
    );
    another.refused("can't be adopted");
    let said = say_at_the_cluster(&system, &["adopt", "--host", "node01"])
        .await
        .well();
    assert!(said.contains("recorded HostAdopted"), "{said}");
    assert!(said.contains("without a deadline"), "{said}");
    system.wait_for_fact(&booking, "HostClaimed").await.unwrap();
    until_shown(&mut system, "alarm unknown_holder", false).await;
    let after = system.host(1);
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(after["status"], before["status"]);

    // Who starts meanwhile waits; then its own end releases it like any other.
    let next = system.book(TOMAS, 1).unwrap();
    system.reservations.start_event(next.id).await.unwrap();
    until_told(&system, &next, "waits").await;
    system.reservations.end_event(booking.id).await.unwrap();
    until_told(&system, &booking, "has ended").await;
    until_told(&system, &next, "is ready. Log in").await;
    assert_eq!(system.cluster.secrets(NAMESPACE).len(), 1);
    system.reservations.end_event(next.id).await.unwrap();
    system.wait_for_fact(&next, "HostReleased").await.unwrap();
    assert!(is_clean(&system.host(1)));
}
