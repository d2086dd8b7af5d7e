//! Which sites Bellhop serves.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::id::SiteId;

/// `SITE_IDS`: the ids of the sites that are served, comma-separated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteIds(BTreeSet<SiteId>);

/// A list without any site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no site is named: leave it unset to serve all sites")]
pub struct NoSite;

impl SiteIds {
    /// Whether this site is served.
    #[must_use]
    pub fn contains(&self, site: &SiteId) -> bool {
        self.0.contains(site)
    }
}

impl FromStr for SiteIds {
    type Err = NoSite;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sites: BTreeSet<SiteId> = text
            .split(',')
            .map(str::trim)
            .filter(|site| !site.is_empty())
            .map(SiteId::new)
            .collect();
        if sites.is_empty() {
            Err(NoSite)
        } else {
            Ok(Self(sites))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_named_sites_are_served() {
        let sites: SiteIds = "lab-1, lab-2,".parse().unwrap();
        assert!(sites.contains(&SiteId::new("lab-2")));
        assert!(!sites.contains(&SiteId::new("lab-3")));
    }

    #[test]
    fn a_list_of_no_site_is_refused() {
        assert_eq!(" , ".parse::<SiteIds>(), Err(NoSite));
    }
}
