//! A replica with a delivery: decide, append, acknowledge. It may stop, and be killed, between any two of them.

use bellhop_domain::id::ReservationId;
use bellhop_domain::reservation::{Command, Order, Said, moved_by};

use super::delivery::{DeletedResource, Delivery, OrderPlace, Ordered};
use super::mutant::Mutant;
use super::replica::{Decision, Handling, HandlingStep};
use super::sender::{self, Sent};
use super::world::{HOSTS, Verdict, World};

impl World {
    /// Takes a delivery where the replica has none, and goes so many steps with it.
    pub(crate) fn handle(&mut self, replica: usize, steps: u32, confirmed: bool) -> Verdict {
        if self.replicas[replica].handling.is_none() && !self.waiting.is_empty() {
            self.replicas[replica].handling = Some(Handling {
                delivery: self.waiting.remove(0),
                step: HandlingStep::Taken,
                acknowledged: false,
            });
        }
        for _ in 0..steps {
            let Some(handling) = self.replicas[replica].handling.take() else {
                break;
            };
            self.replicas[replica].handling = self.handle_on(replica, handling, confirmed)?;
        }
        Ok(())
    }

    /// Everything that the broker has is handled: by the others who have it in their hands, and by this one.
    pub(crate) fn handle_all(&mut self, replica: usize) -> Verdict {
        for other in 0..self.replicas.len() {
            if self.replicas[other].frozen.is_none() && self.replicas[other].handling.is_some() {
                self.handle(other, u32::MAX, true)?;
            }
        }
        while !self.waiting.is_empty() {
            self.handle(replica, u32::MAX, true)?;
        }
        self.follow(replica);
        Ok(())
    }

    /// One step. Returns what is left to do.
    fn handle_on(
        &mut self,
        replica: usize,
        mut handling: Handling,
        confirmed: bool,
    ) -> Result<Option<Handling>, String> {
        let early = self.is(Mutant::AcknowledgedBeforeAppended);
        match std::mem::replace(&mut handling.step, HandlingStep::Taken) {
            HandlingStep::Taken if early && !handling.acknowledged => handling.acknowledged = true,
            HandlingStep::Taken => {
                let decision = self.decide_delivery(replica, &handling.delivery);
                handling.step = if decision.facts.is_empty() {
                    HandlingStep::Recorded
                } else {
                    HandlingStep::Decided(Box::new(decision))
                };
            }
            HandlingStep::Decided(decision) => {
                let is_the_word =
                    matches!(decision.command, Command::Said(_) | Command::Ordered(_));
                let resource = decision.resource;
                let appended = self.append(*decision)?;
                self.follow(replica);
                let is_settled = || self.is_settled(replica, &handling.delivery, resource);
                if appended && is_the_word && is_settled() {
                    handling.step = HandlingStep::Recorded;
                }
            }
            HandlingStep::Recorded => {
                if let Some(Sent { word, .. }) = handling.delivery.said() {
                    let known: Vec<_> = self
                        .truth
                        .resources()
                        .filter_map(|(_, state)| state.reservations.get(&word.reservation))
                        .collect();
                    self.judge.heard(word, &known)?;
                }
                self.judge.handled(handling.delivery.sequence());
                if !confirmed {
                    self.waiting.push(handling.delivery);
                }
                return Ok(None);
            }
        }
        Ok(Some(handling))
    }

    fn decide_delivery(&mut self, replica: usize, delivery: &Delivery) -> Decision {
        match delivery {
            Delivery::Said(sent) => self.decide_where_it_stands(replica, sent),
            Delivery::Ordered(ordered) => self.decide_order(replica, ordered),
            Delivery::ResourceDeleted(deleted) => self.decide_deletion(replica, deleted),
        }
    }

    /// Decided only once, so in no state that is older than what the operator saw.
    fn decide_order(&mut self, replica: usize, ordered: &Ordered) -> Decision {
        self.follow(replica);
        let place = match &ordered.place {
            OrderPlace::Resource(resource) => Some(*resource),
            OrderPlace::Reservation(reservation) => self.place(replica, reservation),
        };
        let resource = place.unwrap_or(0);
        let before = self.state(replica, resource).unwrap_or_default();
        let command = Command::Ordered(Box::new(ordered.word.clone()));
        let mut decision = self.decide(replica, resource, before, None, command);
        let ledger = &self.replicas[replica].ledger;
        let cant_be_adopted = match &ordered.word.order {
            Order::Adopt(adoption) => adoption.reservation.as_ref().is_some_and(|reservation| {
                ledger
                    .obstacle_to_adoption(&self.names[resource], reservation)
                    .is_some()
            }),
            _ => false,
        };
        if place.is_none() || cant_be_adopted {
            decision.facts.clear();
        }
        decision
    }

