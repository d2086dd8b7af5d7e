//! What is known of a booking's times, and which of two sayings is the newer (R3).
//!
//! Sayings arrive in any order, and the sender has two ways to date them: `updatedAt` of the booking (in what the booking
//! service sends) and the signed `timestamp` (in all). The first is the better where both have it; but comparing "by
//! `updatedAt` if both have it, else by `timestamp`" over a pile of sayings can go round in a circle. So the newest of
//! *each* kind is kept, and the two are compared last: the result does not depend on the order of arrival.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::DeliveryId;

/// From when to when a resource is booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Schedule {
    /// The first instant.
    pub start: Timestamp,
    /// The end.
    pub end: Timestamp,
}

/// One saying about a booking's times, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Knowledge {
    /// The times.
    #[serde(flatten)]
    pub schedule: Schedule,
    /// When the booking was last changed, where the sender says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// When it was said: the signed `timestamp`, else the time of receipt.
    pub said_at: Timestamp,
    /// The delivery that said it; the last resort.
    pub said_by: DeliveryId,
}

impl Knowledge {
    /// Whether `self` was said about a newer state of the booking than `other`.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let by_time = || (self.said_at, &self.said_by) > (other.said_at, &other.said_by);
        match (self.updated_at, other.updated_at) {
            (Some(ours), Some(theirs)) if ours != theirs => ours > theirs,
            _ => by_time(),
        }
    }

    /// Whether both say the same of the booking, as one delivery that comes again does, and two copies of one saying, which are
    /// sent one after the other.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let is_copy = self.schedule == other.schedule && self.updated_at == other.updated_at;
        is_copy || self.said_by == other.said_by
    }
}

/// All that is known of one booking's times: the newest saying of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTimes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dated: Option<Knowledge>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undated: Option<Knowledge>,
}

impl KnownTimes {
    /// What one saying tells.
    pub fn from_one(knowledge: Knowledge) -> Self {
        let mut known = Self::default();
        known.learn(knowledge);
        known
    }

    /// Takes in a saying. Returns whether anything that is kept changed.
    pub fn learn(&mut self, knowledge: Knowledge) -> bool {
        let slot = if knowledge.updated_at.is_some() {
            &mut self.dated
        } else {
            &mut self.undated
        };
        let newer = slot
            .as_ref()
            .is_none_or(|known| knowledge.is_newer_than(known));
        if newer {
            *slot = Some(knowledge);
        }
        newer
    }

    /// Whether it was taken in, or a copy of it, and nothing newer of its kind since.
    pub(super) fn has_learned(&self, saying: &Knowledge) -> bool {
        [&self.dated, &self.undated]
            .into_iter()
            .flatten()
            .any(|known| known.says_the_same(saying))
    }

    /// The newest saying; none where nothing was said.
    pub fn newest(&self) -> Option<&Knowledge> {
        match (&self.dated, &self.undated) {
            (Some(dated), Some(undated)) if undated.is_newer_than(dated) => Some(undated),
            (Some(dated), _) => Some(dated),
            (None, undated) => undated.as_ref(),
        }
    }

    /// The booking's times as far as they are known.
    pub fn schedule(&self) -> Option<Schedule> {
        self.newest().map(|knowledge| knowledge.schedule)
    }

    /// Whether an end said by `end` is older than a known extension, and so ends nothing.
    pub fn extends_beyond(&self, end: &Knowledge) -> bool {
        [&self.dated, &self.undated]
            .into_iter()
            .flatten()
            .any(|known| known.is_newer_than(end) && known.schedule.end > end.schedule.end)
            && self
                .schedule()
                .is_some_and(|schedule| schedule.end > end.schedule.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds")
    }

    fn saying() -> impl Strategy<Value = Knowledge> {
        (
            proptest::option::of(0..4_i64),
            0..4_i64,
            0..3_u8,
            100..104_i64,
        )
            .prop_map(|(updated, said, by, end)| Knowledge {
                schedule: Schedule {
                    start: at(50),
                    end: at(end),
                },
                updated_at: updated.map(at),
                said_at: at(said),
                said_by: DeliveryId::new(format!("{by}-{end}")),
            })
    }

    proptest! {
        #[test]
        fn what_is_known_does_not_depend_on_the_order_in_which_it_was_said(
            (sayings, shuffled) in prop::collection::vec(saying(), 1..8)
                .prop_flat_map(|sayings| (Just(sayings.clone()), Just(sayings).prop_shuffle())),
        ) {
            let mut one = KnownTimes::default();
            let mut other = KnownTimes::default();
            for saying in &sayings { one.learn(saying.clone()); }
            for saying in shuffled.iter().chain(&sayings) { other.learn(saying.clone()); }
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn an_update_made_later_is_newer_though_it_was_sent_earlier() {
        let older = Knowledge {
            schedule: Schedule {
                start: at(0),
                end: at(10),
            },
            updated_at: Some(at(1)),
            said_at: at(9),
            said_by: DeliveryId::new("a"),
        };
        let newer = Knowledge {
            updated_at: Some(at(2)),
            said_at: at(3),
            ..older.clone()
        };
        assert!(newer.is_newer_than(&older) && !older.is_newer_than(&newer));
    }

    #[test]
    fn an_end_older_than_an_extension_ends_nothing_and_a_newer_one_does() {
        let extension = Knowledge {
            schedule: Schedule {
                start: at(0),
                end: at(100),
            },
            updated_at: Some(at(40)),
            said_at: at(41),
            said_by: DeliveryId::new("update"),
        };
        let end = |said: i64, end: i64| Knowledge {
            schedule: Schedule {
                start: at(0),
                end: at(end),
            },
            updated_at: None,
            said_at: at(said),
            said_by: DeliveryId::new("end"),
        };
        let known = KnownTimes::from_one(extension);
        assert!(known.extends_beyond(&end(40, 50)));
        assert!(!known.extends_beyond(&end(51, 50)));
        assert!(!known.extends_beyond(&end(40, 100)));
    }
}
