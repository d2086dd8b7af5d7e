//! Sending: who is told, in which form, once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONNECTION, CONTENT_TYPE, USER_AGENT};

use super::model::{BookingChange, EventType, Webhook};
use super::record::{Outcome, Sent};
use super::signature::signature_of;
use super::state::State;
use super::{ReservationSystem, ReservationSystemError as Error, payload};

/// The back end's: 5 s to connect and 10 s to read.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const BACK_END_TIMEOUT: Duration = Duration::from_secs(10);
/// The real event processor waits for ever; a stand-in must end.
const EVENT_PROCESSOR_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest part of an answer that is kept, as in the real one's column.
const ANSWER_LIMIT: usize = 4000;

/// Which of the two programs sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    EventProcessor,
    BackEnd,
}

/// One body on its way to one webhook.
struct Message {
    webhook: Webhook,
    event_type: String,
    body: Bytes,
    sender: Sender,
}

pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .http1_only()
        .no_proxy()
        .build()
}

impl ReservationSystem {
    /// Sends `EVENT_CREATED` for a booking.
    ///
    /// # Errors
    /// Where the booking isn't known.
    pub async fn announce(&self, booking_id: i64) -> Result<Vec<Sent>, Error> {
        self.send_booking(EventType::EventCreated, booking_id).await
    }

    /// Sends `EVENT_START`, whatever the time is, and marks the booking as notified, whatever the answer is.
    ///
    /// # Errors
    /// Where the booking isn't known.
    pub async fn start_event(&self, booking_id: i64) -> Result<Vec<Sent>, Error> {
        let sent = self.send_flat(EventType::EventStart, booking_id).await?;
        self.state()
            .mark_start_notified(booking_id, Timestamp::now());
        Ok(sent)
    }

    /// Sends `EVENT_END`, whatever the time is.
    ///
    /// # Errors
    /// Where the booking isn't known.
    pub async fn end_event(&self, booking_id: i64) -> Result<Vec<Sent>, Error> {
        let sent = self.send_flat(EventType::EventEnd, booking_id).await?;
        self.state().mark_end_sent(booking_id);
        Ok(sent)
    }

    /// Changes a booking and sends `EVENT_UPDATED`. A start that was sent is not sent again.
    ///
    /// # Errors
    /// Where the booking, or the resource that it moves to, isn't known.
    pub async fn update(&self, booking_id: i64, change: BookingChange) -> Result<Vec<Sent>, Error> {
        self.state().change(booking_id, change, Timestamp::now())?;
        self.send_booking(EventType::EventUpdated, booking_id).await
    }

    /// Deletes a booking and sends `EVENT_DELETED`. No `EVENT_END` follows.
    ///
    /// # Errors
    /// Where the booking isn't known.
    pub async fn delete(&self, booking_id: i64) -> Result<Vec<Sent>, Error> {
        let messages = self.booking_messages(EventType::EventDeleted, booking_id)?;
        self.state().bookings.remove(&booking_id);
        Ok(self.post_all(messages).await)
    }

    /// Presses the test button of a webhook.
    ///
    /// # Errors
    /// Where the webhook isn't known.
    pub async fn test_button(&self, webhook_id: u64) -> Result<Sent, Error> {
        let webhook = self.state().webhook(webhook_id)?.clone();
        let pressed = Timestamp::now();
        let body = payload::test(&webhook, pressed, Timestamp::now()).into();
        let event_type = EventType::All.name().to_owned();
        Ok(self
            .post(Message {
                webhook,
                event_type,
                body,
                sender: Sender::BackEnd,
            })
            .await)
    }

    /// Sends `RESOURCE_UPDATED` for a resource.
    ///
    /// # Errors
    /// Where the resource isn't known.
    pub async fn resource_updated(&self, resource_id: i64) -> Result<Vec<Sent>, Error> {
        let event_type = EventType::ResourceUpdated;
        let messages = {
            let state = self.state();
            let resource = state.resources.get(&resource_id);
            let resource =
                resource.ok_or_else(|| Error::UnknownResource(resource_id.to_string()))?;
            back_end_messages(&state, event_type, &resource.site_id, |webhook| {
                payload::nested_resource(event_type, webhook, resource, Timestamp::now())
            })
        };
        Ok(self.post_all(messages).await)
    }

    /// Sends `EVENT_UPDATED` as the back end does when it fails to serialise the booking: the id is lost.
    ///
    /// # Errors
    /// Where the booking isn't known.
    pub async fn degraded(&self, booking_id: i64) -> Result<Vec<Sent>, Error> {
        let event_type = EventType::EventUpdated;
        let messages = {
            let state = self.state();
            let (_, resource) = state.booking_and_resource(booking_id)?;
            back_end_messages(&state, event_type, &resource.site_id, |webhook| {
                payload::degraded(event_type, webhook, Timestamp::now())
            })
        };
        Ok(self.post_all(messages).await)
    }

    /// Sends the batch form of old event processors: all these bookings, as the first one's user.
    ///
    /// # Errors
    /// Where a booking isn't known.
    pub async fn batch(
        &self,
        booking_ids: &[i64],
        event_type: EventType,
    ) -> Result<Vec<Sent>, Error> {
        let messages = {
            let state = self.state();
            let bookings: Vec<_> = booking_ids
                .iter()
                .map(|id| state.booking_and_resource(*id))
                .collect::<Result<_, _>>()?;
            let user_id = bookings
                .first()
                .map_or("", |(booking, _)| booking.user_id.as_str());
            let user = state.users.get(user_id);
            event_processor_messages(&state, event_type, |webhook| {
                payload::batch(
                    event_type,
                    webhook,
                    &bookings,
                    user_id,
                    user,
                    Timestamp::now(),
                )
            })
        };
        Ok(self.post_all(messages).await)
    }

