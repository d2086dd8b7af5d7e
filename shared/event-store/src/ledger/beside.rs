//! What is decided about no resource: each kind of that has one subject beside those of the resources, with the same rule for
//! who is first.

use bellhop_domain::id::Version;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::decided;
use crate::error::{AppendError, Unreadable};
use crate::inbox::Raw;
use crate::message::{self, header};
use crate::store::{EventStore, not_a_message};

/// One decision about no resource as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryBeside<F> {
    /// Its sequence in LEDGER.
    pub version: Version,
    /// When it was decided.
    pub at: Timestamp,
    /// Its facts.
    pub facts: Vec<F>,
    /// What led to it.
    pub cause: String,
}

/// The body of its message.
#[derive(Serialize, Deserialize)]
struct Body<F> {
    facts: F,
}

/// The subject of one kind, and what the facts on it are about, in words.
pub(super) struct Place {
    pub(super) subject: &'static str,
    pub(super) about: &'static str,
}

impl EventStore {
    pub(super) async fn append_beside<F: Serialize>(
        &self,
        place: &Place,
        expected: Version,
        at: Timestamp,
        facts: &[F],
        cause: &str,
        name: impl Fn(&F) -> &'static str,
    ) -> Result<Version, AppendError> {
        let names = facts.iter().map(name);
        let message = decided(&Body { facts }, names, at, cause)
            .map_err(|bad| not_a_message(place.about, &bad))?;
        self.append_to(place.subject, expected, message, place.about)
            .await
    }
}

pub(super) fn read<F: DeserializeOwned>(raw: &Raw<'_>) -> Result<EntryBeside<F>, Unreadable> {
    message::check_format(raw.headers)?;
    let body: Body<Vec<F>> =
        serde_json::from_slice(raw.body).map_err(|error| Unreadable::Body {
            problem: error.to_string(),
        })?;
    Ok(EntryBeside {
        version: Version(raw.sequence),
        at: message::time(raw.headers)?,
        facts: body.facts,
        cause: message::text(raw.headers, header::CAUSE)
            .unwrap_or_default()
            .to_owned(),
    })
}
