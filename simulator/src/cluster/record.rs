//! What the cluster remembers, so that a test can ask: every write it got, every status a host had, every user data
//! the operator read.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::resource::{ObjectKey, Resource, Verb, text};
use super::settings::HostState;

/// One write that came over HTTP, refused or not.
#[derive(Clone, Serialize)]
pub struct Write {
    /// Counts writes from 1.
    pub sequence: u64,
    /// When it was handled, or the fault that it met was over.
    pub at: Timestamp,
    /// Create, update, patch or delete.
    pub verb: Verb,
    /// The URL's path.
    pub path: String,
    /// What it was about.
    pub resource: Resource,
    /// `status`, or none for the main resource.
    pub subresource: Option<String>,
    /// Of the object.
    pub namespace: String,
    /// Of the object; for a create, the name in its body.
    pub name: String,
    /// The request's own.
    pub content_type: String,
    /// What was sent; null where there was nothing or no JSON. A secret's data is in it.
    pub body: Value,
    /// The HTTP status; 0 if the connection was cut before the request was handled.
    pub answer: u16,
    /// The object after an accepted write, null if it is gone; none if the write was refused.
    pub after: Option<Value>,
    /// The fault that it met.
    pub fault: Option<&'static str>,
}

impl Write {
    /// Whether it was carried out.
    pub fn was_accepted(&self) -> bool {
        self.after.is_some()
    }

    /// The object's spec after it.
    pub fn spec_after(&self) -> Option<&Value> {
        self.after.as_ref()?.get("spec")
    }

    /// The object's annotations after it.
    pub fn annotations_after(&self) -> Option<&Value> {
        self.after.as_ref()?.pointer("/metadata/annotations")
    }
}

/// Without body and object: a secret's data must not get into a log.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write")
            .field("sequence", &self.sequence)
            .field("verb", &self.verb)
            .field("path", &self.path)
            .field("answer", &self.answer)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

/// A host's status after one status write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateRecord {
    /// When it was written.
    pub at: Timestamp,
    /// Of the host then.
    pub resource_version: String,
    /// None before Metal3 has seen the host.
    pub state: Option<HostState>,
    /// `OK`, `error`, `delayed`, `detached`, `discovered`.
    pub operational_status: String,
    /// Empty without an error.
    pub error_type: String,
    /// Empty without an error.
    pub error_message: String,
    /// Metal3's own count.
    pub error_count: u64,
    /// `status.provisioning.image.url`; empty unless an image is on the host.
    pub image_url: String,
    /// Whether the host is on.
    pub powered_on: bool,
}

impl StateRecord {
    fn of(host: &Value) -> Self {
        Self {
            at: Timestamp::now(),
            resource_version: text(host, "/metadata/resourceVersion").to_owned(),
            state: HostState::of(host),
            operational_status: text(host, "/status/operationalStatus").to_owned(),
            error_type: text(host, "/status/errorType").to_owned(),
            error_message: text(host, "/status/errorMessage").to_owned(),
            error_count: host
                .pointer("/status/errorCount")
                .and_then(Value::as_u64)
                .unwrap_or_default(),
            image_url: text(host, "/status/provisioning/image/url").to_owned(),
            powered_on: super::resource::flag(host, "/status/poweredOn"),
        }
    }
}

/// The operator read a host's user data because it began to write the image.
#[derive(Clone, Serialize)]
pub struct UserDataRead {
    /// When.
    pub at: Timestamp,
    /// Of the host.
    pub namespace: String,
    /// The host's name.
    pub host: String,
    /// The secret's name.
    pub secret: String,
    /// The host's `consumerRef` then.
    pub consumer: Option<Value>,
    /// What the machine will be given, decoded.
    pub user_data: String,
}

/// Without the user data, which holds keys.
impl fmt::Debug for UserDataRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserDataRead")
            .field("host", &self.host)
            .field("secret", &self.secret)
            .field("consumer", &self.consumer)
            .finish_non_exhaustive()
    }
}

/// All records of one cluster.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) writes: Vec<Write>,
    pub(super) states: BTreeMap<ObjectKey, Vec<StateRecord>>,
    pub(super) user_data_reads: Vec<UserDataRead>,
    pub(super) requests: BTreeMap<(Verb, Resource), u64>,
}

impl Records {
    /// Keeps a host's status.
    pub(super) fn keep_state(&mut self, key: &ObjectKey, host: &Value) {
        self.states
            .entry(key.clone())
            .or_default()
            .push(StateRecord::of(host));
    }
}
