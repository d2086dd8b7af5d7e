//! Doing a fault, lifting it, and seeing that its part is well again.

use std::time::Duration;

use bellhop_nats_server::{NatsServer, StartError};
use bellhop_simulator::cluster::{
    Fault as ClusterFault, FaultKind as ClusterFaultKind, HostState, Resource, Verb,
};
use bellhop_simulator::reservation_system::{
    Fault as ReceiverFault, FaultKind as ReceiverFaultKind,
};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep, sleep_until};

use super::evidence;
use super::fault::{Fault, Kubernetes, LATE, Link, Part, Receiver};
use super::plan::{PlannedFault, REPLICAS};
use super::proxy::Way;
use super::stage::Stage;
use super::{ChaosError, Progress};
use crate::service::ServiceKind;
use crate::{HarnessError, PATIENCE, wait_for};

/// A fault that was done.
#[derive(Clone, Debug)]
pub struct Struck {
    /// What.
    pub fault: Fault,
    /// Just before it began.
    pub from: Timestamp,
    /// When it was lifted.
    pub to: Timestamp,
    /// How long after that its part was well; none if it was not within [`PATIENCE`].
    pub recovered: Option<Duration>,
}

/// A fault that was lifted, whose part may not be well yet.
pub(super) struct Lifted {
    fault: Fault,
    from: Timestamp,
    to: Timestamp,
    since: Instant,
}

/// Does the faults of a lane at their times, one after the other, and says of each when it is lifted.
pub(super) async fn lane(
    stage: &Stage,
    lane: Vec<PlannedFault>,
    progress: Progress,
    lifted: UnboundedSender<Lifted>,
) -> Result<(), ChaosError> {
    for PlannedFault { at, lasts, fault } in lane {
        sleep_until(progress.began + Duration::from_millis(at)).await;
        progress.say(&format!("{fault} for {lasts} ms"));
        let from = Timestamp::now();
        let lasts = Duration::from_millis(lasts);
        match fault {
            Fault::Kill(part) => kill(stage, part, lasts).await?,
            Fault::Stop(part) => stop(stage, part, lasts).await?,
            Fault::Cut(link) => way(stage, link, Way::Silent, lasts).await,
            Fault::Slow(link) => way(stage, link, Way::Late(LATE), lasts).await,
            Fault::Kubernetes(what) => kubernetes(stage, what, lasts).await?,
            Fault::Receiver(what) => receiver(stage, what, lasts).await,
        }
        // Nobody listens any more only where another lane has failed.
        let _failed = lifted.send(Lifted {
            fault,
            from,
            to: Timestamp::now(),
            since: Instant::now(),
        });
    }
    Ok(())
}

/// Waits for each part until it is well. Its next fault does not wait for that: what it then takes longer is counted too.
pub(super) async fn recoveries(
    stage: &Stage,
    mut lifted: UnboundedReceiver<Lifted>,
) -> Vec<Struck> {
    let (mut waiting, mut struck) = (FuturesUnordered::new(), Vec::new());
    loop {
        tokio::select! {
            Some(next) = lifted.recv() => waiting.push(recovery(stage, next)),
            Some(well) = waiting.next() => struck.push(well),
            else => return struck,
        }
    }
}

async fn recovery(stage: &Stage, lifted: Lifted) -> Struck {
    let well = wait_for(PATIENCE, async || {
        is_well(stage, lifted.fault).await.then_some(())
    });
    Struck {
        fault: lifted.fault,
        from: lifted.from,
        to: lifted.to,
        recovered: well.await.map(|()| lifted.since.elapsed()),
    }
}

async fn way(stage: &Stage, link: Link, way: Way, lasts: Duration) {
    let link = match link {
        Link::OfLeader => Link::BetweenBrokers(evidence::ledger_leader(&stage.broker_url).await),
        other => other,
    };
    stage.set_way(link, way);
    sleep(lasts).await;
    stage.set_way(link, Way::Open);
}

