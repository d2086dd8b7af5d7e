//! All resources, the capacity and the releases that were permitted lately, folded from the facts in the order of the ledger, and
//! the index that says where a reservation stands.

mod standing;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::standing::{StandsElsewhere, Upon};
use crate::capacity::{self, Capacity};
use crate::id::{ReservationId, ResourceId, SiteId, Version};
use crate::quota::{self, Quota};
use crate::reservation::alarm::{self, Alarm};
use crate::reservation::{
    AcceptedStart, Fact, HostSites, Knowledge, Note, Recorded, Resource, Scope, SpentSecret,
    key_of_the_former_owner,
};

/// Everything that the ledger says. Its serialised form is a snapshot: what folds it must be the same code, so change
/// [`Ledger::FORMAT`] whenever folding or a state's form changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    resources: HashMap<ResourceId, Resource>,
    places: HashMap<ReservationId, Place>,
    capacity: Capacity,
    deadline_releases: Quota,
    /// The sites that anything was ever said of, each with the message that was the first to do so.
    sites: BTreeMap<SiteId, Version>,
    version: Version,
}

impl Ledger {
    /// The format of the serialised form.
    pub const FORMAT: u32 = 16;

    /// Takes in one message about a resource. One that was taken in before changes nothing.
    pub fn apply(
        &mut self,
        id: &ResourceId,
        version: Version,
        at: Timestamp,
        traceparent: Option<&str>,
        facts: &[Fact],
    ) {
        self.version = self.version.max(version);
        let resource = self.resources.entry(id.clone()).or_default();
        if version <= resource.version {
            return;
        }
        for fact in facts {
            let resource = self.resources.entry(id.clone()).or_default();
            resource.evolve(Recorded {
                version,
                at,
                traceparent,
                fact,
            });
            self.place(fact, id);
            self.note_left(fact, id);
            self.take_along(fact, id, version);
        }
        for site in facts.iter().filter_map(Fact::site) {
            self.sites.entry(site.clone()).or_insert(version);
        }
        let resource = self.resources.entry(id.clone()).or_default();
        resource.version = version;
        if self.sites.len() > 1 {
            for reservation in facts.iter().filter_map(placed_blindly) {
                resource.unsettle(reservation, version);
            }
        }
    }

    /// Takes in one message about the capacity. One that was taken in before changes nothing.
    pub fn apply_to_capacity(&mut self, version: Version, facts: &[capacity::Fact]) {
        self.version = self.version.max(version);
        self.capacity.apply(version, facts);
    }

    /// Takes in one message about the permits to release a host because no end came. One that was taken in before changes
    /// nothing.
    pub fn apply_to_deadline_releases(
        &mut self,
        version: Version,
        at: Timestamp,
        facts: &[quota::Fact],
    ) {
        self.version = self.version.max(version);
        self.deadline_releases.apply(version, at, facts);
    }

    /// Who has, or lately had, a permit to release a host because no end came.
    pub fn deadline_releases(&self) -> &Quota {
        &self.deadline_releases
    }

    /// Who has a place of the capacity.
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// The sites that anything was ever said of.
    pub fn sites(&self) -> impl ExactSizeIterator<Item = &SiteId> {
        self.sites.keys()
    }

    /// Whether nothing was ever said of a site other than this one.
    pub fn is_only_site(&self, site: Option<&SiteId>) -> bool {
        match site {
            Some(site) => self.sites.keys().all(|seen| seen == site),
            None => self.sites.len() < 2,
        }
    }

    /// The reservations that are unsettled, each with where it stands and its site, where told. They came when several sites
    /// were seen, and nobody had said where the hosts of each are.
    pub fn unsettled(&self) -> Vec<(ResourceId, ReservationId, Option<SiteId>)> {
        // Asked after each change: most installations never see a second site.
        if self.sites.len() < 2 {
            return Vec::new();
        }
        let all = self.resources.iter().flat_map(|(id, resource)| {
            resource
                .reservations
                .iter()
                .map(move |(reservation, known)| (id, reservation, known))
        });
        all.filter(|(_, _, known)| known.is_unsettled())
            .filter(|(id, reservation, _)| self.place_of(reservation) == Some(*id))
            .map(|(id, reservation, known)| (id.clone(), reservation.clone(), known.site.clone()))
            .collect()
    }

    /// The newest message that was taken in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Notes that messages up to `version` were seen, whether or not they held facts.
    pub fn advance(&mut self, version: Version) {
        self.version = self.version.max(version);
    }

    /// A resource; none where no fact names it.
    pub fn resource(&self, id: &ResourceId) -> Option<&Resource> {
        self.resources.get(id)
    }

    /// All resources.
    pub fn resources(&self) -> impl Iterator<Item = (&ResourceId, &Resource)> {
        self.resources.iter()
    }

