//! A Metal3 cluster: an HTTP server that answers as the Kubernetes API server does for what Bellhop uses, and behind it
//! the life that Metal3's operator gives its BareMetalHosts. kube's client works against it unchanged.
//!
//! ```text
//!            kube, kubectl                tests (Cluster)   other processes
//!                 │                              │                 │ /simulator/…
//!              server ─▶ faults ─▶ state ◀──── handle ◀───── control
//!                 │                 │  ▲
//!          list, watch ◀── store ◀──┘  └── operator (a task for each host)
//!                        admission, schema, merge patch     operator, life, host status
//! ```
//!
//! # What it answers
//! - BareMetalHosts (`metal3.io/v1alpha1`, with `/status`), Secrets and Events (`v1`), of a namespace or of all:
//!   get, list (`limit`, `continue`, `resourceVersion`, selectors), watch (from a version or from now; bookmarks,
//!   `sendInitialEvents`, `timeoutSeconds`, expiry), create, update, delete (preconditions, finalizers) and JSON merge
//!   patch (with `metadata.resourceVersion` and `metadata.uid` as preconditions). Other patches: 415.
//! - Discovery, `/version`, `/livez`, `/readyz`, `/healthz`. Errors are `Status` objects, but for 429 and unknown paths:
//!   plain text, as from the real one. `docs/simulator.md` says how all of it is checked against a real API server.
//! - Hosts are pruned and checked as their schema says; the operator's webhook refuses `online: false` where
//!   `disablePowerOff` is set.
//! - Any namespace exists. Nobody's rights are checked, but for an optional bearer token. No OpenAPI, no managed
//!   fields, no dry run, no protobuf: `kubectl get`, `describe`, `patch`, `annotate`, `delete` work; `create` with
//!   `--validate=false -f FILE`; `apply`, `edit` and `create secret` don't.
//!
//! # Two ways to hold it
//! In one process, [`Cluster`]: start it, add hosts, inject a [`Fault`], read what was written.
//!
//! From another process, JSON over HTTP (never met by a fault, never counted, never authenticated):
//!
//! | route | |
//! |---|---|
//! | `GET`, `POST /simulator/hosts` | all hosts; add one ([`HostSpec`]) |
//! | `GET`, `PATCH`, `DELETE /simulator/hosts/{namespace}/{name}` | a host; merge-patch it as someone else; take it away |
//! | `GET …/{name}/states` | every status it had ([`StateRecord`]) |
//! | `POST …/{name}/hold`, `…/let-go` | freeze its life (`{"state": "provisioning"}`: once it is there), let it go on |
//! | `GET /simulator/secrets/{namespace}` | Secrets |
//! | `GET /simulator/writes?after=N` | every write received after the N-th ([`Write`]) |
//! | `GET /simulator/requests` | counts by verb and resource |
//! | `GET /simulator/user-data-reads` | what the operator read for whom ([`UserDataRead`]) |
//! | `GET`, `POST`, `DELETE /simulator/faults`, `DELETE …/{id}` | faults in force; inject one ([`Fault`]); end all; end one |
//! | `GET`, `PUT /simulator/pauses` | milliseconds by state |
//! | `PUT /simulator/capacity` | `{"hosts": 1}`, or null for no limit |
//! | `POST /simulator/watches/drop` | cut every open watch |
//! | `POST /simulator/history/forget` | expire all earlier versions |
//! | `GET /simulator/kubeconfig` | a kubeconfig for the address that was asked |

mod admission;
mod control;
mod discovery;
mod failure;
mod fault;
mod handle;
mod host_status;
mod life;
mod list;
mod merge_patch;
mod metadata;
mod operator;
mod record;
mod request;
mod resource;
mod schema;
mod selector;
mod server;
mod settings;
mod state;
mod store;
mod view;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use failure::Failure;
pub use fault::{Fault, FaultId, FaultKind};
pub use handle::Handle;
pub use life::{OperatorWrite, WorkFails, next_write};
pub use record::{StateRecord, UserDataRead, Write};
pub use resource::{Resource, Verb};
pub use schema::definition;
pub use settings::{ClusterSettings, HostSpec, HostState, Pauses};

/// Why a cluster is not there.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The address can't be had; another process may use the port.
    #[error("can't listen on {address}; choose another address or port")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// One of the settings' hosts is refused.
    #[error("the host can't be added: correct its name or spec")]
    Host(#[from] Failure),
}

/// A running cluster. Clones are the same cluster; when the last one is dropped, everything ends.
///
/// ```
/// # use bellhop_simulator::cluster::{Cluster, ClusterSettings, HostSpec, HostState};
/// # use serde_json::json;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = Cluster::start(ClusterSettings::default()).await?;
/// cluster.add_host(HostSpec::new("metal3", "node01"))?;
/// let image = json!({"url": "http://images.invalid/noble.img", "checksum": "auto"});
/// cluster.edit_as_someone_else("metal3", "node01", &json!({"spec": {"online": true, "image": image}}))?;
/// assert!(cluster.wait_for_state("metal3", "node01", HostState::Provisioned).await.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cluster {
    handle: Handle,
    server: Arc<Server>,
    _end: Arc<DropGuard>,
}

/// The listening side, which may go away and come back.
struct Server {
    address: SocketAddr,
    listening: Mutex<Option<Listening>>,
}

struct Listening {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Deref for Cluster {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Cluster {
    /// Starts a cluster. When this returns it has its hosts and answers.
    ///
    /// # Errors
    /// The address can't be had, or a host of the settings is refused.
    pub async fn start(settings: ClusterSettings) -> Result<Self, ClusterError> {
        let shared = Arc::new(state::Shared::new(
            &settings,
            tokio::runtime::Handle::current(),
        ));
        let end = Arc::new(shared.end.clone().drop_guard());
        let handle = Handle(shared);
        for host in settings.hosts {
            handle.add_host(host)?;
        }
        let listener = listen(settings.listen).await?;
        let address = listener
            .local_addr()
            .map_err(|source| ClusterError::Listen {
                address: settings.listen,
                source,
            })?;
        let listening = Mutex::new(Some(serve(listener, &handle)));
        Ok(Self {
            handle,
            server: Arc::new(Server { address, listening }),
            _end: end,
        })
    }

    /// Where it listens, or listened before it was stopped.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// `http://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The text of a kubeconfig file for this cluster.
    pub fn kubeconfig(&self) -> String {
        self.handle.kubeconfig(&self.url())
    }

    /// The API server goes away: its port is closed and every connection is cut. Hosts live on.
    pub async fn stop(&self) {
        if let Some(Listening { stop, task }) = self.server.listening.lock().await.take() {
            drop(stop);
            // It ends by being stopped; there is nothing to learn from how.
            let _ended = task.await;
        }
    }

    /// The API server comes back on the same port, if it was away.
    ///
    /// # Errors
    /// Another process has taken the port.
    pub async fn start_listening(&self) -> Result<(), ClusterError> {
        let mut listening = self.server.listening.lock().await;
        if listening.is_none() {
            *listening = Some(serve(listen(self.address()).await?, &self.handle));
        }
        Ok(())
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ClusterError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ClusterError::Listen { address, source })
}

fn serve(listener: TcpListener, handle: &Handle) -> Listening {
    let stop = CancellationToken::new();
    let task = server::serve(listener, handle.0.clone(), stop.clone());
    Listening {
        stop: stop.drop_guard(),
        task,
    }
}
