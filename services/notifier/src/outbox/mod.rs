//! The reports to one destination: from the ledger's entry to the destination's answer, and to `REPORTS`.
//!
//! ```text
//!   entry ─▶ owed? ─▶ settled? ─▶ the one before settled? ─▶ place, circuit ─▶ claim ─▶ still true? ─▶ sign, send ─▶ settled ─▶ ack
//!              no: ack   yes: ack        no: wait                 shut: wait    another's: wait  no: dropped     │
//!                                                                                              500: pause, again ┘
//! ```
//!
//! *Settled* is what stands in `REPORTS`: delivered, a dead letter, or dropped. It is written after the answer and before
//! the acknowledgement, so a kill repeats a report that was in flight at most once. A report is *claimed* there before it is
//! sent, so that no two notifiers send it at once.
//!
//! In a shadow a report is composed and logged in its turn, and dropped.
//!
//! Each entry is handled by a task of its own, so reservations don't wait for each other. The reports about one reservation
//! leave in the ledger's order: each waits until the one before it is settled, whichever notifier has that one in its hands.

mod alone;
mod attempt;
mod claim;
mod dead_letter;
mod in_hand;
mod poison;
mod record;
mod replay;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use bellhop_domain::id::ReservationId;
use bellhop_event_store::{
    ConsumerLimits, Entry, ErrorClass, EventStore, EventStoreError, Handed, Inbox, ReplayRequest,
    ReportKey,
};
use bellhop_service::Alarms;
use bellhop_service::panics::Panicked;
use futures::future::join_all;
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use alone::BeingSettled;
pub(crate) use dead_letter::{DEAD_LETTERS_ALARM, DEAD_LETTERS_TEXT, SERVICE};

use crate::circuit::Circuit;
use crate::destination::Destination;
use crate::metrics::ReportMetrics;
use crate::owed::Composed;
use crate::retry::Pauses;
use crate::secrets::SigningSecrets;
use crate::sender::Sender;
use crate::view::{Followed, Place};
use dead_letter::UnreadEntry;
use in_hand::{Held, InHand};

/// After this the broker hands an entry out again; we say three times as often that we are at it. It is also how long what a
/// killed notifier had in hand waits for another one.
const ACK_WAIT: Duration = Duration::from_secs(15);
/// Entries in hand, in all notifiers together. Those of a destination that is away wait here, and in the stream behind it; a
/// few hundred that wait out their own pauses still leave room for the others.
const MAX_IN_FLIGHT: i64 = 2000;
/// Operators' requests in hand, in all notifiers together.
const MAX_REQUESTS: i64 = 100;
/// Requests to one destination at a time: enough to be quick, few enough not to be a burden.
const CONCURRENT_REQUESTS: usize = 16;
/// How long what is under way may take to end when the service stops.
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// When the broker hands out again what a stopping notifier had in hand: after it was told that we take nothing more.
const STOP_PAUSE: Duration = Duration::from_millis(500);
/// The pause before what panicked is begun anew.
const PANIC_PAUSE: Duration = Duration::from_secs(2);
/// The pause before the broker is asked again.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// All reports to one destination.
pub(crate) struct Outbox {
    pub(crate) destination: Destination,
    /// This notifier among all of them: no other one has this name, nor had.
    pub(crate) notifier: Arc<str>,
    pub(crate) store: EventStore,
    pub(crate) followed: Followed,
    pub(crate) way: Way,
    pub(crate) metrics: ReportMetrics,
    pub(crate) alarms: Alarms,
    pub(crate) being_settled: BeingSettled,
    /// Told of each report that is settled here.
    pub(crate) settled: broadcast::Sender<ReportKey>,
    pub(crate) stopping: CancellationToken,
}

/// What becomes of what is owed to a destination.
pub(crate) enum Way {
    /// It is sent.
    Sent(Box<Channel>),
    /// The destination has no endpoint: it is dropped as it comes, and nothing is caught up on when there is one.
    NotConfigured,
    /// A shadow's: it is composed and logged. Without a channel nothing can be sent.
    Shown,
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
    /// A bug.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// One report on its way.
struct OnItsWay<'a> {
    key: ReportKey,
    entry: &'a Entry,
    index: usize,
}

/// A message that is handled to its end.
trait Work: Sized + Send + Sync + 'static {
    /// Handles it.
    fn done_by(
        outbox: &Outbox,
        handed: &Handed<Self>,
    ) -> impl Future<Output = Result<(), Interrupted>> + Send;

    /// Keeps what can't be handled as a dead letter.
    fn buried_by(
        outbox: &Outbox,
        handed: &Handed<Self>,
        why: Interrupted,
    ) -> impl Future<Output = Result<(), Interrupted>> + Send;
}

impl Work for Entry {
    async fn done_by(outbox: &Outbox, handed: &Handed<Self>) -> Result<(), Interrupted> {
        match &handed.item {
            Ok(entry) => outbox.settle_entry(entry, handed.tries).await,
            Err(unreadable) => outbox.give_up(UnreadEntry::of(handed), unreadable).await,
        }
    }

