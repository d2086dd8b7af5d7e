//! One reservation, from its start to its release, as the reservation system and the cluster see it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashSet;
use std::time::Duration;

use bellhop_end_to_end::site::{
    self, MARA, NAMESPACE, TOMAS, is_clean, is_provisioned, node, text,
};
use bellhop_end_to_end::{PATIENCE, System, SystemSettings, wait_for};
use bellhop_simulator::cluster::HostState;
use bellhop_simulator::trace_collector::Span;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_becomes_a_ready_host_and_its_end_gives_it_back_clean() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let booking = system.book(MARA, 1).unwrap();
    let sent = system.reservations.start_event(booking.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202), "{:?}", sent[0].outcome);
    assert_eq!(sent[0].answer().unwrap()["userId"], MARA.id());

    let host = system.wait_for_host(1, is_provisioned).await.unwrap();
    assert_eq!(text(&host, "/spec/consumerRef/kind"), "Reservation");
    let told = system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    assert_eq!(told.user_id, MARA.id());
    assert!(
        told.message.contains("ssh prognose@node01.lab.example"),
        "{}",
        told.message
    );
    let log = system
        .wait_for_log(&booking, |log| log.success && log.status_code == Some(200))
        .await
        .unwrap();
    assert_eq!(
        (log.event_type.as_str(), log.resource_id),
        ("EVENT_START", Some(31))
    );
    assert!(system.user_data_of(1)[0].contains(&MARA.key()));

    let sent = system.reservations.end_event(booking.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202), "{:?}", sent[0].outcome);
    system.wait_for_host(1, is_clean).await.unwrap();
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
    system
        .wait_for_log(&booking, |log| log.event_type == "EVENT_END" && log.success)
        .await
        .unwrap();
    assert!(
        system.cluster.secrets(NAMESPACE).is_empty(),
        "the secret is left"
    );
    let path = system.cluster.state_path(NAMESPACE, &node(1));
    assert_eq!(
        path,
        [
            HostState::Available,
            HostState::Provisioning,
            HostState::Provisioned,
            HostState::Deprovisioning,
            HostState::Available,
        ]
    );
    assert!(
        system.reservations.refused().is_empty(),
        "the receiver refused a report"
    );
    assert_eq!(system.notifications(&booking, "SUCCESS").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_reservations_of_two_servers_do_not_meet() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let (first, second) = (
        system.book(MARA, 1).unwrap(),
        system.book(TOMAS, 2).unwrap(),
    );
    system.reservations.start_event(first.id).await.unwrap();
    system.reservations.start_event(second.id).await.unwrap();
    for (booking, server, own, other) in [(&first, 1, MARA, TOMAS), (&second, 2, TOMAS, MARA)] {
        let told = system
            .wait_for_notification(booking, "SUCCESS")
            .await
            .unwrap();
        assert_eq!(told.user_id, own.id());
        let user_data = system.user_data_of(server);
        assert_eq!(user_data.len(), 1);
        assert!(user_data[0].contains(&own.key()) && !user_data[0].contains(&other.key()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_button_and_events_that_ask_for_nothing_are_answered_200_and_change_nothing() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let pressed = system
        .reservations
        .test_button(site::WEBHOOK)
        .await
        .unwrap();
    assert_eq!(pressed.status(), Some(200), "{:?}", pressed.outcome);
    let updated = system.reservations.resource_updated(31).await.unwrap();
    assert_eq!(updated[0].status(), Some(200), "{:?}", updated[0].outcome);
    system
        .reservations
        .put_resource(site::server(7).type_name("Switch Port"));
    let booking = system.book(MARA, 7).unwrap();
    let other_type = system.reservations.start_event(booking.id).await.unwrap();
    assert_eq!(
        other_type[0].status(),
        Some(200),
        "{:?}",
        other_type[0].outcome
    );

    let deleted = system.reservations.delete(booking.id).await.unwrap();
    assert_eq!(deleted[0].status(), Some(200), "{:?}", deleted[0].outcome);

    // A real start after them, so that they were surely handled.
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    assert!(
        system
            .cluster
            .writes_to_host(NAMESPACE, &node(2))
            .is_empty()
    );
    let others = system
        .entries()
        .await
        .unwrap()
        .into_iter()
        .flat_map(|entry| entry.facts);
    // But for the site that they came from, nothing is known of them.
    let mut others = others.filter(|fact| fact.name() != "SiteSeen");
    assert!(others.all(|fact| {
        fact.reservation()
            .is_some_and(|about| about.event() == booking.id.to_string())
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_holds_the_webhook_the_decision_the_changes_of_the_host_and_the_report() {
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let booking = system.book(MARA, 1).unwrap();
    let sent = system.reservations.start_event(booking.id).await.unwrap();
    let trace_id = sent[0].answer().unwrap()["traceId"]
        .as_str()
        .unwrap()
        .to_owned();
    let told = system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    assert_eq!(
        told.traceparent.unwrap().split('-').nth(1),
        Some(trace_id.as_str())
    );
    let host = system.host(1);
    assert!(text(&host, "/metadata/annotations/bellhop.dev~1traceparent").contains(&trace_id));
    system.reservations.end_event(booking.id).await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();

    let in_trace = |spans: &[Span]| -> Vec<Span> {
        spans
            .iter()
            .filter(|span| span.trace_id == trace_id)
            .cloned()
            .collect()
    };
    let is_whole = |spans: &[Span]| {
        let has = |service: &str, attribute: &str, value: &str| {
            spans
                .iter()
                .any(|span| span.service == service && span.attribute(attribute) == Some(value))
        };
        has("bellhop-ingress", "event_type", "EVENT_START")
            && has("bellhop-provisioner", "what", "claim")
            && has("bellhop-provisioner", "what", "release")
            && has("bellhop-notifier", "fact", "HostProvisioned")
            && spans.iter().any(|span| span.name == "decide")
    };
    let spans = system
        .traces
        .wait_for_spans(PATIENCE, |all| is_whole(&in_trace(all)))
        .await;
    let spans = in_trace(&spans);
    assert!(is_whole(&spans), "{}", system.traces.tree(&trace_id));
    let ids: HashSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let roots = spans.iter().filter(|span| {
        span.parent
            .as_deref()
            .is_none_or(|parent| !ids.contains(parent))
    });
    let roots: Vec<&str> = roots.map(|span| span.service.as_str()).collect();
    assert_eq!(
        roots,
        ["bellhop-ingress"],
        "{}",
        system.traces.tree(&trace_id)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reservation_systems_own_scheduler_brings_a_server_and_takes_it_back() {
    use bellhop_simulator::reservation_system::{BookingChange, SchedulerSettings};
    use jiff::{Timestamp, ToSpan as _};

    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let start = Timestamp::now() + 2.seconds();
    let booking = system.book_at(MARA, 1, start, start + 2.hours()).unwrap();
    system
        .reservations
        .run_scheduler(SchedulerSettings::every(Duration::from_millis(200)));
    system
        .wait_for_notification(&booking, "SUCCESS")
        .await
        .unwrap();
    // Not before it is ready, however slow this machine is.
    let soon = BookingChange::end(Timestamp::now() + 1.seconds());
    system.reservations.update(booking.id, soon).await.unwrap();
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
    let clean = wait_for(PATIENCE, async || is_clean(&system.host(1)).then_some(())).await;
    assert!(clean.is_some());
    let names = system.fact_names(&booking).await.unwrap();
    assert_eq!(
        names
            .iter()
            .filter(|name| **name == "ReservationEnded")
            .count(),
        1,
        "{names:?}"
    );
}
