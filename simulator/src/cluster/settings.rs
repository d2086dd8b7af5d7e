//! What a cluster is started with: where it listens, which hosts it has, how long each step of a host takes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::resource::Resource;

/// What [`Cluster::start`](super::Cluster::start) needs to know. As JSON, every field may be left out.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSettings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The namespace that `kubeconfig()` names as the default one.
    pub namespace: String,
    /// Hosts that are there from the start.
    pub hosts: Vec<HostSpec>,
    /// How long each step of a host's life takes.
    pub pauses: Pauses,
    /// How many hosts may be inspected, provisioned or deprovisioned at a time; one more is `delayed`. None: no limit.
    pub capacity: Option<usize>,
    /// If set, a request without it is answered 401.
    pub bearer_token: Option<String>,
    /// How often a watch that asked for bookmarks gets one, in milliseconds as JSON. The real server takes a minute.
    #[serde(deserialize_with = "milliseconds")]
    pub bookmark_every: Duration,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            namespace: "metal3".to_owned(),
            hosts: Vec::new(),
            pauses: Pauses::default(),
            capacity: None,
            bearer_token: None,
            bookmark_every: Duration::from_secs(1),
        }
    }
}

/// A host to put into the cluster. It comes as one that Metal3 already knows (`available`, off), unless
/// [`unregistered`](Self::unregistered).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    namespace: String,
    name: String,
    #[serde(default)]
    unregistered: bool,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    spec: Map<String, Value>,
}

impl HostSpec {
    /// An `available` host that is off.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            unregistered: false,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            spec: Map::new(),
        }
    }

    /// Metal3 has not seen it yet: it is registered, inspected and prepared first.
    #[must_use]
    pub fn unregistered(mut self) -> Self {
        self.unregistered = true;
        self
    }

    /// Sets `spec.online`, which is false otherwise.
    #[must_use]
    pub fn online(mut self, online: bool) -> Self {
        self.spec.insert("online".to_owned(), Value::Bool(online));
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds fields to the spec, an object: those named here replace the default ones.
    #[must_use]
    pub fn spec(mut self, fields: Value) -> Self {
        if let Value::Object(fields) = fields {
            self.spec.extend(fields);
        }
        self
    }

    /// The object to create and the status it begins with (none if Metal3 has not seen it).
    pub(super) fn into_object(self) -> (Value, Option<Value>) {
        let online = self
            .spec
            .get("online")
            .and_then(Value::as_bool)
            .unwrap_or_default();
        let mut spec = Map::from_iter([
            ("online".to_owned(), Value::Bool(false)),
            (
                "bmc".to_owned(),
                json!({"address": format!("redfish://bmc.invalid/redfish/v1/Systems/{}", self.name),
                       "credentialsName": format!("{}-bmc", self.name)}),
            ),
        ]);
        spec.extend(self.spec);
        let object = json!({
            "apiVersion": Resource::BareMetalHosts.api_version(),
            "kind": Resource::BareMetalHosts.kind(),
            "metadata": {
                "namespace": self.namespace, "name": self.name,
                "labels": self.labels, "annotations": self.annotations,
                "finalizers": [super::life::FINALIZER],
            },
            "spec": spec,
        });
        let status =
            (!self.unregistered).then(|| super::host_status::status_of_available_host(online));
        (object, status)
    }
}

/// `status.provisioning.state`, all of Metal3's own (`baremetalhost_types.go`) but the two it no longer sets
/// (`ready`, `match profile`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// No access to its management controller is configured.
    Unmanaged,
    /// Its management controller is tried.
    Registering,
    /// Its hardware is looked at.
    Inspecting,
    /// Firmware and RAID are set.
    Preparing,
    /// Free to use.
    Available,
    /// The image is being written.
    Provisioning,
    /// The image runs.
    Provisioned,
    /// The image is taken away.
    Deprovisioning,
    /// Something else wrote its image.
    #[serde(rename = "externally provisioned")]
    ExternallyProvisioned,
    /// Deletion, first step.
    #[serde(rename = "powering off before delete")]
    PoweringOffBeforeDelete,
    /// Deletion, last step.
    Deleting,
}

impl HostState {
    /// Metal3's own text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unmanaged => "unmanaged",
            Self::Registering => "registering",
            Self::Inspecting => "inspecting",
            Self::Preparing => "preparing",
            Self::Available => "available",
            Self::Provisioning => "provisioning",
            Self::Provisioned => "provisioned",
            Self::Deprovisioning => "deprovisioning",
            Self::ExternallyProvisioned => "externally provisioned",
            Self::PoweringOffBeforeDelete => "powering off before delete",
            Self::Deleting => "deleting",
        }
    }

    /// The state a host is in; none before Metal3 has seen it.
    pub fn of(host: &Value) -> Option<Self> {
        let state = host.pointer("/status/provisioning/state")?;
        serde_json::from_value(state.clone()).ok()
    }
}

/// How long a host stays in each state before Metal3 takes the next step. As JSON: milliseconds by state, e.g.
/// `{"provisioning": 3000}`; what is not named keeps its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pauses {
    default: Duration,
    states: BTreeMap<HostState, Duration>,
}

impl Default for Pauses {
    fn default() -> Self {
        Self::all(Duration::from_millis(20))
    }
}

impl Pauses {
    /// The same pause in every state.
    pub fn all(pause: Duration) -> Self {
        Self {
            default: pause,
            states: BTreeMap::new(),
        }
    }

    /// Another pause for one state.
    #[must_use]
    pub fn with(mut self, state: HostState, pause: Duration) -> Self {
        self.set(state, pause);
        self
    }

    /// The pause in a state.
    pub fn of(&self, state: HostState) -> Duration {
        self.states.get(&state).copied().unwrap_or(self.default)
    }

    pub(super) fn set(&mut self, state: HostState, pause: Duration) {
        self.states.insert(state, pause);
    }

    /// The pause that belongs to no state: switching power, and before the step after an error.
    pub(super) fn otherwise(&self) -> Duration {
        self.default
    }

    pub(super) fn in_milliseconds(&self) -> BTreeMap<HostState, u64> {
        self.states
            .iter()
            .map(|(state, pause)| (*state, u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)))
            .collect()
    }
}

impl<'de> Deserialize<'de> for Pauses {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let states = BTreeMap::<HostState, u64>::deserialize(deserializer)?;
        let states = states
            .into_iter()
            .map(|(state, pause)| (state, Duration::from_millis(pause)))
            .collect();
        Ok(Self {
            states,
            ..Self::default()
        })
    }
}

/// A duration as whole milliseconds in JSON.
fn milliseconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}
