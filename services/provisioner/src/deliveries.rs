//! Deliveries in: read, understand, decide, acknowledge. In this order: a delivery is acknowledged when its facts are in the
//! ledger, or when it needs none; what can't be handled is a dead letter first.

use std::sync::Arc;
use std::time::Duration;

use bellhop_domain::id::ResourceId;
use bellhop_domain::reservation::{Command, DeliveryRef, Order, Rehoming, Scope, Word, moved_by};
use bellhop_event_store::{
    ConsumerLimits, DeadLetter, DeadLetterClass, Delivery, ErrorClass, EventStore, EventStoreError,
    Handed, StoreError, kept,
};
use bellhop_service::trace_context::{TraceParent, set_parent};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::decisions::{DecisionError, Decisions};
use crate::folded::FoldedLedger;
use crate::late_starts::{LateStarts, NotSureYet};
use crate::metrics::ProvisionerMetrics;
use crate::sites::OtherSites;
use crate::words::{Meaning, NotOurs, NotUnderstood, OrderPlace, Place, Reading};

/// Who gives up, in dead letters.
pub(crate) const SERVICE: &str = "provisioner";
/// The durable consumer that all provisioners share.
pub const CONSUMER: &str = "provisioner";
/// How many deliveries are decided at once.
const AT_ONCE: usize = 32;
/// After this the broker hands a delivery out again. What a killed provisioner had in its hands waits so long, and so does a
/// new one that starts meanwhile; two that decide the same delivery at once do no harm.
const ACK_WAIT: Duration = Duration::from_secs(15);
/// How often a word follows its reservation from resource to resource. Each time it was moved in that very moment.
const MOVES: usize = 5;
/// As so many tries a start rests at most that comes before its time: 0.8 s.
const EARLY_TRIES: u64 = 3;
/// How often a delivery of a newer format is handed out before it is given up, some five minutes: an update of all provisioners
/// takes less, and until it is handled none that starts drives hosts.
const NEWER_FORMAT_TRIES: u64 = 20;
/// How long our own reading may take to reach the ledger's end.
const CATCHING_UP: Duration = Duration::from_secs(10);
const BURIAL: Duration = Duration::from_secs(5);

/// Turns deliveries into facts.
pub(crate) struct Deliveries {
    pub(crate) store: EventStore,
    pub(crate) folded: FoldedLedger,
    pub(crate) decisions: Decisions,
    pub(crate) reading: Reading,
    pub(crate) other_sites: OtherSites,
    pub(crate) metrics: ProvisionerMetrics,
    pub(crate) late_starts: LateStarts,
}

/// A delivery could not be handled.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error(transparent)]
    Decision(#[from] DecisionError),
    #[error(transparent)]
    NotUnderstood(#[from] NotUnderstood),
    #[error(transparent)]
    NotSureYet(#[from] NotSureYet),
    #[error("its reservation is moved from resource to resource")]
    Moving,
    #[error("the ledger was not read to its end within {} s", CATCHING_UP.as_secs())]
    Behind,
    #[error(transparent)]
    Store(#[from] EventStoreError),
    #[error("it is stored in a form that this version does not read: {0}")]
    Form(bellhop_event_store::Unreadable),
}

impl DeliveryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Decision(error) => error.class(),
            // A rolling update: a newer provisioner takes it, up to NEWER_FORMAT_TRIES.
            Self::Form(bellhop_event_store::Unreadable::NewerFormat { .. }) => {
                ErrorClass::Transient
            }
            Self::NotSureYet(_) | Self::Moving | Self::Behind => ErrorClass::Transient,
            Self::Store(error) => error.class(),
            Self::NotUnderstood(_) | Self::Form(_) => ErrorClass::Permanent,
        }
    }

    /// Whether a delivery is given up that was handed out so often.
    fn is_given_up(&self, tries: u64) -> bool {
        match self {
            Self::Form(_) => self.class() == ErrorClass::Permanent || tries >= NEWER_FORMAT_TRIES,
            _ => self.class() == ErrorClass::Permanent,
        }
    }
}

