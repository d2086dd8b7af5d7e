//! Starts of which nobody has said where the hosts of their site are.

use super::*;

#[test]
fn who_waits_for_its_site_to_be_settled_is_told_once() {
    let mut story = unsettled();
    let facts = story.judged("a", SiteJudgement::Unclear);
    assert!(matches!(
        &facts[..],
        [Fact::ReservationWaits {
            reason: WaitReason::Site,
            ..
        }]
    ));
    assert_eq!(story.judged("a", SiteJudgement::Unclear), []);
}

#[test]
fn once_it_is_said_where_its_hosts_are_a_reservation_goes_on_by_itself() {
    let mut story = unsettled();
    story.judged("a", SiteJudgement::Unclear);
    assert_eq!(
        names(&story.judged("a", SiteJudgement::Here)),
        ["SiteSettled"]
    );
    assert_eq!(story.unsettled(), ["b"]);
    let facts = story.observed(clean());
    assert_eq!(names(&facts), ["HostAssigned"]);
    assert_eq!(facts[0].reservation(), Some(&id("a")));
}

#[test]
fn a_provisioner_that_does_not_know_yet_takes_back_nothing_that_is_settled() {
    let mut story = unsettled();
    story.judged("a", SiteJudgement::Here);
    assert_eq!(story.judged("a", SiteJudgement::Unclear), []);
    let not_served = SiteJudgement::NotServed {
        text: "its site is not served here".into(),
    };
    assert_eq!(story.judged("a", not_served), []);
    story.observed(clean());
    assert_eq!(story.judged("a", SiteJudgement::Unclear), []);
}

#[test]
fn a_settled_reservation_waits_for_the_holder_like_any_other() {
    let mut story = Story::default();
    story.said("a", start());
    story.observed(clean());
    story.said("b", Said::Announced);
    story.said("a2", start());
    assert_eq!(
        names(&story.judged("a2", SiteJudgement::Here)),
        ["SiteSettled", "ReservationWaits"]
    );
}

#[test]
fn a_reservation_of_a_site_that_is_not_served_fails_and_touches_no_host() {
    let mut story = unsettled();
    let text = "its site `site-b` is not served here".to_owned();
    let facts = story.judged("b", SiteJudgement::NotServed { text });
    assert!(matches!(
        &facts[..],
        [Fact::ReservationFailed {
            reason: FailureReason::NotServed { .. },
            ..
        }]
    ));
    assert_eq!(*story.phase("metal3", "b"), Phase::Over(Outcome::Failed));
    assert_eq!(names(&story.said("b", Said::End)), ["WordHeard"]);
    assert_eq!(*story.phase("metal3", "b"), Phase::Over(Outcome::Failed));
}

#[test]
fn an_unsettled_reservation_fails_at_its_end_with_what_it_waited_for() {
    let in_vain = |facts: &[Fact]| {
        matches!(
            facts,
            [Fact::ReservationFailed {
                reason: FailureReason::NotClaimedInTime {
                    waited_for: Some(WaitReason::Site)
                },
                ..
            }]
        )
    };
    let mut story = unsettled();
    story.judged("b", SiteJudgement::Unclear);
    let mut by_word = story.clone();
    let by_word = by_word.said("b", Said::End);
    assert_eq!(names(&by_word), ["ReservationFailed", "WordHeard"]);
    assert!(in_vain(&by_word[..1]));
    story.now = 3 * HOUR;
    let passed = Command::TimePassed {
        up_since: at(0),
        may_release: true,
        clock_is_right: true,
    };
    let facts = story.decide(&node01("metal3"), &passed);
    let of_b: Vec<Fact> = facts
        .into_iter()
        .filter(|fact| fact.reservation() == Some(&id("b")))
        .collect();
    assert!(in_vain(&of_b), "{of_b:?}");
}
