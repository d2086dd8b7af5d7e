//! The handle's way over HTTP, for other processes: `/simulator/…`, JSON, never met by a fault and never counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State as SharedState};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::fault::{Fault, FaultId};
use super::handle::Handle;
use super::record::{StateRecord, UserDataRead, Write};
use super::settings::{HostSpec, HostState};
use super::state::Shared;

/// All routes; the module page of [`super`] lists them.
pub(super) fn routes(shared: Arc<Shared>) -> Router<Arc<Shared>> {
    Router::new()
        .route("/hosts", get(hosts).post(add_host))
        .route(
            "/hosts/{namespace}/{name}",
            get(host).patch(edit_host).delete(remove_host),
        )
        .route("/hosts/{namespace}/{name}/states", get(states))
        .route("/hosts/{namespace}/{name}/hold", post(hold))
        .route("/hosts/{namespace}/{name}/let-go", post(let_go))
        .route("/secrets/{namespace}", get(secrets))
        .route("/writes", get(writes))
        .route("/requests", get(requests))
        .route("/user-data-reads", get(user_data_reads))
        .route("/faults", get(faults).post(inject).delete(clear_faults))
        .route("/faults/{id}", delete(clear_fault))
        .route("/pauses", get(pauses).put(set_pauses))
        .route("/capacity", put(set_capacity))
        .route("/watches/drop", post(drop_watches))
        .route("/history/forget", post(forget_history))
        .route("/kubeconfig", get(kubeconfig))
        .layer(axum::Extension(Handle(shared)))
}

type Cluster = axum::Extension<Handle>;
type HostPath = Path<(String, String)>;

async fn hosts(cluster: Cluster) -> Json<Vec<Value>> {
    Json(cluster.hosts())
}

async fn add_host(
    cluster: Cluster,
    Json(host): Json<HostSpec>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    cluster
        .add_host(host)
        .map(|host| (StatusCode::CREATED, Json(host)))
}

async fn host(cluster: Cluster, Path((namespace, name)): HostPath) -> Result<Json<Value>, Failure> {
    cluster
        .host(&namespace, &name)
        .map(Json)
        .ok_or_else(Failure::unknown_path)
}

async fn edit_host(
    cluster: Cluster,
    Path((namespace, name)): HostPath,
    Json(patch): Json<Value>,
) -> Result<Json<Value>, Failure> {
    cluster
        .edit_as_someone_else(&namespace, &name, &patch)
        .map(Json)
}

async fn remove_host(
    cluster: Cluster,
    Path((namespace, name)): HostPath,
) -> Result<StatusCode, Failure> {
    if cluster.remove_host(&namespace, &name) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Failure::unknown_path())
    }
}

async fn states(cluster: Cluster, Path((namespace, name)): HostPath) -> Json<Vec<StateRecord>> {
    Json(cluster.states(&namespace, &name))
}

#[derive(Default, Deserialize)]
struct Where {
    state: Option<HostState>,
}

async fn hold(
    cluster: Cluster,
    Path((namespace, name)): HostPath,
    at: Option<Json<Where>>,
) -> StatusCode {
    match at.map(|Json(at)| at).unwrap_or_default().state {
        Some(state) => cluster.hold_at(&namespace, &name, state),
        None => cluster.hold(&namespace, &name),
    }
    StatusCode::NO_CONTENT
}

async fn let_go(cluster: Cluster, Path((namespace, name)): HostPath) -> StatusCode {
    cluster.let_go(&namespace, &name);
    StatusCode::NO_CONTENT
}

async fn secrets(cluster: Cluster, Path(namespace): Path<String>) -> Json<Vec<Value>> {
    Json(cluster.secrets(&namespace))
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn writes(cluster: Cluster, Query(After { after }): Query<After>) -> Json<Vec<Write>> {
    Json(
        cluster
            .writes()
            .into_iter()
            .filter(|write| write.sequence > after)
            .collect(),
    )
}

async fn requests(SharedState(shared): SharedState<Arc<Shared>>) -> Json<Vec<Value>> {
    Json(shared.read(|state| {
        let counts = state.records.requests.iter();
        counts.map(|((verb, resource), count)| json!({"verb": verb, "resource": resource, "count": count})).collect()
    }))
}

async fn user_data_reads(cluster: Cluster) -> Json<Vec<UserDataRead>> {
    Json(cluster.user_data_reads())
}

async fn faults(SharedState(shared): SharedState<Arc<Shared>>) -> Json<BTreeMap<FaultId, Fault>> {
    Json(shared.read(|state| state.faults.active().clone()))
}

async fn inject(cluster: Cluster, Json(fault): Json<Fault>) -> (StatusCode, Json<Value>) {
    (
        StatusCode::CREATED,
        Json(json!({"id": cluster.inject(fault)})),
    )
}

async fn clear_faults(cluster: Cluster) -> StatusCode {
    cluster.clear_faults();
    StatusCode::NO_CONTENT
}

async fn clear_fault(cluster: Cluster, Path(id): Path<FaultId>) -> StatusCode {
    cluster.clear_fault(id);
    StatusCode::NO_CONTENT
}

async fn pauses(SharedState(shared): SharedState<Arc<Shared>>) -> Json<Value> {
    Json(shared.read(|state| json!(state.pauses.in_milliseconds())))
}

async fn set_pauses(cluster: Cluster, Json(pauses): Json<BTreeMap<HostState, u64>>) -> StatusCode {
    for (state, pause) in pauses {
        cluster.set_pause(state, Duration::from_millis(pause));
    }
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Capacity {
    hosts: Option<usize>,
}

async fn set_capacity(cluster: Cluster, Json(capacity): Json<Capacity>) -> StatusCode {
    cluster.set_capacity(capacity.hosts);
    StatusCode::NO_CONTENT
}

async fn drop_watches(cluster: Cluster) -> Json<Value> {
    Json(json!({"dropped": cluster.drop_watches()}))
}

async fn kubeconfig(cluster: Cluster, headers: HeaderMap) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    cluster.kubeconfig(&format!("http://{host}"))
}

async fn forget_history(cluster: Cluster) -> StatusCode {
    cluster.forget_history();
    StatusCode::NO_CONTENT
}
