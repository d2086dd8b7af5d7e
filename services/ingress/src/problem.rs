//! Errors as `application/problem+json` (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Serialize;

/// The content type of every error.
pub(crate) const CONTENT_TYPE: &str = "application/problem+json";

/// What is wrong with a request. Never a text of the request itself.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

impl Problem {
    /// A problem of this status; `detail` says what to know or do.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status,
            detail: detail.into(),
            field: None,
            delivery_id: None,
            trace_id: None,
        }
    }

    /// The field that is wrong.
    pub(crate) fn field(mut self, field: Option<&'static str>) -> Self {
        self.field = field;
        self
    }

    /// Where to look for what was stored.
    pub(crate) fn stored_as(mut self, delivery_id: &str, trace_id: Option<&str>) -> Self {
        self.delivery_id = Some(delivery_id.to_owned());
        self.trace_id = trace_id.map(str::to_owned);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body =
            serde_json::to_vec(&self).expect("a problem holds nothing but texts and numbers");
        (self.status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
    }
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

/// There is nothing at this path.
pub(crate) async fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is nothing here: webhooks go to POST /webhook or POST /webhook/{webhook_id}",
    )
}

/// There is something at this path, but for another method.
pub(crate) async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path takes another method, see the header Allow",
    )
}
