//! One final state for each reservation.

use std::collections::{BTreeMap, BTreeSet};

use bellhop_domain::reservation::{Fact, FailureReason};
use bellhop_event_store::Entry;
use jiff::Timestamp;

use super::Finding;
use crate::site;

/// What the ledger says of each reservation.
#[derive(Debug, Default)]
pub(in crate::chaos) struct Outcomes {
    of: BTreeMap<i64, Course>,
    /// Who has each host, by the facts.
    holders: BTreeMap<String, i64>,
    contradictions: Vec<Finding>,
}

/// What the ledger says of one.
#[derive(Debug, Default)]
pub(in crate::chaos) struct Course {
    /// Its final facts, by name.
    pub(in crate::chaos) finals: Vec<&'static str>,
    /// When the first of them was decided.
    pub(in crate::chaos) over_at: Option<Timestamp>,
    /// How often its host was called ready.
    pub(in crate::chaos) ready: usize,
    /// How often it was given a host anew, because it was moved or resumed later.
    again: usize,
    /// Failed for something else than what was done to it.
    failed_because: Option<String>,
}

impl Outcomes {
    /// Reads the ledger.
    pub(in crate::chaos) fn of(entries: &[Entry]) -> Self {
        let mut outcomes = Self::default();
        for entry in entries {
            for fact in &entry.facts {
                outcomes.add(entry, fact);
            }
        }
        outcomes
    }

    fn add(&mut self, entry: &Entry, fact: &Fact) {
        let Some(id) = fact.reservation().and_then(|it| it.event().parse().ok()) else {
            return;
        };
        let course = self.of.entry(id).or_default();
        let name = entry.resource.name().to_owned();
        match fact {
            Fact::HostAssigned { .. } => {
                if let Some(holder) = self.holders.insert(name.clone(), id) {
                    self.contradictions.push(Finding {
                        check: "two holders",
                        at: Some(entry.at),
                        what: format!("{name} is given to {id} while {holder} has it"),
                    });
                }
            }
            Fact::HostReleased { .. } => {
                self.holders
                    .retain(|host, holder| *host != name || *holder != id);
            }
            Fact::HostProvisioned { .. } => course.ready += 1,
            Fact::ReservationMovedIn(_) | Fact::ReservationResumed { .. } => course.again += 1,
            Fact::ReservationFailed { reason, .. } => {
                course.close(fact, entry.at);
                let legitimate = matches!(
                    reason,
                    FailureReason::ProvisioningErrors { .. }
                        | FailureReason::NotClaimedInTime { .. }
                );
                if !legitimate {
                    course.failed_because = Some(format!("{reason:?}"));
                }
            }
            Fact::ReservationEnded(_)
            | Fact::ReservationRefused(_)
            | Fact::ReservationMissed { .. } => {
                course.close(fact, entry.at);
            }
            _ => {}
        }
    }

    /// Of each reservation that must be over, or must stay, whether it is so.
    pub(in crate::chaos) fn check(
        &self,
        over: &BTreeSet<i64>,
        staying: &BTreeSet<i64>,
    ) -> Vec<Finding> {
        let mut findings = self.contradictions.clone();
        let mut wrong = |check, at, what| findings.push(Finding { check, at, what });
        for (id, course) in &self.of {
            if course.finals.len() > 1 || course.ready > 1 + course.again {
                let (finals, ready) = (&course.finals, course.ready);
                let what = format!("{id} is over by {finals:?} and was ready {ready} times");
                wrong("more than one outcome", course.over_at, what);
            }
            if let Some(reason) = &course.failed_because {
                wrong(
                    "false failure",
                    course.over_at,
                    format!("{id} failed: {reason}"),
                );
            }
        }
        for id in over {
            if self
                .of
                .get(id)
                .is_none_or(|course| course.finals.is_empty())
            {
                wrong("no outcome", None, format!("{id} should be over"));
            }
        }
        for id in staying {
            // It may have failed by what was done to it: that is an outcome too.
            let stays = self.of.get(id).is_some_and(|course| {
                course.ready == 1 && course.finals.is_empty()
                    || course.finals == ["ReservationFailed"]
            });
            if !stays {
                wrong("not ready", None, format!("{id} should have its host"));
            }
        }
        findings
    }

    /// How often a reservation may have claimed one host.
    pub(in crate::chaos) fn rounds(&self, id: i64) -> usize {
        1 + self.of.get(&id).map_or(0, |course| course.again)
    }

