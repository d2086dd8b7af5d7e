//! How a process drives the reservation system: JSON over HTTP, never touched by faults.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /simulator/bookings` | all bookings |
//! | `POST /simulator/bookings` | books: `{"resource", "user", "start" or "starts_in_seconds", "end" or "lasts_seconds", "title"?, "custom_parameters"?, "announce"?}` |
//! | `PATCH /simulator/bookings/{id}` | changes and sends `EVENT_UPDATED`: `{"title"?, "start"?, "end"?, "resource"?, "custom_parameters"?}` |
//! | `DELETE /simulator/bookings/{id}` | deletes and sends `EVENT_DELETED` |
//! | `POST /simulator/bookings/{id}/announce`, `/start`, `/end`, `/degraded` | sends that, whatever the time is |
//! | `GET`, `POST /simulator/webhooks` | the webhooks, without secrets; adds or replaces one |
//! | `POST /simulator/webhooks/{id}/test` | presses the test button |
//! | `POST /simulator/webhooks/{id}/send` | sends this body as it is, signed |
//! | `POST /simulator/users`, `/simulator/resources` | adds or replaces one |
//! | `POST /simulator/resources/{id}/updated` | sends `RESOURCE_UPDATED` |
//! | `GET /simulator/notifications`, `/webhook-logs`, `/received`, `/refused`, `/sent` | what was accepted, came, was refused, went out |
//! | `POST`, `DELETE /simulator/faults` | adds a fault, `{"fault": "internal_error", "on"?: "notifications", "times"?: 2}`; removes all |
//!
//! What sends is answered with what came back, one entry per webhook.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::Fault;
use super::model::{BookingChange, NewBooking, Resource, User, Webhook};
use super::record::Sent;
use super::{ReservationSystem, ReservationSystemError as Error};

/// How long a booking lasts where nothing is said.
const USUAL_LENGTH_SECONDS: i64 = 3600;

type Sending = Result<Json<Vec<Sent>>, Error>;

