//! What the ledger says, folded for the reports: each reservation's state now, and which of its facts owe a report.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bellhop_domain::id::{ReservationId, Version, WebhookId};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::Fact;
use bellhop_domain::reservation::heard::MOST_WEBHOOKS;
use bellhop_event_store::{Entry, EntryId, EventStore, FollowError, LedgerEntry};
use bellhop_service::panics::caught_now;
use bellhop_service::{Alarms, Dependency};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::destination::Destination;
use crate::owed::{self, Composed, Occasion, StartPayload};

/// The ledger as far as it was read. Pure: [`LedgerView::take_in`] is all that changes it.
#[derive(Debug, Default)]
pub struct LedgerView {
    ledger: Ledger,
    histories: HashMap<ReservationId, History>,
}

/// What is kept of a reservation beside its state.
#[derive(Debug, Default)]
struct History {
    assigned_at: Option<Timestamp>,
    /// It is over, on whatever resource: two provisioners that hear of it at once on two resources may each decide an outcome,
    /// and the first one in the ledger is told.
    over: bool,
    /// The webhooks that brought deliveries about it, by the facts that name them: that of its accepted start, then the others
    /// in the order in which they were first named.
    webhooks: Vec<WebhookId>,
    /// The first of them is that of its accepted start.
    started: bool,
    /// The entry that holds the payload of its start. Not kept itself: payloads are most of the ledger.
    start: Option<Version>,
    /// The facts that owe reports, in the order of the ledger.
    owing: Vec<Owing>,
}

impl History {
    fn note_webhook(&mut self, fact: &Fact) {
        let Some(webhook) = fact.webhook() else {
            return;
        };
        let starts = matches!(fact, Fact::ReservationStarted(_)) && !self.started;
        if starts {
            self.started = true;
            self.webhooks.retain(|known| known != webhook);
            self.webhooks.insert(0, webhook.clone());
            self.webhooks.truncate(MOST_WEBHOOKS);
        } else if !self.webhooks.contains(webhook) && self.webhooks.len() < MOST_WEBHOOKS {
            self.webhooks.push(webhook.clone());
        }
    }
}

/// A fact that owes reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owing {
    place: Place,
    /// In the order of [`Destination::ALL`].
    to: [bool; Destination::ALL.len()],
}

/// Where a fact stands in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The entry.
    pub version: Version,
    /// Which of its facts, from 0.
    pub index: usize,
    /// The entry's id.
    pub entry: Option<EntryId>,
}

impl Place {
    /// The place of an entry's fact.
    pub fn of(entry: &Entry, index: usize) -> Self {
        Self {
            version: entry.version,
            index,
            entry: entry.id,
        }
    }
}

impl LedgerView {
    /// Takes in the next entry. One that was taken in before changes nothing.
    pub fn take_in(&mut self, entry: &Entry) {
        #[cfg(test)]
        crate::stumbling::over(entry, "its folding");
        if entry.version <= self.ledger.version() {
            return;
        }
        self.ledger.apply(
            &entry.resource,
            entry.version,
            entry.at,
            entry.traceparent.as_deref(),
            &entry.facts,
        );
        for (index, fact) in entry.facts.iter().enumerate() {
            // What is about no reservation owes no report.
            let Some(reservation) = fact.reservation() else {
                continue;
            };
            let history = self.histories.entry(reservation.clone()).or_default();
            history.note_webhook(fact);
            let was_over = history.over;
            if !was_over && owed::start_payload(fact).is_some() {
                history.start.get_or_insert(entry.version);
            }
            history.over |= fact.is_outcome();
            if let Fact::HostAssigned { .. } = fact {
                history.assigned_at = Some(entry.at);
            }
            let Some(occasion) = self.occasion(entry, index) else {
                continue;
            };
            let to =
                Destination::ALL.map(|destination| owed::owes(destination, &occasion, was_over));
            if to.contains(&true) {
                let place = Place::of(entry, index);
                let history = self.histories.entry(reservation.clone()).or_default();
                history.owing.push(Owing { place, to });
            }
        }
    }

