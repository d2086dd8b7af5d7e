//! Gives dead letters up.

use bellhop_event_store::{EventStoreSettings, VerdictError};

use super::by::OperatorSettings;
use super::selection::{SelectionSettings, each, is_meant};
use super::{connect, line, printable, say};
use crate::Failure;

/// Which dead letters are given up, and why.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DropSettings {
    #[command(flatten)]
    event_store: EventStoreSettings,

    #[command(flatten)]
    selection: SelectionSettings,

    /// Those whose own reason holds this text
    #[arg(long, value_name = "TEXT", help_heading = "Which dead letters")]
    letter_reason: Option<String>,

    /// All of them
    #[arg(long, help_heading = "Which dead letters")]
    all: bool,

    /// Why they are given up; it is kept
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,

    /// Do it; without this it is only said which would be given up
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    operator: OperatorSettings,
}

pub(super) async fn run(settings: DropSettings) -> Result<(), Failure> {
    let selection = settings.selection.with_reason(settings.letter_reason);
    is_meant(&selection, settings.all)?;
    let store = connect(&settings.event_store).await?;
    let by = settings.yes.then(|| settings.operator.now()).transpose()?;
    let (mut dropped, mut left) = (0, 0);
    each(&store, &selection, async |letter| {
        if let Some(by) = &by {
            let result = store.drop_dead_letter(&letter, by, &settings.reason).await;
            match result {
                Ok(()) => {}
                Err(VerdictError::NotStored(error)) => return Err(error.into()),
                Err(VerdictError::Broker(error)) => return Err(error.into()),
                Err(others) => {
                    eprintln!("left alone: {}", printable(&others.to_string()));
                    left += 1;
                    return Ok(());
                }
            }
        }
        dropped += 1;
        say(&line(&letter));
        Ok(())
    })
    .await?;
    match by {
        None => eprintln!("dry run: {dropped} would be dropped; --yes does it"),
        Some(_) => eprintln!("{dropped} dropped"),
    }
    if left == 0 {
        Ok(())
    } else {
        Err(format!("{left} left alone").into())
    }
}
