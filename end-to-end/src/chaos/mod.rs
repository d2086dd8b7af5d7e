//! All parts fail at random under overlapping reservations; then it is looked whether anything was lost.
//!
//! ```text
//!   seed ─▶ plan ─▶ stage ─┬─▶ load: events, each sent once ──┐
//!                          └─▶ faults, a lane for each part ──┴─▶ all lifted ─▶ settled ─▶ evidence ─▶ checks ─▶ table
//! ```
//!
//! - [`plan`], [`bookings`]: what will be done and when, a pure function of the seed. [`fault`]: what can be done. The run itself is not the
//!   same each time: processes are.
//! - `stage`: two of each service, a broker, the simulated cluster and reservation system, a [`proxy`] in each way between
//!   two. `broker`, `load`, `operators`, `strike`: what runs on it.
//! - `evidence`, `arrival`, `sendings`: what is on record outside of Bellhop and in the broker. [`checks`]: the judgement. [`table`]: what
//!   is said of it.
//!
//! The sender sends each event once. One that is not answered 2xx (an ingress killed with it in hand, both of them away) is its
//! loss by contract, and is counted apart: that reservation then goes the way of one whose start or end never came.

mod arrival;
pub mod bookings;
mod broker;
pub mod checks;
mod evidence;
pub mod fault;
mod load;
mod operators;
pub mod plan;
pub mod proxy;
pub mod random;
mod sendings;
mod stage;
mod strike;
pub mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

pub use broker::CLUSTER;
pub use strike::Struck;
pub use table::Outcome;

use crate::{A_WHILE, HarnessError};
use evidence::{Case, Evidence};
use load::Booked;
use plan::Plan;
use stage::Stage;

/// The number of the first booking.
const FIRST_BOOKING: i64 = 5120;
/// How long after the last fault everything must be well: the longest wait by itself is that for a broken claim on a report,
/// for what the broker handed to somebody who is gone, and for a missing end; each well below a minute.
const SETTLING: Duration = Duration::from_secs(180);

/// How it is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What all chance hangs on.
    pub seed: u64,
    /// How long faults are done.
    pub seconds: u64,
    /// How many servers there are to reserve.
    pub servers: i64,
    /// How many servers the broker has: 1 or [`CLUSTER`].
    pub brokers: usize,
    /// Whether each fault is said on the standard error.
    pub talkative: bool,
    /// Where the services' logs are kept; where not given, in a new folder if something is wrong.
    pub logs: Option<PathBuf>,
}

/// The run could not be carried out: that says nothing about what was lost.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// Something of the system can't be started, asked or ended.
    #[error(transparent)]
    Harness(#[from] HarnessError),
    /// A part that was away can't be started again.
    #[error("{0} did not come back")]
    NotBack(&'static str),
}

/// Says what is done, if it is asked for.
#[derive(Clone, Copy)]
struct Progress {
    began: Instant,
    talkative: bool,
}

impl Progress {
    fn say(self, what: &str) {
        if self.talkative {
            eprintln!("{:6.1} s  {what}", self.began.elapsed().as_secs_f64());
        }
    }
}

/// One run, from the seed to the table.
///
/// # Errors
/// It can't be carried out. What is lost is no error: see [`Outcome::findings`].
pub async fn run(options: Options) -> Result<Outcome, ChaosError> {
    let plan = Plan::of(
        options.seed,
        options.seconds,
        options.servers,
        options.brokers,
    );
    let stage = Arc::new(Stage::set(&options).await?);
    let (began, began_at) = (Instant::now(), Timestamp::now());
    let progress = Progress {
        began,
        talkative: options.talkative,
    };
    let booked = load::book(&stage, &plan.bookings, began_at)?;
    let (lifted, seen) = mpsc::unbounded_channel();
    let lanes: Vec<_> = plan
        .lanes
        .into_iter()
        .map(|lane| strike::lane(&stage, lane, progress, lifted.clone()))
        .collect();
    drop(lifted);
    let (done, mut struck, (), ()) = tokio::join!(
        try_join_all(lanes),
        strike::recoveries(&stage, seen),
        load::send_all(&stage, &booked, began),
        operators::say_all(&stage, &plan.standing, began),
    );
    done?;
    struck.sort_by_key(|struck| struck.from);
    let lasted = began.elapsed();
    progress.say("all faults are lifted");

    let evidence = settle(&stage, &booked, progress).await?;
    let settled = began.elapsed() - lasted;
    let case = Case {
        evidence,
        struck,
        notifiers: stage.notifiers(),
    };
    let outcome = judge(options.seed, case, lasted, settled, stage.words.counts());
    let of_this_run = || std::env::temp_dir().join(format!("bellhop-chaos-{}", std::process::id()));
    let folder = options
        .logs
        .or_else(|| (!outcome.is_well()).then(of_this_run));
    if let Some(folder) = folder {
        stage.keep_logs(&folder).map_err(HarnessError::Files)?;
        eprintln!("the services' logs are in {}", folder.display());
    }
    Ok(outcome)
}

/// Waits until nothing is missing, nobody has anything in hand, and that stays so for a while; at most [`SETTLING`].
async fn settle(
    stage: &Stage,
    booked: &[Booked],
    progress: Progress,
) -> Result<Evidence, ChaosError> {
    let until = Instant::now() + SETTLING;
    let mut was_well = false;
    loop {
        operators::take_back(stage).await;
        let evidence = match Evidence::collect(stage, booked).await {
            Ok(evidence) => evidence,
            // A broker that is not well yet has lost nothing.
            Err(error) if Instant::now() < until => {
                progress.say(&format!("the broker is asked again: {error}"));
                sleep(A_WHILE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let lost = checks::lost(&evidence);
        let is_well = lost.is_empty() && evidence.is_idle;
        if is_well && was_well || Instant::now() >= until {
            return Ok(evidence);
        }
        if let Some(first) = lost.first() {
            progress.say(&format!("{} to wait for, such as: {first}", lost.len()));
        }
        was_well = is_well;
        sleep(A_WHILE).await;
    }
}

fn judge(
    seed: u64,
    case: Case,
    lasted: Duration,
    settled: Duration,
    words: BTreeMap<String, (usize, usize)>,
) -> Outcome {
    let (findings, repeats) = checks::all(&case);
    let Case {
        evidence, struck, ..
    } = case;
    let outcomes = checks::outcomes::Outcomes::of(&evidence.entries).counts();
    let losses = evidence.sent.iter().filter(|sent| !sent.was_delivered());
    let senders_losses: Vec<_> = losses
        .map(|sent| (sent.at, format!("{}: {:?}", sent.event_type, sent.outcome)))
        .collect();
    Outcome {
        seed,
        lasted,
        settled,
        findings,
        repeats,
        sent: (
            evidence.sent.len(),
            evidence.sent.len() - senders_losses.len(),
        ),
        senders_losses,
        reports: arrival::Arrival::all(&evidence.received, &[]).len(),
        outcomes,
        words,
        struck,
    }
}