async fn kill(stage: &Stage, part: Part, lasts: Duration) -> Result<(), ChaosError> {
    match part {
        Part::Service(kind, replica) => {
            let mut service = stage.services[&(kind, replica)].lock().await;
            service.kill()?;
            sleep(lasts).await;
            service.start().await?;
        }
        Part::Broker(node) => {
            on_server(stage, node, NatsServer::kill).await?;
            sleep(lasts).await;
            on_server(stage, node, NatsServer::restart).await?;
        }
    }
    Ok(())
}

async fn stop(stage: &Stage, part: Part, lasts: Duration) -> Result<(), ChaosError> {
    match part {
        Part::Service(kind, replica) => {
            let service = stage.services[&(kind, replica)].lock().await;
            service.pause()?;
            sleep(lasts).await;
            service.resume()?;
        }
        Part::Broker(node) => {
            on_server(stage, node, |server| server.pause()).await?;
            sleep(lasts).await;
            on_server(stage, node, |server| server.resume()).await?;
        }
    }
    Ok(())
}

/// The server's crate blocks.
async fn on_server(
    stage: &Stage,
    node: usize,
    act: impl FnOnce(&mut NatsServer) -> Result<(), StartError>,
) -> Result<(), ChaosError> {
    let mut broker = stage.broker.lock().await;
    let done = tokio::task::block_in_place(|| act(broker.server(node)));
    done.map_err(|error| HarnessError::Nats(error).into())
}

async fn kubernetes(stage: &Stage, what: Kubernetes, lasts: Duration) -> Result<(), ChaosError> {
    let cluster = &stage.cluster;
    let faults = match what {
        Kubernetes::Errors => vec![ClusterFault::new(ClusterFaultKind::InternalError)],
        Kubernetes::Throttles => vec![ClusterFault::new(ClusterFaultKind::TooManyRequests {
            retry_after_seconds: 1,
        })],
        Kubernetes::Conflicts => {
            vec![ClusterFault::new(ClusterFaultKind::Conflict).on(Verb::Patch)]
        }
        Kubernetes::ExpiresWatches => vec![ClusterFault::new(ClusterFaultKind::ExpireWatch)],
        Kubernetes::LosesAnswers => [Verb::Patch, Verb::Create, Verb::Delete]
            .map(|verb| ClusterFault::new(ClusterFaultKind::LoseAnswer).on(verb))
            .into(),
        Kubernetes::Slow => vec![ClusterFault::new(ClusterFaultKind::Latency {
            milliseconds: 700,
        })],
        Kubernetes::HostsFail => vec![
            ClusterFault::new(ClusterFaultKind::StateFails {
                state: HostState::Provisioning,
                error_type: "provisioning error".to_owned(),
                error_message: "Image provisioning failed: no boot device found".to_owned(),
            })
            .resource(Resource::BareMetalHosts)
            .times(2),
        ],
        Kubernetes::Away => {
            cluster.stop().await;
            sleep(lasts).await;
            let back = wait_for(PATIENCE, async || cluster.start_listening().await.ok());
            back.await
                .ok_or(ChaosError::NotBack("the Kubernetes API server"))?;
            return Ok(());
        }
    };
    if what == Kubernetes::ExpiresWatches {
        cluster.forget_history();
    }
    let ids: Vec<_> = faults
        .into_iter()
        .map(|fault| cluster.inject(fault))
        .collect();
    sleep(lasts).await;
    for id in ids {
        cluster.clear_fault(id);
    }
    Ok(())
}

async fn receiver(stage: &Stage, what: Receiver, lasts: Duration) {
    let kind = match what {
        Receiver::Hangs => ReceiverFaultKind::Hang,
        Receiver::Errors => ReceiverFaultKind::InternalError,
        Receiver::LosesAnswers => ReceiverFaultKind::LoseAnswer,
        Receiver::Slow => ReceiverFaultKind::Slow { milliseconds: 400 },
        Receiver::Refuses => {
            stage.set_ways_to_receiver(Way::Refused);
            sleep(lasts).await;
            stage.set_ways_to_receiver(Way::Open);
            return;
        }
    };
    stage.reservations.inject(ReceiverFault::new(kind));
    sleep(lasts).await;
    stage.reservations.clear_faults();
}

