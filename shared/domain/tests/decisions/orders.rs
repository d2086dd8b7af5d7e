//! What operators order, and what waits for an operator.

use bellhop_domain::reservation::{Note, OperatorWord, Order, Phase, Scope};

use super::*;

pub(crate) fn note() -> Note {
    Note {
        by: "ada".to_owned(),
        why: "its user asked".to_owned(),
        at: None,
    }
}

impl Story {
    pub(crate) fn ordered(&mut self, order: Order) -> Vec<Fact> {
        let word = OperatorWord {
            order,
            note: note(),
        };
        self.decide(&Command::Ordered(Box::new(word)))
    }

    fn resource_deleted(&mut self, number: Option<i64>) -> Vec<Fact> {
        self.decide(&Command::ResourceDeleted {
            number,
            delivery: delivery(),
        })
    }

    /// B starts on A's clean host after A was released, not wiped.
    fn after_a_host_that_was_not_wiped() -> Self {
        let mut story = releasing();
        story.observed(Observation::Released {
            left: HostLeft::Off,
            not_wiped: true,
        });
        story.said("b", start());
        story
    }
}

pub(crate) fn delivery() -> DeliveryRef {
    DeliveryRef {
        sequence: 77,
        id: DeliveryId::new("operators.77"),
    }
}

fn a() -> ReservationId {
    id("a")
}

#[test]
fn every_order_has_an_answer_in_every_state() {
    check(
        &[
            ("extend", |story| {
                story.ordered(Order::Extend {
                    reservation: a(),
                    until: at(8 * HOUR),
                })
            }),
            ("release", |story| {
                story.ordered(Order::Release { reservation: a() })
            }),
            ("end", |story| {
                story.ordered(Order::End { reservation: a() })
            }),
            ("allow", |story| {
                story.ordered(Order::Allow { reservation: a() })
            }),
            ("retry", |story| {
                story.ordered(Order::BringKey {
                    reservation: a(),
        user: None,
                    delivery: delivery(),
                })
            }),
            ("hand-back", |story| story.ordered(Order::HandBack)),
            ("hold", |story| story.ordered(Order::Hold)),
            ("pause", |story| story.ordered(Order::Pause)),
            ("resource-deleted", |story| {
                story.resource_deleted(Some(31))
            }),
        ],
        "state     extend           release          end              allow        retry hand-back       hold     pause         resource-deleted
         unknown   -                -                -                -            -     HandBackOrdered HostHeld DrivingPaused -
         announced DeadlineExtended -                ReservationEnded -            -     HandBackOrdered HostHeld DrivingPaused ReservationFailed
         waiting   DeadlineExtended -                ReservationEnded -            -     -               HostHeld DrivingPaused ReservationFailed
         claiming  DeadlineExtended ReservationEnded ReservationEnded -            -     -               HostHeld DrivingPaused HeldResourceDeleted
         preparing DeadlineExtended ReservationEnded ReservationEnded -            -     -               HostHeld DrivingPaused HeldResourceDeleted
         ready     DeadlineExtended ReservationEnded ReservationEnded -            -     -               HostHeld DrivingPaused HeldResourceDeleted
         releasing -                -                -                -            -     -               HostHeld DrivingPaused -
         released  -                -                -                -            -     HandBackOrdered HostHeld DrivingPaused -",
    );
}

#[test]
fn an_operator_ends_a_reservation_that_has_no_host_and_the_holder_keeps_its_own() {
    let mut story = ready();
    story.said("b", start());
    let ended = story.ordered(Order::End {
        reservation: id("b"),
    });
    let [Fact::ReservationEnded(ended)] = ended.as_slice() else {
        panic!("{ended:?}")
    };
    assert_eq!(
        (ended.cause, ended.outcome),
        (EndCause::Operator, EndOutcome::Cancelled)
    );
    assert!(
        story
            .resource
            .holding()
            .is_some_and(|it| it.reservation == a())
    );
}

#[test]
fn an_operator_who_extends_moves_the_deadline_and_the_sender_s_end_still_ends() {
    let mut story = ready();
    let extended = story.ordered(Order::Extend {
        reservation: a(),
        until: at(8 * HOUR),
    });
    assert_eq!(names(&extended), ["DeadlineExtended"]);
    assert_eq!(story.wait_until(8 * HOUR + 9 * MINUTE), []);
    let passed = story.wait_until(8 * HOUR + 11 * MINUTE);
    assert_eq!(names(&passed), ["DeadlinePassed"]);
    // Once more, while it is held already: grace and hold begin anew.
    story.ordered(Order::Extend {
        reservation: a(),
        until: at(12 * HOUR),
    });
    assert_eq!(story.wait_until(11 * HOUR), []);
    let ended = story.said("a", Said::End);
    assert_eq!(end(&ended), Some((EndCause::End, EndOutcome::Completed)));
}

