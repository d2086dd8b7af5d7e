//! `/openapi.json`: what can be asked of the ingress, for programs and people.

use axum::Json;
use serde_json::{Value, json};

use crate::problem;

/// `GET /openapi.json`.
pub(crate) async fn page() -> Json<Value> {
    Json(document())
}

/// The OpenAPI document.
pub(crate) fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bellhop ingress",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Receives the webhooks of the reservation system and stores each one durably before it answers.",
        },
        "paths": {
            "/webhook": { "post": webhook("Receives a webhook", &json!([signature()])) },
            "/webhook/{webhook_id}": {
                "post": webhook(
                    "Receives a webhook of this id: its secret must have signed it, and a body that names an id must name this one",
                    &json!([
                        { "name": "webhook_id", "in": "path", "required": true, "schema": { "$ref": "#/components/schemas/WebhookId" } },
                        signature(),
                    ]),
                ),
            },
            "/openapi.json": get("This document", &[("200", "This document", "application/json")]),
            "/livez": get("Liveness", &[("200", "The process answers", "text/plain")]),
            "/readyz": readyz(),
            "/healthz": get("What the service that Bellhop replaces answers", &[("200", "Always the same", "application/json")]),
            "/metrics": get("Metrics for Prometheus", &[("200", "OpenMetrics text", "application/openmetrics-text")]),
        },
        "components": { "schemas": schemas() },
    })
}

fn webhook(summary: &str, parameters: &Value) -> Value {
    json!({
        "summary": summary,
        "parameters": parameters,
        "requestBody": {
            "required": true,
            "description": "What is signed is read as JSON, whatever its content type says.",
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Webhook" } } },
        },
        "responses": {
            "200": answer(
                "Stored, and nothing is to be done now; or received before (then with `duplicate`)",
                &json!({ "oneOf": [{ "$ref": "#/components/schemas/NoAction" }, { "$ref": "#/components/schemas/Accepted" }] }),
            ),
            "202": answer(
                "Stored, and something will be done; or kept for an operator (legacy batch, degraded data)",
                &json!({ "$ref": "#/components/schemas/Accepted" }),
            ),
            "400": problem("The body ended too early"),
            "401": problem("Not signed by a secret of the webhook that it names"),
            "408": problem("The body came too slowly"),
            "413": problem("The body is too large"),
            "422": problem("Verified, but it can't be read; it is kept for an operator, and `field` names what is wrong"),
            "503": with_retry_after(problem("Not known to be stored: it may still be. Sending it again is safe")),
        },
    })
}

fn signature() -> Value {
    json!({
        "name": "X-Webhook-Signature",
        "in": "header",
        "required": true,
        "description": "HMAC-SHA256 over the exact bytes of the body, with the secret's text as key: Base64 with padding, or hexadecimal with or without `sha256=`.",
        "schema": { "type": "string" },
    })
}

