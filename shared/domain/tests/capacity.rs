//! The capacity by itself: places are granted in order, never too many, and go back when they are not needed.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use bellhop_domain::capacity::{
    AskerId, Capacity, Claims, Fact, GroupId, Limits, Order, Request, decide,
};
use bellhop_domain::id::Version;
use jiff::Timestamp;
use proptest::prelude::*;

fn limits(in_all: u32, in_each_group: u32) -> Limits {
    Limits::new(NonZeroU32::new(in_all), NonZeroU32::new(in_each_group)).unwrap()
}

fn asker(number: u32) -> AskerId {
    AskerId::new(format!("asker {number}"))
}

/// One of group `group`, whose turn comes at `at`; group 0 is one that nobody told.
fn request(number: u32, group: u32, at: i64) -> Request {
    Request {
        asker: asker(number),
        group: (group > 0).then(|| GroupId::new(format!("group {group}"))),
        order: Order {
            at: Timestamp::from_second(at).unwrap(),
            then: Version(u64::from(number)),
        },
    }
}

fn asking(asking: impl IntoIterator<Item = Request>) -> Claims {
    Claims {
        asking: asking.into_iter().collect(),
        ..Claims::default()
    }
}

fn granted(facts: &[Fact]) -> Vec<AskerId> {
    let granted = facts.iter().filter_map(|fact| match fact {
        Fact::PlaceGranted { to, .. } => Some(to.clone()),
        Fact::PlaceReturned { .. } => None,
    });
    granted.collect()
}

/// Decides, folds what follows, and checks that nothing more follows then.
fn settle(capacity: &mut Capacity, claims: &Claims, limits: &Limits) -> Vec<Fact> {
    let facts = decide(capacity, claims, limits);
    capacity.apply(Version(capacity.version().0 + 1), &facts);
    assert_eq!(decide(capacity, claims, limits), [], "decided again");
    facts
}

#[test]
fn without_a_limit_nobody_needs_a_place() {
    assert_eq!(Limits::new(None, None), None);
}

#[test]
fn places_are_granted_in_the_order_of_time_whatever_the_order_of_asking() {
    let claims = asking([request(1, 0, 30), request(2, 0, 10), request(3, 0, 20)]);
    let facts = decide(&Capacity::default(), &claims, &limits(2, 0));
    assert_eq!(granted(&facts), [asker(2), asker(3)]);
}

#[test]
fn of_those_with_the_same_time_the_first_in_the_ledger_comes_first() {
    let claims = asking([request(2, 0, 10), request(1, 0, 10)]);
    let facts = decide(&Capacity::default(), &claims, &limits(1, 0));
    assert_eq!(granted(&facts), [asker(1)]);
}

#[test]
fn a_full_group_holds_up_nobody_of_another_one() {
    let claims = asking([request(1, 1, 10), request(2, 1, 20), request(3, 2, 30)]);
    let facts = decide(&Capacity::default(), &claims, &limits(0, 1));
    assert_eq!(granted(&facts), [asker(1), asker(3)]);
    let facts = decide(&Capacity::default(), &claims, &limits(1, 1));
    assert_eq!(granted(&facts), [asker(1)]);
}

#[test]
fn those_whose_group_nobody_told_are_a_group_too() {
    let claims = asking([request(1, 0, 10), request(2, 0, 20), request(3, 1, 30)]);
    let facts = decide(&Capacity::default(), &claims, &limits(0, 1));
    assert_eq!(granted(&facts), [asker(1), asker(3)]);
}

#[test]
fn a_place_that_goes_back_is_the_next_ones_in_the_same_decision() {
    let mut capacity = Capacity::default();
    settle(&mut capacity, &asking([request(1, 0, 10)]), &limits(1, 0));
    let claims = Claims {
        done: vec![asker(1)],
        ..asking([request(2, 0, 20)])
    };
    let facts = settle(&mut capacity, &claims, &limits(1, 0));
    assert_eq!(
        facts,
        [
            Fact::PlaceReturned { from: asker(1) },
            Fact::PlaceGranted {
                to: asker(2),
                group: None
            }
        ]
    );
}

#[test]
fn who_began_without_a_place_counts_whatever_the_limit() {
    let mut capacity = Capacity::default();
    let claims = Claims {
        begun: vec![request(1, 0, 50), request(2, 0, 60)],
        ..asking([request(3, 0, 10)])
    };
    let facts = settle(&mut capacity, &claims, &limits(1, 0));
    assert_eq!(granted(&facts), [asker(1), asker(2)]);
    assert_eq!(capacity.crowd(None, &limits(1, 0)), Some(2));
}

