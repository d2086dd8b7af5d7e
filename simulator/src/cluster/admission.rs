//! What every object goes through before it is stored: rules of metadata, the schema, Secrets' own rules, and the
//! validating webhook of Metal3's operator.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::failure::{Failure, Problem};
use super::metadata::{
    check_finalizers_in_deletion, check_maps_of_text, check_name, check_own_namespace,
};
use super::resource::{ObjectKey, Resource, flag, text};
use super::schema;

/// Which part of an object a request may change; the other part of its body is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All but the status.
    Main,
    /// Only the status.
    Status,
}

/// Metadata that only the server sets.
const SERVER_SET: [&str; 4] = [
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
];

/// The time as the API prints it: whole seconds, UTC.
pub(super) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A new object as it will be stored, and the key it gets.
pub(super) fn new_object(
    resource: Resource,
    namespace: &str,
    body: Value,
) -> Result<(ObjectKey, Value), Failure> {
    let Value::Object(mut object) = body else {
        return Err(Failure::bad_request(
            "the body of the request is not a JSON object",
        ));
    };
    if resource == Resource::BareMetalHosts && !object.contains_key("kind") {
        return Err(Failure::bad_request(
            "the object provided is unrecognized (must be of type BareMetalHost): Object 'Kind' is missing",
        ));
    }
    check_type(resource, &mut object)?;
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    let Value::Object(metadata) = metadata else {
        return Err(Failure::bad_request("metadata is not an object"));
    };
    if metadata.get("name").is_none_or(|name| name == "")
        && let Some(prefix) = metadata.get("generateName").and_then(Value::as_str)
    {
        let suffix: String = Uuid::new_v4()
            .simple()
            .to_string()
            .chars()
            .take(5)
            .collect();
        metadata.insert("name".to_owned(), json!(format!("{prefix}{suffix}")));
    }
    let name = metadata
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let key = ObjectKey::new(resource, namespace, name);
    if name.is_empty() {
        let mut problem = Problem::required("metadata.name");
        problem.message = "Required value: name or generateName is required".to_owned();
        return Err(Failure::invalid(&key, &[problem]));
    }
    check_name(&key)?;
    check_own_namespace(metadata, namespace)?;
    if metadata
        .get("resourceVersion")
        .is_some_and(|version| version != "")
    {
        return Err(Failure::unexpected(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    for field in SERVER_SET {
        metadata.remove(field);
    }
    metadata.insert("namespace".to_owned(), json!(namespace));
    metadata.insert("uid".to_owned(), json!(Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".to_owned(), json!(now()));
    if resource == Resource::BareMetalHosts {
        metadata.insert("generation".to_owned(), json!(1));
        object.remove("status");
    }
    let object = complete(&key, None, object)?;
    Ok((key, object))
}

/// An object as it will be stored in place of `old`, and whether that changes anything. `resourceVersion` in it is a
/// precondition.
pub(super) fn changed_object(
    key: &ObjectKey,
    old: &Value,
    body: Value,
    part: Part,
    unconditional: bool,
) -> Result<Value, Failure> {
    let Value::Object(mut object) = body else {
        return Err(Failure::bad_request(
            "the body of the request is not a JSON object",
        ));
    };
    check_type(key.resource, &mut object)?;
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else {
        return Err(Failure::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            key.name
        )));
    };
    if metadata.get("name").is_none_or(|name| name != &key.name) {
        let found = metadata
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let message = format!(
            "the name of the object ({found}) does not match the name on the URL ({})",
            key.name
        );
        return Err(Failure::bad_request(message));
    }
    check_own_namespace(metadata, &key.namespace)?;
    match metadata
        .get("resourceVersion")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        "" if unconditional => {}
        "" => {
            return Err(Failure::unversioned(key));
        }
        version if version.parse::<u64>().is_err() => {
            return Err(Failure::unexpected(format!(
                "strconv.ParseUint: parsing \"{version}\": invalid syntax"
            )));
        }
        version if version != text(old, "/metadata/resourceVersion") => {
            return Err(Failure::modified(key));
        }
        _ => {}
    }
    let uid = metadata.get("uid").cloned().unwrap_or_default();
    if !uid.is_null() && uid != "" && uid != old["metadata"]["uid"] {
        return Err(Failure::invalid(
            key,
            &[Problem::invalid("metadata.uid", &uid, "field is immutable")],
        ));
    }
    if let Some(deletion) = metadata
        .get("deletionTimestamp")
        .filter(|deletion| **deletion != old["metadata"]["deletionTimestamp"])
    {
        let problem =
            Problem::invalid("metadata.deletionTimestamp", deletion, "field is immutable");
        return Err(Failure::invalid(key, &[problem]));
    }
    check_finalizers_in_deletion(key, old, metadata)?;
    for field in SERVER_SET
        .iter()
        .chain(&["uid", "namespace", "resourceVersion"])
    {
        match old["metadata"].get(*field) {
            Some(value) => metadata.insert((*field).to_owned(), value.clone()),
            None => metadata.remove(*field),
        };
    }
    if key.resource == Resource::BareMetalHosts {
        keep_the_other_part(&mut object, old, part);
    }
    if part == Part::Status {
        let problems = schema::complete_host(&mut object);
        return if problems.is_empty() {
            Ok(Value::Object(object))
        } else {
            Err(Failure::invalid(key, &problems))
        };
    }
    let mut object = complete(key, Some(old), object)?;
    if key.resource == Resource::BareMetalHosts && object["spec"] != old["spec"] {
        raise_generation(&mut object);
    }
    Ok(object)
}

/// Counts one change of what is wanted.
pub(super) fn raise_generation(object: &mut Value) {
    let generation = object["metadata"]["generation"]
        .as_u64()
        .unwrap_or_default();
    object["metadata"]["generation"] = json!(generation + 1);
}

fn keep_the_other_part(object: &mut Map<String, Value>, old: &Value, part: Part) {
    let kept: &[&str] = match part {
        Part::Main => &["status"],
        Part::Status => &["spec", "metadata"],
    };
    for field in kept {
        match old.get(*field) {
            Some(value) => object.insert((*field).to_owned(), value.clone()),
            None => object.remove(*field),
        };
    }
}

/// Rules of the kind itself, for new and changed objects alike.
fn complete(
    key: &ObjectKey,
    old: Option<&Value>,
    mut object: Map<String, Value>,
) -> Result<Value, Failure> {
    check_maps_of_text(key, old, &object)?;
    match key.resource {
        Resource::BareMetalHosts => {
            let problems = schema::complete_host(&mut object);
            if !problems.is_empty() {
                return Err(Failure::invalid(key, &problems));
            }
            let object = Value::Object(object);
            ask_the_webhook(old, &object)?;
            Ok(object)
        }
        Resource::Secrets => complete_secret(key, old, object),
        Resource::Events => Ok(Value::Object(object)),
    }
}

/// The validating webhook of Metal3's operator (`baremetalhost_validation.go`), as far as Bellhop can meet it.
fn ask_the_webhook(old: Option<&Value>, host: &Value) -> Result<(), Failure> {
    let deny = |why: &str| Err(Failure::denied_by_webhook("baremetalhost.metal3.io", why));
    if flag(host, "/spec/disablePowerOff") && !flag(host, "/spec/online") {
        return deny(
            "node can't simultaneously have online set to false and have power off disabled",
        );
    }
    let url = text(host, "/spec/image/url");
    if host.pointer("/spec/image").is_some() && !url.starts_with('/') && !url.contains(':') {
        return deny(&format!(
            "image URL {url} is invalid: parse \"{url}\": invalid URI for request"
        ));
    }
    let Some(old) = old else { return Ok(()) };
    let bmc = text(old, "/spec/bmc/address");
    if !bmc.is_empty() && bmc != text(host, "/spec/bmc/address") && is_registered(old) {
        return deny(
            "BMC address can not be changed if the BMH is not in the Registering state, or if the BMH is not detached",
        );
    }
    Ok(())
}

/// Whether the host is past the point where access to its management controller may still be corrected.
fn is_registered(host: &Value) -> bool {
    text(host, "/status/provisioning/state") != "registering"
        && text(host, "/status/operationalStatus") != "detached"
}

fn complete_secret(
    key: &ObjectKey,
    old: Option<&Value>,
    mut secret: Map<String, Value>,
) -> Result<Value, Failure> {
    secret.retain(|field, _| {
        matches!(
            field.as_str(),
            "apiVersion" | "kind" | "metadata" | "type" | "data" | "stringData" | "immutable"
        )
    });
    if let Some(Value::Object(plain)) = secret.remove("stringData") {
        let data = secret.entry("data").or_insert_with(|| json!({}));
        for (name, value) in plain {
            let Some(value) = value.as_str() else {
                return Err(Failure::bad_request(format!(
                    "stringData.{name} is not a string"
                )));
            };
            data[name] = json!(BASE64.encode(value));
        }
    }
    if let Some(Value::Object(data)) = secret.get("data") {
        for (name, value) in data {
            if value
                .as_str()
                .is_none_or(|value| BASE64.decode(value).is_err())
            {
                return Err(Failure::bad_request(format!(
                    "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data in {name}"
                )));
            }
            if !is_config_key(name) {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  \
                           or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                let problem = Problem::invalid(format!("data[{name}]"), &json!(name), why);
                return Err(Failure::invalid(key, &[problem]));
            }
        }
    }
    secret.entry("type").or_insert_with(|| json!("Opaque"));
    if let Some(old) = old {
        if old["type"] != secret["type"] {
            let problem = Problem::invalid("type", &secret["type"], "field is immutable");
            return Err(Failure::invalid(key, &[problem]));
        }
        if flag(old, "/immutable") && old.get("data") != secret.get("data") {
            let message = "Forbidden: field is immutable when `immutable` is set".to_owned();
            let problem = Problem {
                field: "data".to_owned(),
                reason: "FieldValueForbidden",
                message,
            };
            return Err(Failure::invalid(key, &[problem]));
        }
    }
    Ok(Value::Object(secret))
}

fn is_config_key(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// The kind in the body is that of the URL; missing ones are filled in.
fn check_type(resource: Resource, object: &mut Map<String, Value>) -> Result<(), Failure> {
    for (field, expected) in [
        ("apiVersion", resource.api_version()),
        ("kind", resource.kind()),
    ] {
        let found = object.entry(field).or_insert_with(|| json!(expected));
        if found == expected {
            continue;
        }
        let found = found.as_str().unwrap_or_default().to_owned();
        if field == "kind" && resource == Resource::BareMetalHosts {
            let name = object
                .get("metadata")
                .map_or("", |metadata| text(metadata, "/name"));
            return Err(Failure::wrong_kind(&found, name));
        }
        let what = if field == "kind" {
            "kind"
        } else {
            "API version"
        };
        return Err(Failure::bad_request(format!(
            "the {what} in the data ({found}) does not match the expected {what} ({expected})"
        )));
    }
    Ok(())
}
