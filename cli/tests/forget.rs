//! `bellhop forget` as an operator uses it, against a real `nats-server`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bellhop_domain::id::{DeliveryId, Source};
use bellhop_event_store::{
    ConsumerLimits, DeadLetter, DeadLetterClass, EventStore, EventStoreSettings, NewDelivery, kept,
};
use bellhop_nats_server::NatsServer;
use bytes::Bytes;
use jiff::Timestamp;

const SOON: Duration = Duration::from_secs(5);
const MARA: &str = "8c1f0d9e-0000-4000-8000-000000000001";
const TOMAS: &str = "8c1f0d9e-0000-4000-8000-000000000002";

struct Desk {
    server: NatsServer,
    store: EventStore,
}

/// A start with what is private in it, marked by the name.
fn start(event: &str, user: &str, name: &str) -> String {
    format!(
        r#"{{"eventType":"EVENT_START","webhookId":12,"eventId":"{event}","userId":"{user}","username":"{name}","email":"{name}@people.example","sshPublicKey":"ssh-ed25519 AAAA {name}","eventStart":"2026-12-03T08:00:00Z","eventEnd":"2026-12-03T17:30:00Z","resourceName":"node01","resourceType":"Server"}}"#
    )
}

fn degraded(user: &str, name: &str) -> String {
    format!(
        r#"{{"eventType":"EVENT_UPDATED","webhookId":"12","data":"Payload serialization failed: Event(keycloakId={user}, title={name})"}}"#
    )
}

impl Desk {
    async fn new() -> Self {
        let server = NatsServer::start().unwrap();
        let settings = EventStoreSettings::at(server.url());
        let store = EventStore::connect(&settings, "test").await.unwrap();
        store.prepare().await.unwrap();
        let desk = Self { server, store };
        desk.store
            .deliveries("provisioner", ConsumerLimits::default())
            .open()
            .await
            .unwrap();
        desk
    }

    async fn deliver(&self, id: &str, body: String) -> u64 {
        let delivery = NewDelivery {
            id: DeliveryId::new(id),
            source: Source::new("reservation-system"),
            site: None,
            kind: None,
            name: Some("node01".into()),
            event_type: None,
            webhook: None,
            received_at: Timestamp::now(),
            traceparent: None,
            headers: Vec::new(),
            body: Bytes::from(body),
        };
        let stored = self.store.store_delivery(&delivery, SOON).await;
        stored.unwrap().sequence
    }

    async fn bury(&self, id: &str, report: Option<&str>, body: String) {
        let letter = DeadLetter {
            service: "ingress",
            class: DeadLetterClass::Delivery,
            id: id.into(),
            what: "reservation-system".into(),
            reason: "a test".into(),
            tries: 1,
            first_at: Timestamp::now(),
            last_at: Timestamp::now(),
            traceparent: None,
            headers: report
                .map(|key| (kept::REPORT.into(), key.into()))
                .into_iter()
                .collect(),
            body: Bytes::from(body),
        };
        self.store.bury(&letter, SOON).await.unwrap();
    }

    /// As a provisioner does with what asks for nothing.
    async fn handle_all(&self) {
        let mut inbox = self
            .store
            .deliveries("provisioner", ConsumerLimits::default());
        let end = self.store.deliveries_end().await.unwrap();
        while self.store.deliveries_handled("provisioner").await.unwrap() < end {
            inbox.next().await.ack().await.unwrap();
        }
    }

    async fn sequences(&self) -> Vec<u64> {
        let deliveries = self
            .store
            .stored_deliveries(1, u64::MAX, 100)
            .await
            .unwrap();
        deliveries.iter().map(|it| it.sequence).collect()
    }

