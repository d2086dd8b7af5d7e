//! What operators did with dead letters.

use std::io::{self, Write};

use bellhop_event_store::{EventStoreSettings, Verdict};

use super::{connect, printable};
use crate::Failure;

/// Which decisions are listed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HistorySettings {
    #[command(flatten)]
    event_store: EventStoreSettings,

    /// At most so many
    #[arg(long, default_value = "100")]
    limit: usize,

    /// Only those from this sequence on
    #[arg(long, default_value = "1")]
    from: u64,
}

pub(super) async fn run(settings: HistorySettings) -> Result<(), Failure> {
    let store = connect(&settings.event_store).await?;
    // One more than wanted tells whether there are more.
    let limit = settings.limit.saturating_add(1);
    let verdicts = store.verdicts(settings.from, limit).await?;
    let (shown, more) = verdicts.split_at(verdicts.len().min(settings.limit));
    let mut out = io::stdout().lock();
    for (sequence, decided) in shown {
        let what = match &decided.verdict {
            Verdict::Replay => "replayed".to_owned(),
            Verdict::Drop { because } => format!("dropped ({because})"),
        };
        writeln!(
            out,
            "{sequence} {:.0} {} {} {}: {} {}",
            decided.at,
            printable(&decided.by),
            printable(&what),
            decided.sequence,
            decided.subject,
            printable(&decided.reason),
        )?;
    }
    if let Some((next, _)) = more.first() {
        eprintln!("there are more: --from {next}");
    }
    Ok(())
}
