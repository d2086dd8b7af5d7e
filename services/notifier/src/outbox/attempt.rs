//! One try of one report: its leave, its claim, the request, and what follows from the answer.

use std::time::Duration;

use bellhop_event_store::ReportState;
use bellhop_reservation_system::{WebhookId, WebhookSecret, sign};
use bellhop_service::trace_context::{set_parent, traceparent_of};
use jiff::Timestamp;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, info_span};

use super::claim::OthersClaim;
use super::record::Owed;
use super::settle::Next;
use super::{Channel, Interrupted, OnItsWay, Outbox};
use crate::circuit::Permit;
use crate::owed::{Composed, Report, ReportCopy};
use crate::sender::Outcome;

/// What came of one try.
struct Tried {
    outcome: Outcome,
    /// Under which webhooks it was made.
    under: Vec<WebhookId>,
}

impl Outbox {
    /// One try, as soon as it may leave.
    pub(super) async fn try_once(
        &self,
        channel: &Channel,
        report: &OnItsWay<'_>,
        others_claim: &mut OthersClaim,
    ) -> Result<Next, Interrupted> {
        let (place, permit) = self.unless_stopping(leave_to_send(channel)).await?;
        if permit.is_probe()
            && let Err((why, retry_after)) = self.unless_stopping(channel.sender.look()).await?
        {
            permit.unavailable(&why, retry_after, rand::random());
            return Ok(Next::Unavailable);
        }
        // It may have waited for days: another notifier may have settled it, or it may not be true any more.
        let Some(owed) = self.still_owed(&report.key).await? else {
            return Ok(Next::Settled);
        };
        if let Some(pause) = others_claim.pause(&owed, &self.notifier, Timestamp::now()) {
            return Ok(Next::Pause(pause));
        }
        let Some((owed, began)) = self.claim(channel, &report.key, owed).await? else {
            return Ok(Next::Pause(Duration::ZERO));
        };
        let message = match self.compose(report).await? {
            Composed::Send(message) => message,
            Composed::NoLongerTrue(reason) => {
                self.drop_report(report, &owed, reason.to_owned()).await;
                return Ok(Next::Settled);
            }
            Composed::Unsendable(reason) => {
                self.bury(report, &owed, None, reason).await;
                return Ok(Next::Settled);
            }
        };
        let span = self.span(report, owed.attempts + 1);
        async {
            let tried = self.send(channel, &message, began).await;
            drop(place);
            match tried {
                Some(tried) => {
                    self.after(channel, report, owed, &message, permit, tried)
                        .await
                }
                None => {
                    let webhooks = list(message.copies().map(|copy| &copy.webhook));
                    let reason =
                        format!("there is no secret of webhook {webhooks} to sign it with");
                    self.bury(report, &owed, Some(&message), reason).await;
                    Ok(Next::Settled)
                }
            }
        }
        .instrument(span)
        .await
    }

    /// Sends a report, and again where the answer says that it did nothing and what to change. All of that is one try, with
    /// one time limit. None where there is no secret that could sign it.
    async fn send(&self, channel: &Channel, message: &Report, began: Instant) -> Option<Tried> {
        let mut under = Vec::new();
        for copy in message.copies() {
            let secrets = channel.secrets.for_webhook(&copy.webhook).await;
            if !secrets.is_empty() {
                under.push(copy.webhook.clone());
            }
            for secret in &secrets {
                match self.send_copy(channel, copy, secret, began).await {
                    // While a secret is replaced the receiver may have the other one, or get it in a minute; a webhook may be
                    // disabled or deleted there, and another one that told us of the same booking be not.
                    Outcome::Refused { status: 401 } => {}
                    outcome => return Some(Tried { outcome, under }),
                }
            }
        }
        (!under.is_empty()).then_some(Tried {
            outcome: Outcome::Failed {
                status: 401,
                retry_after: None,
            },
            under,
        })
    }

    /// Sends a report under one webhook with one of its secrets, and once more without the resource's number where that is not
    /// known over there any more: what became of its reservation is worth knowing all the same.
    async fn send_copy(
        &self,
        channel: &Channel,
        copy: &ReportCopy,
        secret: &WebhookSecret,
        began: Instant,
    ) -> Outcome {
        let traceparent = traceparent_of(&Span::current());
        let mut without_resource = copy.without_resource.as_ref();
        let mut body = &copy.body;
        loop {
            let signature = sign(secret, body);
            let posted = channel
                .sender
                .post(body.clone(), &signature, traceparent.as_ref(), began);
            let outcome = posted.await;
            self.metrics.tried(self.destination, outcome.name());
            match (&outcome, without_resource.take()) {
                (Outcome::Refused { status: 404 }, Some(without)) => body = without,
                _ => return outcome,
            }
        }
    }

