//! One server, several reservations, and events in any order: who holds it stays safe (R2, R3, R4, R9).
#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_end_to_end::site::{
    MARA, NAMESPACE, Person, SECOND_WEBHOOK, TOMAS, WEBHOOK, is_clean, is_provisioned, node, text,
};
use bellhop_end_to_end::{A_WHILE, System, SystemSettings};
use bellhop_simulator::cluster::{HostState, Write};
use bellhop_simulator::reservation_system::Booking;
use serde_json::Value;

/// Starts a reservation of `node01`, and waits until it is ready.
async fn ready(system: &System, person: Person) -> Booking {
    let booking = system.book(person, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    booking
}

fn holds(host: &Value, booking: &Booking) -> bool {
    text(host, "/spec/consumerRef/name").ends_with(&format!(":{}", booking.id))
}

fn is_claim_for(write: &Write, booking: &Booking) -> bool {
    write.was_accepted()
        && text(&write.body, "/spec/consumerRef/name").ends_with(&format!(":{}", booking.id))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_comes_while_another_holds_the_server_waits_and_gets_a_clean_host_with_its_own_key()
 {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let first = ready(&system, MARA).await;
    let before = system.cluster.writes_to_host(NAMESPACE, &node(1)).len();

    let second = system.book(TOMAS, 1).unwrap();
    system.reservations.start_event(second.id).await.unwrap();
    let told = system.wait_for_notification(&second, "INFO").await.unwrap();
    assert_eq!(told.user_id, TOMAS.id());
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(
        system.cluster.writes_to_host(NAMESPACE, &node(1)).len(),
        before
    );
    assert!(holds(&system.host(1), &first) && is_provisioned(&system.host(1)));

    system.reservations.end_event(first.id).await.unwrap();
    system
        .wait_for_notification(&second, "SUCCESS")
        .await
        .unwrap();
    assert!(holds(&system.host(1), &second) && is_provisioned(&system.host(1)));

    let writes = system.cluster.writes_to_host(NAMESPACE, &node(1));
    let claim = writes
        .iter()
        .find(|write| is_claim_for(write, &second))
        .unwrap();
    let states = system.cluster.states(NAMESPACE, &node(1));
    let at_claim = states.iter().rfind(|state| state.at <= claim.at).unwrap();
    assert_eq!(
        at_claim.state,
        Some(HostState::Available),
        "claimed before it was clean"
    );
    assert!(
        at_claim.image_url.is_empty() && !at_claim.powered_on,
        "{at_claim:?}"
    );
    let last_before = writes
        .iter()
        .rfind(|write| write.was_accepted() && write.sequence < claim.sequence)
        .unwrap();
    let spec = last_before.spec_after().unwrap();
    assert!(
        spec.get("image").is_none()
            && spec.get("userData").is_none()
            && spec.get("consumerRef").is_none(),
        "{spec}"
    );

    let user_data = system.user_data_of(1);
    let [of_first, of_second] = user_data.as_slice() else {
        panic!("the operator read user data {} times", user_data.len());
    };
    assert!(of_first.contains(&MARA.key()) && !of_first.contains(&TOMAS.key()));
    assert!(of_second.contains(&TOMAS.key()) && !of_second.contains(&MARA.key()));
    assert_eq!(
        system.cluster.secrets(NAMESPACE).len(),
        1,
        "only the holder's secret is there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_earlier_reservation_leaves_the_holder_alone() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let first = ready(&system, MARA).await;
    system.reservations.end_event(first.id).await.unwrap();
    system.wait_for_fact(&first, "HostReleased").await.unwrap();
    let second = ready(&system, TOMAS).await;
    let before = system.cluster.writes_to_host(NAMESPACE, &node(1)).len();

    // As the reservation system does at times: the end comes twice, and a deletion after it.
    system.reservations.end_event(first.id).await.unwrap();
    system.reservations.delete(first.id).await.unwrap();
    // Another server's reservation, so that all before it was surely handled.
    let other = system.book(MARA, 2).unwrap();
    system.reservations.start_event(other.id).await.unwrap();
    system
        .wait_for_notification(&other, "SUCCESS")
        .await
        .unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(
        system.cluster.writes_to_host(NAMESPACE, &node(1)).len(),
        before
    );
    assert!(holds(&system.host(1), &second) && is_provisioned(&system.host(1)));
    assert_eq!(
        system.notifications(&first, "INFO").len(),
        1,
        "its user heard of its end once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_comes_before_its_start_wins() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.end_event(booking.id).await.unwrap();
    system
        .wait_for_fact(&booking, "ReservationEnded")
        .await
        .unwrap();
    let sent = system.reservations.start_event(booking.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202));
    // The next one on the same server gets it, and nothing was written before.
    let next = ready(&system, TOMAS).await;
    let writes = system.cluster.writes_to_host(NAMESPACE, &node(1));
    assert!(
        !writes.iter().any(|write| is_claim_for(write, &booking)),
        "it was provisioned after its end"
    );
    assert!(holds(&system.host(1), &next));
    assert!(
        !system
            .fact_names(&booking)
            .await
            .unwrap()
            .contains(&"HostAssigned")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_whose_end_has_passed_never_provisions_and_its_user_is_told() {
    use jiff::{Timestamp, ToSpan as _};

    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let now = Timestamp::now();
    let booking = system
        .book_at(MARA, 1, now - 2.hours(), now - 1.hours())
        .unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    let told = system
        .wait_for_notification(&booking, "WARNING")
        .await
        .unwrap();
    assert!(told.message.contains("after its end"), "{}", told.message);
    assert!(system.cluster.writes().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_come_twice_under_two_webhooks_prepare_once_and_report_once() {
    let system = System::start(SystemSettings {
        second_webhook: true,
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let booking = system.book(MARA, 1).unwrap();
    let sent = system.reservations.start_event(booking.id).await.unwrap();
    let webhooks: Vec<u64> = sent.iter().map(|sent| sent.webhook_id).collect();
    assert_eq!(webhooks, [WEBHOOK, SECOND_WEBHOOK]);
    assert!(
        sent.iter().all(|sent| sent.status() == Some(202)),
        "{sent:?}"
    );
    // And once more, as a sender that dies before it remembers.
    system.reservations.start_event(booking.id).await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    system.reservations.end_event(booking.id).await.unwrap();
    system.reservations.end_event(booking.id).await.unwrap();
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert!(is_clean(&system.host(1)));
    assert_eq!(system.notifications(&booking, "SUCCESS").len(), 1);
    assert_eq!(system.notifications(&booking, "INFO").len(), 1);
    let writes = system.cluster.writes_to_host(NAMESPACE, &node(1));
    assert_eq!(
        writes
            .iter()
            .filter(|write| is_claim_for(write, &booking))
            .count(),
        1
    );
    let names = system.fact_names(&booking).await.unwrap();
    for once in [
        "ReservationStarted",
        "HostProvisioned",
        "ReservationEnded",
        "HostReleased",
    ] {
        assert_eq!(
            names.iter().filter(|name| **name == once).count(),
            1,
            "{names:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_between_an_early_start_and_its_time_gives_the_server_back() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    system
        .cluster
        .hold_at(NAMESPACE, &node(1), HostState::Provisioning);
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system
        .cluster
        .wait_for_state(NAMESPACE, &node(1), HostState::Provisioning)
        .await
        .unwrap();
    let sent = system.reservations.delete(booking.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202), "{:?}", sent[0].outcome);
    system
        .wait_for_notification(&booking, "INFO")
        .await
        .unwrap();
    system.cluster.let_go(NAMESPACE, &node(1));
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
    assert!(is_clean(&system.host(1)), "{}", system.host(1));
    assert!(system.cluster.secrets(NAMESPACE).is_empty());
    assert!(system.notifications(&booking, "SUCCESS").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_host_is_never_written_to() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let theirs = serde_json::json!({"spec": {"consumerRef": {"kind": "Metal3Machine", "name": "worker-1",
        "namespace": NAMESPACE, "apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1"}}});
    system
        .cluster
        .edit_as_someone_else(NAMESPACE, &node(1), &theirs)
        .unwrap();
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    let told = system
        .wait_for_notification(&booking, "WARNING")
        .await
        .unwrap();
    assert!(told.message.contains("worker-1"), "{}", told.message);
    tokio::time::sleep(A_WHILE).await;
    assert!(
        system.cluster.writes().is_empty(),
        "{:?}",
        system.cluster.writes()
    );
    // Once it is free, the reservation gets it.
    let free = serde_json::json!({"spec": {"consumerRef": null}});
    system
        .cluster
        .edit_as_someone_else(NAMESPACE, &node(1), &free)
        .unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
}