    /// Who has a server by the facts.
    pub(in crate::chaos) fn holder(&self, server: i64) -> Option<i64> {
        self.holders.get(&site::node(server)).copied()
    }

    /// Each reservation's course.
    pub(in crate::chaos) fn courses(&self) -> impl Iterator<Item = (i64, &Course)> {
        self.of.iter().map(|(id, course)| (*id, course))
    }

    /// How many reservations have each outcome.
    pub(in crate::chaos) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for course in self.of.values() {
            let name = course.finals.first().copied().unwrap_or("not over");
            *counts.entry(name).or_default() += 1;
        }
        counts
    }
}

impl Course {
    fn close(&mut self, fact: &Fact, at: Timestamp) {
        self.finals.push(fact.name());
        self.over_at.get_or_insert(at);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bellhop_domain::id::{ResourceId, ResourceKind, Version};
    use serde_json::{Value, json};

    use super::*;

    fn ledger(facts: &[Value]) -> Outcomes {
        let entries: Vec<Entry> = facts
            .iter()
            .map(|fact| Entry {
                resource: ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "node01"),
                version: Version(1),
                id: None,
                at: Timestamp::UNIX_EPOCH,
                facts: vec![serde_json::from_value(fact.clone()).unwrap()],
                traceparent: None,
                cause: "observation".to_owned(),
            })
            .collect();
        Outcomes::of(&entries)
    }

    fn fact(name: &str, id: i64) -> Value {
        json!({"type": name, "reservation": format!("reservation-system:{id}"), "address": null, "secret": "s",
            "host": {"namespace": "metal3", "name": "node01", "uid": "u"}, "took": 1, "left": "Off"})
    }

    fn found(facts: &[Value], over: &[i64], staying: &[i64]) -> Vec<&'static str> {
        let (over, staying) = (over.iter().copied(), staying.iter().copied());
        let findings = ledger(facts).check(&over.collect(), &staying.collect());
        findings.iter().map(|finding| finding.check).collect()
    }

    #[test]
    fn a_reservation_with_one_outcome_is_well_and_one_with_none_or_two_is_found() {
        let missed = fact("ReservationMissed", 1);
        assert!(found(std::slice::from_ref(&missed), &[1], &[]).is_empty());
        assert_eq!(found(&[], &[1], &[]), ["no outcome"]);
        assert_eq!(
            found(&[missed.clone(), missed], &[1], &[]),
            ["more than one outcome"]
        );
    }

    #[test]
    fn a_reservation_that_was_resumed_may_be_ready_once_more_and_no_more_often() {
        let (ready, resumed) = (fact("HostProvisioned", 1), fact("ReservationResumed", 1));
        let twice = [ready.clone(), ready.clone()];
        assert_eq!(found(&twice, &[], &[]), ["more than one outcome"]);
        let mut all = vec![ready.clone(), resumed, ready.clone()];
        assert!(found(&all, &[], &[]).is_empty());
        assert_eq!(ledger(&all).rounds(1), 2);
        all.push(ready);
        assert_eq!(found(&all, &[], &[]), ["more than one outcome"]);
    }

    #[test]
    fn a_host_that_is_given_to_a_second_one_before_the_first_gave_it_back_is_found() {
        let (first, second) = (fact("HostAssigned", 1), fact("HostAssigned", 2));
        assert_eq!(
            found(&[first.clone(), second.clone()], &[], &[]),
            ["two holders"]
        );
        let released = fact("HostReleased", 1);
        let outcomes = ledger(&[first, released, second]);
        assert!(
            outcomes
                .check(&BTreeSet::new(), &BTreeSet::new())
                .is_empty()
        );
        assert_eq!(outcomes.holder(1), Some(2));
    }

    #[test]
    fn a_reservation_that_stays_and_is_not_ready_is_found() {
        assert_eq!(found(&[fact("HostAssigned", 1)], &[], &[1]), ["not ready"]);
        assert!(found(&[fact("HostProvisioned", 1)], &[], &[1]).is_empty());
    }

    #[test]
    fn a_failure_that_nothing_done_explains_is_found() {
        let mut failed = fact("ReservationFailed", 1);
        failed["reason"] = json!({"because": "HostGone"});
        assert_eq!(found(&[failed], &[1], &[]), ["false failure"]);
    }
}
