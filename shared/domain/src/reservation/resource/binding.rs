//! Which of the sender's resources a host is: two sites may both have one of its name.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::command::Policy;
use super::{Occupancy, Phase, Reservation, Resource};
use crate::id::{ReservationId, SiteId};

/// One of the sender's resources, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Its site, where told.
    pub site: Option<SiteId>,
    /// The sender's number of it.
    pub number: i64,
}

impl Binding {
    /// Whether two may be the same resource: what one of them doesn't tell is no difference.
    pub fn may_be(&self, other: &Self) -> bool {
        let sites = self.site.as_ref().zip(other.site.as_ref());
        self.number == other.number && sites.is_none_or(|(one, other)| one == other)
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            Some(site) => write!(f, "{} of site {site}", self.number),
            None => write!(f, "{}", self.number),
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
        let bound = self.bound_to.as_ref()?;
        (!known.may_be_of(bound)).then(|| {
            let named = match (known.binding(), &known.site) {
                (Some(named), _) => named.to_string(),
                (None, Some(site)) => format!("one of site {site}"),
                (None, None) => "one that nobody told".to_owned(),
            };
            format!(
                "the host was given to reservations of the resource with the number {bound} so far, and this one names \
                 another, {named}, of the same name"
            )
        })
    }

    /// Of which sites its host may be: that of the resource that had it last, and those of all who have it or wait for it;
    /// where nobody does, those of all who ever did.
    pub fn host_sites(&self) -> HostSites {
        let is_concerned = |id: &ReservationId, known: &Reservation| {
            known.is_live()
                || matches!(&self.occupancy, Occupancy::Releasing(release) if release.reservation == *id)
        };
        let bound = self.bound_to.as_ref().and_then(|bound| bound.site.as_ref());
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
