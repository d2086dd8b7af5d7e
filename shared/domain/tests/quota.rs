//! So many within ten minutes, whoever counts, and whatever becomes of who got a permit.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bellhop_domain::id::{AskerId, Version};
use bellhop_domain::quota::{Answer, Fact, Quota, WITHIN};
use jiff::Timestamp;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_796_284_800 + second).unwrap()
}

fn asker(number: u32) -> AskerId {
    AskerId::new(format!("reservation {number}"))
}

/// Decides, and folds what follows. Returns whether the asker has a permit then.
fn ask(quota: &mut Quota, number: u32, second: i64, most: usize) -> bool {
    match quota.decide(&asker(number), at(second), most) {
        Answer::Permitted => true,
        Answer::Granted(fact) => {
            let next = Version(quota.version().0 + 1);
            quota.apply(next, at(second), &[fact]);
            let again = quota.decide(&asker(number), at(second), most);
            assert_eq!(again, Answer::Permitted, "decided again");
            true
        }
        Answer::Refused => false,
    }
}

#[test]
fn one_more_than_there_may_be_is_refused_until_the_first_is_long_enough_ago() {
    let mut quota = Quota::default();
    assert!(ask(&mut quota, 1, 0, 2));
    assert!(ask(&mut quota, 2, 300, 2));
    assert!(!ask(&mut quota, 3, 301, 2));
    // With a permit of its last moment something may have been done since.
    assert!(!ask(&mut quota, 3, 600, 2));
    assert!(ask(&mut quota, 3, 660, 2));
    assert!(!ask(&mut quota, 4, 661, 2));
    assert!(!ask(&mut Quota::default(), 1, 0, 0));
}

#[test]
fn a_permit_is_of_use_for_a_short_time_and_who_asks_again_counts_once() {
    let mut quota = Quota::default();
    assert!(ask(&mut quota, 1, 0, 1));
    assert!(quota.permits(&asker(1), at(29)));
    assert!(!quota.permits(&asker(1), at(30)));
    // It crashed before it did anything, and begins again.
    assert!(ask(&mut quota, 1, 200, 1));
    assert!(quota.permits(&asker(1), at(229)));
    // What it did with that counts from then on.
    assert!(!ask(&mut quota, 2, 859, 1));
    assert!(ask(&mut quota, 2, 860, 1));
}

#[test]
fn what_was_folded_before_changes_nothing() {
    let mut quota = Quota::default();
    assert!(ask(&mut quota, 1, 0, 1));
    let before = quota.clone();
    quota.apply(Version(1), at(500), &[Fact::PermitGranted { to: asker(9) }]);
    assert_eq!(quota, before);
}

proptest! {
    // Who has a permit does it at once, later, or never; nobody twice.
    #[test]
    fn within_any_ten_minutes_no_more_is_done_than_may_be(
        steps in prop::collection::vec((0_u32..12, 0_i64..120, any::<bool>()), 1..200),
        most in 0_usize..4,
    ) {
        let mut quota = Quota::default();
        let (mut now, mut done) = (0, BTreeMap::new());
        for (number, pause, does) in steps {
            now += pause;
            if done.contains_key(&number) {
                continue;
            }
            let permitted = if does {
                quota.permits(&asker(number), at(now))
            } else {
                ask(&mut quota, number, now, most)
            };
            if permitted && does {
                done.insert(number, now);
            }
        }
        let within = i64::try_from(WITHIN.as_secs()).unwrap();
        for from in done.values() {
            let many = done.values().filter(|at| (*from..*from + within).contains(at)).count();
            prop_assert!(many <= most, "{many} from {from} on: {done:?}");
        }
    }
}
