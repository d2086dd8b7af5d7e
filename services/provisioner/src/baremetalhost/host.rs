//! A BareMetalHost as far as Bellhop reads it (metal3.io/v1alpha1, `baremetalhost_types.go`). What we don't need is not
//! kept: hardware details and managed fields of thousands of hosts would fill the memory.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope, Resource};
use serde::{Deserialize, Serialize};

/// The annotation or label that says to which resource a host answers.
pub(crate) const RESOURCE: &str = "bellhop.dev/resource";
/// The annotation that says where users reach a host.
pub(crate) const ADDRESS: &str = "bellhop.dev/address";
/// The annotation that carries the fence; it stays after a release.
pub(crate) const FENCE: &str = "bellhop.dev/fence";
/// The annotation that says which installation of Bellhop holds a host.
pub(crate) const INSTALLATION: &str = "bellhop.dev/installation";
/// The annotation that carries the trace of the reservation that holds a host.
pub(crate) const TRACEPARENT: &str = "bellhop.dev/traceparent";
/// Metal3: while this annotation is there, whatever its value, the host is left alone.
const PAUSED: &str = "baremetalhost.metal3.io/paused";
/// Metal3: while this annotation is there, the host is detached from its provisioner.
const DETACHED: &str = "baremetalhost.metal3.io/detached";

/// `apiVersion` of our `consumerRef`.
pub(crate) const CONSUMER_API_VERSION: &str = "bellhop.dev/v1";
/// `kind` of our `consumerRef`.
pub(crate) const CONSUMER_KIND: &str = "Reservation";

