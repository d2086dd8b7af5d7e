//! Every user was told what became of their reservation, and the webhook log too.

use std::collections::{BTreeMap, BTreeSet};

use bellhop_event_store::ReportState;

use super::Finding;
use super::outcomes::Outcomes;
use crate::chaos::arrival::Arrival;
use crate::chaos::bookings::USERS;
use crate::chaos::evidence::Evidence;
use crate::chaos::sendings::Sendings;

/// What a user reads when a reservation is over.
const ENDS: [&str; 5] = [
    "PROVISIONING_FAILED",
    "RESERVATION_REFUSED",
    "RESERVATION_MISSED",
    "RESERVATION_COMPLETED",
    "RESERVATION_CANCELLED",
];

/// What a user reads when a reservation is over, by the name of its final fact.
fn read_at_the_end(fact: &str) -> &'static [&'static str] {
    match fact {
        "ReservationFailed" => &["PROVISIONING_FAILED"],
        "ReservationRefused" => &["RESERVATION_REFUSED"],
        "ReservationMissed" => &["RESERVATION_MISSED"],
        _ => &["RESERVATION_COMPLETED", "RESERVATION_CANCELLED"],
    }
}

/// Against the receiver's record: who was not told; against `REPORTS`: what is still owed, was given up, or is marked as
/// delivered and did not arrive.
pub(in crate::chaos) fn check(evidence: &Evidence, outcomes: &Outcomes) -> Vec<Finding> {
    let arrivals = Arrival::all(&evidence.received, &[]);
    let mut findings = untold(evidence, outcomes, &arrivals);
    findings.extend(told_of_two(&arrivals));
    let sendings = Sendings::of(&evidence.reports, &arrivals);
    let arrived: BTreeSet<_> = sendings
        .tries
        .iter()
        .filter(|(_, arrival)| arrival.is_some())
        .map(|(it, _)| it.report)
        .collect();
    for (key, words) in &evidence.reports {
        let wrong = match words.last().map(|word| &word.state) {
            Some(ReportState::Owed { last_error, .. }) => {
                Some(("report owed", format!("{key}, {last_error:?}")))
            }
            Some(ReportState::DeadLettered { reason, .. }) => {
                Some(("report given up", format!("{key}: {reason}")))
            }
            Some(ReportState::Delivered { .. }) if !arrived.contains(key.as_str()) => Some((
                "report lost",
                format!("{key} is marked as delivered, and did not arrive"),
            )),
            _ => None,
        };
        findings.extend(wrong.map(|(check, what)| Finding {
            check,
            at: None,
            what,
        }));
    }
    findings
}

/// Whoever read of two different ends of one reservation.
fn told_of_two(arrivals: &[Arrival]) -> Vec<Finding> {
    let mut ends: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
    for arrival in arrivals {
        let (id, destination) = arrival.about;
        if destination == "notification" && ENDS.contains(&arrival.event_type.as_str()) {
            ends.entry(id).or_default().insert(&arrival.event_type);
        }
    }
    ends.retain(|_, ends| ends.len() > 1);
    let two = |(id, ends)| Finding {
        check: "told of two outcomes",
        at: None,
        what: format!("{id}: {ends:?}"),
    };
    ends.into_iter().map(two).collect()
}

fn untold(evidence: &Evidence, outcomes: &Outcomes, arrivals: &[Arrival]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, course) in outcomes.courses() {
        let booked = evidence.booked.iter().find(|booked| booked.id == id);
        let owners: Vec<_> = booked
            .iter()
            .flat_map(|booked| booked.owners())
            .map(|person| USERS[person].id())
            .collect();
        let is_told = |types: &[&str]| {
            arrivals.iter().any(|it| {
                it.about == (id, "notification")
                    && types.contains(&it.event_type.as_str())
                    && owners.contains(&it.user)
            })
        };
        let mut missing = |what: String| {
            findings.push(Finding {
                check: "untold",
                at: course.over_at,
                what,
            });
        };
        match course.finals.first() {
            Some(fact) if !is_told(read_at_the_end(fact)) => {
                missing(format!("the user of {id} does not know of its {fact}"));
            }
            None if course.ready > 0 && !is_told(&["PROVISIONING_COMPLETED"]) => {
                missing(format!("the user of {id} does not know that it is ready"));
            }
            _ => {}
        }
        let in_log = arrivals.iter().any(|it| it.about == (id, "webhook-log"));
        if !course.finals.is_empty() && !in_log {
            missing(format!("the webhook log holds nothing of {id}"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::sendings::tests::arrival;

    #[test]
    fn whoever_reads_of_two_different_ends_is_found_and_who_reads_of_one_twice_is_not() {
        let end = |of: &str| Arrival {
            event_type: of.to_owned(),
            ..arrival(1, 0)
        };
        let (ended, refused) = (end("RESERVATION_CANCELLED"), end("RESERVATION_REFUSED"));
        assert!(told_of_two(&[ended.clone(), ended.clone(), arrival(1, 0)]).is_empty());
        assert_eq!(told_of_two(&[ended, refused]).len(), 1);
    }
}
