//! The reports to one destination: from the ledger's entry to the destination's answer, and to `REPORTS`.
//!
//! ```text
//!   entry ─▶ owed? ─▶ settled? ─▶ the one before settled? ─▶ place, circuit ─▶ still true? ─▶ sign, send ─▶ settled ─▶ ack
//!              no: ack   yes: ack        no: wait                 shut: wait      no: dropped       │
//!                                                                                 500: pause, again ┘
//! ```
//!
//! *Settled* is what stands in `REPORTS`: delivered, a dead letter, or dropped. It is written after the answer and before
//! the acknowledgement, so a kill repeats a report that was in flight at most once.
//!
//! Each entry is handled by a task of its own, so reservations don't wait for each other. The reports about one reservation
//! leave in the ledger's order: each waits until the one before it is settled, whichever notifier has that one in its hands.

use std::sync::Arc;
use std::time::Duration;

use bellhop_domain::id::ReservationId;
use bellhop_event_store::{
    ConsumerLimits, DeadLetter, DeadLetterClass, Entry, ErrorClass, EventStore, EventStoreError,
    Handed, ReportError, ReportKey, ReportState, Revision, Unreadable,
};
use bellhop_reservation_system::sign;
use bellhop_service::Alarms;
use bellhop_service::trace_context::{set_parent, traceparent_of};
use bytes::Bytes;
use futures::future::join_all;
use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, SemaphorePermit, broadcast};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, info_span};

use crate::circuit::{Circuit, Permit};
use crate::destination::Destination;
use crate::metrics::ReportMetrics;
use crate::owed::{Composed, Report};
use crate::retry::Pauses;
use crate::secrets::SigningSecrets;
use crate::sender::{Outcome, Sender};
use crate::view::{Followed, Place};

/// Who we are in the dead letters.
pub(crate) const SERVICE: &str = "notifier";
/// The kind of alarm that is on while there are dead letters of ours, and what it is about.
pub(crate) const DEAD_LETTERS_ALARM: (&str, &str) = ("dead_letters", "dead_letters.notifier");

/// After this the broker hands an entry out again; we say three times as often that we are at it. It is also how long what a
/// killed notifier had in hand waits for another one.
const ACK_WAIT: Duration = Duration::from_secs(15);
/// Entries in hand, in all notifiers together. Those of a destination that is away wait here, and in the stream behind it; a
/// few hundred that wait out their own pauses still leave room for the others.
const MAX_IN_FLIGHT: i64 = 2000;
/// Requests to one destination at a time: enough to be quick, few enough not to be a burden.
const CONCURRENT_REQUESTS: usize = 16;
/// Without any trace of the report before after so long, nobody has it in hand: whoever had it at a crash was given it again
/// by now. So nobody owes it (an older version of Bellhop may have decided so), and it is not waited for.
const PREVIOUS_UNTRACED: Duration = ACK_WAIT.saturating_mul(3);
/// How long what is under way may take to end when the service stops.
const DRAIN_TIME: Duration = Duration::from_secs(10);
const BURY_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before the broker is asked again.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// All reports to one destination.
pub(crate) struct Outbox {
    pub(crate) destination: Destination,
    pub(crate) store: EventStore,
    pub(crate) followed: Followed,
    /// None where the destination has no endpoint: then what is owed to it is dropped as it comes, and nothing is caught up
    /// on when it gets one.
    pub(crate) channel: Option<Channel>,
    pub(crate) metrics: ReportMetrics,
    pub(crate) alarms: Alarms,
    /// Told of each report that is settled here.
    pub(crate) settled: broadcast::Sender<ReportKey>,
    pub(crate) stopping: CancellationToken,
}

/// The way to a destination.
pub(crate) struct Channel {
    pub(crate) sender: Sender,
    pub(crate) circuit: Circuit,
    pub(crate) secrets: SigningSecrets,
    pub(crate) attempts: u32,
    pub(crate) pauses: Pauses,
    places: Semaphore,
}

impl Channel {
    pub(crate) fn new(
        sender: Sender,
        circuit: Circuit,
        secrets: SigningSecrets,
        attempts: u32,
        pauses: Pauses,
    ) -> Self {
        let places = Semaphore::new(CONCURRENT_REQUESTS);
        Self {
            sender,
            circuit,
            secrets,
            attempts,
            pauses,
            places,
        }
    }
}

/// Why an entry was not handled to its end.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    /// The service stops.
    #[error("the notifier stops")]
    Stopping,
    /// The broker could not be asked.
    #[error(transparent)]
    Store(#[from] EventStoreError),
}

