//! What operators order, hosts that they adopt, and resources that the sender deletes.

use std::collections::BTreeMap;

use bellhop_domain::id::{HostRef, ReservationId, UserId};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{
    Command, EndCause, Fact, FailureReason, Note, Occupancy, Order, Phase, Resource, Said,
    TenantKey, Word,
};
use jiff::Timestamp;

use super::super::delivery::OrderPlace;
use super::super::host::{Host, Write};
use super::super::orders::EVERYTHING;
use super::super::replica::{Decision, Look, Planned};
use super::super::sender::at;
use super::super::world::{HOSTS, Verdict};
use super::{Judge, ensure};

/// What an operator may order and take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Held,
    Paused,
}

/// What is remembered of operators' orders: each by the index of the resource that it is a fact on.
#[derive(Default)]
pub(super) struct Orders {
    /// The entry of the ledger since which it stands.
    since: BTreeMap<(Standing, usize), usize>,
    /// Whether it should stand, by what was said last.
    said_last: BTreeMap<(Standing, usize), bool>,
}

/// A host that was taken over from somebody else, and when.
pub(super) struct Adopted {
    pub(super) host: HostRef,
    at: Timestamp,
}

impl Judge {
    /// An operator says this now.
    pub(crate) fn is_ordered(&mut self, order: &Order, place: &OrderPlace) {
        let (standing, stands) = match order {
            Order::Hold => (Standing::Held, true),
            Order::Unhold => (Standing::Held, false),
            Order::Pause => (Standing::Paused, true),
            Order::Resume => (Standing::Paused, false),
            _ => return,
        };
        if let OrderPlace::Resource(resource) = place {
            let key = (standing, *resource);
            self.orders.said_last.insert(key, stands);
        }
    }

    /// R3: of what operators ordered for a host, the last word stands, when all of them were heard.
    pub(crate) fn last_orders_stand(
        &self,
        ledger: &Ledger,
        names: &[bellhop_domain::id::ResourceId],
    ) -> Verdict {
        for ((standing, resource), said) in &self.orders.said_last {
            let orders = ledger
                .resource(&names[*resource])
                .map(|state| &state.orders);
            let stands = orders.is_some_and(|orders| match standing {
                Standing::Held => orders.held.is_some(),
                Standing::Paused => orders.paused.is_some(),
            });
            ensure!(
                stands == *said,
                "R3: {} is {standing:?}: {stands}; the last word was: {said}",
                names[*resource]
            );
        }
        Ok(())
    }

    /// Judges a fact that only an operator's word, or the sender's deletion of a resource, leads to, and what these lead to.
    /// `entry`: its place in the ledger.
    pub(super) fn ordered_rightly(
        &mut self,
        decision: &Decision,
        fact: &Fact,
        entry: usize,
    ) -> Verdict {
        self.is_by_the_word_for_it(decision, fact)?;
        let mut stands = |standing, stands: bool| {
            let key = (standing, decision.resource);
            if stands {
                self.orders.since.insert(key, entry);
            } else {
                self.orders.since.remove(&key);
            }
        };
        match fact {
            Fact::HostHeld { .. } => stands(Standing::Held, true),
            Fact::HostUnheld { .. } => stands(Standing::Held, false),
            Fact::DrivingPaused { .. } => stands(Standing::Paused, true),
            Fact::DrivingResumed { .. } => stands(Standing::Paused, false),
            _ => {}
        }
        Ok(())
    }

    fn is_by_the_word_for_it(&self, decision: &Decision, fact: &Fact) -> Verdict {
        let before = &decision.before;
        let order = match &decision.command {
            Command::Ordered(word) => Some(&word.order),
            _ => None,
        };
        let id = fact.reservation();
        let holds = id.is_some() && before.holding().map(|holding| &holding.reservation) == id;
        let deletes = matches!(decision.command, Command::ResourceDeleted { .. });
        match fact {
            Fact::DeadlineExtended { until, .. } => ensure!(
                matches!(order, Some(Order::Extend { reservation, until: said }) if Some(reservation) == id && said == until),
                "R5: {fact:?} by {order:?}"
            ),
            Fact::StartAllowed { .. } => ensure!(
                matches!(order, Some(Order::Allow { reservation }) if Some(reservation) == id),
                "R4: {fact:?} by {order:?}"
            ),
            Fact::KeyBrought { note: Some(_), .. } => ensure!(
                matches!(order, Some(Order::BringKey { reservation, user, .. })
                    if Some(reservation) == id && lacks_a_key(before, reservation, user.as_ref())),
                "R9: {fact:?} by {order:?}"
            ),
            Fact::HostAdopted(_) => ensure!(
                matches!(order, Some(Order::Adopt(_))) && before.occupancy == Occupancy::Free,
                "R2: {fact:?} by {order:?} of a resource that has {:?}",
                before.occupancy
            ),
            Fact::ReservationEnded(ended) if ended.cause == EndCause::Operator => ensure!(
                matches!(order, Some(Order::Release { reservation }) if Some(reservation) == id)
                    && holds,
                "R2: {fact:?} by {order:?}"
            ),
            Fact::ReservationMovedOut { note: Some(_), .. } => ensure!(
                matches!(order, Some(Order::Release { reservation }) if Some(reservation) == id)
                    && holds
                    && id.is_some_and(|id| before.left_for(id).is_some()),
                "R2: {fact:?} by {order:?}"
            ),
            Fact::HeldResourceDeleted { .. } => {
                ensure!(deletes && holds, "R5: {fact:?} of {:?}", before.occupancy)
            }
            Fact::ReservationFailed {
                reason: FailureReason::ResourceDeleted,
                ..
            } => ensure!(deletes && !holds, "R5: {fact:?} of the holder"),
            _ => {
                ensure!(!deletes, "R5: the deletion of a resource leads to {fact:?}");
                let why = matches!(fact, Fact::ReservationWaits { .. });
                ensure!(
                    order.is_none() || id.is_none() || why,
                    "R2: {order:?} leads to {fact:?}"
                );
            }
        }
        Ok(())
    }