fn answer(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

fn problem(description: &str) -> Value {
    json!({
        "description": description,
        "content": { (problem::CONTENT_TYPE): { "schema": { "$ref": "#/components/schemas/Problem" } } },
    })
}

fn with_retry_after(mut response: Value) -> Value {
    response["headers"] = json!({
        "Retry-After": { "description": "Seconds", "schema": { "type": "integer" } },
    });
    response
}

fn get(summary: &str, answers: &[(&str, &str, &str)]) -> Value {
    let responses: serde_json::Map<String, Value> = answers
        .iter()
        .map(|(status, description, content_type)| {
            let response =
                json!({ "description": description, "content": { (*content_type): {} } });
            ((*status).to_owned(), response)
        })
        .collect();
    json!({ "get": { "summary": summary, "responses": responses } })
}

fn readyz() -> Value {
    let mut path = get(
        "Readiness: whether a webhook could be stored now",
        &[
            ("200", "Ready", "text/plain"),
            ("503", "Not ready, with the reason", "text/plain"),
        ],
    );
    path["get"]["parameters"] = json!([
        { "name": "verbose", "in": "query", "allowEmptyValue": true, "description": "Lists each dependency, the alarms and what is shown", "schema": { "type": "string" } },
    ]);
    path
}

fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let text_or_null = || json!({ "type": ["string", "null"] });
    json!({
        "WebhookId": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
        "Webhook": {
            "type": "object",
            "required": ["eventType", "webhookId"],
            "description": "Flat for EVENT_START and EVENT_END (with eventId, eventStart, eventEnd, resourceName, resourceType), nested under `data` for everything else.",
            "properties": {
                "eventType": text(),
                "webhookId": { "oneOf": [{ "type": "integer" }, { "$ref": "#/components/schemas/WebhookId" }] },
                "timestamp": { "type": "string", "format": "date-time" },
                "eventId": { "type": ["string", "integer"] },
                "eventStart": { "type": "string", "format": "date-time" },
                "eventEnd": { "type": "string", "format": "date-time" },
                "resourceName": text(),
                "resourceType": text(),
                "data": { "type": "object" },
            },
        },
        "Accepted": {
            "type": "object",
            "required": ["status", "message", "userId", "deliveryId", "traceId"],
            "properties": {
                "status": { "const": "success" },
                "message": text(),
                "userId": text_or_null(),
                "deliveryId": text(),
                "traceId": text_or_null(),
                "duplicate": { "type": "boolean", "description": "There, and true, if it was received before" },
            },
        },
        "NoAction": {
            "type": "object",
            "required": ["status", "message"],
            "properties": { "status": { "const": "success" }, "message": text() },
        },
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": text(),
                "title": text(),
                "status": { "type": "integer" },
                "detail": text(),
                "field": text(),
                "deliveryId": text(),
                "traceId": text(),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::response::IntoResponse as _;
    use bellhop_domain::id::DeliveryId;
    use bellhop_reservation_system::{EventType, Unreadable};

    use super::*;
    use crate::answer::{Answer, Receipt};
    use crate::body::BodyRefused;
    use crate::classification::NoAction;

    /// One of each kind of answer. A new kind does not compile until it is listed here.
    fn answers() -> Vec<Answer> {
        let receipt = Receipt {
            delivery_id: DeliveryId::new("id"),
            trace_id: None,
        };
        let user_id = None;
        let answers = vec![
            Answer::Accepted {
                event_type: EventType::EventStart,
                resource: "node04".to_owned(),
                user_id: user_id.clone(),
                receipt: receipt.clone(),
            },
            Answer::NoAction(NoAction::Test),
            Answer::Duplicate {
                user_id,
                receipt: receipt.clone(),
            },
            Answer::DeadLetter {
                unreadable: Unreadable::Batch,
                receipt: receipt.clone(),
            },
            Answer::DeadLetter {
                unreadable: Unreadable::NotJson,
                receipt,
            },
            Answer::Unauthorized,
            Answer::BodyRefused(BodyRefused::TooLarge { limit: 1 }),
            Answer::BodyRefused(BodyRefused::TooSlow {
                limit: Duration::ZERO,
            }),
            Answer::BodyRefused(BodyRefused::CutOff),
            Answer::TooLargeForBroker,
            Answer::NotStored,
        ];
        for answer in &answers {
            match answer {
                Answer::Accepted { .. }
                | Answer::NoAction(_)
                | Answer::Duplicate { .. }
                | Answer::DeadLetter { .. }
                | Answer::Unauthorized
                | Answer::BodyRefused(_)
                | Answer::TooLargeForBroker
                | Answer::NotStored => {}
            }
        }
        answers
    }

    #[test]
    fn every_answer_is_in_the_document_and_nothing_else() {
        let document = document();
        let statuses: std::collections::BTreeSet<String> = answers()
            .into_iter()
            .map(|answer| answer.into_response().status().as_str().to_owned())
            .collect();
        for path in ["/webhook", "/webhook/{webhook_id}"] {
            let responses = document["paths"][path]["post"]["responses"].as_object();
            let listed = responses
                .map(|responses| responses.keys().cloned().collect())
                .unwrap_or_default();
            assert_eq!(statuses, listed, "{path}");
        }
    }

    /// Every `$ref` of a document.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    match value {
                        Value::String(target) if key == "$ref" => found.push(target.clone()),
                        value => references(value, found),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn everything_that_the_document_refers_to_is_in_it() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for target in found {
            let pointer = target.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }
}
