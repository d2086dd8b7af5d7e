//! What the sender hears. Short: it keeps the answer in a column of 4000 characters.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use bellhop_domain::id::DeliveryId;
use bellhop_reservation_system::{EventType, Unreadable, cut};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::body::BodyRefused;
use crate::classification::NoAction;
use crate::problem::Problem;

/// The longest name from a body that an answer repeats, in UTF-16 units.
const NAME_LIMIT: usize = 100;
/// The longest user id that an answer repeats, in UTF-16 units. Real ones are UUIDs.
const USER_ID_LIMIT: usize = 200;
/// After how long a sender may try again that was told 503. None does; a proxy or a person might.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// One answer for each way that a request can go.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// 202: stored, and something will be done.
    Accepted {
        event_type: EventType,
        resource: String,
        user_id: Option<String>,
        receipt: Receipt,
    },
    /// 200: stored, and nothing is to be done now.
    NoAction(NoAction),
    /// 200: the broker has it already.
    Duplicate {
        user_id: Option<String>,
        receipt: Receipt,
    },
    /// 422, or 202 for a form that real senders are known to use: kept as a dead letter.
    DeadLetter {
        unreadable: Unreadable,
        receipt: Receipt,
    },
    /// 401: one body for every reason, so that nothing can be learned from it.
    Unauthorized,
    /// 413, 408 or 400: the body was not taken.
    BodyRefused(BodyRefused),
    /// 413: the broker takes no message of this size.
    TooLargeForBroker,
    /// 503: not known to be stored.
    NotStored,
}

/// Where to look for what was stored.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) delivery_id: DeliveryId,
    pub(crate) trace_id: Option<String>,
}

impl Answer {
    /// What became of the request, from a small fixed set: for metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::NoAction(_) => "no_action",
            Self::Duplicate { .. } => "duplicate",
            Self::DeadLetter { .. } => "dead_letter",
            Self::Unauthorized => "unauthorized",
            Self::BodyRefused(BodyRefused::TooLarge { .. }) | Self::TooLargeForBroker => {
                "too_large"
            }
            Self::BodyRefused(BodyRefused::TooSlow { .. }) => "too_slow",
            Self::BodyRefused(BodyRefused::CutOff) => "cut_off",
            Self::NotStored => "not_stored",
        }
    }
}

/// The body of a 2xx about something that was stored for later.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Success<'a> {
    status: &'static str,
    message: &'a str,
    user_id: Option<Cow<'a, str>>,
    delivery_id: &'a str,
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// The body of a 200 where nothing is to be done, as the service that Bellhop replaces has it.
#[derive(Serialize)]
struct Done {
    status: &'static str,
    message: String,
}

impl<'a> Success<'a> {
    fn new(message: &'a str, user_id: Option<&'a str>, receipt: &'a Receipt) -> Self {
        Self {
            status: "success",
            message,
            user_id: user_id.map(|user_id| cut(user_id, USER_ID_LIMIT)),
            delivery_id: receipt.delivery_id.as_str(),
            trace_id: receipt.trace_id.as_deref(),
            duplicate: false,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match &self {
            Self::Accepted {
                event_type,
                resource,
                user_id,
                receipt,
            } => {
                let message = format!("Accepted {} of '{}'.", noun(event_type), short(resource));
                let body = Success::new(&message, user_id.as_deref(), receipt);
                (StatusCode::ACCEPTED, Json(body)).into_response()
            }
            Self::NoAction(why) => {
                let body = Done {
                    status: "success",
                    message: no_action_message(why),
                };
                (StatusCode::OK, Json(body)).into_response()
            }
            Self::Duplicate { user_id, receipt } => {
                let message = "Received before: nothing changes.";
                let body = Success {
                    duplicate: true,
                    ..Success::new(message, user_id.as_deref(), receipt)
                };
                (StatusCode::OK, Json(body)).into_response()
            }
            Self::DeadLetter {
                unreadable,
                receipt,
            } if unreadable.is_known_form() => {
                let message = format!("Kept for an operator: {unreadable}.");
                let body = Success::new(&message, None, receipt);
                (StatusCode::ACCEPTED, Json(body)).into_response()
            }
            Self::DeadLetter {
                unreadable,
                receipt,
            } => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("{unreadable}; it is kept for an operator"),
            )
            .field(unreadable.field())
            .stored_as(receipt.delivery_id.as_str(), receipt.trace_id.as_deref())
            .into_response(),
            Self::Unauthorized => {
                Problem::new(StatusCode::UNAUTHORIZED, "Invalid webhook signature").into_response()
            }
            Self::BodyRefused(refused) => closing(Problem::new(
                match refused {
                    BodyRefused::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    BodyRefused::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
                    BodyRefused::CutOff => StatusCode::BAD_REQUEST,
                },
                refused.to_string(),
            )),
            Self::TooLargeForBroker => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is larger than the broker takes",
            )
            .into_response(),
            Self::NotStored => {
                let problem = Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the webhook can't be stored now: send it again later",
                );
                let mut response = problem.into_response();
                response.headers_mut().insert(
                    header::RETRY_AFTER,
                    HeaderValue::from(RETRY_AFTER.as_secs()),
                );
                response
            }
        }
    }
}

/// An answer after which the connection can't go on: part of the body is still on its way.
fn closing(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn noun(event_type: &EventType) -> &'static str {
    match event_type {
        EventType::EventStart => "the start of a reservation",
        EventType::EventEnd => "the end of a reservation",
        EventType::EventUpdated => "a change of a reservation",
        EventType::EventDeleted => "the deletion of a reservation",
        _ => "an event",
    }
}

fn no_action_message(why: &NoAction) -> String {
    match why {
        NoAction::ResourceType(Some(name)) => {
            format!("No action needed for resource type '{}'.", short(name))
        }
        NoAction::ResourceType(None) => {
            "No action needed for a resource without a type.".to_owned()
        }
        NoAction::Site(Some(id)) => format!("No action needed for site '{}'.", short(id)),
        NoAction::Site(None) => "No action needed for a resource without a site.".to_owned(),
        NoAction::EventType(name) => format!("No action needed for event type '{}'.", short(name)),
        NoAction::Test => "No action needed for the test: it arrived and is stored.".to_owned(),
    }
}

fn short(name: &str) -> Cow<'_, str> {
    cut(name, NAME_LIMIT)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_fits_the_senders_column_whatever_the_body_named() {
        // What JSON writes as six characters, and more of it than is ever repeated.
        let endless = "\u{1}".repeat(100_000);
        let receipt = Receipt {
            delivery_id: DeliveryId::new("i".repeat(180)),
            trace_id: Some("0".repeat(32)),
        };
        for answer in [
            Answer::Accepted {
                event_type: EventType::EventStart,
                resource: endless.clone(),
                user_id: Some(endless.clone()),
                receipt: receipt.clone(),
            },
            Answer::Duplicate {
                user_id: Some(endless.clone()),
                receipt,
            },
            Answer::NoAction(NoAction::ResourceType(Some(endless.clone()))),
            Answer::NoAction(NoAction::EventType(endless)),
        ] {
            let body = answer.into_response().into_body();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            assert!(body.len() < 3000, "{}", body.len());
        }
    }
}
