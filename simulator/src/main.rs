//! `bellhop-simulator`: a Metal3 cluster and a reservation system in one process, for a demo without either.
//!
//! It books what its settings' schedule says, sends starts and ends by the clock, and tells in plain words what it
//! sent, what it received, and what became of its hosts.

mod program;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bellhop_simulator::cluster::Cluster;
use bellhop_simulator::reservation_system::ReservationSystem;
use bellhop_simulator::trace_collector::TraceCollector;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use program::settings::ProgramSettings;
use program::{Failure, narrate, schedule};

/// Stands in for a Metal3 cluster and for the reservation system.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// A JSON file: {"cluster": {…}, "reservation_system": {…}, "trace_collector": {…}, "schedule": {…}}
    #[arg(long, env = "SIMULATOR_SETTINGS", value_name = "FILE")]
    settings: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let coloured = std::io::stdout().is_terminal();
    tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(coloured)
        .with_max_level(tracing::Level::INFO)
        .init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{}", program::with_causes(&failure));
            ExitCode::FAILURE
        }
    }
}

async fn run(Arguments { settings }: Arguments) -> Result<(), Failure> {
    // First of all: who comes too early dies before it can listen.
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Signal)?;
    let ProgramSettings {
        cluster,
        reservation_system,
        trace_collector,
        schedule,
    } = ProgramSettings::read(&settings)?;

    let cluster = Cluster::start(cluster).await.map_err(Failure::Cluster)?;
    info!(
        "the cluster answers at {}; look at {0}/simulator/hosts",
        cluster.url()
    );
    let collector = match trace_collector {
        Some(collector) => Some(
            TraceCollector::start_on(collector.listen)
                .await
                .map_err(Failure::Collector)?,
        ),
        None => None,
    };
    if let Some(collector) = &collector {
        info!("traces are collected at {}", collector.endpoint());
    }
    let system = ReservationSystem::start(reservation_system)
        .await
        .map_err(Failure::ReservationSystem)?;
    info!(
        "the reservation system answers at {}; look at {0}/simulator/bookings",
        system.url()
    );

    tokio::select! {
        () = narrate::hosts(&cluster) => {}
        () = narrate::reservation_system(&system) => {}
        () = schedule::play(&system, schedule) => {}
        _ = terminate.recv() => info!("told to end"),
        _ = tokio::signal::ctrl_c() => info!("told to end"),
    }
    Ok(())
}
