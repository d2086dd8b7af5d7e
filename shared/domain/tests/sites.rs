//! Starts of several sites, and where the hosts of each are.

#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_domain::id::{
    DeliveryId, HostRef, ReservationId, ResourceId, ResourceKind, SiteId, Source, UserId, Version,
    WebhookId,
};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::{
    ClaimedHost, Command, DeliveryRef, Desired, Fact, FailureReason, HostLeft, Image, Knowledge,
    Observation, Outcome, Phase, Policy, Progress, Rehoming, Said, Schedule, Scope, SiteJudgement,
    TenantKey, Terms, WaitReason, Word, decide, desired,
};
use jiff::Timestamp;
use proptest::prelude::*;

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_796_284_800 + second).unwrap()
}

fn id(event: &str) -> ReservationId {
    ReservationId::new(Source::new("reservation-system"), event)
}

fn node01(namespace: &str) -> ResourceId {
    ResourceId::new(ResourceKind::new("baremetalhost"), namespace, "node01")
}

fn start() -> Said {
    Said::Start {
        key: TenantKey::InDelivery,
        terms: Terms {
            image: Image {
                name: None,
                url: "http://images/noble".into(),
                checksum: None,
                checksum_type: None,
                format: None,
            },
            login: "prognose".into(),
            without_key: false,
        },
    }
}

/// The bookings: A of site-a's node01, B of site-b's.
fn booking(event: &str) -> (&'static str, i64, i64, i64) {
    match event {
        "a" => ("site-a", 31, HOUR, 3 * HOUR),
        "a2" => ("site-a", 31, 4 * HOUR, 6 * HOUR),
        "b" => ("site-b", 99, HOUR, 3 * HOUR),
        "b2" => ("site-b", 99, 4 * HOUR, 6 * HOUR),
        other => panic!("no booking {other}"),
    }
}

/// A ledger and a clock.
#[derive(Clone, Default)]
struct Story {
    ledger: Ledger,
    now: i64,
    deliveries: u64,
    /// Whether `SITE_IDS` names both sites.
    named: bool,
}

impl Story {
    fn decide(&mut self, on: &ResourceId, command: &Command) -> Vec<Fact> {
        let state = self.ledger.resource(on).cloned().unwrap_or_default();
        let facts = decide(&state, command, at(self.now), &Policy::default());
        let version = Version(self.ledger.version().0 + 1);
        self.ledger.apply(on, version, at(self.now), None, &facts);
        let state = self.ledger.resource(on).cloned().unwrap_or_default();
        let again = decide(&state, command, at(self.now), &Policy::default());
        assert_eq!(again, [], "decided again after {facts:?}");
        facts
    }

    fn word(&mut self, event: &str, said: Said) -> Word {
        let (site, number, start, end) = booking(event);
        self.deliveries += 1;
        self.now += 1;
        let delivery = DeliveryId::new(format!("d{}", self.deliveries));
        Word {
            reservation: id(event),
            said,
            knowledge: Knowledge {
                schedule: Schedule {
                    start: at(start),
                    end: at(end),
                },
                updated_at: None,
                said_at: at(self.now),
                said_by: delivery.clone(),
            },
            webhook: WebhookId::new("12"),
            delivery: DeliveryRef {
                sequence: self.deliveries,
                id: delivery,
            },
            user: Some(UserId::new("mara")),
            resource_number: Some(number),
            site: Some(SiteId::new(site)),
            site_named: self.named,
            only_site: true,
            payload: "{}".into(),
        }
    }

    fn said(&mut self, event: &str, said: Said) -> Vec<Fact> {
        self.said_on("metal3", event, said)
    }

    fn said_on(&mut self, namespace: &str, event: &str, said: Said) -> Vec<Fact> {
        let word = self.word(event, said);
        self.decide(&node01(namespace), &Command::Said(Box::new(word)))
    }

    fn judged(&mut self, event: &str, judgement: SiteJudgement) -> Vec<Fact> {
        let command = Command::SiteJudged {
            reservation: id(event),
            judgement,
        };
        self.decide(&node01("metal3"), &command)
    }

    /// Takes an unsettled reservation to another namespace, as a provisioner does.
    fn rehomed(&mut self, event: &str, namespace: &str) -> [Vec<Fact>; 2] {
        let stands = self.ledger.place_of(&id(event)).unwrap().clone();
        let state = self.ledger.resource(&stands).unwrap();
        let (to, rehoming) = Rehoming::of_unsettled(&id(event), &stands, state, namespace).unwrap();
        let there = self.decide(&to, &Command::Rehomed(Box::new(rehoming)));
        let out = Command::MovedOut {
            reservation: id(event),
            to,
        };
        [there, self.decide(&stands, &out)]
    }

    fn observed(&mut self, observation: Observation) -> Vec<Fact> {
        self.decide(&node01("metal3"), &Command::Observed(observation))
    }

    fn phase(&self, namespace: &str, event: &str) -> &Phase {
        &self
            .ledger
            .resource(&node01(namespace))
            .unwrap()
            .reservations[&id(event)]
            .phase
    }

    fn desired(&self, namespace: &str) -> Desired<'_> {
        desired(self.ledger.resource(&node01(namespace)).unwrap())
    }

    fn unsettled(&self) -> Vec<String> {
        let unsettled = self.ledger.unsettled().into_iter();
        unsettled
            .map(|(_, reservation, _)| reservation.event().to_owned())
            .collect()
    }
}

fn clean() -> Observation {
    Observation::Clean {
        host: HostRef {
            namespace: "metal3".into(),
            name: "node01".into(),
            uid: "u".into(),
        },
        secret: "s".into(),
    }
}

