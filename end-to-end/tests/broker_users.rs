//! The system on a broker with the shipped permissions: each service under its own user.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use bellhop_end_to_end::site::{MARA, TOMAS, is_clean, is_provisioned};
use bellhop_end_to_end::{ServiceKind, System, SystemSettings};
use bellhop_event_store::{EventStore, EventStoreSettings};
use bellhop_nats_server::NatsServer;
use nkeys::KeyPair;

const PERMISSIONS: &str = include_str!("../../deploy/nats/permissions.conf");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_goes_its_whole_way_with_a_user_for_each_service() {
    let seeds = tempfile::tempdir().unwrap();
    let seed_file = |user: &str| seeds.path().join(user);
    let mut keys = String::new();
    for user in [
        "ingress",
        "provisioner",
        "notifier",
        "operator",
        "administrator",
    ] {
        let pair = KeyPair::new_user();
        std::fs::write(seed_file(user), pair.seed().unwrap()).unwrap();
        let variable = format!("BELLHOP_{}_NKEY", user.to_uppercase());
        keys.push_str(&format!("{variable}: {}\n", pair.public_key()));
    }
    let nats = NatsServer::builder()
        .configuration(keys)
        .configuration(PERMISSIONS)
        .start()
        .unwrap();
    let administrator = EventStoreSettings {
        nats_nkey_file: Some(seed_file("administrator")),
        ..EventStoreSettings::at(nats.url())
    };
    let store = EventStore::connect(&administrator, "bellhop-setup").await;
    store.unwrap().set_up().await.unwrap();

    let of_kind = |kind: ServiceKind| {
        let seed = seed_file(kind.name()).display().to_string();
        (kind, "NATS_NKEY_FILE", seed)
    };
    let settings = SystemSettings {
        variables: vec![("CREATE_STREAMS", "false".to_owned())],
        variables_of: ServiceKind::ALL.map(of_kind).to_vec(),
        ..SystemSettings::default()
    };
    let mut system = System::start_on(nats, settings).await.unwrap();
    let booking = system.book(MARA, 1).unwrap();
    let sent = system.reservations.start_event(booking.id).await.unwrap();
    assert_eq!(sent[0].status(), Some(202), "{:?}", sent[0].outcome);
    system.wait_for_host(1, is_provisioned).await.unwrap();
    let told = system.wait_for_notification(&booking, "SUCCESS").await;
    told.unwrap();
    system.reservations.end_event(booking.id).await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
    let logged = system
        .wait_for_log(&booking, |log| log.event_type == "EVENT_END" && log.success)
        .await;
    logged.unwrap();
    drain_what_waits(&mut system, &seed_file("ingress")).await;
    let user = MARA.id();
    let forget = async |of_the_broker: &str, more: &[&str]| {
        let seed = seed_file(of_the_broker).display().to_string();
        let words = [
            "forget",
            &user,
            "--reason",
            "a test",
            "--nats-nkey-file",
            &seed,
        ];
        system.command(&[&words, more].concat()).await.unwrap()
    };
    let done = forget("administrator", &["--yes"]).await;
    assert!(done.status.success(), "{done:?}");
    let log = system.nats.log_text();
    let violations: Vec<_> = log
        .lines()
        .filter(|line| line.contains("Violation"))
        .collect();
    assert_eq!(violations, [""; 0]);

    // An operator can look, and erase nothing.
    let booking = system.book(MARA, 1).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system.wait_for_host(1, is_provisioned).await.unwrap();
    system.reservations.end_event(booking.id).await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
    let refused = forget("operator", &["--yes"]).await;
    assert!(!refused.status.success(), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("this is for `administrator`"), "{said}");
    let left = forget("operator", &[]).await;
    assert!(left.stdout.starts_with(b"delivery "), "{left:?}");
}

/// What waits in the spool of an ingress that is gone is brought to the broker with that one's key.
async fn drain_what_waits(system: &mut System, seed: &Path) {
    let waiting = system.book(TOMAS, 2).unwrap();
    system.nats.kill().unwrap();
    let spooled = system.reservations.start_event(waiting.id).await.unwrap();
    assert_eq!(spooled[0].status(), Some(202), "{:?}", spooled[0].outcome);
    system.ingress().kill().unwrap();
    system.nats.restart().unwrap();
    let spool = system.folder().join("spool-0").display().to_string();
    let seed = seed.display().to_string();
    let drain = [
        "spool",
        "drain",
        "--spool-dir",
        &spool,
        "--nats-nkey-file",
        &seed,
    ];
    let drained = system.command(&drain).await.unwrap();
    let said = String::from_utf8(drained.stdout.clone()).unwrap();
    assert_eq!(
        said, "1 webhook(s) of the spool are stored\n",
        "{drained:?}"
    );
    system.start_services().await.unwrap();
}