#[test]
fn an_extension_by_an_operator_is_proof_against_the_next_reservation() {
    let mut story = ready();
    story.said("b", Said::Announced);
    story.ordered(Order::Extend {
        reservation: a(),
        until: at(5 * HOUR),
    });
    let facts = story.wait_until(4 * HOUR + 1);
    assert_eq!(end(&facts), None, "{facts:?}");
}

#[test]
fn an_operator_s_release_ends_only_the_holder_that_the_operator_saw() {
    let mut story = ready();
    story.said("b", start());
    assert_eq!(
        story.ordered(Order::Release {
            reservation: id("b")
        }),
        []
    );
    let ended = story.ordered(Order::Release { reservation: a() });
    assert_eq!(
        end(&ended),
        Some((EndCause::Operator, EndOutcome::Completed))
    );
    let Fact::ReservationEnded(ended) = &ended[0] else {
        panic!("{ended:?}")
    };
    assert_eq!(ended.note, Some(note()));
}

#[test]
fn an_order_stands_until_its_opposite() {
    let mut story = ready();
    story.ordered(Order::Hold);
    story.ordered(Order::Pause);
    assert_eq!(story.resource.orders.held, Some(note()));
    story.said("a", Said::End);
    assert!(story.resource.orders.held.is_some());
    assert_eq!(names(&story.ordered(Order::Unhold)), ["HostUnheld"]);
    assert_eq!(names(&story.ordered(Order::Resume)), ["DrivingResumed"]);
    assert_eq!(story.resource.orders, Default::default());
}

#[test]
fn a_pause_of_everything_covers_every_resource_and_one_of_a_resource_only_that() {
    let node: ResourceId = "baremetalhost/metal3/node01".parse().unwrap();
    let other: ResourceId = "baremetalhost/metal3/node02".parse().unwrap();
    let mut ledger = Ledger::default();
    let mut order = |version, resource: &ResourceId, fact: Fact| {
        ledger.apply(resource, Version(version), at(0), None, &[fact]);
        let paused = |id| ledger.paused(id).map(|(scope, _)| scope);
        (paused(&node), paused(&other))
    };
    let pause = || Fact::DrivingPaused { note: note() };
    let resume = || Fact::DrivingResumed { note: note() };
    let one = Scope::Resource(node.clone());
    assert_eq!(order(1, &node, pause()), (Some(one), None));
    let everything = Scope::Everything.resource();
    let all = Some(Scope::Everything);
    assert_eq!(order(2, &everything, pause()), (all.clone(), all.clone()));
    assert_eq!(order(3, &node, resume()), (all.clone(), all));
    assert_eq!(order(4, &everything, resume()), (None, None));
}

#[test]
fn a_key_that_an_operator_brings_lets_a_start_go_ahead_with_it() {
    let mut story = unknown();
    let key = TenantKey::Missing {
        reason: "none came".to_owned(),
    };
    story.said(
        "a",
        Said::Start {
            key,
            terms: terms(),
        },
    );
    assert_eq!(story.observed(clean()), []);
    let brought = story.ordered(Order::BringKey {
        reservation: a(),
        user: None,
        delivery: delivery(),
    });
    assert_eq!(names(&brought), ["KeyBrought"]);
    assert_eq!(names(&story.observed(clean())), ["HostAssigned"]);
    assert_eq!(story.resource.holding().unwrap().delivery, delivery());
}

#[test]
fn a_host_that_was_released_not_wiped_waits_for_an_operator_and_the_alarm_says_how_to_go_on() {
    let mut story = Story::after_a_host_that_was_not_wiped();
    let facts = story.observed(clean());
    assert!(
        matches!(&facts[..], [Fact::ReservationWaits { reason: WaitReason::Operator { text }, .. }] if text.contains("not wiped")),
        "{facts:?}"
    );
    let alarms = alarms(&story.resource);
    assert_eq!(alarms.len(), 1);
    assert_eq!(alarms[0].kind, AlarmKind::OperatorNeeded);
    assert!(
        alarms[0]
            .text
            .contains("bellhop allow reservation-system:b")
    );
    let allowed = story.ordered(Order::Allow {
        reservation: id("b"),
    });
    assert_eq!(names(&allowed), ["StartAllowed"]);
    assert_eq!(names(&story.observed(clean())), ["HostAssigned"]);
    story.observed(working());
    story.said("b", Said::Deleted);
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    assert_eq!(story.resource.not_wiped, None);
}

