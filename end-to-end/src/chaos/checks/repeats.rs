//! What was told more than once, and why.
//!
//! A report is repeated legitimately where its notifier was killed, stopped or partitioned, or the answer was lost, between
//! its sending and its mark in `REPORTS`: nobody knows then whether it arrived. Each of these explains one repeat of a report,
//! and no more.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Finding;
use crate::chaos::arrival::{About, Arrival, marked_delivered};
use crate::chaos::evidence::Case;
use crate::chaos::fault::{Fault, Link, Part, Receiver};
use crate::chaos::stage::REPORT_TIMEOUT;
use crate::chaos::strike::Struck;
use crate::service::ServiceKind;

/// A report that arrived once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// When.
    pub at: Timestamp,
    /// Of which fault.
    pub fault: Fault,
}

/// The repeats that a fault explains, and those that none does.
pub(in crate::chaos) fn judge(case: &Case) -> (Vec<Repeat>, Vec<Finding>) {
    let arrivals = Arrival::all(&case.evidence.received, &case.notifiers);
    judge_arrivals(
        &arrivals,
        &marked_delivered(&case.evidence.reports),
        &case.struck,
    )
}

fn judge_arrivals(
    arrivals: &[Arrival],
    marked: &BTreeMap<About, usize>,
    struck: &[Struck],
) -> (Vec<Repeat>, Vec<Finding>) {
    let mut by_about: BTreeMap<About, Vec<&Arrival>> = BTreeMap::new();
    for arrival in arrivals {
        by_about.entry(arrival.about).or_default().push(arrival);
    }
    let (mut repeats, mut findings) = (Vec::new(), Vec::new());
    for (about, arrivals) in by_about {
        // What is not marked yet is owed, which is a finding of its own; it arrived once.
        let reports = marked.get(&about).copied().unwrap_or(0);
        // Two reports may say the same (a wait that comes again), so not everything that came before is a repeat: as many
        // are as there are more arrivals than reports. Nor is what came once, and was not true any more when its sender, who
        // had no answer, would have sent it again: that one is not marked as delivered.
        let (explained, unexplained) = explain(&arrivals, struck);
        let again = explained.len() + unexplained.len();
        let mut surplus = arrivals.len().saturating_sub(reports).min(again);
        for repeat in explained.into_iter().take(surplus) {
            surplus -= 1;
            repeats.push(repeat);
        }
        if surplus > 0 {
            let at = unexplained
                .first()
                .copied()
                .or(arrivals.last().map(|it| it.at));
            findings.push(Finding {
                check: "unexplained repeat",
                at,
                what: format!(
                    "{surplus} of the {} arrivals of {reports} reports about {about:?}: {:?}",
                    arrivals.len(),
                    arrivals
                        .iter()
                        .map(|it| (it.at.to_string(), it.notifier, it.says.as_str()))
                        .collect::<Vec<_>>()
                ),
            });
        }
    }
    (repeats, findings)
}

/// Of the arrivals that say what one before said, those that a fault between the two explains, and the times of the others.
fn explain(arrivals: &[&Arrival], struck: &[Struck]) -> (Vec<Repeat>, Vec<Timestamp>) {
    let (mut explained, mut unexplained) = (Vec::new(), Vec::new());
    // Each fault explains one repeat of each text, that is of each report.
    let mut used: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, again) in arrivals.iter().enumerate() {
        let same = |it: &&&Arrival| it.says == again.says && it.event_type == again.event_type;
        let Some(first) = arrivals[..place].iter().rfind(same) else {
            continue;
        };
        let used = used.entry(again.says.as_str()).or_default();
        let cause = struck.iter().enumerate().find(|(number, struck)| {
            let lost = first.answer_lost && struck.fault == Fault::Receiver(Receiver::LosesAnswers);
            (lost || !used.contains(number)) && explains(struck, first, again)
        });
        match cause {
            Some((number, struck)) => {
                used.push(number);
                explained.push(Repeat {
                    at: again.at,
                    fault: struck.fault,
                });
            }
            None => unexplained.push(again.at),
        }
    }
    (explained, unexplained)
}

