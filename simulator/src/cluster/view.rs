//! How a client wants to see objects: whole, their metadata alone, or hosts as the table that `kubectl get bmh` prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::resource::{Resource, flag, text};

/// What the `Accept` header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// The object itself.
    Whole,
    /// `as=PartialObjectMetadata`.
    Metadata,
    /// `as=Table`, for hosts; other kinds are shown whole, which kubectl can print too.
    Table,
}

impl View {
    pub(super) fn asked_for(accept: &str, resource: Resource) -> Self {
        if accept.contains("as=PartialObjectMetadata") {
            Self::Metadata
        } else if accept.contains("as=Table") && resource == Resource::BareMetalHosts {
            Self::Table
        } else {
            Self::Whole
        }
    }

    /// `kind` and `apiVersion` of what is shown.
    pub(super) fn type_of(self, resource: Resource) -> (&'static str, &'static str) {
        match self {
            Self::Whole => (resource.kind(), resource.api_version()),
            Self::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1"),
            Self::Table => ("Table", "meta.k8s.io/v1"),
        }
    }

    /// One object.
    pub(super) fn object(self, object: &Value) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => metadata_alone(object),
            Self::Table => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                table(metadata, vec![row(object)])
            }
        }
    }

    /// A list of objects.
    pub(super) fn list<'a>(
        self,
        resource: Resource,
        metadata: Value,
        objects: impl Iterator<Item = &'a Value>,
    ) -> Value {
        if self == Self::Table {
            return table(metadata, objects.map(row).collect());
        }
        let (kind, api_version) = self.type_of(resource);
        let items: Vec<Value> = objects.map(|object| self.object(object)).collect();
        json!({"kind": format!("{kind}List"), "apiVersion": api_version, "metadata": metadata, "items": items})
    }
}

fn metadata_alone(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// The columns of Metal3's definition; those of priority 1 are shown by `-o wide` only.
fn table(metadata: Value, rows: Vec<Value>) -> Value {
    let columns = [
        ("Name", 0),
        ("Status", 1),
        ("State", 0),
        ("Consumer", 0),
        ("BMC", 1),
        ("Online", 0),
        ("Error", 0),
        ("Age", 0),
    ];
    let columns = columns.map(|(name, priority)| {
        let format = if name == "Name" { "name" } else { "" };
        json!({"name": name, "type": "string", "format": format, "description": "", "priority": priority})
    });
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
           "columnDefinitions": columns, "rows": rows})
}

fn row(host: &Value) -> Value {
    let cells = [
        text(host, "/metadata/name"),
        text(host, "/status/operationalStatus"),
        text(host, "/status/provisioning/state"),
        text(host, "/spec/consumerRef/name"),
        text(host, "/spec/bmc/address"),
        if flag(host, "/spec/online") {
            "true"
        } else {
            "false"
        },
        text(host, "/status/errorType"),
        &age(text(host, "/metadata/creationTimestamp")),
    ];
    json!({"cells": cells, "object": metadata_alone(host)})
}

fn age(created: &str) -> String {
    let Ok(created) = created.parse::<Timestamp>() else {
        return "<unknown>".to_owned();
    };
    match Timestamp::now().as_second() - created.as_second() {
        seconds if seconds < 120 => format!("{seconds}s"),
        seconds if seconds < 7200 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}
