//! Field and label selectors of lists and watches.

use serde_json::Value;

use super::failure::Failure;
use super::resource::{Resource, text};

/// Which objects a list or watch wants; all conditions must hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector(Vec<Condition>);

#[derive(Debug, Clone)]
enum Condition {
    Field {
        pointer: String,
        value: String,
        equal: bool,
    },
    Label {
        name: String,
        value: String,
        equal: bool,
    },
    LabelSet {
        name: String,
        present: bool,
    },
}

impl Selector {
    /// Reads `fieldSelector` and `labelSelector`. Supported: `=`, `==`, `!=`, and for labels presence (`name`,
    /// `!name`); hosts and Secrets know the fields `metadata.name` and `metadata.namespace`, Events also those of the
    /// object they are about.
    pub(super) fn parse(resource: Resource, fields: &str, labels: &str) -> Result<Self, Failure> {
        let mut conditions = Vec::new();
        for part in parts(fields) {
            let Some((field, value, equal)) = comparison(part) else {
                return Err(Failure::bad_request(format!(
                    "invalid selector: '{fields}'; can't understand '{part}'"
                )));
            };
            let known = matches!(field, "metadata.name" | "metadata.namespace")
                || (resource == Resource::Events
                    && (field.starts_with("involvedObject.")
                        || matches!(field, "reason" | "type")));
            if !known {
                return Err(Failure::bad_request(format!(
                    "field label not supported: {field}"
                )));
            }
            let pointer = format!("/{}", field.replace('.', "/"));
            conditions.push(Condition::Field {
                pointer,
                value: value.to_owned(),
                equal,
            });
        }
        for part in parts(labels) {
            if part.contains(['(', '>', '<']) {
                return Err(Failure::bad_request(format!(
                    "the simulator does not understand the label selector '{part}'"
                )));
            }
            conditions.push(match comparison(part) {
                Some((name, value, equal)) => Condition::Label {
                    name: name.to_owned(),
                    value: value.to_owned(),
                    equal,
                },
                None => {
                    let name = part.trim_start_matches('!');
                    Condition::LabelSet {
                        name: name.to_owned(),
                        present: name == part,
                    }
                }
            });
        }
        Ok(Self(conditions))
    }

    /// Whether it takes everything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn wants(&self, object: &Value) -> bool {
        let label = |name: &str| {
            object
                .pointer("/metadata/labels")
                .and_then(|labels| labels.get(name))
        };
        self.0.iter().all(|condition| match condition {
            Condition::Field {
                pointer,
                value,
                equal,
            } => (text(object, pointer) == value) == *equal,
            Condition::Label { name, value, equal } => {
                label(name).is_some_and(|found| found == value) == *equal
            }
            Condition::LabelSet { name, present } => label(name).is_some() == *present,
        })
    }
}

fn parts(selector: &str) -> impl Iterator<Item = &str> {
    selector
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

fn comparison(part: &str) -> Option<(&str, &str, bool)> {
    let (name, value, equal) = if let Some((name, value)) = part.split_once("!=") {
        (name, value, false)
    } else {
        let (name, value) = part.split_once("==").or_else(|| part.split_once('='))?;
        (name, value, true)
    };
    Some((name.trim(), value.trim(), equal))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_on_fields_and_labels_must_all_hold() {
        let object = json!({"metadata": {"name": "a", "labels": {"rack": "b", "site": "turin"}}});
        let wants = |fields: &str, labels: &str| {
            Selector::parse(Resource::Secrets, fields, labels)
                .unwrap()
                .wants(&object)
        };
        assert!(wants("metadata.name=a", "rack=b,site!=milan,!gpu,site"));
        assert!(wants("", ""));
        assert!(!wants("metadata.name=b", ""));
        assert!(!wants("metadata.name!=a", ""));
        assert!(!wants("", "rack=c"));
        assert!(!wants("", "gpu"));
        assert!(Selector::parse(Resource::BareMetalHosts, "spec.online=true", "").is_err());
    }
}
