//! Which host is a resource's.

use bellhop_domain::id::ResourceId;

use super::cluster::names;
use super::driver::{Driver, LookError};
use super::host::BareMetalHost;

impl Driver {
    /// The host of a resource: the one whose annotation or label names it, else the one of its name that carries none. The
    /// watch says where to look; the API server has the last word.
    pub(super) async fn find_host(&self, id: &ResourceId) -> Result<Found, LookError> {
        let mut found = Vec::new();
        for name in self.known.answering_to(id.namespace(), id.name()) {
            let host = self.cluster.host(id.namespace(), &name).await?;
            found.extend(host.filter(|host| host.answers_to() == id.name()));
        }
        if found.is_empty() {
            found = self
                .cluster
                .hosts_where(id.namespace(), |host| host.answers_to() == id.name())
                .await?;
        }
        if found.iter().any(BareMetalHost::is_marked) {
            found.retain(BareMetalHost::is_marked);
        }
        let (namespace, name) = (id.namespace(), id.name());
        Ok(match found.len() {
            0 => Found::Not(format!(
                "no BareMetalHost of namespace {namespace} answers to {name}"
            )),
            1 => Found::One(Box::new(found.remove(0))),
            _ => Found::Not(format!(
                "more than one BareMetalHost answers to {name}: {}",
                names(&found)
            )),
        })
    }
}

/// What was found.
pub(super) enum Found {
    /// The host.
    One(Box<BareMetalHost>),
    /// None, or more than one: which, in words.
    Not(String),
}
