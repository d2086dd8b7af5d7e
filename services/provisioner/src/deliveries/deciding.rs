//! What a delivery says, decided where its reservation stands.

use std::time::Duration;

use bellhop_domain::id::ResourceId;
use bellhop_domain::reservation::{Command, DeliveryRef, Order, Rehoming, Scope, Word, moved_by};
use bellhop_event_store::{Delivery, EventStore};
use jiff::Timestamp;

use super::{Decides, DeliveryError};
use crate::decisions::Decisions;
use crate::folded::FoldedLedger;
use crate::late_starts::LateStarts;
use crate::sites::OtherSites;
use crate::words::{Meaning, NotOurs, OrderPlace, Place, Reading};

/// How often a word follows its reservation from resource to resource. Each time it was moved in that very moment.
const MOVES: usize = 5;
/// How long our own reading may take to reach the ledger's end.
pub(super) const CATCHING_UP: Duration = Duration::from_secs(10);

/// Decides on deliveries.
pub(crate) struct Deciding {
    pub(crate) store: EventStore,
    pub(crate) folded: FoldedLedger,
    pub(crate) decisions: Decisions,
    pub(crate) reading: Reading,
    pub(crate) other_sites: OtherSites,
    pub(crate) late_starts: LateStarts,
}

impl Decides for Deciding {
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
}

impl Deciding {
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
        for _ in 0..MOVES {
            self.decisions.decide(&resource, command, cause).await?;
            match find() {
                Some(stands) if stands != resource => resource = stands,
                _ => return Ok("decided"),
            }
        }
        Err(DeliveryError::Moving)
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
}
