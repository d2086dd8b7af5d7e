//! The fence: which ledger wrote a host last, and how far that ledger was.
//!
//! The ledger's own check does not protect the host: a replica that slept with an old state could write it later. So each
//! write carries the version of the decision that it follows from, and no replica writes a host whose fence is newer than its
//! own state, or of another ledger. The fence stays on the host after its release.

use std::fmt;

use bellhop_domain::id::{LedgerId, Version};

use super::host::{BareMetalHost, FENCE};

/// What the annotation says: `<ledger>/<version>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) ledger: LedgerId,
    pub(crate) version: Version,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ledger, self.version)
    }
}

/// Whether our state may write the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may. The version that our ledger wrote last, 0 where it never did.
    Open(Version),
    /// The host was written by a newer state of our ledger: ours must catch up first.
    Newer(Version),
    /// The host was written by another ledger, or the annotation is not of our form: an operator decides.
    Other(String),
}

/// Compares the host's fence with our ledger and the version of our state.
pub(crate) fn check(host: &BareMetalHost, ledger: &LedgerId, own: Version) -> Verdict {
    let Some(text) = host.annotation(FENCE) else {
        return Verdict::Open(Version(0));
    };
    let parsed = text
        .rsplit_once('/')
        .and_then(|(id, version)| Some((id, Version(version.parse().ok()?))));
    match parsed {
        Some((id, version)) if id == ledger.as_str() => {
            if version > own {
                Verdict::Newer(version)
            } else {
                Verdict::Open(version)
            }
        }
        _ => Verdict::Other(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::host::tests::host;
    use super::*;

    #[test]
    fn a_state_that_is_older_than_the_hosts_fence_may_not_write_it() {
        let ledger = LedgerId::new("a/b");
        let fenced = |text: &str| host(json!({"metadata": {"annotations": {FENCE: text}}}));
        let fence = Fence {
            ledger: ledger.clone(),
            version: Version(7),
        };
        assert_eq!(
            check(&fenced(&fence.to_string()), &ledger, Version(7)),
            Verdict::Open(Version(7))
        );
        assert_eq!(
            check(&fenced("a/b/7"), &ledger, Version(6)),
            Verdict::Newer(Version(7))
        );
        assert_eq!(
            check(&fenced("other/7"), &ledger, Version(9)),
            Verdict::Other("other/7".into())
        );
        assert_eq!(
            check(&fenced("what"), &ledger, Version(9)),
            Verdict::Other("what".into())
        );
        assert_eq!(
            check(&host(json!({})), &ledger, Version(0)),
            Verdict::Open(Version(0))
        );
    }
}