/// A host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct BareMetalHost {
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) spec: Spec,
    #[serde(default)]
    pub(crate) status: Status,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    pub(crate) online: bool,
    pub(crate) image: Option<Image>,
    pub(crate) user_data: Option<SecretReference>,
    pub(crate) consumer_ref: Option<ConsumerRef>,
    pub(crate) custom_deploy: Option<serde_json::Value>,
    pub(crate) externally_provisioned: bool,
    pub(crate) disable_power_off: bool,
    pub(crate) automated_cleaning_mode: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Image {
    pub(crate) url: String,
    pub(crate) checksum: Option<String>,
    pub(crate) checksum_type: Option<String>,
    pub(crate) format: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SecretReference {
    pub(crate) name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConsumerRef {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    pub(crate) operational_status: String,
    pub(crate) error_type: String,
    pub(crate) error_message: String,
    pub(crate) powered_on: bool,
    pub(crate) provisioning: Provisioning,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Provisioning {
    pub(crate) state: String,
    pub(crate) image: Image,
}

impl Resource for BareMetalHost {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl BareMetalHost {
    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn resource_version(&self) -> &str {
        self.metadata
            .resource_version
            .as_deref()
            .unwrap_or_default()
    }

    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata
            .annotations
            .as_ref()?
            .get(name)
            .map(String::as_str)
    }

    /// The name of the resource that this host answers to: what its annotation or label says, else its own name.
    pub(crate) fn answers_to(&self) -> &str {
        self.mark().unwrap_or_else(|| self.name())
    }

    /// Whether an annotation or label says to which resource the host answers.
    pub(crate) fn is_marked(&self) -> bool {
        self.mark().is_some()
    }

    fn mark(&self) -> Option<&str> {
        let label = || {
            self.metadata
                .labels
                .as_ref()?
                .get(RESOURCE)
                .map(String::as_str)
        };
        self.annotation(RESOURCE).or_else(label)
    }

    /// Whether it is being deleted: that can't be undone, however long something keeps it.
    pub(crate) fn is_being_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Why Metal3 does not touch the host at all now, where it doesn't.
    pub(crate) fn standstill(&self) -> Option<&'static str> {
        if self.annotation(PAUSED).is_some() {
            Some("paused")
        } else if self.annotation(DETACHED).is_some()
            || self.status.operational_status == "detached"
        {
            Some("detached")
        } else {
            None
        }
    }

    /// The error that the host shows.
    pub(crate) fn error(&self) -> Option<bellhop_domain::reservation::HostError> {
        let status = &self.status;
        let in_error = status.operational_status == "error" || !status.error_type.is_empty();
        in_error.then(|| bellhop_domain::reservation::HostError {
            kind: if status.error_type.is_empty() {
                "error".to_owned()
            } else {
                status.error_type.clone()
            },
            message: status.error_message.clone(),
        })
    }

    /// `available`, or `ready` in older versions of Metal3.
    pub(crate) fn is_available(&self) -> bool {
        matches!(
            self.status.provisioning.state.as_str(),
            "available" | "ready"
        )
    }

    /// Whether Metal3 was told not to clean its disks when an image goes.
    pub(crate) fn is_never_wiped(&self) -> bool {
        self.spec.automated_cleaning_mode == "disabled"
    }

    /// Whether the service before Bellhop prepared it: an image, its own secret's name, and nobody's `consumerRef`.
    pub(crate) fn is_of_the_service_before(&self) -> bool {
        self.consumer() == Consumer::None
            && self.image_url().is_some()
            && self.user_data() == Some(format!("{}-userdata", self.name()).as_str())
    }

    pub(crate) fn image_url(&self) -> Option<&str> {
        self.spec
            .image
            .as_ref()
            .map(|image| image.url.as_str())
            .filter(|url| !url.is_empty())
    }

    pub(crate) fn user_data(&self) -> Option<&str> {
        self.spec
            .user_data
            .as_ref()
            .map(|secret| secret.name.as_str())
            .filter(|name| !name.is_empty())
    }

    pub(crate) fn consumer(&self) -> Consumer<'_> {
        match &self.spec.consumer_ref {
            None => Consumer::None,
            Some(consumer) if consumer.name.is_empty() && consumer.kind.is_empty() => {
                Consumer::None
            }
            Some(consumer)
                if consumer.kind == CONSUMER_KIND
                    && consumer.api_version == CONSUMER_API_VERSION =>
            {
                Consumer::Reservation(&consumer.name)
            }
            Some(consumer) => Consumer::Foreign(consumer),
        }
    }
}

/// Who uses a host, by its `consumerRef`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consumer<'a> {
    /// Nobody.
    None,
    /// A reservation of Bellhop's, by the text of its id.
    Reservation(&'a str),
    /// Someone else.
    Foreign(&'a ConsumerRef),
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    /// A clean host with `changes` merged into it.
    pub(crate) fn host(changes: Value) -> BareMetalHost {
        let mut host = json!({
            "metadata": {"name": "node01", "namespace": "metal3", "uid": "uid-1", "resourceVersion": "7"},
            "spec": {"online": false},
            "status": {
                "operationalStatus": "OK", "errorType": "", "errorMessage": "", "poweredOn": false,
                "provisioning": {"state": "available", "image": {"url": ""}},
            },
        });
        merge(&mut host, changes);
        serde_json::from_value(host).unwrap()
    }

    fn merge(target: &mut Value, patch: Value) {
        match (target, patch) {
            (Value::Object(target), Value::Object(patch)) => {
                for (key, value) in patch {
                    merge(target.entry(key).or_insert(Value::Null), value);
                }
            }
            (target, patch) => *target = patch,
        }
    }

    #[test]
    fn a_host_answers_to_its_annotation_then_its_label_then_its_name() {
        assert_eq!(host(json!({})).answers_to(), "node01");
        assert_eq!(
            host(json!({"metadata": {"labels": {RESOURCE: "b"}}})).answers_to(),
            "b"
        );
        let both = json!({"metadata": {"labels": {RESOURCE: "b"}, "annotations": {RESOURCE: "a"}}});
        assert_eq!(host(both).answers_to(), "a");
    }

    /// The definition itself is compared with Metal3's on a real API server (`tests/provisioner/kubernetes/types.rs`).
    #[test]
    fn every_field_that_we_read_is_in_the_definition() {
        let mut host = host(json!({}));
        host.spec.image = Some(Image {
            url: String::new(),
            checksum: Some(String::new()),
            checksum_type: Some(String::new()),
            format: Some(String::new()),
        });
        host.status.provisioning.image = host.spec.image.clone().unwrap();
        host.spec.user_data = Some(SecretReference::default());
        host.spec.consumer_ref = Some(ConsumerRef::default());
        host.spec.custom_deploy = Some(json!({"method": "m"}));
        let host = serde_json::to_value(host).unwrap();
        let definition = bellhop_simulator::cluster::definition();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            all_known(part, &host[part], &schema["properties"][part]);
        }
    }

    fn all_known(path: &str, value: &Value, schema: &Value) {
        let fitting = match value {
            Value::String(_) => "string",
            Value::Bool(_) => "boolean",
            _ => "object",
        };
        assert_eq!(schema["type"], fitting, "{path}");
        for (name, value) in value.as_object().into_iter().flatten() {
            all_known(
                &format!("{path}.{name}"),
                value,
                &schema["properties"][name],
            );
        }
    }

    #[test]
    fn an_image_without_a_url_is_no_image() {
        assert_eq!(
            host(json!({"spec": {"image": {"url": ""}}})).image_url(),
            None
        );
        assert_eq!(
            host(json!({"spec": {"image": {"url": "u"}}})).image_url(),
            Some("u")
        );
    }
}
