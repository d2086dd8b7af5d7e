//! Watches, and kube's own watcher through what can happen to them.

use std::time::Duration;

use bellhop_simulator::cluster::{
    Cluster, ClusterSettings, Fault, FaultKind, HostSpec, Resource, Verb,
};
use futures::{Stream, StreamExt as _, pin_mut};
use kube::api::{DynamicObject, WatchEvent, WatchParams};
use kube::runtime::reflector;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, reflector::ObjectRef};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::{NS, PATIENCE, client, cluster_with, host_resource, hosts, merge};

/// Something short of each event: `+node01`, `~node01`, `-node01`, `|` (bookmark), `!410`.
fn short(event: &WatchEvent<DynamicObject>) -> String {
    match event {
        WatchEvent::Added(host) => format!("+{}", host.name_any()),
        WatchEvent::Modified(host) => format!("~{}", host.name_any()),
        WatchEvent::Deleted(host) => format!("-{}", host.name_any()),
        WatchEvent::Bookmark(_) => "|".to_owned(),
        WatchEvent::Error(status) => format!("!{}", status.code),
    }
}

async fn take(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<DynamicObject>>> + Unpin),
    count: usize,
) -> Vec<String> {
    let taken = events
        .take(count)
        .map(|event| short(&event.unwrap()))
        .collect();
    tokio::time::timeout(PATIENCE, taken).await.unwrap()
}

