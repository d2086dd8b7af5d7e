//! What every host is doing, in one look: one line each, or the whole story of one. All of it is from the ledger: what a
//! provisioner sees of the hosts themselves is in its `/readyz?verbose`.

mod story;

use std::collections::HashMap;
use std::io::Write;

use bellhop_domain::id::{ResourceId, Version};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{Occupancy, Resource, Scope, Stage, WaitReason};
use bellhop_event_store::{EventStore, EventStoreSettings, LedgerEntry};
use bellhop_service::one_line;
use jiff::Timestamp;

use crate::Failure;
use crate::orders::{apply, named};

/// Of which host.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HostsSettings {
    #[command(flatten)]
    event_store: EventStoreSettings,

    /// The whole story of this one: the resource or the host, `node17` or `baremetalhost/metal3/node17`
    name: Option<String>,
}

/// What the ledger says, and when it came to that.
#[derive(Default)]
struct Seen {
    ledger: Ledger,
    /// Since when each resource is in the state that it is in.
    since: HashMap<ResourceId, (&'static str, Timestamp)>,
    /// The last that went wrong, or was in the way, with each.
    cause: HashMap<ResourceId, (Timestamp, String)>,
}

impl Seen {
    fn take_in(&mut self, entry: &LedgerEntry) {
        apply(&mut self.ledger, entry);
        let LedgerEntry::Resource(entry) = entry else {
            return;
        };
        let (id, at) = (&entry.resource, entry.at);
        let Some(resource) = self.ledger.resource(id) else {
            return;
        };
        let now = state(resource);
        let since = self.since.entry(id.clone()).or_insert((now, at));
        if since.0 != now {
            *since = (now, at);
        }
        if let Some(cause) = entry.facts.iter().rev().find_map(story::cause) {
            self.cause.insert(id.clone(), (at, cause));
        }
    }
}

pub(crate) async fn print(settings: HostsSettings) -> Result<(), Failure> {
    let store = EventStore::connect(&settings.event_store, "bellhop-hosts").await?;
    let end = store.ledger_end().await?;
    let mut follower = store.follow_ledger(Version(0));
    let (mut seen, mut entries) = (Seen::default(), Vec::new());
    while seen.ledger.version() < end {
        let entry = follower.next().await?;
        seen.take_in(&entry);
        if settings.name.is_some() {
            entries.extend(entry.into_resource());
        }
    }
    let lines = match &settings.name {
        None => list(&seen),
        Some(name) => {
            let id = named::resource(name, &seen.ledger)?;
            let resource = seen.ledger.resource(&id);
            let Some(resource) = resource else {
                return Err(one_line(&format!("no fact is about {id}"))
                    .into_owned()
                    .into());
            };
            let mut lines = about(&seen, &id, resource);
            lines.push(String::new());
            let told = entries.iter().filter(|entry| entry.resource == id);
            lines.extend(told.flat_map(story::lines));
            lines
        }
    };
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{}", one_line(&line))?;
    }
    Ok(())
}

/// One line for each resource.
fn list(seen: &Seen) -> Vec<String> {
    let mut all: Vec<_> = (seen.ledger.resources())
        .filter(|(id, _)| !Scope::covers_more_than(id))
        .collect();
    all.sort_by_key(|(id, _)| *id);
    let line = |(id, resource): (&ResourceId, &Resource)| {
        let mut parts = vec![heading(seen, id, resource)];
        let waiting = waiting(resource);
        parts.extend(
            (!waiting.is_empty()).then(|| format!("{} wait: {}", waiting.len(), waiting[0])),
        );
        parts.extend(stands(seen, id));
        format!("{id} {}", parts.join("; "))
    };
    if all.is_empty() {
        return vec!["the ledger knows no host: no reservation ever came".to_owned()];
    }
    all.into_iter().map(line).collect()
}

/// What stands about one, a line each.
fn about(seen: &Seen, id: &ResourceId, resource: &Resource) -> Vec<String> {
    let mut lines = vec![format!("{id} {}", heading(seen, id, resource))];
    let host = match &resource.occupancy {
        Occupancy::Free => None,
        Occupancy::Held(holding) => Some(&holding.host),
        Occupancy::Releasing(release) => Some(&release.host),
    };
    lines.extend(host.map(|host| format!("  host {host} ({})", host.uid)));
    lines.extend(
        waiting(resource)
            .into_iter()
            .map(|who| format!("  waits: {who}")),
    );
    lines.extend(stands(seen, id).into_iter().map(|what| format!("  {what}")));
    lines
}

