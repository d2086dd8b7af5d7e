//! The shipped files as an installation uses them.

use std::process::Command;

use bellhop_nats_server::NatsServerBinary;

use super::*;

/// A user of the shipped file: the place of its block, without the comments before it.
pub(super) fn block_of(user: User) -> &'static str {
    let begin = PERMISSIONS.find(&format!("nkey: ${}", user.variable()));
    let begin = PERMISSIONS[..begin.unwrap()].rfind("      {\n").unwrap();
    let end = PERMISSIONS[begin..].find("\n      }\n").unwrap();
    &PERMISSIONS[begin..begin + end + "\n      }\n".len()]
}

/// What the shipped file says of one user.
#[derive(Debug, Default)]
pub(super) struct Permitted {
    pub(super) publish: Vec<&'static str>,
    pub(super) publish_denied: Vec<&'static str>,
    /// Everything, where it says nothing.
    pub(super) subscribe: Vec<&'static str>,
}

pub(super) fn permitted(user: User) -> Permitted {
    let mut permitted = Permitted::default();
    let mut list = "";
    let lines = block_of(user).lines();
    for line in lines.filter(|line| !line.trim_start().starts_with('#')) {
        let begins = ["publish:", "deny:", "subscribe:"];
        list = begins
            .into_iter()
            .find(|it| line.contains(it))
            .unwrap_or(list);
        let list = match list {
            "deny:" => &mut permitted.publish_denied,
            "subscribe:" => &mut permitted.subscribe,
            _ => &mut permitted.publish,
        };
        list.extend(line.split('"').skip(1).step_by(2));
    }
    permitted
}

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
