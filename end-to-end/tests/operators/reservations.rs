//! `extend`, `allow` and `retry`.

use bellhop_end_to_end::site::{INES, MARA, NAMESPACE, TOMAS, is_clean, is_provisioned, node};
use bellhop_end_to_end::{ServiceKind, System, SystemSettings};
use bellhop_simulator::reservation_system::{BookingChange, User};
use jiff::{Timestamp, ToSpan as _};
use serde_json::json;

use crate::{say, until_logged_by_ada, until_shown, until_told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_extends_a_reservation_allows_a_start_and_brings_a_key() {
    let mut system = System::start(SystemSettings {
        servers: 3,
        hosts: 3,
        variables_of: vec![(ServiceKind::Provisioner, "DEADLINE_GRACE", "0".to_owned())],
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    extends(&mut system).await;
    allows(&mut system).await;
    brings_a_key(&mut system).await;
}

/// Mara's end has passed, and nobody ended it: an operator keeps the host for her, until its end comes after all.
async fn extends(system: &mut System) {
    let now = Timestamp::now();
    let booking = system.book_at(MARA, 1, now - 10.minutes(), now + 2.hours());
    let booking = booking.unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    until_told(system, &booking, "is ready. Log in").await;
    let id = booking.id.to_string();
    let earlier = (now + 1.hour()).to_string();
    say(system, &["extend", &id, "--until", &earlier])
        .await
        .refused("a deadline is moved to later only");
    let past = BookingChange::end(now - 1.minute());
    system.reservations.update(booking.id, past).await.unwrap();
    system
        .wait_for_fact(&booking, "DeadlinePassed")
        .await
        .unwrap();
    until_shown(system, "alarm deadline_passed", true).await;
    say(system, &["extend", &id, "--until", "2026-01-01T00:00:00Z"])
        .await
        .refused("has passed already");

    let until = (now + 3.hours()).to_string();
    let said = say(system, &["extend", &id, "--until", &until])
        .await
        .well();
    assert!(said.contains("recorded DeadlineExtended"), "{said}");
    until_told(system, &booking, "An operator keeps server node01 for you").await;
    until_shown(system, "alarm deadline_passed", false).await;
    until_logged_by_ada(system, "DeadlineExtended").await;
    let said = say(system, &["extend", &id, "--until", &until])
        .await
        .well();
    assert!(said.contains("nothing to do"), "{said}");
    assert!(is_provisioned(&system.host(1)));

    system.reservations.end_event(booking.id).await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
    system
        .wait_for_fact(&booking, "HostReleased")
        .await
        .unwrap();
    say(system, &["extend", &id, "--until", &until])
        .await
        .refused("is over: completed");
}

/// A host that Metal3 is told not to wipe is given to Tomas only when an operator allows it.
async fn allows(system: &mut System) {
    let never_wiped = json!({"spec": {"automatedCleaningMode": "disabled"}});
    let edited = system
        .cluster
        .edit_as_someone_else(NAMESPACE, &node(2), &never_wiped);
    edited.unwrap();
    let before = system.book(MARA, 2).unwrap();
    system.reservations.start_event(before.id).await.unwrap();
    until_told(system, &before, "is ready. Log in").await;
    say(system, &["allow", &before.id.to_string()])
        .await
        .refused("it has its host");
    system.reservations.end_event(before.id).await.unwrap();
    system.wait_for_fact(&before, "HostReleased").await.unwrap();

    let next = system.book(TOMAS, 2).unwrap();
    system.reservations.start_event(next.id).await.unwrap();
    system
        .wait_for_notification(&next, "WARNING")
        .await
        .unwrap();
    until_shown(system, "alarm operator_needed", true).await;
    assert!(is_clean(&system.host(2)));
    let whole = format!("reservation-system:{}", next.id);
    let said = say(system, &["allow", &whole]).await.well();
    assert!(said.contains("recorded StartAllowed"), "{said}");
    until_told(system, &next, "is ready. Log in").await;
    until_shown(system, "alarm operator_needed", false).await;
    until_logged_by_ada(system, "StartAllowed").await;
}

/// Ines has no key in her profile; an operator brings the one that she sent.
async fn brings_a_key(system: &mut System) {
    let without_key = User::new(INES.id(), INES.name).email(INES.email());
    system.reservations.put_user(without_key);
    let booking = system.book(INES, 3).unwrap();
    system.reservations.start_event(booking.id).await.unwrap();
    system
        .wait_for_fact(&booking, "ReservationWaits")
        .await
        .unwrap();
    until_shown(system, "alarm key_missing", true).await;

    let id = booking.id.to_string();
    let file = system.folder().join("ines.pub");
    let path = file.display().to_string();
    let retry = ["retry", &id, "--ssh-key-file", &path];
    say(system, &retry)
        .await
        .refused("cannot read --ssh-key-file");
    std::fs::write(&file, "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n").unwrap();
    let refused = say(system, &retry).await;
    assert!(!refused.error.contains("abc"), "{refused:?}");
    refused.refused("--ssh-key-file");
    std::fs::write(&file, format!("ssh-ed25519 {} ines@laptop\n", INES.key())).unwrap();
    let said = say(system, &retry).await.well();
    assert!(said.contains("recorded KeyBrought"), "{said}");
    until_told(system, &booking, "is ready. Log in").await;
    until_shown(system, "alarm key_missing", false).await;
    let read = system.user_data_of(3);
    assert!(read.iter().any(|it| it.contains(&INES.key())), "{read:?}");
    until_logged_by_ada(system, "KeyBrought").await;
    for (path, log) in system.logs() {
        assert!(!log.contains(&INES.key()), "{}", path.display());
    }
    say(system, &retry).await.refused("does not wait for a key");
}
