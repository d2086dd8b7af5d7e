//! What operators did with dead letters, and whom they forgot.

use std::io::{self, Write};

use bellhop_event_store::{Decided, Erasure, EventStoreSettings, Verdict};

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
    let verdicts = verdicts.iter().map(|(at, decided)| (*at, verdict(decided)));
    let erasures = store.erasures(settings.from, limit).await?;
    let erasures = erasures.iter().map(|(at, erased)| (*at, erasure(erased)));
    let mut all: Vec<(u64, String)> = verdicts.chain(erasures).collect();
    all.sort();
    let (shown, more) = all.split_at(all.len().min(settings.limit));
    let mut out = io::stdout().lock();
    for (sequence, text) in shown {
        writeln!(out, "{sequence} {text}")?;
    }
    if let Some((next, _)) = more.first() {
        eprintln!("there are more: --from {next}");
    }
    Ok(())
}

fn verdict(decided: &Decided) -> String {
    let what = match &decided.verdict {
        Verdict::Replay => "replayed".to_owned(),
        Verdict::Drop { because } => format!("dropped ({because})"),
    };
    format!(
        "{:.0} {} {} {}: {} {}",
        decided.at,
        printable(&decided.by),
        printable(&what),
        decided.sequence,
        decided.subject,
        printable(&decided.reason),
    )
}

fn erasure(erased: &Erasure) -> String {
    format!(
        "{:.0} {} forgot {} ({}): {} deliveries, {} dead letters",
        erased.at,
        printable(&erased.by),
        printable(&erased.user),
        printable(&erased.because),
        erased.deliveries,
        erased.dead_letters,
    )
}
