//! One report: from owed to settled, however long it takes.

use std::time::Duration;

use bellhop_event_store::{Entry, ReportState};
use bellhop_reservation_system::sign;
use bellhop_service::trace_context::{set_parent, traceparent_of};
use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, info_span};

use super::record::Owed;
use super::{ACK_WAIT, Channel, Interrupted, OnItsWay, Outbox};
use crate::circuit::Permit;
use crate::owed::{Composed, Report};
use crate::retry::Pauses;
use crate::sender::Outcome;
use crate::view::Place;

/// Without any trace of the report before after so long, nobody has it in hand: whoever had it at a crash was given it again
/// by now. So nobody owes it (an older version of Bellhop may have decided so), and it is not waited for.
const PREVIOUS_UNTRACED: Duration = ACK_WAIT.saturating_mul(3);

/// What comes after one try.
enum Next {
    /// Nothing.
    Settled,
    /// Another try after this pause.
    Pause(Duration),
    /// Another try when the circuit allows one.
    Unavailable,
}

/// The tries of one report that were not answered.
#[derive(Default)]
struct Unanswered {
    /// How many reports had been answered at the last of them.
    answers: Option<u64>,
    /// How many of them others were answered between.
    alone: u32,
}

impl Unanswered {
    /// The pause before the next try, besides the circuit's. There is one if others were answered meanwhile: then it may be
    /// this report that the receiver stumbles over, and it must not open the circuit for all again and again. Even so it is
    /// never given up: there was no answer.
    fn pause(&mut self, channel: &Channel) -> Duration {
        let answers = channel.circuit.answers();
        let others_were_answered = self
            .answers
            .replace(answers)
            .is_some_and(|before| answers > before);
        if !others_were_answered {
            return Duration::ZERO;
        }
        self.alone = self.alone.saturating_add(1);
        channel.pauses.pause(self.alone, None, rand::random())
    }
}

impl Outbox {
    /// Settles one report, however long it takes.
    pub(super) async fn settle(&self, entry: &Entry, index: usize) -> Result<(), Interrupted> {
        let Some(fact) = entry.facts.get(index) else {
            return Ok(());
        };
        let report = OnItsWay {
            key: self.key(
                fact.reservation(),
                Place {
                    version: entry.version,
                    index,
                },
            ),
            entry,
            index,
        };
        // It stands as owed before it waits for anything, so that those behind it know that there is something to wait for.
        let Some(owed) = self.still_owed(&report.key).await? else {
            return Ok(());
        };
        let _in_hand = InHand::new(self.metrics.owed(self.destination));
        let Some(channel) = &self.channel else {
            let reason = format!("{} is not set", self.destination.variable());
            self.drop_report(&report, owed.revision, reason).await;
            return Ok(());
        };
        self.wait_for_previous(&report).await?;
        let mut unanswered = Unanswered::default();
        loop {
            let pause = match self.try_once(channel, &report).await? {
                Next::Settled => return Ok(()),
                Next::Pause(pause) => pause,
                Next::Unavailable => unanswered.pause(channel),
            };
            self.unless_stopping(tokio::time::sleep(pause)).await?;
        }
    }

    /// One try, as soon as it may leave.
    async fn try_once(
        &self,
        channel: &Channel,
        report: &OnItsWay<'_>,
    ) -> Result<Next, Interrupted> {
        let (place, permit) = self.unless_stopping(leave_to_send(channel)).await?;
        // It may have waited for days: another notifier may have settled it, or it may not be true any more.
        let Some(owed) = self.still_owed(&report.key).await? else {
            return Ok(Next::Settled);
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
                .post(message.body.clone(), &signature, traceparent.as_ref())
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
                let state = ReportState::Owed {
                    attempts,
                    last_error: Some(format!("HTTP {status}")),
                    first_at: owed.first_at,
                };
                self.remember(&report.key, state, owed.revision).await;
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

    /// Waits until the report before this one, about the same reservation, is settled.
    async fn wait_for_previous(&self, report: &OnItsWay<'_>) -> Result<(), Interrupted> {
        let place = Place {
            version: report.key.version,
            index: report.index,
        };
        let previous =
            self.followed
                .read()
                .previous(self.destination, &report.key.reservation, place);
        let Some(previous) = previous else {
            return Ok(());
        };
        let previous = self.key(&report.key.reservation, previous);
        let began = Instant::now();
        // For what another notifier settles, we ask now and then.
        let asking = Pauses {
            min: Duration::from_millis(250),
            max: Duration::from_secs(5),
        };
        for asked in 1.. {
            let mut settled_here = self.settled.subscribe();
            match self.store.report(&previous).await? {
                Some((state, _)) if state.is_settled() => break,
                None if began.elapsed() > PREVIOUS_UNTRACED => {
                    tracing::warn!(report = %previous, "no trace of the report before; the next one does not wait for it");
                    break;
                }
                _ => {}
            }
            let settled =
                async { while settled_here.recv().await.is_ok_and(|key| key != previous) {} };
            let pause = asking.pause(asked, None, rand::random());
            self.unless_stopping(async {
                tokio::select! {
                    () = settled => {}
                    () = tokio::time::sleep(pause) => {}
                }
            })
            .await?;
        }
        Ok(())
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

/// Counts a report as owed while it lives.
struct InHand(Gauge);

impl InHand {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.dec();
    }
}