#[test]
fn nothing_is_allowed_before_it_was_asked_and_a_permission_is_for_the_host_as_it_was() {
    let allow = |story: &mut Story| {
        story.ordered(Order::Allow {
            reservation: id("b"),
        })
    };
    let mut story = Story::after_a_host_that_was_not_wiped();
    assert_eq!(allow(&mut story), [], "nobody has looked at the host yet");
    story.observed(clean());
    assert_eq!(names(&allow(&mut story)), ["StartAllowed"]);
    // Postponed before it was given the host: by the time that it starts again, others may have had it.
    let mut later = story.word("b", Said::Changed, 30 * HOUR, Some(story.now));
    later.knowledge.schedule.start = at(28 * HOUR);
    let facts = story.decide(&Command::Said(Box::new(later)));
    assert_eq!(
        names(&facts),
        ["ReservationChanged", "ReservationPostponed"]
    );
    assert!(
        matches!(&story.resource.reservations[&id("b")].phase, Phase::Postponed(waiting) if !waiting.allowed),
        "{:?}",
        story.resource.reservations[&id("b")].phase
    );
}

#[test]
fn a_host_that_was_released_not_wiped_is_given_away_where_cleaning_is_not_required() {
    let mut story = Story::after_a_host_that_was_not_wiped();
    story.policy.require_cleaning = false;
    assert_eq!(names(&story.observed(clean())), ["HostAssigned"]);
}

#[test]
fn a_host_waits_for_an_operator_where_another_resource_of_its_name_is_reserved() {
    let mut story = released();
    let mut word = story.word("b", start(), Story::hours("b").1, None);
    word.resource_number = Some(44);
    story.decide(&Command::Said(Box::new(word)));
    let facts = story.observed(clean());
    assert!(
        matches!(&facts[..], [Fact::ReservationWaits { reason: WaitReason::Operator { text }, .. }] if text.contains("31") && text.contains("44")),
        "{facts:?}"
    );
    story.ordered(Order::Allow {
        reservation: id("b"),
    });
    assert_eq!(names(&story.observed(clean())), ["HostAssigned"]);
    assert_eq!(story.resource.bound_to.as_ref().unwrap().number(), Some(44));
}

#[test]
fn a_host_waits_for_an_operator_where_another_site_s_resource_has_its_number() {
    let binding = |site: Option<&str>| {
        let site = site.map(bellhop_domain::id::SiteId::new);
        bellhop_domain::reservation::Binding::new(site, Some(31)).unwrap()
    };
    assert!(binding(Some("lab-1")).may_be(&binding(Some("lab-1"))));
    assert!(binding(Some("lab-1")).may_be(&binding(None)));
    assert!(!binding(Some("lab-1")).may_be(&binding(Some("lab-2"))));
}

#[test]
fn a_pause_of_a_site_covers_the_hosts_of_its_reservations_until_they_are_given_back() {
    let node: ResourceId = "baremetalhost/metal3/node01".parse().unwrap();
    let site = |name: &str| Scope::Site(bellhop_domain::id::SiteId::new(name)).resource();
    let mut story = waiting();
    let mut word = story.word("a", start(), Story::hours("a").1, None);
    word.site = Some(bellhop_domain::id::SiteId::new("lab-1"));
    let mut story = unknown();
    let facts = story.decide(&Command::Said(Box::new(word)));
    let paused = |at_site: &str| {
        let mut ledger = Ledger::default();
        let pause = Fact::DrivingPaused { note: note() };
        ledger.apply(&node, Version(1), at(0), None, &facts);
        ledger.apply(&site(at_site), Version(2), at(0), None, &[pause]);
        ledger.paused(&node).is_some()
    };
    assert!(paused("lab-1"));
    assert!(!paused("lab-2"));
}

