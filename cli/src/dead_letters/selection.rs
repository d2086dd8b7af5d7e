//! Which dead letters a command is about.

use bellhop_event_store::{BuriedLetter, DeadLetterClass, EventStore, Selection};
use jiff::{SignedDuration, Timestamp};

use super::missing;
use crate::Failure;

/// How many letters are read at once.
const PAGE: usize = 50;

/// Which dead letters: those that fit all that is given.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Which dead letters")]
pub(crate) struct SelectionSettings {
    /// Those with these sequences, as the list has them
    #[arg(value_name = "SEQUENCE")]
    sequences: Vec<u64>,

    /// Those that this service gave up on: ingress, provisioner or notifier
    #[arg(long)]
    service: Option<String>,

    /// Those of this kind: what Bellhop could not handle, or what a receiver would not take
    #[arg(long, value_enum)]
    kind: Option<Kind>,

    /// Those about a resource whose name holds this text
    #[arg(long, value_name = "TEXT")]
    resource: Option<String>,

    /// Those last tried then or later: a time such as 2026-11-24T10:00:00Z, or how long ago, such as 90m or 48h
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,

    /// Those last tried then or earlier
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    Delivery,
    Report,
}

impl SelectionSettings {
    /// The selection, with what the letters' reasons hold.
    pub(crate) fn with_reason(self, reason: Option<String>) -> Selection {
        let Self {
            sequences,
            service,
            kind,
            resource,
            since,
            until,
        } = self;
        Selection {
            sequences,
            service,
            class: kind.map(|kind| match kind {
                Kind::Delivery => DeadLetterClass::Delivery,
                Kind::Report => DeadLetterClass::Report,
            }),
            resource,
            since,
            until,
            reason,
        }
    }
}

/// Refuses a selection of everything that nobody asked for.
pub(crate) fn is_meant(selection: &Selection, all: bool) -> Result<(), Failure> {
    if selection.is_all() && !all {
        return Err("say which dead letters: by sequence, with --resource, --since, --until, --service, --kind or by their \
                    reason; or --all"
            .into());
    }
    Ok(())
}

/// Shows each selected letter to `visit`, oldest first; none that comes only now.
pub(crate) async fn each(
    store: &EventStore,
    selection: &Selection,
    mut visit: impl AsyncFnMut(BuriedLetter) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if !selection.sequences.is_empty() {
        let mut named = selection.sequences.clone();
        named.sort_unstable();
        named.dedup();
        let mut letters = Vec::new();
        for sequence in named {
            let letter = store.dead_letter(sequence).await?;
            letters.push(letter.ok_or_else(|| missing(sequence))?);
        }
        for letter in letters {
            if selection.takes(&letter) {
                visit(letter).await?;
            }
        }
        return Ok(());
    }
    let end = store.dead_letters_end().await?;
    let mut from = 1;
    loop {
        let page = store.select_dead_letters(selection, from, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        from = last.sequence + 1;
        for letter in page {
            if letter.sequence > end {
                return Ok(());
            }
            visit(letter).await?;
        }
    }
}

/// A time, or how long ago.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago: SignedDuration = text.parse().map_err(|_| {
        "neither a time such as 2026-11-24T10:00:00Z nor how long ago, such as 90m or 48h"
            .to_owned()
    })?;
    Timestamp::now()
        .checked_sub(ago)
        .map_err(|_| "too long ago".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_time_is_given_as_such_or_as_how_long_ago() {
        let time = "2026-11-24T10:00:00Z";
        assert_eq!(moment(time).unwrap(), time.parse().unwrap());
        let (before, ago, after) = (Timestamp::now(), moment("90m").unwrap(), Timestamp::now());
        let minutes = SignedDuration::from_mins(90);
        assert!(before - minutes <= ago && ago <= after - minutes);
        for wrong in ["", "yesterday", "7", "2026-11-24"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
