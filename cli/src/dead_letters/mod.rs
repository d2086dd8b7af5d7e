//! Dead letters: what could not be handled, and why; shown, handled once more, or given up.

pub(crate) mod by;
mod drop;
mod history;
mod replay;
mod selection;

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bellhop_event_store::{BuriedLetter, EventStore, EventStoreSettings};

use self::drop::DropSettings;
use self::history::HistorySettings;
use self::replay::ReplaySettings;
use self::selection::SelectionSettings;
pub(crate) use self::selection::each;
use crate::Failure;

/// What to do with dead letters.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Lists them, oldest first, one a line
    List(ListSettings),
    /// Shows one whole: why it is one, its headers and its body
    Show(ShowSettings),
    /// Has them handled once more, and erases them
    ///
    /// Says what would be done; with --yes it is done. Deliveries go to the provisioner again, reports to the notifier, which
    /// sends those of one reservation in their order, and none that is not true any more. What can't be handled this time
    /// either is a dead letter again.
    Replay(ReplaySettings),
    /// Gives them up, and erases them
    ///
    /// Says which would be given up; with --yes they are. Who did it, when and why is kept: see `history`.
    Drop(DropSettings),
    /// Lists which were replayed and dropped, and whose were erased by `bellhop forget`, by whom, when and why
    History(HistorySettings),
}

/// Which dead letters are listed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ListSettings {
    #[command(flatten)]
    event_store: EventStoreSettings,

    #[command(flatten)]
    selection: SelectionSettings,

    /// Only those whose reason holds this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// At most so many
    #[arg(long, default_value = "100")]
    limit: usize,

    /// Only those from this sequence on
    #[arg(long, default_value = "1")]
    from: u64,
}

/// Which dead letter is shown.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShowSettings {
    #[command(flatten)]
    event_store: EventStoreSettings,

    /// Its sequence, as the list has it
    sequence: u64,
}

pub(crate) async fn run(command: DeadLettersCommand) -> Result<(), Failure> {
    match command {
        DeadLettersCommand::List(settings) => list(settings).await,
        DeadLettersCommand::Show(settings) => show(settings).await,
        DeadLettersCommand::Replay(settings) => replay::run(settings).await,
        DeadLettersCommand::Drop(settings) => drop::run(settings).await,
        DeadLettersCommand::History(settings) => history::run(settings).await,
    }
}

async fn list(settings: ListSettings) -> Result<(), Failure> {
    let store = connect(&settings.event_store).await?;
    let selection = settings.selection.with_reason(settings.reason);
    // One more than wanted tells whether there are more.
    let limit = settings.limit.saturating_add(1);
    let letters = store
        .select_dead_letters(&selection, settings.from, limit)
        .await?;
    let shown = letters.len().min(settings.limit);
    let (letters, more) = letters.split_at(shown);
    let mut out = io::stdout().lock();
    for letter in letters {
        writeln!(out, "{}", line(letter))?;
    }
    if let Some(next) = more.first() {
        eprintln!("there are more: --from {}", next.sequence);
    }
    Ok(())
}

async fn show(settings: ShowSettings) -> Result<(), Failure> {
    let store = connect(&settings.event_store).await?;
    let sequence = settings.sequence;
    let letter = store
        .dead_letter(sequence)
        .await?
        .ok_or_else(|| missing(sequence))?;
    Ok(whole(&letter, &mut io::stdout().lock())?)
}

/// Says what was done. A reader that goes away must not stop what is being done.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

fn missing(sequence: u64) -> Failure {
    format!(
        "there is no dead letter {sequence}: `bellhop dead-letters list` names those that are there"
    )
    .into()
}

async fn connect(settings: &EventStoreSettings) -> Result<EventStore, Failure> {
    Ok(EventStore::connect(settings, "bellhop-dead-letters").await?)
}

pub(crate) fn line(letter: &BuriedLetter) -> String {
    format!(
        "{} {} tries={} first={:.0} last={:.0} trace={} {}",
        letter.sequence,
        letter.subject,
        letter.tries,
        letter.first_at,
        letter.last_at,
        trace_id(letter).unwrap_or("-"),
        printable(&letter.reason),
    )
}

fn whole(letter: &BuriedLetter, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "sequence:    {}", letter.sequence)?;
    writeln!(out, "subject:     {}", letter.subject)?;
    writeln!(out, "id:          {}", printable(&letter.id))?;
    for resource in letter.resources() {
        writeln!(out, "resource:    {}", printable(&resource))?;
    }
    writeln!(out, "reason:      {}", printable(&letter.reason))?;
    writeln!(out, "tries:       {}", letter.tries)?;
    writeln!(out, "first tried: {}", letter.first_at)?;
    writeln!(out, "last tried:  {}", letter.last_at)?;
    writeln!(out, "trace:       {}", trace_id(letter).unwrap_or("-"))?;
    writeln!(out, "headers:")?;
    for (name, value) in &letter.headers {
        writeln!(out, "  {}: {}", printable(name), printable(value))?;
    }
    match text(&letter.body) {
        Some(text) => writeln!(out, "body ({} bytes):\n{text}", letter.body.len()),
        None => writeln!(
            out,
            "body ({} bytes, in base64):\n{}",
            letter.body.len(),
            STANDARD.encode(&letter.body)
        ),
    }
}

/// The trace's id in a `traceparent` (W3C trace context: version, trace id, parent id, flags, with `-` between).
fn trace_id(letter: &BuriedLetter) -> Option<&str> {
    letter.traceparent.as_deref()?.split('-').nth(1)
}

/// Text from outside without what a terminal would take for a command.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect()
}

/// A body as text, if a terminal can show it as it is.
fn text(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let shown = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().all(shown).then_some(text)
}
