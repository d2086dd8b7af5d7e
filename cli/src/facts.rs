//! Prints the facts of the ledger, one a line, oldest first.

use std::io::Write;

use bellhop_domain::id::Version;
use bellhop_event_store::{Entry, EventStore, EventStoreSettings};

use crate::Failure;

/// Which facts are printed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FactsSettings {
    #[command(flatten)]
    event_store: EventStoreSettings,

    /// Only those of resources whose name holds this text
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
        seen = entry.version;
        let wanted = settings
            .resource
            .as_ref()
            .is_none_or(|text| entry.resource.name().contains(text));
        if wanted {
            show(&entry)?;
        }
    }
    Ok(())
}

fn show(entry: &Entry) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for fact in &entry.facts {
        let fact = serde_json::to_string(fact)?;
        writeln!(
            out,
            "{} {} {} {fact}",
            entry.version, entry.at, entry.resource
        )?;
    }
    Ok(())
}
