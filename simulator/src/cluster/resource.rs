//! The three kinds of object the cluster knows, and how a request or an object names one.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A resource of the API, named as in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// `metal3.io/v1alpha1`, kind BareMetalHost.
    BareMetalHosts,
    /// Core `v1`, kind Secret.
    Secrets,
    /// Core `v1`, kind Event.
    Events,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::BareMetalHosts, Self::Secrets, Self::Events];

    /// The resource in the URL: `baremetalhosts`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::BareMetalHosts => "baremetalhosts",
            Self::Secrets => "secrets",
            Self::Events => "events",
        }
    }

    /// The kind in the object: `BareMetalHost`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::BareMetalHosts => "BareMetalHost",
            Self::Secrets => "Secret",
            Self::Events => "Event",
        }
    }

    /// The API group; the core group is the empty string.
    pub fn group(self) -> &'static str {
        match self {
            Self::BareMetalHosts => "metal3.io",
            Self::Secrets | Self::Events => "",
        }
    }

    /// The `apiVersion` of its objects.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::BareMetalHosts => "metal3.io/v1alpha1",
            Self::Secrets | Self::Events => "v1",
        }
    }

    /// How the API server's messages call the resource: `baremetalhosts.metal3.io`, `secrets`.
    pub fn qualified(self) -> String {
        qualify(self.plural(), self.group())
    }

    /// How the API server's messages call the kind: `BareMetalHost.metal3.io`, `Secret`.
    pub fn qualified_kind(self) -> String {
        qualify(self.kind(), self.group())
    }
}

fn qualify(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

/// What a request does to a resource, in the API's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read many.
    List,
    /// Follow changes.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE of one object.
    Delete,
}

impl Verb {
    /// Whether it changes something.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// Names one object in the store. Ordered as the API server orders a list: by namespace, then name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ObjectKey {
    pub(super) resource: Resource,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectKey {
    pub(super) fn new(resource: Resource, namespace: &str, name: &str) -> Self {
        Self {
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(super) fn host(namespace: &str, name: &str) -> Self {
        Self::new(Resource::BareMetalHosts, namespace, name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}/{}",
            self.resource.plural(),
            self.namespace,
            self.name
        )
    }
}

/// The text at a JSON pointer, or the empty string.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The boolean at a JSON pointer; false where there is none.
pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    object
        .pointer(pointer)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}
