//! What the suite made in a cluster goes: with each test, whether it passed or not, and with a run that is interrupted. The
//! definition of BareMetalHosts goes at the end of a run, if it was not there before.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use kube::Config;
use serde_json::json;
use tokio::time::Instant;

use super::requests::Requests;
use super::server::{
    BINDINGS, FLOWS, HOSTS_DEFINITION, KUBECONFIG, LABEL, LEVELS, POLICIES, administrator,
};
use crate::installation::PATIENCE;

/// The namespaces that this process made and has not removed yet, each with who may remove it.
static MADE: Mutex<Made> = Mutex::new(Made {
    namespaces: BTreeMap::new(),
    interrupted: false,
});

struct Made {
    namespaces: BTreeMap<String, Config>,
    interrupted: bool,
}

fn made<T>(change: impl FnOnce(&mut Made) -> T) -> T {
    change(&mut MADE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Notes that a namespace is about to be made. An interrupted run makes no more: its tests go no further.
pub(super) async fn note(namespace: &str, administrator: &Config) {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| drop(std::thread::spawn(remove_all_when_interrupted)));
    let interrupted = made(|made| {
        let (name, by) = (namespace.to_owned(), administrator.clone());
        made.namespaces.insert(name, by);
        made.interrupted
    });
    if interrupted {
        std::future::pending::<()>().await;
    }
}

/// Removes the namespace of a test, from wherever the test has got to.
pub(super) fn remove_now(namespace: &str, administrator: &Config) {
    let (name, by) = (namespace.to_owned(), administrator.clone());
    // The test's own runtime waits in this call. A panic here must not hide the test's.
    let removal = std::thread::spawn(move || {
        alone(async { remove(&Requests::new(by), &name).await });
    });
    if removal.join().is_ok() {
        made(|made| made.namespaces.remove(namespace));
    } else {
        tell(&format!(
            "namespace {namespace} stays: kubectl delete namespace -l {LABEL}=true"
        ));
    }
}

fn remove_all_when_interrupted() {
    alone(async { tokio::signal::ctrl_c().await.unwrap() });
    let removal = std::thread::spawn(|| alone(remove_all()));
    // An API server that was started for this run has been interrupted too: nothing is left of it anyway.
    tell(match removal.join() {
        Ok(()) => "interrupted: what the suite made is removed",
        Err(_) => "interrupted: not all that the suite made could be removed",
    });
    std::process::exit(130);
}

async fn remove_all() {
    let namespaces = made(|made| {
        made.interrupted = true;
        made.namespaces.clone()
    });
    let count = namespaces.len();
    tell(&format!("interrupted: removing {count} namespaces"));
    for (namespace, administrator) in namespaces {
        remove(&Requests::new(administrator), &namespace).await;
    }
    remove_definition(&Requests::new(administrator().await)).await;
}

fn alone(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work);
}

/// Says something whatever is captured.
fn tell(what: &str) {
    let _unheard = writeln!(std::io::stderr(), "{what}");
}

/// Removes a namespace of the suite, with all that was made for it elsewhere.
async fn remove(requests: &Requests, namespace: &str) {
    for kind in [BINDINGS, POLICIES, FLOWS, LEVELS] {
        let _not_there = requests
            .delete(&format!("{kind}/{namespace}"), json!({}))
            .await;
    }
    // From here on nothing new is made in it.
    let path = format!("/api/v1/namespaces/{namespace}");
    if let Err(refused) = requests.delete(&path, json!({})).await {
        // Some tests delete it themselves.
        assert!(matches!(refused.code, 404 | 409), "{refused:?}");
    }
    let hosts = format!("/apis/metal3.io/v1alpha1/namespaces/{namespace}/baremetalhosts");
    loop {
        // The cluster's own controller deletes them at the same time: what one of the two can't do is done by the other.
        let _deleted = requests.delete(&hosts, json!({})).await;
        // Nobody plays Metal3 any more, who would take its finalizer away.
        let left = requests.get(&hosts).await.unwrap();
        let left = left["items"].as_array().unwrap();
        for host in left {
            let path = format!("{hosts}/{}", host["metadata"]["name"].as_str().unwrap());
            let _gone = requests
                .patch(&path, &json!({"metadata": {"finalizers": null}}))
                .await;
        }
        if left.is_empty() {
            return;
        }
    }
}

/// Removes the definition of BareMetalHosts, if it is the suite's and nobody has a host.
async fn remove_definition(requests: &Requests) {
    let is_ours = match requests.get(HOSTS_DEFINITION).await {
        Ok(definition) => definition["metadata"]["labels"][LABEL] == "true",
        Err(_) => false,
    };
    if !is_ours {
        return;
    }
    let hosts = requests
        .get("/apis/metal3.io/v1alpha1/baremetalhosts?limit=1")
        .await;
    if hosts.is_ok_and(|hosts| hosts["items"] == json!([])) {
        let _gone = requests.delete(HOSTS_DEFINITION, json!({})).await;
        while requests.get(HOSTS_DEFINITION).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The end of a run on a real API server: nothing of the suite is there any more.
#[tokio::test]
#[ignore = "comes after all others: `cargo xtask test --kubernetes` runs it then"]
async fn nothing_of_the_suite_is_left_in_the_cluster() {
    if std::env::var_os(KUBECONFIG).is_none() {
        return;
    }
    let requests = Requests::new(administrator().await);
    remove_definition(&requests).await;
    let begun = Instant::now();
    loop {
        let left = left(&requests).await;
        if left.is_empty() {
            return;
        }
        // The cluster's own controller empties a namespace, and takes its time.
        assert!(begun.elapsed() < 4 * PATIENCE, "{left:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What is left of the suite: namespaces, with what was made for them elsewhere.
async fn left(requests: &Requests) -> Vec<String> {
    let path = format!("/api/v1/namespaces?labelSelector={LABEL}%3Dtrue");
    let namespaces = requests.get(&path).await.unwrap();
    let mut left = Vec::new();
    for namespace in namespaces["items"].as_array().unwrap() {
        let name = namespace["metadata"]["name"].as_str().unwrap();
        left.push(format!("namespace {name}: {}", namespace["status"]));
        for kind in [BINDINGS, POLICIES, FLOWS, LEVELS] {
            if requests.get(&format!("{kind}/{name}")).await.is_ok() {
                left.push(format!("{kind}/{name}"));
            }
        }
    }
    left
}
