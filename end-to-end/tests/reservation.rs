//! One reservation, from its start to its release.
#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_end_to_end::site::{MARA, is_clean, is_provisioned};
use bellhop_end_to_end::{System, SystemSettings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_becomes_a_ready_host_and_its_end_gives_it_back_clean() {
    let system = System::start(SystemSettings::default()).await.unwrap();
    let booking = system.book(MARA, 1).unwrap();
    let sent = system.reservations.start_event(booking.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202), "{:?}", sent[0].outcome);
    system.wait_for_host(1, is_provisioned).await.unwrap();
    let told = system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    assert!(
        told.message.contains("ssh prognose@node01.lab.example"),
        "{}",
        told.message
    );
    system.reservations.end_event(booking.id).await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
}
