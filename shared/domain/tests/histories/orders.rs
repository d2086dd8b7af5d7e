//! What operators say, as the commands let them: of what the ledger and the cluster hold at that moment; and resources that the
//! sender deletes.

use std::collections::BTreeSet;
use std::time::Duration;

use bellhop_domain::id::{ReservationId, SiteId};
use bellhop_domain::reservation::{
    Adoption, Holding, Image, Note, Occupancy, OperatorWord, Order, Phase, Scope, TenantKey, Terms,
};

use bellhop_domain::time;

use super::action::{Covers, Says};
use super::cluster::Key;
use super::delivery::{DeletedResource, Delivery, OrderPlace, Ordered, reference};
use super::host::Consumer;
use super::sender::{self, Sent, at};
use super::world::{HOSTS, World};

/// How many sites the sender has.
pub(crate) const SITES: usize = 2;
/// Where, among all that can be paused, everything is.
pub(crate) const EVERYTHING: usize = HOSTS + SITES;

/// The sender's sites.
pub(crate) fn site(number: usize) -> SiteId {
    SiteId::new(format!("s{number}"))
}

/// All that can be paused: each resource, each site, and everything.
pub(crate) fn scopes(names: &[bellhop_domain::id::ResourceId; HOSTS]) -> Vec<Scope> {
    let resources = names.iter().cloned().map(Scope::Resource);
    let sites = (0..SITES).map(|number| Scope::Site(site(number)));
    resources.chain(sites).chain([Scope::Everything]).collect()
}

impl World {
    /// An operator says this, where there is anything to say it of.
    pub(crate) fn says(&mut self, resource: usize, says: Says) {
        let sequence = self.next_sequence;
        let Some((order, place)) = self.order(resource, says, sequence) else {
            return;
        };
        self.orders(order, place);
    }

