//! `bellhop dead-letters` as an operator uses it, against a real `nats-server`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bellhop_event_store::{DeadLetter, DeadLetterClass, EventStore, EventStoreSettings, kept};
use bellhop_nats_server::NatsServer;
use bytes::Bytes;
use jiff::Timestamp;

const SOON: Duration = Duration::from_secs(5);

struct Desk {
    server: NatsServer,
    store: EventStore,
}

impl Desk {
    /// A broker with three dead letters: two webhooks, one report.
    async fn new() -> Self {
        let server = NatsServer::start().unwrap();
        let settings = EventStoreSettings::at(server.url());
        let store = EventStore::connect(&settings, "test").await.unwrap();
        store.prepare().await.unwrap();
        let webhook = |id: &str, name: &str, at| DeadLetter {
            service: "ingress",
            class: DeadLetterClass::Delivery,
            id: id.into(),
            what: "reservation-system".into(),
            reason: format!("`eventId` is missing in {id}"),
            tries: 1,
            first_at: Timestamp::from_second(at).unwrap(),
            last_at: Timestamp::from_second(at).unwrap(),
            traceparent: None,
            headers: Vec::new(),
            body: Bytes::from(format!(r#"{{"resourceName":"{name}"}}"#)),
        };
        let report = DeadLetter {
            service: "notifier",
            class: DeadLetterClass::Report,
            what: "notification".into(),
            reason: "refused: it answered HTTP 400".into(),
            headers: vec![
                (
                    kept::REPORT.into(),
                    "reservation-system=3A5120.9-0.notification".into(),
                ),
                (kept::RESOURCE.into(), "node01".into()),
            ],
            ..webhook("report", "", 1_800_000_200)
        };
        for letter in [
            webhook("one", "node01", 1_800_000_000),
            webhook("two", "node02", 1_800_000_100),
            report,
        ] {
            store.bury(&letter, SOON).await.unwrap();
        }
        Self { server, store }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bellhop"))
            .arg("dead-letters")
            .args(arguments)
            .env_clear()
            .env("NATS_URL", self.server.url())
            .env("USER", "mara")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{output:?}");
        text(&output.stderr)
    }

    /// The sequences of a list.
    fn listed(&self, selection: &[&str]) -> Vec<u64> {
        let list = self.succeeds(&[&["list"], selection].concat());
        let sequence = |line: &str| line.split(' ').next().unwrap().parse().unwrap();
        list.lines().map(sequence).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn the_list_shows_what_is_selected() {
    let desk = Desk::new().await;
    assert_eq!(desk.listed(&[]), [1, 2, 3]);
    for (selection, found) in [
        (&["2", "3"][..], &[2, 3][..]),
        (&["--kind", "report"], &[3]),
        (&["--service", "ingress"], &[1, 2]),
        (&["--resource", "node01"], &[1, 3]),
        (&["--reason", "HTTP 400"], &[3]),
        (&["--since", "2027-01-15T08:01:40Z"], &[2, 3]),
        (&["--until", "2027-01-15T08:01:40Z"], &[1, 2]),
        (&["--resource", "node01", "--kind", "delivery"], &[1]),
    ] {
        assert_eq!(desk.listed(selection), found, "{selection:?}");
    }
}

#[tokio::test]
async fn a_replay_is_a_dry_run_until_it_is_confirmed() {
    let desk = Desk::new().await;
    let refused = desk.fails(&["replay", "--yes"]);
    assert!(refused.contains("say which dead letters"), "{refused}");

    let would = desk.run(&["replay", "--resource", "node01"]);
    let plan = "1: delivery one goes to deliveries.reservation-system.=unknown.=unknown.node01\n\
                3: about reservation-system:5120, the notifier sends to notification: report 9-0\n";
    assert_eq!(text(&would.stdout), plan);
    assert_eq!(
        text(&would.stderr),
        "dry run: 2 would be replayed; --yes does it\n"
    );
    assert_eq!(desk.listed(&[]), [1, 2, 3]);
    assert_eq!(desk.store.deliveries_end().await.unwrap(), 0);

    let done = desk.run(&["replay", "--resource", "node01", "--yes"]);
    assert_eq!(text(&done.stdout), plan);
    assert_eq!(text(&done.stderr), "2 replayed\n");
    assert_eq!(desk.listed(&[]), [2]);
    assert_eq!(desk.store.deliveries_end().await.unwrap(), 1);
    let history = desk.succeeds(&["history"]);
    assert_eq!(history.lines().count(), 2, "{history}");
    assert!(
        history.contains(
            " mara replayed 1: dead_letters.ingress.delivery.reservation-system `eventId`"
        ),
        "{history}"
    );
}

#[tokio::test]
async fn what_is_dropped_stays_in_the_history_with_who_and_why() {
    let desk = Desk::new().await;
    let unsaid = desk.fails(&["drop", "2", "--yes"]);
    assert!(unsaid.contains("--reason"), "{unsaid}");
    let drop = ["drop", "--letter-reason", "eventId", "--reason", "a test's"];
    desk.succeeds(&drop);
    assert_eq!(desk.listed(&[]), [1, 2, 3]);

    desk.succeeds(&[&drop[..], &["--by", "nils", "--yes"]].concat());
    assert_eq!(desk.listed(&[]), [3]);
    let history = desk.succeeds(&["history", "--limit", "1"]);
    assert!(
        history.contains(" nils dropped (a test's) 1: dead_letters.ingress"),
        "{history}"
    );
}

#[tokio::test]
async fn a_sequence_without_a_letter_stops_before_anything_is_done() {
    let desk = Desk::new().await;
    for arguments in [
        &["replay", "1", "7", "--yes"][..],
        &["drop", "1", "7", "--reason", "a test", "--yes"],
    ] {
        let error = desk.fails(arguments);
        assert!(error.contains("there is no dead letter 7"), "{error}");
    }
    assert_eq!(desk.listed(&[]), [1, 2, 3]);
}
