//! Deliveries of several sites on one webhook.
#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_end_to_end::site::{INES, MARA, NAMESPACE, TOMAS, node, server};
use bellhop_end_to_end::{A_WHILE, System, SystemSettings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_second_site_on_new_starts_wait_until_sites_are_named_and_others_are_not_acted_on() {
    let mut system = System::start(SystemSettings {
        servers: 3,
        hosts: 3,
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    // One site alone needs no setting.
    let first = system.ready(MARA, 1).await.unwrap();

    // The second one has a server whose name a host of ours has.
    let elsewhere = server(2).site("site-2", "Lab Eight");
    system.reservations.put_resource(elsewhere);
    let theirs = system.started(TOMAS, 2).await.unwrap();
    let told = system
        .wait_for_told(&theirs, "PROVISIONING_WAITING")
        .await
        .unwrap();
    assert_eq!(told.kind, "WARNING");
    assert!(told.message.contains("several sites"), "{}", told.message);
    let ours = system.started(INES, 3).await.unwrap();
    system
        .wait_for_told(&ours, "PROVISIONING_WAITING")
        .await
        .unwrap();
    let shown = system.wait_for_shown(&["sites_unsettled"]).await.unwrap();
    assert!(shown.contains("SITE_IDS"), "{shown}");
    tokio::time::sleep(A_WHILE).await;
    for waiting in [2, 3] {
        let writes = system.cluster.writes_to_host(NAMESPACE, &node(waiting));
        assert!(writes.is_empty(), "{writes:?}");
    }
    // Who has a server keeps it.
    assert!(system.has(&first, 1));

    for service in system.services() {
        service.stop().await.unwrap();
        service.set_variable("SITE_IDS", "site-1");
    }
    system.start_services().await.unwrap();
    system
        .wait_for_told(&ours, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    let told = system
        .wait_for_told(&theirs, "PROVISIONING_FAILED")
        .await
        .unwrap();
    assert_eq!(told.kind, "ERROR");
    assert!(told.message.contains("not prepared"), "{}", told.message);

    // From now on what comes from there is kept and alarmed, and its user hears nothing of us.
    let later = system.book(TOMAS, 2).unwrap();
    let kept = system.messages("DELIVERIES").await.unwrap().len();
    let sent = system.reservations.start_event(later.id).await.unwrap();
    assert!(sent[0].was_delivered(), "{:?}", sent[0].outcome);
    let shown = system.wait_for_shown(&["other_site", "site-2"]).await;
    assert!(shown.unwrap().contains("not acted on"));
    assert_eq!(system.messages("DELIVERIES").await.unwrap().len(), kept + 1);
    system.reservations.end_event(first.id).await.unwrap();
    system
        .wait_for_told(&first, "RESERVATION_COMPLETED")
        .await
        .unwrap();
    assert_eq!(system.told(&later), []);
    let writes = system.cluster.writes_to_host(NAMESPACE, &node(2));
    assert!(writes.is_empty(), "{writes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_another_number_had_is_given_to_a_server_of_the_same_name_by_an_operator_only()
{
    let mut system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let first = system.ready(MARA, 1).await.unwrap();
    system.reservations.end_event(first.id).await.unwrap();
    system.wait_for_fact(&first, "HostReleased").await.unwrap();

    // The server has another name now, and another one got its old name.
    let (mut renamed, mut another) = (server(1), server(1));
    renamed.name = "node09".to_owned();
    another.id = 77;
    system.reservations.put_resource(renamed);
    system.reservations.put_resource(another);
    let booking = system.started(TOMAS, 1).await.unwrap();
    assert_eq!(booking.resource_id, 77);
    let id = booking.id.to_string();
    let shown = system.wait_for_shown(&["operator_needed", &id]).await;
    assert!(shown.unwrap().contains("bellhop allow"));
    let told = system
        .wait_for_told(&booking, "PROVISIONING_WAITING")
        .await
        .unwrap();
    assert_eq!(told.kind, "WARNING");
    assert!(told.message.contains("operator"), "{}", told.message);
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(system.claims(1).len(), 1);
    system.say(&["allow", &id]).await.unwrap();
    system
        .wait_for_told(&booking, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
}
