//! The checks of the two callback endpoints, in the real one's order, with its answers.
//!
//! ```text
//!  an Authorization header ─▶ 401     the real one takes it for a user's token
//!  no signature            ─▶ 401     "Missing signature header"
//!  not JSON, or a field that isn't known, or of a type that can't be made to fit ─▶ 400
//!  a required field missing or blank ─▶ 400
//!  unknown or disabled webhook, or one without a secret, or a wrong signature ─▶ 401 "Invalid signature"
//!  the work: an unknown user or a text too long ─▶ 500; an unknown resource ─▶ 404
//! ```

use axum::http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fault::Endpoint;
use super::model::{EventType, Webhook};
use super::record::{Notification, WebhookLog};
use super::signature::signature_of;
use super::state::State;

const SIGNATURE_HEADER: &str = "x-webhook-signature";
/// Java's `String.length()`, which counts UTF-16 code units.
const MESSAGE_LIMIT: usize = 500;
const LOG_TEXT_LIMIT: usize = 4000;

/// What the endpoint answers.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

impl Reply {
    fn refused(status: StatusCode, message: &str) -> Self {
        Self {
            status,
            body: json!({"success": false, "message": message}).to_string(),
        }
    }

    fn failed(endpoint: Endpoint) -> Self {
        let what = match endpoint {
            Endpoint::Notifications => "notification",
            Endpoint::WebhookLog => "log",
        };
        let message = format!("An error occurred while processing the webhook {what}");
        Self::refused(StatusCode::INTERNAL_SERVER_ERROR, &message)
    }

    /// The answer to a fault that is injected.
    pub(super) fn internal_error() -> Self {
        Self::refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            "An unexpected error occurred",
        )
    }

    /// The answer to a fault that is injected: some proxy in between.
    pub(super) fn too_many_requests() -> Self {
        Self::refused(StatusCode::TOO_MANY_REQUESTS, "Too many requests")
    }
}

