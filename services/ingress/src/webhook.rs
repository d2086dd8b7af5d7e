//! The way of one request, top to bottom: receive, verify, read, classify, store, answer.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use bellhop_reservation_system::{
    InvalidWebhookId, Unreadable, Webhook, WebhookId, claimed_webhook_id,
};
use bellhop_service::panics::{caught, caught_now};
use bellhop_service::trace_context::{TraceParent, current_traceparent, set_parent};
use http::HeaderMap;
use jiff::Timestamp;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use crate::answer::{Answer, Receipt};
use crate::body::Room;
use crate::classification::{Classification, classify};
use crate::delivery::{Arrival, kept_headers};
use crate::intake::Intake;
use crate::sender::Sender;
use crate::spool::Entry;
use crate::storing::{Kept, store};

/// Whatever stands after `/webhook/`; none at `/webhook`.
type PathId = Result<Option<Path<String>>, PathRejection>;

/// `POST /webhook` and `POST /webhook/{webhook_id}`.
pub(crate) async fn receive(
    State(intake): State<Arc<Intake>>,
    path: PathId,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let answer = match take(&intake, path, &headers, body).await {
        Ok((sender, arrival, room)) => see_through(&intake, &sender, &headers, arrival, room).await,
        Err(refused) => refused,
    };
    intake.metrics.answered(&answer);
    answer
}

/// Receives a body, and makes sure that its sender may say what it says.
async fn take(
    intake: &Intake,
    path: PathId,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Sender, Arrival, Room), Answer> {
    let received_at = Timestamp::now();

    // Receive.
    let (limit, time) = (intake.max_body_bytes, intake.body_read_timeout);
    let read = intake.large_bodies.read(body, limit, time).await;
    let (body, room) = read.map_err(|why| {
        intake.refusals.not_taken(&why, received_at);
        Answer::BodyRefused(why)
    })?;

    // Verify: the raw bytes, before anything looks into them.
    let unauthorized = |why| {
        intake.refusals.unauthorized(why, received_at);
        Answer::Unauthorized
    };
    let secrets = intake.secrets.current();
    let owners = secrets.webhook_ids().count() + usize::from(secrets.has_default());
    let tried = Arc::clone(&secrets);
    let sender = intake.verification.verify(tried, headers, &body);
    let sender = sender.await.map_err(unauthorized)?;

    // Read. What can't be read is kept too, if the sender may speak for the webhook that it names.
    let reading = caught_now(|| {
        #[cfg(test)]
        tests::stumble_over(&body, "reading");
        Webhook::parse(&body)
    });
    let reading = reading.unwrap_or(Err(Unreadable::Panicked));
    let in_body = match &reading {
        Ok(webhook) => Some(webhook.webhook_id.clone()),
        Err(_) => claimed_webhook_id(&body),
    };
    let webhook_id = sender
        .speaks_for(id_in(path), in_body)
        .map_err(unauthorized)?;
    intake.refusals.authorized(owners == 1);
    let used = sender.secrets_used(webhook_id.as_ref());
    intake.secrets.used(&secrets, &used, received_at);

    let headers = kept_headers(headers);
    Ok((
        sender,
        Arrival {
            received_at,
            headers,
            body,
            webhook_id,
            reading,
        },
        room,
    ))
}

/// From here on it is the sender's word: it is stored even if the sender hangs up, for it would not send it again.
async fn see_through(
    intake: &Arc<Intake>,
    sender: &Sender,
    headers: &HeaderMap,
    mut arrival: Arrival,
    room: Room,
) -> Answer {
    let span = span_of(&arrival, sender, headers);
    let intake = Arc::clone(intake);
    let tracker = intake.under_way.clone();
    let under_way = intake.metrics.under_way();
    let stored = async move {
        let answer = match caught(classify_and_store(&intake, &arrival)).await {
            Ok(answer) => answer,
            // A version that does not stumble over it may read it; if it was stored already, it is twice and harmless.
            Err(_) => {
                arrival.reading = Err(Unreadable::Panicked);
                bury(&intake, &arrival, Unreadable::Panicked).await
            }
        };
        drop((under_way, room));
        answer
    };
    let task = tracker.spawn(stored.instrument(span));
    // It fails only if the task panicked, and then nothing is known to be stored.
    task.await.unwrap_or(Answer::NotStored)
}

async fn classify_and_store(intake: &Intake, arrival: &Arrival) -> Answer {
    watch_clock(intake, arrival);
    match &arrival.reading {
        Ok(webhook) => deliver(intake, arrival, webhook).await,
        Err(unreadable) => bury(intake, arrival, *unreadable).await,
    }
}

