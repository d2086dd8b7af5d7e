//! The rules of metadata, the same for all kinds.

use serde_json::{Map, Value, json};

use super::failure::{Failure, Problem};
use super::resource::ObjectKey;

/// What is being deleted takes no new finalizers.
pub(super) fn check_finalizers_in_deletion(
    key: &ObjectKey,
    old: &Value,
    metadata: &Map<String, Value>,
) -> Result<(), Failure> {
    if old["metadata"].get("deletionTimestamp").is_none() {
        return Ok(());
    }
    let all = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let known = all(old["metadata"].get("finalizers"));
    let new: Vec<String> = all(metadata.get("finalizers"))
        .into_iter()
        .filter(|finalizer| !known.contains(finalizer))
        .map(|finalizer| finalizer.to_string())
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let message = format!(
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        new.join(", ")
    );
    let problem = Problem {
        field: "metadata.finalizers".to_owned(),
        reason: "FieldValueForbidden",
        message,
    };
    Err(Failure::invalid(key, &[problem]))
}

pub(super) fn check_own_namespace(
    metadata: &Map<String, Value>,
    namespace: &str,
) -> Result<(), Failure> {
    match metadata.get("namespace").and_then(Value::as_str) {
        None | Some("") => Ok(()),
        Some(found) if found == namespace => Ok(()),
        Some(_) => Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

/// An RFC 1123 subdomain: the rule for names of all three kinds.
pub(super) fn check_name(key: &ObjectKey) -> Result<(), Failure> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| inner(byte) && byte != b'-');
    let label = |label: &str| {
        edge(label.bytes().next()) && edge(label.bytes().last()) && label.bytes().all(inner)
    };
    if key.name.len() <= 253 && key.name.split('.').all(label) {
        return Ok(());
    }
    let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
               start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
               '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    Err(Failure::invalid(
        key,
        &[Problem::invalid("metadata.name", &json!(key.name), why)],
    ))
}

pub(super) fn check_maps_of_text(
    key: &ObjectKey,
    old: Option<&Value>,
    object: &Map<String, Value>,
) -> Result<(), Failure> {
    for field in ["labels", "annotations"] {
        let Some(map) = object
            .get("metadata")
            .and_then(|metadata| metadata.get(field))
            .filter(|map| !map.is_null())
        else {
            continue;
        };
        let Some(map) = map.as_object() else {
            let why = unmarshal(map, field, "map[string]string");
            return Err(Failure::unreadable(key, old, object, &why));
        };
        if let Some(value) = map.values().find(|value| !value.is_string()) {
            let why = unmarshal(value, field, "string");
            return Err(Failure::unreadable(key, old, object, &why));
        }
        for name in map.keys() {
            let part = name
                .rsplit_once('/')
                .map_or(name.as_str(), |(_, part)| part);
            if !is_qualified(part) {
                let why = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                           with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                           validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
                let problem = Problem::invalid(format!("metadata.{field}"), &json!(name), why);
                return Err(Failure::invalid(key, &[problem]));
            }
        }
    }
    Ok(())
}

/// What Go says of a value that does not fit.
fn unmarshal(value: &Value, field: &str, wanted: &str) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!(
        "json: cannot unmarshal {found} into Go struct field ObjectMeta.{field} of type {wanted}"
    )
}

/// The part after the slash of a label's or an annotation's name.
fn is_qualified(part: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    part.len() <= 63
        && edge(part.bytes().next())
        && edge(part.bytes().last())
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
