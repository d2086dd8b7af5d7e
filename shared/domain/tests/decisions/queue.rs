//! R4: who waits for the host, and in which order; who has no key lets others go first.

use super::*;

#[test]
fn a_start_while_another_holds_waits_and_its_user_is_told_for_whom() {
    let mut story = ready();
    let facts = story.said("b", start());
    assert_eq!(names(&facts), ["ReservationStarted", "ReservationWaits"]);
    assert!(matches!(
        &facts[1],
        Fact::ReservationWaits { reason: WaitReason::Holder { holder }, .. } if *holder == id("a")
    ));
    story.said("a", Said::End);
    assert_eq!(story.observed(Observation::Releasing), []);
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    assert!(matches!(desired(&story.resource), Desired::Offer { next } if *next == id("b")));
}

#[test]
fn those_who_wait_get_the_host_in_the_order_of_their_starts_not_of_their_arrival() {
    let mut story = unknown();
    story.said("b", start());
    story.said("a", start());
    let facts = story.observed(clean());
    assert_eq!(facts[0].reservation(), Some(&id("a")));
}

#[test]
fn who_waits_for_a_host_that_is_not_clean_is_told_once() {
    let mut story = waiting();
    assert_eq!(names(&story.observed(not_clean())), ["ReservationWaits"]);
    let otherwise = Observation::NotClean {
        text: "it is on".to_owned(),
    };
    // Recorded, so that a failure and the alarm name the newest; its user is not told once more.
    assert_eq!(
        names(&story.observed(otherwise.clone())),
        ["WaitReasonChanged"]
    );
    assert_eq!(story.observed(otherwise), []);
    let alarm = &alarms(&story.resource)[0];
    assert_eq!(
        (alarm.kind, alarm.text.as_str()),
        (AlarmKind::HostNotClean, "it is on")
    );
}

#[test]
fn who_waits_past_its_own_end_fails_with_what_it_waited_for() {
    let mut story = waiting();
    story.observed(not_clean());
    let facts = story.wait_until(3 * HOUR);
    assert!(matches!(
        failure(&facts),
        Some(FailureReason::NotClaimedInTime {
            waited_for: Some(WaitReason::Host { .. })
        })
    ));
}

#[test]
fn who_began_to_wait_for_a_holder_fails_with_the_release_that_took_too_long() {
    for heard in [false, true] {
        let mut story = ready();
        story.now = 2 * HOUR;
        story.said("b", start());
        story.said("a", Said::End);
        let facts = if heard {
            story.now = 6 * HOUR;
            story.said("b", Said::End)
        } else {
            story.wait_until(6 * HOUR)
        };
        assert_eq!(
            failure(&facts),
            Some(&FailureReason::NotClaimedInTime {
                waited_for: Some(WaitReason::Release { holder: id("a") })
            }),
            "{facts:?}"
        );
    }
}

#[test]
fn an_end_that_is_heard_before_our_own_timer_is_a_failure_too_for_who_waited_until_then() {
    let mut story = waiting();
    story.observed(not_clean());
    story.now = 3 * HOUR;
    let facts = story.said("a", Said::End);
    assert!(matches!(
        failure(&facts),
        Some(FailureReason::NotClaimedInTime {
            waited_for: Some(WaitReason::Host { .. })
        })
    ));
}

#[test]
fn a_host_that_was_read_for_one_whose_time_is_over_is_not_given_to_the_next() {
    let mut story = waiting();
    story.said("b", start());
    story.now = 3 * HOUR;
    assert_eq!(story.observed(clean()), []);
    story.wait_until(3 * HOUR);
    assert_eq!(story.observed(clean())[0].reservation(), Some(&id("b")));
}

#[test]
fn a_host_that_was_assigned_but_not_claimed_before_the_end_is_not_claimed_any_more() {
    let mut story = claiming();
    assert_eq!(story.observed(Observation::Unclaimed), []);
    story.now = 3 * HOUR;
    let facts = story.observed(Observation::Unclaimed);
    assert!(matches!(
        failure(&facts),
        Some(FailureReason::NotClaimedInTime { .. })
    ));
    assert!(matches!(desired(&story.resource), Desired::Release(_)));
}

#[test]
fn a_missing_host_fails_everyone_who_waits_and_takes_no_host_from_its_holder() {
    let mut story = waiting();
    story.said("b", start());
    assert_eq!(
        names(&story.observed(no_host())),
        ["ReservationFailed", "ReservationFailed"]
    );
    assert_eq!(ready().observed(no_host()), []);
}

#[test]
fn who_brings_no_key_waits_unclaimed_and_lets_others_go_first() {
    let mut story = unknown();
    let keyless = Said::Start {
        key: TenantKey::Missing {
            reason: "no key".to_owned(),
        },
        terms: terms(),
    };
    let facts = story.said("a", keyless);
    assert!(matches!(
        &facts[1],
        Fact::ReservationWaits {
            reason: WaitReason::Key { .. },
            ..
        }
    ));
    assert_eq!(desired(&story.resource), Desired::Wait);
    assert_eq!(story.observed(clean()), []);
    assert_eq!(alarms(&story.resource)[0].kind, AlarmKind::KeyMissing);
    story.said("b", start());
    assert_eq!(story.observed(clean())[0].reservation(), Some(&id("b")));
}

#[test]
fn who_brings_no_key_gets_a_host_where_its_terms_allow_it() {
    let mut story = unknown();
    let keyless = Said::Start {
        key: TenantKey::Missing {
            reason: "no key".to_owned(),
        },
        terms: Terms {
            without_key: true,
            ..terms()
        },
    };
    assert_eq!(names(&story.said("a", keyless)), ["ReservationStarted"]);
    assert_eq!(names(&story.observed(clean())), ["HostAssigned"]);
}
