//! What makes resources be looked at: changes of hosts and of the ledger, and a sweep now and then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bellhop_domain::reservation::{Desired, Scope, desired};
use bellhop_service::tasks::Tasks;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::alarms::AlarmBoard;
use crate::baremetalhost::driver::Driver;
use crate::baremetalhost::late_secrets;
use crate::baremetalhost::watch::{self, ChangedHost};
use crate::folded::{Change, FoldedLedger};
use crate::settings::ProvisionerSettings;
use crate::sites::ServedSites;
use crate::work_queue::WorkQueue;

/// How many resources are looked at at once. Each look is a few requests to the API server, so this bounds what it gets from
/// one provisioner.
const WORKERS: usize = 16;

/// Starts the watches, the sweeps and the workers.
pub(crate) fn drive(
    settings: &ProvisionerSettings,
    driver: &Arc<Driver>,
    board: AlarmBoard,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) {
    let queue = WorkQueue::default();
    let namespaces = watched(&ServedSites::new(settings), &driver.folded);
    namespaces.iter().for_each(|name| driver.known.expect(name));
    for namespace in namespaces {
        let (driver, queue, stop) = (driver.clone(), queue.clone(), stop.clone());
        tasks.spawn("watch", async move {
            let changed = |host: ChangedHost<'_>| ask_about(host, &driver.folded, &queue);
            watch::run(
                &driver.cluster,
                &namespace,
                &driver.known,
                &driver.kubernetes,
                &stop,
                changed,
            )
            .await;
        });
    }
    let sweep = settings.sweep_interval;
    tasks.spawn(
        "sweep",
        listen(
            driver.folded.clone(),
            queue.clone(),
            board,
            sweep,
            stop.clone(),
        ),
    );
    tasks.spawn("late secrets", {
        let (driver, stop) = (driver.clone(), stop.clone());
        async move { late_secrets::run(&driver, sweep, &stop).await }
    });
    for _ in 0..WORKERS {
        let (driver, queue, stop) = (driver.clone(), queue.clone(), stop.clone());
        tasks.spawn("hosts", async move {
            loop {
                let resource = tokio::select! {
                    () = stop.cancelled() => return,
                    resource = queue.next() => resource,
                };
                let next = driver.look(&resource).await;
                queue.done(&resource, next);
            }
        });
    }
}

/// The namespaces whose hosts are watched: those that are served, and those in which something is in use still from before
/// they were not.
fn watched(sites: &ServedSites, folded: &FoldedLedger) -> BTreeSet<String> {
    let in_use = folded.resources_where(|_, resource| desired(resource) != Desired::Nothing);
    let served = sites.namespaces().into_iter().map(str::to_owned);
    let used = in_use.iter().map(|id| id.namespace().to_owned());
    served.chain(used).collect()
}

/// Asks for a look at every resource that a changed host may matter to.
fn ask_about(host: ChangedHost<'_>, folded: &FoldedLedger, queue: &WorkQueue) {
    let concerned = folded.resources_where(|id, resource| {
        id.namespace() == host.namespace
            && match desired(resource) {
                Desired::Nothing => false,
                Desired::Wait | Desired::SwitchOn | Desired::Offer { .. } => {
                    id.name() == host.answers_to || id.name() == host.name
                }
                Desired::Adopt(holding) | Desired::Claim(holding) | Desired::Keep(holding) => {
                    holding.host.name == host.name
                }
                Desired::Release(release) => release.host.name == host.name,
            }
    });
    concerned.iter().for_each(|resource| queue.ask(resource));
}

/// Asks for a look at what changes in the ledger, and now and then at everything that is in use.
async fn listen(
    folded: FoldedLedger,
    queue: WorkQueue,
    mut board: AlarmBoard,
    sweep: Duration,
    stop: CancellationToken,
) {
    let mut changes = folded.changes();
    let mut sweeps = tokio::time::interval(sweep);
    loop {
        let changed = tokio::select! {
            () = stop.cancelled() => return,
            _ = sweeps.tick() => None,
            changed = changes.recv() => match changed {
                Ok(change) => Some(change),
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return,
            },
        };
        match changed {
            // What an operator orders for many resources is a fact on none of them.
            Some(Change::Resource(resource)) if !Scope::covers_more_than(&resource) => {
                board.update(&resource);
                queue.ask(&resource);
            }
            // A place was granted, or nobody has room any more.
            Some(Change::Capacity) => {
                let waiting = folded.resources_where(|_, resource| {
                    matches!(desired(resource), Desired::Offer { .. })
                });
                waiting.iter().for_each(|resource| queue.ask(resource));
            }
            Some(Change::Resource(_)) | None => {
                board.update_all();
                let in_use =
                    folded.resources_where(|_, resource| desired(resource) != Desired::Nothing);
                in_use.iter().for_each(|resource| queue.ask(resource));
            }
        }
    }
}
