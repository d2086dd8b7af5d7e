//! R8: the truth about the host; R12: what others change of it.

use super::*;

#[test]
fn as_many_errors_as_there_may_be_fail_the_reservation_and_one_that_stays_counts_once() {
    let mut story = preparing();
    for attempt in 1..3 {
        let facts = story.observed(failing("no disk"));
        assert!(matches!(
            &facts[..],
            [Fact::ProvisioningErrorSeen { attempt: seen, .. }] if *seen == attempt
        ));
        assert_eq!(story.observed(failing("still no disk")), []);
        assert_eq!(
            names(&story.observed(working())),
            ["ProvisioningErrorCleared"]
        );
    }
    let facts = story.observed(failing("no disk"));
    assert!(matches!(
        failure(&facts),
        Some(FailureReason::ProvisioningErrors { attempts: 3, error }) if error.message == "no disk"
    ));
    assert!(matches!(desired(&story.resource), Desired::Release(_)));
}

#[test]
fn the_timeout_runs_only_while_metal3_works() {
    let mut story = preparing();
    let began = story.now;
    story.watched_until(began + 20 * MINUTE);
    assert_eq!(names(&story.observed(paused())), ["ProvisioningSuspended"]);
    assert_eq!(story.wait_until(began + 90 * MINUTE), []);
    assert_eq!(names(&story.observed(working())), ["ProvisioningResumed"]);
    let facts = story.watched_until(began + 115 * MINUTE - 1);
    assert!(!facts.is_empty());
    assert!(facts.iter().all(|fact| fact.name() == "ProvisioningSeen"));
    assert_eq!(story.wait_until(began + 115 * MINUTE), []);
    assert!(matches!(
        failure(&story.observed(working())),
        Some(FailureReason::ProvisioningTimeout { seconds: 2700 })
    ));
}

#[test]
fn time_in_which_nobody_looked_at_the_host_does_not_count_and_what_was_seen_before_does() {
    let mut story = preparing();
    story.watched_until(story.now + 40 * MINUTE);
    // The API server is away for long, and Metal3 with it.
    story.now += 50 * MINUTE;
    assert_eq!(names(&story.observed(working())), ["ProvisioningUnseen"]);
    let back = story.now;
    // The last sight before it that is a fact was at 39 minutes.
    assert_eq!(failure(&story.watched_until(back + 6 * MINUTE - 1)), None);
    assert!(matches!(
        failure(&story.watched_until(back + 6 * MINUTE)),
        Some(FailureReason::ProvisioningTimeout { .. })
    ));
}

#[test]
fn a_host_that_metal3_works_on_no_more_when_it_is_seen_again_keeps_what_was_seen_of_its_time() {
    let mut story = preparing();
    let began = story.now;
    story.watched_until(began + 39 * MINUTE);
    let resumed = "ProvisioningResumed";
    for (hours, seen, again) in [
        (1, paused(), vec![resumed]),
        (2, Observation::Unclaimed, vec!["HostRestored", resumed]),
    ] {
        story.now = began + hours * HOUR;
        let facts = story.observed(seen);
        assert!(names(&facts).ends_with(&["ProvisioningUnseen", "ProvisioningSuspended"]));
        assert_eq!(names(&story.observed(working())), again);
    }
    let back = story.now;
    assert_eq!(failure(&story.watched_until(back + 6 * MINUTE - 1)), None);
    assert!(failure(&story.watched_until(back + 6 * MINUTE)).is_some());
}

#[test]
fn a_restart_now_and_then_does_not_begin_the_timeout_anew() {
    let mut story = preparing();
    let began = story.now;
    // Each look is by a process that has just started, and knows what the ledger says.
    let mut failed = None;
    for minute in 1..=45 {
        story.now = began + minute * MINUTE;
        failed = failed.or(failure(&story.observed(working())).cloned());
        assert_eq!(failed.is_some(), minute == 45, "after {minute} minutes");
    }
}

