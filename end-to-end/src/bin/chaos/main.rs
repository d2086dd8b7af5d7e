//! `cargo xtask chaos`: kills, stops, partitions, slows and fails every part at random, and says what was lost.

use std::path::PathBuf;
use std::process::ExitCode;

use bellhop_end_to_end::chaos::{self, CLUSTER, Options};
use clap::Parser;

/// Lets every part fail at random under load, then looks whether anything was lost
#[derive(Debug, Parser)]
#[command(name = "chaos", max_term_width = 100)]
struct Arguments {
    /// How long parts fail
    #[arg(long, default_value = "60", value_parser = clap::value_parser!(u64).range(5..=86_400))]
    seconds: u64,
    /// What all chance hangs on: the same seed gives the same faults and events [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// How many servers there are to reserve
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(i64).range(1..=99))]
    servers: i64,
    /// One server as the broker instead of a cluster of three
    #[arg(long)]
    single_broker: bool,
    /// Keep the services' logs in this folder [default: only if something is wrong]
    #[arg(long)]
    logs: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        seed: arguments.seed.unwrap_or_else(new_seed),
        seconds: arguments.seconds,
        servers: arguments.servers,
        brokers: if arguments.single_broker { 1 } else { CLUSTER },
        talkative: true,
        logs: arguments.logs,
    };
    eprintln!("seed {}", options.seed);
    match chaos::run(options).await {
        Ok(outcome) => {
            println!("{outcome}");
            if outcome.is_well() {
                println!("chaos: ok, nothing is lost");
                ExitCode::SUCCESS
            } else {
                println!("chaos: failed, {} found", outcome.findings.len());
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            println!("chaos: failed: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Short enough to be typed.
fn new_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_micros()))
}

/// An error with its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
