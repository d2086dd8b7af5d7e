//! A hand on the inside of a cluster: what there is, what happened, what shall go wrong.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::admission::Part;
use super::failure::Failure;
use super::fault::{Fault, FaultId};
use super::record::{StateRecord, UserDataRead, Write};
use super::resource::{ObjectKey, Resource, Verb};
use super::settings::{HostSpec, HostState};
use super::state::{Hold, Shared};

/// How long [`Handle::wait_for_state`] waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// All that can be asked of a cluster and done to it, whether or not its server is listening. A
/// [`Cluster`](super::Cluster) has these methods as its own.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Shared>);

/// The objects.
impl Handle {
    /// Puts a host into the cluster; answers the object.
    ///
    /// # Errors
    /// As the API server would refuse it: it exists already, or its spec is invalid.
    pub fn add_host(&self, host: HostSpec) -> Result<Value, Failure> {
        let (object, status) = host.into_object();
        let namespace = super::resource::text(&object, "/metadata/namespace").to_owned();
        self.0.change(|state| {
            let created = state.create(Resource::BareMetalHosts, &namespace, object)?;
            let Some(status) = status else {
                return Ok(Value::clone(&created));
            };
            let key = ObjectKey::host(
                &namespace,
                super::resource::text(&created, "/metadata/name"),
            );
            state.set_status(&key, status);
            state.get(&key).map(|host| Value::clone(&host))
        })
    }

    /// A host, whole.
    pub fn host(&self, namespace: &str, name: &str) -> Option<Value> {
        self.get(&ObjectKey::host(namespace, name))
    }

    /// All hosts, by namespace and name.
    pub fn hosts(&self) -> Vec<Value> {
        self.all(Resource::BareMetalHosts, None)
    }

    /// A Secret as it is stored: `data` in base64.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<Value> {
        self.get(&ObjectKey::new(Resource::Secrets, namespace, name))
    }

    /// All Secrets of a namespace.
    pub fn secrets(&self, namespace: &str) -> Vec<Value> {
        self.all(Resource::Secrets, Some(namespace))
    }

    /// All Events of a namespace.
    pub fn events(&self, namespace: &str) -> Vec<Value> {
        self.all(Resource::Events, Some(namespace))
    }

    /// A kubeconfig file that leads to this address.
    pub(super) fn kubeconfig(&self, url: &str) -> String {
        let namespace = &self.0.namespace;
        let token = self.0.bearer_token.as_deref().unwrap_or("none");
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: simulator\n\
             clusters:\n- name: simulator\n  cluster:\n    server: {url}\n\
             users:\n- name: bellhop\n  user:\n    token: {token:?}\n\
             contexts:\n- name: simulator\n  context:\n    cluster: simulator\n    user: bellhop\n    \
             namespace: {namespace:?}\n"
        )
    }

    fn get(&self, key: &ObjectKey) -> Option<Value> {
        self.0
            .read(|state| state.store.get(key).map(|object| Value::clone(object)))
    }

    fn all(&self, resource: Resource, namespace: Option<&str>) -> Vec<Value> {
        self.0.read(|state| {
            state
                .store
                .all(resource, namespace)
                .iter()
                .map(|object| Value::clone(object))
                .collect()
        })
    }
}

/// What others do.
impl Handle {
    /// Someone else merge-patches a host. Not recorded as a write.
    ///
    /// # Errors
    /// As the API server would refuse it.
    pub fn edit_as_someone_else(
        &self,
        namespace: &str,
        name: &str,
        merge_patch: &Value,
    ) -> Result<Value, Failure> {
        self.edit(namespace, name, Part::Main, merge_patch)
    }

    /// Someone else merge-patches a host's status: `{"status": {…}}`.
    ///
    /// # Errors
    /// As the API server would refuse it.
    pub fn edit_status_as_someone_else(
        &self,
        namespace: &str,
        name: &str,
        merge_patch: &Value,
    ) -> Result<Value, Failure> {
        self.edit(namespace, name, Part::Status, merge_patch)
    }

    fn edit(
        &self,
        namespace: &str,
        name: &str,
        part: Part,
        merge_patch: &Value,
    ) -> Result<Value, Failure> {
        let key = ObjectKey::host(namespace, name);
        self.0
            .change(|state| state.patch(&key, part, merge_patch))
            .map(|host| Value::clone(&host))
    }

    /// Takes a host away at once, finalizer or not; whether there was one.
    pub fn remove_host(&self, namespace: &str, name: &str) -> bool {
        self.0
            .change(|state| state.erase(&ObjectKey::host(namespace, name)))
            .is_some()
    }

    /// Someone else creates or replaces a Secret with these keys and values (plain text).
    ///
    /// # Errors
    /// As the API server would refuse it.
    pub fn put_secret(
        &self,
        namespace: &str,
        name: &str,
        data: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        let data: Map<String, Value> = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(BASE64.encode(value))))
            .collect();
        let secret = json!({"metadata": {"name": name, "namespace": namespace}, "data": data});
        let key = ObjectKey::new(Resource::Secrets, namespace, name);
        let put = self.0.change(|state| match state.store.get(&key) {
            Some(_) => state.update(&key, Part::Main, secret),
            None => state.create(Resource::Secrets, namespace, secret),
        });
        put.map(|secret| Value::clone(&secret))
    }

    /// Someone else deletes a Secret; whether there was one.
    pub fn remove_secret(&self, namespace: &str, name: &str) -> bool {
        self.0
            .change(|state| state.erase(&ObjectKey::new(Resource::Secrets, namespace, name)))
            .is_some()
    }
}

