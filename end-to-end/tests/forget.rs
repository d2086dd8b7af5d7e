//! A user is forgotten, in a running system.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Output;

use bellhop_end_to_end::site::{MARA, TOMAS, is_clean, is_provisioned, node};
use bellhop_end_to_end::{PATIENCE, System, SystemSettings, wait_for};

fn holds(path: &Path, text: &[u8]) -> bool {
    if path.is_dir() {
        let mut entries = std::fs::read_dir(path).unwrap();
        return entries.any(|entry| holds(&entry.unwrap().path(), text));
    }
    // One that the broker has just put another one in the place of holds nothing.
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.windows(text.len()).any(|window| window == text)
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_whose_reservations_are_live_is_forgotten_only_once_they_are_ended() {
    let system = System::start(SystemSettings::default()).await.unwrap();
    let is_on_disk = |text: &str| holds(system.nats.store_dir(), text.as_bytes());
    let holds_host = system.book(MARA, 1).unwrap();
    system
        .reservations
        .start_event(holds_host.id)
        .await
        .unwrap();
    system.wait_for_host(1, is_provisioned).await.unwrap();
    let others = system.book(TOMAS, 2).unwrap();
    system.reservations.start_event(others.id).await.unwrap();
    system.wait_for_host(2, is_provisioned).await.unwrap();
    // This one waits behind the other's.
    let waits = system.book(MARA, 2).unwrap();
    system.reservations.start_event(waits.id).await.unwrap();
    assert!(is_on_disk(&MARA.email()) && is_on_disk(&MARA.key()));

    let user = MARA.id();
    let words = ["forget", &user, "--reason", "she asked", "--by", "ada"];
    let forget = async |more: &[&str]| system.command(&[&words, more].concat()).await.unwrap();
    let known = wait_for(PATIENCE, async || {
        let said = stderr(&forget(&[]).await);
        let both = [holds_host.id, waits.id];
        both.iter()
            .all(|id| said.contains(&format!("reservation-system:{id}")))
            .then_some(said)
    });
    let said = known.await.expect("both are named");
    assert!(said.contains("--end-first"), "{said}");
    let refused = forget(&["--yes"]).await;
    assert!(!refused.status.success(), "{refused:?}");
    assert!(is_provisioned(&system.host(1)) && is_on_disk(&MARA.key()));

    let done = forget(&["--end-first", "--yes"]).await;
    assert!(done.status.success(), "{done:?}");
    assert!(!is_on_disk(&MARA.email()), "{done:?}");
    assert!(!is_on_disk(&MARA.key()), "{done:?}");
    assert!(is_on_disk(&TOMAS.email()) && is_on_disk(&TOMAS.key()));
    for ended in [&holds_host, &waits] {
        let id = ended.id.to_string();
        let told = system.reservations.wait_for_notification(PATIENCE, |it| {
            it.event_id.as_deref() == Some(&id) && it.message.contains("ended by an operator")
        });
        told.await.unwrap();
    }
    system.wait_for_host(1, is_clean).await.unwrap();
    assert!(is_provisioned(&system.host(2)), "{}", node(2));
    // What the sender says of it later changes nothing, and is stored anew.
    system.reservations.end_event(holds_host.id).await.unwrap();
    let facts = system.command(&["facts"]).await.unwrap();
    let facts = String::from_utf8(facts.stdout).unwrap();
    assert!(facts.contains(&user) && !facts.contains(&MARA.email()));
}
