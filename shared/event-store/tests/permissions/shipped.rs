//! The shipped files as an installation uses them.

use std::process::Command;

use bellhop_nats_server::NatsServerBinary;

use super::*;

#[test]
fn the_shipped_configuration_is_one_that_the_server_takes() {
    let folder = tempfile::tempdir().unwrap();
    tls::certificates(folder.path());
    let shipped = [
        (
            "nats.conf",
            include_str!("../../../../deploy/nats/nats.conf"),
        ),
        (
            "secure.conf",
            include_str!("../../../../deploy/nats/secure.conf"),
        ),
        ("permissions.conf", PERMISSIONS),
    ];
    for (name, text) in shipped {
        let here = folder.path().display().to_string();
        let text = text.replace("/etc/nats-tls", &here);
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let check = |keys: &[User]| {
        let mut command = Command::new(NatsServerBinary::find_or_install().unwrap());
        command
            .args(["-t", "-c"])
            .arg(folder.path().join("secure.conf"))
            .env("NATS_SERVER_NAME", "nats");
        for user in keys {
            command.env(user.variable(), KeyPair::new_user().public_key());
        }
        command.output().unwrap()
    };
    let checked = check(&User::ALL);
    assert!(checked.status.success(), "{checked:?}");
    // Without a key it is not an open door: it does not start.
    let checked = check(&User::ALL[1..]);
    assert!(!checked.status.success(), "{checked:?}");
}

#[tokio::test]
async fn an_open_broker_s_streams_are_the_account_s_once_their_folder_has_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let store_dir = folder.path().join("store");
    let open = NatsServer::builder().store_dir(&store_dir).start().unwrap();
    let store = EventStore::connect(&EventStoreSettings::at(open.url()), "bellhop-setup")
        .await
        .unwrap();
    store.set_up().await.unwrap();
    let ledger = store.ledger_id();
    drop((store, open));

    let jetstream = store_dir.join("jetstream");
    std::fs::rename(jetstream.join("$G"), jetstream.join("BELLHOP")).unwrap();
    let broker = Broker::start(NatsServer::builder().store_dir(&store_dir));
    let store = broker.store(User::Notifier).await;
    store.prepare().await.unwrap();
    assert_eq!(store.ledger_id(), ledger);
}