    pub(crate) fn orders(&mut self, order: Order, place: OrderPlace) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.tell(|| format!("an operator says {order:?}"));
        if let Order::BringKey {
            reservation, user, ..
        } = &order
        {
            let key = Key {
                reservation: reservation.clone(),
                user: user.clone(),
            };
            self.keys.insert(sequence, key);
        }
        self.taken.insert(sequence);
        self.judge.is_ordered(&order, &place);
        let note = Note {
            by: "ada".to_owned(),
            why: "a history".to_owned(),
            at: Some(time::after(at(self.now), Duration::from_nanos(sequence))),
        };
        self.waiting.push(Delivery::Ordered(Ordered {
            word: OperatorWord { order, note },
            place,
            sequence,
        }));
    }

    fn order(&self, resource: usize, says: Says, sequence: u64) -> Option<(Order, OrderPlace)> {
        let here = OrderPlace::Resource(resource);
        let of = |reservation: &ReservationId| OrderPlace::Reservation(reservation.clone());
        let state = self.resource(resource);
        Some(match says {
            Says::Extend { seconds } => {
                let reservation = self.holder(resource).or_else(|| self.waits(resource))?;
                let place = of(&reservation);
                let until = at(self.now + seconds);
                (Order::Extend { reservation, until }, place)
            }
            Says::Release { earlier } => {
                let reservation = if earlier {
                    self.earlier_holder(resource)?
                } else {
                    self.holder(resource)?
                };
                (Order::Release { reservation }, here)
            }
            Says::Allow => {
                let asks = self.waits_for_operator().or_else(|| self.waits(resource));
                let reservation = asks?;
                let place = of(&reservation);
                (Order::Allow { reservation }, place)
            }
            Says::Retry { earlier } => {
                let lacks = |phase: &Phase| {
                    matches!(phase, Phase::Waiting(waiting) | Phase::Postponed(waiting)
                        if waiting.key != TenantKey::InDelivery)
                };
                let mut all = state?.reservations.iter();
                let (reservation, _) = all.find(|(_, known)| lacks(&known.phase))?;
                let order = Order::BringKey {
                    reservation: reservation.clone(),
                    user: if earlier {
                        Some(sender::first_owner())
                    } else {
                        self.owner_of(reservation)
                    },
                    delivery: reference(sequence),
                };
                (order, of(reservation))
            }
            Says::Hold => (Order::Hold, here),
            Says::Unhold => (Order::Unhold, here),
            Says::Pause(covers) => (Order::Pause, covered(covers, resource)),
            Says::Resume(covers) => (Order::Resume, covered(covers, resource)),
            Says::Adopt { booking, seconds } => {
                let adoption = self.adoption(resource, booking, seconds, sequence)?;
                (Order::Adopt(Box::new(adoption)), here)
            }
            Says::HandBack => (Order::HandBack, here),
        })
    }

    /// A host that somebody else prepared, as it is listed, and for whom it is adopted.
    fn adoption(
        &self,
        resource: usize,
        booking: Option<usize>,
        seconds: i64,
        sequence: u64,
    ) -> Option<Adoption> {
        let host = self.cluster.hosts[resource].as_ref()?;
        let until = at(self.now + seconds);
        let (reservation, until) = match &host.consumer {
            None if self.cluster.is_of_the_service_before(resource) => {
                let named = booking.map(sender::reservation);
                (named.clone(), named.map(|_| until))
            }
            Some(Consumer::Reservation(lost)) if host.of_another_ledger => {
                (Some(lost.clone()), Some(until))
            }
            _ => return None,
        };
        let obstacle = |named| {
            self.truth
                .obstacle_to_adoption(&self.names[resource], named)
        };
        if reservation.as_ref().and_then(obstacle).is_some() {
            return None;
        }
        Some(Adoption {
            reservation,
            until,
            site: (self.site_of(booking.map(sender::reservation))).filter(|_| seconds % 2 == 0),
            host: host.reference(),
            secret: host.user_data.clone()?,
            terms: Terms {
                image: Image {
                    name: None,
                    url: host.image.clone()?,
                    checksum: None,
                    checksum_type: None,
                    format: None,
                },
                login: "prognose".to_owned(),
                without_key: false,
            },
            delivery: reference(sequence),
        })
    }

    /// The site of a booking, as far as its sender ever says so; where nobody knows of which booking: of the first.
    fn site_of(&self, booking: Option<ReservationId>) -> Option<SiteId> {
        let said =
            |id: &ReservationId| (self.all_sent.iter()).find(|sent| sent.word.reservation == *id);
        let sent = booking.as_ref().and_then(said);
        sent.or(self.all_sent.first())?.word.site.clone()
    }

    fn holder(&self, resource: usize) -> Option<ReservationId> {
        let holding = self.resource(resource)?.holding()?;
        Some(holding.reservation.clone())
    }

    /// Whoever may have had a resource before its holder.
    fn earlier_holder(&self, resource: usize) -> Option<ReservationId> {
        let holder = self.holder(resource)?;
        let mut all = self.resource(resource)?.reservations.keys();
        all.find(|id| **id != holder).cloned()
    }

    /// Whoever waits for an operator, wherever that is.
    fn waits_for_operator(&self) -> Option<ReservationId> {
        let waits = |phase: &Phase| matches!(phase, Phase::Waiting(waiting) if waiting.waits_for_operator());
        let resources = (0..HOSTS).filter_map(|resource| self.resource(resource));
        let mut reservations = resources.flat_map(|resource| &resource.reservations);
        let (id, _) = reservations.find(|(_, known)| waits(&known.phase))?;
        Some(id.clone())
    }

    fn waits(&self, resource: usize) -> Option<ReservationId> {
        let queue = self.resource(resource)?.queue();
        queue.first().map(|(id, _)| (*id).clone())
    }

    fn owner_of(&self, reservation: &ReservationId) -> Option<bellhop_domain::id::UserId> {
        let place = self.truth.place_of(reservation)?;
        let known = self.truth.resource(place)?.reservations.get(reservation)?;
        known.user.clone()
    }

    /// The sender deletes a resource. What it would have said later of its bookings is never said.
    pub(crate) fn delete_resource(&mut self, resource: usize, delay: i64) {
        self.tell(|| format!("resource {resource} is deleted at the sender's"));
        let now = self.now;
        let mut stands: Vec<(i64, ReservationId, usize)> = self
            .all_sent
            .iter()
            .map(|sent| (sent.at, sent.word.reservation.clone(), sent.resource))
            .collect();
        // Where each booking stands: as it was said last, or as it will be said first.
        stands.sort_by_key(|(at, ..)| if *at <= now { (0, -at) } else { (1, *at) });
        let mut seen = BTreeSet::new();
        stands.retain(|(_, id, _)| seen.insert(id.clone()));
        let is_its = |id: &ReservationId| {
            (stands.iter()).any(|(_, other, on)| other == id && *on == resource)
        };
        // It is the first site's: the other one's resource of that name goes on.
        let concerned = |sent: &Sent| {
            sent.word.site == Some(site(0))
                && (sent.resource == resource || is_its(&sent.word.reservation))
        };
        let dropped = |delivery: &Delivery| {
            (delivery.said()).is_some_and(|sent| sent.at > now && concerned(sent))
        };
        for (_, delivery) in &self.coming {
            if dropped(delivery) {
                self.taken.remove(&delivery.sequence());
            }
        }
        self.coming.retain(|(_, delivery)| !dropped(delivery));
        self.all_sent
            .retain(|sent| sent.at <= now || !concerned(sent));
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.taken.insert(sequence);
        let deleted = Delivery::ResourceDeleted(DeletedResource {
            resource,
            number: sender::number(0, resource),
            reference: reference(sequence),
        });
        self.coming.push((now + delay, deleted));
        self.coming.sort_by_key(|(arrives, _)| *arrives);
    }

    /// Operators take back all that they ordered, and release whom nobody knows.
    pub(crate) fn operators_mend(&mut self) {
        for place in 0..self.names.len() {
            let orders = self.resource(place).map(|state| state.orders.clone());
            let orders = orders.unwrap_or_default();
            if orders.held.is_some() {
                self.orders(Order::Unhold, OrderPlace::Resource(place));
            }
            if orders.paused.is_some() {
                self.orders(Order::Resume, OrderPlace::Resource(place));
            }
        }
    }

    pub(crate) fn operators_take_back_what_nobody_else_does(&mut self) {
        for resource in 0..HOSTS {
            let holding = self.resource(resource).and_then(|state| state.holding());
            let nobody_else =
                |holding: &Holding| holding.reservation.is_unknown() || holding.left_for.is_some();
            if holding.is_some_and(nobody_else) {
                self.says(resource, Says::Release { earlier: false });
            }
        }
    }

    /// Whether a host may not be written, or not be released, by what a replica knows.
    pub(crate) fn is_paused(&self, replica: usize, resource: usize) -> bool {
        let ledger = &self.replicas[replica].ledger;
        ledger.paused(&self.names[resource]).is_some()
    }

    pub(crate) fn is_held(&self, replica: usize, resource: usize) -> bool {
        self.state(replica, resource)
            .is_some_and(|state| state.orders.held.is_some())
    }

    pub(crate) fn is_releasing(state: &bellhop_domain::reservation::Resource) -> bool {
        matches!(state.occupancy, Occupancy::Releasing(_))
    }
}

/// The index of the resource on which a pause is a fact.
fn covered(covers: Covers, resource: usize) -> OrderPlace {
    OrderPlace::Resource(match covers {
        Covers::Resource => resource,
        Covers::Site(number) => HOSTS + number,
        Covers::Everything => EVERYTHING,
    })
}
