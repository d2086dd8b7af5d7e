//! Random histories: bookings of a sender that behaves as the real one, whose deliveries are delayed, repeated and
//! reordered; two replicas that stop, are killed, or freeze and go on, between any two of decide, append, acknowledge, host
//! read and host write; hosts that fail, are paused, changed, taken or deleted by others; hosts of the service before and of a
//! lost ledger, which are adopted; words of operators; resources that the sender deletes; two sites whose hosts have the same
//! names, said to be served from the beginning, later, or only at the end; places for as many hosts as may be prepared at once,
//! or no limit; starts that can't be served; time that jumps. After each step the rules of the project are judged by the facts and
//! by the hosts; [`judge`] says which rule by what. `tests/sites` plays sites in different namespaces, and ones that are not served.
//!
//! [`sender`], [`orders`], [`cluster`] and [`host`] are the world outside; [`replica`], [`process`], [`handling`], [`looking`], [`turns`] and [`driver`]
//! are the provisioner, as the real one is; [`world`] and [`rest`] bring them together, [`action`] by action. [`mutant`] has
//! what may be wrong with them, so that it is known what the histories would find, and [`reached`] what they have in them.
//!
//! A failure prints the smallest history that fails, as what happened in it and as its bookings, and its seed, which it keeps
//! in `tests/proptest-regressions`: commit it, and it is played first from then on. `PROPTEST_CASES` asks for more histories.

#![allow(clippy::unwrap_used, clippy::panic)]

mod action;
mod cluster;
mod delivery;
mod driver;
mod handling;
mod host;
mod judge;
mod looking;
mod mutant;
mod orders;
mod owners;
mod places;
mod process;
mod reached;
mod replica;
mod rest;
mod sender;
mod turns;
#[path = "../ways/mod.rs"]
mod ways;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use bellhop_domain::id::{ReservationId, UserId};
use bellhop_domain::reservation::{Outcome, Phase, Said, Schedule};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};

use action::Action;
use mutant::Mutant;
use sender::{Booking, Sent};
use world::{Setting, World};

/// How late a delivery may come, in seconds; the last ones change the order of nearly everything.
const DELAYS: [i64; 12] = [0, 0, 0, 0, 0, 1, 5, 60, 300, 900, 3600, 14_400];

/// Puts deliveries on their way: each comes once or, now and then, twice, each time after a delay of its own.
fn on_their_way(sent: Vec<Sent>, fates: &[u32]) -> Vec<(i64, Sent)> {
    let fates = fates.iter().copied().cycle();
    sent.into_iter()
        .zip(fates)
        .flat_map(|(sent, fate)| {
            let delay = |fate: u32| DELAYS[fate as usize % DELAYS.len()];
            let copies = if fate % 5 == 0 { 2 } else { 1 };
            (0..copies).map(move |copy| {
                (
                    sent.at + delay(fate / 5) + copy * (1 + delay(fate / 60)),
                    sent.clone(),
                )
            })
        })
        .collect()
}

/// Plays a history to its end. Returns the world as it is then.
fn play(bookings: &[Booking], fates: &[u32], actions: &[u32]) -> Result<World, String> {
    play_with(None, bookings, fates, actions)
}

/// As [`play`], with something wrong.
fn play_with(
    mutant: Option<Mutant>,
    bookings: &[Booking],
    fates: &[u32],
    actions: &[u32],
) -> Result<World, String> {
    let attempt = |tell: bool| {
        let coming = on_their_way(sender::deliveries(bookings), fates);
        let [attempts, sites, places] = [fates[0], fates[0] / 3, fates[0] / 6];
        let setting = Setting {
            attempts: 1 + attempts % 3,
            sites_named: sites % 2 == 0,
            preparing_max: (places % 3 == 0).then_some(1),
            tell,
            mutant,
        };
        let mut world = World::new(coming, setting);
        let verdict = actions
            .iter()
            .try_for_each(|number| world.act(Action::from(*number)))
            .and_then(|()| world.settle());
        (world, verdict)
    };
    match attempt(false) {
        (world, Ok(())) => Ok(world),
        // What happened is told only of a history that fails, so it is played once more.
        (_, Err(broken)) => {
            let (world, _) = attempt(true);
            let story = world.story.unwrap_or_default().join("\n");
            Err(format!("{broken}\n{story}\n=> {broken}"))
        }
    }
}

fn three_attempts() -> Setting {
    Setting {
        attempts: 3,
        ..Setting::default()
    }
}

/// At least so many; more where `PROPTEST_CASES` asks for them.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: cases.max(default.cases),
        max_shrink_iters: 20_000,
        ..default
    }
}

fn numbers(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(any::<u32>(), count)
}

/// Without resources that the sender deletes: of their bookings it says nothing more.
fn without_deletions(actions: &[u32]) -> Vec<u32> {
    let says_nothing_more =
        |number: &u32| matches!(Action::from(*number), Action::DeleteResource { .. });
    let all = actions.iter().copied();
    all.filter(|number| !says_nothing_more(number)).collect()
}

/// Who ended, and how.
fn outcomes(world: &World) -> BTreeMap<ReservationId, Outcome> {
    world
        .known()
        .filter_map(|(id, phase)| match phase {
            Phase::Over(outcome) => Some((id.clone(), *outcome)),
            _ => None,
        })
        .collect()
}

proptest! {
    #![proptest_config(config(10_000))]

    #[test]
    fn no_history_breaks_a_rule(
        bookings in sender::bookings(),
        fates in numbers(1..24),
        actions in numbers(0..240),
    ) {
        play(&bookings, &fates, &actions).map_err(TestCaseError::fail)?;
    }
}

