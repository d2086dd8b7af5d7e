//! What reservations share: how many hosts are prepared at once, and hosts of the same name that two sites have.

use std::collections::{BTreeMap, BTreeSet};

use bellhop_domain::id::{ReservationId, SiteId};
use bellhop_domain::reservation::{Fact, Reservation};

use super::super::replica::Decision;
use super::super::world::Verdict;
use super::{Judge, ensure};

/// One of the sender's resources, as far as it was told.
type SenderS = (Option<SiteId>, Option<i64>);

/// What is remembered of it.
#[derive(Default)]
pub(super) struct Sharing {
    preparing_max: Option<u32>,
    /// Those whose host is being prepared, each with its resource.
    prepared: BTreeSet<(usize, ReservationId)>,
    /// For which of the sender's resources each host was given away last; none where somebody adopted it since.
    given_for: BTreeMap<usize, SenderS>,
    /// The sites that were heard of.
    sites: BTreeSet<SiteId>,
}

impl Sharing {
    pub(super) fn new(preparing_max: Option<u32>) -> Self {
        Self {
            preparing_max,
            ..Self::default()
        }
    }
}

impl Judge {
    pub(super) fn shared_rightly(
        &mut self,
        decision: &Decision,
        id: &ReservationId,
        fact: &Fact,
    ) -> Verdict {
        let key = (decision.resource, id.clone());
        self.sharing.sites.extend(fact.site().cloned());
        let several_sites = self.sharing.sites.len() > 1;
        let record = self.records.entry(key.clone()).or_default();
        match fact {
            Fact::ReservationStarted(started) => {
                record.unsettled = several_sites && !started.site_named;
            }
            Fact::SiteSettled { .. } => record.unsettled = false,
            Fact::HostAdopted(_) => {
                self.sharing.given_for.remove(&decision.resource);
            }
            Fact::HostAssigned { .. } => {
                ensure!(
                    !record.unsettled,
                    "R6: {id} is given a host, and nobody has said where those of its site are"
                );
                let named = (decision.before.reservations.get(id)).map(sender_s);
                let named = named.unwrap_or_default();
                let before = self.sharing.given_for.get(&decision.resource);
                ensure!(
                    record.allowed || before.is_none_or(|before| may_be_the_same(before, &named)),
                    "R4: {id}, of {named:?}, is given the host of {before:?}, and nobody allowed it"
                );
                if named.1.is_some() {
                    self.sharing.given_for.insert(decision.resource, named);
                }
                self.sharing.prepared.insert(key);
                let (prepared, most) = (&self.sharing.prepared, self.sharing.preparing_max);
                ensure!(
                    most.is_none_or(|most| prepared.len() <= most as usize),
                    "capacity: {prepared:?} are prepared at once, and {most:?} may be"
                );
            }
            Fact::HostProvisioned { .. }
            | Fact::ReservationPostponed { .. }
            | Fact::ReservationMovedOut { .. } => {
                self.sharing.prepared.remove(&key);
            }
            _ if fact.is_outcome() => {
                self.sharing.prepared.remove(&key);
            }
            _ => {}
        }
        Ok(())
    }
}

fn sender_s(known: &Reservation) -> SenderS {
    (known.site.clone(), known.resource_number)
}

/// What one of them doesn't tell is no difference.
fn may_be_the_same(one: &SenderS, other: &SenderS) -> bool {
    let sites = one.0.as_ref().zip(other.0.as_ref());
    let numbers = one.1.zip(other.1);
    numbers.is_none_or(|(one, other)| one == other) && sites.is_none_or(|(one, other)| one == other)
}