/// Checks one callback and does its work.
pub(super) fn handle(
    state: &mut State,
    endpoint: Endpoint,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Reply {
    judge(state, endpoint, headers, body, now).unwrap_or_else(|refusal| refusal)
}

fn judge(
    state: &mut State,
    endpoint: Endpoint,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Reply, Reply> {
    if headers.contains_key(header::AUTHORIZATION) {
        return Err(Reply {
            status: StatusCode::UNAUTHORIZED,
            body: String::new(),
        });
    }
    let signature = text_header(headers, SIGNATURE_HEADER)
        .filter(|signature| !signature.is_empty())
        .ok_or_else(|| Reply::refused(StatusCode::UNAUTHORIZED, "Missing signature header"))?;
    let invalid = || Reply::refused(StatusCode::BAD_REQUEST, "Invalid JSON payload");
    // Without a JSON content type the real one decodes the body as ISO 8859-1: what isn't ASCII won't verify.
    let is_json = text_header(headers, "content-type")
        .is_some_and(|value| value.starts_with("application/json"));
    let text = if is_json {
        String::from_utf8_lossy(body).into_owned()
    } else {
        body.iter().map(|&b| b as char).collect()
    };
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&text) else {
        return Err(invalid());
    };
    let fields = Fields(object);
    match endpoint {
        Endpoint::Notifications => {
            let request = NotificationRequest::of(&fields).ok_or_else(invalid)?;
            let (webhook_id, user_id, message) = request.required().ok_or_else(required_missing)?;
            let webhook_id = check_signature(state, webhook_id, &signature, &text)?.id;
            if !state.users.contains_key(user_id) || length(message) > MESSAGE_LIMIT {
                return Err(Reply::failed(endpoint));
            }
            let notification = Notification {
                id: state.notifications.len() as u64 + 1,
                at: now,
                webhook_id,
                user_id: user_id.to_owned(),
                message: message.to_owned(),
                kind: notification_type(request.kind.as_deref()).to_owned(),
                event_id: request.event_id.clone(),
                resource_id: request.resource_id.clone(),
                event_type: request.event_type.clone(),
                metadata: request.metadata.clone(),
                traceparent: text_header(headers, "traceparent"),
            };
            let reply = json!({
                "id": notification.id, "message": notification.message, "type": notification.kind, "read": false,
                "createdAt": now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            });
            state.notifications.push(notification);
            Ok(Reply {
                status: StatusCode::OK,
                body: reply.to_string(),
            })
        }
        Endpoint::WebhookLog => {
            let request = LogRequest::of(&fields).ok_or_else(invalid)?;
            let (webhook_id, event_type, payload, success) =
                request.required().ok_or_else(required_missing)?;
            let webhook = check_signature(state, webhook_id, &signature, &text)?;
            let event_type = EventType::named(event_type)
                .ok_or_else(|| Reply::refused(StatusCode::BAD_REQUEST, "Invalid event type"))?;
            if request
                .resource_id
                .is_some_and(|id| !state.resources.contains_key(&id))
            {
                return Err(Reply::refused(StatusCode::NOT_FOUND, "Resource not found"));
            }
            let response_length = request.response.as_deref().map_or(0, length);
            if length(payload) > LOG_TEXT_LIMIT || response_length > LOG_TEXT_LIMIT {
                return Err(Reply::failed(endpoint));
            }
            let log = WebhookLog {
                id: state.webhook_logs.len() as u64 + 1,
                at: now,
                webhook_id: webhook.id,
                event_type: event_type.name().to_owned(),
                payload: payload.to_owned(),
                success,
                status_code: request.status_code,
                response: request.response.clone(),
                retry_count: request.retry_count.unwrap_or(0),
                resource_id: request.resource_id,
                metadata: request.metadata.clone(),
                traceparent: text_header(headers, "traceparent"),
            };
            let reply = stored_log(&log, &webhook);
            state.webhook_logs.push(log);
            Ok(Reply {
                status: StatusCode::CREATED,
                body: reply.to_string(),
            })
        }
    }
}

fn required_missing() -> Reply {
    Reply::refused(StatusCode::BAD_REQUEST, "Missing required fields")
}

/// The stored row as the real one answers it: with the whole webhook in it, its secret too.
fn stored_log(log: &WebhookLog, webhook: &Webhook) -> Value {
    json!({
        "id": log.id,
        "webhook": {"id": webhook.id, "url": webhook.url, "enabled": webhook.enabled, "secret": webhook.secret},
        "eventType": log.event_type, "payload": log.payload, "statusCode": log.status_code,
        "response": log.response, "success": log.success, "retryCount": log.retry_count,
    })
}

fn check_signature(
    state: &State,
    webhook_id: &str,
    signature: &str,
    text: &str,
) -> Result<Webhook, Reply> {
    let expected = |webhook: &Webhook| {
        let secret = webhook
            .secret
            .as_deref()
            .filter(|secret| !secret.is_empty())?;
        Some(signature_of(secret, text.as_bytes()))
    };
    webhook_id
        .parse::<u64>()
        .ok()
        .and_then(|id| state.webhooks.get(&id))
        .filter(|webhook| webhook.enabled && expected(webhook).as_deref() == Some(signature))
        .cloned()
        .ok_or_else(|| Reply::refused(StatusCode::UNAUTHORIZED, "Invalid signature"))
}

fn notification_type(kind: Option<&str>) -> &'static str {
    let kind = kind.unwrap_or_default().trim().to_ascii_uppercase();
    ["INFO", "SUCCESS", "WARNING", "ERROR"]
        .into_iter()
        .find(|known| *known == kind)
        .unwrap_or("INFO")
}

fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn not_blank(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str)
        .filter(|text| !text.trim().is_empty())
}

struct NotificationRequest {
    webhook_id: Option<String>,
    user_id: Option<String>,
    message: Option<String>,
    kind: Option<String>,
    event_id: Option<String>,
    resource_id: Option<String>,
    event_type: Option<String>,
    metadata: Option<Value>,
}

