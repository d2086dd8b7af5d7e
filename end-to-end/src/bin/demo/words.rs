//! Records in plain words.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bellhop_domain::reservation::{Fact, HostLeft, WaitReason};
use bellhop_end_to_end::site::{NAMESPACE, PEOPLE, Person, text};
use bellhop_event_store::Entry;
use bellhop_simulator::cluster::{HostState, Resource, StateRecord, Verb, Write};
use bellhop_simulator::reservation_system::{
    Booking, Notification, Outcome, Received, Sent, WebhookLog,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::narrator::Line;

/// How much of a notification is shown.
const MESSAGE: usize = 160;

/// Whose reservation is which. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Mutex<BTreeMap<String, String>>>);

impl Names {
    /// From now on a booking is called by its person.
    pub(crate) fn learn(&self, booking: &Booking, person: Person) {
        let name = format!("{}'s reservation {}", name_of(person), booking.id);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(booking.id.to_string(), name);
    }

    /// What a booking is called, by the sender's id.
    fn of(&self, id: &str) -> String {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names
            .get(id)
            .cloned()
            .unwrap_or_else(|| format!("reservation {id}"))
    }
}

/// A person's name as it is written.
pub(crate) fn name_of(person: Person) -> String {
    let mut letters = person.name.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    first + letters.as_str()
}

fn line(at: Timestamp, who: &str, what: String) -> Line {
    Line {
        at,
        who: who.to_owned(),
        what,
    }
}

/// A webhook and its answer.
pub(crate) fn sent(sent: &Sent, names: &Names) -> [Line; 2] {
    let body: Value = serde_json::from_slice(&sent.body).unwrap_or_default();
    let about = names.of(text(&body, "/eventId"));
    let server = text(&body, "/resourceName");
    let what = format!("sends {} for {about} of {server}", sent.event_type);
    let took = sent.took.as_millis();
    let answer = match &sent.outcome {
        Outcome::Answered { status: 202, .. } => {
            format!("verified and stored it; answered 202 after {took} ms")
        }
        Outcome::Answered { status, .. } => format!("answered {status} after {took} ms"),
        Outcome::Failed { reason } => format!("did not answer: {reason}"),
    };
    let answered = sent.at + SignedDuration::try_from(sent.took).unwrap_or_default();
    [
        line(sent.at, "reservation system", what),
        line(answered, "ingress", answer),
    ]
}

/// A notification as its user reads it.
pub(crate) fn notification(it: &Notification) -> Line {
    let person = PEOPLE.into_iter().find(|person| person.id() == it.user_id);
    let who = person.map_or_else(|| it.user_id.clone(), name_of);
    let message = it.message.replace('\n', " ");
    let what = format!("tells {who} ({}): \"{}\"", it.kind, cut(&message, MESSAGE));
    line(it.at, "notifier", what)
}

/// An entry of the webhook log.
pub(crate) fn webhook_log(it: &WebhookLog) -> Line {
    let how = if it.success {
        "went well"
    } else {
        "went wrong"
    };
    let response = it.response.as_deref().unwrap_or_default();
    line(
        it.at,
        "notifier",
        format!(
            "writes into the webhook log: {} {how}: {response}",
            it.event_type
        ),
    )
}

/// A report that the reservation system refused.
pub(crate) fn refused(it: &Received) -> Line {
    let answer = it
        .status
        .map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    line(
        it.at,
        "reservation system",
        format!("refuses a report to {}: {answer}", it.path),
    )
}

/// A write to the cluster, where it says something.
pub(crate) fn write(write: &Write, names: &Names) -> Option<Line> {
    let name = &write.name;
    if !write.was_accepted() && write.verb != Verb::Delete {
        return Some(line(
            write.at,
            "cluster",
            format!("refuses a write to {name}: {}", write.answer),
        ));
    }
    let what = match (write.resource, write.verb) {
        (Resource::Secrets, Verb::Create) => format!("makes the secret {name} with the user data"),
        (Resource::Secrets, Verb::Delete) => format!("deletes the secret {name}"),
        (Resource::BareMetalHosts, Verb::Patch) => host_write(name, &write.body, names)?,
        _ => return None,
    };
    Some(line(write.at, "provisioner", what))
}

fn host_write(name: &str, patch: &Value, names: &Names) -> Option<String> {
    let spec = patch.get("spec")?;
    if let Some(consumer) = spec.pointer("/consumerRef/name").and_then(Value::as_str) {
        let id = consumer.rsplit(':').next().unwrap_or(consumer);
        let about = names.of(id);
        return Some(format!(
            "claims {name} for {about} in one write: image, user data, power on, consumerRef"
        ));
    }
    if spec.get("consumerRef").is_some_and(Value::is_null) {
        return Some(format!(
            "clears its consumerRef from {name}, which is clean"
        ));
    }
    spec.get("image")
        .is_some_and(Value::is_null)
        .then(|| format!("takes {name} back in one write: no image, no user data, power off"))
}

/// A step in a host's life.
pub(crate) fn state(name: &str, before: &StateRecord, now: &StateRecord) -> Option<Line> {
    let mut what = Vec::new();
    if now.state != before.state {
        what.push(match now.state {
            Some(HostState::Provisioning) => {
                "provisioning: the image is written to disk".to_owned()
            }
            Some(HostState::Provisioned) => "provisioned: the image runs".to_owned(),
            Some(HostState::Deprovisioning) => "deprovisioning: the image is taken away".to_owned(),
            Some(HostState::Available) => "available: free to use".to_owned(),
            Some(other) => other.as_str().to_owned(),
            None => "unknown".to_owned(),
        });
    }
    if now.powered_on != before.powered_on {
        what.push(if now.powered_on { "on" } else { "off" }.to_owned());
    }
    if now.error_message != before.error_message && !now.error_message.is_empty() {
        what.push(format!("{}: {}", now.error_type, now.error_message));
    }
    (!what.is_empty()).then(|| line(now.at, "Metal3", format!("{name} is {}", what.join(", "))))
}

/// What was decided.
pub(crate) fn entry(entry: &Entry, names: &Names) -> Vec<Line> {
    let what = entry.facts.iter().filter_map(|fact| {
        let about = names.of(fact.reservation()?.event());
        let name = fact.name();
        let what = match fact {
            Fact::ReservationStarted(_) => format!("the start of {about} is accepted"),
            Fact::ReservationWaits {
                reason: WaitReason::Holder { holder },
                ..
            } => {
                format!("{about} waits: {} still has it", names.of(holder.event()))
            }
            Fact::ReservationWaits {
                reason: WaitReason::Release { holder },
                ..
            } => {
                format!(
                    "{about} waits: it is being taken back from {}",
                    names.of(holder.event())
                )
            }
            Fact::ReservationWaits { .. } => format!("{about} waits"),
            Fact::HostAssigned { host, .. } => {
                format!("the clean host {} is given to {about}", host.name)
            }
            Fact::HostProvisioned { .. } => format!("the host is ready for {about}"),
            Fact::ReservationEnded(_) => format!("{about} is over"),
            Fact::ReservationFailed { .. } => format!("{about} has failed"),
            Fact::HostReleased { left, .. } => {
                let left = if *left == HostLeft::Off {
                    "clean and off"
                } else {
                    "clean"
                };
                format!("the host of {about} is given back, {left}")
            }
            _ => return None,
        };
        Some(line(
            entry.at,
            "provisioner",
            format!("records {name}: {what}"),
        ))
    });
    what.collect()
}

/// Where a host and a secret live, as an operator would ask for them.
pub(crate) fn host_path(name: &str) -> String {
    format!("/apis/metal3.io/v1alpha1/namespaces/{NAMESPACE}/baremetalhosts/{name}")
}

fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit).collect();
    let whole_words = kept
        .rsplit_once(' ')
        .map_or(kept.as_str(), |(words, _)| words);
    format!("{whole_words} …")
}