/// Whether a fault is a reason to send again at `again` what arrived at `first`.
fn explains(struck: &Struck, first: &Arrival, again: &Arrival) -> bool {
    // What a partition holds up arrives when it is lifted, by when its sender may have given it up already.
    let sent = match struck.fault {
        Fault::Cut(Link::ToReceiver(_)) => first.at - REPORT_TIMEOUT,
        _ => first.at,
    };
    let overlaps = struck.from <= again.at && struck.to >= sent;
    let its_notifier = |replica: usize| first.notifier == Some(replica);
    overlaps
        && match struck.fault {
            Fault::Kill(Part::Service(ServiceKind::Notifier, replica))
            | Fault::Stop(Part::Service(ServiceKind::Notifier, replica))
            | Fault::Cut(
                Link::ToBroker(ServiceKind::Notifier, replica) | Link::ToReceiver(replica),
            ) => its_notifier(replica),
            // All connections to it break off: the answers that are under way are lost.
            Fault::Receiver(Receiver::Refuses) => struck.to >= first.at,
            Fault::Receiver(Receiver::LosesAnswers) => first.answer_lost,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + second.seconds()
    }

    fn arrival(second: i64, notifier: usize) -> Arrival {
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

    fn struck(fault: Fault, from: i64, to: i64) -> Struck {
        Struck {
            fault,
            from: at(from),
            to: at(to),
            recovered: None,
        }
    }

    fn kill(notifier: usize, second: i64) -> Struck {
        struck(
            Fault::Kill(Part::Service(ServiceKind::Notifier, notifier)),
            second,
            second + 1,
        )
    }

    /// How many repeats are explained, and how many findings there are.
    fn judged(arrivals: &[Arrival], reports: usize, struck: &[Struck]) -> (usize, usize) {
        let marked = BTreeMap::from([((1, "notification"), reports)]);
        let (repeats, findings) = judge_arrivals(arrivals, &marked, struck);
        (repeats.len(), findings.len())
    }

    #[test]
    fn a_repeat_is_explained_by_a_kill_of_its_own_notifier_in_between_and_by_no_other() {
        let arrivals = [arrival(10, 0), arrival(20, 1)];
        assert_eq!(judged(&arrivals, 1, &[kill(0, 11)]), (1, 0));
        assert_eq!(judged(&arrivals, 1, &[]), (0, 1));
        assert_eq!(judged(&arrivals, 1, &[kill(1, 11)]), (0, 1));
        assert_eq!(judged(&arrivals, 1, &[kill(0, 30)]), (0, 1));
        assert_eq!(judged(&arrivals, 1, &[kill(0, 2)]), (0, 1));
    }

    #[test]
    fn a_report_that_a_partition_held_up_arrives_just_after_it_and_its_repeat_too() {
        let arrivals = [arrival(10, 0), arrival(10, 0)];
        let cut = |replica, from, to| struck(Fault::Cut(Link::ToReceiver(replica)), from, to);
        assert_eq!(judged(&arrivals, 1, &[cut(0, 4, 9)]), (1, 0));
        assert_eq!(judged(&arrivals, 1, &[cut(1, 4, 9)]), (0, 1));
        assert_eq!(judged(&arrivals, 1, &[cut(0, 1, 5)]), (0, 1));
    }

    #[test]
    fn one_fault_explains_one_repeat_of_a_report() {
        let arrivals = [arrival(10, 0), arrival(20, 0), arrival(25, 1)];
        let stop = struck(Fault::Stop(Part::Service(ServiceKind::Notifier, 0)), 11, 40);
        assert_eq!(judged(&arrivals, 1, std::slice::from_ref(&stop)), (1, 1));
        assert_eq!(judged(&arrivals, 1, &[stop, kill(0, 22)]), (2, 0));
    }

    #[test]
    fn each_lost_answer_explains_the_repeat_that_follows_it() {
        let mut arrivals = [arrival(10, 0), arrival(11, 0), arrival(12, 0)];
        let loses = [struck(Fault::Receiver(Receiver::LosesAnswers), 9, 13)];
        assert_eq!(judged(&arrivals, 1, &loses), (0, 1));
        arrivals[0].answer_lost = true;
        arrivals[1].answer_lost = true;
        assert_eq!(judged(&arrivals, 1, &loses), (2, 0));
    }

    #[test]
    fn what_came_once_is_no_repeat_though_its_sender_had_no_answer_and_did_not_send_it_again() {
        let ready = arrival(10, 0);
        let ended = Arrival {
            event_type: "RESERVATION_COMPLETED".to_owned(),
            says: "It has ended.".to_owned(),
            ..arrival(20, 0)
        };
        assert_eq!(judged(&[ready, ended], 1, &[]), (0, 0));
    }

    #[test]
    fn two_reports_that_say_the_same_are_no_repeat() {
        assert_eq!(judged(&[arrival(10, 0), arrival(20, 1)], 2, &[]), (0, 0));
    }
}
