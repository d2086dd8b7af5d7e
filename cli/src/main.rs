//! The `bellhop` command: runs a service, or all of them in one process; makes the streams; shows what the ledger says, and
//! what could not be handled, which it has handled once more or gives up; says what an operator orders.

#![forbid(unsafe_code)]

mod adopt;
mod all;
mod dead_letters;
mod facts;
mod forget;
mod hand_back;
mod hosts;
mod orders;
#[cfg(test)]
mod printed;
mod settings;
mod spool;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use bellhop_event_store::{EventStore, EventStoreSettings};
use bellhop_ingress::IngressSettings;
use bellhop_notifier::NotifierSettings;
use bellhop_provisioner::ProvisionerSettings;
use bellhop_service::settings::{TelemetrySettings, parse};
use bellhop_service::{shutdown, telemetry};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::adopt::AdoptSettings;
use crate::all::AllSettings;
use crate::dead_letters::DeadLettersCommand;
use crate::facts::FactsSettings;
use crate::forget::ForgetSettings;
use crate::hand_back::HandBackSettings;
use crate::hosts::HostsSettings;
use crate::orders::OrderCommand;
use crate::orders::standing::StandingSettings;
use crate::spool::SpoolCommand;

/// Gets bare-metal servers ready when reservations start, and takes them back when they end.
#[derive(Debug, clap::Parser)]
#[command(name = "bellhop", version, propagate_version = true)]
struct Bellhop {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Receives webhooks, verifies them and stores them
    Ingress(Box<IngressSettings>),
    /// Folds deliveries into the ledger and drives the hosts
    Provisioner(Box<ProvisionerSettings>),
    /// Tells the reservation system what became of each reservation
    Notifier(Box<NotifierSettings>),
    /// Runs all three services in one process, each on a port of its own
    All(Box<AllSettings>),
    /// Makes the streams and buckets that are missing, and checks those that are there
    Setup(SetupSettings),
    /// Prints what each host is doing, one a line, or the whole story of one
    ///
    /// Who has it and since when, who waits and for what, the last cause, the orders and alarms that stand: all that the ledger says.
    Hosts(HostsSettings),
    /// Prints the facts of the ledger, one a line
    Facts(FactsSettings),
    /// Shows what could not be handled, and why; has it handled once more, or gives it up
    DeadLetters {
        #[command(subcommand)]
        command: DeadLettersCommand,
    },
    #[command(flatten)]
    Order(OrderCommand),
    /// Prints what operators ordered and stands still, one a line: what is paused, held and to be handed back
    Orders(StandingSettings),
    /// Erases what was stored of a user: their deliveries and dead letters, not their id in the ledger
    ///
    /// Says what would be erased; with --yes it is. Needs the broker's user `administrator`, where it has users. Nothing is erased
    /// while a reservation of that user is not over, or a delivery of theirs is not handled. Who did it, when and why is kept: see
    /// `bellhop dead-letters history`.
    Forget(ForgetSettings),
    /// Takes over the hosts that the service before Bellhop prepared; run it with the environment of a provisioner
    Adopt(AdoptSettings),
    /// Switches free hosts on again, for the way back to the service before Bellhop
    HandBack(HandBackSettings),
    /// Shows or drains what an ingress kept while the broker was away
    Spool {
        #[command(subcommand)]
        command: SpoolCommand,
    },
    /// Prints all settings of all services, as a page or as a file of variables
    Settings(settings::SettingsForm),
}

/// Where the streams are made.
#[derive(Clone, Debug, clap::Args)]
struct SetupSettings {
    #[command(flatten)]
    telemetry: TelemetrySettings,
    #[command(flatten)]
    event_store: EventStoreSettings,
}

/// How long what waits for a disk may still take when all else has ended.
const DISK_TIME: Duration = Duration::from_secs(1);

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    telemetry::install_crypto_provider();
    let bellhop: Bellhop = match parse(std::env::args_os()) {
        Ok(bellhop) => bellhop,
        Err(error) => return error.report(),
    };
    match start(bellhop.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(target: "bellhop", error = error.as_ref() as &dyn std::error::Error, "cannot go on");
            eprintln!("bellhop: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = carry_out(command, &runtime);
    // Dropped, it would wait for a disk that does not answer, for ever.
    runtime.shutdown_timeout(DISK_TIME);
    result
}

fn carry_out(command: Command, runtime: &Runtime) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match command {
        Command::Settings(form) => Ok(settings::print(form)?),
        Command::Hosts(settings) => runtime.block_on(hosts::print(settings)),
        Command::Facts(settings) => runtime.block_on(facts::print(settings)),
        Command::DeadLetters { command } => runtime.block_on(dead_letters::run(command)),
        Command::Spool { command } => runtime.block_on(spool::run(command)),
        Command::Forget(settings) => runtime.block_on(forget::run(settings)),
        Command::Order(command) => runtime.block_on(orders::say(command)),
        Command::Adopt(settings) => runtime.block_on(adopt::adopt(settings)),
        Command::Orders(settings) => runtime.block_on(orders::standing::print(settings)),
        Command::HandBack(settings) => runtime.block_on(hand_back::hand_back(settings)),
        Command::Ingress(settings) => {
            let telemetry = telemetry::install(&settings.telemetry, "ingress", version)?;
            let result =
                runtime.block_on(until_stopped(|stop| bellhop_ingress::run(*settings, stop)));
            telemetry.shutdown();
            result
        }
        Command::Provisioner(settings) => {
            let telemetry = telemetry::install(&settings.telemetry, "provisioner", version)?;
            let result = runtime.block_on(until_stopped(|stop| {
                bellhop_provisioner::run(*settings, stop)
            }));
            telemetry.shutdown();
            result
        }
        Command::Notifier(settings) => {
            let telemetry = telemetry::install(&settings.telemetry, "notifier", version)?;
            let result =
                runtime.block_on(until_stopped(|stop| bellhop_notifier::run(*settings, stop)));
            telemetry.shutdown();
            result
        }
        Command::All(settings) => {
            let telemetry = telemetry::install(settings.telemetry(), "all", version)?;
            let result = runtime.block_on(until_stopped(|stop| all::run(*settings, stop)));
            telemetry.shutdown();
            result
        }
        Command::Setup(settings) => {
            let telemetry = telemetry::install(&settings.telemetry, "setup", version)?;
            let result = runtime.block_on(set_up(&settings.event_store));
            telemetry.shutdown();
            result
        }
    }
}

/// Runs a service until a signal stops it.
async fn until_stopped<F, E>(run: impl FnOnce(CancellationToken) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), E>>,
    E: Into<Failure>,
{
    run(shutdown::on_signals()?).await.map_err(Into::into)
}

async fn set_up(settings: &EventStoreSettings) -> Result<(), Failure> {
    let store = EventStore::connect(settings, "bellhop-setup").await?;
    store.set_up().await?;
    writeln!(
        std::io::stdout(),
        "the streams are as they must be; the ledger is {}",
        store.ledger_id()
    )?;
    Ok(())
}

/// Whether nobody reads any more what is printed, as after `bellhop facts | head`: nothing to complain of.
fn is_closed_pipe(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let printing = error.downcast_ref::<std::io::Error>();
    printing.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// An error with its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
