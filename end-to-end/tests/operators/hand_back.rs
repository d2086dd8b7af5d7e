//! `hand-back`: the way back to the service before Bellhop.

use bellhop_end_to_end::site::{MARA, TOMAS, is_clean, is_provisioned};
use bellhop_end_to_end::{System, SystemSettings};
use serde_json::Value;

use crate::{say_at_the_cluster, until_logged_by_ada, until_shown, until_told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn free_hosts_are_handed_back_switched_on_and_those_in_use_are_left_alone() {
    let mut system = System::start(SystemSettings {
        servers: 3,
        hosts: 3,
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let said = say_at_the_cluster(&system, &["hand-back"]).await.well();
    assert!(said.contains("no host is free"), "{said}");
    let over = system.book(MARA, 1).unwrap();
    let runs = system.book(TOMAS, 2).unwrap();
    for booking in [&over, &runs] {
        system.reservations.start_event(booking.id).await.unwrap();
        until_told(&system, booking, "is ready. Log in").await;
    }
    system.reservations.end_event(over.id).await.unwrap();
    system.wait_for_fact(&over, "HostReleased").await.unwrap();
    assert!(is_clean(&system.host(1)));

    let holder = format!("reservation-system:{} has it", runs.id);
    say_at_the_cluster(&system, &["hand-back", "--host", "node02"])
        .await
        .refused(&holder);
    let third = "baremetalhost/metal3/node03";
    say_at_the_cluster(&system, &["hand-back", "--host", third])
        .await
        .refused("no reservation ever had it");
    let (second, untouched) = (system.host(2), system.host(3));
    let said = say_at_the_cluster(&system, &["hand-back"]).await.well();
    assert!(
        said.contains("recorded HandBackOrdered on baremetalhost/metal3/node01"),
        "{said}"
    );
    assert!(
        said.contains("left alone: baremetalhost/metal3/node02") && said.contains(&holder),
        "{said}"
    );
    let on = |host: &Value| host["spec"]["online"] == true && host["status"]["poweredOn"] == true;
    system.wait_for_host(1, on).await.unwrap();
    let host = system.host(1);
    let gone = |field: &str| host["spec"][field].is_null();
    assert!(
        gone("image") && gone("userData") && gone("consumerRef"),
        "{host:#}"
    );
    until_logged_by_ada(&system, "HandBackOrdered").await;
    until_shown(&mut system, "shown handed_back", false).await;
    assert!(is_provisioned(&second) && system.host(2) == second);
    assert_eq!(system.host(3), untouched);
}
