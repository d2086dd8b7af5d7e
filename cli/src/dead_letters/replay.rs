//! Has dead letters handled once more.

use bellhop_event_store::dead_letter::in_order;
use bellhop_event_store::{EventStore, EventStoreSettings, Operator, Replay, ReplayError};

use super::by::OperatorSettings;
use super::selection::{SelectionSettings, each, is_meant};
use super::{connect, printable, say};
use crate::Failure;

/// Which dead letters are replayed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReplaySettings {
    #[command(flatten)]
    event_store: EventStoreSettings,

    #[command(flatten)]
    selection: SelectionSettings,

    /// Those whose reason holds this text
    #[arg(long, value_name = "TEXT", help_heading = "Which dead letters")]
    reason: Option<String>,

    /// All of them
    #[arg(long, help_heading = "Which dead letters")]
    all: bool,

    /// Do it; without this it is only said what would be done
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    operator: OperatorSettings,
}

pub(super) async fn run(settings: ReplaySettings) -> Result<(), Failure> {
    let selection = settings.selection.with_reason(settings.reason);
    is_meant(&selection, settings.all)?;
    let mut replaying = Replaying {
        store: connect(&settings.event_store).await?,
        by: settings.yes.then(|| settings.operator.now()).transpose()?,
        replayed: 0,
        left: 0,
    };
    let store = replaying.store.clone();
    // Reports about one reservation leave in their order, so all of them must be known before the first is asked for.
    let mut for_notifier = Vec::new();
    each(&store, &selection, async |letter| {
        match store.plan_replay(letter).await {
            Ok(plan) if plan.is_for_notifier() => for_notifier.push(plan),
            Ok(plan) => replaying.carry_out(&plan).await?,
            Err(error @ ReplayError::Unreplayable { .. }) => replaying.leave(&error),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    })
    .await?;
    for plan in in_order(for_notifier) {
        replaying.carry_out(&plan).await?;
    }
    replaying.end()
}

struct Replaying {
    store: EventStore,
    /// Nobody in a dry run.
    by: Option<Operator>,
    replayed: usize,
    left: usize,
}

impl Replaying {
    async fn carry_out(&mut self, plan: &Replay) -> Result<(), Failure> {
        let letters = plan.sequences().count();
        let mut left_out = Vec::new();
        if let Some(by) = &self.by {
            left_out = self.store.replay(plan, by).await?;
        }
        self.replayed += letters - left_out.len().min(letters);
        let sequences: Vec<String> = plan
            .sequences()
            .map(|sequence| sequence.to_string())
            .collect();
        if left_out.len() < letters {
            let plan = printable(&plan.to_string());
            say(&format!("{}: {plan}", sequences.join(", ")));
        }
        for error in left_out {
            self.leave(&error);
        }
        Ok(())
    }

    fn leave(&mut self, error: &dyn std::error::Error) {
        self.left += 1;
        eprintln!("left alone: {}", printable(&error.to_string()));
    }

    fn end(self) -> Result<(), Failure> {
        let (replayed, left) = (self.replayed, self.left);
        match self.by {
            None => eprintln!("dry run: {replayed} would be replayed; --yes does it"),
            Some(_) => eprintln!("{replayed} replayed"),
        }
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} left alone").into())
        }
    }
}
