//! Prints what operators ordered and stands still: what is paused, held and handed back, by whom and why.

use std::io::Write;

use bellhop_domain::reservation::{Note, Scope};
use bellhop_event_store::{EventStore, EventStoreSettings};
use bellhop_service::one_line;

use super::fold;
use crate::Failure;

/// Whose orders are printed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StandingSettings {
    #[command(flatten)]
    event_store: EventStoreSettings,
}

pub(crate) async fn print(settings: StandingSettings) -> Result<(), Failure> {
    let store = EventStore::connect(&settings.event_store, "bellhop-operator").await?;
    let ledger = fold(&store).await?;
    let mut lines = Vec::new();
    for (id, resource) in ledger.resources() {
        let orders = &resource.orders;
        let mut stands = |what: &str, note: &Option<Note>| {
            if let Some(note) = note {
                let scope = Scope::of(id);
                lines.push(format!("{what} {scope} by {}: {}", note.by, note.why));
            }
        };
        stands("paused", &orders.paused);
        stands("held", &orders.held);
        stands("to be handed back", &orders.handed_back);
    }
    lines.sort();
    let mut out = std::io::stdout().lock();
    if lines.is_empty() {
        writeln!(
            out,
            "no order stands: nothing is paused, held or to be handed back"
        )?;
    }
    for line in lines {
        writeln!(out, "{}", one_line(&line))?;
    }
    Ok(())
}
