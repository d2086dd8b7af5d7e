//! The commands of a developer, run as `cargo xtask <command>` anywhere in the repository.
//!
//! One module for each command; to add one, add a variant to [`Command`] and its module.

mod api_server;
mod chaos;
mod demo;
mod kubernetes;
mod settings;
mod steps;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tests Bellhop and shows it at work. Needs a Rust toolchain and Python 3, nothing else.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks the format, runs clippy (warnings are errors) and all tests, with real nats-server processes
    Test(test::TestArguments),
    /// Plays reservations through the real services on this machine, with a simulated cluster and reservation system
    Demo(demo::DemoArguments),
    /// Lets every part fail at random on this machine while reservations come and go, and looks whether anything was lost
    Chaos(chaos::ChaosArguments),
    /// Writes deploy/bellhop.env and the reference in docs/configuration.md from the settings' declarations
    Settings,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Chaos(arguments) => chaos::run(&arguments),
        Command::Settings => settings::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
