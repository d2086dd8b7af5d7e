//! The simulated cluster under the real `kube` client, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod faults;
mod host_life;
mod over_http;
mod reading;
mod watching;
mod writing;

use std::time::Duration;

use bellhop_simulator::cluster::{Cluster, ClusterSettings, HostSpec, HostState};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Config};
use serde_json::{Value, json};

/// More than any test takes; reached only by one that fails.
const PATIENCE: Duration = Duration::from_secs(10);

const NS: &str = "metal3";

async fn cluster_with(hosts: &[&str]) -> Cluster {
    let hosts = hosts.iter().map(|name| HostSpec::new(NS, name)).collect();
    Cluster::start(ClusterSettings {
        hosts,
        ..ClusterSettings::default()
    })
    .await
    .unwrap()
}

/// A client that reports every answer, also those that kube would try again after.
fn client(cluster: &Cluster) -> Client {
    let mut config = Config::new(cluster.url().parse().unwrap());
    config.default_namespace = NS.to_owned();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn host_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "metal3.io",
        "v1alpha1",
        "BareMetalHost",
    ))
}

fn hosts(cluster: &Cluster) -> Api<DynamicObject> {
    Api::namespaced_with(client(cluster), NS, &host_resource())
}

async fn merge(
    hosts: &Api<DynamicObject>,
    name: &str,
    patch: Value,
) -> Result<DynamicObject, kube::Error> {
    hosts
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
}

/// The Status object of a refused request.
fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> kube::core::Status {
    match result {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("expected a Status, got {other:?}"),
    }
}

fn image(url: &str) -> Value {
    json!({"url": url, "checksum": "http://images.invalid/sums", "checksumType": "sha256"})
}

/// A claim as Bellhop writes it, but for the fencing.
fn claim(url: &str) -> Value {
    json!({"spec": {"online": true, "image": image(url), "userData": {"name": "node01-user-data", "namespace": NS},
                    "consumerRef": {"kind": "Reservation", "name": "5120"}}})
}

const RELEASE: fn() -> Value =
    || json!({"spec": {"online": false, "image": null, "userData": null}});

async fn reach(cluster: &Cluster, name: &str, state: HostState) -> Value {
    let reached = cluster.wait_for_state(NS, name, state).await;
    reached.unwrap_or_else(|| {
        panic!(
            "{name} never was {state:?}: {:?}",
            cluster.state_path(NS, name)
        )
    })
}

async fn until(cluster: &Cluster, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let reached = cluster.wait_until(NS, name, PATIENCE, wanted).await;
    reached.unwrap_or_else(|| {
        panic!(
            "{name} never was as wanted: {:#?}",
            cluster.states(NS, name)
        )
    })
}