    /// Where a known reservation stands: deliveries about it are decided there, whatever resource they name.
    pub fn place_of(&self, reservation: &ReservationId) -> Option<&ResourceId> {
        self.places.get(reservation).map(|place| &place.resource)
    }

    /// The secrets that nobody needs any more, and nobody ever will: their reservations are over.
    pub fn spent_secrets(&self) -> impl Iterator<Item = &SpentSecret> {
        self.resources.values().flat_map(move |resource| {
            resource.spent_secrets.iter().filter(move |spent| {
                let here = resource.reservations.get(&spent.reservation);
                here.is_some_and(|known| !known.is_live())
                    && self.is_over(&spent.reservation)
                    && !resource.needs_secret(&spent.secret)
            })
        })
    }

    /// Whether a reservation is over where it stands.
    fn is_over(&self, reservation: &ReservationId) -> bool {
        let place = self.place_of(reservation).and_then(|id| self.resource(id));
        let known = place.and_then(|resource| resource.reservations.get(reservation));
        known.is_some_and(|known| known.outcome().is_some())
    }

    /// Why no host of a resource is written now: the widest pause that covers it, and the order.
    pub fn paused(&self, id: &ResourceId) -> Option<(Scope, &Note)> {
        let own = || self.pause_of(Scope::Resource(id.clone()));
        self.pause_of(Scope::Everything)
            .or_else(|| self.site_pause(id))
            .or_else(own)
    }

    /// The pause of a site that covers a resource, and the order. Where nobody knows of which site its host is, a pause of any
    /// site may be meant for it.
    pub fn site_pause(&self, id: &ResourceId) -> Option<(Scope, &Note)> {
        match self.resources.get(id).map(Resource::host_sites) {
            Some(HostSites::These(sites)) => {
                let mut sites = sites.into_iter().map(Scope::Site);
                sites.find_map(|scope| self.pause_of(scope))
            }
            Some(HostSites::Any) | None => self.resources.iter().find_map(|(id, resource)| {
                Some((Scope::site_of(id)?, resource.orders.paused.as_ref()?))
            }),
        }
    }

    fn pause_of(&self, scope: Scope) -> Option<(Scope, &Note)> {
        let orders = &self.resources.get(&scope.resource())?.orders;
        Some((scope, orders.paused.as_ref()?))
    }

    /// What an operator must look at because of a resource's state, and of where its reservations stand.
    pub fn alarms(&self, id: &ResourceId) -> Vec<Alarm> {
        let Some(resource) = self.resource(id) else {
            return Vec::new();
        };
        let mut alarms = alarm::alarms(resource);
        if let (Some(holding), Some((_, place))) = (resource.holding(), self.adopted_host_left(id))
        {
            alarms.push(alarm::adopted_host_left(holding, place));
        }
        alarms
    }

    /// The reservation for which the host of `id` was adopted, and where it stands instead. Its end here would end it there, where
    /// its user works: only an operator, who looked, takes this host back, as what a move leaves behind.
    pub fn adopted_host_left(&self, id: &ResourceId) -> Option<(&ReservationId, &ResourceId)> {
        let holding = self.resource(id)?.holding()?;
        Some((&holding.reservation, holding.left_for.as_ref()?))
    }

    fn has_adopted(&self, id: &ResourceId, reservation: &ReservationId) -> bool {
        let holding = self.resource(id).and_then(Resource::holding);
        holding.is_some_and(|holding| {
            holding.adopted_at.is_some() && holding.reservation == *reservation
        })
    }

    /// Why a host can't be adopted for a reservation on `id`; none where it can: it must not stand elsewhere, nor be over.
    pub fn obstacle_to_adoption(
        &self,
        id: &ResourceId,
        reservation: &ReservationId,
    ) -> Option<String> {
        if let Some(place) = self.place_of(reservation).filter(|place| *place != id) {
            return Some(format!("reservation {reservation} stands on {place}"));
        }
        let known = self.resource(id)?.reservations.get(reservation)?;
        known
            .outcome()
            .map(|_| format!("reservation {reservation} is over"))
    }

    /// The reservations that are live where they should not be, with where they are instead: what a crash in the middle of a
    /// move left, or an end that was decided on the old resource during one. What is over is over everywhere.
    pub fn strays(&self) -> Vec<(ResourceId, ReservationId, ResourceId)> {
        let all = || {
            self.resources.iter().flat_map(|(id, resource)| {
                resource.reservations.iter().map(move |known| (id, known))
            })
        };
        let over: HashMap<&ReservationId, &ResourceId> = all()
            .filter(|(_, (_, known))| known.outcome().is_some())
            .map(|(id, (reservation, _))| (reservation, id))
            .collect();
        all()
            .filter(|(_, (_, known))| known.is_live())
            // An adopted host is in use: only an end or an operator's word releases it.
            .filter(|(id, (reservation, _))| !self.has_adopted(id, reservation))
            .filter_map(|(id, (reservation, _))| {
                let place = over
                    .get(reservation)
                    .copied()
                    .or_else(|| self.place_of(reservation))?;
                (place != id).then(|| (id.clone(), reservation.clone(), place.clone()))
            })
            .collect()
    }

