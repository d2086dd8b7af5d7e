//! The spec of a BareMetalHost as Metal3's definition (`metal3.io_baremetalhosts.yaml`, v1alpha1) describes it: what
//! is not in it is pruned, what is in it is checked. Parts that Bellhop never touches are taken as they come.

use serde_json::{Map, Value, json};

use super::failure::Problem;

/// The form of a field.
enum Form {
    Text,
    OneOf(&'static [&'static str]),
    Boolean,
    /// Its inside is not looked at.
    Anything,
    Object {
        fields: &'static [(&'static str, Form)],
        required: &'static [&'static str],
    },
}

const REFERENCE_TO_SECRET: Form = Form::Object {
    fields: &[("name", Form::Text), ("namespace", Form::Text)],
    required: &[],
};

const SPEC: Form = Form::Object {
    fields: &[
        ("architecture", Form::Text),
        (
            "automatedCleaningMode",
            Form::OneOf(&["metadata", "disabled"]),
        ),
        (
            "bmc",
            Form::Object {
                fields: &[
                    ("address", Form::Text),
                    ("credentialsName", Form::Text),
                    ("disableCertificateVerification", Form::Boolean),
                ],
                required: &["address", "credentialsName"],
            },
        ),
        ("bootMACAddress", Form::Text),
        (
            "bootMode",
            Form::OneOf(&["UEFI", "UEFISecureBoot", "legacy"]),
        ),
        (
            "consumerRef",
            Form::Object {
                fields: &[
                    ("apiVersion", Form::Text),
                    ("fieldPath", Form::Text),
                    ("kind", Form::Text),
                    ("name", Form::Text),
                    ("namespace", Form::Text),
                    ("resourceVersion", Form::Text),
                    ("uid", Form::Text),
                ],
                required: &[],
            },
        ),
        (
            "customDeploy",
            Form::Object {
                fields: &[("method", Form::Text)],
                required: &["method"],
            },
        ),
        ("description", Form::Text),
        ("disablePowerOff", Form::Boolean),
        ("externallyProvisioned", Form::Boolean),
        ("firmware", Form::Anything),
        ("hardwareProfile", Form::Text),
        (
            "image",
            Form::Object {
                fields: &[
                    ("checksum", Form::Text),
                    (
                        "checksumType",
                        Form::OneOf(&["md5", "sha256", "sha512", "auto"]),
                    ),
                    (
                        "format",
                        Form::OneOf(&["raw", "qcow2", "vdi", "vmdk", "live-iso"]),
                    ),
                    ("ociAuthSecretName", Form::Text),
                    ("url", Form::Text),
                ],
                required: &["url"],
            },
        ),
        ("inspectionMode", Form::OneOf(&["disabled", "agent"])),
        ("metaData", REFERENCE_TO_SECRET),
        ("networkData", REFERENCE_TO_SECRET),
        ("online", Form::Boolean),
        ("preprovisioningNetworkDataName", Form::Text),
        ("raid", Form::Anything),
        ("rootDeviceHints", Form::Anything),
        ("taints", Form::Anything),
        ("userData", REFERENCE_TO_SECRET),
    ],
    required: &["online"],
};

/// Prunes and completes a host as the API server does when it stores one, and tells what is wrong with it.
pub(super) fn complete_host(host: &mut Map<String, Value>) -> Vec<Problem> {
    host.retain(|field, _| {
        matches!(
            field.as_str(),
            "apiVersion" | "kind" | "metadata" | "spec" | "status"
        )
    });
    let mut problems = Vec::new();
    if let Some(spec) = host.get_mut("spec") {
        check(&SPEC, "spec", spec, &mut problems);
        if let Value::Object(spec) = spec {
            spec.entry("automatedCleaningMode")
                .or_insert_with(|| json!("metadata"));
        }
    }
    problems
}

fn check(form: &Form, path: &str, value: &mut Value, problems: &mut Vec<Problem>) {
    let wanted = match (form, &*value) {
        (Form::Anything, _)
        | (Form::Text | Form::OneOf(_), Value::String(_))
        | (Form::Boolean, Value::Bool(_)) => None,
        (Form::Object { .. }, Value::Object(_)) => None,
        (Form::Text | Form::OneOf(_), _) => Some("string"),
        (Form::Boolean, _) => Some("boolean"),
        (Form::Object { .. }, _) => Some("object"),
    };
    if let Some(wanted) = wanted {
        problems.push(Problem::wrong_type(path, type_of(value), wanted));
        return;
    }
    match (form, value) {
        (Form::OneOf(allowed), value) if !allowed.iter().any(|allowed| value == allowed) => {
            problems.push(Problem::not_supported(path, value, allowed));
        }
        (Form::Object { fields, required }, Value::Object(object)) => {
            object.retain(|name, _| fields.iter().any(|(field, _)| field == name));
            for missing in required
                .iter()
                .filter(|field| !object.contains_key(**field))
            {
                problems.push(Problem::required(format!("{path}.{missing}")));
            }
            for (name, form) in *fields {
                if let Some(value) = object.get_mut(*name) {
                    check(form, &format!("{path}.{name}"), value, problems);
                }
            }
        }
        _ => {}
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
