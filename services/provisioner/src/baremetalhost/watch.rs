//! What changes in the cluster. A watch may miss what happened while it was away, so a change is only a reason to look; what
//! is kept of each host is just enough to know whom to look for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, PAGE, with_causes};
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
    /// Nothing was heard of it yet.
    #[default]
    Silent,
    /// The API server accepted its last request, and nothing broke since.
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

    /// All hosts of a namespace were listed: those of before that are not among them are gone, and returned.
    fn listed(&self, namespace: &str, names: &BTreeSet<String>) -> BTreeMap<String, KnownHost> {
        let mut gone = BTreeMap::new();
        self.change(namespace, |known| {
            let hosts = std::mem::take(&mut known.hosts);
            (known.hosts, gone) = hosts
                .into_iter()
                .partition(|(name, _)| names.contains(name));
            known.complete = true;
        });
        gone
    }

    /// Notes how the watch of a namespace is, and says how all are together.
    fn tell(&self, namespace: &str, state: WatchState, dependency: &Dependency) {
        self.change(namespace, |known| known.state = state);
        self.say(dependency);
    }

    /// Says how all watches are together: down until the hosts of each namespace were listed once, so that a provisioner that
    /// never reached the API server is not ready; degraded where one is interrupted later.
    fn say(&self, dependency: &Dependency) {
        let namespaces = self.read();
        let unlisted: Vec<String> = namespaces
            .iter()
            .filter(|(_, known)| !known.complete)
            .map(|(namespace, known)| match &known.state {
                WatchState::Interrupted(why) => {
                    format!("the hosts of {namespace} can't be listed: {why}")
                }
                WatchState::Silent | WatchState::Works => {
                    format!("the hosts of {namespace} are not listed yet")
                }
            })
            .collect();
        let interrupted: Vec<String> = namespaces
            .iter()
            .filter_map(|(namespace, known)| match &known.state {
                WatchState::Interrupted(why) => Some(format!(
                    "the watch of hosts in {namespace} is interrupted: {why}"
                )),
                WatchState::Silent | WatchState::Works => None,
            })
            .collect();
        if !unlisted.is_empty() {
            dependency.down(unlisted.join("; "));
        } else if !interrupted.is_empty() {
            dependency.degraded(interrupted.join("; "));
        } else {
            dependency.ok();
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

/// A host that was made, changed or deleted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangedHost<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) answers_to: &'a str,
}

impl<'a> From<&'a BareMetalHost> for ChangedHost<'a> {
    fn from(host: &'a BareMetalHost) -> Self {
        Self {
            namespace: host.namespace(),
            name: host.name(),
            answers_to: host.answers_to(),
        }
    }
}

/// Watches the hosts of one namespace until told to stop; calls `changed` with each that changes.
pub(crate) async fn run(
    cluster: &Cluster,
    namespace: &str,
    known: &KnownHosts,
    dependency: &Dependency,
    stop: &CancellationToken,
    changed: impl Fn(ChangedHost<'_>),
) {
    let configuration = watcher::Config::default().page_size(PAGE);
    let answered = {
        let (known, dependency) = (known.clone(), dependency.clone());
        let namespace = namespace.to_owned();
        move || known.tell(&namespace, WatchState::Works, &dependency)
    };
    let hosts = cluster.watched_hosts(namespace, answered);
    let events = watcher::watcher(hosts, configuration).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut listed = BTreeSet::new();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                take(event, namespace, known, &mut listed, &changed);
                known.say(dependency);
            }
            Some(Err(error)) => {
                let interrupted = WatchState::Interrupted(with_causes(&error));
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
    listed: &mut BTreeSet<String>,
    changed: &impl Fn(ChangedHost<'_>),
) {
    match event {
        watcher::Event::Init => listed.clear(),
        watcher::Event::InitApply(host) => {
            listed.insert(host.name().to_owned());
            known.put(&host);
            changed((&host).into());
        }
        // No event tells of what was deleted while there was no watch.
        watcher::Event::InitDone => {
            for (name, host) in known.listed(namespace, listed) {
                changed(ChangedHost {
                    namespace,
                    name: &name,
                    answers_to: &host.answers_to,
                });
            }
        }
        watcher::Event::Apply(host) => {
            known.put(&host);
            changed((&host).into());
        }
        watcher::Event::Delete(host) => {
            known.remove(&host);
            changed((&host).into());
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
        known.listed("a", &BTreeSet::new());
        known.listed("b", &BTreeSet::new());
        let why = || WatchState::Interrupted("forbidden".to_owned());
        known.tell("b", why(), &kubernetes);
        known.tell("a", WatchState::Works, &kubernetes);
        let told = "the watch of hosts in b is interrupted: forbidden".to_owned();
        assert_eq!(kubernetes.state(), DependencyState::Degraded(told));
        known.tell("b", WatchState::Works, &kubernetes);
        assert_eq!(kubernetes.state(), DependencyState::Ok);
    }

    #[test]
    fn kubernetes_is_not_known_to_work_before_the_hosts_of_each_namespace_were_listed() {
        let (known, kubernetes) = (KnownHosts::default(), kubernetes());
        known.expect("a");
        known.expect("b");
        let why = WatchState::Interrupted("forbidden".to_owned());
        known.tell("a", WatchState::Works, &kubernetes);
        known.tell("b", why, &kubernetes);
        let told = "the hosts of a are not listed yet; the hosts of b can't be listed: forbidden";
        assert_eq!(kubernetes.state(), DependencyState::Down(told.to_owned()));
        known.listed("a", &BTreeSet::new());
        known.tell("b", WatchState::Works, &kubernetes);
        assert!(matches!(kubernetes.state(), DependencyState::Down(_)));
        known.listed("b", &BTreeSet::new());
        known.say(&kubernetes);
        assert_eq!(kubernetes.state(), DependencyState::Ok);
    }
}
