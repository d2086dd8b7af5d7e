//! Which sites Bellhop serves, and in which namespace the hosts of each are.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::id::SiteId;

/// `SITE_IDS`: the ids of the sites that are served, each with its namespace.
///
/// Written `site-a=ns-a,site-b=ns-b`; a site without a namespace has the usual one. Two sites may share a namespace: then no
/// two hosts of theirs have the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteIds(BTreeMap<SiteId, Namespace>);

/// Where the hosts of a site are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Namespace {
    /// Where those are of which nothing is said.
    Usual,
    /// In one that is named.
    Named(String),
}

/// A text that does not say which sites are served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteIdsError {
    /// No site at all.
    #[error("no site is named: write SITE=NAMESPACE, or leave it unset")]
    Empty,
    /// A part without a site, or without a namespace after its `=`.
    #[error("`{part}` is not SITE=NAMESPACE, for example site-a=metal3")]
    NotAPair {
        /// The part.
        part: String,
    },
    /// A namespace that Kubernetes can't have.
    #[error(
        "`{namespace}` can't be a namespace: lower-case letters, digits and `-`, at most 63, of which the first and the last \
         are no `-`"
    )]
    NotANamespace {
        /// The name.
        namespace: String,
    },
    /// A site that is named twice.
    #[error("the site `{site}` is named twice")]
    Twice {
        /// The site.
        site: SiteId,
    },
}

impl SiteIds {
    /// Whether this site is served.
    #[must_use]
    pub fn contains(&self, site: &SiteId) -> bool {
        self.0.contains_key(site)
    }

    /// The namespace of a site's hosts, where `usual` is that of sites without one; none where the site is not served.
    #[must_use]
    pub fn namespace_of<'a>(&'a self, site: &SiteId, usual: &'a str) -> Option<&'a str> {
        self.0.get(site).map(|namespace| namespace.or(usual))
    }

    /// The sites whose hosts are in this namespace, where `usual` is that of sites without one.
    pub fn sites_in<'a>(
        &'a self,
        namespace: &'a str,
        usual: &'a str,
    ) -> impl Iterator<Item = &'a SiteId> {
        let here = self
            .0
            .iter()
            .filter(move |(_, named)| named.or(usual) == namespace);
        here.map(|(site, _)| site)
    }

    /// All namespaces in which hosts of these sites are.
    #[must_use]
    pub fn namespaces<'a>(&'a self, usual: &'a str) -> BTreeSet<&'a str> {
        self.0
            .values()
            .map(|namespace| namespace.or(usual))
            .collect()
    }
}

impl Namespace {
    fn or<'a>(&'a self, usual: &'a str) -> &'a str {
        match self {
            Self::Usual => usual,
            Self::Named(name) => name,
        }
    }
}

impl FromStr for SiteIds {
    type Err = SiteIdsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut sites = BTreeMap::new();
        let parts = text.split(',').map(str::trim);
        for part in parts.filter(|part| !part.is_empty()) {
            let (site, namespace) = match part.rsplit_once('=') {
                None => (part, Namespace::Usual),
                Some((site, namespace)) => (site.trim(), named(part, namespace.trim())?),
            };
            if site.is_empty() {
                return Err(SiteIdsError::NotAPair {
                    part: part.to_owned(),
                });
            }
            let site = SiteId::new(site);
            if sites.insert(site.clone(), namespace).is_some() {
                return Err(SiteIdsError::Twice { site });
            }
        }
        if sites.is_empty() {
            return Err(SiteIdsError::Empty);
        }
        Ok(Self(sites))
    }
}

/// A namespace's name is a DNS label.
fn named(part: &str, namespace: &str) -> Result<Namespace, SiteIdsError> {
    if namespace.is_empty() {
        return Err(SiteIdsError::NotAPair {
            part: part.to_owned(),
        });
    }
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let inside = !namespace.starts_with('-') && !namespace.ends_with('-');
    if namespace.len() <= 63 && inside && namespace.bytes().all(allowed) {
        Ok(Namespace::Named(namespace.to_owned()))
    } else {
        Err(SiteIdsError::NotANamespace {
            namespace: namespace.to_owned(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sites(text: &str) -> Result<SiteIds, SiteIdsError> {
        text.parse()
    }

    #[test]
    fn only_named_sites_are_served() {
        let sites = sites("lab-1, lab-2,").unwrap();
        assert!(sites.contains(&SiteId::new("lab-2")));
        assert!(!sites.contains(&SiteId::new("lab-3")));
    }

    #[test]
    fn a_site_has_its_own_namespace_or_the_usual_one() {
        let sites = sites("lab-1=ns-1, lab-2 , a=b=ns-3").unwrap();
        let namespace = |site: &str| sites.namespace_of(&SiteId::new(site), "metal3");
        assert_eq!(namespace("lab-1"), Some("ns-1"));
        assert_eq!(namespace("lab-2"), Some("metal3"));
        assert_eq!(namespace("a=b"), Some("ns-3"));
        assert_eq!(namespace("lab-3"), None);
        let all: Vec<&str> = sites.namespaces("metal3").into_iter().collect();
        assert_eq!(all, ["metal3", "ns-1", "ns-3"]);
    }

    #[test]
    fn the_usual_namespace_is_used_only_by_a_site_without_one() {
        let sites = sites("lab-1=ns-1,lab-2=ns-1").unwrap();
        let all: Vec<&str> = sites.namespaces("metal3").into_iter().collect();
        assert_eq!(all, ["ns-1"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(sites(" , "), Err(SiteIdsError::Empty));
        for wrong in ["=ns-1", "lab-1=", "="] {
            assert!(
                matches!(sites(wrong), Err(SiteIdsError::NotAPair { part }) if part == wrong),
                "{wrong}"
            );
        }
        for wrong in ["Lab", "a.b", "-a", "a-", &"a".repeat(64)] {
            assert!(
                matches!(sites(&format!("lab-1={wrong}")), Err(SiteIdsError::NotANamespace { namespace }) if namespace == wrong),
                "{wrong}"
            );
        }
        assert!(matches!(
            sites("lab-1=a,lab-1"),
            Err(SiteIdsError::Twice { site }) if site.as_str() == "lab-1"
        ));
    }
}