/// Stores a webhook that was read, and says what will become of it.
async fn deliver(intake: &Intake, arrival: &Arrival, webhook: &Webhook) -> Answer {
    #[cfg(test)]
    tests::stumble_over(&arrival.body, "storing");
    // Classify.
    let classification = classify(webhook, &intake.resource_types, intake.site_ids.as_ref());

    // Store.
    let traceparent = current_traceparent();
    let receipt = receipt(arrival, traceparent.as_ref());
    let delivery = arrival.delivery(
        webhook,
        &intake.resource_types,
        traceparent.map(String::from),
    );
    let kept = match store(intake, Entry::Delivery(delivery)).await {
        Ok(kept) => kept,
        Err(not_stored) => return not_stored,
    };
    let spooled = kept == Kept::Spooled;

    // Answer.
    let event_type = webhook.event_type.as_str();
    let user_id = webhook
        .booking()
        .and_then(|booking| booking.user_id.clone());
    match classification {
        _ if kept == Kept::Before => {
            tracing::info!(event_type, "webhook received before; nothing changes");
            Answer::Duplicate { user_id, receipt }
        }
        Classification::NoAction(why) => {
            tracing::info!(
                event_type,
                why = why.label(),
                spooled,
                "webhook stored; no action needed"
            );
            Answer::NoAction(why)
        }
        Classification::Act => {
            tracing::info!(event_type, spooled, "webhook accepted");
            let resource = webhook
                .resource()
                .map_or_else(String::new, |resource| resource.name.clone());
            Answer::Accepted {
                event_type: webhook.event_type.clone(),
                resource,
                user_id,
                receipt,
            }
        }
    }
}

/// Keeps a verified body that can't be read, for an operator.
async fn bury(intake: &Intake, arrival: &Arrival, unreadable: Unreadable) -> Answer {
    let traceparent = current_traceparent();
    let receipt = receipt(arrival, traceparent.as_ref());
    let letter = arrival.dead_letter(unreadable, traceparent.map(String::from));
    match store(intake, Entry::DeadLetter(letter)).await {
        Err(not_stored) => not_stored,
        Ok(Kept::Before) if unreadable.is_known_form() => {
            tracing::info!("unreadable webhook received before; nothing changes");
            Answer::Duplicate {
                user_id: None,
                receipt,
            }
        }
        Ok(kept) => {
            let spooled = kept == Kept::Spooled;
            tracing::error!(reason = %unreadable, spooled, "a verified webhook can't be read; it is kept as a dead letter");
            intake.broker.look_now();
            Answer::DeadLetter {
                unreadable,
                receipt,
            }
        }
    }
}

fn id_in(path: PathId) -> Option<Result<WebhookId, InvalidWebhookId>> {
    match path {
        Ok(None) => None,
        Ok(Some(Path(text))) => Some(WebhookId::parse(&text)),
        Err(_) => Some(Err(InvalidWebhookId)),
    }
}

/// The span of one webhook. A trace that came with it goes on only where the sender is known: a stranger must not be
/// able to write into other people's traces.
fn span_of(arrival: &Arrival, sender: &Sender, headers: &HeaderMap) -> Span {
    let span = info_span!(
        "webhook",
        otel.kind = "server",
        delivery = arrival.id().as_str(),
        webhook = arrival.webhook_id.as_ref().map(WebhookId::as_str),
        event_type = Empty,
        reservation = Empty,
        resource = Empty,
    );
    if let Ok(webhook) = &arrival.reading {
        span.record("event_type", webhook.event_type.as_str());
        if let Some(resource) = webhook.resource() {
            span.record("resource", resource.name.as_str());
        }
    }
    if let Some(reservation) = arrival.reservation() {
        span.record("reservation", reservation.to_string().as_str());
    }
    if *sender != Sender::Anyone {
        let traceparent = headers.get(TraceParent::HEADER);
        let traceparent = traceparent.and_then(|value| value.to_str().ok()?.parse().ok());
        set_parent(&span, traceparent.as_ref());
    }
    span
}

fn receipt(arrival: &Arrival, traceparent: Option<&TraceParent>) -> Receipt {
    Receipt {
        delivery_id: arrival.id(),
        trace_id: traceparent.map(|traceparent| traceparent.trace_id().to_owned()),
    }
}

fn watch_clock(intake: &Intake, arrival: &Arrival) {
    let secrets = intake.secrets.current();
    let is_configured = |id: &&WebhookId| secrets.webhook_ids().any(|known| known == *id);
    let webhook_id = arrival.webhook_id.as_ref().filter(is_configured);
    let configured_id = webhook_id.map(WebhookId::as_str);
    let distance = arrival.distance_from_our_clock();
    if intake
        .clock
        .saw(configured_id, distance, arrival.received_at)
    {
        intake.metrics.far_timestamp();
    }
}
