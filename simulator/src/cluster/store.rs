//! The objects and every change they went through: what etcd is to the API server.
//!
//! One counter gives every change its `resourceVersion`. Old versions are kept, so that a list can be continued at the
//! version it began with and a watch can begin in the past, until [`Store::forget_history`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::resource::{ObjectKey, Resource};

/// What happened to an object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) key: ObjectKey,
    /// The object after the change; for a deletion the last one, with the deletion's `resourceVersion`.
    pub(super) object: Arc<Value>,
    /// The object before; none if it was created.
    pub(super) previous: Option<Arc<Value>>,
    pub(super) deleted: bool,
}

/// A version was asked for that is no longer known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expired {
    /// The oldest that is.
    pub(super) oldest: u64,
}

/// All objects, now and before.
#[derive(Debug, Default)]
pub(super) struct Store {
    revision: u64,
    objects: BTreeMap<ObjectKey, Arc<Value>>,
    history: Vec<Change>,
    forgotten: u64,
}

impl Store {
    /// The version of the last change.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Objects of one resource, of all namespaces or one, in order.
    pub(super) fn all(&self, resource: Resource, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let objects = self
            .objects
            .iter()
            .filter(|(key, _)| belongs(key, resource, namespace));
        objects.map(|(_, object)| object.clone()).collect()
    }

    /// The same as they were at a version.
    pub(super) fn all_at(
        &self,
        revision: u64,
        resource: Resource,
        namespace: Option<&str>,
    ) -> Result<BTreeMap<ObjectKey, Arc<Value>>, Expired> {
        let changes = self.changes_after(revision)?;
        let now = self
            .objects
            .iter()
            .filter(|(key, _)| belongs(key, resource, namespace));
        let mut objects: BTreeMap<_, _> = now
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        for change in changes
            .iter()
            .rev()
            .filter(|change| belongs(&change.key, resource, namespace))
        {
            match &change.previous {
                Some(previous) => objects.insert(change.key.clone(), previous.clone()),
                None => objects.remove(&change.key),
            };
        }
        Ok(objects)
    }

    /// What happened after a version, oldest first.
    pub(super) fn changes_after(&self, revision: u64) -> Result<&[Change], Expired> {
        if revision < self.forgotten {
            return Err(Expired {
                oldest: self.forgotten,
            });
        }
        let from = self
            .history
            .partition_point(|change| change.revision <= revision);
        Ok(self.history.get(from..).unwrap_or_default())
    }

    /// Keeps an object under the next version.
    pub(super) fn put(&mut self, key: &ObjectKey, mut object: Value) -> Arc<Value> {
        let revision = self.next(&mut object);
        let object = Arc::new(object);
        let previous = self.objects.insert(key.clone(), object.clone());
        self.history.push(Change {
            revision,
            key: key.clone(),
            object: object.clone(),
            previous,
            deleted: false,
        });
        object
    }

    /// Takes an object away; answers its last form.
    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Arc<Value>> {
        let previous = self.objects.remove(key)?;
        let mut last = Value::clone(&previous);
        let revision = self.next(&mut last);
        let object = Arc::new(last);
        let change = Change {
            revision,
            key: key.clone(),
            object: object.clone(),
            previous: Some(previous),
            deleted: true,
        };
        self.history.push(change);
        Some(object)
    }

    /// Forgets all earlier versions, as etcd's compaction does.
    pub(super) fn forget_history(&mut self) {
        self.history.clear();
        self.forgotten = self.revision;
    }

    fn next(&mut self, object: &mut Value) -> u64 {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.revision
    }
}

fn belongs(key: &ObjectKey, resource: Resource, namespace: Option<&str>) -> bool {
    key.resource == resource && namespace.is_none_or(|namespace| key.namespace == namespace)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn secret(name: &str) -> ObjectKey {
        ObjectKey::new(Resource::Secrets, "metal3", name)
    }

    #[test]
    fn the_past_can_be_read_until_it_is_forgotten() {
        let mut store = Store::default();
        store.put(&secret("a"), json!({"metadata": {}, "version": 1}));
        store.put(&secret("b"), json!({"metadata": {}}));
        let then = store.revision();
        store.put(&secret("a"), json!({"metadata": {}, "version": 2}));
        store.remove(&secret("b"));
        store.put(&secret("c"), json!({"metadata": {}}));

        let past = store.all_at(then, Resource::Secrets, None).unwrap();
        assert_eq!(
            past.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(past[&secret("a")]["version"], 1);
        assert_eq!(store.changes_after(then).unwrap().len(), 3);

        store.forget_history();
        assert!(store.all_at(then, Resource::Secrets, None).is_err());
        assert!(store.changes_after(store.revision()).unwrap().is_empty());
    }
}
