//! One report: from owed to settled, however long it takes.

use std::time::Duration;

use bellhop_domain::reservation::Fact;
use bellhop_event_store::{Entry, ErrorClass};
use bellhop_service::panics::caught;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::claim::OthersClaim;
use super::{ACK_WAIT, Channel, Interrupted, OnItsWay, Outbox, Way};
use crate::owed::Composed;
use crate::retry::Pauses;
use crate::view::Place;

/// Without any trace of the report before after so long, nobody has it in hand: whoever had it at a crash was given it again
/// by now. So nobody owes it (an older version of Bellhop may have decided so), and it is not waited for.
const PREVIOUS_UNTRACED: Duration = ACK_WAIT.saturating_mul(3);

/// What comes after one try.
pub(super) enum Next {
    /// Nothing.
    Settled,
    /// Another try after this pause.
    Pause(Duration),
    /// Another try when the circuit allows one.
    Unavailable,
}

/// The tries of one report that found the destination unavailable.
#[derive(Default)]
struct TurnedAway {
    /// How many reports had been answered at the last of them.
    answers: Option<u64>,
    /// How many of them others were answered between.
    alone: u32,
}

impl TurnedAway {
    /// The pause before the next try, besides the circuit's. There is one if others were answered meanwhile: then it may be
    /// this report that the receiver stumbles over, and it must not open the circuit for all again and again. Even so it is
    /// never given up: it was not taken, and not refused.
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
    /// Settles one report, however long it takes. `tries`: how often its entry was handed out.
    pub(super) async fn settle(
        &self,
        entry: &Entry,
        index: usize,
        tries: u64,
    ) -> Result<(), Interrupted> {
        let Some(reservation) = entry.facts.get(index).and_then(Fact::reservation) else {
            return Ok(());
        };
        let report = OnItsWay {
            key: self.key(reservation, Place::of(entry, index)),
            entry,
            index,
        };
        match caught(self.settle_or_panic(&report)).await {
            Ok(settled) => settled,
            Err(panicked) => self.bury_poison(&report, panicked, tries).await,
        }
    }

    async fn settle_or_panic(&self, report: &OnItsWay<'_>) -> Result<(), Interrupted> {
        let alone = self.being_settled.alone_with(&report.key);
        let _alone = self.unless_stopping(alone).await?;
        // It stands as owed before it waits for anything, so that those behind it know that there is something to wait for.
        let Some(owed) = self.still_owed(&report.key).await? else {
            return Ok(());
        };
        #[cfg(test)]
        crate::stumbling::over(report.entry, "a report");
        let _counted = CountedAsOwed::new(self.metrics.owed(self.destination));
        let channel = match &self.way {
            Way::Sent(channel) => channel,
            Way::NotConfigured => {
                let reason = format!("{} is not set", self.destination.variable());
                match owed.replayed_at {
                    None => self.drop_report(report, &owed, reason).await,
                    // An operator wanted it to be sent.
                    Some(_) => self.bury(report, &owed, None, reason).await,
                }
                return Ok(());
            }
            Way::Shown => {
                self.wait_for_previous(report).await?;
                let reason = self.show(report).await?;
                self.drop_report(report, &owed, reason).await;
                return Ok(());
            }
        };
        self.wait_for_previous(report).await?;
        let (mut others_claim, mut turned_away) = (OthersClaim::default(), TurnedAway::default());
        loop {
            let pause = match self.try_once(channel, report, &mut others_claim).await? {
                Next::Settled => return Ok(()),
                Next::Pause(pause) => pause,
                Next::Unavailable => turned_away.pause(channel),
            };
            self.unless_stopping(tokio::time::sleep(pause)).await?;
        }
    }

    /// Logs what a live notifier would send now. Returns why it is not sent.
    async fn show(&self, report: &OnItsWay<'_>) -> Result<String, Interrupted> {
        let why = match self.compose(report).await? {
            Composed::Send(message) => {
                let (destination, reservation) = (self.destination, &report.key.reservation);
                tracing::info!(%destination, %reservation, says = message.first.says, "would report");
                "MODE=shadow".to_owned()
            }
            Composed::NoLongerTrue(reason) => reason.to_owned(),
            Composed::Unsendable(reason) => {
                tracing::warn!(report = %report.key, reason, "could not be reported");
                reason
            }
        };
        Ok(why)
    }

    /// Waits until the report before this one, about the same reservation, is settled.
    async fn wait_for_previous(&self, report: &OnItsWay<'_>) -> Result<(), Interrupted> {
        let place = Place::of(report.entry, report.index);
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
            let known = match self.store.report(&previous).await {
                // Whatever became of it: nobody learns it, and this one would wait for ever.
                Err(error) if error.class() == ErrorClass::Permanent => {
                    tracing::warn!(report = %previous, %error, "the next one does not wait for it");
                    break;
                }
                known => known?,
            };
            match known {
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
}

/// Counts a report as owed while it lives.
struct CountedAsOwed(Gauge);

impl CountedAsOwed {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for CountedAsOwed {
    fn drop(&mut self) {
        self.0.dec();
    }
}
