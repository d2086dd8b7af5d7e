//! What the demo shows at its end: the trace, the facts, what to read, and how to go on.

use std::collections::HashSet;
use std::time::Duration;

use bellhop_end_to_end::site::{self, INES, node};
use bellhop_end_to_end::{HarnessError, System};
use bellhop_simulator::reservation_system::Booking;
use bellhop_simulator::trace_collector::{Span, tree_of};
use jiff::{Timestamp, ToSpan as _};
use serde_json::json;

use crate::DemoError;
use crate::narrator::Narrator;
use crate::plays::NotSeen;
use crate::words::host_path;

/// What of a span is shown besides its name.
const SHOWN: [&str; 5] = ["event_type", "what", "host", "fact", "destination"];
/// The longest line of a fact's body.
const BODY: usize = 240;

/// Shows the first reservation's trace, which must be one: from the webhook to the report, in all three services.
pub(crate) async fn trace(
    system: &System,
    narrator: &Narrator,
    booking: &Booking,
) -> Result<(), DemoError> {
    let told = system.wait_for_notification(booking, "SUCCESS").await;
    let trace_id = told
        .and_then(|told| trace_id(&told.traceparent?))
        .unwrap_or_default();
    let spans = system
        .traces
        .wait_for_spans(Duration::from_secs(15), |spans| {
            is_whole(&of(spans, &trace_id))
        })
        .await;
    let spans = of(&spans, &trace_id);
    narrator.heading(&format!(
        "The trace of the first reservation's start ({trace_id})"
    ));
    narrator.text(&tree_of(&told_spans(&spans)));
    narrator.text("(looks at the host from which nothing followed are left out)\n");
    if is_whole(&spans) {
        Ok(())
    } else {
        Err(
            NotSeen::new("one trace from the webhook to the report, with the host's changes")
                .into(),
        )
    }
}

fn trace_id(traceparent: &str) -> Option<String> {
    traceparent.split('-').nth(1).map(str::to_owned)
}

fn of(spans: &[Span], trace_id: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = spans
        .iter()
        .filter(|span| span.trace_id == trace_id)
        .cloned()
        .collect();
    spans.sort_by_key(|span| span.start);
    spans
}

/// One root, in the ingress, and below it the decision, both changes of the host, and the report of success.
fn is_whole(spans: &[Span]) -> bool {
    let ids: HashSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let mut roots = spans.iter().filter(|span| {
        span.parent
            .as_deref()
            .is_none_or(|parent| !ids.contains(parent))
    });
    let has = |service: &str, name: &str, attribute: &str, value: &str| {
        spans.iter().any(|span| {
            span.service == format!("bellhop-{service}")
                && span.name == name
                && (attribute.is_empty() || span.attribute(attribute) == Some(value))
        })
    };
    roots
        .next()
        .is_some_and(|root| root.service == "bellhop-ingress")
        && roots.next().is_none()
        && has("provisioner", "decide", "", "")
        && has("provisioner", "write host", "what", "claim")
        && has("provisioner", "write host", "what", "release")
        && has("notifier", "report", "fact", "HostProvisioned")
}

/// The spans that say something, with what of them people ask for.
fn told_spans(spans: &[Span]) -> Vec<Span> {
    let parents: HashSet<&str> = spans
        .iter()
        .filter_map(|span| span.parent.as_deref())
        .collect();
    let mut told: Vec<Span> = spans
        .iter()
        .filter(|span| span.name != "drive" || parents.contains(span.span_id.as_str()))
        .cloned()
        .collect();
    for span in &mut told {
        span.service = span.service.trim_start_matches("bellhop-").to_owned();
        span.attributes
            .retain(|name, _| SHOWN.contains(&name.as_str()));
    }
    told
}

/// Shows the facts about the first reservation's server, as they stand in the broker.
pub(crate) async fn facts(
    system: &System,
    narrator: &Narrator,
    booking: &Booking,
) -> Result<(), HarnessError> {
    let subject = format!(
        "ledger.baremetalhost.{}.{}",
        site::NAMESPACE,
        node(booking.resource_id - 30)
    );
    narrator.heading(&format!(
        "The facts of {}, as `nats sub {subject}` shows them",
        node(booking.resource_id - 30)
    ));
    let messages = system.messages("LEDGER").await?;
    let of_the_server = messages.iter().filter(|message| message.subject == subject);
    for (place, message) in of_the_server.enumerate() {
        let mut message = message.clone();
        message.headers.sort();
        message.body = shortened(&message.body);
        narrator.text(&message.as_shown_by_nats_sub(place == 0));
    }
    narrator.text(&format!(
        "(the headers are those of the first; long bodies are cut; the ledger holds {} messages in all)\n",
        messages.len()
    ));
    Ok(())
}

