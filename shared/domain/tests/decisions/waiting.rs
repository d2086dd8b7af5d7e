//! Who waits is told why; a failure names the newest reason, and one that comes and goes floods nobody.

use super::*;

fn blocked(text: &str) -> Observation {
    Observation::NotClean {
        text: text.to_owned(),
    }
}

fn paused_by_an_operator() -> Observation {
    Observation::Paused {
        text: "the work on it is stopped".to_owned(),
    }
}

/// Who was told, and what for.
fn told(facts: &[Fact]) -> Vec<(ReservationId, WaitReason)> {
    let told = facts.iter().filter_map(|fact| match fact {
        Fact::ReservationWaits {
            reservation,
            reason,
        } => Some((reservation.clone(), reason.clone())),
        _ => None,
    });
    told.collect()
}

fn host_reason(text: &str) -> WaitReason {
    WaitReason::Host {
        text: text.to_owned(),
    }
}

fn pause_reason() -> WaitReason {
    WaitReason::Paused {
        text: "the work on it is stopped".to_owned(),
    }
}

#[test]
fn who_waits_under_a_pause_is_told_once_and_raises_no_alarm() {
    let mut story = waiting();
    let facts = story.observed(paused_by_an_operator());
    assert_eq!(told(&facts), [(id("a"), pause_reason())]);
    assert_eq!(alarms(&story.resource), []);
    story.observed(clean());
    assert_eq!(
        names(&story.observed(provisioned())).last(),
        Some(&"HostProvisioned")
    );
}

#[test]
fn who_has_a_host_that_can_t_be_claimed_now_is_told_why_with_an_alarm_until_it_is() {
    let mut story = claiming();
    let facts = story.observed(blocked("it is paused"));
    assert_eq!(told(&facts), [(id("a"), host_reason("it is paused"))]);
    assert_eq!(alarms(&story.resource)[0].kind, AlarmKind::HostNotClean);
    let facts = story.observed(paused_by_an_operator());
    assert_eq!(told(&facts), [(id("a"), pause_reason())]);
    assert_eq!(alarms(&story.resource), []);
    story.observed(blocked("it is detached"));
    story.observed(working());
    assert_eq!(alarms(&story.resource), []);
}

#[test]
fn a_host_that_could_not_be_claimed_before_the_end_fails_with_what_was_in_the_way() {
    let mut story = claiming();
    story.observed(blocked("it is paused"));
    story.observed(blocked("it is being deleted"));
    story.now = 3 * HOUR;
    let facts = story.observed(Observation::Unclaimed);
    assert_eq!(
        failure(&facts),
        Some(&FailureReason::NotClaimedInTime {
            waited_for: Some(host_reason("it is being deleted"))
        })
    );
}

#[test]
fn all_who_wait_for_a_host_are_told_and_those_behind_the_first_when_that_one_gets_it() {
    let mut story = waiting();
    story.said("b", start());
    let facts = story.observed(blocked("it is on"));
    let reason = host_reason("it is on");
    assert_eq!(told(&facts), [(id("a"), reason.clone()), (id("b"), reason)]);
    let facts = story.observed(clean());
    assert_eq!(names(&facts), ["HostAssigned", "ReservationWaits"]);
    assert_eq!(
        told(&facts),
        [(id("b"), WaitReason::Holder { holder: id("a") })]
    );
}

#[test]
fn what_is_in_the_way_of_a_release_is_told_to_those_who_wait_for_it_and_named_where_it_stays() {
    let mut story = ready();
    story.now = 2 * HOUR;
    story.said("b", start());
    story.said("a", Said::End);
    let facts = story.observed(paused_by_an_operator());
    assert_eq!(told(&facts), [(id("b"), pause_reason())]);
    let facts = story.observed(Observation::Releasing);
    assert_eq!(
        told(&facts),
        [(id("b"), WaitReason::Release { holder: id("a") })]
    );
    assert_eq!(story.observed(Observation::Releasing), []);
    story.observed(blocked("Metal3Machine m1 uses it"));
    let facts = story.wait_until(6 * HOUR);
    assert_eq!(
        failure(&facts),
        Some(&FailureReason::NotClaimedInTime {
            waited_for: Some(host_reason("Metal3Machine m1 uses it"))
        })
    );
}

#[test]
fn who_waits_in_vain_fails_with_the_newest_reason() {
    let mut story = waiting();
    story.observed(blocked("its state is `inspecting`"));
    story.now += 1;
    let facts = story.observed(blocked("it has an error: the BMC does not answer"));
    assert_eq!(told(&facts), []);
    let facts = story.wait_until(3 * HOUR);
    assert_eq!(
        failure(&facts),
        Some(&FailureReason::NotClaimedInTime {
            waited_for: Some(host_reason("it has an error: the BMC does not answer"))
        })
    );
}

#[test]
fn a_reason_that_comes_and_goes_is_recorded_ever_more_seldom() {
    let mut story = waiting();
    let begun = story.now;
    let mut recorded = 0;
    while story.now < begun + HOUR {
        story.now += 5;
        recorded += story.observed(blocked("one thing")).len();
        recorded += story.observed(blocked("another")).len();
        recorded += story.observed(paused_by_an_operator()).len();
    }
    assert!((9..=15).contains(&recorded), "{recorded}");
}

// R4: released, not wiped.

#[test]
fn a_host_whose_image_was_taken_off_while_cleaning_was_off_is_not_wiped_whatever_is_read_at_the_end()
 {
    let mut taken_off = ready();
    let changed = seen(Progress::Working, None, Some("its image was removed"));
    taken_off.observed(changed);
    let facts = taken_off.observed(Observation::CleaningOff);
    assert_eq!(names(&facts), ["CleaningSeenOff"]);
    taken_off.said("a", Said::End);
    let mut given_back = releasing();
    let facts = given_back.observed(Observation::CleaningOff);
    assert_eq!(names(&facts), ["CleaningSeenOff"]);
    for mut story in [taken_off, given_back] {
        assert_eq!(story.observed(Observation::CleaningOff), []);
        let facts = story.observed(Observation::Released {
            left: HostLeft::Off,
            not_wiped: false,
        });
        assert!(matches!(
            facts[..],
            [Fact::HostReleased {
                not_wiped: true,
                ..
            }]
        ));
        assert_eq!(story.resource.not_wiped, Some(id("a")));
    }
}

// A clock that may be wrong.

#[test]
fn nothing_is_ended_because_its_time_is_over_while_our_clock_may_be_wrong() {
    let mut postponed = waiting();
    let mut later = postponed.word("a", Said::Changed, 3 * HOUR, Some(HOUR));
    later.knowledge.schedule.start = at(2 * HOUR);
    postponed.decide(&Command::Said(Box::new(later)));
    for mut story in [announced(), waiting(), postponed] {
        story.now = 4 * HOUR;
        let passed = |clock_is_right| Command::TimePassed {
            up_since: at(0),
            may_release: clock_is_right,
            clock_is_right,
        };
        let withheld = story.decide(&passed(false));
        assert!(
            withheld.iter().all(|fact| fact.name() == "StartOverdue"),
            "{withheld:?}"
        );
        let ended = story.decide(&passed(true));
        let last = names(&ended).pop();
        assert!(
            matches!(last, Some("ReservationMissed" | "ReservationFailed")),
            "{ended:?}"
        );
    }
}