fn annotate(cluster: &Cluster, name: &str, value: &str) -> String {
    let patch = json!({"metadata": {"annotations": {"seen": value}}});
    let host = cluster.edit_as_someone_else(NS, name, &patch).unwrap();
    host["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_watch_from_nowhere_begins_with_what_is_there() {
    let cluster = cluster_with(&["node01", "node02"]).await;
    let hosts = hosts(&cluster);
    for from in ["", "0"] {
        let mut events = hosts
            .watch(&WatchParams::default(), from)
            .await
            .unwrap()
            .boxed();
        assert_eq!(take(&mut events, 2).await, ["+node01", "+node02"]);
        annotate(&cluster, "node02", &format!("from {from}"));
        assert_eq!(take(&mut events, 1).await, ["~node02"]);
    }
}

#[tokio::test]
async fn a_watch_from_a_version_brings_what_came_after_it() {
    let cluster = cluster_with(&["node01", "node02"]).await;
    let version = annotate(&cluster, "node01", "before");
    annotate(&cluster, "node01", "after");
    cluster.add_host(HostSpec::new(NS, "node03")).unwrap();
    cluster.remove_host(NS, "node02");
    cluster
        .add_host(HostSpec::new("elsewhere", "node04"))
        .unwrap();
    cluster.put_secret(NS, "noise", &[]).unwrap();
    let mut events = hosts(&cluster)
        .watch(&WatchParams::default(), &version)
        .await
        .unwrap()
        .boxed();
    assert_eq!(
        take(&mut events, 4).await,
        ["~node01", "+node03", "~node03", "-node02"]
    );
    let all: Api<DynamicObject> = Api::all_with(client(&cluster), &host_resource());
    let mut events = all
        .watch(&WatchParams::default(), &version)
        .await
        .unwrap()
        .boxed();
    assert_eq!(take(&mut events, 6).await[4..], ["+node04", "~node04"]);
}

#[tokio::test]
async fn an_object_that_ceases_to_fit_the_selector_is_deleted_from_the_watch() {
    let cluster = cluster_with(&["node01", "node02"]).await;
    let params = WatchParams::default().labels("rack=b");
    let mut events = hosts(&cluster).watch(&params, "0").await.unwrap().boxed();
    for rack in [json!("b"), json!("c")] {
        cluster
            .edit_as_someone_else(
                NS,
                "node01",
                &json!({"metadata": {"labels": {"rack": rack}}}),
            )
            .unwrap();
    }
    assert_eq!(take(&mut events, 2).await, ["+node01", "-node01"]);
    let params = WatchParams::default().fields("metadata.name=node02");
    let mut events = hosts(&cluster).watch(&params, "0").await.unwrap().boxed();
    annotate(&cluster, "node01", "unseen");
    annotate(&cluster, "node02", "seen");
    assert_eq!(take(&mut events, 2).await, ["+node02", "~node02"]);
}

#[tokio::test]
async fn bookmarks_carry_the_version_forward_and_the_watch_ends_in_time() {
    let settings = ClusterSettings {
        hosts: vec![HostSpec::new(NS, "node01")],
        bookmark_every: Duration::from_millis(20),
        ..ClusterSettings::default()
    };
    let cluster = Cluster::start(settings).await.unwrap();
    let secret = cluster.put_secret(NS, "noise", &[]).unwrap();
    let hosts = hosts(&cluster);
    let version = hosts
        .get("node01")
        .await
        .unwrap()
        .resource_version()
        .unwrap();
    let params = WatchParams {
        bookmarks: true,
        ..WatchParams::default()
    };
    let mut events = hosts.watch(&params, &version).await.unwrap().boxed();
    match tokio::time::timeout(PATIENCE, events.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
    {
        WatchEvent::Bookmark(bookmark) => {
            assert_eq!(
                bookmark.metadata.resource_version,
                secret["metadata"]["resourceVersion"].as_str().unwrap()
            );
        }
        other => panic!("expected a bookmark, got {other:?}"),
    }
    let short_watch = WatchParams {
        bookmarks: false,
        timeout: Some(1),
        ..WatchParams::default()
    };
    let events = hosts.watch(&short_watch, &version).await.unwrap();
    assert_eq!(
        tokio::time::timeout(PATIENCE, events.count())
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn a_forgotten_version_is_an_error_event() {
    let cluster = cluster_with(&["node01"]).await;
    let version = annotate(&cluster, "node01", "before");
    annotate(&cluster, "node01", "after");
    cluster.forget_history();
    let mut events = hosts(&cluster)
        .watch(&WatchParams::default(), &version)
        .await
        .unwrap()
        .boxed();
    assert_eq!(take(&mut events, 1).await, ["!410"]);
}

/// What kube's watcher believes, and a way to wait until it is so.
struct Follower {
    store: reflector::Store<DynamicObject>,
    task: tokio::task::JoinHandle<()>,
}

impl Follower {
    fn of(cluster: &Cluster, config: watcher::Config) -> Self {
        let writer = reflector::store::Writer::new(host_resource());
        let store = writer.as_reader();
        let events = reflector(writer, watcher(hosts(cluster), config));
        let task = tokio::spawn(async move {
            pin_mut!(events);
            while let Some(event) = events.next().await {
                // The watcher goes on by itself; a real controller would wait a little here.
                if event.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
        Self { store, task }
    }

    async fn sees(&self, name: &str, value: &str) {
        let reference = ObjectRef::new_with(name, host_resource()).within(NS);
        let seen = async {
            while self.store.get(&reference).is_none_or(|host| {
                host.annotations()
                    .get("seen")
                    .is_none_or(|seen| seen != value)
            }) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, seen)
            .await
            .unwrap_or_else(|_| panic!("{name} was never seen as {value}"));
    }

    /// What is seen may come from the list before the watch: this waits for the watch itself.
    async fn watches(&self, cluster: &Cluster) {
        let open = async {
            while cluster.open_watches() != 1 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, open)
            .await
            .unwrap_or_else(|_| panic!("no watch was ever open"));
    }

    async fn no_longer_sees(&self, name: &str) {
        let reference = ObjectRef::new_with(name, host_resource()).within(NS);
        let gone = async {
            while self.store.get(&reference).is_some() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone)
            .await
            .unwrap_or_else(|_| panic!("{name} was never seen to go"));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn the_watcher_of_kube_recovers_from_all_that_befalls_a_watch() {
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let cluster = cluster_with(&["node01", "node02"]).await;
        let follower = Follower::of(&cluster, config);
        annotate(&cluster, "node01", "first");
        follower.sees("node01", "first").await;

        follower.watches(&cluster).await;
        // The first sight may come from the list, before the watch.
        while cluster.open_watches() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(cluster.drop_watches(), 1);
        annotate(&cluster, "node01", "after a drop");
        follower.sees("node01", "after a drop").await;

        let dropped = cluster.inject(
            Fault::new(FaultKind::DropWatch)
                .resource(Resource::BareMetalHosts)
                .times(3),
        );
        annotate(&cluster, "node01", "after three drops");
        follower.sees("node01", "after three drops").await;
        assert_eq!(cluster.fault_hits(dropped), 3);

        let expired = cluster.inject(Fault::new(FaultKind::ExpireWatch).times(1));
        cluster.remove_host(NS, "node02");
        follower.no_longer_sees("node02").await;
        assert_eq!(cluster.fault_hits(expired), 1);

        cluster.stop().await;
        annotate(&cluster, "node01", "while away");
        cluster.forget_history();
        annotate(&cluster, "node01", "later");
        cluster.start_listening().await.unwrap();
        follower.sees("node01", "later").await;

        let gone = cluster.inject(Fault::new(FaultKind::Gone).on(Verb::Watch).times(1));
        cluster.drop_watches();
        annotate(&cluster, "node01", "after 410 as a status");
        follower.sees("node01", "after 410 as a status").await;
        assert_eq!(cluster.fault_hits(gone), 1);
    }
}

#[tokio::test]
async fn a_streaming_list_ends_with_its_mark() {
    let cluster = cluster_with(&["node01", "node02"]).await;
    let events = watcher(
        hosts(&cluster),
        watcher::Config::default().streaming_lists(),
    )
    .take(4);
    let events: Vec<_> = tokio::time::timeout(PATIENCE, events.map(Result::unwrap).collect())
        .await
        .unwrap();
    let [
        Event::Init,
        Event::InitApply(first),
        Event::InitApply(second),
        Event::InitDone,
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!(
        (first.name_any().as_str(), second.name_any().as_str()),
        ("node01", "node02")
    );
    assert_eq!(cluster.requests(Verb::List, Resource::BareMetalHosts), 0);
}

#[tokio::test]
async fn every_step_of_a_host_is_an_event() {
    let cluster = cluster_with(&["node01"]).await;
    let hosts = hosts(&cluster);
    let steps = watcher(hosts.clone(), watcher::Config::default()).applied_objects();
    pin_mut!(steps);
    let mut seen = Vec::new();
    let patch = json!({"spec": {"online": true, "image": {"url": "http://images.invalid/a"}}});
    let watching = async {
        while seen.last().is_none_or(|last| last != "provisioned") {
            let host = steps.next().await.unwrap().unwrap();
            if seen.is_empty() {
                merge(&hosts, "node01", patch.clone()).await.unwrap();
            }
            seen.push(
                host.data["status"]["provisioning"]["state"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    };
    tokio::time::timeout(PATIENCE, watching).await.unwrap();
    assert_eq!(
        seen,
        ["available", "available", "provisioning", "provisioned"]
    );
}
