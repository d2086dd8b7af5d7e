//! Shows what waits in an ingress's spool, and brings it to the broker where that ingress does not run any more.

use std::io::{self, Write};
use std::path::PathBuf;

use bellhop_event_store::EventStoreSettings;
use bellhop_ingress::spool::{self, Entry, Part, Pass, SpoolFile};

use crate::Failure;
use crate::dead_letters::printable;

/// What to do with a spool.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SpoolCommand {
    /// Lists what lies in the spool, oldest first, one webhook a line; its ingress may run
    Show(ShowSettings),
    /// Stores in the broker what waits in the spool, where no ingress uses it: a running one does that by itself
    Drain(DrainSettings),
}

/// Which spool is shown.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShowSettings {
    #[command(flatten)]
    folder: FolderSettings,
}

/// Which spool is drained, and where to.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DrainSettings {
    #[command(flatten)]
    folder: FolderSettings,
    #[command(flatten)]
    event_store: EventStoreSettings,
}

#[derive(Clone, Debug, clap::Args)]
struct FolderSettings {
    /// The spool's folder
    #[arg(long, env = "SPOOL_DIR", help_heading = "The spool of the ingress")]
    spool_dir: PathBuf,
}

pub(crate) async fn run(command: SpoolCommand) -> Result<(), Failure> {
    match command {
        SpoolCommand::Show(settings) => show(spool::list(&settings.folder.spool_dir)?),
        SpoolCommand::Drain(settings) => drain(settings).await,
    }
}

fn show(files: impl Iterator<Item = SpoolFile>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for file in files {
        let part = match file.part {
            Part::Waiting => "waiting",
            Part::Refused => "refused",
            Part::Damaged => "damaged",
        };
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        for entry in &file.entries {
            writeln!(out, "{part} {name} {}", line(entry))?;
        }
        if file.unreadable > 0 {
            let count = file.unreadable;
            writeln!(out, "{part} {name} {count} line(s) can't be read")?;
        }
        if let Some(error) = &file.unread {
            writeln!(out, "{part} {name} can't be read now: {error}")?;
        }
    }
    Ok(())
}

/// One webhook, without what is private in it.
fn line(entry: &Entry) -> String {
    let becomes = match entry {
        Entry::Delivery(_) => "delivery",
        Entry::DeadLetter(_) => "dead-letter",
    };
    format!(
        "{:.0} {becomes} {} bytes={}",
        entry.received_at(),
        printable(entry.id()),
        entry.body().len(),
    )
}

async fn drain(settings: DrainSettings) -> Result<(), Failure> {
    let folder = settings.folder.spool_dir;
    let Pass {
        stored,
        refused,
        unreadable,
        left,
        trouble,
        unread,
    } = spool::drain(&folder, &settings.event_store).await?;
    writeln!(io::stdout(), "{stored} webhook(s) of the spool are stored")?;
    let shown = folder.display();
    let mut problems = Vec::new();
    if refused > 0 {
        problems.push(format!(
            "NATS refuses {refused} as they are (too large?); they are kept in {shown}/refused"
        ));
    }
    if unreadable > 0 {
        problems.push(format!(
            "{unreadable} line(s) can't be read; their files are kept in {shown}/damaged"
        ));
    }
    if let Some(unread) = unread {
        problems.push(format!("{unread}; they wait on"));
    }
    if let Some(trouble) = trouble {
        let why = crate::chain(&trouble);
        problems.push(format!("{left} or more wait on: {why}"));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("; ").into())
    }
}