proptest! {
    #![proptest_config(config(1000))]

    // R3. `settle` says of each of the two that all is over, and the hosts clean and off.
    #[test]
    fn whatever_the_order_in_which_deliveries_come_the_same_reservations_are_over_and_the_hosts_are_clean(
        bookings in sender::bookings(),
        fates in numbers(1..24),
        actions in numbers(0..120),
        other_fates in numbers(1..24),
        other_actions in numbers(0..120),
    ) {
        let one = play(&bookings, &fates, &without_deletions(&actions)).map_err(TestCaseError::fail)?;
        let other = play(&bookings, &other_fates, &without_deletions(&other_actions)).map_err(TestCaseError::fail)?;
        let said: BTreeSet<_> = (sender::deliveries(&bookings).into_iter())
            .map(|sent| sent.word.reservation)
            .collect();
        // Operators may adopt hosts for other reservations as well.
        let over = |world: &World| {
            let over = outcomes(world).into_keys();
            over.filter(|id| said.contains(id)).collect::<Vec<_>>()
        };
        prop_assert_eq!(over(&one), over(&other));
    }

    // R3. Nothing of what is said after all is over prepares a host, whatever its order.
    #[test]
    fn what_comes_after_every_end_prepares_nothing(
        bookings in sender::bookings(),
        order in numbers(40..60),
    ) {
        let sent = sender::deliveries(&bookings);
        let all_over = 200_000;
        let coming = sent
            .into_iter()
            .zip(order.iter().copied().cycle())
            .map(|(sent, order)| (all_over + i64::from(order % 1000), sent))
            .collect();
        let mut world = World::new(coming, three_attempts());
        world.settle().map_err(TestCaseError::fail)?;
        let prepared = world
            .facts()
            .find(|fact| matches!(fact.name(), "ReservationStarted" | "HostAssigned"));
        prop_assert_eq!(prepared, None);
    }

    // R3, without anything but sayings in between: nobody looks at a host and no timer fires.
    #[test]
    fn the_same_sayings_in_any_order_and_number_lead_to_the_same_knowledge(
        (sent, shuffled) in sender::bookings_that_stay()
            .prop_map(|bookings| sender::deliveries(&bookings))
            .prop_flat_map(|sent| (Just(sent.clone()), Just(sent).prop_shuffle())),
        again in numbers(1..8),
    ) {
        let repeated = again
            .iter()
            .filter_map(|number| shuffled.get(*number as usize % shuffled.len().max(1)))
            .cloned();
        let one = told(sent.clone());
        let other = told(shuffled.iter().cloned().chain(repeated).collect());
        for booking in 0..6 {
            let id = sender::reservation(booking);
            // An end that is known before the extension that it is older than is final: only there order matters.
            let extended_past_an_end = sent.iter().any(|end| {
                end.word.reservation == id
                    && matches!(end.word.said, Said::End)
                    && sent.iter().any(|other| {
                        other.word.reservation == id
                            && other.word.knowledge.is_newer_than(&end.word.knowledge)
                            && other.word.knowledge.schedule.end > end.word.knowledge.schedule.end
                    })
            });
            if extended_past_an_end {
                continue;
            }
            prop_assert_eq!(what_is_known(&one, &id), what_is_known(&other, &id));
        }
    }
}

/// All that is said, told to a ledger long before any of it is over.
fn told(sent: Vec<Sent>) -> World {
    let mut world = World::new(
        sent.into_iter().map(|sent| (0, sent)).collect(),
        three_attempts(),
    );
    world.hear_all().unwrap();
    world
}

/// Of a reservation that goes on: its phase, times and owner. Of one that is over: only that.
fn what_is_known(
    world: &World,
    id: &ReservationId,
) -> Option<(&'static str, Option<Schedule>, Option<UserId>)> {
    let reservation = (0..2)
        .filter_map(|resource| world.resource(resource))
        .find_map(|resource| resource.reservations.get(id))?;
    let phase = match &reservation.phase {
        Phase::Over(_) => return Some(("over", None, None)),
        Phase::Announced { .. } => "announced",
        Phase::Waiting(_) => "waiting",
        Phase::Holding => "holding",
        Phase::Postponed(_) => "postponed",
        Phase::Moved => "moved",
    };
    Some((phase, reservation.schedule(), reservation.user.clone()))
}

/// How many histories a mutant may survive.
const LONGEST_SURVIVAL: u32 = 3000;

/// The properties above are worth what they would find. The histories are the same in each run.
#[test]
fn each_mutant_is_found_by_the_rule_that_it_breaks() {
    let mut escaped = Vec::new();
    for mutant in Mutant::ALL {
        let mut runner =
            TestRunner::new_with_rng(config(1), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let histories = (sender::bookings(), numbers(1..24), numbers(0..240));
        let broken = (0..LONGEST_SURVIVAL).find_map(|_| {
            let (bookings, fates, actions) = histories.new_tree(&mut runner).unwrap().current();
            play_with(Some(mutant), &bookings, &fates, &actions).err()
        });
        let Some(broken) = broken else {
            escaped.push(format!("{mutant:?} is not found"));
            continue;
        };
        let first = broken.lines().next().unwrap_or_default();
        let is_of = |rule: &&str| {
            first
                .strip_prefix(*rule)
                .is_some_and(|rest| rest.starts_with(':'))
        };
        if !mutant.breaks().iter().any(is_of) {
            escaped.push(format!(
                "{mutant:?} breaks {:?}, and is found by: {first}",
                mutant.breaks()
            ));
        }
    }
    assert!(escaped.is_empty(), "{escaped:#?}");
}