    /// R6: what operators ordered before its writer last asked is obeyed by a write.
    pub(super) fn obeys_the_orders(&self, look: &Look, planned: &Planned) -> Verdict {
        let known = |standing, resource| {
            let since = self.orders.since.get(&(standing, resource));
            since.is_some_and(|since| *since < planned.asked)
        };
        let site = self.site_of_host(look.resource, &planned.reservation);
        let scopes = [
            Some(look.resource),
            site.map(|site| HOSTS + site),
            Some(EVERYTHING),
        ];
        let paused = (scopes.into_iter().flatten()).find(|scope| known(Standing::Paused, *scope));
        ensure!(
            paused.is_none(),
            "R6: {:?} for {} though an operator paused that",
            planned.write,
            planned.reservation
        );
        let gives_back = matches!(look.state.occupancy, Occupancy::Releasing(_));
        ensure!(
            !(gives_back && known(Standing::Held, look.resource)),
            "R6: {:?} for {} though an operator holds the host",
            planned.write,
            planned.reservation
        );
        Ok(())
    }

    /// Of which site a host is that is written for a reservation. Where all bookings are of one, every host is, also one of which
    /// nobody has said so; where they are not, whatever it was adopted for may be heard of later.
    fn site_of_host(&self, resource: usize, reservation: &ReservationId) -> Option<usize> {
        let mut sites = self.sites.values().copied();
        let first = sites.next()?;
        if sites.all(|site| site == first) {
            return Some(first);
        }
        let record = self.records.get(&(resource, reservation.clone()));
        let is_adopted = record.is_some_and(|record| record.adopted.is_some());
        let known = self.sites.get(reservation).copied();
        known.filter(|_| !is_adopted)
    }

    /// R2 and R5: a host of which nobody knows whose it is goes back at an end that encloses its adoption, and was said after
    /// it, or by an operator's word.
    pub(super) fn ended_is_the_unknown_one(
        adopted: Option<&Adopted>,
        id: &ReservationId,
        word: &Word,
    ) -> Verdict {
        let schedule = word.knowledge.schedule;
        let encloses = adopted.is_some_and(|adopted| {
            schedule.start <= adopted.at
                && adopted.at <= schedule.end
                && adopted.at <= word.knowledge.said_at
        });
        let ends = matches!(word.said, Said::End | Said::Deleted);
        ensure!(
            encloses && ends,
            "R2: {id}, adopted, is ended by {:?} of {}",
            word.said,
            word.reservation
        );
        Ok(())
    }
}

impl Adopted {
    /// As the operator said it, whenever it was decided.
    pub(super) fn by(decision: &Decision, host: &HostRef, note: &Note) -> Self {
        Self {
            host: host.clone(),
            at: note.at.unwrap_or(at(decision.at)),
        }
    }
}

/// R12: an adoption changes nothing that Metal3 acts on.
pub(super) fn changes_nothing(before: &Host, after: Option<&Host>) -> Verdict {
    let acted_on = |host: &Host| {
        (
            host.image.clone(),
            host.user_data.clone(),
            host.online,
            host.state,
        )
    };
    ensure!(
        after.map(acted_on) == Some(acted_on(before)),
        "R12: an adoption makes {after:?} of {before:?}"
    );
    Ok(())
}

/// R2 and R5: who has a resource does not change by a word of an operator that is about something else, nor by the deletion of
/// the resource at the sender's.
pub(super) fn holder_stays(before: &Resource, after: &Resource, command: &Command) -> Verdict {
    let may_change = match command {
        Command::Ordered(word) => matches!(word.order, Order::Release { .. } | Order::Adopt(_)),
        Command::ResourceDeleted { .. } => false,
        _ => return Ok(()),
    };
    let holder = |state: &Resource| state.holding().map(|holding| holding.reservation.clone());
    ensure!(
        may_change || holder(before) == holder(after),
        "{}: {command:?} changes who has the resource",
        if matches!(command, Command::Ordered(_)) {
            "R2"
        } else {
            "R5"
        }
    );
    Ok(())
}

/// Whether it waits for the key of this owner.
fn lacks_a_key(before: &Resource, id: &ReservationId, owner: Option<&UserId>) -> bool {
    before.reservations.get(id).is_some_and(|known| {
        let lacks = matches!(&known.phase, Phase::Waiting(waiting) | Phase::Postponed(waiting)
            if waiting.key != TenantKey::InDelivery);
        lacks && known.user.as_ref() == owner
    })
}

/// R6: only a clean host that nobody has is switched on.
pub(super) fn switched_on(host: &Host, write: &Write) -> Verdict {
    ensure!(
        host.is_clean() && !host.paused && !host.of_another_ledger,
        "R6: {write:?} on {host:?}"
    );
    Ok(())
}
