//! Which arrival came of which try, by every word that stands in `REPORTS`.
//!
//! ```text
//!   REPORTS   owed   by A      owed      by B         delivered       each word with the broker's time
//!                    └─ try 1 ─┘         └── try 2 ───┘
//!   receiver             ▲                      ▲                     each arrival with its notifier
//! ```
//!
//! A notifier writes down that it sends a report before it does, and what came of it afterwards. So one such word leads to one
//! arrival at most, which comes between it and the next word, or later where it was held up on its way. An arrival that
//! no word is left for was sent by somebody who had no leave to.

use std::collections::BTreeMap;

use bellhop_event_store::ReportState;
use jiff::Timestamp;

use super::arrival::{self, About, Arrival};
use crate::records::Message;

/// A word of a notifier about a report.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// When the broker took it.
    pub(super) at: Timestamp,
    /// What it says.
    pub(super) state: ReportState,
}

/// All words about each report, by its key, the oldest first.
pub(super) type Reports = BTreeMap<String, Vec<Word>>;

/// What stands in the bucket's stream, which keeps every word here.
pub(super) fn words(messages: &[Message]) -> Reports {
    let mut reports = Reports::new();
    for message in messages {
        let key = message.subject.strip_prefix("$KV.REPORTS.");
        if let (Some(key), Ok(state)) = (key, serde_json::from_str(&message.body)) {
            let at = message.stored_at;
            let words = reports.entry(key.to_owned()).or_default();
            words.push(Word { at, state });
        }
    }
    reports
}

/// One notifier's try to send one report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Try<'a> {
    /// The report's key.
    pub(super) report: &'a str,
    about: About,
    /// The name that the notifier gave itself.
    by: &'a str,
    /// When it said that it is about to send it.
    pub(super) from: Timestamp,
    /// When the next word about the report was said, if any was.
    pub(super) to: Option<Timestamp>,
    /// Whether that word is that it is delivered.
    pub(super) is_marked: bool,
}

/// The tries, with what came of each, and what came of none.
#[derive(Debug, Default)]
pub(super) struct Sendings<'a> {
    pub(super) tries: Vec<(Try<'a>, Option<&'a Arrival>)>,
    pub(super) of_no_try: Vec<&'a Arrival>,
}

impl<'a> Sendings<'a> {
    /// Gives each arrival its try.
    pub(super) fn of(reports: &'a Reports, arrivals: &'a [Arrival]) -> Self {
        let mut tries: Vec<_> = reports
            .iter()
            .flat_map(|(key, words)| tries(key, words))
            .collect();
        tries.sort_by_key(|it| it.from);
        let notifiers = notifiers(&tries, arrivals);
        let mut sendings = Self {
            tries: tries.into_iter().map(|it| (it, None)).collect(),
            of_no_try: Vec::new(),
        };
        for arrival in arrivals {
            let free = sendings.tries.iter_mut().filter(|(it, taken)| {
                let sender = notifiers.get(it.by);
                taken.is_none()
                    && it.about == arrival.about
                    && it.from <= arrival.at
                    && sender.is_none_or(|sender| Some(*sender) == arrival.notifier)
            });
            // One that is surely of its notifier; the one that is under way then, or else the last one before: it was held up.
            let its_own = free.max_by_key(|(it, _)| {
                let is_surely = notifiers.contains_key(it.by);
                (is_surely, it.is_under_way_at(arrival.at), it.from)
            });
            match its_own {
                Some((_, place)) => *place = Some(arrival),
                None => sendings.of_no_try.push(arrival),
            }
        }
        sendings
    }
}

impl Try<'_> {
    fn is_under_way_at(&self, at: Timestamp) -> bool {
        self.from <= at && self.to.is_none_or(|to| at <= to)
    }
}

fn tries<'a>(key: &'a str, words: &'a [Word]) -> Vec<Try<'a>> {
    let Some(about) = arrival::about(key) else {
        return Vec::new();
    };
    let next = words.iter().skip(1).map(Some).chain([None]);
    let pairs = words.iter().zip(next);
    pairs
        .filter_map(|(word, next)| match &word.state {
            ReportState::Owed {
                sending: Some(sending),
                ..
            } => Some(Try {
                report: key,
                about,
                by: &sending.by,
                from: word.at,
                to: next.map(|next| next.at),
                is_marked: next
                    .is_some_and(|next| matches!(next.state, ReportState::Delivered { .. })),
            }),
            _ => None,
        })
        .collect()
}