#[test]
fn a_timeout_fails_nothing_before_the_host_was_looked_at() {
    let mut story = preparing();
    // Nobody was there, or the API server was away: the host may be ready by now.
    assert_eq!(story.away_until(2 * HOUR), []);
    assert_eq!(names(&story.observed(provisioned())), ["HostProvisioned"]);
}

#[test]
fn a_host_that_is_ready_though_its_time_was_up_while_paused_is_ready() {
    let mut story = preparing();
    let began = story.now;
    story.watched_until(began + 45 * MINUTE - 1);
    story.now = began + 45 * MINUTE;
    assert_eq!(names(&story.observed(paused())), ["ProvisioningSuspended"]);
    let mut working_still = story.clone();
    assert!(failure(&working_still.observed(working())).is_some());
    assert_eq!(names(&story.observed(provisioned())), ["HostProvisioned"]);
}

#[test]
fn no_error_no_timeout_and_no_loss_of_sight_takes_ready_away() {
    let mut story = ready();
    assert_eq!(
        names(&story.observed(failing("power"))),
        ["ReadyHostTroubled"]
    );
    assert_eq!(story.observed(failing("power")), []);
    // That a troubled host is deleted is said too, once.
    assert_eq!(
        names(&story.observed(Observation::HostGone)),
        ["ReadyHostTroubled"]
    );
    assert_eq!(story.observed(Observation::HostGone), []);
    assert_eq!(story.wait_until(2 * HOUR), []);
    let alarm = &alarms(&story.resource)[0];
    assert_eq!(alarm.kind, AlarmKind::ReadyHostTroubled);
    assert!(
        alarm.text.contains("does not exist any more"),
        "{}",
        alarm.text
    );
    assert_eq!(
        names(&story.observed(provisioned())),
        ["ReadyHostRecovered"]
    );
    assert_eq!(story.holding_stage(), &Stage::Ready { trouble: None });
}

#[test]
fn a_host_that_becomes_ready_with_an_error_is_ready_and_troubled() {
    let mut story = preparing();
    let both = seen(Progress::Ready { address: None }, Some("power"), None);
    assert_eq!(
        names(&story.observed(both)),
        ["HostProvisioned", "ReadyHostTroubled"]
    );
}

#[test]
fn what_someone_else_changes_on_a_host_is_recorded_once_and_changes_nothing_else() {
    let mut story = ready();
    let changed = || seen(Progress::Ready { address: None }, None, Some("image"));
    assert_eq!(names(&story.observed(changed())), ["HostChangedByOthers"]);
    assert_eq!(story.observed(changed()), []);
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
    assert_eq!(
        alarms(&story.resource)[0].kind,
        AlarmKind::HostChangedByOthers
    );
    // Another change is another fact: an image that is removed after other user data wipes the host.
    let another = || seen(Progress::Ready { address: None }, None, Some("user data"));
    assert_eq!(names(&story.observed(another())), ["HostChangedByOthers"]);
    assert_eq!(story.observed(another()), []);
    assert!(alarms(&story.resource)[0].text.ends_with("user data"));
}

#[test]
fn what_someone_else_changed_is_no_alarm_any_more_when_the_host_is_as_we_had_set_it() {
    for mut story in [preparing(), ready()] {
        let seen_as = |change| seen(Progress::Working, None, change);
        story.observed(seen_as(Some("image")));
        assert_eq!(alarms(&story.resource).len(), 1);
        assert_eq!(names(&story.observed(seen_as(None))), ["HostRestored"]);
        assert_eq!(alarms(&story.resource), []);
        assert_eq!(story.observed(seen_as(None)), []);
        let again = story.observed(seen_as(Some("image")));
        assert_eq!(names(&again), ["HostChangedByOthers"]);
    }
}

#[test]
fn what_a_reservation_gets_is_what_its_first_start_fixed() {
    let mut story = waiting();
    let other = Said::Start {
        key: TenantKey::InDelivery,
        terms: Terms {
            login: "other".to_owned(),
            ..terms()
        },
    };
    story.said("a", other);
    story.observed(clean());
    assert_eq!(story.resource.holding().unwrap().terms, terms());
}