    /// Notes that the entry at `version` says nothing of reservations, or can't be read.
    pub fn pass_over(&mut self, version: Version) {
        self.ledger.advance(version);
    }

    /// How far the ledger was read.
    pub fn version(&self) -> Version {
        self.ledger.version()
    }

    /// Which facts of an entry owe a report to `destination`, each reservation's in one list in their order.
    pub fn owing(&self, destination: Destination, entry: &Entry) -> Vec<Vec<usize>> {
        let mut of_reservations: Vec<(&ReservationId, Vec<usize>)> = Vec::new();
        for (index, fact) in entry.facts.iter().enumerate() {
            let Some(reservation) = fact.reservation() else {
                continue;
            };
            let place = Place::of(entry, index);
            if !self
                .owing_to(destination, reservation)
                .any(|owing| owing == place)
            {
                continue;
            }
            match of_reservations
                .iter_mut()
                .find(|(known, _)| *known == reservation)
            {
                Some((_, indexes)) => indexes.push(index),
                None => of_reservations.push((reservation, vec![index])),
            }
        }
        of_reservations
            .into_iter()
            .map(|(_, indexes)| indexes)
            .collect()
    }

    /// The fact before `place` that owes a report about the same reservation to the same destination.
    pub fn previous(
        &self,
        destination: Destination,
        reservation: &ReservationId,
        place: Place,
    ) -> Option<Place> {
        self.owing_to(destination, reservation)
            .take_while(|owing| *owing < place)
            .last()
    }

    /// The entry that [`LedgerView::compose`] needs beside the fact's own; none where it needs none.
    pub fn start_of(
        &self,
        destination: Destination,
        entry: &Entry,
        index: usize,
    ) -> Option<Version> {
        let fact = entry.facts.get(index)?;
        let start = self.histories.get(fact.reservation()?)?.start?;
        (owed::tells_of_start(destination, fact) && start != entry.version).then_some(start)
    }

    /// What the report says that the fact at `index` of `entry` owes, as things stand now. `start`: the facts of the entry that
    /// [`LedgerView::start_of`] names, where that could be had.
    pub fn compose(
        &self,
        destination: Destination,
        entry: &Entry,
        index: usize,
        start: Option<&[Fact]>,
    ) -> Composed {
        match self.occasion(entry, index) {
            Some(occasion) => {
                let start = self.start_payload(entry, index, start);
                owed::compose(destination, &Occasion { start, ..occasion })
            }
            None => Composed::Unsendable("the ledger does not know its resource".to_owned()),
        }
    }

    fn start_payload<'a>(
        &self,
        entry: &'a Entry,
        index: usize,
        start: Option<&'a [Fact]>,
    ) -> StartPayload<'a> {
        let reservation = entry.facts.get(index).and_then(Fact::reservation);
        let Some((reservation, history)) =
            reservation.and_then(|id| Some((id, self.histories.get(id)?)))
        else {
            return StartPayload::None;
        };
        match history.start {
            None => StartPayload::None,
            Some(version) if version == entry.version => {
                StartPayload::among(&entry.facts, reservation)
            }
            Some(_) => StartPayload::among(start.unwrap_or_default(), reservation),
        }
    }

    fn owing_to(
        &self,
        destination: Destination,
        reservation: &ReservationId,
    ) -> impl Iterator<Item = Place> {
        let owing = self
            .histories
            .get(reservation)
            .map_or(&[][..], |history| &history.owing);
        owing
            .iter()
            .filter(move |owing| {
                Destination::ALL
                    .iter()
                    .zip(owing.to)
                    .any(|(to, owes)| owes && *to == destination)
            })
            .map(|owing| owing.place)
    }

    fn occasion<'a>(&'a self, entry: &'a Entry, index: usize) -> Option<Occasion<'a>> {
        let reservation = entry.facts.get(index)?.reservation()?;
        let history = self.histories.get(reservation);
        Some(Occasion {
            resource_id: &entry.resource,
            facts: &entry.facts,
            index,
            at: entry.at,
            resource: self.ledger.resource(&entry.resource)?,
            assigned_at: history.and_then(|history| history.assigned_at),
            webhooks: history.map_or(&[], |history| &history.webhooks),
            start: StartPayload::None,
        })
    }
}

