//! Ends that do not come: told, held, released, and never all at once (R5).
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use bellhop_domain::reservation::{EndCause, Fact};
use bellhop_end_to_end::site::{INES, MARA, NAMESPACE, TOMAS, is_clean, is_provisioned, node};
use bellhop_end_to_end::{A_WHILE, PATIENCE, ServiceKind, System, SystemSettings, wait_for};
use bellhop_simulator::reservation_system::{Booking, BookingChange};
use jiff::{Timestamp, ToSpan as _};

/// A system that waits so many seconds for an end, and then holds the host for so many.
async fn waiting_for_ends(grace: u32, hold: u32, further: &[(&'static str, &str)]) -> System {
    let usual = [
        ("DEADLINE_GRACE", grace.to_string()),
        ("DEADLINE_HOLD", hold.to_string()),
    ];
    let further = further.iter().map(|(name, value)| (*name, (*value).into()));
    System::start(SystemSettings {
        servers: 4,
        hosts: 4,
        variables: usual.into_iter().chain(further).collect(),
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap()
}

/// Moves a booking's end; no end event ever comes.
async fn ends_at(system: &System, booking: &Booking, end: Timestamp) {
    let sent = system
        .reservations
        .update(booking.id, BookingChange::end(end))
        .await
        .unwrap();
    assert_eq!(sent[0].status(), Some(202), "{:?}", sent[0].outcome);
}

async fn causes(system: &System, booking: &Booking) -> Vec<EndCause> {
    let facts = system.facts(booking).await.unwrap().into_iter();
    let cause = |fact| match fact {
        Fact::ReservationEnded(ended) => Some(ended.cause),
        _ => None,
    };
    facts.filter_map(cause).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_end_is_told_with_what_to_do_and_held_until_it_is_extended_or_proven_over() {
    let mut system = waiting_for_ends(1, 7200, &[]).await;
    let booking = system.ready(MARA, 1).await.unwrap();

    ends_at(&system, &booking, Timestamp::now() - 30.seconds()).await;
    let told = system
        .wait_for_told(&booking, "RESERVATION_OVERDUE")
        .await
        .unwrap();
    assert_eq!((told.kind.as_str(), &told.user_id), ("WARNING", &MARA.id()));
    for said in ["Save your data now", "taken back at", "extend"] {
        assert!(told.message.contains(said), "{}", told.message);
    }
    let id = booking.id.to_string();
    system
        .wait_for_shown(&["deadline_passed", &id])
        .await
        .unwrap();
    for provisioner in system.all(ServiceKind::Provisioner) {
        let raised = wait_for(PATIENCE, async || {
            let metrics = provisioner.page("/metrics").await.ok()?;
            let is_gauge =
                |line: &&str| !line.starts_with('#') && line.contains("\"deadline_passed\"");
            let gauge = metrics.lines().find(is_gauge)?;
            gauge.ends_with(" 1").then_some(())
        });
        assert!(raised.await.is_some());
    }

    // Its user extends it in the reservation system: nothing is overdue any more.
    ends_at(&system, &booking, Timestamp::now() + 2.hours()).await;
    assert!(system.wait_for_not_shown(&["deadline_passed", &id]).await);
    assert!(system.has(&booking, 1) && is_provisioned(&system.host(1)));

    // Overdue again, an operator keeps it.
    ends_at(&system, &booking, Timestamp::now() - 20.seconds()).await;
    system
        .wait_for_shown(&["deadline_passed", &id])
        .await
        .unwrap();
    let until = (Timestamp::now() + 3.hours()).to_string();
    system
        .say(&["extend", &id, "--until", &until])
        .await
        .unwrap();
    assert!(system.wait_for_not_shown(&["deadline_passed", &id]).await);
    let told = system
        .wait_for_told(&booking, "RESERVATION_EXTENDED")
        .await
        .unwrap();
    assert_eq!(told.kind, "INFO");
    tokio::time::sleep(A_WHILE).await;
    assert!(system.has(&booking, 1) && is_provisioned(&system.host(1)));
    assert_eq!(causes(&system, &booking).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_or_an_announcement_of_a_later_reservation_proves_that_the_holder_is_over() {
    let system = waiting_for_ends(1, 7200, &[]).await;
    let (first, second) = (
        system.ready(MARA, 1).await.unwrap(),
        system.ready(TOMAS, 2).await.unwrap(),
    );
    for booking in [&first, &second] {
        ends_at(&system, booking, Timestamp::now() - 30.seconds()).await;
        system
            .wait_for_told(booking, "RESERVATION_OVERDUE")
            .await
            .unwrap();
    }
    let now = Timestamp::now();
    let next = system.book_at(INES, 1, now, now + 1.hours()).unwrap();
    system.reservations.start_event(next.id).await.unwrap();
    let announced = system.book_at(INES, 2, now, now + 1.hours()).unwrap();
    system.reservations.announce(announced.id).await.unwrap();

    system
        .wait_for_told(&next, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    assert!(system.has(&next, 1));
    system.wait_for_host(2, is_clean).await.unwrap();
    for booking in [&first, &second] {
        assert_eq!(causes(&system, booking).await, [EndCause::ProvenOver]);
        let told = system
            .wait_for_told(booking, "RESERVATION_COMPLETED")
            .await
            .unwrap();
        assert!(told.message.contains("the next reservation"), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_missing_ends_than_there_may_be_stop_with_one_alarm_and_an_operator_releases_the_rest()
{
    // Held long enough that each user is warned before, on a busy machine too.
    let mut system = waiting_for_ends(1, 6, &[("DEADLINE_RELEASE_MAX", "2")]).await;
    let mut bookings = Vec::new();
    for server in 1..=4 {
        bookings.push(system.ready(MARA, server).await.unwrap());
    }
    for booking in &bookings {
        ends_at(&system, booking, Timestamp::now() - 30.seconds()).await;
    }
    system
        .wait_for_shown(&["deadline_releases_stopped"])
        .await
        .unwrap();
    for booking in &bookings {
        let told = system.wait_for_told(booking, "RESERVATION_OVERDUE").await;
        assert_eq!(told.unwrap().kind, "WARNING");
    }
    let free = |system: &System| (1..=4).filter(|&it| is_clean(&system.host(it))).count();
    let two = wait_for(PATIENCE, async || (free(&system) == 2).then_some(())).await;
    assert!(two.is_some(), "{} are free", free(&system));
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(free(&system), 2);
    // However many stopped, it is one alarm.
    for page in system.shown().await {
        let alarms = page.matches("deadline_releases_stopped").count();
        assert_eq!(alarms, 1, "{page}");
    }

    for server in (1..=4).filter(|&it| !is_clean(&system.host(it))) {
        let said = system.say(&["release", &node(server)]).await.unwrap();
        assert!(said.contains("recorded ReservationEnded"), "{said}");
        system.wait_for_host(server, is_clean).await.unwrap();
    }
    let mut by_operator = 0;
    for booking in &bookings {
        let causes = causes(&system, booking).await;
        assert_eq!(causes.len(), 1);
        by_operator += usize::from(causes[0] == EndCause::Operator);
    }
    assert_eq!(by_operator, 2);
    assert!(system.cluster.secrets(NAMESPACE).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passed_while_bellhop_was_away_is_held_anew_and_not_fired() {
    let mut system = waiting_for_ends(1, 6, &[]).await;
    let booking = system.ready(MARA, 1).await.unwrap();
    ends_at(&system, &booking, Timestamp::now() - 30.seconds()).await;
    system
        .wait_for_told(&booking, "RESERVATION_OVERDUE")
        .await
        .unwrap();
    let Some(Fact::DeadlinePassed { hold_until, .. }) =
        system.wait_for_fact(&booking, "DeadlinePassed").await
    else {
        panic!("no deadline passed");
    };
    for provisioner in system.all(ServiceKind::Provisioner) {
        provisioner.kill().unwrap();
    }
    assert_eq!(causes(&system, &booking).await, []);
    while Timestamp::now() <= hold_until {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    system.start_services().await.unwrap();
    let Some(Fact::DeadlineHeldAgain {
        hold_until: again, ..
    }) = system.wait_for_fact(&booking, "DeadlineHeldAgain").await
    else {
        panic!("not held again");
    };
    assert!(again > hold_until);
    // Held again, then released: its user heard of both, in this order.
    system
        .wait_for_told(&booking, "RESERVATION_COMPLETED")
        .await
        .unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
    let told = system.told(&booking);
    let told: Vec<&str> = told
        .iter()
        .map(|(_, event_type)| event_type.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "PROVISIONING_COMPLETED",
            "RESERVATION_OVERDUE",
            "RESERVATION_OVERDUE",
            "RESERVATION_COMPLETED"
        ]
    );
    assert_eq!(causes(&system, &booking).await, [EndCause::Deadline]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_hosts_are_not_held_a_missing_end_releases_at_once_and_its_user_is_warned() {
    let system = waiting_for_ends(1, 0, &[]).await;
    let booking = system.ready(MARA, 1).await.unwrap();
    ends_at(&system, &booking, Timestamp::now() - 30.seconds()).await;
    let told = system
        .wait_for_told(&booking, "RESERVATION_COMPLETED")
        .await
        .unwrap();
    assert_eq!(told.kind, "WARNING");
    assert!(told.message.contains("make a new reservation"), "{told:?}");
    system.wait_for_host(1, is_clean).await.unwrap();
    assert_eq!(causes(&system, &booking).await, [EndCause::Deadline]);
}
