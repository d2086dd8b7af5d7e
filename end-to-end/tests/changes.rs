//! Bookings that are changed after they were told: only the sender's word moves one, and nobody sends a second start.
#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_domain::reservation::Fact;
use bellhop_end_to_end::site::{INES, MARA, NAMESPACE, TOMAS, is_clean, is_provisioned, node};
use bellhop_end_to_end::{A_WHILE, PATIENCE, System, SystemSettings, wait_for};
use bellhop_simulator::reservation_system::{Booking, BookingChange};
use jiff::{Timestamp, ToSpan as _};

async fn told_ready_twice(system: &System, booking: &Booking) {
    let twice = wait_for(PATIENCE, async || {
        (system.notifications(booking, "SUCCESS").len() == 2).then_some(())
    });
    assert!(twice.await.is_some(), "{:?}", system.told(booking));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_booking_that_is_moved_is_released_there_and_started_here_with_the_key_of_its_start() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let booking = system.ready(MARA, 1).await.unwrap();
    system
        .reservations
        .update(booking.id, BookingChange::resource(node(2)))
        .await
        .unwrap();
    let told = system
        .wait_for_told(&booking, "RESERVATION_MOVED")
        .await
        .unwrap();
    assert!(told.message.contains("node02"), "{}", told.message);
    system.wait_for_host(2, is_provisioned).await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
    assert!(system.has(&booking, 2));
    assert!(system.user_data_of(2)[0].contains(&MARA.key()));
    told_ready_twice(&system, &booking).await;

    system.reservations.end_event(booking.id).await.unwrap();
    system.wait_for_host(2, is_clean).await.unwrap();
    let log = system
        .wait_for_log(&booking, |log| log.event_type == "EVENT_END")
        .await
        .unwrap();
    assert_eq!((log.success, log.resource_id), (true, Some(32)));
    let told: Vec<_> = system
        .told(&booking)
        .into_iter()
        .map(|(_, of)| of)
        .collect();
    assert_eq!(
        told,
        [
            "PROVISIONING_COMPLETED",
            "RESERVATION_MOVED",
            "PROVISIONING_COMPLETED",
            "RESERVATION_COMPLETED"
        ]
    );
    // A change of what is over is answered, and changes nothing.
    let later = BookingChange::end(booking.end + 1.hours());
    system.reservations.update(booking.id, later).await.unwrap();
    let told = system
        .wait_for_told(&booking, "CHANGE_CAME_TOO_LATE")
        .await
        .unwrap();
    assert_eq!(told.kind, "WARNING");
    assert!(told.message.contains("no effect"), "{}", told.message);
    tokio::time::sleep(A_WHILE).await;
    assert!(is_clean(&system.host(2)) && system.cluster.secrets(NAMESPACE).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_moved_to_later_is_taken_back_and_started_again_by_our_own_timer() {
    let system = System::start(SystemSettings {
        variables: vec![("START_LEAD", "300".to_owned())],
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let booking = system.ready(MARA, 1).await.unwrap();
    // Due in a few seconds, five minutes before its start.
    let later = BookingChange {
        start: Some(Timestamp::now() + 310.seconds()),
        ..BookingChange::default()
    };
    system.reservations.update(booking.id, later).await.unwrap();
    system
        .wait_for_fact(&booking, "ReservationResumed")
        .await
        .unwrap();
    told_ready_twice(&system, &booking).await;
    assert!(is_provisioned(&system.host(1)));
    assert_eq!(system.claims(1).len(), 2);
    let names = system.fact_names(&booking).await.unwrap();
    let place = |name| names.iter().position(|it| *it == name).unwrap();
    assert!(place("ReservationPostponed") < place("ReservationResumed"));
    assert_eq!(
        names
            .iter()
            .filter(|it| **it == "ReservationStarted")
            .count(),
        1
    );
    assert_eq!(system.user_data_of(1).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_in_the_order_of_the_starts_as_they_are_now() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let holder = system.ready(MARA, 1).await.unwrap();
    let at = |seconds: i64| holder.start + seconds.seconds();
    // Told in another order than they begin.
    let last = system.book_at(TOMAS, 1, at(20), at(9000)).unwrap();
    let gone = system.book_at(TOMAS, 1, at(5), at(9000)).unwrap();
    let first = system.book_at(INES, 1, at(30), at(9000)).unwrap();
    for booking in [&last, &gone, &first] {
        system.reservations.start_event(booking.id).await.unwrap();
        let told = system.wait_for_told(booking, "PROVISIONING_WAITING").await;
        let told = told.unwrap();
        assert_eq!(told.kind, "INFO");
        assert!(
            told.message
                .contains("another reservation still has the server"),
            "{}",
            told.message
        );
    }
    // One is deleted while it waits; another moves behind.
    system.reservations.delete(gone.id).await.unwrap();
    let later = BookingChange {
        start: Some(at(40)),
        ..BookingChange::default()
    };
    system.reservations.update(last.id, later).await.unwrap();
    system
        .wait_for_told(&gone, "RESERVATION_CANCELLED")
        .await
        .unwrap();
    system
        .wait_for_fact(&last, "ReservationChanged")
        .await
        .unwrap();

    system.reservations.end_event(holder.id).await.unwrap();
    system
        .wait_for_told(&first, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    // The end of who had it before leaves the holder alone.
    system.reservations.end_event(holder.id).await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert!(system.has(&first, 1) && is_provisioned(&system.host(1)));
    system.reservations.end_event(first.id).await.unwrap();
    system
        .wait_for_told(&last, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    let order: Vec<String> = [&holder, &first, &last]
        .map(|booking| format!("reservation-system:{}", booking.id))
        .to_vec();
    assert_eq!(system.claims(1), order);
    let user_data = system.user_data_of(1);
    for (user_data, of) in user_data.iter().zip([MARA, INES, TOMAS]) {
        for person in [MARA, INES, TOMAS] {
            assert_eq!(user_data.contains(&person.key()), person == of);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_owner_leaves_the_host_and_warns_both_and_two_updates_of_one_moment_both_count() {
    let mut system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let booking = system.ready(MARA, 1).await.unwrap();

    // Two changes within what `updatedAt` can tell apart.
    let moment = Timestamp::now().to_string();
    let ends = [booking.end + 1.hours(), booking.end + 2.hours()];
    for end in ends {
        let change = |body: &mut serde_json::Value| {
            body["data"]["updatedAt"] = moment.clone().into();
            body["data"]["end"] = end.to_string().into();
        };
        system.update_as(&booking, change).await.unwrap();
    }
    let last = wait_for(PATIENCE, async || {
        let facts = system.facts(&booking).await.ok()?;
        let told = facts.iter().filter_map(|fact| match fact {
            Fact::ReservationChanged(changed) => Some(changed.knowledge.schedule.end),
            _ => None,
        });
        let told: Vec<_> = told.collect();
        ends.iter().all(|end| told.contains(end)).then_some(())
    });
    assert!(last.await.is_some(), "an update was not applied");

    let writes = system.cluster.writes_to_host(NAMESPACE, &node(1)).len();
    system
        .update_as(&booking, |body| {
            body["data"]["end"] = ends[1].to_string().into();
            body["data"]["keycloakId"] = TOMAS.id().into();
        })
        .await
        .unwrap();
    let id = booking.id.to_string();
    system
        .wait_for_shown(&["owner_changed", &id])
        .await
        .unwrap();
    for (person, said) in [(MARA, "save what you need"), (TOMAS, "is yours now")] {
        let told = system
            .reservations
            .wait_for_notification(PATIENCE, |it| {
                it.user_id == person.id() && it.event_type.as_deref() == Some("OWNER_CHANGED")
            })
            .await
            .unwrap();
        assert_eq!(told.kind, "WARNING");
        assert!(told.message.contains(said), "{}", told.message);
        assert!(
            told.message.contains("ask the operators"),
            "{}",
            told.message
        );
    }
    tokio::time::sleep(A_WHILE).await;
    assert!(is_provisioned(&system.host(1)));
    assert_eq!(
        system.cluster.writes_to_host(NAMESPACE, &node(1)).len(),
        writes
    );
    system.say(&["release", &node(1)]).await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
}
