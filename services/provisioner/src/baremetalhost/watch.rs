//! What changes in the cluster. A watch may miss what happened while it was away, so a change is only a reason to look; what
//! is kept of each host is just enough to know whom to look for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, PAGE};
use super::host::{BareMetalHost, Consumer};
use bellhop_service::health::Dependency;

/// What is kept of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownHost {
    pub(crate) uid: String,
    pub(crate) answers_to: String,
    /// The reservation in its `consumerRef`, where it is one of ours by its kind.
    pub(crate) reservation: Option<String>,
    /// The service before Bellhop prepared it, and nobody has adopted it.
    pub(crate) of_the_service_before: bool,
}

/// All hosts of the namespace as far as the watch has told. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct KnownHosts {
    hosts: Arc<RwLock<HashMap<String, KnownHost>>>,
    /// All were listed at least once.
    complete: Arc<AtomicBool>,
}

impl KnownHosts {
    /// The names of the hosts that answer to `resource`; none while not all are known.
    pub(crate) fn answering_to(&self, resource: &str) -> Vec<String> {
        if !self.complete.load(Ordering::Acquire) {
            return Vec::new();
        }
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        hosts
            .iter()
            .filter(|(_, host)| host.answers_to == resource)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<(String, KnownHost)> {
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        hosts
            .iter()
            .map(|(name, host)| (name.clone(), host.clone()))
            .collect()
    }

    fn put(&self, host: &BareMetalHost) {
        let known = KnownHost {
            uid: host.uid().to_owned(),
            answers_to: host.answers_to().to_owned(),
            reservation: match host.consumer() {
                Consumer::Reservation(name) => Some(name.to_owned()),
                Consumer::None | Consumer::Foreign(_) => None,
            },
            of_the_service_before: host.is_of_the_service_before(),
        };
        self.hosts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(host.name().to_owned(), known);
    }

    fn remove(&self, name: &str) {
        self.hosts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    fn keep_only(&self, names: &[String]) {
        self.hosts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|name, _| names.contains(name));
    }
}

/// Watches the hosts until told to stop; calls `changed` with the host and the resource that it answers to.
pub(crate) async fn run(
    cluster: &Cluster,
    known: &KnownHosts,
    dependency: &Dependency,
    stop: &CancellationToken,
    changed: impl Fn(&BareMetalHost),
) {
    let configuration = watcher::Config::default().page_size(PAGE);
    let events = watcher::watcher(cluster.watched_hosts(), configuration).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut listed = Vec::new();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                dependency.ok();
                take(event, known, &mut listed, &changed);
            }
            Some(Err(error)) => {
                dependency.degraded(format!("the watch of hosts is interrupted: {error}"))
            }
            None => return,
        }
    }
}

fn take(
    event: watcher::Event<BareMetalHost>,
    known: &KnownHosts,
    listed: &mut Vec<String>,
    changed: &impl Fn(&BareMetalHost),
) {
    match event {
        watcher::Event::Init => listed.clear(),
        watcher::Event::InitApply(host) => {
            listed.push(host.name().to_owned());
            known.put(&host);
            changed(&host);
        }
        watcher::Event::InitDone => {
            known.keep_only(listed);
            known.complete.store(true, Ordering::Release);
        }
        watcher::Event::Apply(host) => {
            known.put(&host);
            changed(&host);
        }
        watcher::Event::Delete(host) => {
            known.remove(host.name());
            changed(&host);
        }
    }
}
