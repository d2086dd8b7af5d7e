//! `cargo xtask demo`: builds the services and the demo, then becomes the demo.

use clap::Args;

use crate::steps::{self, Failure};

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Leave everything running at the end, and print the addresses and a signed curl line to try
    #[arg(long)]
    keep: bool,
    /// Passed on to the demo as they are
    #[arg(last = true, value_name = "ARGUMENTS")]
    passed_on: Vec<String>,
}

/// Builds, then replaces this process by the demo; returns only if something failed.
pub(crate) fn run(arguments: &DemoArguments) -> Result<(), Failure> {
    let keep = arguments.keep.then(|| "--keep".to_owned());
    let words = keep.into_iter().chain(arguments.passed_on.iter().cloned());
    steps::build_and_become("demo", words)
}