#[test]
fn the_end_of_a_reservation_that_no_operator_allowed_fails_it() {
    let mut story = Story::after_a_host_that_was_not_wiped();
    story.observed(clean());
    let facts = story.wait_until(6 * HOUR);
    assert!(
        matches!(
            failure(&facts),
            Some(FailureReason::NotClaimedInTime {
                waited_for: Some(WaitReason::Operator { .. })
            })
        ),
        "{facts:?}"
    );
}

#[test]
fn a_resource_that_is_deleted_under_its_holder_wipes_nothing_and_fails_who_waits() {
    let mut story = ready();
    story.said("b", start());
    let facts = story.resource_deleted(Some(31));
    assert_eq!(names(&facts), ["HeldResourceDeleted", "ReservationFailed"]);
    assert_eq!(failure(&facts), Some(&FailureReason::ResourceDeleted));
    assert!(matches!(desired(&story.resource), Desired::Keep(_)));
    assert_eq!(
        alarms(&story.resource)[0].kind,
        AlarmKind::HeldResourceDeleted
    );
    // Nobody sends its end any more: the deadline decides.
    let passed = story.wait_until(3 * HOUR + 11 * MINUTE);
    assert_eq!(names(&passed), ["DeadlinePassed"]);
}

#[test]
fn a_deletion_of_another_resource_of_that_name_changes_nothing() {
    let mut story = ready();
    assert_eq!(story.resource_deleted(Some(44)), []);
}

/// Said so many seconds after the first.
fn said_at(story: &mut Story, order: Order, second: i64) -> Vec<Fact> {
    let note = Note {
        at: Some(at(second)),
        ..note()
    };
    story.decide(&Command::Ordered(Box::new(OperatorWord { order, note })))
}

#[test]
fn of_two_words_about_a_hold_or_a_pause_the_one_that_was_said_last_counts_in_whatever_order_they_are_heard()
 {
    let mut story = ready();
    assert_eq!(
        names(&said_at(&mut story, Order::Unhold, 2)),
        ["HostUnheld"]
    );
    assert_eq!(said_at(&mut story, Order::Hold, 1), []);
    assert_eq!(story.resource.orders.held, None);
    assert_eq!(names(&said_at(&mut story, Order::Hold, 3)), ["HostHeld"]);
    // The broker hands it out once more: whoever handled it was killed before it could say so.
    assert_eq!(said_at(&mut story, Order::Unhold, 2), []);
    assert!(story.resource.orders.held.is_some());

    assert_eq!(
        names(&said_at(&mut story, Order::Pause, 5)),
        ["DrivingPaused"]
    );
    assert_eq!(
        names(&said_at(&mut story, Order::Pause, 7)),
        ["DrivingPaused"]
    );
    assert_eq!(said_at(&mut story, Order::Resume, 6), []);
    assert!(story.resource.orders.paused.is_some());
}

#[test]
fn a_hand_back_that_is_heard_once_more_later_switches_nothing_on() {
    let mut story = released();
    assert_eq!(
        names(&said_at(&mut story, Order::HandBack, 1)),
        ["HandBackOrdered"]
    );
    story.observed(Observation::SwitchedOn { host: host() });
    assert_eq!(said_at(&mut story, Order::HandBack, 1), []);
    assert_eq!(
        names(&said_at(&mut story, Order::HandBack, 2)),
        ["HandBackOrdered"]
    );
}

#[test]
fn a_key_is_not_brought_to_another_owner_than_the_operator_saw() {
    let mut story = unknown();
    story.said(
        "a",
        Said::Start {
            key: TenantKey::Missing {
                reason: "no key".to_owned(),
            },
            terms: terms(),
        },
    );
    let owner = story.resource.reservations[&a()].user.clone();
    let bring = |user| Order::BringKey {
        reservation: a(),
        user,
        delivery: delivery(),
    };
    let another = bellhop_domain::id::UserId::new("another");
    assert_eq!(story.ordered(bring(Some(another))), []);
    assert!(owner.is_some());
    assert_eq!(names(&story.ordered(bring(owner))), ["KeyBrought"]);
}

#[test]
fn a_host_that_no_claim_reached_is_as_little_wiped_as_before() {
    let mut story = Story::after_a_host_that_was_not_wiped();
    story.observed(clean());
    story.ordered(Order::Allow {
        reservation: id("b"),
    });
    assert_eq!(names(&story.observed(clean())), ["HostAssigned"]);
    story.said("b", Said::Deleted);
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    assert_eq!(story.resource.not_wiped, Some(a()));
}