/// The pace of hosts.
impl Handle {
    /// Freezes a host's life where it is.
    pub fn hold(&self, namespace: &str, name: &str) {
        self.set_hold(namespace, name, Some(Hold::Here));
    }

    /// Freezes a host's life in a state, once it is there.
    pub fn hold_at(&self, namespace: &str, name: &str, state: HostState) {
        self.set_hold(namespace, name, Some(Hold::At(state)));
    }

    /// Lets a host's life go on.
    pub fn let_go(&self, namespace: &str, name: &str) {
        self.set_hold(namespace, name, None);
    }

    fn set_hold(&self, namespace: &str, name: &str, hold: Option<Hold>) {
        let key = ObjectKey::host(namespace, name);
        self.0.change(|state| {
            match hold {
                Some(hold) => state.holds.insert(key, hold),
                None => state.holds.remove(&key),
            };
            state.wake_all();
        });
    }

    /// How long hosts stay in a state before Metal3 takes the next step; for waits that have begun, too.
    pub fn set_pause(&self, state: HostState, pause: Duration) {
        self.0.change(|all| {
            all.pauses.set(state, pause);
            all.wake_all();
        });
    }

    /// How many hosts may be inspected, provisioned or deprovisioned at a time; none: no limit.
    pub fn set_capacity(&self, hosts: Option<usize>) {
        self.0.change(|state| {
            state.capacity = hosts;
            state.wake_all();
        });
    }
}

/// Faults.
impl Handle {
    /// Lets something go wrong from now on.
    pub fn inject(&self, fault: Fault) -> FaultId {
        self.0.change(|state| {
            let id = state.faults.inject(fault);
            state.wake_all();
            id
        })
    }

    /// How often a fault struck, also after it is over.
    pub fn fault_hits(&self, id: FaultId) -> u32 {
        self.0.read(|state| state.faults.hits(id))
    }

    /// Ends one fault.
    pub fn clear_fault(&self, id: FaultId) {
        self.0.change(|state| {
            state.faults.clear(id);
            state.wake_all();
        });
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.0.change(|state| {
            state.faults.clear_all();
            state.wake_all();
        });
    }

    /// Cuts the connection of every open watch; how many there were.
    pub fn drop_watches(&self) -> usize {
        self.0.read(|state| {
            state
                .open_watches
                .values()
                .for_each(crate::listener::Connection::cut);
            state.open_watches.len()
        })
    }

    /// How many watches are open.
    pub fn open_watches(&self) -> usize {
        self.0.read(|state| state.open_watches.len())
    }

    /// A namespace is being deleted, and stays so: nothing new is made in it.
    pub fn terminate_namespace(&self, namespace: &str) {
        self.0.quietly(|state| {
            state.terminating.insert(namespace.to_owned());
        });
    }

    /// Forgets all earlier versions: a watch or list that begins at one is told that it is expired.
    pub fn forget_history(&self) {
        self.0.change(|state| state.store.forget_history());
    }
}

/// What happened.
impl Handle {
    /// Every write that came over HTTP, in the order in which they were carried out, refused ones too.
    pub fn writes(&self) -> Vec<Write> {
        self.0.read(|state| state.records.writes.clone())
    }

    /// Those to one host.
    pub fn writes_to_host(&self, namespace: &str, name: &str) -> Vec<Write> {
        let mut writes = self.writes();
        writes.retain(|write| {
            write.resource == Resource::BareMetalHosts
                && write.namespace == namespace
                && write.name == name
        });
        writes
    }

    /// Every status a host had, in order.
    pub fn states(&self, namespace: &str, name: &str) -> Vec<StateRecord> {
        let key = ObjectKey::host(namespace, name);
        self.0
            .read(|state| state.records.states.get(&key).cloned().unwrap_or_default())
    }

    /// The states a host went through, each named once for each stay.
    pub fn state_path(&self, namespace: &str, name: &str) -> Vec<HostState> {
        let mut path: Vec<HostState> = self
            .states(namespace, name)
            .iter()
            .filter_map(|record| record.state)
            .collect();
        path.dedup();
        path
    }

    /// Which user data the operator read, for which host and consumer.
    pub fn user_data_reads(&self) -> Vec<UserDataRead> {
        self.0.read(|state| state.records.user_data_reads.clone())
    }

    /// How many requests of a kind were received, refused ones too.
    pub fn requests(&self, verb: Verb, resource: Resource) -> u64 {
        self.0.read(|state| {
            state
                .records
                .requests
                .get(&(verb, resource))
                .copied()
                .unwrap_or_default()
        })
    }

    /// Waits until a host is as wanted; none if it isn't within the limit.
    pub async fn wait_until(
        &self,
        namespace: &str,
        name: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Option<Value> {
        let mut ticks = self.0.ticks();
        let waiting = async {
            loop {
                ticks.mark_unchanged();
                if let Some(host) = self.host(namespace, name).filter(|host| wanted(host)) {
                    return Some(host);
                }
                ticks.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, waiting).await.ok().flatten()
    }

    /// Waits until a host is in a state, at most ten seconds.
    pub async fn wait_for_state(
        &self,
        namespace: &str,
        name: &str,
        state: HostState,
    ) -> Option<Value> {
        self.wait_until(namespace, name, PATIENCE, |host| {
            HostState::of(host) == Some(state)
        })
        .await
    }
}
