//! All that one cluster holds, behind one lock, and the writes on it as the API server carries them out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::admission::{self, Part};
use super::failure::Failure;
use super::fault::Faults;
use super::merge_patch;
use super::operator;
use super::record::Records;
use super::resource::{ObjectKey, Resource, text};
use super::settings::{HostState, Pauses};
use super::store::Store;
use crate::listener::Connection;

/// What the server, the hosts' lives and the handle share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Ticks after every change, of objects or of faults.
    ticks: watch::Sender<()>,
    /// Ends every host's life.
    pub(super) end: CancellationToken,
    /// Where hosts live; a handle may be used outside of it.
    runtime: tokio::runtime::Handle,
    pub(super) bearer_token: Option<String>,
    pub(super) namespace: String,
    pub(super) bookmark_every: Duration,
}

/// Everything that changes.
pub(super) struct State {
    pub(super) store: Store,
    pub(super) faults: Faults,
    pub(super) records: Records,
    pub(super) pauses: Pauses,
    pub(super) capacity: Option<usize>,
    pub(super) holds: BTreeMap<ObjectKey, Hold>,
    /// Namespaces that are being deleted.
    pub(super) terminating: BTreeSet<String>,
    pub(super) open_watches: HashMap<u64, Connection>,
    watches_opened: u64,
    /// The hosts that are being looked after, each with what wakes its life.
    lives: HashMap<ObjectKey, Arc<Notify>>,
    newborn: Vec<ObjectKey>,
}

/// Where a host's life stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Where it is.
    Here,
    /// In this state, once it is there.
    At(HostState),
}

/// How a deletion ended.
pub(super) enum Deleted {
    /// The object is gone.
    Gone(Arc<Value>),
    /// Finalizers keep it; it now carries a `deletionTimestamp`.
    Waiting(Arc<Value>),
}

/// What must hold for a deletion to be carried out.
#[derive(Debug, Default)]
pub(super) struct Preconditions {
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
}

impl Shared {
    pub(super) fn new(settings: &super::ClusterSettings, runtime: tokio::runtime::Handle) -> Self {
        let state = State {
            store: Store::default(),
            faults: Faults::default(),
            records: Records::default(),
            pauses: settings.pauses.clone(),
            capacity: settings.capacity,
            holds: BTreeMap::new(),
            terminating: BTreeSet::new(),
            open_watches: HashMap::new(),
            watches_opened: 0,
            lives: HashMap::new(),
            newborn: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            ticks: watch::Sender::new(()),
            end: CancellationToken::new(),
            runtime,
            bearer_token: settings.bearer_token.clone(),
            namespace: settings.namespace.clone(),
            bookmark_every: settings.bookmark_every,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks.
    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes what nobody follows.
    pub(super) fn quietly<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.lock())
    }

    /// Changes something, then lets everyone who follows know.
    pub(super) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, newborn) = {
            let mut state = self.lock();
            (change(&mut state), std::mem::take(&mut state.newborn))
        };
        for key in newborn {
            operator::begin(&self.runtime, self.clone(), key);
        }
        self.ticks.send_replace(());
        result
    }

    pub(super) fn ticks(&self) -> watch::Receiver<()> {
        self.ticks.subscribe()
    }
}

impl State {
    /// Keeps an object and tells its host's life.
    fn keep(&mut self, key: &ObjectKey, object: Value) -> Arc<Value> {
        let new_status = self
            .store
            .get(key)
            .is_none_or(|old| old.get("status") != object.get("status"));
        let object = self.store.put(key, object);
        if key.resource == Resource::BareMetalHosts {
            if new_status && object.get("status").is_some() {
                self.records.keep_state(key, &object);
            }
            match self.lives.get(key) {
                Some(life) => life.notify_one(),
                None => {
                    self.lives.insert(key.clone(), Arc::default());
                    self.newborn.push(key.clone());
                }
            }
            if self.capacity.is_some() {
                self.wake_all();
            }
        }
        object
    }

    /// What wakes the life of a host.
    pub(super) fn wake_of(&self, key: &ObjectKey) -> Option<Arc<Notify>> {
        self.lives.get(key).cloned()
    }

    /// Ends the life of a host, if the host is gone.
    pub(super) fn bury(&mut self, key: &ObjectKey) -> bool {
        let gone = self.store.get(key).is_none();
        if gone {
            self.lives.remove(key);
        }
        gone
    }

    /// Remembers a watch while it is open, under a number of its own.
    pub(super) fn open_watch(&mut self, connection: Connection) -> u64 {
        self.watches_opened += 1;
        self.open_watches.insert(self.watches_opened, connection);
        self.watches_opened
    }

