//! What never came, or came too late: starts, resources, clean hosts.
#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_end_to_end::site::{
    self, INES, MARA, NAMESPACE, TOMAS, is_clean, is_provisioned, node,
};
use bellhop_end_to_end::{A_WHILE, ServiceKind, System, SystemSettings};
use bellhop_simulator::cluster::{HostSpec, HostState};
use bellhop_simulator::reservation_system::BookingChange;
use jiff::{Timestamp, ToSpan as _};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_start_that_does_not_come_is_alarmed_told_with_what_to_do_and_missed_at_its_end()
 {
    let mut system = System::start(SystemSettings {
        variables: vec![("START_GRACE", "1".to_owned())],
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let now = Timestamp::now();
    let booking = system
        .book_at(MARA, 1, now - 10.seconds(), now + 2.hours())
        .unwrap();
    system.reservations.announce(booking.id).await.unwrap();
    let told = system
        .wait_for_told(&booking, "START_OVERDUE")
        .await
        .unwrap();
    assert_eq!((told.kind.as_str(), &told.user_id), ("WARNING", &MARA.id()));
    assert!(
        told.message
            .contains("book again with a start at least two minutes from now"),
        "{}",
        told.message
    );
    let id = booking.id.to_string();
    system
        .wait_for_shown(&["start_overdue", &id])
        .await
        .unwrap();

    let end =
        bellhop_simulator::reservation_system::BookingChange::end(Timestamp::now() - 5.seconds());
    system.reservations.update(booking.id, end).await.unwrap();
    let told = system
        .wait_for_told(&booking, "RESERVATION_MISSED")
        .await
        .unwrap();
    assert_eq!(told.kind, "WARNING");
    let log = system.wait_for_log(&booking, |_| true).await.unwrap();
    assert_eq!(
        (log.event_type.as_str(), log.success, log.resource_id),
        ("EVENT_START", false, Some(31))
    );
    assert!(system.wait_for_not_shown(&["start_overdue", &id]).await);
    assert!(system.cluster.writes().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_resource_wipes_nobody_and_fails_who_waits_for_it() {
    let mut system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let holder = system.ready(MARA, 1).await.unwrap();
    let waiting = system.started(TOMAS, 1).await.unwrap();
    system
        .wait_for_told(&waiting, "PROVISIONING_WAITING")
        .await
        .unwrap();
    let sent = system.reservations.resource_updated(31).await.unwrap();
    let deleted = String::from_utf8(sent[0].body.to_vec()).unwrap();
    let deleted = deleted.replace("RESOURCE_UPDATED", "RESOURCE_DELETED");
    let writes = system.cluster.writes_to_host(NAMESPACE, &node(1)).len();
    system
        .reservations
        .send(site::WEBHOOK, deleted)
        .await
        .unwrap();

    let id = holder.id.to_string();
    system
        .wait_for_shown(&["held_resource_deleted", &id])
        .await
        .unwrap();
    let told = system
        .wait_for_told(&waiting, "PROVISIONING_FAILED")
        .await
        .unwrap();
    assert_eq!(told.kind, "ERROR");
    assert!(
        told.message.contains("removed from the reservation system"),
        "{}",
        told.message
    );
    tokio::time::sleep(A_WHILE).await;
    assert!(system.has(&holder, 1) && is_provisioned(&system.host(1)));
    assert_eq!(
        system.cluster.writes_to_host(NAMESPACE, &node(1)).len(),
        writes
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_before_the_start_makes_the_late_start_come_to_nothing() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.announce(booking.id).await.unwrap();
    let late = system.book(MARA, 1).unwrap();
    // The start overtakes nothing: it was sent before the deletion, and comes after it.
    let sent = system.reservations.start_event(late.id).await.unwrap();
    let start = String::from_utf8(sent[0].body.to_vec()).unwrap();
    system
        .wait_for_told(&late, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    system.reservations.end_event(late.id).await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
    let claims = system.claims(1);

    let start = start.replace(&format!("\"{}\"", late.id), &format!("\"{}\"", booking.id));
    let id = booking.id;
    system.reservations.delete(id).await.unwrap();
    system
        .wait_for_told(&booking, "RESERVATION_CANCELLED")
        .await
        .unwrap();
    system
        .reservations
        .send(site::WEBHOOK, start)
        .await
        .unwrap();
    // What comes after it is served: it was surely decided.
    let next = system.ready(TOMAS, 1).await.unwrap();
    assert!(system.has(&next, 1));
    assert_eq!(system.claims(1).len(), claims.len() + 1);
    assert_eq!(
        system.told(&booking),
        [("INFO".to_owned(), "RESERVATION_CANCELLED".to_owned())]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_not_clean_before_the_end_of_who_waits_fails_it_with_that_reason() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let first = system.ready(MARA, 1).await.unwrap();
    let node_1 = node(1);
    system
        .cluster
        .hold_at(NAMESPACE, &node_1, HostState::Deprovisioning);
    let second = system.started(TOMAS, 1).await.unwrap();
    system
        .wait_for_told(&second, "PROVISIONING_WAITING")
        .await
        .unwrap();
    system.reservations.end_event(first.id).await.unwrap();
    system
        .cluster
        .wait_for_state(NAMESPACE, &node_1, HostState::Deprovisioning)
        .await
        .unwrap();
    let third = system.started(INES, 1).await.unwrap();
    let told = system
        .wait_for_told(&third, "PROVISIONING_WAITING")
        .await
        .unwrap();
    assert!(
        told.message.contains("being taken back"),
        "{}",
        told.message
    );
    let fourth = system.started(MARA, 1).await.unwrap();

    // Whether it was told of the holder or of its release when it started: in the end it was the release.
    for waits in [&second, &third] {
        let over = BookingChange::end(Timestamp::now() - 1.seconds());
        system.reservations.update(waits.id, over).await.unwrap();
        let told = system
            .wait_for_told(waits, "PROVISIONING_FAILED")
            .await
            .unwrap();
        assert_eq!(told.kind, "ERROR");
        assert!(
            told.message.contains("was not clean again"),
            "{}",
            told.message
        );
        let log = system.wait_for_log(waits, |log| !log.success).await;
        assert!(
            log.unwrap()
                .response
                .unwrap()
                .contains("was not clean again")
        );
    }
    // Who waits longer gets it.
    system.cluster.let_go(NAMESPACE, &node_1);
    system
        .wait_for_told(&fourth, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_metal3_does_not_wipe_is_given_to_the_next_only_when_an_operator_allows_it() {
    let mut system = System::start(SystemSettings {
        hosts: 0,
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let host = HostSpec::new(NAMESPACE, &node(1))
        .spec(serde_json::json!({"automatedCleaningMode": "disabled"}));
    system.cluster.add_host(host).unwrap();
    let first = system.ready(MARA, 1).await.unwrap();
    system.reservations.end_event(first.id).await.unwrap();
    system.wait_for_fact(&first, "HostReleased").await.unwrap();
    let facts = system.command(&["facts"]).await.unwrap();
    let facts = String::from_utf8(facts.stdout).unwrap();
    let released = facts.lines().find(|line| line.contains("HostReleased"));
    assert!(released.unwrap().contains("\"not_wiped\":true"), "{facts}");
    let mut logs = system.all(ServiceKind::Provisioner).map(|it| it.log_text());
    assert!(
        logs.any(|log| log.contains("released, not wiped")),
        "{facts}"
    );
    drop(logs);

    let next = system.started(TOMAS, 1).await.unwrap();
    let told = system
        .wait_for_told(&next, "PROVISIONING_WAITING")
        .await
        .unwrap();
    assert_eq!(told.kind, "WARNING");
    assert!(told.message.contains("operator"), "{}", told.message);
    let id = next.id.to_string();
    let shown = system.wait_for_shown(&["operator_needed", &id]).await;
    let shown = shown.unwrap();
    assert!(
        shown.contains("released, not wiped") && shown.contains("bellhop allow"),
        "{shown}"
    );
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(system.claims(1).len(), 1);
    system.say(&["allow", &id]).await.unwrap();
    system
        .wait_for_told(&next, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    assert!(!system.user_data_of(1)[1].contains(&MARA.key()));
}