impl Deliveries {
    /// Handles deliveries until told to stop; then finishes those in hand.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let limits = ConsumerLimits {
            ack_wait: ACK_WAIT,
            max_in_flight: 256,
            batch: AT_ONCE,
        };
        let mut inbox = self.store.deliveries(CONSUMER, limits);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await;
                let place = place.expect("this semaphore is never closed");
                (place, inbox.next().await)
            };
            let (place, handed) = tokio::select! {
                () = stop.cancelled() => break,
                next = next => next,
            };
            while let Some(handled) = tasks.try_join_next() {
                handled.expect("handling a delivery does not panic");
            }
            let deliveries = self.clone();
            tasks.spawn(async move {
                deliveries.handle(handed).await;
                drop(place);
            });
        }
        // What the broker hands out from now on must go to somebody who reads it.
        inbox.hand_back().await;
        while let Some(handled) = tasks.join_next().await {
            handled.expect("handling a delivery does not panic");
        }
    }

    async fn handle(&self, handed: Handed<Delivery>) {
        let span = tracing::info_span!(
            "decide",
            delivery = tracing::field::Empty,
            reservation = tracing::field::Empty,
            resource = tracing::field::Empty,
            tries = handed.tries,
        );
        let traceparent = handed
            .item
            .as_ref()
            .ok()
            .and_then(|delivery| delivery.traceparent.clone());
        set_parent(
            &span,
            traceparent
                .and_then(|text| TraceParent::try_from(text).ok())
                .as_ref(),
        );
        async {
            let result = match &handed.item {
                Ok(delivery) => self.decided(delivery, handed.stored_at, handed.tries).await,
                Err(error) => Err(DeliveryError::Form(error.clone())),
            };
            self.settle(&handed, result).await;
        }
        .instrument(span)
        .await;
    }

    /// Decides on what a delivery says, and records its site where nothing else did and that matters: while nobody has said which
    /// sites are served.
    async fn decided(
        &self,
        delivery: &Delivery,
        stored_at: Timestamp,
        tries: u64,
    ) -> Result<&'static str, DeliveryError> {
        let outcome = self.decide(delivery, stored_at, tries).await?;
        let is_a_sender_s = delivery.source.as_str() != bellhop_operators::SOURCE;
        let matters = is_a_sender_s && !self.reading.sites_are_named();
        let site = delivery.site.as_ref().filter(|_| matters);
        let unseen = site.filter(|site| {
            self.folded
                .read(|ledger| ledger.sites().all(|seen| seen != *site))
        });
        if let Some(site) = unseen {
            let seen = Command::SiteSeen {
                site: site.clone(),
                delivery: DeliveryRef {
                    sequence: delivery.sequence,
                    id: delivery.id.clone(),
                },
            };
            let resource = Scope::Site(site.clone()).resource();
            self.decisions
                .decide(&resource, &seen, delivery.id.as_str())
                .await?;
        }
        Ok(outcome)
    }

    async fn decide(
        &self,
        delivery: &Delivery,
        stored_at: Timestamp,
        tries: u64,
    ) -> Result<&'static str, DeliveryError> {
        let span = tracing::Span::current();
        span.record("delivery", tracing::field::display(&delivery.id));
        let (word, place) = match self.reading.of(delivery)? {
            Meaning::Word(word, place) => (word, place),
            Meaning::Order(mut word, place) => {
                word.note.at = Some(stored_at);
                let command = Command::Ordered(word);
                return self.ordered(&command, &place, delivery.id.as_str()).await;
            }
            Meaning::ResourceDeleted(Place::Named { resource, .. }, number) => {
                return self.resource_deleted(resource, number, delivery).await;
            }
            Meaning::ResourceDeleted(Place::NotOurs(not_ours), _) => {
                self.note_other_site(&not_ours, delivery);
                return Ok("nothing_to_do");
            }
            Meaning::Nothing(reason) => {
                tracing::debug!(reason, "nothing to do");
                return Ok("nothing_to_do");
            }
        };
        self.late_starts.may_be_decided(&word, tries).await?;
        let named = match place {
            Place::Named { resource, .. } => Some(resource),
            Place::NotOurs(not_ours) => {
                self.note_other_site(&not_ours, delivery);
                if self.folded.place_of(&word.reservation).is_none() {
                    tracing::debug!(%not_ours, "nothing to do");
                    return Ok("nothing_to_do");
                }
                None
            }
        };
        span.record("reservation", tracing::field::display(&word.reservation));
        self.decide_where_it_stands(&word, named, delivery.id.as_str())
            .await?;
        Ok("decided")
    }

    fn note_other_site(&self, not_ours: &NotOurs, delivery: &Delivery) {
        if let NotOurs::Site(site) = not_ours {
            self.other_sites.came(site.as_ref(), delivery.received_at);
        }
    }

    /// An operator's word about a reservation is decided where that stands, even if it is moved meanwhile.
    async fn ordered(
        &self,
        command: &Command,
        place: &OrderPlace,
        cause: &str,
    ) -> Result<&'static str, DeliveryError> {
        let find = || match place {
            OrderPlace::Resource(resource) => Some(resource.clone()),
            OrderPlace::Reservation(reservation) => self.folded.place_of(reservation),
        };
        // The operator saw the ledger's end, and this word is decided only once: it must not meet an older state.
        let end = self.store.ledger_end().await?;
        if !self.folded.reach_within(end, CATCHING_UP).await {
            return Err(DeliveryError::Behind);
        }
        let Some(mut resource) = find() else {
            tracing::warn!(
                ?place,
                "an operator's word about a reservation that is not known"
            );
            return Ok("nothing_to_do");
        };
        if let Command::Ordered(word) = command
            && let Order::Adopt(adoption) = &word.order
            && let Some(reservation) = &adoption.reservation
            && let Some(obstacle) = self
                .folded
                .read(|ledger| ledger.obstacle_to_adoption(&resource, reservation))
        {
            tracing::warn!(%resource, obstacle, "a host is not adopted");
            return Ok("nothing_to_do");
        }
        let left = self.release_of_one_left(&resource, command);
        let command = left.as_ref().unwrap_or(command);
        for _ in 0..MOVES {
            self.decisions.decide(&resource, command, cause).await?;
            match find() {
                Some(stands) if stands != resource => resource = stands,
                _ => return Ok("decided"),
            }
        }
        Err(DeliveryError::Moving)
    }

    /// What an operator's release of an adopted host is whose reservation was moved elsewhere: that goes on where it stands, and
    /// only what it left behind goes back. None where a command is no such release.
    fn release_of_one_left(&self, resource: &ResourceId, command: &Command) -> Option<Command> {
        let Command::Ordered(word) = command else {
            return None;
        };
        let Order::Release { reservation } = &word.order else {
            return None;
        };
        self.folded.read(|ledger| {
            let (left, to) = ledger.adopted_host_left(resource)?;
            (left == reservation).then(|| Command::MovedOut {
                reservation: left.clone(),
                to: to.clone(),
            })
        })
    }

    /// The sender knows a resource by its number: reservations of it may stand under an earlier name.
    async fn resource_deleted(
        &self,
        named: ResourceId,
        number: Option<i64>,
        delivery: &Delivery,
    ) -> Result<&'static str, DeliveryError> {
        // Nobody says it again: a reservation that was told of just before must be known.
        let end = self.store.ledger_end().await?;
        if !self.folded.reach_within(end, CATCHING_UP).await {
            return Err(DeliveryError::Behind);
        }
        let mut concerned = self.folded.resources_where(|id, resource| {
            id.kind() == named.kind()
                && resource.reservations.values().any(|known| {
                    known.is_live() && number.is_some() && known.resource_number == number
                })
        });
        if !concerned.contains(&named) {
            concerned.push(named);
        }
        let command = Command::ResourceDeleted {
            number,
            delivery: DeliveryRef {
                sequence: delivery.sequence,
                id: delivery.id.clone(),
            },
        };
        for resource in &concerned {
            self.decisions
                .decide(resource, &command, delivery.id.as_str())
                .await?;
        }
        Ok("decided")
    }

    /// A word is decided where its reservation stands, which it may move itself. Another replica may move it meanwhile: then
    /// it is decided anew on the new resource, unless it was the last word on the old. `named`: the resource that it names; none
    /// where that is not ours.
    async fn decide_where_it_stands(
        &self,
        word: &Word,
        named: Option<ResourceId>,
        cause: &str,
    ) -> Result<(), DeliveryError> {
        for _ in 0..MOVES {
            let place = match (self.folded.place_of(&word.reservation), &named) {
                (Some(stands), Some(named)) if stands != *named => {
                    self.follow(word, stands, named, cause).await?
                }
                (Some(stands), _) => stands,
                (None, Some(named)) => named.clone(),
                (None, None) => return Ok(()),
            };
            tracing::Span::current().record("resource", tracing::field::display(&place));
            // Where the reservation stands in another namespace than its site's, for whatever reason, it is unsettled.
            let is_home = named
                .as_ref()
                .is_some_and(|named| named.namespace() == place.namespace());
            let said = Box::new(Word {
                site_named: word.site_named && is_home,
                only_site: (word.only_site && is_home)
                    || self
                        .folded
                        .read(|ledger| ledger.is_only_site(word.site.as_ref())),
                ..word.clone()
            });
            let said = match &named {
                Some(_) => Command::Said(said),
                None => Command::SaidOfUnserved(said),
            };
            self.decisions.decide(&place, &said, cause).await?;
            let known = self
                .folded
                .resource(&place)
                .reservations
                .remove(&word.reservation);
            let over = known.is_some_and(|known| known.outcome().is_some());
            if over
                || self
                    .folded
                    .place_of(&word.reservation)
                    .is_none_or(|stands| stands == place)
            {
                return Ok(());
            }
        }
        Err(DeliveryError::Moving)
    }

    /// Takes a reservation elsewhere where the word, or the configuration, says so: a fact there, then one on the old resource.
    /// What a crash between the two leaves is found by the sweep. Returns where the reservation stands then.
    async fn follow(
        &self,
        word: &Word,
        stands: ResourceId,
        named: &ResourceId,
        cause: &str,
    ) -> Result<ResourceId, DeliveryError> {
        let state = self.folded.resource(&stands);
        let (to, command) = if let Some(started) = moved_by(word, named, &stands, &state) {
            let former = state
                .reservations
                .get(&word.reservation)
                .and_then(|known| known.user.clone());
            let moved = Command::MovedIn {
                word: Box::new(word.clone()),
                from: stands.clone(),
                started,
                former,
            };
            (named.clone(), moved)
        } else if let Some((to, rehoming)) = Rehoming::by_word(word, named, &stands, &state) {
            (to, Command::Rehomed(Box::new(rehoming)))
        } else {
            if named.name() != stands.name() {
                tracing::warn!(%named, %stands, "another name for the same resource: decided where the reservation stands");
            }
            return Ok(stands);
        };
        self.decisions.decide(&to, &command, cause).await?;
        let to = self.folded.place_of(&word.reservation).unwrap_or(to);
        self.decisions
            .let_go(&stands, &word.reservation, &to, cause)
            .await?;
        Ok(to)
    }

    async fn settle(&self, handed: &Handed<Delivery>, result: Result<&'static str, DeliveryError>) {
        let outcome = match result {
            Ok(outcome) => {
                acked(handed.ack().await);
                outcome
            }
            Err(error) if error.is_given_up(handed.tries) => {
                match self.bury(handed, &error).await {
                    Ok(()) => {
                        acked(handed.terminate().await);
                        "dead_letter"
                    }
                    Err(store) => self.later(handed, &store, pause(handed.tries)).await,
                }
            }
            Err(error) => {
                let pause = pause_after(&error, handed.tries);
                self.later(handed, &error, pause).await
            }
        };
        self.metrics.delivery(outcome);
    }

    async fn later(
        &self,
        handed: &Handed<Delivery>,
        error: &(dyn std::error::Error + Send + Sync + 'static),
        pause: Duration,
    ) -> &'static str {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            sequence = handed.sequence,
            ?pause,
            "could not decide on a delivery; trying again"
        );
        handed.retry_after(pause).await;
        "retried"
    }

    async fn bury(
        &self,
        handed: &Handed<Delivery>,
        error: &DeliveryError,
    ) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let source = handed
            .item
            .as_ref()
            .map_or("unknown", |delivery| delivery.source.as_str());
        let letter = DeadLetter {
            service: SERVICE,
            class: DeadLetterClass::Delivery,
            id: format!("provisioner-{}", handed.sequence),
            what: source.to_owned(),
            reason: error.to_string(),
            tries: handed.tries,
            first_at: handed.stored_at,
            last_at: now,
            traceparent: handed
                .item
                .as_ref()
                .ok()
                .and_then(|delivery| delivery.traceparent.clone()),
            headers: handed
                .headers()
                .into_iter()
                .chain([(kept::SUBJECT.to_owned(), handed.subject().to_owned())])
                .collect(),
            body: handed.body(),
        };
        match self.store.bury(&letter, BURIAL).await {
            // With its reason and headers it is larger than the broker takes: the delivery itself has its body.
            Err(StoreError::NotAMessage { .. }) => {
                let reason = format!(
                    "{} (its body is in DELIVERIES at {})",
                    letter.reason, handed.sequence
                );
                let short = DeadLetter {
                    reason,
                    headers: vec![
                        (kept::SUBJECT.to_owned(), handed.subject().to_owned()),
                        (kept::DELIVERY.to_owned(), handed.sequence.to_string()),
                    ],
                    body: bytes::Bytes::new(),
                    ..letter
                };
                self.store.bury(&short, BURIAL).await?
            }
            buried => buried?,
        };
        tracing::error!(
            error = error as &dyn std::error::Error,
            sequence = handed.sequence,
            "a delivery is a dead letter now"
        );
        Ok(())
    }
}

/// An acknowledgement that got lost: the delivery comes once more, and deciding it again gives no facts.
fn acked(result: Result<(), EventStoreError>) {
    if let Err(error) = result {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "an acknowledgement was not confirmed"
        );
    }
}

/// How long a delivery rests after an error. One that only comes before it is sure does not rest longer the more often it was handed out, by
/// whichever process: until it is handled a provisioner that starts does not drive hosts.
fn pause_after(error: &DeliveryError, tries: u64) -> Duration {
    match error {
        DeliveryError::NotSureYet(_) => pause(tries.min(EARLY_TRIES)),
        _ => pause(tries),
    }
}

/// 0.2, 0.4, 0.8 … 30 seconds, with jitter.
fn pause(tries: u64) -> Duration {
    let doublings = u32::try_from(tries.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(8);
    let full = Duration::from_millis(200 << doublings).min(Duration::from_secs(30));
    full.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_start_that_waits_for_an_extension_does_not_rest_longer_the_more_often_it_was_tried() {
        for tries in 1..100 {
            assert!(pause_after(&NotSureYet::Extension.into(), tries) <= Duration::from_secs(1));
        }
        assert!(pause_after(&DeliveryError::Behind, 50) >= Duration::from_secs(15));
    }
}
