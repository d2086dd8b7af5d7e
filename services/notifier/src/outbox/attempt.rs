//! One try of one report: its leave, its claim, the request, and what follows from the answer.

use std::time::Duration;

use bellhop_event_store::ReportState;
use bellhop_reservation_system::sign;
use bellhop_service::trace_context::{set_parent, traceparent_of};
use jiff::Timestamp;
use tokio::sync::SemaphorePermit;
use tracing::{Instrument as _, Span, info_span};

use super::claim::OthersClaim;
use super::record::Owed;
use super::settle::Next;
use super::{Channel, Interrupted, OnItsWay, Outbox};
use crate::circuit::Permit;
use crate::owed::{Composed, Report};
use crate::sender::Outcome;

impl Outbox {
    /// One try, as soon as it may leave.
    pub(super) async fn try_once(
        &self,
        channel: &Channel,
        report: &OnItsWay<'_>,
        others_claim: &mut OthersClaim,
    ) -> Result<Next, Interrupted> {
        let (place, permit) = self.unless_stopping(leave_to_send(channel)).await?;
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
        let Some(secret) = channel.secrets.for_webhook(&message.webhook).await else {
            let reason = format!(
                "there is no secret of webhook {} to sign it with",
                message.webhook
            );
            self.bury(report, &owed, Some(&message), reason).await;
            return Ok(Next::Settled);
        };
        let signature = sign(&secret, &message.body);
        let span = self.span(report, owed.attempts + 1);
        let traceparent = traceparent_of(&span);
        async {
            let outcome = channel
                .sender
                .post(
                    message.body.clone(),
                    &signature,
                    traceparent.as_ref(),
                    began,
                )
                .await;
            drop(place);
            self.metrics.tried(self.destination, outcome.name());
            self.after(channel, report, owed, &message, permit, outcome)
                .await
        }
        .instrument(span)
        .await
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
                if attempts >= channel.attempts {
                    let owed = Owed { attempts, ..owed };
                    let reason =
                        format!("tried {attempts} times; the last time it answered HTTP {status}");
                    self.bury(report, &owed, Some(message), reason).await;
                    return Ok(Next::Settled);
                }
                let owed = Owed {
                    attempts,
                    last_error: Some(format!("HTTP {status}")),
                    ..owed
                };
                self.give_back(&report.key, owed).await;
                let pause = channel.pauses.pause(attempts, retry_after, rand::random());
                tracing::info!(
                    status,
                    attempts,
                    of = channel.attempts,
                    "report not taken; next try in {:.1} s",
                    pause.as_secs_f64()
                );
                return Ok(Next::Pause(pause));
            }
        }
        Ok(Next::Settled)
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
