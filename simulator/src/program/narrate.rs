//! What happens, in plain words, one line each.

use std::collections::BTreeMap;
use std::time::Duration;

use bellhop_simulator::cluster::Cluster;
use bellhop_simulator::reservation_system::{
    Notification, Outcome, Received, ReservationSystem, Sent, WebhookLog,
};
use serde_json::Value;
use tracing::{info, warn};

const LOOK_AT_HOSTS_EVERY: Duration = Duration::from_millis(100);

/// Tells of each change of a host. Never ends.
pub(crate) async fn hosts(cluster: &Cluster) {
    let mut known = BTreeMap::new();
    loop {
        for host in cluster.hosts() {
            let (name, now) = described(&host);
            if known.get(&name) != Some(&now) {
                info!("host {name} is {now}");
                known.insert(name, now);
            }
        }
        tokio::time::sleep(LOOK_AT_HOSTS_EVERY).await;
    }
}

fn described(host: &Value) -> (String, String) {
    let text = |pointer: &str| {
        host.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let state = match text("/status/provisioning/state") {
        "" => "new",
        state => state,
    };
    let power = if host.pointer("/status/poweredOn") == Some(&Value::Bool(true)) {
        "on"
    } else {
        "off"
    };
    let mut now = format!("{state}, {power}");
    if !text("/spec/consumerRef/name").is_empty() {
        now.push_str(", in use by ");
        now.push_str(text("/spec/consumerRef/name"));
    }
    if !text("/status/errorMessage").is_empty() {
        now.push_str(", in error: ");
        now.push_str(text("/status/errorMessage"));
    }
    (text("/metadata/name").to_owned(), now)
}

/// Tells of all that was sent and all that came. Never ends.
pub(crate) async fn reservation_system(system: &ReservationSystem) {
    let mut changes = system.changes();
    let mut told = Told::default();
    loop {
        told.catch_up(system);
        // It ends with the system, which we hold.
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The last of each that was told of.
#[derive(Default)]
struct Told {
    sent: u64,
    notification: u64,
    webhook_log: u64,
    refused: u64,
}

impl Told {
    fn catch_up(&mut self, system: &ReservationSystem) {
        let Self {
            sent,
            notification,
            webhook_log,
            refused,
        } = *self;
        for new in system.sent().into_iter().filter(|it| it.sequence > sent) {
            tell_sent(&new);
            self.sent = new.sequence;
        }
        for new in system
            .notifications()
            .into_iter()
            .filter(|it| it.id > notification)
        {
            tell_notification(&new);
            self.notification = new.id;
        }
        for new in system
            .webhook_logs()
            .into_iter()
            .filter(|it| it.id > webhook_log)
        {
            tell_log(&new);
            self.webhook_log = new.id;
        }
        for new in system
            .refused()
            .into_iter()
            .filter(|it| it.sequence > refused)
        {
            tell_refused(&new);
            self.refused = new.sequence;
        }
    }
}

fn tell_sent(sent: &Sent) {
    let Sent {
        event_type,
        webhook_id,
        took,
        ..
    } = sent;
    match &sent.outcome {
        Outcome::Answered { status, .. } => {
            info!(
                "sent {event_type} for webhook {webhook_id}: answered {status} after {} ms",
                took.as_millis()
            );
        }
        Outcome::Failed { reason } => {
            warn!(
                "sent {event_type} for webhook {webhook_id}: no answer, so this event is lost ({reason})"
            );
        }
    }
}

fn tell_notification(notification: &Notification) {
    let Notification {
        user_id,
        kind,
        message,
        ..
    } = notification;
    info!("user {user_id} reads: {kind}: {message}");
}

fn tell_log(log: &WebhookLog) {
    let outcome = if log.success { "well" } else { "badly" };
    let response = log.response.as_deref().unwrap_or("nothing said");
    info!(
        "administrators read: {} of webhook {} went {outcome}: {response}",
        log.event_type, log.webhook_id
    );
}

fn tell_refused(refused: &Received) {
    match refused.status {
        Some(status) => warn!("a callback to {} was refused with {status}", refused.path),
        None => warn!(
            "a callback to {} was left without an answer, on purpose",
            refused.path
        ),
    }
}