#[test]
fn a_smaller_limit_takes_no_place_away_and_grants_none_until_there_is_room() {
    let mut capacity = Capacity::default();
    let two = [request(1, 0, 10), request(2, 0, 20)];
    settle(&mut capacity, &asking(two.clone()), &limits(2, 0));
    let next = request(3, 0, 30);
    let claims = |done: &[u32]| Claims {
        done: done.iter().copied().map(asker).collect(),
        begun: two
            .iter()
            .filter(|request| !done.iter().any(|number| asker(*number) == request.asker))
            .cloned()
            .collect(),
        asking: vec![next.clone()],
    };
    assert_eq!(settle(&mut capacity, &claims(&[]), &limits(1, 0)), []);
    let facts = settle(&mut capacity, &claims(&[1]), &limits(1, 0));
    assert_eq!(facts, [Fact::PlaceReturned { from: asker(1) }]);
    let facts = settle(&mut capacity, &claims(&[1, 2]), &limits(1, 0));
    assert_eq!(granted(&facts), [asker(3)]);
}

#[test]
fn a_message_that_was_taken_in_is_not_taken_in_again() {
    let mut capacity = Capacity::default();
    let granted = [Fact::PlaceGranted {
        to: asker(1),
        group: None,
    }];
    capacity.apply(Version(5), &granted);
    capacity.apply(Version(6), &[Fact::PlaceReturned { from: asker(1) }]);
    capacity.apply(Version(5), &granted);
    assert!(!capacity.has(&asker(1)));
    assert_eq!(capacity.version(), Version(6));
}

/// What an asker does next.
#[derive(Clone, Debug)]
enum Step {
    Asks { number: u32, group: u32, at: i64 },
    Begins(usize),
    IsDone(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..40_u32, 0..3_u32, 0..20_i64).prop_map(|(number, group, at)| Step::Asks { number, group, at }),
        2 => any::<prop::sample::Index>().prop_map(|index| Step::Begins(index.index(40))),
        2 => any::<prop::sample::Index>().prop_map(|index| Step::IsDone(index.index(40))),
    ]
}

proptest! {
    #[test]
    fn there_are_never_more_places_than_the_limits_allow_and_nobody_is_passed_over(
        in_all in 0..5_u32,
        in_each_group in 0..4_u32,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let Some(limits) = Limits::new(NonZeroU32::new(in_all), NonZeroU32::new(in_each_group)) else {
            return Ok(());
        };
        let mut capacity = Capacity::default();
        let mut known: BTreeMap<AskerId, Request> = BTreeMap::new();
        let (mut begun, mut done) = (BTreeSet::new(), BTreeSet::new());
        for step in steps {
            let with_place: Vec<AskerId> = capacity.askers().cloned().collect();
            match step {
                Step::Asks { number, group, at } if !done.contains(&asker(number)) => {
                    known.entry(asker(number)).or_insert_with(|| request(number, group, at));
                }
                Step::Asks { .. } => {}
                Step::Begins(index) => { with_place.get(index).map(|asker| begun.insert(asker.clone())); }
                Step::IsDone(index) => {
                    if let Some(asker) = with_place.get(index) {
                        known.remove(asker);
                        begun.remove(asker);
                        done.insert(asker.clone());
                    }
                }
            }
            let of = |begun_only: bool| known.values()
                .filter(|request| begun.contains(&request.asker) == begun_only)
                .cloned()
                .collect();
            let claims = Claims { asking: of(false), begun: of(true), done: done.iter().cloned().collect() };
            let facts = settle(&mut capacity, &claims, &limits);

            let places: Vec<&Request> = capacity.askers().map(|asker| &known[asker]).collect();
            let in_group = |group: &Option<GroupId>| places.iter().filter(|request| request.group == *group).count();
            prop_assert!(in_all == 0 || places.len() <= in_all as usize);
            for place in &places {
                prop_assert!(in_each_group == 0 || in_group(&place.group) <= in_each_group as usize);
            }
            // Whoever waits has no room, and whoever got a place now stood before all of its group that did not.
            let new = granted(&facts);
            for waits in known.values().filter(|request| !capacity.has(&request.asker)) {
                prop_assert!(capacity.crowd(waits.group.as_ref(), &limits).is_some());
                let same_group = new.iter().map(|asker| &known[asker]).filter(|got| got.group == waits.group);
                for got in same_group {
                    prop_assert!(got.order < waits.order);
                }
            }
        }
    }
}