impl NotificationRequest {
    const KNOWN: [&str; 8] = [
        "webhookId",
        "userId",
        "message",
        "type",
        "eventId",
        "resourceId",
        "eventType",
        "metadata",
    ];

    fn of(fields: &Fields) -> Option<Self> {
        fields.are_all_in(&Self::KNOWN).then_some(())?;
        Some(Self {
            webhook_id: fields.text("webhookId")?,
            user_id: fields.text("userId")?,
            message: fields.text("message")?,
            kind: fields.text("type")?,
            event_id: fields.text("eventId")?,
            resource_id: fields.text("resourceId")?,
            event_type: fields.text("eventType")?,
            metadata: fields.get("metadata").cloned(),
        })
    }

    fn required(&self) -> Option<(&str, &str, &str)> {
        Some((
            not_blank(self.webhook_id.as_ref())?,
            not_blank(self.user_id.as_ref())?,
            not_blank(self.message.as_ref())?,
        ))
    }
}

struct LogRequest {
    webhook_id: Option<String>,
    event_type: Option<String>,
    payload: Option<String>,
    success: Option<bool>,
    status_code: Option<i64>,
    response: Option<String>,
    retry_count: Option<i64>,
    resource_id: Option<i64>,
    metadata: Option<Value>,
}

impl LogRequest {
    const KNOWN: [&str; 9] = [
        "webhookId",
        "eventType",
        "payload",
        "success",
        "statusCode",
        "response",
        "retryCount",
        "resourceId",
        "metadata",
    ];

    fn of(fields: &Fields) -> Option<Self> {
        fields.are_all_in(&Self::KNOWN).then_some(())?;
        Some(Self {
            webhook_id: fields.text("webhookId")?,
            event_type: fields.text("eventType")?,
            payload: fields.text("payload")?,
            success: fields.boolean("success")?,
            status_code: fields.number("statusCode")?,
            response: fields.text("response")?,
            retry_count: fields.number("retryCount")?,
            resource_id: fields.number("resourceId")?,
            metadata: fields.get("metadata").cloned(),
        })
    }

    fn required(&self) -> Option<(&str, &str, &str, bool)> {
        Some((
            not_blank(self.webhook_id.as_ref())?,
            not_blank(self.event_type.as_ref())?,
            not_blank(self.payload.as_ref())?,
            self.success?,
        ))
    }
}

/// Fields as the real one's JSON library makes them fit: numbers and truth values become text, text becomes a number
/// where it is one. The outer `None` is what can't be made to fit, the inner one what is missing or null.
struct Fields(Map<String, Value>);

impl Fields {
    fn are_all_in(&self, known: &[&str]) -> bool {
        self.0.keys().all(|name| known.contains(&name.as_str()))
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Option<Option<String>> {
        match self.get(name) {
            None => Some(None),
            Some(Value::String(text)) => Some(Some(text.clone())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(Some(value.to_string())),
            Some(_) => None,
        }
    }

    fn number(&self, name: &str) -> Option<Option<i64>> {
        match self.get(name) {
            None => Some(None),
            Some(Value::Number(number)) => Some(Some(number.as_i64()?)),
            Some(Value::String(text)) if text.trim().is_empty() => Some(None),
            Some(Value::String(text)) => Some(Some(text.trim().parse().ok()?)),
            Some(_) => None,
        }
    }

    fn boolean(&self, name: &str) -> Option<Option<bool>> {
        match self.get(name) {
            None => Some(None),
            Some(Value::Bool(value)) => Some(Some(*value)),
            Some(Value::Number(number)) => Some(Some(number.as_i64()? != 0)),
            Some(Value::String(text)) => match text.trim() {
                "true" | "True" | "TRUE" => Some(Some(true)),
                "false" | "False" | "FALSE" => Some(Some(false)),
                "" => Some(None),
                _ => None,
            },
            Some(_) => None,
        }
    }
}