fn ready() -> Observation {
    Observation::Claimed(ClaimedHost {
        progress: Progress::Ready { address: None },
        error: None,
        changed: None,
    })
}

fn names(facts: &[Fact]) -> Vec<&'static str> {
    facts.iter().map(Fact::name).collect()
}

#[test]
fn all_is_served_while_only_one_site_was_ever_seen() {
    let mut story = Story::default();
    story.said("a", Said::Announced);
    story.said("a", start());
    assert_eq!(story.unsettled(), [""; 0]);
    assert_eq!(names(&story.observed(clean())), ["HostAssigned"]);
    assert_eq!(story.ledger.sites().len(), 1);
}

#[test]
fn from_the_first_delivery_of_a_second_site_on_new_starts_of_all_sites_wait() {
    // Whatever that delivery said.
    for said in [
        Said::Announced,
        Said::Changed,
        Said::End,
        Said::Deleted,
        start(),
    ] {
        let mut story = Story::default();
        let starts = matches!(said, Said::Start { .. });
        story.said("a", Said::Announced);
        story.said("b", said);
        story.said("a", start());
        story.said("a2", start());
        let mut waiting = vec!["a", "a2"];
        waiting.extend(starts.then_some("b"));
        assert_eq!(story.unsettled(), waiting);
        // No host is looked for, so none can be given, and one that is not there fails nobody.
        assert_eq!(story.desired("metal3"), Desired::Nothing);
        let none = Observation::NoHost {
            text: "no host".into(),
        };
        assert_eq!(story.observed(clean()), []);
        assert_eq!(story.observed(none), []);
    }
}

#[test]
fn a_delivery_about_no_reservation_makes_its_site_known_too() {
    let mut story = Story::default();
    story.said("a", Said::Announced);
    let site = SiteId::new("site-b");
    let seen = Command::SiteSeen {
        site: site.clone(),
        delivery: DeliveryRef {
            sequence: 9,
            id: DeliveryId::new("d9"),
        },
    };
    let on = Scope::Site(site).resource();
    assert_eq!(names(&story.decide(&on, &seen)), ["SiteSeen"]);
    assert_eq!(story.ledger.sites().len(), 2);
    story.said("a", start());
    assert_eq!(story.unsettled(), ["a"]);
}

#[test]
fn a_start_that_was_accepted_before_the_second_site_was_seen_goes_on() {
    let mut story = Story::default();
    story.said("a", start());
    story.said("b", Said::Announced);
    assert_eq!(names(&story.observed(clean())), ["HostAssigned"]);
}

#[test]
fn a_start_that_comes_too_late_makes_its_site_known_as_any_delivery_does() {
    let mut story = Story::default();
    story.said("a", Said::Announced);
    story.now = 3 * HOUR;
    assert_eq!(names(&story.said("b", start())), ["ReservationRefused"]);
    story.said("a2", start());
    assert_eq!(story.unsettled(), ["a2"]);
}

#[test]
fn where_sites_are_named_nobody_waits_for_that() {
    let mut story = Story {
        named: true,
        ..Story::default()
    };
    story.said("b", Said::Announced);
    story.said("a", start());
    assert_eq!(story.unsettled(), [""; 0]);
    assert_eq!(names(&story.observed(clean())), ["HostAssigned"]);
}

fn unsettled() -> Story {
    let mut story = Story::default();
    story.said("a", Said::Announced);
    story.said("b", start());
    story.said("a", start());
    story
}

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

#[test]
fn a_booking_of_another_site_s_server_of_the_same_name_does_not_prove_that_the_holder_is_over() {
    let mut story = Story::default();
    story.said("a", start());
    story.observed(clean());
    story.observed(ready());
    story.said("b2", Said::Announced);
    story.now = 4 * HOUR;
    let passed = Command::TimePassed {
        up_since: at(0),
        may_release: true,
        clock_is_right: true,
    };
    let facts = story.decide(&node01("metal3"), &passed);
    assert!(!names(&facts).contains(&"ReservationEnded"), "{facts:?}");
    // One of the same server does.
    story.said("a2", Said::Announced);
    let facts = story.decide(&node01("metal3"), &passed);
    assert!(names(&facts).contains(&"ReservationEnded"), "{facts:?}");
    let released = Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    };
    assert_eq!(names(&story.observed(released)), ["HostReleased"]);
}

/// A's server is ready, and a booking of B's site, of a server of that name, is told of without that one's number.
fn with_another_site_s_booking_without_a_number(said: Said) -> Story {
    let mut story = Story {
        named: true,
        ..Story::default()
    };
    story.said("a", start());
    story.observed(clean());
    story.observed(ready());
    let word = Word {
        resource_number: None,
        ..story.word("b2", said)
    };
    story.decide(&node01("metal3"), &Command::Said(Box::new(word)));
    story
}

#[test]
fn a_booking_of_another_site_that_names_no_number_does_not_prove_that_the_holder_is_over() {
    let mut story = with_another_site_s_booking_without_a_number(Said::Announced);
    story.now = 4 * HOUR;
    let passed = Command::TimePassed {
        up_since: at(0),
        may_release: true,
        clock_is_right: true,
    };
    let facts = story.decide(&node01("metal3"), &passed);
    assert!(!names(&facts).contains(&"ReservationEnded"), "{facts:?}");
}

#[test]
fn a_start_of_another_site_that_names_no_number_waits_for_an_operator_too() {
    let mut story = with_another_site_s_booking_without_a_number(start());
    story.said("a", Said::End);
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    let facts = story.observed(clean());
    assert!(
        matches!(
            facts.as_slice(),
            [Fact::ReservationWaits { reason: WaitReason::Operator { text }, .. }]
                if text.contains("one of site site-b")
        ),
        "{facts:?}"
    );
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