    /// Decided wherever a reservation of the resource stands, one after the other.
    fn decide_deletion(&mut self, replica: usize, deleted: &DeletedResource) -> Decision {
        self.follow(replica);
        let decide = |resource: usize| {
            let before = self.state(replica, resource).unwrap_or_default();
            let command = Command::ResourceDeleted {
                number: Some(deleted.number),
                delivery: deleted.reference.clone(),
            };
            self.decide(replica, resource, before, None, command)
        };
        let concerned = (0..HOSTS).filter(|resource| {
            let state = self.state(replica, *resource).unwrap_or_default();
            let mut all = state.reservations.values();
            *resource == deleted.resource
                || all.any(|known| known.is_live() && known.resource_number == Some(deleted.number))
        });
        let mut decisions = concerned.map(decide);
        decisions
            .find(|decision| !decision.facts.is_empty())
            .unwrap_or_else(|| decide(deleted.resource))
    }

    /// A word is decided where its reservation stands, which it may move itself: a fact on the new resource, then one on the
    /// old, then the word on the new.
    fn decide_where_it_stands(&self, replica: usize, sent: &Sent) -> Decision {
        let mut word = sent.word.clone();
        if let Said::Start { terms, .. } = &mut word.said {
            terms.image.url = sender::image(self.replicas[replica].image);
        }
        word.site_named = self.replicas[replica].sites_named;
        let ledger = &self.replicas[replica].ledger;
        word.only_site = ledger.is_only_site(word.site.as_ref());
        if let Some(decision) = self.let_go(replica, Some(&word.reservation)) {
            return decision;
        }
        let state = |resource| self.state(replica, resource).unwrap_or_default();
        let stands = self.place(replica, &word.reservation);
        if let Some(stands) = stands.filter(|stands| *stands != sent.resource) {
            let (named, from) = (&self.names[sent.resource], &self.names[stands]);
            let before = state(stands);
            if let Some(started) = moved_by(&word, named, from, &before) {
                let known = before.reservations.get(&word.reservation);
                let command = Command::MovedIn {
                    word: Box::new(word.clone()),
                    from: from.clone(),
                    started,
                    former: known.and_then(|known| known.user.clone()),
                };
                let decision =
                    self.decide(replica, sent.resource, state(sent.resource), None, command);
                if !decision.facts.is_empty() {
                    return decision;
                }
            }
        }
        let place = stands.unwrap_or(sent.resource);
        self.decide(
            replica,
            place,
            state(place),
            None,
            Command::Said(Box::new(word)),
        )
    }

    /// Whether a word that was decided on a resource was decided where its reservation stands.
    fn is_settled(&self, replica: usize, delivery: &Delivery, resource: usize) -> bool {
        let id = match delivery {
            Delivery::Said(sent) => &sent.word.reservation,
            Delivery::Ordered(Ordered {
                place: OrderPlace::Reservation(reservation),
                ..
            }) => return self.place(replica, reservation) == Some(resource),
            Delivery::Ordered(_) | Delivery::ResourceDeleted(_) => return true,
        };
        let over = self
            .state(replica, resource)
            .and_then(|state| state.reservations.get(id)?.outcome());
        over.is_some()
            || self
                .place(replica, id)
                .is_none_or(|place| place == resource)
    }

    fn place(&self, replica: usize, id: &ReservationId) -> Option<usize> {
        let place = self.replicas[replica].ledger.place_of(id)?;
        self.names.iter().position(|name| name == place)
    }

    /// A reservation that is live where it does not stand is let go there: this one, or any.
    fn let_go(&self, replica: usize, id: Option<&ReservationId>) -> Option<Decision> {
        let strays = self.replicas[replica].ledger.strays();
        let (on, reservation, to) = strays
            .into_iter()
            .find(|(_, stray, _)| id.is_none_or(|id| id == stray))?;
        let resource = self.names.iter().position(|name| *name == on)?;
        let before = self.state(replica, resource)?;
        let decision = self.decide(
            replica,
            resource,
            before,
            None,
            Command::MovedOut { reservation, to },
        );
        (!decision.facts.is_empty()).then_some(decision)
    }

    /// What a crash in the middle of a move left is finished, and what was made too late is found.
    pub(crate) fn sweep(&mut self, replica: usize) -> Verdict {
        self.follow(replica);
        while let Some(decision) = self.let_go(replica, None) {
            self.append(decision)?;
            self.follow(replica);
        }
        self.settle_sites(replica)?;
        if !self.is(Mutant::SecretKept) {
            for spent in self.replicas[replica].ledger.spent_secrets() {
                self.cluster
                    .delete_secret(&spent.secret, &spent.reservation);
            }
        }
        Ok(())
    }
}