fn shortened(body: &str) -> String {
    if body.chars().count() <= BODY {
        return body.to_owned();
    }
    body.chars().take(BODY).collect::<String>() + " …"
}

/// What to read next.
pub(crate) fn what_to_read(narrator: &Narrator) {
    narrator.heading("What to read next");
    narrator.text(
        "README.md                       your own reservation system in five steps\n\
         docs/architecture.md            how it works, and what always holds\n\
         docs/configuration.md           every setting\n\
         shared/domain/src/reservation   the decisions: pure functions, small enough to be read\n\
         end-to-end/tests                what holds when things break, each tried with real processes\n\
         cargo xtask demo --keep         this again, left running\n\n",
    );
}

/// Shows where the services' logs end: they don't decide, but they help to find out why a step was not seen.
pub(crate) fn logs(system: &System, narrator: &Narrator) {
    for (path, log) in system.logs() {
        let told: Vec<&str> = log
            .lines()
            .filter(|line| !line.contains("\"level\":\"DEBUG\""))
            .collect();
        narrator.text(&format!("\nthe end of {}\n", path.display()));
        for line in &told[told.len().saturating_sub(20)..] {
            narrator.text(&format!("  {line}\n"));
        }
    }
    narrator.text("\n");
}

/// Leaves everything running until Ctrl-C, and says what can be tried.
pub(crate) async fn keep(system: &mut System, narrator: &Narrator) -> Result<(), DemoError> {
    let ingress = system.ingress().url();
    let provisioner = system.provisioner().url();
    let notifier = system.notifier().url();
    let (cluster, reservations) = (system.cluster.url(), system.reservations.url());
    let booking = system.book(INES, 4)?;
    narrator.names.learn(&booking, INES);
    let body = start_of(&booking);
    let signature = system
        .reservations
        .sign(site::WEBHOOK, body.as_bytes())
        .unwrap_or_default();
    let kubeconfig = system.folder().join("kubeconfig");
    narrator.heading("Everything keeps running until Ctrl-C");
    narrator.text(&format!(
        "NATS                 {nats}\n\
         ingress              {ingress}      /readyz?verbose /metrics /openapi.json\n\
         provisioner          {provisioner}      /readyz?verbose /metrics\n\
         notifier             {notifier}      /readyz?verbose /metrics\n\
         reservation system   {reservations}      /simulator/notifications /simulator/webhook-logs\n\
         cluster              {cluster}      {host}\n\
         kubectl              KUBECONFIG={kubeconfig} kubectl get baremetalhosts\n\
         logs                 {logs}\n\n\
         A signed start for node04, as the reservation system sends it:\n\n\
         curl -sS -X POST {ingress}/webhook -H 'Content-Type: application/json' -H 'X-Webhook-Signature: {signature}' -d '{body}'\n\n\
         and its end:\n\n\
         curl -sS -X POST {reservations}/simulator/bookings/{id}/end\n\n",
        nats = system.nats.url(),
        host = host_path("node04"),
        kubeconfig = kubeconfig.display(),
        logs = system.folder().display(),
        id = booking.id,
    ));
    tokio::signal::ctrl_c().await?;
    narrator.say("demo", "ends everything");
    Ok(())
}

/// The body of a start, as the reservation system's event processor writes it.
fn start_of(booking: &Booking) -> String {
    let now = Timestamp::now();
    json!({
        "eventType": "EVENT_START",
        "timestamp": now,
        "eventId": booking.id.to_string(),
        "webhookId": site::WEBHOOK,
        "userId": booking.user_id,
        "username": INES.name,
        "email": INES.email(),
        "sshPublicKey": format!("ssh-ed25519 {} {}@laptop", INES.key(), INES.name),
        "eventTitle": booking.title,
        "eventStart": now,
        "eventEnd": now + 1.hours(),
        "resourceId": booking.resource_id,
        "resourceName": node(4),
        "resourceType": "Server",
        "siteId": "site-1",
    })
    .to_string()
}