    /// Sends any bytes, signed with the webhook's secret.
    ///
    /// # Errors
    /// Where the webhook isn't known.
    pub async fn send(&self, webhook_id: u64, body: impl Into<Bytes>) -> Result<Sent, Error> {
        let webhook = self.state().webhook(webhook_id)?.clone();
        let body = body.into();
        Ok(self
            .post(Message {
                webhook,
                event_type: "raw".into(),
                body,
                sender: Sender::EventProcessor,
            })
            .await)
    }

    /// The signature that a webhook's secret gives over these bytes; `None` without a webhook or a secret.
    pub fn sign(&self, webhook_id: u64, body: &[u8]) -> Option<String> {
        let state = self.state();
        let secret = state.webhooks.get(&webhook_id)?.secret.as_deref()?;
        Some(signature_of(secret, body))
    }

    async fn send_booking(
        &self,
        event_type: EventType,
        booking_id: i64,
    ) -> Result<Vec<Sent>, Error> {
        let messages = self.booking_messages(event_type, booking_id)?;
        Ok(self.post_all(messages).await)
    }

    fn booking_messages(
        &self,
        event_type: EventType,
        booking_id: i64,
    ) -> Result<Vec<Message>, Error> {
        let state = self.state();
        let (booking, resource) = state.booking_and_resource(booking_id)?;
        Ok(back_end_messages(
            &state,
            event_type,
            &resource.site_id,
            |webhook| {
                payload::nested_booking(event_type, webhook, booking, resource, Timestamp::now())
            },
        ))
    }

    async fn send_flat(&self, event_type: EventType, booking_id: i64) -> Result<Vec<Sent>, Error> {
        let messages = {
            let state = self.state();
            let (booking, resource) = state.booking_and_resource(booking_id)?;
            let user = state.users.get(&booking.user_id);
            event_processor_messages(&state, event_type, |webhook| {
                payload::flat(
                    event_type,
                    webhook,
                    booking,
                    resource,
                    user,
                    Timestamp::now(),
                )
            })
        };
        Ok(self.post_all(messages).await)
    }

    async fn post_all(&self, messages: Vec<Message>) -> Vec<Sent> {
        let mut sent = Vec::with_capacity(messages.len());
        for message in messages {
            sent.push(self.post(message).await);
        }
        sent
    }

    /// One attempt.
    async fn post(&self, message: Message) -> Sent {
        let Message {
            webhook,
            event_type,
            body,
            sender,
        } = message;
        let timeout = match sender {
            Sender::EventProcessor => EVENT_PROCESSOR_TIMEOUT,
            Sender::BackEnd => BACK_END_TIMEOUT,
        };
        let mut request = self
            .core
            .client
            .post(&webhook.url)
            .timeout(timeout)
            .header(
                ACCEPT,
                "text/plain, application/json, application/*+json, */*",
            )
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "Java/23.0.2")
            .header(CONNECTION, "keep-alive")
            .body(body.clone());
        if let Some(secret) = webhook
            .secret
            .as_deref()
            .filter(|secret| !secret.is_empty())
        {
            request = request.header("X-Webhook-Signature", signature_of(secret, &body));
        }
        let (at, began) = (Timestamp::now(), Instant::now());
        let outcome = match answer_to(request).await {
            Ok((status, body)) => Outcome::Answered { status, body },
            Err(error) => Outcome::Failed {
                reason: reason_of(&error),
            },
        };
        let mut state = self.state();
        let sent = Sent {
            sequence: state.sent.len() as u64 + 1,
            at,
            webhook_id: webhook.id,
            event_type,
            url: webhook.url,
            body,
            outcome,
            took: began.elapsed(),
        };
        state.sent.push(sent.clone());
        drop(state);
        self.tell_waiting();
        sent
    }
}

async fn answer_to(request: reqwest::RequestBuilder) -> Result<(u16, String), reqwest::Error> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let body = response.text().await?;
    Ok((status, body.chars().take(ANSWER_LIMIT).collect()))
}

/// The whole chain: the outermost error of the client says only that it failed.
fn reason_of(error: &reqwest::Error) -> String {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason.push_str(": ");
        reason.push_str(&error.to_string());
        cause = error.source();
    }
    reason
}

/// The back end knows sites.
fn back_end_messages(
    state: &State,
    event_type: EventType,
    site_id: &str,
    body: impl Fn(&Webhook) -> Vec<u8>,
) -> Vec<Message> {
    let of_the_site = |webhook: &&Webhook| {
        webhook
            .site_id
            .as_deref()
            .is_none_or(|site| site == site_id)
    };
    messages(state, event_type, Sender::BackEnd, of_the_site, body)
}

/// The event processor doesn't: webhooks of every site hear of every start and end.
fn event_processor_messages(
    state: &State,
    event_type: EventType,
    body: impl Fn(&Webhook) -> Vec<u8>,
) -> Vec<Message> {
    messages(state, event_type, Sender::EventProcessor, |_| true, body)
}

fn messages(
    state: &State,
    event_type: EventType,
    sender: Sender,
    is_told: impl Fn(&&Webhook) -> bool,
    body: impl Fn(&Webhook) -> Vec<u8>,
) -> Vec<Message> {
    let webhooks = state
        .webhooks
        .values()
        .filter(|webhook| webhook.wants(event_type))
        .filter(is_told);
    webhooks
        .map(|webhook| Message {
            webhook: webhook.clone(),
            event_type: event_type.name().to_owned(),
            body: body(webhook).into(),
            sender,
        })
        .collect()
}
