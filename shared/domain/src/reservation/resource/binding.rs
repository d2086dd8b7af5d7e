//! Which of the sender's resources a host is: two sites may both have one of its name.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::command::Policy;
use super::{Occupancy, Phase, Reservation, Resource};
use crate::id::{ReservationId, SiteId};

/// One of the sender's resources, whatever it is called, as far as it is told which: by its site, by its number, or by both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    site: Option<SiteId>,
    number: Option<i64>,
}

impl Binding {
    /// None where neither its site nor the sender's number of it is told.
    pub fn new(site: Option<SiteId>, number: Option<i64>) -> Option<Self> {
        (site.is_some() || number.is_some()).then_some(Self { site, number })
    }

    /// Its site, where told.
    pub fn site(&self) -> Option<&SiteId> {
        self.site.as_ref()
    }

    /// The sender's number of it, where told.
    pub fn number(&self) -> Option<i64> {
        self.number
    }

    /// Whether two may be the same resource: what one of them doesn't tell is no difference.
    pub fn may_be(&self, other: &Self) -> bool {
        let sites = self.site.as_ref().zip(other.site.as_ref());
        let numbers = self.number.zip(other.number);
        sites.is_none_or(|(one, other)| one == other)
            && numbers.is_none_or(|(one, other)| one == other)
    }

    /// What is known of it where `before` is what was known of the same host, which may be another resource's now.
    pub(in crate::reservation) fn with_what_was_known(self, before: Option<Self>) -> Self {
        match before {
            Some(before) if self.may_be(&before) => Self {
                site: self.site.or(before.site),
                number: self.number.or(before.number),
            },
            _ => self,
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.site, self.number) {
            (Some(site), Some(number)) => write!(f, "{number} of site {site}"),
            (None, Some(number)) => write!(f, "{number}"),
            (Some(site), None) => write!(f, "one of site {site}"),
            (None, None) => f.write_str("one that nobody told"),
        }
    }
}

/// Of which sites a resource's host may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostSites {
    /// Of one of these.
    These(BTreeSet<SiteId>),
    /// Nobody knows: whoever has an adopted host, for example.
    Any,
}

impl Resource {
    /// Why a clean host is not given to a reservation before an operator allows it; none where it may be.
    pub fn operator_needed(&self, reservation: &ReservationId, policy: &Policy) -> Option<String> {
        let known = self.reservations.get(reservation)?;
        if matches!(&known.phase, Phase::Waiting(waiting) if waiting.allowed) {
            return None;
        }
        if let Some(before) = &self.not_wiped
            && policy.require_cleaning
        {
            return Some(format!(
                "the host was released, not wiped, after reservation {before} (automatedCleaningMode is disabled)"
            ));
        }
        let (bound, named) = (self.bound_to.as_ref()?, known.binding()?);
        (!named.may_be(bound)).then(|| {
            let was_of = match bound.number {
                Some(_) => format!(
                    "was given to reservations of the resource with the number {bound} so far"
                ),
                None => format!("is, as far as is known, {bound}"),
            };
            format!("the host {was_of}, and this one names another, {named}, of the same name")
        })
    }

    /// Of which sites its host may be: that of the resource that had it last, and those of all who have it or wait for it;
    /// where nobody does, those of all who ever did.
    pub fn host_sites(&self) -> HostSites {
        let is_concerned = |id: &ReservationId, known: &Reservation| {
            known.is_live()
                || matches!(&self.occupancy, Occupancy::Releasing(release) if release.reservation == *id)
        };
        let bound = self.bound_to.as_ref().and_then(Binding::site);
        let all = || self.reservations.iter();
        let sites: Option<BTreeSet<&SiteId>> = if all().any(|(id, known)| is_concerned(id, known)) {
            all()
                .filter(|(id, known)| is_concerned(id, known))
                .map(|(_, known)| known.site.as_ref().or(bound))
                .collect()
        } else {
            Some(all().filter_map(|(_, known)| known.site.as_ref()).collect())
        };
        let sites = sites.map(|sites| {
            sites
                .into_iter()
                .chain(bound)
                .cloned()
                .collect::<BTreeSet<_>>()
        });
        match sites {
            Some(sites) if !sites.is_empty() => HostSites::These(sites),
            Some(_) | None => HostSites::Any,
        }
    }
}
