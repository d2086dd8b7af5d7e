//! Errors as the API server answers them: a `Status` object with code, reason, message and details.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::resource::{ObjectKey, Resource};

/// A refused request, as the API server would have answered it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Failure {
    /// HTTP status.
    pub code: u16,
    /// The machine's word for it: `NotFound`, `Conflict`, `Invalid`, …
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// The `details` of the Status object; null where there are none.
    pub details: Value,
    /// The message is answered as it is, without a Status object.
    plain: bool,
}

impl Failure {
    /// A failure without details.
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
            plain: false,
        }
    }

    /// What the API server did not foresee, in its own words: no reason, 500.
    pub(super) fn unexpected(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// A custom resource is changed without saying which version.
    pub(super) fn unversioned(key: &ObjectKey) -> Self {
        let why = "must be specified for an update";
        let problem = Problem::invalid("metadata.resourceVersion", &json!(0), why);
        let mut failure = Self::invalid(key, &[problem]);
        failure.message =
            failure
                .message
                .replacen(&key.resource.qualified_kind(), &key.resource.qualified(), 1);
        failure.details["kind"] = json!(key.resource.plural());
        failure
    }

    /// A custom resource of another kind.
    pub(super) fn wrong_kind(kind: &str, name: &str) -> Self {
        let group = Resource::BareMetalHosts.group();
        let why = format!(
            "Invalid value: \"{kind}\": must be {}",
            Resource::BareMetalHosts.kind()
        );
        let mut failure = Self::new(
            422,
            "Invalid",
            format!("{kind}.{group} \"{name}\" is invalid: kind: {why}"),
        );
        failure.details = json!({
            "name": name, "group": group, "kind": kind,
            "causes": [{"field": "kind", "reason": "FieldValueInvalid", "message": why}],
        });
        failure
    }

    /// An object that the API server can't read: of a new one it says 400, of a patched one 422.
    pub(super) fn unreadable(
        key: &ObjectKey,
        old: Option<&Value>,
        object: &serde_json::Map<String, Value>,
        why: &str,
    ) -> Self {
        if old.is_some() {
            let patched = json!(json!(object).to_string());
            return Self::invalid(key, &[Problem::invalid("patch", &patched, why)]);
        }
        let (kind, version) = (key.resource.kind(), key.resource.api_version());
        let version = version.rsplit('/').next().unwrap_or(version);
        Self::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"
        ))
    }

    /// A deletion was asked for on a condition that does not hold.
    pub(super) fn precondition(key: &ObjectKey, what: &str, wanted: &str, found: &str) -> Self {
        let why = match what {
            "UID" => "deleted and then recreated",
            _ => "modified",
        };
        let message = format!(
            "Operation cannot be fulfilled on {} \"{}\": the {what} in the precondition ({wanted}) does not match the {what} \
             in record ({found}). The object might have been {why}",
            key.resource.qualified_kind(),
            key.name
        );
        let mut failure = Self::new(409, "Conflict", message).about(key);
        failure.details["kind"] = json!(key.resource.kind());
        failure
    }

    /// A version that is not there yet.
    pub(super) fn too_large_version(asked: u64, newest: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {newest}");
        let mut failure = Self::new(504, "Timeout", message);
        failure.details = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        });
        failure
    }

    /// 422 about the parameters of a list or watch.
    pub(super) fn invalid_options(field: &str, reason: &str, message: &str) -> Self {
        let mut failure = Self::new(
            422,
            "Invalid",
            format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {message}"),
        );
        failure.details = json!({
            "group": "meta.k8s.io", "kind": "ListOptions",
            "causes": [{"field": field, "reason": reason, "message": message}],
        });
        failure
    }

    fn in_plain_text(mut self) -> Self {
        self.plain = true;
        self
    }

    fn about(mut self, key: &ObjectKey) -> Self {
        self.details = details(key);
        self
    }

    pub(super) fn not_found(key: &ObjectKey) -> Self {
        let message = format!("{} \"{}\" not found", key.resource.qualified(), key.name);
        Self::new(404, "NotFound", message).about(key)
    }

    pub(super) fn already_exists(key: &ObjectKey) -> Self {
        let message = format!(
            "{} \"{}\" already exists",
            key.resource.qualified(),
            key.name
        );
        Self::new(409, "AlreadyExists", message).about(key)
    }

    pub(super) fn conflict(key: &ObjectKey, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{}\": {why}",
            key.resource.qualified(),
            key.name
        );
        Self::new(409, "Conflict", message).about(key)
    }

    /// The conflict of a stale `resourceVersion`.
    pub(super) fn modified(key: &ObjectKey) -> Self {
        Self::conflict(
            key,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422 with one cause for each problem found.
    pub(super) fn invalid(key: &ObjectKey, problems: &[Problem]) -> Self {
        let each: Vec<String> = problems
            .iter()
            .map(|problem| format!("{}: {}", problem.field, problem.message))
            .collect();
        let listed = match each.as_slice() {
            [only] => only.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let message = format!(
            "{} \"{}\" is invalid: {listed}",
            key.resource.qualified_kind(),
            key.name
        );
        let mut failure = Self::new(422, "Invalid", message).about(key);
        failure.details["kind"] = json!(key.resource.kind());
        failure.details["causes"] = problems
            .iter()
            .map(|problem| json!({"reason": problem.reason, "message": problem.message, "field": problem.field}))
            .collect();
        failure
    }

    /// What an admission webhook's refusal becomes.
    pub(super) fn denied_by_webhook(webhook: &str, why: &str) -> Self {
        Self::new(
            403,
            "Forbidden",
            format!("admission webhook \"{webhook}\" denied the request: {why}"),
        )
    }

    /// What the refusal of a ValidatingAdmissionPolicy becomes.
    pub(super) fn denied_by_policy(key: &ObjectKey, why: &str, forbidden: bool) -> Self {
        let message = format!(
            "{} \"{}\" is forbidden: ValidatingAdmissionPolicy 'simulated' with binding 'simulated' denied request: {why}",
            key.resource.qualified(),
            key.name
        );
        let (code, reason) = if forbidden {
            (403, "Forbidden")
        } else {
            (422, "Invalid")
        };
        Self::new(code, reason, message).about(key)
    }

    /// Nothing new is made in a namespace that is being deleted.
    pub(super) fn terminating(key: &ObjectKey) -> Self {
        let message = format!(
            "{} \"{}\" is forbidden: unable to create new content in namespace {} because it is being terminated",
            key.resource.qualified(),
            key.name,
            key.namespace
        );
        Self::new(403, "Forbidden", message).about(key)
    }

    pub(super) fn forbidden(resource: Resource, namespace: &str, name: &str, verb: &str) -> Self {
        let group = resource.group();
        let message = format!(
            "{} \"{name}\" is forbidden: User \"bellhop\" cannot {verb} resource \"{}\" in API group \"{group}\" in the \
             namespace \"{namespace}\"",
            resource.qualified(),
            resource.plural(),
        );
        Self::new(403, "Forbidden", message).about(&ObjectKey::new(resource, namespace, name))
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(super) fn unknown_path() -> Self {
        Self::new(404, "NotFound", "404 page not found\n").in_plain_text()
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    pub(super) fn unsupported_media_type(supported: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {supported}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(super) fn too_many_requests(retry_after_seconds: u64) -> Self {
        let mut failure = Self::new(
            429,
            "TooManyRequests",
            "Too many requests, please try again later.\n",
        )
        .in_plain_text();
        failure.details = json!({"retryAfterSeconds": retry_after_seconds});
        failure
    }

    /// The Status object.
    pub(super) fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = if self.plain {
            (status, self.message.clone()).into_response()
        } else {
            (status, Json(self.to_status())).into_response()
        };
        if let Some(seconds) = self
            .details
            .get("retryAfterSeconds")
            .and_then(Value::as_u64)
        {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// `details` that name an object.
fn details(key: &ObjectKey) -> Value {
    let mut details = json!({"kind": key.resource.plural()});
    if !key.name.is_empty() {
        details["name"] = json!(key.name);
    }
    if !key.resource.group().is_empty() {
        details["group"] = json!(key.resource.group());
    }
    details
}

/// One thing wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// As in `spec.image.url`.
    pub(super) field: String,
    /// `FieldValueInvalid`, `FieldValueRequired`, `FieldValueNotSupported`, `FieldValueTypeInvalid`.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Problem {
    pub(super) fn required(field: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: "FieldValueRequired",
            message: "Required value".to_owned(),
        }
    }

    pub(super) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self {
            field: field.into(),
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {why}"),
        }
    }

    pub(super) fn not_supported(
        field: impl Into<String>,
        value: &Value,
        supported: &[&str],
    ) -> Self {
        let listed: Vec<String> = supported
            .iter()
            .map(|value| format!("\"{value}\""))
            .collect();
        Self {
            field: field.into(),
            reason: "FieldValueNotSupported",
            message: format!(
                "Unsupported value: {value}: supported values: {}",
                listed.join(", ")
            ),
        }
    }

    pub(super) fn wrong_type(field: &str, found: &str, wanted: &str) -> Self {
        Self {
            field: field.to_owned(),
            reason: "FieldValueTypeInvalid",
            message: format!(
                "Invalid value: \"{found}\": {field} in body must be of type {wanted}: \"{found}\""
            ),
        }
    }
}