pub(super) fn router() -> Router<ReservationSystem> {
    Router::new()
        .route("/simulator/bookings", get(bookings).post(book))
        .route("/simulator/bookings/{id}", patch(change).delete(delete))
        .route("/simulator/bookings/{id}/announce", post(announce))
        .route("/simulator/bookings/{id}/start", post(start))
        .route("/simulator/bookings/{id}/end", post(end))
        .route("/simulator/bookings/{id}/degraded", post(degraded))
        .route("/simulator/webhooks", get(webhooks).post(put_webhook))
        .route("/simulator/webhooks/{id}/test", post(test))
        .route("/simulator/webhooks/{id}/send", post(send))
        .route("/simulator/users", post(put_user))
        .route("/simulator/resources", post(put_resource))
        .route("/simulator/resources/{id}/updated", post(resource_updated))
        .route(
            "/simulator/notifications",
            get(async |State(system): State<ReservationSystem>| Json(system.notifications())),
        )
        .route(
            "/simulator/webhook-logs",
            get(async |State(system): State<ReservationSystem>| Json(system.webhook_logs())),
        )
        .route(
            "/simulator/received",
            get(async |State(system): State<ReservationSystem>| Json(system.received())),
        )
        .route(
            "/simulator/refused",
            get(async |State(system): State<ReservationSystem>| Json(system.refused())),
        )
        .route(
            "/simulator/sent",
            get(async |State(system): State<ReservationSystem>| Json(system.sent())),
        )
        .route("/simulator/faults", post(inject).delete(clear_faults))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BookingRequest {
    resource: String,
    user: String,
    start: Option<Timestamp>,
    starts_in_seconds: Option<i64>,
    end: Option<Timestamp>,
    lasts_seconds: Option<i64>,
    title: Option<String>,
    custom_parameters: Option<String>,
    #[serde(default)]
    announce: bool,
}

impl BookingRequest {
    fn booking(self, now: Timestamp) -> NewBooking {
        let start = self
            .start
            .unwrap_or_else(|| later(now, self.starts_in_seconds.unwrap_or(0)));
        let end = self
            .end
            .unwrap_or_else(|| later(start, self.lasts_seconds.unwrap_or(USUAL_LENGTH_SECONDS)));
        let mut booking = NewBooking::new(self.user, self.resource, start, end);
        if let Some(title) = self.title {
            booking = booking.title(title);
        }
        booking.custom_parameters = self.custom_parameters;
        booking
    }
}

/// A number from outside may be beyond any time: then it is not added.
fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap_or(time)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeRequest {
    title: Option<String>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    resource: Option<String>,
    custom_parameters: Option<String>,
}

async fn bookings(State(system): State<ReservationSystem>) -> impl IntoResponse {
    Json(system.bookings())
}

async fn book(
    State(system): State<ReservationSystem>,
    Json(request): Json<BookingRequest>,
) -> Result<Response, Error> {
    let announce = request.announce;
    let booking = system.book(request.booking(Timestamp::now()))?;
    let sent = if announce {
        system.announce(booking.id).await?
    } else {
        Vec::new()
    };
    Ok((
        StatusCode::CREATED,
        Json(json!({"booking": booking, "sent": sent})),
    )
        .into_response())
}

async fn change(
    State(system): State<ReservationSystem>,
    Path(id): Path<i64>,
    Json(request): Json<ChangeRequest>,
) -> Sending {
    let ChangeRequest {
        title,
        start,
        end,
        resource,
        custom_parameters,
    } = request;
    let change = BookingChange {
        title,
        start,
        end,
        resource_name: resource,
        custom_parameters,
        user_id: None,
    };
    system.update(id, change).await.map(Json)
}

async fn delete(State(system): State<ReservationSystem>, Path(id): Path<i64>) -> Sending {
    system.delete(id).await.map(Json)
}

async fn announce(State(system): State<ReservationSystem>, Path(id): Path<i64>) -> Sending {
    system.announce(id).await.map(Json)
}

async fn start(State(system): State<ReservationSystem>, Path(id): Path<i64>) -> Sending {
    system.start_event(id).await.map(Json)
}

async fn end(State(system): State<ReservationSystem>, Path(id): Path<i64>) -> Sending {
    system.end_event(id).await.map(Json)
}

async fn degraded(State(system): State<ReservationSystem>, Path(id): Path<i64>) -> Sending {
    system.degraded(id).await.map(Json)
}

async fn webhooks(State(system): State<ReservationSystem>) -> Json<Value> {
    let state = system.state();
    let webhooks = state.webhooks.values();
    Json(webhooks.map(|it| json!({"id": it.id, "url": it.url, "enabled": it.enabled, "event_type": it.event_type})).collect())
}

async fn put_webhook(
    State(system): State<ReservationSystem>,
    Json(webhook): Json<Webhook>,
) -> StatusCode {
    system.put_webhook(webhook);
    StatusCode::NO_CONTENT
}

async fn test(State(system): State<ReservationSystem>, Path(id): Path<u64>) -> Sending {
    system.test_button(id).await.map(|sent| Json(vec![sent]))
}

async fn send(
    State(system): State<ReservationSystem>,
    Path(id): Path<u64>,
    body: Bytes,
) -> Sending {
    system.send(id, body).await.map(|sent| Json(vec![sent]))
}

async fn put_user(State(system): State<ReservationSystem>, Json(user): Json<User>) -> StatusCode {
    system.put_user(user);
    StatusCode::NO_CONTENT
}

async fn put_resource(
    State(system): State<ReservationSystem>,
    Json(resource): Json<Resource>,
) -> StatusCode {
    system.put_resource(resource);
    StatusCode::NO_CONTENT
}

async fn resource_updated(State(system): State<ReservationSystem>, Path(id): Path<i64>) -> Sending {
    system.resource_updated(id).await.map(Json)
}

async fn inject(State(system): State<ReservationSystem>, Json(fault): Json<Fault>) -> StatusCode {
    system.inject(fault);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(system): State<ReservationSystem>) -> StatusCode {
    system.clear_faults();
    StatusCode::NO_CONTENT
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match self {
            Self::UnknownBooking(_) | Self::UnknownResource(_) | Self::UnknownWebhook(_) => {
                StatusCode::NOT_FOUND
            }
            Self::Listen { .. } | Self::Client(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({"error": self.to_string()}))).into_response()
    }
}
