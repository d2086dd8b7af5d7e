//! What can have happened to the places. As with all facts: a variant or a field is added, never changed or removed.

use serde::{Deserialize, Serialize};

use crate::id::{AskerId, GroupId};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Fact {
    /// A place was given to who asked for it. Comes before what it is for begins.
    PlaceGranted {
        /// To whom.
        to: AskerId,
        /// Its group, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<GroupId>,
    },
    /// Who had the place is done, or can't begin: it is free for another.
    PlaceReturned {
        /// From whom.
        from: AskerId,
    },
}

impl Fact {
    /// Whose place it is about.
    pub fn asker(&self) -> &AskerId {
        match self {
            Self::PlaceGranted { to, .. } => to,
            Self::PlaceReturned { from } => from,
        }
    }

    /// The fact's name, as it stands in the ledger and in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PlaceGranted { .. } => "PlaceGranted",
            Self::PlaceReturned { .. } => "PlaceReturned",
        }
    }
}
