//! What was told more than once, and why.
//!
//! A report is repeated legitimately where its notifier was killed, stopped or partitioned, or the answer was lost, between
//! its sending and its mark in `REPORTS`: nobody knows then whether it arrived. Each of these explains one repeat of a report,
//! and no more. What comes once more without a word of its sender in `REPORTS` before, nothing explains.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Finding;
use crate::chaos::arrival::Arrival;
use crate::chaos::evidence::Case;
use crate::chaos::fault::{Fault, Link, Part, Receiver};
use crate::chaos::sendings::{Reports, Sendings, Try};
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
    judge_arrivals(&case.evidence.reports, &arrivals, &case.struck)
}

fn judge_arrivals(
    reports: &Reports,
    arrivals: &[Arrival],
    struck: &[Struck],
) -> (Vec<Repeat>, Vec<Finding>) {
    let sendings = Sendings::of(reports, arrivals);
    let unexplained = |what: String, arrival: &Arrival| Finding {
        check: "unexplained repeat",
        at: Some(arrival.at),
        what: format!(
            "{what}: by notifier {:?}, {:?}",
            arrival.notifier, arrival.says
        ),
    };
    let mut findings: Vec<_> = sendings
        .of_no_try
        .iter()
        .map(|arrival| {
            let what = format!("{:?}, which nobody said to be sending", arrival.about);
            unexplained(what, arrival)
        })
        .collect();
    let mut by_report: BTreeMap<&str, Vec<(&Try<'_>, &Arrival)>> = BTreeMap::new();
    for (it, arrival) in &sendings.tries {
        if let Some(arrival) = arrival {
            by_report.entry(it.report).or_default().push((it, arrival));
        }
    }
    let mut repeats = Vec::new();
    for (report, sent) in by_report {
        // One is no repeat: the one that is marked, or, where none is because it was not true any more when it would have been
        // sent again, any.
        let mut again = sent.len() - 1;
        let mut used = Vec::new();
        let mut of_nothing = Vec::new();
        for (it, arrival) in sent.iter().filter(|(it, _)| !it.is_marked) {
            let cause = struck.iter().enumerate().find(|(number, struck)| {
                (arrival.answer_lost || !used.contains(number)) && explains(struck, it, arrival)
            });
            let Some((number, struck)) = cause else {
                of_nothing.push(*arrival);
                continue;
            };
            used.push(number);
            if repeats_left(&mut again) {
                repeats.push(Repeat {
                    at: arrival.at,
                    fault: struck.fault,
                });
            }
        }
        for arrival in of_nothing {
            if repeats_left(&mut again) {
                findings.push(unexplained(format!("{report}, for no reason"), arrival));
            }
        }
    }
    (repeats, findings)
}

fn repeats_left(again: &mut usize) -> bool {
    let left = *again > 0;
    *again = again.saturating_sub(1);
    left
}

/// Whether a fault is a reason that this try, of which this came, was not marked as delivered.
fn explains(struck: &Struck, it: &Try<'_>, arrival: &Arrival) -> bool {
    let between = it.to.is_none_or(|to| struck.from <= to) && it.from <= struck.to;
    let its_notifier = |replica: usize| arrival.notifier == Some(replica);
    between
        && match struck.fault {
            Fault::Kill(Part::Service(ServiceKind::Notifier, replica))
            | Fault::Stop(Part::Service(ServiceKind::Notifier, replica))
            | Fault::Cut(
                Link::ToBroker(ServiceKind::Notifier, replica) | Link::ToReceiver(replica),
            ) => its_notifier(replica),
            // A server of the broker that nothing passes to, or that has no majority, is a partition of the notifier that is
            // connected to it; which one that is, is not on record.
            Fault::Cut(Link::OfBrokerNode(_) | Link::BetweenBrokers(_) | Link::OfLeader)
            | Fault::Stop(Part::Broker(_)) => true,
            // All connections to it break off: the answers that are under way are lost.
            Fault::Receiver(Receiver::Refuses) => true,
            Fault::Receiver(Receiver::LosesAnswers) => arrival.answer_lost,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::sendings::tests::{Say, arrival, at, report};

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

    /// Sent at 10 by one, and at 30, which is marked at 32, by another.
    fn sent_twice() -> Reports {
        report(&[
            (1, Say::Owed),
            (10, Say::Sends("a")),
            (30, Say::Sends("b")),
            (32, Say::Delivered),
        ])
    }

    /// How many repeats are explained, and how many findings there are.
    fn judged(reports: &Reports, arrivals: &[Arrival], struck: &[Struck]) -> (usize, usize) {
        let (repeats, findings) = judge_arrivals(reports, arrivals, struck);
        (repeats.len(), findings.len())
    }

    #[test]
    fn a_repeat_is_explained_by_a_kill_of_its_own_notifier_between_its_sending_and_the_next_word() {
        let arrivals = [arrival(11, 0), arrival(31, 1)];
        let judged = |struck: &[Struck]| judged(&sent_twice(), &arrivals, struck);
        assert_eq!(judged(&[kill(0, 12)]), (1, 0));
        assert_eq!(judged(&[]), (0, 1));
        assert_eq!(judged(&[kill(1, 12)]), (0, 1));
        assert_eq!(judged(&[kill(0, 2)]), (0, 1));
        // The next one had begun to send it when this happened.
        assert_eq!(judged(&[kill(0, 31)]), (0, 1));
    }

    #[test]
    fn what_arrives_after_the_mark_is_explained_by_nothing() {
        let reports = report(&[(10, Say::Sends("a")), (12, Say::Delivered)]);
        let arrivals = [arrival(11, 0), arrival(20, 1)];
        let all = [kill(0, 11), kill(0, 15), kill(1, 11), kill(1, 15)];
        assert_eq!(judged(&reports, &arrivals, &all), (0, 1));
        assert_eq!(judged(&reports, &arrivals[..1], &[]), (0, 0));
    }

    #[test]
    fn what_arrives_twice_for_one_word_is_explained_by_nothing() {
        let reports = report(&[(10, Say::Sends("a")), (14, Say::Delivered)]);
        let arrivals = [arrival(11, 0), arrival(13, 0)];
        assert_eq!(judged(&reports, &arrivals, &[kill(0, 11)]), (0, 1));
    }

    #[test]
    fn a_report_that_a_partition_held_up_arrives_just_after_it_and_its_repeat_too() {
        let reports = report(&[
            (2, Say::Sends("a")),
            (6, Say::Owed),
            (9, Say::Sends("a")),
            (11, Say::Delivered),
        ]);
        let arrivals = [arrival(10, 0), arrival(10, 0)];
        let cut = |replica, from, to| struck(Fault::Cut(Link::ToReceiver(replica)), from, to);
        assert_eq!(judged(&reports, &arrivals, &[cut(0, 1, 9)]), (1, 0));
        assert_eq!(judged(&reports, &arrivals, &[cut(1, 1, 9)]), (0, 1));
        assert_eq!(judged(&reports, &arrivals, &[cut(0, 7, 9)]), (0, 1));
    }

    #[test]
    fn one_fault_explains_one_repeat_of_a_report() {
        let reports = report(&[
            (10, Say::Sends("a")),
            (20, Say::Sends("a")),
            (30, Say::Sends("b")),
            (32, Say::Delivered),
        ]);
        let arrivals = [arrival(11, 0), arrival(21, 0), arrival(31, 1)];
        let stop = struck(Fault::Stop(Part::Service(ServiceKind::Notifier, 0)), 12, 40);
        let one = std::slice::from_ref(&stop);
        assert_eq!(judged(&reports, &arrivals, one), (1, 1));
        assert_eq!(judged(&reports, &arrivals, &[stop, kill(0, 22)]), (2, 0));
    }

    #[test]
    fn each_lost_answer_explains_the_repeat_that_follows_it() {
        let reports = report(&[
            (9, Say::Sends("a")),
            (10, Say::Owed),
            (11, Say::Sends("a")),
            (12, Say::Owed),
            (13, Say::Sends("a")),
            (14, Say::Delivered),
        ]);
        let mut arrivals = [arrival(9, 0), arrival(11, 0), arrival(13, 0)];
        let loses = [struck(Fault::Receiver(Receiver::LosesAnswers), 8, 13)];
        assert_eq!(judged(&reports, &arrivals, &loses), (0, 2));
        arrivals[0].answer_lost = true;
        arrivals[1].answer_lost = true;
        assert_eq!(judged(&reports, &arrivals, &loses), (2, 0));
    }

    #[test]
    fn what_came_once_is_no_repeat_though_its_sender_had_no_answer_and_did_not_send_it_again() {
        let reports = report(&[(10, Say::Sends("a")), (14, Say::Owed), (20, Say::Dropped)]);
        assert_eq!(judged(&reports, &[arrival(11, 0)], &[]), (0, 0));
    }
}
