//! Whose key is on a host: the holder's, or nobody's (R9).
#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_end_to_end::site::{INES, MARA, NAMESPACE, TOMAS, is_clean, is_provisioned, node};
use bellhop_end_to_end::{A_WHILE, System, SystemSettings};
use bellhop_simulator::reservation_system::User;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_a_reservation_waits_unclaimed_until_an_operator_brings_it() {
    let mut system = System::start(SystemSettings::two_of_each()).await.unwrap();
    // Somebody with a key had the server before.
    let before = system.ready(MARA, 1).await.unwrap();
    system.reservations.end_event(before.id).await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();
    let claims = system.claims(1);

    let tomas = User::new(TOMAS.id(), TOMAS.name).email(TOMAS.email());
    system.reservations.put_user(tomas);
    let keyless = system.started(TOMAS, 1).await.unwrap();
    let told = system
        .wait_for_told(&keyless, "PROVISIONING_WAITING")
        .await
        .unwrap();
    assert_eq!(
        (told.kind.as_str(), &told.user_id),
        ("WARNING", &TOMAS.id())
    );
    for said in [
        "the account has no SSH public key",
        "Put a valid SSH public key into your profile",
        "book again with a start at least two minutes from now",
    ] {
        assert!(told.message.contains(said), "{}", told.message);
    }
    let id = keyless.id.to_string();
    system.wait_for_shown(&["key_missing", &id]).await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(system.claims(1), claims);

    // Whoever comes later and has a key does not wait for it.
    let next = system.ready(INES, 1).await.unwrap();
    system.reservations.end_event(next.id).await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();

    let file = system.folder().join("key.pub");
    std::fs::write(&file, format!("ssh-ed25519 {} tomas@laptop\n", TOMAS.key())).unwrap();
    let said = system
        .say(&["retry", &id, "--ssh-key-file", file.to_str().unwrap()])
        .await
        .unwrap();
    assert!(said.contains("recorded KeyBrought"), "{said}");
    system
        .wait_for_told(&keyless, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    assert!(system.wait_for_not_shown(&["key_missing", &id]).await);
    let user_data = system.user_data_of(1);
    let last = user_data.last().unwrap();
    assert!(last.contains(&TOMAS.key()));
    assert!(!last.contains(&MARA.key()) && !last.contains(&INES.key()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_can_not_be_used_is_refused_with_the_reason_and_an_end_without_one_is_a_failure()
{
    let system = System::start(SystemSettings::two_of_each()).await.unwrap();
    let mara = User::new(MARA.id(), MARA.name);
    let wrong = [
        "ssh-dss AAAAB3NzaC1kc3MAAACBAP mara@laptop".to_owned(),
        format!("ssh-ed25519 {}\nssh-ed25519 {}", MARA.key(), TOMAS.key()),
        format!("command=\"id\" ssh-ed25519 {}", MARA.key()),
    ];
    let mut keyless = Vec::new();
    for key in wrong {
        system
            .reservations
            .put_user(mara.clone().ssh_public_key(key.as_str()));
        let booking = system.started(MARA, 1).await.unwrap();
        let told = system.wait_for_told(&booking, "PROVISIONING_WAITING").await;
        let told = told.unwrap();
        assert_eq!(told.kind, "WARNING");
        assert!(
            told.message.contains("no usable SSH key"),
            "{}",
            told.message
        );
        assert!(!told.message.contains(&MARA.key()), "{}", told.message);
        assert!(
            !told.message.contains("has no SSH public key"),
            "{}",
            told.message
        );
        keyless.push(booking);
    }
    // The account service was away: the start names nobody, and the receiver does not know the user either for a while.
    system.reservations.remove_user(&TOMAS.id());
    let nameless = system.started(TOMAS, 2).await.unwrap();
    system.reservations.put_user(TOMAS.user());
    let told = system
        .wait_for_told(&nameless, "PROVISIONING_WAITING")
        .await
        .unwrap();
    assert!(
        told.message.contains("the account service was away"),
        "{}",
        told.message
    );
    keyless.push(nameless);

    for booking in &keyless {
        system.reservations.end_event(booking.id).await.unwrap();
        let told = system.wait_for_told(booking, "PROVISIONING_FAILED").await;
        let told = told.unwrap();
        assert_eq!(told.kind, "ERROR");
        assert!(
            told.message.contains("no usable SSH key"),
            "{}",
            told.message
        );
        let log = system.wait_for_log(booking, |log| !log.success).await;
        let log = log.unwrap();
        assert_eq!(
            (log.event_type.as_str(), log.status_code),
            ("EVENT_START", Some(500))
        );
    }
    for server in [1, 2] {
        let writes = system.cluster.writes_to_host(NAMESPACE, &node(server));
        assert!(writes.is_empty(), "{writes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_it_is_wished_a_host_is_prepared_without_a_key_and_has_no_tenants_login() {
    let system = System::start(SystemSettings {
        variables: vec![("NO_SSH_KEY", "provision".to_owned())],
        ..SystemSettings::two_of_each()
    })
    .await
    .unwrap();
    let before = system.ready(MARA, 1).await.unwrap();
    system.reservations.end_event(before.id).await.unwrap();
    system.wait_for_host(1, is_clean).await.unwrap();

    system
        .reservations
        .put_user(User::new(TOMAS.id(), TOMAS.name));
    let keyless = system.ready(TOMAS, 1).await.unwrap();
    let told = system
        .wait_for_told(&keyless, "PROVISIONING_COMPLETED")
        .await
        .unwrap();
    assert!(
        told.message.contains("only your operator can let you in"),
        "{}",
        told.message
    );
    assert!(is_provisioned(&system.host(1)));
    let user_data = system.user_data_of(1);
    let last = user_data.last().unwrap();
    assert!(!last.contains("ssh-ed25519") && !last.contains("ssh_authorized_keys"));
    // The account is there for the operator; no password leads into it.
    assert!(last.contains("prognose") && !last.contains("passwd\": false"));
}
