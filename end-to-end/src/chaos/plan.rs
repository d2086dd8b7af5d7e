//! What will be done and when: a pure function of the seed.
//!
//! ```text
//!   ingress 0      ▉kill      ▉▉▉▉▉▉▉stop         ▉▉▉▉partition …      one lane for each replica, the broker,
//!   ingress 1          ▉▉▉partition        ▉kill                       Kubernetes and the receiver: a part has one
//!   broker         ▉▉▉▉stop 2         ▉kill 0                          fault at a time, different parts may have
//!   …                                                                  several at once
//!   server 1       ├─ booking ──┤├─ booking ──┤                        the start of the next comes before the end
//!                            start▲  end▲                              of the one before
//! ```

use crate::service::ServiceKind;

use super::bookings::{self, PlannedBooking, PlannedStanding};
use super::fault::{Fault, Kubernetes, Link, Part, Receiver};
use super::random::Random;

/// How many of each service.
pub const REPLICAS: usize = 2;

/// A fault of the plan. Times are milliseconds from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedFault {
    /// When it begins, at the earliest: a part that has not recovered from the one before is given the time.
    pub at: u64,
    /// How long it lasts.
    pub lasts: u64,
    /// What.
    pub fault: Fault,
}

/// The faults and the events of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The faults of each lane, which follow one another.
    pub lanes: Vec<Vec<PlannedFault>>,
    /// The bookings.
    pub bookings: Vec<PlannedBooking>,
    /// What operators say.
    pub standing: Vec<PlannedStanding>,
}

impl Plan {
    /// The plan of a seed for so many seconds, servers, and servers of the broker.
    pub fn of(seed: u64, seconds: u64, servers: i64, brokers: usize) -> Self {
        let mut random = Random::of(seed);
        let length = seconds.saturating_mul(1000);
        let mut lanes: Vec<_> = decks()
            .into_iter()
            .map(|deck| lane(&mut random.fork(), |_| deck.clone(), length))
            .collect();
        let of_broker = |random: &mut Random| broker_deck(random, brokers);
        lanes.push(lane(&mut random.fork(), of_broker, length));
        let bookings = (1..=servers)
            .flat_map(|server| bookings::bookings(&mut random.fork(), server, servers, length))
            .collect();
        Self {
            lanes,
            bookings,
            standing: bookings::standing(&mut random.fork(), servers, length),
        }
    }

    /// All faults.
    pub fn faults(&self) -> impl Iterator<Item = &PlannedFault> {
        self.lanes.iter().flatten()
    }
}

/// The faults of the broker, each once, at servers by chance. One at a time is away, so the others go on.
fn broker_deck(random: &mut Random, brokers: usize) -> Vec<Fault> {
    let mut server = || usize::try_from(random.within(0..brokers as u64)).unwrap_or_default();
    let mut deck = vec![
        Fault::Kill(Part::Broker(server())),
        Fault::Stop(Part::Broker(server())),
        Fault::Cut(Link::OfBrokerNode(server())),
        Fault::Slow(Link::OfBrokerNode(server())),
    ];
    if brokers > 1 {
        deck.extend([
            Fault::Cut(Link::BetweenBrokers(server())),
            Fault::Cut(Link::OfLeader),
            Fault::Slow(Link::BetweenBrokers(server())),
        ]);
    }
    deck
}

/// The faults of each lane but the broker's, each once.
fn decks() -> Vec<Vec<Fault>> {
    let mut decks = Vec::new();
    for kind in ServiceKind::ALL {
        for replica in 0..REPLICAS {
            let part = Part::Service(kind, replica);
            let mut deck = vec![
                Fault::Kill(part),
                Fault::Stop(part),
                Fault::Cut(Link::ToBroker(kind, replica)),
                Fault::Slow(Link::ToBroker(kind, replica)),
            ];
            match kind {
                ServiceKind::Ingress => {}
                ServiceKind::Provisioner => deck.push(Fault::Cut(Link::ToKubernetes(replica))),
                ServiceKind::Notifier => deck.push(Fault::Cut(Link::ToReceiver(replica))),
            }
            decks.push(deck);
        }
    }
    decks.push(
        [
            Kubernetes::Errors,
            Kubernetes::Throttles,
            Kubernetes::Conflicts,
            Kubernetes::ExpiresWatches,
            Kubernetes::LosesAnswers,
            Kubernetes::Slow,
            Kubernetes::Away,
            Kubernetes::HostsFail,
        ]
        .map(Fault::Kubernetes)
        .to_vec(),
    );
    decks.push(
        [
            Receiver::Hangs,
            Receiver::Errors,
            Receiver::Refuses,
            Receiver::LosesAnswers,
            Receiver::Slow,
        ]
        .map(Fault::Receiver)
        .to_vec(),
    );
    decks
}

/// The deck in an order by chance, and again in another while there is time. Where the time is short each is shorter, so that
/// all get their turn.
fn lane(
    random: &mut Random,
    deck: impl Fn(&mut Random) -> Vec<Fault>,
    length: u64,
) -> Vec<PlannedFault> {
    let mut waiting = deck(random);
    random.shuffle(&mut waiting);
    let each = (length / waiting.len().max(1) as u64).max(600);
    let mut lane = Vec::new();
    let mut at = random.within(0..each.min(8000) / 4);
    while at + each.min(1000) / 2 < length {
        let fault = waiting.pop().unwrap_or_else(|| {
            waiting = deck(random);
            random.shuffle(&mut waiting);
            waiting.remove(waiting.len() - 1)
        });
        let lasts = random.within(fault.lasts()).min(each * 3 / 5);
        lane.push(PlannedFault { at, lasts, fault });
        let pause = each.min(14_000);
        at += lasts + random.within(pause / 5..pause * 2 / 5);
    }
    lane
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_one_another() {
        let plan = Plan::of(42, 300, 6, 3);
        assert_eq!(plan, Plan::of(42, 300, 6, 3));
        let other = Plan::of(43, 300, 6, 3);
        assert_ne!(plan.lanes, other.lanes);
        assert_ne!(plan.bookings, other.bookings);
    }

    #[test]
    fn a_part_has_one_fault_at_a_time_and_all_are_lifted_by_the_end_or_soon_after() {
        for seed in 0..50 {
            let plan = Plan::of(seed, 120, 4, 3);
            for lane in &plan.lanes {
                for pair in lane.windows(2) {
                    assert!(
                        pair[0].at + pair[0].lasts < pair[1].at,
                        "seed {seed}: {pair:?}"
                    );
                }
                assert!(lane.iter().all(|it| it.at < 120_000 && it.lasts > 0));
            }
        }
    }

    #[test]
    fn a_short_run_has_one_of_each_main_fault_whatever_the_seed() {
        for seed in 0..50 {
            let plan = Plan::of(seed, 16, 4, 3);
            let named: BTreeSet<String> = plan.faults().map(|it| it.fault.to_string()).collect();
            for fault in [
                "kill ingress",
                "kill provisioner",
                "kill notifier",
                "kill broker server",
                "stop ingress",
                "stop provisioner",
                "stop notifier",
                "stop broker server",
                "partition ingress – broker",
                "partition provisioner – Kubernetes",
                "partition notifier – receiver",
                "partition one broker server – services",
                "partition one broker server – the others",
                "partition the ledger's leader – the other broker servers",
                "Kubernetes answers 409",
                "Kubernetes answers 429",
                "Kubernetes expires watches",
                "receiver hangs",
                "receiver loses answers",
                "receiver refuses",
            ] {
                assert!(
                    named.contains(fault),
                    "seed {seed}: no {fault} in {named:?}"
                );
            }
        }
    }
}