/// A report that stands as owed in `REPORTS`.
struct Owed {
    attempts: u32,
    first_at: Timestamp,
    revision: Revision,
}

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

/// One report on its way.
struct OnItsWay<'a> {
    key: ReportKey,
    entry: &'a Entry,
    index: usize,
}

impl Outbox {
    /// Handles entry after entry until the service stops.
    pub(crate) async fn run(self: Arc<Self>) {
        let limits = ConsumerLimits {
            ack_wait: ACK_WAIT,
            max_in_flight: MAX_IN_FLIGHT,
            batch: 64,
        };
        let mut inbox = self
            .store
            .ledger_consumer(self.destination.consumer(), limits);
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                handed = inbox.next() => {
                    tasks.spawn(Arc::clone(&self).handle(handed));
                }
            }
        }
        let drain = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIME, drain).await.is_err() {
            tracing::warn!(destination = %self.destination, "reports still in flight are cut off; they are sent again");
        }
    }

    async fn handle(self: Arc<Self>, handed: Handed<Entry>) {
        let keep = async {
            loop {
                tokio::time::sleep(ACK_WAIT / 3).await;
                handed.working().await;
            }
        };
        let work = async {
            match &handed.item {
                Ok(entry) => self.settle_entry(entry).await,
                Err(unreadable) => self.give_up(&handed, unreadable).await,
            }
        };
        let result = tokio::select! {
            result = work => result,
            () = keep => return,
        };
        match result {
            Ok(()) => {
                if let Err(error) = handed.ack().await {
                    tracing::debug!(%error, "the entry comes again, and is found to be settled");
                }
            }
            Err(Interrupted::Stopping) => handed.retry_after(Duration::ZERO).await,
            Err(Interrupted::Store(error)) => {
                tracing::debug!(%error, "the entry comes again");
                handed.retry_after(Duration::from_secs(2)).await;
            }
        }
    }

    async fn settle_entry(&self, entry: &Entry) -> Result<(), Interrupted> {
        self.unless_stopping(self.followed.reach(entry.version))
            .await?;
        let owing = self.followed.read().owing(self.destination, entry);
        let of_reservations = owing.into_iter().map(|indexes| async move {
            for index in indexes {
                self.settle(entry, index).await?;
            }
            Ok(())
        });
        join_all(of_reservations).await.into_iter().collect()
    }

    /// Settles one report, however long it takes.
    async fn settle(&self, entry: &Entry, index: usize) -> Result<(), Interrupted> {
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

    /// The report as it stands in `REPORTS`, made there if it isn't yet; none once it is settled.
    async fn still_owed(&self, key: &ReportKey) -> Result<Option<Owed>, Interrupted> {
        loop {
            match self.store.report(key).await? {
                Some((
                    ReportState::Owed {
                        attempts, first_at, ..
                    },
                    revision,
                )) => {
                    return Ok(Some(Owed {
                        attempts,
                        first_at,
                        revision,
                    }));
                }
                Some(_) => return Ok(None),
                None => {
                    let first_at = Timestamp::now();
                    let state = ReportState::Owed {
                        attempts: 0,
                        last_error: None,
                        first_at,
                    };
                    match self.store.set_report(key, &state, None).await {
                        Ok(revision) => {
                            return Ok(Some(Owed {
                                attempts: 0,
                                first_at,
                                revision,
                            }));
                        }
                        // Another notifier has it too: look again.
                        Err(ReportError::Conflict { .. }) => {}
                        Err(ReportError::Store(error)) => return Err(error.into()),
                    }
                }
            }
        }
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

    async fn drop_report(&self, report: &OnItsWay<'_>, revision: Revision, reason: String) {
        tracing::info!(report = %report.key, reason, "report not sent");
        let state = ReportState::Dropped {
            at: Timestamp::now(),
            reason,
        };
        self.remember(&report.key, state, revision).await;
        self.metrics.settled(self.destination, "dropped");
    }

    /// Keeps a report that can't be delivered as a dead letter.
    async fn bury(
        &self,
        report: &OnItsWay<'_>,
        owed: &Owed,
        message: Option<&Report>,
        reason: String,
    ) {
        let fact = report.entry.facts.get(report.index);
        let body = match message {
            Some(message) => message.body.clone(),
            None => serde_json::to_vec(&fact).unwrap_or_default(),
        };
        let mut headers = vec![("Report".to_owned(), report.key.to_string())];
        headers.extend(fact.map(|fact| ("Fact".to_owned(), fact.name().to_owned())));
        headers.extend(message.map(|message| ("Webhook".to_owned(), message.webhook.to_string())));
        let at = Timestamp::now();
        self.store_letter(&DeadLetter {
            service: SERVICE,
            class: DeadLetterClass::Report,
            id: report.key.to_string(),
            what: self.destination.name().to_owned(),
            reason: reason.clone(),
            tries: u64::from(owed.attempts),
            first_at: owed.first_at,
            last_at: at,
            traceparent: report.entry.traceparent.clone(),
            headers,
            body: Bytes::from(body),
        })
        .await;
        tracing::error!(
            report = %report.key,
            reservation = %report.key.reservation,
            destination = %self.destination,
            fact = fact.map(|fact| fact.name()),
            reason,
            "a report could not be delivered; it is kept as a dead letter"
        );
        self.remember(
            &report.key,
            ReportState::DeadLettered { at, reason },
            owed.revision,
        )
        .await;
        self.metrics.settled(self.destination, "dead_letter");
    }

    /// An entry that this version can't read must not keep the others from being handled.
    async fn give_up(
        &self,
        handed: &Handed<Entry>,
        unreadable: &Unreadable,
    ) -> Result<(), Interrupted> {
        if let Unreadable::NewerFormat { .. } = unreadable {
            // While versions change, a notifier of the newer one takes it. The ledger's follower raises an alarm.
            self.unless_stopping(tokio::time::sleep(ACK_WAIT)).await?;
            let error = EventStoreError::from(unreadable.clone());
            return Err(error.into());
        }
        let at = Timestamp::now();
        self.store_letter(&DeadLetter {
            service: SERVICE,
            class: DeadLetterClass::Delivery,
            id: format!("ledger-{}-{}", handed.sequence, self.destination),
            what: self.destination.name().to_owned(),
            reason: format!(
                "entry {} of the ledger can't be read: {unreadable}",
                handed.sequence
            ),
            tries: handed.tries,
            first_at: handed.stored_at,
            last_at: at,
            traceparent: None,
            headers: handed.headers(),
            body: handed.body(),
        })
        .await;
        tracing::error!(
            sequence = handed.sequence,
            destination = %self.destination,
            reason = %unreadable,
            "an entry of the ledger can't be read; it is kept as a dead letter"
        );
        Ok(())
    }

    /// Stores a dead letter, however often the broker must be asked: only then may the report be given up.
    async fn store_letter(&self, letter: &DeadLetter) {
        let (kind, about) = DEAD_LETTERS_ALARM;
        self.alarms.raise(kind, about, DEAD_LETTERS_TEXT);
        while let Err(error) = self.store.bury(letter, BURY_TIMEOUT).await {
            if error.class() == ErrorClass::Permanent {
                tracing::error!(%error, id = letter.id, reason = letter.reason, "a dead letter can't be stored");
                return;
            }
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }

    /// Writes what became of a report, however often the broker must be asked: it was sent, or buried, and that can't be
    /// undone.
    async fn remember(&self, key: &ReportKey, state: ReportState, revision: Revision) {
        let mut last = Some(revision);
        let mut trouble = false;
        loop {
            let error = match self.store.set_report(key, &state, last).await {
                Ok(_) => break,
                Err(ReportError::Conflict { .. }) => match self.store.report(key).await {
                    // Another notifier was quicker, or our own try before was stored though its answer was lost.
                    Ok(Some((known, _))) if known.is_settled() || known == state => break,
                    Ok(now) => {
                        last = now.map(|(_, revision)| revision);
                        continue;
                    }
                    Err(error) => error,
                },
                Err(ReportError::Store(error)) => error,
            };
            if !std::mem::replace(&mut trouble, true) {
                tracing::warn!(report = %key, %error, "cannot write down what became of a report; trying again");
            }
            tokio::time::sleep(STORE_PAUSE).await;
        }
        if state.is_settled() {
            // An error means that nobody waits.
            let _ = self.settled.send(key.clone());
        }
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

    fn key(&self, reservation: &ReservationId, place: Place) -> ReportKey {
        ReportKey {
            reservation: reservation.clone(),
            version: place.version,
            index: place.index,
            destination: self.destination.name(),
        }
    }

    async fn unless_stopping<T>(&self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Err(Interrupted::Stopping),
            done = work => Ok(done),
        }
    }
}

/// What the alarm about dead letters says.
pub(crate) const DEAD_LETTERS_TEXT: &str = "reports that could not be delivered are kept in the stream DEAD_LETTERS: see why, \
     mend it, and replay or drop them";

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
