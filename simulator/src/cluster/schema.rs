//! A BareMetalHost as Metal3's definition (`metal3.io_baremetalhosts.yaml`, v1alpha1) describes it: what is not in it is
//! pruned, what is in it is checked. Parts that Bellhop never touches are taken as they come.
//!
//! [`definition`] is the same as a CustomResourceDefinition, for a real API server that has none of Metal3's.

use serde_json::{Map, Value, json};

use super::failure::Problem;

/// The form of a field.
enum Form {
    Text,
    Time,
    HardwareAddress,
    OneOf(&'static [&'static str]),
    Boolean,
    Number,
    /// Its inside is not looked at.
    Anything,
    Object {
        fields: &'static [(&'static str, Form)],
        required: &'static [&'static str],
    },
}

/// What the text must hold somewhere.
const HARDWARE_ADDRESS: &str = "[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}";

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
        ("bootMACAddress", Form::HardwareAddress),
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
        ("image", IMAGE),
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

const IMAGE: Form = Form::Object {
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
};

const STATUS: Form = Form::Object {
    fields: &[
        ("conditions", Form::Anything),
        ("errorCount", Form::Number),
        ("errorMessage", Form::Text),
        (
            "errorType",
            Form::OneOf(&[
                "provisioned registration error",
                "registration error",
                "inspection error",
                "preparation error",
                "provisioning error",
                "power management error",
                "servicing error",
            ]),
        ),
        ("goodCredentials", Form::Anything),
        ("hardware", Form::Anything),
        ("hardwareProfile", Form::Text),
        ("lastUpdated", Form::Time),
        ("operationHistory", Form::Anything),
        (
            "operationalStatus",
            Form::OneOf(&[
                "",
                "OK",
                "discovered",
                "error",
                "delayed",
                "detached",
                "servicing",
            ]),
        ),
        ("poweredOn", Form::Boolean),
        (
            "provisioning",
            Form::Object {
                fields: &[
                    ("ID", Form::Text),
                    (
                        "bootMode",
                        Form::OneOf(&["UEFI", "UEFISecureBoot", "legacy"]),
                    ),
                    ("currentActivity", Form::Text),
                    (
                        "customDeploy",
                        Form::Object {
                            fields: &[("method", Form::Text)],
                            required: &["method"],
                        },
                    ),
                    ("firmware", Form::Anything),
                    ("image", IMAGE),
                    ("progress", Form::Text),
                    ("raid", Form::Anything),
                    ("rootDeviceHints", Form::Anything),
                    ("state", Form::Text),
                    ("steps", Form::Anything),
                ],
                required: &["ID", "state"],
            },
        ),
        ("triedCredentials", Form::Anything),
    ],
    required: &[
        "errorCount",
        "errorMessage",
        "operationalStatus",
        "poweredOn",
        "provisioning",
    ],
};

/// The `CustomResourceDefinition` of BareMetalHosts as far as the simulator knows it: for tests on a real API server that
/// has none of Metal3's own.
pub fn definition() -> Value {
    let mut spec = form_as_schema(&SPEC);
    spec["properties"]["automatedCleaningMode"]["default"] = json!("metadata");
    for reference in ["consumerRef", "metaData", "networkData", "userData"] {
        spec["properties"][reference]["x-kubernetes-map-type"] = json!("atomic");
    }
    let mut status = form_as_schema(&STATUS);
    status["properties"]["errorCount"]["default"] = json!(0);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "baremetalhosts.metal3.io"},
        "spec": {
            "group": "metal3.io", "scope": "Namespaced",
            "names": {"kind": "BareMetalHost", "listKind": "BareMetalHostList", "plural": "baremetalhosts",
                      "singular": "baremetalhost", "shortNames": ["bmh", "bmhost"]},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "State", "type": "string", "jsonPath": ".status.provisioning.state"},
                    {"name": "Consumer", "type": "string", "jsonPath": ".spec.consumerRef.name"},
                    {"name": "Online", "type": "string", "jsonPath": ".spec.online"},
                    {"name": "Error", "type": "string", "jsonPath": ".status.errorType"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"},
                                   "metadata": {"type": "object"}, "spec": spec, "status": status},
                }},
            }],
        },
    })
}

fn form_as_schema(form: &Form) -> Value {
    match form {
        Form::Text => json!({"type": "string"}),
        Form::Time => json!({"type": "string", "format": "date-time"}),
        Form::HardwareAddress => json!({"type": "string", "pattern": HARDWARE_ADDRESS}),
        Form::OneOf(allowed) => json!({"type": "string", "enum": allowed}),
        Form::Boolean => json!({"type": "boolean"}),
        Form::Number => json!({"type": "integer"}),
        Form::Anything => json!({"x-kubernetes-preserve-unknown-fields": true}),
        Form::Object { fields, required } => {
            let properties: Map<String, Value> = fields
                .iter()
                .map(|(name, form)| ((*name).to_owned(), form_as_schema(form)))
                .collect();
            let mut schema = json!({"type": "object", "properties": properties});
            if !required.is_empty() {
                schema["required"] = json!(required);
            }
            schema
        }
    }
}

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
    if let Some(status) = host.get_mut("status") {
        if let Value::Object(status) = status {
            status.entry("errorCount").or_insert_with(|| json!(0));
        }
        check(&STATUS, "status", status, &mut problems);
    }
    problems
}

fn check(form: &Form, path: &str, value: &mut Value, problems: &mut Vec<Problem>) {
    let wanted = match (form, &*value) {
        (Form::Anything, _)
        | (Form::Text | Form::Time | Form::HardwareAddress | Form::OneOf(_), Value::String(_))
        | (Form::Boolean, Value::Bool(_))
        | (Form::Number, Value::Number(_)) => None,
        (Form::Object { .. }, Value::Object(_)) => None,
        (Form::Text | Form::Time | Form::HardwareAddress | Form::OneOf(_), _) => Some("string"),
        (Form::Boolean, _) => Some("boolean"),
        (Form::Number, _) => Some("integer"),
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
        (Form::Time, Value::String(text)) if text.parse::<jiff::Timestamp>().is_err() => {
            // The real server names the field alone here.
            let field = path.rsplit('.').next().unwrap_or(path);
            let why = format!("{field} in body must be of type date-time: {}", json!(text));
            problems.push(Problem::invalid(path, &json!(text), &why));
        }
        (Form::HardwareAddress, Value::String(text)) if !holds_hardware_address(text) => {
            let why = format!("{path} in body should match '{HARDWARE_ADDRESS}'");
            problems.push(Problem::invalid(path, &json!(text), &why));
        }
        (Form::Object { fields, required }, Value::Object(object)) => {
            // What is unknown is pruned, and so is a null where the definition allows none.
            object.retain(|name, value| {
                fields.iter().any(|(field, _)| field == name) && !value.is_null()
            });
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

fn holds_hardware_address(text: &str) -> bool {
    text.as_bytes().windows(17).any(|address| {
        address.iter().enumerate().all(|(at, byte)| match at % 3 {
            2 => *byte == b':',
            _ => byte.is_ascii_hexdigit(),
        })
    })
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
