//! The demo: plays three reservations through the real services, a real broker, and a simulated cluster and reservation
//! system, and says line by line what happens.
//!
//! What it prints, and by what it judges, is what the reservation system received and sent, what the cluster was asked and
//! did, and what stands in the ledger: never a service's own log. The last line is `demo: ok` only if every step was seen
//! there.

mod ending;
mod narrator;
mod plays;
mod words;

use std::process::ExitCode;
use std::time::Duration;

use bellhop_end_to_end::{HarnessError, System, SystemSettings};
use bellhop_simulator::cluster::{HostState, Pauses};
use clap::Parser;

use crate::narrator::Narrator;
use crate::plays::{NotSeen, Play};

/// Plays three reservations through the real services and says what happens
#[derive(Debug, Parser)]
#[command(name = "demo", max_term_width = 100)]
struct Arguments {
    /// Leave everything running at the end, and print the addresses and a signed curl line to try
    #[arg(long)]
    keep: bool,
}

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Harness(#[from] HarnessError),
    #[error(transparent)]
    NotSeen(#[from] NotSeen),
    #[error("cannot wait for Ctrl-C")]
    Signal(#[from] std::io::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let narrator = Narrator::start();
    let (last_line, exit_code) = match run(&arguments, &narrator).await {
        Ok(()) => ("demo: ok\n".to_owned(), ExitCode::SUCCESS),
        Err(error) => (
            format!("demo: failed: {}\n", chain(&error)),
            ExitCode::FAILURE,
        ),
    };
    narrator.text(&last_line);
    exit_code
}

async fn run(arguments: &Arguments, narrator: &Narrator) -> Result<(), DemoError> {
    narrator.say(
        "demo",
        "starts nats-server, the three services, a simulated cluster and reservation system",
    );
    // Slow enough to be read; a real server takes minutes.
    let pauses = Pauses::all(Duration::from_millis(300))
        .with(HostState::Provisioning, Duration::from_millis(1500))
        .with(HostState::Deprovisioning, Duration::from_millis(1000));
    let mut system = System::start(SystemSettings {
        servers: 4,
        hosts: 4,
        pauses,
        variables: vec![("SWEEP_INTERVAL", "30".to_owned())],
        ..SystemSettings::default()
    })
    .await?;
    narrator.follow(&system).await?;
    for service in system.services() {
        narrator.say(
            service.kind().name(),
            &format!(
                "is ready: process {}, {}",
                service.process_id().unwrap_or(0),
                service.url()
            ),
        );
    }

    let mut play = Play::new(narrator, &mut system);
    let played = play.all().await;
    narrator.catch_up().await;
    let first = match played {
        Ok(first) => first,
        Err(not_seen) => {
            ending::logs(&system, narrator);
            return Err(not_seen);
        }
    };
    ending::trace(&system, narrator, &first).await?;
    ending::facts(&system, narrator, &first).await?;
    ending::what_to_read(narrator);
    if arguments.keep {
        ending::keep(&mut system, narrator).await?;
    }
    Ok(())
}

/// An error with its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
