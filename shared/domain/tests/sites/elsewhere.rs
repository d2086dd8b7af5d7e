//! Reservations whose hosts are in another namespace.

use super::*;

#[test]
fn a_reservation_whose_hosts_are_elsewhere_goes_there_with_what_its_start_gave_it() {
    let mut story = unsettled();
    let [there, out] = story.rehomed("b", "metal3-b");
    assert_eq!(names(&there), ["ReservationMovedIn"]);
    assert_eq!(names(&out), ["ReservationMovedOut"]);
    let waiting = match story.phase("metal3-b", "b") {
        Phase::Waiting(waiting) => waiting,
        other => panic!("{other:?}"),
    };
    assert!(!waiting.unsettled && waiting.can_claim());
    assert_eq!(*story.phase("metal3", "b"), Phase::Moved);
    assert!(matches!(story.desired("metal3-b"), Desired::Offer { .. }));
    assert_eq!(story.ledger.strays(), []);
    assert_eq!(story.unsettled(), ["a"]);
    // What is said of it from now on is decided there.
    assert_eq!(story.ledger.place_of(&id("b")), Some(&node01("metal3-b")));
}

#[test]
fn one_that_was_moved_to_later_goes_there_as_such() {
    let mut story = unsettled();
    story.said("b", Said::Changed);
    let word = story.word("b", Said::Changed);
    let later = Word {
        knowledge: Knowledge {
            schedule: Schedule {
                start: at(5 * HOUR),
                end: at(7 * HOUR),
            },
            ..word.knowledge.clone()
        },
        ..word
    };
    story.decide(&node01("metal3"), &Command::Said(Box::new(later)));
    assert!(matches!(story.phase("metal3", "b"), Phase::Postponed(_)));
    let [there, _] = story.rehomed("b", "metal3-b");
    assert_eq!(
        names(&there),
        ["ReservationMovedIn", "ReservationPostponed"]
    );
    assert_eq!(story.unsettled(), ["a"]);
}

#[test]
fn a_crash_in_the_middle_of_going_elsewhere_is_mended() {
    let mut story = unsettled();
    let stands = node01("metal3");
    let state = story.ledger.resource(&stands).unwrap();
    let (to, rehoming) = Rehoming::of_unsettled(&id("b"), &stands, state, "metal3-b").unwrap();
    story.decide(&to, &Command::Rehomed(Box::new(rehoming)));
    assert_eq!(story.ledger.strays(), [(stands, id("b"), to)]);
    // It does not wait there any more for an operator's word.
    assert_eq!(story.unsettled(), ["a"]);
}

#[test]
fn an_announcement_fixes_no_namespace_however_old_the_word_is_that_names_another() {
    let mut story = Story::default();
    let early = story.word("b", start());
    story.said("b", Said::Announced);
    story.said("a", Said::Announced);
    let stands = node01("metal3");
    let word = Word {
        site_named: true,
        ..early
    };
    let state = story.ledger.resource(&stands).unwrap();
    let (to, rehoming) = Rehoming::by_word(&word, &node01("metal3-b"), &stands, state).unwrap();
    assert_eq!(to, node01("metal3-b"));
    story.decide(&to, &Command::Rehomed(Box::new(rehoming)));
    assert_eq!(story.ledger.place_of(&id("b")), Some(&to));
    let facts = story.decide(&to, &Command::Said(Box::new(word)));
    assert_eq!(names(&facts), ["ReservationStarted"]);
    assert_eq!(story.unsettled(), [""; 0]);
}

#[test]
fn there_and_back_again_ends_where_the_last_word_was_named() {
    let mut story = Story::default();
    story.said("b", Said::Announced);
    for (from, to) in [
        ("metal3", "b"),
        ("b", "metal3"),
        ("metal3", "b"),
        ("b", "metal3"),
    ] {
        let word = story.word("b", Said::Changed);
        let (from, to) = (node01(from), node01(to));
        let state = story.ledger.resource(&from).unwrap();
        let (to, rehoming) = Rehoming::by_word(&word, &to, &from, state).unwrap();
        story.decide(&to, &Command::Rehomed(Box::new(rehoming)));
        story.decide(
            &from,
            &Command::MovedOut {
                reservation: id("b"),
                to: to.clone(),
            },
        );
        assert_eq!(story.ledger.place_of(&id("b")), Some(&to));
        assert_eq!(story.ledger.strays(), []);
    }
}

#[test]
fn what_has_started_stays_in_its_namespace_whatever_is_configured_later() {
    let mut story = Story::default();
    story.said("a", start());
    let word = story.word("a", Said::Changed);
    let stands = node01("metal3");
    let state = story.ledger.resource(&stands).unwrap();
    assert_eq!(Rehoming::by_word(&word, &node01("b"), &stands, state), None);
    assert_eq!(Rehoming::of_unsettled(&id("a"), &stands, state, "b"), None);
}

proptest! {
    /// Two provisioners, of which one knows the sites: whatever they do in whatever order, no host is given to a reservation
    /// of whose site nobody had said that its hosts are there.
    #[test]
    fn no_host_is_given_to_who_is_not_known_to_belong_there(
        steps in prop::collection::vec((0..4_usize, 0..6_usize, any::<bool>()), 1..40),
    ) {
        let mut story = Story::default();
        story.said("a", Said::Announced);
        story.said("b", Said::Announced);
        for (booking, step, knows) in steps {
            let event = ["a", "b", "a2", "b2"][booking];
            let (site, ..) = self::booking(event);
            let stands = story.ledger.place_of(&id(event)).cloned().unwrap_or_else(|| node01("metal3"));
            let home = if site == "site-a" { "metal3" } else { "metal3-b" };
            story.named = knows && stands.namespace() == home;
            match step {
                0 => drop(story.said_on(stands.namespace(), event, start())),
                1 => drop(story.said_on(stands.namespace(), event, Said::Changed)),
                2 => drop(story.said_on(stands.namespace(), event, Said::End)),
                3 if knows => {
                    let state = story.ledger.resource(&stands).cloned().unwrap_or_default();
                    if let Some((to, rehoming)) = Rehoming::of_unsettled(&id(event), &stands, &state, home) {
                        story.decide(&to, &Command::Rehomed(Box::new(rehoming)));
                        story.decide(&stands, &Command::MovedOut { reservation: id(event), to });
                    } else if stands.namespace() == home {
                        story.judged(event, SiteJudgement::Here);
                    }
                }
                3 => drop(story.judged(event, SiteJudgement::Unclear)),
                _ => {
                    for namespace in ["metal3", "metal3-b"] {
                        let facts = story.decide(&node01(namespace), &Command::Observed(clean()));
                        for fact in &facts {
                            if let Fact::HostAssigned { reservation, .. } = fact {
                                let (site, ..) = self::booking(reservation.event());
                                let home = if site == "site-a" { "metal3" } else { "metal3-b" };
                                prop_assert_eq!(namespace, home);
                            }
                        }
                    }
                }
            }
        }
    }
}
