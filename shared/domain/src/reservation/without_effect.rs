//! Operators' words about a reservation from which nothing follows. The decision asks here, and so does whoever is about to say one:
//! an operator would wait for what does not come, and not know why.

use jiff::Timestamp;

use super::fact::TenantKey;
use super::resource::{Phase, Reservation};

/// Why nothing follows from an operator's word about a reservation, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutEffect {
    /// It is over, or stands on another resource.
    NotHere,
    /// Nobody knows when it ends, so no deadline takes its host.
    EndUnknown,
    /// It ends just then.
    EndsAt {
        /// When.
        end: Timestamp,
    },
    /// It ends later, and a deadline is moved to later only.
    EndsLater {
        /// When.
        end: Timestamp,
    },
    /// An operator allowed it already.
    Allowed,
    /// It does not wait for an operator: what nobody has asked yet, nobody can have looked at.
    AsksNoOperator,
    /// It does not wait for a key.
    LacksNoKey,
}

impl Reservation {
    /// Why its end can't be said to be missed only after `until`; none where it can.
    pub fn why_not_extended(&self, until: Timestamp) -> Option<WithoutEffect> {
        if !self.is_live() {
            return Some(WithoutEffect::NotHere);
        }
        match self.end() {
            None => Some(WithoutEffect::EndUnknown),
            Some(end) if end == until => Some(WithoutEffect::EndsAt { end }),
            Some(end) if end > until => Some(WithoutEffect::EndsLater { end }),
            Some(_) => None,
        }
    }

    /// Why an operator can't let it go ahead; none where one can.
    pub fn why_not_allowed(&self) -> Option<WithoutEffect> {
        match &self.phase {
            Phase::Waiting(waiting) if waiting.allowed => Some(WithoutEffect::Allowed),
            Phase::Waiting(waiting) if waiting.waits_for_operator() => None,
            Phase::Announced { .. } | Phase::Waiting(_) | Phase::Holding | Phase::Postponed(_) => {
                Some(WithoutEffect::AsksNoOperator)
            }
            Phase::Moved | Phase::Over(_) => Some(WithoutEffect::NotHere),
        }
    }

    /// Why it takes no key; none where it waits for one.
    pub fn why_no_key(&self) -> Option<WithoutEffect> {
        match &self.phase {
            Phase::Waiting(waiting) | Phase::Postponed(waiting) => match waiting.key {
                TenantKey::Missing { .. } => None,
                TenantKey::InDelivery => Some(WithoutEffect::LacksNoKey),
            },
            Phase::Announced { .. } | Phase::Holding => Some(WithoutEffect::LacksNoKey),
            Phase::Moved | Phase::Over(_) => Some(WithoutEffect::NotHere),
        }
    }
}
