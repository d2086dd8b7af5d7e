//! `hold`, `unhold` and `release`.

use bellhop_end_to_end::site::{MARA, TOMAS, is_clean, is_provisioned, node};
use bellhop_end_to_end::{System, SystemSettings};

use crate::{say, until_logged_by_ada, until_shown, until_told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_holds_a_host_then_lets_it_go_and_another_s_reservation_is_ended_by_a_release()
{
    let mut system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system.wait_for_host(1, is_provisioned).await.unwrap();

    let node = node(1);
    let said = say(&system, &["hold", &node]).await.well();
    assert!(said.contains("recorded HostHeld"), "{said}");
    assert!(
        said.contains("until `bellhop unhold baremetalhost/metal3/node01 --reason '…'`"),
        "{said}"
    );
    let said = say(&system, &["hold", &node]).await.well();
    assert!(
        said.contains("nothing to do") && said.contains("held already, by ada"),
        "{said}"
    );
    let stands = say_nothing(&system).await;
    assert_eq!(
        stands,
        "held baremetalhost/metal3/node01 by ada: a disk is to be looked at\n"
    );
    system.reservations.end_event(booking.id).await.unwrap();
    system
        .wait_for_notification(&booking, "INFO")
        .await
        .unwrap();
    until_shown(
        &mut system,
        "waiting baremetalhost/metal3/node01: held by ada",
        true,
    )
    .await;
    assert!(is_provisioned(&system.host(1)), "{:#}", system.host(1));
    say(&system, &["release", &node])
        .await
        .refused("is being given back already");
    say(&system, &["unhold", &node]).await.well();
    system.wait_for_host(1, is_clean).await.unwrap();
    let said = say(&system, &["unhold", &node]).await.well();
    assert!(
        said.contains("nothing to do") && said.contains("is not held"),
        "{said}"
    );

    let next = system.book(TOMAS, 1).unwrap();
    system.reservations.start_event(next.id).await.unwrap();
    system
        .wait_for_notification(&next, "SUCCESS")
        .await
        .unwrap();
    let said = say(&system, &["release", &node]).await.well();
    assert!(said.contains("recorded ReservationEnded"), "{said}");
    assert!(said.contains("given back next, and wiped unless"), "{said}");
    until_logged_by_ada(&system, "ReservationEnded").await;
    // Among others: while the host is given back, this one waits.
    until_told(&system, &next, "ended by an operator").await;
    system.wait_for_host(1, is_clean).await.unwrap();
    system.wait_for_fact(&next, "HostReleased").await.unwrap();
    say(&system, &["release", &node])
        .await
        .refused("nobody holds");
}

/// What stands of all orders.
async fn say_nothing(system: &System) -> String {
    let output = system.command(&["orders"]).await.unwrap();
    crate::Said::from(output).well()
}
