//! One try of one report: its leave, its claim, the request, and what follows from the answer.

use std::time::Duration;

use bellhop_event_store::ReportState;
use bellhop_reservation_system::{WebhookSecret, sign};
use bellhop_service::TraceParent;
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
use crate::owed::{Composed, Report};
use crate::sender::Outcome;

/// A request, and what may be changed in it.
struct Signed<'a> {
    message: &'a Report,
    first: &'a WebhookSecret,
    others: &'a [WebhookSecret],
    traceparent: Option<TraceParent>,
    began: Instant,
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
        let composed = self
            .followed
            .read()
            .compose(self.destination, report.entry, report.index);
        let message = match composed {
            Composed::Send(message) => message,
            Composed::NoLongerTrue(reason) => {
                self.drop_report(report, owed.revision, reason.to_owned())
                    .await;
                return Ok(Next::Settled);
            }
            Composed::Unsendable(reason) => {
                self.bury(report, &owed, None, reason).await;
                return Ok(Next::Settled);
            }
        };
        let secrets = channel.secrets.for_webhook(&message.webhook).await;
        let Some((first, others)) = secrets.split_first() else {
            let reason = format!(
                "there is no secret of webhook {} to sign it with",
                message.webhook
            );
            self.bury(report, &owed, Some(&message), reason).await;
            return Ok(Next::Settled);
        };
        let span = self.span(report, owed.attempts + 1);
        let request = Signed {
            message: &message,
            first,
            others,
            traceparent: traceparent_of(&span),
            began,
        };
        async {
            let outcome = self.send(channel, request).await;
            drop(place);
            self.after(channel, report, owed, &message, permit, outcome)
                .await
        }
        .instrument(span)
        .await
    }

    /// Sends a report, and once more where the answer says that it did nothing and what to change. All of that is one try,
    /// with one time limit.
    async fn send(&self, channel: &Channel, request: Signed<'_>) -> Outcome {
        let (mut secret, mut others) = (request.first, request.others.iter());
        let mut body = &request.message.body;
        let mut without_resource = request.message.without_resource.as_ref();
        loop {
            let signature = sign(secret, body);
            let traceparent = request.traceparent.as_ref();
            let posted = channel
                .sender
                .post(body.clone(), &signature, traceparent, request.began);
            let outcome = posted.await;
            self.metrics.tried(self.destination, outcome.name());
            match outcome {
                // While a secret is replaced the receiver may have the other one, or get it in a minute.
                Outcome::Refused { status: 401 } => match others.next() {
                    Some(other) => secret = other,
                    None => {
                        return Outcome::Failed {
                            status: 401,
                            retry_after: None,
                        };
                    }
                },
                // The resource was deleted over there; what became of its reservation is worth knowing all the same.
                Outcome::Refused { status: 404 } => match without_resource.take() {
                    Some(without) => body = without,
                    None => return outcome,
                },
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
        outcome: Outcome,
    ) -> Result<Next, Interrupted> {
        let attempts = owed.attempts + 1;
        match outcome {
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
                    owed.revision,
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
                let error = format!("it answered HTTP {status}");
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
