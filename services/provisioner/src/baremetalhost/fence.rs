//! The fence: which ledger wrote a host last, for which resource, and how far that ledger was.
//!
//! The ledger's own check does not protect the host: a replica that slept with an old state could write it later. So each
//! write carries the version of the decision that it follows from, and no replica writes a host whose fence is newer than its
//! own state, or of another ledger. The fence stays on the host after its release.
//!
//! A host may serve one resource after another (an operator changes its annotation). Versions count through the whole
//! ledger, so the fence of another resource is compared with all that is folded; and it says nothing of our own writes.

use std::fmt;

use bellhop_domain::id::{LedgerId, ResourceId, Version};
use sha2::{Digest, Sha256};

use super::host::{BareMetalHost, FENCE};

/// Who wants to write a host, and how much it knows.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) ledger: LedgerId,
    /// For which resource.
    pub(crate) resource: ResourceId,
    /// The version of the resource's state that the write follows from.
    pub(crate) version: Version,
    /// How far the whole ledger was folded when that state was taken.
    pub(crate) folded: Version,
}

/// What the annotation says: `<ledger>/<resource, hashed>/<version>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    ledger: String,
    resource: String,
    version: Version,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.ledger, self.resource, self.version)
    }
}

/// Whether the writer may write the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may. The version with which this resource was written last, 0 where the last write was not for it.
    Open(Version),
    /// The host was written by a newer state of our ledger: ours must catch up first.
    Newer(Version),
    /// The host was written by another ledger, or the annotation is not of our form: an operator decides.
    Other(String),
}

impl Writer {
    /// The fence that its writes carry.
    pub(crate) fn fence(&self) -> Fence {
        Fence {
            ledger: self.ledger.to_string(),
            resource: short(&self.resource),
            version: self.version,
        }
    }

    /// Compares the host's fence with what the writer knows.
    pub(crate) fn check(&self, host: &BareMetalHost) -> Verdict {
        let Some(text) = host.annotation(FENCE) else {
            return Verdict::Open(Version(0));
        };
        match parse(text) {
            Some(fence) if fence.ledger == self.ledger.as_str() => {
                let ours = fence.resource == short(&self.resource);
                let known = if ours { self.version } else { self.folded };
                match fence.version {
                    newer if newer > known => Verdict::Newer(newer),
                    written if ours => Verdict::Open(written),
                    _ => Verdict::Open(Version(0)),
                }
            }
            _ => Verdict::Other(text.to_owned()),
        }
    }
}

fn parse(text: &str) -> Option<Fence> {
    let mut parts = text.rsplitn(3, '/');
    let version = Version(parts.next()?.parse().ok()?);
    let resource = parts.next()?.to_owned();
    let ledger = parts.next()?.to_owned();
    Some(Fence {
        ledger,
        resource,
        version,
    })
}

/// A resource's name may hold anything, and be long: an annotation tells it apart by a hash.
fn short(resource: &ResourceId) -> String {
    let digest = Sha256::digest(resource.to_string().as_bytes());
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use bellhop_domain::id::ResourceKind;
    use serde_json::json;

    use super::super::host::tests::host;
    use super::*;

    pub(crate) fn writer(version: u64) -> Writer {
        Writer {
            ledger: LedgerId::new("ledger"),
            resource: ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "node01"),
            version: Version(version),
            folded: Version(100),
        }
    }

    pub(crate) fn fence(version: u64) -> String {
        writer(version).fence().to_string()
    }

    fn fenced(text: &str) -> BareMetalHost {
        host(json!({"metadata": {"annotations": {FENCE: text}}}))
    }

    #[test]
    fn a_state_that_is_older_than_the_hosts_fence_may_not_write_it() {
        assert_eq!(
            writer(7).check(&fenced(&fence(7))),
            Verdict::Open(Version(7))
        );
        assert_eq!(
            writer(6).check(&fenced(&fence(7))),
            Verdict::Newer(Version(7))
        );
        assert_eq!(writer(0).check(&host(json!({}))), Verdict::Open(Version(0)));
    }

    #[test]
    fn a_fence_of_another_ledger_or_form_is_left_to_an_operator() {
        for other in ["other/0123456789ab/7", "what", "ledger/7", ""] {
            assert_eq!(
                writer(9).check(&fenced(other)),
                Verdict::Other(other.into()),
                "{other}"
            );
        }
    }

    #[test]
    fn the_fence_of_another_resource_neither_blocks_one_that_knows_it_nor_is_taken_for_its_own() {
        let other = Writer {
            resource: ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "other"),
            ..writer(50)
        };
        let host = fenced(&other.fence().to_string());
        assert_eq!(writer(7).check(&host), Verdict::Open(Version(0)));
        let behind = Writer {
            folded: Version(49),
            ..writer(7)
        };
        assert_eq!(behind.check(&host), Verdict::Newer(Version(50)));
    }
}
