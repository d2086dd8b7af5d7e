//! The shipped permissions for an installation with `STREAM_PREFIX`, changed as docs/security.md says.

use std::process::Command;

use super::forbidden::Intruder;
use super::shipped::permitted;
use super::*;

const DOCUMENT: &str = include_str!("../../../../docs/security.md");
/// The prefix that the document has as its example.
const PREFIX: &str = "lab";

/// A text of `permissions.conf` as the command in the document changes it.
fn adapted(text: &str) -> String {
    let commands: Vec<_> = DOCUMENT
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("sed ") && line.contains("permissions.conf"))
        .collect();
    assert_eq!(commands.len(), 1, "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("permissions.conf"), text).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-ec", commands[0]]).current_dir(&folder);
    assert!(shell.status().unwrap().success());
    std::fs::read_to_string(folder.path().join("permissions-lab.conf")).unwrap()
}

/// What these names, which are those without a prefix, are with it.
pub(super) fn named(prefix: Option<&str>, subject: &str) -> String {
    if prefix.is_some() {
        adapted(subject)
    } else {
        subject.to_owned()
    }
}

async fn broker_with_a_prefix() -> Broker {
    let mut broker = Broker::start_with(NatsServer::builder(), &adapted(PERMISSIONS));
    broker.prefix = Some(PREFIX);
    broker.make_streams().await;
    broker
}

#[tokio::test]
async fn with_a_prefix_each_user_can_do_its_whole_job_and_nothing_else() {
    let broker = broker_with_a_prefix().await;
    allowed::each_user_does_its_whole_job(&broker).await;
    allowed::the_administrator_forgets(&broker).await;
    assert_eq!(broker.violations(), [""; 0]);
    forbidden::each_user_is_kept_to_its_job(&broker).await;
}

#[tokio::test]
async fn with_a_prefix_no_service_has_anything_of_an_installation_without() {
    let broker = broker_with_a_prefix().await;
    for user in [User::Ingress, User::Provisioner, User::Notifier] {
        let mut intruder = Intruder::as_user(&broker, user).await;
        for subject in permitted(user).publish {
            let one = subject.replace(['*', '>'], "x");
            intruder.is_refused_to_publish_exactly(&one).await;
        }
    }
    let mut operator = Intruder::as_user(&broker, User::Operator).await;
    for subject in [
        "deliveries.operators.=unknown.baremetalhost.node01",
        "dead_letters.verdicts.1",
        "dead_letters.replays.notification",
        "$JS.API.STREAM.MSG.DELETE.DEAD_LETTERS",
        "$JS.API.CONSUMER.CREATE.LEDGER.mine",
    ] {
        operator.is_refused_to_publish_exactly(subject).await;
    }
}