    fn forget(&self, arguments: &[&str]) -> Output {
        self.run(&[&["forget", MARA, "--reason", "she asked"], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bellhop"))
            .args(arguments)
            .env_clear()
            .env("NATS_URL", self.server.url())
            .env("USER", "ada")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Whether the broker's files hold a text.
    fn is_on_disk(&self, text: &str) -> bool {
        holds(self.server.store_dir(), text.as_bytes())
    }
}

fn holds(path: &Path, text: &[u8]) -> bool {
    if path.is_dir() {
        let mut entries = std::fs::read_dir(path).unwrap();
        return entries.any(|entry| holds(&entry.unwrap().path(), text));
    }
    // One that the broker has just put another one in the place of holds nothing.
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.windows(text.len()).any(|window| window == text)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn what_is_forgotten_is_listed_first_then_gone_from_the_broker_s_disk_and_others_keep_theirs()
{
    let desk = Desk::new().await;
    desk.deliver("one", start("1", MARA, "maradona-1")).await;
    desk.deliver("two", start("2", TOMAS, "tomasino")).await;
    desk.deliver("three", degraded(MARA, "maradona-2")).await;
    desk.deliver("four", start("4", MARA, "maradona-3")).await;
    desk.deliver("five", degraded(TOMAS, "tomasino")).await;
    desk.handle_all().await;
    desk.bury(
        "letter-one",
        None,
        format!("{{\"userId\":\"{MARA}\", maradona-4"),
    )
    .await;
    desk.bury("letter-two", None, start("", TOMAS, "tomasino"))
        .await;
    assert!(desk.is_on_disk("maradona-1") && desk.is_on_disk("maradona-4"));

    let dry = desk.forget(&[]);
    assert!(dry.status.success(), "{dry:?}");
    let listed = text(&dry.stdout);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    for begin in [
        "delivery 1 ",
        "delivery 3 ",
        "delivery 4 ",
        "dead letter 1 ",
    ] {
        assert!(
            listed.lines().any(|line| line.starts_with(begin)),
            "{begin}: {listed}"
        );
    }
    assert!(!listed.contains("maradona"), "{listed}");
    assert!(text(&dry.stderr).contains("dry run: 3 deliveries and 1 dead letters would be erased"));
    assert_eq!(desk.sequences().await, [1, 2, 3, 4, 5]);

    let done = desk.forget(&["--yes"]);
    assert!(done.status.success(), "{done:?}");
    let said = text(&done.stderr);
    assert!(
        said.contains("3 deliveries and 1 dead letters erased"),
        "{said}"
    );
    for stays in [
        "the ledger, for ever",
        "nats account backup",
        "a spool of an ingress",
    ] {
        assert!(said.contains(stays), "{said}");
    }
    assert_eq!(desk.sequences().await, [2, 5]);
    let letters = desk.store.dead_letters(1, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert!(!desk.is_on_disk("maradona"));
    assert!(desk.is_on_disk("tomasino"));

    let history = text(&desk.run(&["dead-letters", "history"]).stdout);
    let forgot = format!(" ada forgot {MARA} (she asked): 3 deliveries, 1 dead letters");
    assert!(history.contains(&forgot), "{history}");
    assert!(
        history.contains(" ada dropped (she asked) 1: "),
        "{history}"
    );
    let again = desk.forget(&["--yes"]);
    assert!(
        text(&again.stderr).contains("there is nothing to erase"),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_delivery_that_is_not_handled_is_never_erased() {
    let desk = Desk::new().await;
    desk.deliver("one", start("1", MARA, "maradona")).await;
    desk.handle_all().await;
    desk.deliver("two", start("2", MARA, "maradona")).await;
    let refused = desk.forget(&["--yes", "--wait", "1"]);
    assert!(!refused.status.success(), "{refused:?}");
    let said = text(&refused.stderr);
    assert!(
        said.contains("delivery 2 of this user is not handled yet"),
        "{said}"
    );
    assert_eq!(desk.sequences().await, [1, 2]);
    desk.handle_all().await;
    assert!(desk.forget(&["--yes"]).status.success());
    assert_eq!(desk.sequences().await, [0; 0]);
}

#[tokio::test]
async fn a_delivery_that_waits_in_a_spool_is_to_be_drained_first() {
    let desk = Desk::new().await;
    let spool = tempfile::tempdir().unwrap();
    let line = |user: &str| {
        let body = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            start("1", user, "maradona"),
        );
        format!(
            r#"{{"format":1,"id":"i","received_at":"2026-12-03T07:55:20Z","headers":[],"as":{{"delivery":{{"source":"reservation-system"}}}},"body":"{body}"}}"#
        )
    };
    let write = |part: &str, user: &str| {
        let json = line(user);
        let sum = bellhop_ingress::spool::checksum(json.as_bytes());
        let folder = spool.path().join(part);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("00000000000000000001.batch");
        std::fs::write(file, format!("{sum} {json}\n")).unwrap();
    };
    for part in ["", "refused"] {
        for folder in ["refused", "damaged"] {
            std::fs::create_dir_all(spool.path().join(folder)).unwrap();
        }
        write(part, TOMAS);
        let dir = spool.path().to_str().unwrap();
        assert!(desk.forget(&["--yes", "--spool-dir", dir]).status.success());
        write(part, MARA);
        let refused = desk.forget(&["--yes", "--spool-dir", dir]);
        assert!(!refused.status.success(), "{refused:?}");
        assert!(text(&refused.stderr).contains("spool drain"), "{refused:?}");
        write(part, TOMAS);
    }
    write("damaged", MARA);
    let named = desk.forget(&["--yes", "--spool-dir", spool.path().to_str().unwrap()]);
    assert!(named.status.success(), "{named:?}");
    assert!(
        text(&named.stderr).contains("damaged/00000000000000000001.batch"),
        "{named:?}"
    );
}

#[tokio::test]
async fn a_file_of_a_spool_that_can_t_be_read_now_stops_it_since_it_may_be_the_user_s() {
    let desk = Desk::new().await;
    let spool = tempfile::tempdir().unwrap();
    for folder in ["refused", "damaged"] {
        std::fs::create_dir(spool.path().join(folder)).unwrap();
    }
    let dir = spool.path().to_str().unwrap();
    assert!(desk.forget(&["--yes", "--spool-dir", dir]).status.success());
    // No permission stops a test that is run by root.
    let unread = spool.path().join("00000000000000000001.batch");
    std::fs::create_dir(&unread).unwrap();
    let refused = desk.forget(&["--yes", "--spool-dir", dir]);
    assert!(!refused.status.success(), "{refused:?}");
    let said = text(&refused.stderr);
    assert!(
        said.contains(unread.to_str().unwrap()) && said.contains("may hold something of this user"),
        "{said}"
    );
}
