//! `bellhop hosts` as an operator uses it, against a real `nats-server`: the ledger here is written by hand.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::{Command, Output, Stdio};

use bellhop_domain::id::ResourceId;
use bellhop_domain::reservation::Fact;
use bellhop_event_store::{EventStore, EventStoreSettings, NewEntry};
use bellhop_nats_server::NatsServer;
use jiff::Timestamp;
use serde_json::{Value, json};

struct Ledger {
    server: NatsServer,
    store: EventStore,
}

impl Ledger {
    async fn new() -> Self {
        let server = NatsServer::start().unwrap();
        let settings = EventStoreSettings::at(server.url());
        let store = EventStore::connect(&settings, "test").await.unwrap();
        store.prepare().await.unwrap();
        Self { server, store }
    }

    /// Writes down what was decided on a resource at that second of an hour.
    async fn decided(&self, resource: &str, second: i64, facts: Value) {
        let resource: ResourceId = resource.parse().unwrap();
        let facts: Vec<Fact> = serde_json::from_value(facts).unwrap();
        let entry = NewEntry {
            at: Timestamp::from_second(1_796_284_800 + second).unwrap(),
            facts,
            traceparent: None,
            cause: "test".into(),
        };
        let newest = self.store.newest_version(&resource).await.unwrap();
        self.store.append(&resource, newest, &entry).await.unwrap();
    }

    fn hosts(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bellhop"))
            .arg("hosts")
            .args(arguments)
            .env_clear()
            .env("NATS_URL", self.server.url())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn printed(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.hosts(arguments);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn started(event: &str) -> Value {
    json!({
        "type": "ReservationStarted", "reservation": format!("reservation-system:{event}"), "webhook": "12", "resource_number": 31,
        "knowledge": {"start": "2026-12-03T08:00:00Z", "end": "2026-12-03T17:30:00Z", "said_at": "2026-12-03T07:55:20Z", "said_by": event},
        "delivery": {"sequence": 7, "id": event}, "key": {"is": "InDelivery"},
        "terms": {"image": {"url": "http://images/noble.qcow2"}, "login": "prognose", "without_key": false}, "payload": "{}",
    })
}

fn about(name: &str, event: &str, more: Value) -> Value {
    let mut fact = json!({"type": name, "reservation": format!("reservation-system:{event}")});
    let Value::Object(more) = more else { panic!() };
    fact.as_object_mut().unwrap().extend(more);
    fact
}

fn assigned(event: &str) -> Value {
    let host = json!({"namespace": "metal3", "name": "node17", "uid": "c15a8f66"});
    about("HostAssigned", event, json!({"host": host, "secret": "s"}))
}

const NODE17: &str = "baremetalhost/metal3/node17";

/// One host is prepared with an error while another reservation waits for it, and another host is paused with all others.
async fn a_busy_site() -> Ledger {
    let ledger = Ledger::new().await;
    ledger.decided(NODE17, 10, json!([started("1")])).await;
    ledger.decided(NODE17, 20, json!([assigned("1")])).await;
    let claimed = json!([about("HostClaimed", "1", json!({}))]);
    ledger.decided(NODE17, 30, claimed).await;
    let holder = json!({"reason": {"for": "Holder", "holder": "reservation-system:1"}});
    let waits = json!([started("2"), about("ReservationWaits", "2", holder)]);
    ledger.decided(NODE17, 40, waits).await;
    let error = json!({
        "error": {"errorType": "provisioning error", "errorMessage": "no boot\ndevice"}, "attempt": 1, "attempts": 3,
    });
    let seen = json!([about("ProvisioningErrorSeen", "1", error)]);
    ledger.decided(NODE17, 50, seen).await;
    let changed = about(
        "HostChangedByOthers",
        "1",
        json!({"change": "its image was removed"}),
    );
    ledger.decided(NODE17, 60, json!([changed])).await;
    let text = json!({"reason": {"for": "Host", "text": "it is detached"}});
    let waits = json!([started("3"), about("ReservationWaits", "3", text)]);
    ledger
        .decided("baremetalhost/metal3/node18", 70, waits)
        .await;
    let pause = json!([{"type": "DrivingPaused", "note": {"by": "ada", "why": "new switches"}}]);
    ledger.decided("everything/-/all", 80, pause).await;
    ledger
}

#[tokio::test]
async fn each_host_is_one_line_that_says_who_has_it_who_waits_and_what_is_in_the_way() {
    let ledger = a_busy_site().await;
    let lines = ledger.printed(&[]);
    let [node17, node18] = lines.as_slice() else {
        panic!("{lines:#?}")
    };
    assert_eq!(
        *node17,
        "baremetalhost/metal3/node17 prepared for reservation-system:1 since 2026-12-03T08:00:30Z until 2026-12-03T17:30:00Z; 1 wait: \
         reservation-system:2 (reservation-system:1 has it); paused by ada (with everything): new switches; \
         alarm host_changed_by_others reservation-system:1: someone else changed metal3/node17: its image was removed; \
         last cause, 2026-12-03T08:01:00Z: its image was removed"
    );
    assert_eq!(
        *node18,
        "baremetalhost/metal3/node18 waited for since 2026-12-03T08:01:10Z; 1 wait: reservation-system:3 (it is detached); \
         paused by ada (with everything): new switches; alarm host_not_clean reservation-system:3: it is detached; \
         last cause, 2026-12-03T08:01:10Z: it is detached"
    );
}

#[tokio::test]
async fn of_one_host_the_whole_story_is_told_in_the_order_in_which_it_happened() {
    let ledger = a_busy_site().await;
    let lines = ledger.printed(&["node17"]);
    let story = lines.iter().position(String::is_empty).unwrap();
    assert!(lines[0].starts_with("baremetalhost/metal3/node17 prepared for reservation-system:1"));
    assert_eq!(lines[1], "  host metal3/node17 (c15a8f66)");
    assert!(
        lines[..story]
            .contains(&"  waits: reservation-system:2 (reservation-system:1 has it)".to_owned())
    );
    assert_eq!(
        lines[story + 1..],
        [
            "2026-12-03T08:00:10.000Z ReservationStarted reservation-system:1: from 2026-12-03T08:00:00Z to 2026-12-03T17:30:00Z, image http://images/noble.qcow2",
            "2026-12-03T08:00:20.000Z HostAssigned reservation-system:1: host metal3/node17",
            "2026-12-03T08:00:30.000Z HostClaimed reservation-system:1",
            "2026-12-03T08:00:40.000Z ReservationStarted reservation-system:2: from 2026-12-03T08:00:00Z to 2026-12-03T17:30:00Z, image http://images/noble.qcow2",
            "2026-12-03T08:00:40.000Z ReservationWaits reservation-system:2: reservation-system:1 has it",
            r"2026-12-03T08:00:50.000Z ProvisioningErrorSeen reservation-system:1: provisioning error: no boot\ndevice (1 of 3)",
            "2026-12-03T08:01:00.000Z HostChangedByOthers reservation-system:1: its image was removed",
        ]
    );
}

#[tokio::test]
async fn a_host_that_no_fact_names_is_said_to_be_unknown() {
    let ledger = Ledger::new().await;
    let none = ledger.printed(&[]);
    assert_eq!(none, ["the ledger knows no host: no reservation ever came"]);
    for name in ["node99", "baremetalhost/metal3/node99"] {
        let output = ledger.hosts(&[name]);
        assert!(!output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("node99"), "{text}");
    }
}
