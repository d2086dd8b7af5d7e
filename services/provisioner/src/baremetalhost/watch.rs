//! What changes in the cluster. A watch may miss what happened while it was away, so a change is only a reason to look; what
//! is kept of each host is just enough to know whom to look for.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, PAGE};
use super::host::{BareMetalHost, Consumer};
use bellhop_service::health::Dependency;

/// What is kept of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownHost {
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) answers_to: String,
    /// The reservation in its `consumerRef`, where it is one of ours by its kind.
    pub(crate) reservation: Option<String>,
    /// The service before Bellhop prepared it, and nobody has adopted it.
    pub(crate) of_the_service_before: bool,
}

/// All hosts as far as the watches have told, by namespace and name. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct KnownHosts {
    namespaces: Arc<RwLock<BTreeMap<String, Namespace>>>,
}

/// What one watch has told.
#[derive(Default)]
struct Namespace {
    hosts: BTreeMap<String, KnownHost>,
    /// All were listed at least once.
    complete: bool,
    state: WatchState,
}

#[derive(Default)]
enum WatchState {
    /// It has told nothing yet.
    #[default]
    Silent,
    Works,
    /// It failed, for this reason, and is tried again.
    Interrupted(String),
}

impl KnownHosts {
    /// Notes that a namespace is going to be watched.
    pub(crate) fn expect(&self, namespace: &str) {
        self.change(namespace, |_| {});
    }

    /// The names of the hosts of `namespace` that answer to `resource`; none while not all are known.
    pub(crate) fn answering_to(&self, namespace: &str, resource: &str) -> Vec<String> {
        let namespaces = self.read();
        let known = namespaces.get(namespace).filter(|known| known.complete);
        let hosts = known.into_iter().flat_map(|known| &known.hosts);
        hosts
            .filter(|(_, host)| host.answers_to == resource)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// All of them, with namespace and name in one.
    pub(crate) fn all(&self) -> Vec<(String, KnownHost)> {
        self.read()
            .iter()
            .flat_map(|(namespace, known)| {
                known
                    .hosts
                    .iter()
                    .map(move |(name, host)| (format!("{namespace}/{name}"), host.clone()))
            })
            .collect()
    }

    fn put(&self, host: &BareMetalHost) {
        let known = KnownHost {
            namespace: host.namespace().to_owned(),
            uid: host.uid().to_owned(),
            answers_to: host.answers_to().to_owned(),
            reservation: match host.consumer() {
                Consumer::Reservation(name) => Some(name.to_owned()),
                Consumer::None | Consumer::Foreign(_) => None,
            },
            of_the_service_before: host.is_of_the_service_before(),
        };
        self.change(host.namespace(), |namespace| {
            namespace.hosts.insert(host.name().to_owned(), known);
        });
    }

    fn remove(&self, host: &BareMetalHost) {
        self.change(host.namespace(), |namespace| {
            namespace.hosts.remove(host.name());
        });
    }

    /// All hosts of a namespace were listed: those of before that are not among them are gone.
    fn listed(&self, namespace: &str, names: &[String]) {
        self.change(namespace, |known| {
            known.hosts.retain(|name, _| names.contains(name));
            known.complete = true;
        });
    }

    /// Notes how the watch of a namespace is, and says how all are together.
    fn tell(&self, namespace: &str, state: WatchState, dependency: &Dependency) {
        self.change(namespace, |known| known.state = state);
        let namespaces = self.read();
        let interrupted: Vec<String> = namespaces
            .iter()
            .filter_map(|(namespace, known)| match &known.state {
                WatchState::Interrupted(why) => Some(format!(
                    "the watch of hosts in {namespace} is interrupted: {why}"
                )),
                WatchState::Silent | WatchState::Works => None,
            })
            .collect();
        let all_work = namespaces
            .values()
            .all(|known| matches!(known.state, WatchState::Works));
        if all_work {
            dependency.ok();
        } else if !interrupted.is_empty() {
            dependency.degraded(interrupted.join("; "));
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Namespace>> {
        self.namespaces
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, namespace: &str, change: impl FnOnce(&mut Namespace)) {
        let mut namespaces = self
            .namespaces
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(namespaces.entry(namespace.to_owned()).or_default());
    }
}

/// Watches the hosts of one namespace until told to stop; calls `changed` with each that changes.
pub(crate) async fn run(
    cluster: &Cluster,
    namespace: &str,
    known: &KnownHosts,
    dependency: &Dependency,
    stop: &CancellationToken,
    changed: impl Fn(&BareMetalHost),
) {
    let configuration = watcher::Config::default().page_size(PAGE);
    let hosts = cluster.watched_hosts(namespace);
    let events = watcher::watcher(hosts, configuration).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut listed = Vec::new();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                known.tell(namespace, WatchState::Works, dependency);
                take(event, namespace, known, &mut listed, &changed);
            }
            Some(Err(error)) => {
                let interrupted = WatchState::Interrupted(error.to_string());
                known.tell(namespace, interrupted, dependency);
            }
            None => return,
        }
    }
}

fn take(
    event: watcher::Event<BareMetalHost>,
    namespace: &str,
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
            known.listed(namespace, listed);
        }
        watcher::Event::Apply(host) => {
            known.put(&host);
            changed(&host);
        }
        watcher::Event::Delete(host) => {
            known.remove(&host);
            changed(&host);
        }
    }
}

#[cfg(test)]
mod tests {
    use bellhop_service::health::{DependencyState, Health};
    use bellhop_service::metrics::Metrics;
    use bellhop_service::notices::{Alarms, Shown};

    use super::*;

    fn kubernetes() -> Dependency {
        let metrics = Metrics::new("test", "0");
        let (alarms, shown) = (Alarms::new(&metrics), Shown::new(&metrics));
        Health::new(metrics, alarms, shown).dependency("kubernetes")
    }

    #[test]
    fn an_interrupted_watch_of_one_namespace_is_told_while_that_of_another_works() {
        let (known, kubernetes) = (KnownHosts::default(), kubernetes());
        known.expect("a");
        known.expect("b");
        let why = || WatchState::Interrupted("forbidden".to_owned());
        known.tell("b", why(), &kubernetes);
        known.tell("a", WatchState::Works, &kubernetes);
        let told = "the watch of hosts in b is interrupted: forbidden".to_owned();
        assert_eq!(kubernetes.state(), DependencyState::Degraded(told));
        known.tell("b", WatchState::Works, &kubernetes);
        assert_eq!(kubernetes.state(), DependencyState::Ok);
    }

    #[test]
    fn kubernetes_is_not_known_to_work_before_each_namespace_was_heard_of() {
        let (known, kubernetes) = (KnownHosts::default(), kubernetes());
        known.expect("a");
        known.expect("b");
        known.tell("a", WatchState::Works, &kubernetes);
        assert!(matches!(kubernetes.state(), DependencyState::Down(_)));
        known.tell("b", WatchState::Works, &kubernetes);
        assert_eq!(kubernetes.state(), DependencyState::Ok);
    }
}
