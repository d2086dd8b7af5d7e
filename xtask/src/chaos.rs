//! `cargo xtask chaos`: builds the services and the chaos, then becomes it.

use clap::Args;

use crate::steps::{self, Failure};

#[derive(Debug, Args)]
pub(crate) struct ChaosArguments {
    /// How long parts fail
    #[arg(long, default_value = "60")]
    seconds: u64,
    /// What all chance hangs on: the same seed gives the same faults and events [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// One server as the broker instead of a cluster of three
    #[arg(long)]
    single_broker: bool,
    /// Passed on as they are
    #[arg(last = true, value_name = "ARGUMENTS")]
    passed_on: Vec<String>,
}

/// Builds, then replaces this process by the chaos; returns only if something failed.
pub(crate) fn run(arguments: &ChaosArguments) -> Result<(), Failure> {
    let mut words = vec!["--seconds".to_owned(), arguments.seconds.to_string()];
    if let Some(seed) = arguments.seed {
        words.extend(["--seed".to_owned(), seed.to_string()]);
    }
    if arguments.single_broker {
        words.push("--single-broker".to_owned());
    }
    words.extend(arguments.passed_on.iter().cloned());
    steps::build_and_become("chaos", words)
}
