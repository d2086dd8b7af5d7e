//! No secret, signature, key or e-mail address is in a log, a trace, a fact, a report's record or a dead letter (R11).
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use bellhop_end_to_end::site::{
    self, MARA, NAMESPACE, PEOPLE, SECOND_WEBHOOK, TOMAS, WEBHOOK, node,
};
use bellhop_end_to_end::{System, SystemSettings};
use bellhop_simulator::cluster::Fault;
use bellhop_simulator::reservation_system::{Endpoint, EventType, Fault as SenderFault, FaultKind};

/// What must be nowhere, each with what it is.
fn private(system: &System) -> BTreeMap<String, &'static str> {
    let mut private = BTreeMap::new();
    for webhook in [WEBHOOK, SECOND_WEBHOOK] {
        private.insert(site::webhook_secret(webhook), "a webhook's secret");
        for sent in system.reservations.sent() {
            let signature = system.reservations.sign(webhook, &sent.body).unwrap();
            private.insert(signature, "the signature of a webhook");
        }
    }
    for received in system.reservations.received() {
        if let Some(signature) = received.header("x-webhook-signature") {
            private.insert(signature.to_owned(), "the signature of a report");
        }
    }
    for person in PEOPLE {
        private.insert(person.key(), "an SSH key");
        private.insert(person.email(), "an e-mail address");
    }
    private
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_private_is_in_logs_traces_facts_reports_or_metrics_at_level_debug() {
    let mut system = System::start(SystemSettings {
        second_webhook: true,
        // The libraries' debugging too, which DEBUG alone leaves out.
        variables: vec![("LOG_LEVEL", "debug,bellhop=trace".to_owned())],
        ..SystemSettings::default()
    })
    .await
    .unwrap();
    // A bit of everything: success, errors of Metal3 and of the receiver, what can't be read, a wrong signature.
    let fault =
        Fault::provisioning_fails(NAMESPACE, &node(2), "provisioning error", "no boot device");
    system.cluster.inject(fault);
    system.reservations.inject(
        SenderFault::new(FaultKind::InternalError)
            .on(Endpoint::Notifications)
            .times(2),
    );
    let (good, bad) = (
        system.book(MARA, 1).unwrap(),
        system.book(TOMAS, 2).unwrap(),
    );
    system.reservations.announce(good.id).await.unwrap();
    system.reservations.start_event(good.id).await.unwrap();
    system.reservations.start_event(bad.id).await.unwrap();
    system.reservations.degraded(good.id).await.unwrap();
    system
        .reservations
        .batch(&[good.id, bad.id], EventType::EventStart)
        .await
        .unwrap();
    let unreadable = format!(
        r#"{{"eventType":"EVENT_START","webhookId":12,"sshPublicKey":"{}","email":7}}"#,
        MARA.key()
    );
    let sent = system
        .reservations
        .send(WEBHOOK, unreadable.clone())
        .await
        .unwrap();
    assert_eq!(sent.status(), Some(422), "{:?}", sent.outcome);
    let url = system.ingress().url() + "/webhook";
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let forged = system
        .reservations
        .sign(SECOND_WEBHOOK, unreadable.as_bytes())
        .unwrap();
    let answer = client
        .post(url)
        .header("x-webhook-signature", forged)
        .body(unreadable)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    system
        .wait_for_notification(&good, "SUCCESS")
        .await
        .unwrap();
    system.wait_for_notification(&bad, "ERROR").await.unwrap();
    system.reservations.end_event(good.id).await.unwrap();
    system.wait_for_fact(&good, "HostReleased").await.unwrap();

    let mut written = Vec::new();
    for service in system.services() {
        for page in ["/metrics", "/readyz?verbose"] {
            written.push((
                format!("{page} of the {}", service.kind()),
                service.page(page).await.unwrap(),
            ));
        }
        service.stop().await.unwrap();
    }
    let logs = system.logs();
    assert!(
        logs.iter()
            .all(|(_, log)| log.contains("\"level\":\"DEBUG\"")),
        "the logs are not at level debug"
    );
    written.extend(
        logs.into_iter()
            .map(|(path, log)| (path.display().to_string(), log)),
    );
    let spans = system.traces.spans();
    assert!(!spans.is_empty());
    written.extend(
        spans
            .into_iter()
            .map(|span| (format!("the span {}", span.name), format!("{span:?}"))),
    );
    for stream in ["LEDGER", "KV_REPORTS"] {
        let messages = system.messages(stream).await.unwrap();
        assert!(!messages.is_empty(), "{stream} is empty");
        written.extend(messages.iter().map(|message| {
            (
                format!("{stream} {}", message.sequence),
                message.everything(),
            )
        }));
    }
    // A stored webhook holds its untouched body, and so may a dead letter; the signature stays outside.
    let mut headers = Vec::new();
    for stream in ["DELIVERIES", "DEAD_LETTERS"] {
        let messages = system.messages(stream).await.unwrap();
        assert!(!messages.is_empty(), "{stream} is empty");
        headers.extend(messages.iter().map(|message| {
            (
                format!("{stream} {}", message.sequence),
                format!("{:?}", message.headers),
            )
        }));
    }
    let private = private(&system);
    assert!(private.len() > 12);
    let mut found = Vec::new();
    for (place, text) in written.iter().chain(&headers) {
        for (secret, what) in &private {
            if let Some(at) = text.find(secret.as_str()) {
                let line = text[..at].lines().next_back().unwrap_or_default();
                found.push(format!("{what} is in {place}: {line}…"));
            }
        }
    }
    for host in system.cluster.hosts() {
        let host = host.to_string();
        found.extend(
            private
                .iter()
                .filter(|(secret, _)| host.contains(*secret))
                .map(|(_, what)| format!("{what} is in a host")),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