    /// A reservation stands where it was first told of, until it is moved; of two moves the one that was said last counts,
    /// in whatever order they came.
    fn place(&mut self, fact: &Fact, id: &ResourceId) {
        let moved = match fact {
            Fact::ReservationMovedIn(moved) => Some(&moved.announced.knowledge),
            _ => None,
        };
        let Some(reservation) = fact.reservation() else {
            return;
        };
        match (self.places.get_mut(reservation), moved) {
            (None, _) => {
                let place = Place {
                    resource: id.clone(),
                    moved: moved.cloned(),
                    started: None,
                    extended_until: None,
                };
                self.places.insert(reservation.clone(), place);
            }
            (Some(known), Some(moved))
                if is_rehomed_from(fact, &known.resource)
                    || known
                        .moved
                        .as_ref()
                        .is_none_or(|before| moved.is_newer_than(before)) =>
            {
                known.resource = id.clone();
                known.moved = Some(moved.clone());
            }
            (Some(_), _) => {}
        }
    }

    /// A host that was adopted for a reservation stays as it is when that is moved elsewhere.
    fn note_left(&mut self, fact: &Fact, id: &ResourceId) {
        let at = match fact {
            Fact::ReservationMovedIn(moved) => [id, &moved.from],
            Fact::HostAdopted(_) => [id, id],
            _ => return,
        };
        let Some(reservation) = fact.reservation() else {
            return;
        };
        let place = self.places.get(reservation).map(|place| &place.resource);
        for id in at {
            if let Some(resource) = self.resources.get_mut(id) {
                resource.note_left(reservation, place.filter(|place| *place != id));
            }
        }
    }

    /// What a reservation was given once goes along wherever it is moved: what the start fixed that was accepted first, however
    /// often another replica that did not know of it accepted one elsewhere (R12); its key, where whoever moved it did not know
    /// of that yet; and until when an operator extended it.
    fn take_along(&mut self, fact: &Fact, id: &ResourceId, version: Version) {
        let known = fact.reservation().and_then(|reservation| {
            let place = self.places.get_mut(reservation)?;
            Some((reservation, place, self.resources.get_mut(id)?))
        });
        let Some((reservation, place, resource)) = known else {
            return;
        };
        match fact {
            Fact::ReservationStarted(_) => {
                if let Some(before) = &place.started {
                    resource.fix_terms(reservation, version, &before.terms);
                }
            }
            Fact::ReservationMovedIn(_) => {
                if let Some(before) = &place.started {
                    resource.bring_start(reservation, version, before);
                }
                if let Some(until) = place.extended_until {
                    resource.extend(reservation, until);
                }
            }
            Fact::DeadlineExtended { until, .. } => {
                place.extended_until = place.extended_until.max(Some(*until));
            }
            Fact::KeyBrought { .. } | Fact::OwnerChanged { .. } => {}
            _ => return,
        }
        // What another replica still records where it stood before changes nothing that is known here.
        let stands_here = place.resource == *id || place.started.is_none();
        // Also where its host is an adopted one, of which no start is told (R9).
        if matches!(fact, Fact::OwnerChanged { .. })
            && stands_here
            && let Some(started) = &mut place.started
        {
            started.key = key_of_the_former_owner();
        }
        if let Some(started) = resource.accepted_start(reservation)
            && stands_here
        {
            place.started = Some(started);
        }
    }
}

/// The reservation that a fact gave a place without anybody having said where the hosts of its site are.
fn placed_blindly(fact: &Fact) -> Option<&ReservationId> {
    match fact {
        Fact::ReservationStarted(started) if !started.site_named => Some(&started.reservation),
        Fact::ReservationMovedIn(moved) if !moved.site_named => Some(&moved.announced.reservation),
        _ => None,
    }
}

/// Whether a fact takes its reservation from there to another namespace. The sender says nothing of namespaces, so how new its
/// last word is does not matter.
fn is_rehomed_from(fact: &Fact, place: &ResourceId) -> bool {
    matches!(fact, Fact::ReservationMovedIn(moved) if moved.rehomed && moved.from == *place)
}

/// Where a reservation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    resource: ResourceId,
    /// The saying that moved it there; none where it never moved.
    moved: Option<Knowledge>,
    /// What the start gives it that was accepted first, wherever that was, and its key; none where none was accepted.
    started: Option<AcceptedStart>,
    /// Until when an operator extended it, wherever it stood then.
    extended_until: Option<Timestamp>,
}