/// Which notifier has which name, by what arrived between its word and its mark and nothing else did.
fn notifiers<'a>(tries: &[Try<'a>], arrivals: &[Arrival]) -> BTreeMap<&'a str, usize> {
    let mut votes: BTreeMap<(&str, usize), usize> = BTreeMap::new();
    for it in tries.iter().filter(|it| it.is_marked) {
        let mut between = arrivals
            .iter()
            .filter(|arrival| arrival.about == it.about && it.is_under_way_at(arrival.at));
        if let (Some(only), None) = (between.next(), between.next())
            && let Some(notifier) = only.notifier
        {
            *votes.entry((it.by, notifier)).or_default() += 1;
        }
    }
    let mut votes: Vec<_> = votes.into_iter().collect();
    votes.sort_by_key(|(_, votes)| *votes);
    // The last one stays: that with the most.
    votes.into_iter().map(|(named, _)| named).collect()
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use bellhop_event_store::Sending;
    use jiff::ToSpan as _;

    use super::*;

    pub(in crate::chaos) const KEY: &str = "reservation-system=3A1.12-0.notification";

    pub(in crate::chaos) fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + second.seconds()
    }

    /// What a notifier says.
    pub(in crate::chaos) enum Say {
        Sends(&'static str),
        Owed,
        Delivered,
        Dropped,
    }

    pub(in crate::chaos) fn report(words: &[(i64, Say)]) -> Reports {
        let word = |(second, say): &(i64, Say)| {
            let at = at(*second);
            let owed = |sending| ReportState::Owed {
                attempts: 0,
                last_error: None,
                first_at: at,
                sending,
                replayed_at: None,
            };
            let state = match say {
                Say::Sends(by) => owed(Some(Sending {
                    by: (*by).to_owned(),
                    since: at,
                    until: at,
                })),
                Say::Owed => owed(None),
                Say::Delivered => ReportState::Delivered {
                    at,
                    status: 200,
                    attempts: 1,
                },
                Say::Dropped => ReportState::Dropped {
                    at,
                    reason: "over".to_owned(),
                },
            };
            Word { at, state }
        };
        BTreeMap::from([(KEY.to_owned(), words.iter().map(word).collect())])
    }

    pub(in crate::chaos) fn arrival(second: i64, notifier: usize) -> Arrival {
        Arrival {
            at: at(second),
            about: (1, "notification"),
            event_type: "PROVISIONING_COMPLETED".to_owned(),
            user: "user".to_owned(),
            says: "It is ready.".to_owned(),
            notifier: Some(notifier),
            answer_lost: false,
        }
    }

    /// By the second at which each try began: the second at which its arrival came.
    fn matched(reports: &Reports, arrivals: &[Arrival]) -> (Vec<(i64, Option<i64>)>, Vec<i64>) {
        let sendings = Sendings::of(reports, arrivals);
        let second = |arrival: &Arrival| arrival.at.as_second();
        let tries = sendings.tries.into_iter();
        (
            tries
                .map(|(it, arrival)| (it.from.as_second(), arrival.map(second)))
                .collect(),
            sendings.of_no_try.into_iter().map(second).collect(),
        )
    }

    #[test]
    fn an_arrival_belongs_to_the_try_that_is_under_way() {
        let reports = report(&[
            (1, Say::Owed),
            (2, Say::Sends("a")),
            (5, Say::Owed),
            (10, Say::Sends("b")),
            (12, Say::Delivered),
        ]);
        assert_eq!(
            matched(&reports, &[arrival(3, 0), arrival(11, 1)]),
            (vec![(2, Some(3)), (10, Some(11))], vec![])
        );
    }

    #[test]
    fn what_was_held_up_belongs_to_an_earlier_try_of_its_own_notifier() {
        let mut reports = report(&[
            (2, Say::Sends("a")),
            (5, Say::Owed),
            (10, Say::Sends("b")),
            (14, Say::Delivered),
        ]);
        let other = report(&[(1, Say::Sends("a")), (3, Say::Delivered)]);
        let other_key = "reservation-system=3A2.12-0.notification";
        reports.insert(other_key.to_owned(), other[KEY].clone());
        let of_other = Arrival {
            about: (2, "notification"),
            ..arrival(2, 0)
        };
        // The first one's, of which the other report tells that its name is `a`, comes while the second one sends.
        assert_eq!(
            matched(&reports, &[of_other, arrival(12, 0), arrival(13, 1)]),
            (vec![(1, Some(2)), (2, Some(12)), (10, Some(13))], vec![])
        );
    }

    #[test]
    fn what_comes_twice_for_one_word_or_before_any_or_after_the_mark_belongs_to_none() {
        let reports = report(&[(2, Say::Sends("a")), (5, Say::Delivered)]);
        assert_eq!(
            matched(
                &reports,
                &[arrival(1, 0), arrival(3, 0), arrival(4, 0), arrival(9, 0)]
            ),
            (vec![(2, Some(3))], vec![1, 4, 9])
        );
    }
}
