//! Prints the facts of the ledger, one a line, oldest first.

use std::io::Write;

use bellhop_domain::id::Version;
use bellhop_event_store::{EventStore, EventStoreSettings, LedgerEntry};
use bellhop_service::one_line;

use crate::Failure;

/// Which facts are printed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FactsSettings {
    #[command(flatten)]
    event_store: EventStoreSettings,

    /// Only those of resources whose name holds this text, their places of the capacity, and their permits to be released
    #[arg(long)]
    resource: Option<String>,

    /// Go on with new ones as they come
    #[arg(long)]
    follow: bool,
}

pub(crate) async fn print(settings: FactsSettings) -> Result<(), Failure> {
    let store = EventStore::connect(&settings.event_store, "bellhop-facts").await?;
    let end = store.ledger_end().await?;
    let mut follower = store.follow_ledger(Version(0));
    let mut seen = Version(0);
    while settings.follow || seen < end {
        let entry = follower.next().await?;
        seen = entry.version();
        let wanted = |text: &str| {
            let sought = settings.resource.as_ref();
            sought.is_none_or(|sought| text.contains(sought))
        };
        match entry {
            LedgerEntry::Resource(entry) if wanted(entry.resource.name()) => {
                let begin = format!("{} {} {}", entry.version, entry.at, entry.resource);
                show(&begin, entry.facts.iter().map(serde_json::to_string))?;
            }
            LedgerEntry::Resource(_) => {}
            LedgerEntry::Capacity(entry) => {
                let begin = format!("{} {} capacity", entry.version, entry.at);
                let facts = entry.facts.iter();
                let facts = facts.filter(|fact| wanted(fact.asker().as_str()));
                show(&begin, facts.map(serde_json::to_string))?;
            }
            LedgerEntry::DeadlineReleases(entry) => {
                let begin = format!("{} {} deadline_releases", entry.version, entry.at);
                let facts = entry.facts.iter();
                let facts = facts.filter(|fact| wanted(fact.asker().as_str()));
                show(&begin, facts.map(serde_json::to_string))?;
            }
        }
    }
    Ok(())
}

fn show(
    begin: &str,
    facts: impl Iterator<Item = serde_json::Result<String>>,
) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for fact in facts {
        writeln!(out, "{}", one_line(&format!("{begin} {}", fact?)))?;
    }
    Ok(())
}
