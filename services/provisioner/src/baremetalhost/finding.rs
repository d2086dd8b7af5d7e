//! Which host is a resource's: the one whose annotation or label names it, else the one of its name that carries none.

use bellhop_domain::id::ResourceId;

use super::cluster::names;
use super::driver::{Driver, LookError};
use super::host::BareMetalHost;

impl Driver {
    /// The host of a resource as far as the watch knows, read from the API server. The watch may be behind: that is good
    /// enough to see that the host can't be used, not to give it away.
    pub(super) async fn likely_host(
        &self,
        id: &ResourceId,
    ) -> Result<Option<Box<BareMetalHost>>, LookError> {
        let mut found = Vec::new();
        for name in self.known.answering_to(id.namespace(), id.name()) {
            let host = self.cluster.host(id.namespace(), &name).await?;
            found.extend(host.filter(|host| host.answers_to() == id.name()));
        }
        Ok(match choose(id, found) {
            Found::One(host) => Some(host),
            Found::Not(_) => None,
        })
    }

    /// The host of a resource, by a list of all hosts from the API server.
    pub(super) async fn find_host(&self, id: &ResourceId) -> Result<Found, LookError> {
        let answers = |host: &BareMetalHost| host.answers_to() == id.name();
        let found = self.cluster.hosts_where(id.namespace(), answers).await?;
        Ok(choose(id, found))
    }
}

fn choose(id: &ResourceId, mut found: Vec<BareMetalHost>) -> Found {
    if found.iter().any(BareMetalHost::is_marked) {
        found.retain(BareMetalHost::is_marked);
    }
    let (namespace, name) = (id.namespace(), id.name());
    match found.len() {
        0 => Found::Not(format!(
            "no BareMetalHost of namespace {namespace} answers to {name}"
        )),
        1 => Found::One(Box::new(found.remove(0))),
        _ => Found::Not(format!(
            "more than one BareMetalHost answers to {name}: {}",
            names(&found)
        )),
    }
}

/// What was found.
pub(super) enum Found {
    /// The host.
    One(Box<BareMetalHost>),
    /// None, or more than one: which, in words.
    Not(String),
}
