//! Whether anything was lost, by set difference of what is on record.
//!
//! - [`deliveries`]: what was answered 2xx is in the log.
//! - [`outcomes`]: each reservation has one final state, and its facts none that contradict.
//! - [`hosts`]: never two holders; each host is clean, or the right one's.
//! - [`told`]: each user and the webhook log were told.
//! - [`repeats`]: what was told more than once, and why.

pub(super) mod deliveries;
pub(super) mod hosts;
pub(super) mod outcomes;
pub(super) mod repeats;
pub(super) mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use super::bookings::Fate;
use super::evidence::{Case, Evidence};
use super::load::Booked;
use super::stage::{DEADLINE_GRACE, DEADLINE_HOLD};
use crate::site::text;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check found it.
    pub check: &'static str,
    /// When what it is about happened, to see which fault it may come of.
    pub at: Option<Timestamp>,
    /// What.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)?;
        self.at.map_or(Ok(()), |at| write!(f, " (at {at})"))
    }
}

/// All that is wrong but for repeats, which don't go away by waiting.
pub(super) fn lost(evidence: &Evidence) -> Vec<Finding> {
    let known = Known::of(evidence);
    let sent: Vec<_> = evidence
        .sent
        .iter()
        .filter(|sent| sent.was_delivered())
        .map(|sent| (sent.at, String::from_utf8_lossy(&sent.body).into_owned()))
        .collect();
    let mut findings = deliveries::lost(&sent, &evidence.stored);
    findings.extend(evidence.dead_letters.iter().map(|letter| Finding {
        check: "dead letter",
        at: None,
        what: letter.clone(),
    }));
    let facts = outcomes::Outcomes::of(&evidence.entries);
    findings.extend(facts.check(&known.over, &known.staying));
    for record in &evidence.hosts {
        findings.extend(hosts::history(record, |id| facts.rounds(id)));
        findings.extend(hosts::tenants(record, &evidence.booked));
        findings.extend(hosts::end(record, facts.holder(record.server)));
    }
    findings.extend(told::check(evidence, &facts));
    findings
}

/// All of it: what is lost, and repeats that nothing explains.
pub(super) fn all(case: &Case) -> (Vec<Finding>, Vec<repeats::Repeat>) {
    let mut findings = lost(&case.evidence);
    let (repeats, unexplained) = repeats::judge(case);
    findings.extend(unexplained);
    (findings, repeats)
}

/// What must have become of the bookings, by what is in the log of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Those that must be over: their end or deletion is in the log, or their time has passed.
    pub(super) over: BTreeSet<i64>,
    /// Those that must have their host: their start is in the log, and they stay.
    pub(super) staying: BTreeSet<i64>,
}

impl Known {
    fn of(evidence: &Evidence) -> Self {
        let mut said: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        let mut ordered = Ordered::default();
        for body in &evidence.stored {
            let Ok(body) = serde_json::from_str::<Value>(body) else {
                continue;
            };
            ordered.add(&body);
            if let Some(id) = booking_of(&body) {
                said.entry(id)
                    .or_default()
                    .insert(text(&body, "/eventType").to_owned());
            }
        }
        let mut known = Self::default();
        for booked in &evidence.booked {
            let Some(said) = said.get(&booked.id) else {
                continue;
            };
            let kept_until = ordered.kept_until.get(&booked.id).copied();
            if is_over(booked, said, kept_until, evidence.at) {
                known.over.insert(booked.id);
            } else if booked.planned.fate == Fate::Stays
                && said.contains("EVENT_START")
                && !ordered.released.contains(&booked.id)
            {
                known.staying.insert(booked.id);
            }
        }
        known
    }
}

/// What operators ordered about bookings, as it is in the log.
#[derive(Debug, Default)]
struct Ordered {
    /// Until when their ends are not missed.
    kept_until: BTreeMap<i64, Timestamp>,
    /// Those that were seen to hold a host that was to be released.
    released: BTreeSet<i64>,
}

impl Ordered {
    fn add(&mut self, body: &Value) {
        let reservation = text(body, "/reservation");
        let Some(id) = reservation
            .rsplit(':')
            .next()
            .and_then(|id| id.parse().ok())
        else {
            return;
        };
        match (text(body, "/order"), text(body, "/until").parse()) {
            ("extend", Ok(until)) => {
                let kept_until = self.kept_until.entry(id).or_insert(until);
                *kept_until = until.max(*kept_until);
            }
            ("release", _) => {
                self.released.insert(id);
            }
            _ => {}
        }
    }
}

fn is_over(
    booked: &Booked,
    said: &BTreeSet<String>,
    kept_until: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    // A little later than the deadline's own time: what passed is looked at by a timer.
    let ends = kept_until.unwrap_or(booked.ends).max(booked.ends);
    let deadline = ends + DEADLINE_GRACE + DEADLINE_HOLD;
    said.contains("EVENT_END") || said.contains("EVENT_DELETED") || deadline < now
}

/// The booking that a webhook is about: its two forms have the number in two places.
fn booking_of(body: &Value) -> Option<i64> {
    let flat = body.get("eventId").and_then(Value::as_str);
    flat.and_then(|id| id.parse().ok())
        .or_else(|| body.pointer("/data/id").and_then(Value::as_i64))
}