/// The state, who has it, since when, until when.
fn heading(seen: &Seen, id: &ResourceId, resource: &Resource) -> String {
    let since = seen.since.get(id).map(|(_, at)| format!(" since {at:.0}"));
    let since = since.unwrap_or_default();
    let whose = match &resource.occupancy {
        Occupancy::Free => return format!("{}{since}", state(resource)),
        Occupancy::Held(holding) => &holding.reservation,
        Occupancy::Releasing(release) => &release.reservation,
    };
    let end = match &resource.occupancy {
        Occupancy::Held(_) => resource
            .reservations
            .get(whose)
            .and_then(|known| known.end()),
        Occupancy::Free | Occupancy::Releasing(_) => None,
    };
    let end = end.map_or_else(String::new, |end| format!(" until {end:.0}"));
    format!("{} {whose}{since}{end}", state(resource))
}

/// In a word, how far it is.
fn state(resource: &Resource) -> &'static str {
    match &resource.occupancy {
        Occupancy::Free if resource.queue().is_empty() => "free",
        Occupancy::Free => "waited for",
        Occupancy::Releasing(_) => "released from",
        Occupancy::Held(holding) => match &holding.stage {
            Stage::Adopting => "adopted for",
            Stage::Claiming => "given to",
            Stage::Preparing { .. } => "prepared for",
            Stage::Ready { .. } => "ready for",
        },
    }
}

/// Who waits, the next first, and for what.
fn waiting(resource: &Resource) -> Vec<String> {
    let queue = resource.queue().into_iter();
    let mut waiting: Vec<_> = queue
        .map(|(id, waiting)| match &waiting.told {
            Some(reason) => format!("{id} ({})", waits_for(reason)),
            None => id.to_string(),
        })
        .collect();
    let unsettled = (resource.reservations.iter()).filter(|(_, known)| known.is_unsettled());
    waiting.extend(unsettled.map(|(id, _)| format!("{id} ({})", waits_for(&WaitReason::Site))));
    waiting
}

/// For what a reservation waits, in words.
fn waits_for(reason: &WaitReason) -> String {
    match reason {
        WaitReason::Holder { holder } => format!("{holder} has it"),
        WaitReason::Release { holder } => format!("it is being taken back from {holder}"),
        WaitReason::Host { text } | WaitReason::Paused { text } => text.clone(),
        WaitReason::Turn { preparing } => format!("for its turn: {preparing} are being prepared"),
        WaitReason::Key { text } => format!("for a key: {text}"),
        WaitReason::Operator { text } => format!("for an operator: {text}"),
        WaitReason::Site => "nobody has said where the hosts of its site are".to_owned(),
    }
}

/// The last cause, the orders and the alarms that stand.
fn stands(seen: &Seen, id: &ResourceId) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(resource) = seen.ledger.resource(id) {
        let told = resource.holding().and_then(|holding| holding.told.as_ref());
        lines.extend(told.map(|reason| format!("not claimed yet: {}", waits_for(reason))));
        let before = resource.not_wiped.as_ref();
        lines.extend(before.map(|before| format!("not wiped after {before}")));
        let held = resource.orders.held.as_ref();
        lines.extend(held.map(|note| format!("held by {}: {}", note.by, note.why)));
        let back = resource.orders.handed_back.as_ref();
        lines.extend(back.map(|note| format!("to be handed back by {}: {}", note.by, note.why)));
    }
    if let Some((scope, note)) = seen.ledger.paused(id) {
        let with = match scope {
            Scope::Resource(_) => String::new(),
            wider => format!(" (with {wider})"),
        };
        lines.push(format!("paused by {}{with}: {}", note.by, note.why));
    }
    let now = Timestamp::now();
    let alarms = seen.ledger.alarms(id).into_iter();
    let alarms = alarms.filter(|alarm| alarm.is_on(now));
    lines.extend(
        alarms.map(|alarm| format!("alarm {} {}: {}", alarm.kind, alarm.reservation, alarm.text)),
    );
    let last = seen.cause.get(id);
    lines.extend(last.map(|(at, cause)| format!("last cause, {at:.0}: {cause}")));
    lines
}