/// Whether what a fault was done to is well again, by what can be seen from outside.
async fn is_well(stage: &Stage, fault: Fault) -> bool {
    match fault {
        Fault::Kill(Part::Service(kind, replica))
        | Fault::Stop(Part::Service(kind, replica))
        | Fault::Cut(Link::ToBroker(kind, replica))
        | Fault::Slow(Link::ToBroker(kind, replica)) => is_ready(stage, kind, replica).await,
        Fault::Kill(Part::Broker(node))
        | Fault::Stop(Part::Broker(node))
        | Fault::Cut(Link::OfBrokerNode(node))
        | Fault::Slow(Link::OfBrokerNode(node)) => {
            is_healthy(stage, node).await && all_ready(stage).await
        }
        Fault::Cut(Link::BetweenBrokers(_) | Link::OfLeader)
        | Fault::Slow(Link::BetweenBrokers(_) | Link::OfLeader) => {
            let servers = stage.broker.lock().await.servers().len();
            for node in 0..servers {
                if !is_healthy(stage, node).await {
                    return false;
                }
            }
            all_ready(stage).await
        }
        Fault::Kubernetes(_) => {
            are_ready(stage, ServiceKind::Provisioner).await && stage.cluster.open_watches() > 0
        }
        Fault::Cut(Link::ToKubernetes(replica)) | Fault::Slow(Link::ToKubernetes(replica)) => {
            is_ready(stage, ServiceKind::Provisioner, replica).await
        }
        Fault::Receiver(_) => {
            let mut well = true;
            for replica in 0..REPLICAS {
                well &= circuits_are_shut(stage, replica).await;
            }
            well
        }
        Fault::Cut(Link::ToReceiver(replica)) | Fault::Slow(Link::ToReceiver(replica)) => {
            circuits_are_shut(stage, replica).await
        }
    }
}

/// Whether a server of the broker says so of itself.
async fn is_healthy(stage: &Stage, node: usize) -> bool {
    let url = stage.broker.lock().await.servers()[node].monitoring_url();
    let Some(url) = url else { return true };
    answers(stage, &format!("{url}/healthz")).await
}

async fn all_ready(stage: &Stage) -> bool {
    for kind in ServiceKind::ALL {
        if !are_ready(stage, kind).await {
            return false;
        }
    }
    true
}

async fn are_ready(stage: &Stage, kind: ServiceKind) -> bool {
    for replica in 0..REPLICAS {
        if !is_ready(stage, kind, replica).await {
            return false;
        }
    }
    true
}

async fn is_ready(stage: &Stage, kind: ServiceKind, replica: usize) -> bool {
    answers(stage, &page(stage, kind, replica, "readyz")).await
}

/// A circuit is open while a destination is known to be away.
async fn circuits_are_shut(stage: &Stage, replica: usize) -> bool {
    let url = page(stage, ServiceKind::Notifier, replica, "metrics");
    let Ok(answer) = stage.client.get(url).send().await else {
        return false;
    };
    let metrics = answer.text().await.unwrap_or_default();
    let mut circuits = metrics
        .lines()
        .filter(|line| line.starts_with("bellhop_report_circuit_open{"))
        .peekable();
    circuits.peek().is_some() && circuits.all(|line| line.ends_with(" 0"))
}

fn page(stage: &Stage, kind: ServiceKind, replica: usize, page: &str) -> String {
    let url = stage.addresses[&(kind, replica)];
    format!("http://{url}/{page}")
}

async fn answers(stage: &Stage, url: &str) -> bool {
    let answer = stage.client.get(url).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