    /// What follows from one try.
    async fn after(
        &self,
        channel: &Channel,
        report: &OnItsWay<'_>,
        owed: Owed,
        message: &Report,
        permit: Permit,
        tried: Tried,
    ) -> Result<Next, Interrupted> {
        let attempts = owed.attempts + 1;
        match tried.outcome {
            Outcome::Unavailable { why, retry_after } => {
                // The circuit says when to try again.
                permit.unavailable(&why, retry_after, rand::random());
                self.give_back(&report.key, owed).await;
                return Ok(Next::Unavailable);
            }
            Outcome::Delivered { status } => {
                permit.answered();
                let at = Timestamp::now();
                self.remember(
                    &report.key,
                    ReportState::Delivered {
                        at,
                        status,
                        attempts,
                    },
                    &owed,
                )
                .await;
                self.metrics.settled(self.destination, "delivered");
                let delay = at.duration_since(report.entry.at).as_secs_f64().max(0.0);
                self.metrics.delivered_after(self.destination, delay);
                tracing::info!(status, attempts, "report delivered");
            }
            Outcome::Refused { status } => {
                permit.answered();
                let owed = Owed { attempts, ..owed };
                self.bury(
                    report,
                    &owed,
                    Some(message),
                    format!("refused: it answered HTTP {status}"),
                )
                .await;
            }
            Outcome::Failed {
                status,
                retry_after,
            } => {
                permit.answered();
                let error = match (status, &tried.under[..]) {
                    (401, webhooks @ [_, _, ..]) => {
                        let webhooks = list(webhooks);
                        format!("it answered HTTP 401 under each of the webhooks {webhooks}")
                    }
                    _ => format!("it answered HTTP {status}"),
                };
                return Ok(self
                    .count(channel, report, owed, message, error, retry_after)
                    .await);
            }
            Outcome::Unanswered { why, retry_after } => {
                permit.unavailable(&why, retry_after, rand::random());
                return Ok(self
                    .count(channel, report, owed, message, why, retry_after)
                    .await);
            }
        }
        Ok(Next::Settled)
    }

    /// Counts a try against the report.
    async fn count(
        &self,
        channel: &Channel,
        report: &OnItsWay<'_>,
        owed: Owed,
        message: &Report,
        error: String,
        retry_after: Option<Duration>,
    ) -> Next {
        let attempts = owed.attempts + 1;
        if attempts >= channel.attempts {
            let owed = Owed { attempts, ..owed };
            let reason = format!("tried {attempts} times; the last time {error}");
            self.bury(report, &owed, Some(message), reason).await;
            return Next::Settled;
        }
        let pause = channel.pauses.pause(attempts, retry_after, rand::random());
        tracing::info!(
            error,
            attempts,
            of = channel.attempts,
            "report not taken, as far as we know; next try in {:.1} s",
            pause.as_secs_f64()
        );
        let owed = Owed {
            attempts,
            last_error: Some(error),
            ..owed
        };
        self.give_back(&report.key, owed).await;
        Next::Pause(pause)
    }

    fn span(&self, report: &OnItsWay<'_>, attempt: u32) -> Span {
        let span = info_span!(
            "report",
            reservation = %report.key.reservation,
            destination = %self.destination,
            fact = report.entry.facts.get(report.index).map(|fact| fact.name()),
            attempt,
        );
        let parent = report
            .entry
            .traceparent
            .as_deref()
            .and_then(|text| text.parse().ok());
        set_parent(&span, parent.as_ref());
        span
    }
}

/// A place among the requests that are under way, then the circuit's leave: in this order, so that those with a place and
/// no leave are the ones that the circuit holds back.
async fn leave_to_send(channel: &Channel) -> (Option<SemaphorePermit<'_>>, Permit) {
    // The semaphore is never closed.
    let place = channel.places.acquire().await.ok();
    (place, channel.circuit.enter().await)
}

fn list<'a>(webhooks: impl IntoIterator<Item = &'a WebhookId>) -> String {
    let webhooks: Vec<_> = webhooks.into_iter().map(WebhookId::to_string).collect();
    webhooks.join(", ")
}