    async fn buried_by(
        outbox: &Outbox,
        handed: &Handed<Self>,
        why: Interrupted,
    ) -> Result<(), Interrupted> {
        let reason = format!("can't be handled: {why}");
        outbox.bury_entry(UnreadEntry::of(handed), &reason).await;
        Ok(())
    }
}

impl Work for ReplayRequest {
    async fn done_by(outbox: &Outbox, handed: &Handed<Self>) -> Result<(), Interrupted> {
        outbox.replay(handed).await
    }

    async fn buried_by(
        outbox: &Outbox,
        handed: &Handed<Self>,
        why: Interrupted,
    ) -> Result<(), Interrupted> {
        outbox.bury_request(handed, why).await
    }
}

impl Outbox {
    /// Handles entry after entry of the ledger, and what operators want sent again, until the service stops.
    pub(crate) async fn run(self: Arc<Self>) {
        let limits = |max_in_flight, batch| ConsumerLimits {
            ack_wait: ACK_WAIT,
            max_in_flight,
            batch,
        };
        let entries = self
            .store
            .ledger_consumer(self.destination.consumer(), limits(MAX_IN_FLIGHT, 64));
        let requests = self.store.replay_requests(
            self.destination.replay_consumer(),
            self.destination.name(),
            limits(MAX_REQUESTS, 4),
        );
        tokio::join!(
            Arc::clone(&self).work_off(entries),
            Arc::clone(&self).work_off(requests)
        );
    }

    /// Handles message after message until the service stops.
    async fn work_off<T: Work>(self: Arc<Self>, mut inbox: Inbox<T>) {
        let in_hand = InHand::default();
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                handed = inbox.next() => {
                    // One that is in hand already was handed out again after an outage: it is not begun anew.
                    if let Some(held) = in_hand.take(handed) {
                        tasks.spawn(Arc::clone(&self).handle(held));
                    }
                }
            }
        }
        // What is given back now must go to another notifier, and not into a request for more that nobody reads.
        inbox.hand_back().await;
        let drain = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIME, drain).await.is_err() {
            tracing::warn!(destination = %self.destination, "reports still in flight are cut off; they are sent again");
        }
    }

    async fn handle<T: Work>(self: Arc<Self>, held: Held<T>) {
        let keep = async {
            loop {
                tokio::time::sleep(ACK_WAIT / 3).await;
                held.newest().working().await;
            }
        };
        let result = tokio::select! {
            result = self.done_or_buried(&*held.first) => result,
            () = keep => return,
        };
        let handed = held.newest();
        match result {
            Ok(()) => {
                if let Err(error) = handed.ack().await {
                    tracing::debug!(%error, "it comes again, and is found to be settled");
                }
            }
            Err(Interrupted::Stopping) => handed.retry_after(STOP_PAUSE).await,
            // While versions change, a notifier of the newer one takes it.
            Err(Interrupted::Store(error)) if error.class() == ErrorClass::Permanent => {
                tracing::warn!(%error, sequence = handed.sequence, "can't be handled by this version; it comes again");
                handed.retry_after(ACK_WAIT).await;
            }
            Err(Interrupted::Store(error)) => {
                tracing::debug!(%error, "it comes again");
                handed.retry_after(Duration::from_secs(2)).await;
            }
            Err(Interrupted::Panicked(panicked)) => {
                tracing::warn!(%panicked, sequence = handed.sequence, "it comes again");
                handed.retry_after(PANIC_PAUSE).await;
            }
        }
    }

    async fn settle_entry(&self, entry: &Entry, tries: u64) -> Result<(), Interrupted> {
        self.unless_stopping(self.followed.reach(entry.version))
            .await?;
        #[cfg(test)]
        crate::stumbling::over(entry, "what it owes");
        let owing = self.followed.read().owing(self.destination, entry);
        let of_reservations = owing.into_iter().map(|indexes| async move {
            for index in indexes {
                self.settle(entry, index, tries).await?;
            }
            Ok(())
        });
        join_all(of_reservations).await.into_iter().collect()
    }

    /// What a report says as things stand now.
    async fn compose(&self, report: &OnItsWay<'_>) -> Result<Composed, Interrupted> {
        let (entry, index) = (report.entry, report.index);
        let start = self
            .followed
            .read()
            .start_of(self.destination, entry, index);
        let start = match start {
            Some(version) => self.store.entry(version).await?,
            None => None,
        };
        let start = start.and_then(|stored| stored.entry.ok());
        let facts = start.as_ref().map(|start| start.facts.as_slice());
        let view = self.followed.read();
        Ok(view.compose(self.destination, entry, index, facts))
    }

    fn key(&self, reservation: &ReservationId, place: Place) -> ReportKey {
        ReportKey {
            reservation: reservation.clone(),
            version: place.version,
            entry: place.entry,
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