/// A [`LedgerView`] that follows the ledger, shared by all who compose reports.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    view: Arc<RwLock<LedgerView>>,
    progress: watch::Receiver<Progress>,
}

/// How far the ledger was read.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    version: Version,
    /// Everything was read that the ledger held at the start.
    caught_up: bool,
}

impl Followed {
    /// The view, and the work that keeps it up to date for ever. It ends where the ledger is not the one any more that was
    /// read: then nothing may be reported upon it. `dependency` becomes ok when everything is read that the
    /// ledger held at the start.
    pub(crate) fn new(
        store: EventStore,
        dependency: Dependency,
        alarms: Alarms,
    ) -> (Self, impl Future<Output = FollowError> + Send) {
        let (sender, progress) = watch::channel(Progress::default());
        let view = Arc::new(RwLock::new(LedgerView::default()));
        let work = follow(store, Arc::clone(&view), sender, dependency, alarms);
        (Self { view, progress }, work)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, LedgerView> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the ledger was read as far as `version`, and as far as it went when the service started: what a report
    /// says must not hang on a state of long ago.
    pub(crate) async fn reach(&self, version: Version) {
        let mut progress = self.progress.clone();
        let reached = |progress: &Progress| progress.caught_up && progress.version >= version;
        // The sender lives as long as the service does; without it there is nothing left to wait for.
        if progress.wait_for(reached).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn follow(
    store: EventStore,
    view: Arc<RwLock<LedgerView>>,
    progress: watch::Sender<Progress>,
    dependency: Dependency,
    alarms: Alarms,
) -> FollowError {
    let end = end_of_ledger(&store, &dependency).await;
    let tell = |version: Version| {
        let caught_up = version >= end;
        progress.send_replace(Progress { version, caught_up });
        if caught_up {
            dependency.ok();
        }
    };
    tell(Version::default());
    let mut follower = store.follow_ledger(Version::default());
    loop {
        let next = follower.next().await;
        let change = |change: &mut dyn FnMut(&mut LedgerView)| {
            let mut view = view.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut view);
            view.version()
        };
        let seen = match next {
            Ok(LedgerEntry::Resource(entry)) => {
                let (version, mut poison) = (entry.version, None);
                let seen = change(&mut |view| {
                    poison = caught_now(|| view.take_in(&entry)).err();
                    view.pass_over(version);
                });
                if let Some(panicked) = poison {
                    alarm_of_unread(&alarms, version, &panicked);
                }
                seen
            }
            Ok(entry @ (LedgerEntry::Capacity(_) | LedgerEntry::DeadlineReleases(_))) => {
                change(&mut |view| view.pass_over(entry.version()))
            }
            Err(FollowError::Unreadable { sequence, cause }) => {
                alarm_of_unread(&alarms, Version(sequence), &cause);
                let seen = change(&mut |view| view.pass_over(Version(sequence)));
                follower = store.follow_ledger(seen);
                seen
            }
            Err(error) => return error,
        };
        tell(seen);
    }
}

/// Its facts owe reports that we can't know of; that must not keep the others from leaving.
fn alarm_of_unread(alarms: &Alarms, version: Version, why: &dyn std::error::Error) {
    let text = format!(
        "the ledger can't be read at sequence {version} ({why}): was it written by a newer version of Bellhop? Nothing that it \
         says is reported"
    );
    alarms.raise("ledger_unreadable", &version.to_string(), &text);
}

async fn end_of_ledger(store: &EventStore, dependency: &Dependency) -> Version {
    loop {
        match store.ledger_end().await {
            Ok(end) => {
                if end > Version::default() {
                    dependency.down(format!("reading it up to entry {end}"));
                }
                return end;
            }
            Err(error) => {
                dependency.down(format!("its end is not known: {error}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