    /// Lets every host look at its situation again.
    pub(super) fn wake_all(&self) {
        for life in self.lives.values() {
            life.notify_one();
        }
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Result<Arc<Value>, Failure> {
        self.store
            .get(key)
            .cloned()
            .ok_or_else(|| Failure::not_found(key))
    }

    /// POST.
    pub(super) fn create(
        &mut self,
        resource: Resource,
        namespace: &str,
        body: Value,
    ) -> Result<Arc<Value>, Failure> {
        let (key, object) = admission::new_object(resource, namespace, body)?;
        if self.store.get(&key).is_some() {
            return Err(Failure::already_exists(&key));
        }
        if self.terminating.contains(&key.namespace) {
            return Err(Failure::terminating(&key));
        }
        Ok(self.keep(&key, object))
    }

    /// PUT.
    pub(super) fn update(
        &mut self,
        key: &ObjectKey,
        part: Part,
        body: Value,
    ) -> Result<Arc<Value>, Failure> {
        let old = self.get(key)?;
        // A PUT takes the uid as a precondition, where a PATCH finds a change of an immutable field.
        let (found, wanted) = (text(&old, "/metadata/uid"), text(&body, "/metadata/uid"));
        if !wanted.is_empty() && wanted != found {
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: /registry/{}/{}/{}/{}, ResourceVersion: 0, \
                 AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}",
                key.resource.group(),
                key.resource.plural(),
                key.namespace,
                key.name
            );
            return Err(Failure::conflict(key, &why));
        }
        let unconditional = key.resource != Resource::BareMetalHosts;
        let object = admission::changed_object(key, &old, body, part, unconditional)?;
        Ok(self.replace(key, &old, object))
    }

    /// PATCH with a JSON merge patch. Never makes an object.
    pub(super) fn patch(
        &mut self,
        key: &ObjectKey,
        part: Part,
        patch: &Value,
    ) -> Result<Arc<Value>, Failure> {
        let old = self.get(key)?;
        if !patch.is_object() {
            return Err(Failure::bad_request(
                "a merge patch of an object is an object",
            ));
        }
        let mut object = Value::clone(&old);
        merge_patch::apply(&mut object, patch);
        let unconditional = key.resource != Resource::BareMetalHosts;
        let object = admission::changed_object(key, &old, object, part, unconditional)?;
        Ok(self.replace(key, &old, object))
    }

    fn replace(&mut self, key: &ObjectKey, old: &Arc<Value>, object: Value) -> Arc<Value> {
        if object == **old {
            return old.clone();
        }
        if object["metadata"].get("deletionTimestamp").is_some() && !has_finalizers(&object) {
            self.keep(key, object);
            return self.erase(key).unwrap_or_else(|| old.clone());
        }
        self.keep(key, object)
    }

    /// DELETE.
    pub(super) fn delete(
        &mut self,
        key: &ObjectKey,
        preconditions: &Preconditions,
    ) -> Result<Deleted, Failure> {
        let old = self.get(key)?;
        let checks = [
            ("UID", "/metadata/uid", &preconditions.uid),
            (
                "ResourceVersion",
                "/metadata/resourceVersion",
                &preconditions.resource_version,
            ),
        ];
        for (what, pointer, wanted) in checks {
            let found = text(&old, pointer);
            if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
                return Err(Failure::precondition(key, what, wanted, found));
            }
        }
        if !has_finalizers(&old) {
            return Ok(Deleted::Gone(self.erase(key).unwrap_or(old)));
        }
        if old["metadata"].get("deletionTimestamp").is_some() {
            return Ok(Deleted::Waiting(old));
        }
        let mut object = Value::clone(&old);
        object["metadata"]["deletionTimestamp"] = json!(admission::now());
        object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        admission::raise_generation(&mut object);
        Ok(Deleted::Waiting(self.keep(key, object)))
    }

    /// Takes an object away, whatever keeps it.
    pub(super) fn erase(&mut self, key: &ObjectKey) -> Option<Arc<Value>> {
        let last = self.store.remove(key);
        if let Some(life) = self.lives.get(key) {
            life.notify_one();
        }
        last
    }

    /// Metal3's own write of a status.
    pub(super) fn set_status(&mut self, key: &ObjectKey, status: Value) {
        let Some(old) = self.store.get(key) else {
            return;
        };
        let mut object = Value::clone(old);
        object["status"] = status;
        object["status"]["lastUpdated"] = json!(admission::now());
        self.keep(key, object);
    }
}

fn has_finalizers(object: &Value) -> bool {
    object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array)
        .is_some_and(|all| !all.is_empty())
}
