//! Bookings that are changed: moved to another resource, to another time, to another owner, or too late.

#![allow(clippy::unwrap_used, clippy::panic)]

use bellhop_domain::id::{
    DeliveryId, HostRef, ReservationId, ResourceId, ResourceKind, SiteId, Source, UserId, Version,
    WebhookId,
};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::alarm::alarms;
use bellhop_domain::reservation::timer::next_due;
use bellhop_domain::reservation::{
    AcceptedStart, Adopted, AlarmKind, ClaimedHost, Command, DeliveryRef, Desired, EndCause,
    EndOutcome, Fact, FailureReason, Image, Knowledge, Note, Observation, Phase, Policy, Progress,
    Said, Schedule, TenantKey, Terms, WaitReason, Word, decide, desired, moved_by,
};
use jiff::Timestamp;

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_796_284_800 + second).unwrap()
}

fn a() -> ReservationId {
    ReservationId::new(Source::new("reservation-system"), "a")
}

fn node(name: &str) -> ResourceId {
    ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", name)
}

fn terms() -> Terms {
    let image = Image {
        name: None,
        url: "http://images/noble".into(),
        checksum: None,
        checksum_type: None,
        format: None,
    };
    Terms {
        image,
        login: "prognose".into(),
        without_key: false,
    }
}

fn host() -> HostRef {
    HostRef {
        namespace: "metal3".into(),
        name: "one".into(),
        uid: "u".into(),
    }
}

fn start(terms: Terms) -> Said {
    Said::Start {
        key: TenantKey::InDelivery,
        terms,
    }
}

/// A ledger and a clock.
#[derive(Default)]
struct Site {
    ledger: Ledger,
    now: i64,
    deliveries: u64,
}

impl Site {
    fn decide(&mut self, on: &str, command: &Command) -> Vec<Fact> {
        let state = self.ledger.resource(&node(on)).cloned().unwrap_or_default();
        let facts = decide(&state, command, at(self.now), &Policy::default());
        let version = Version(self.ledger.version().0 + 1);
        self.ledger
            .apply(&node(on), version, at(self.now), None, &facts);
        let state = self.ledger.resource(&node(on)).cloned().unwrap_or_default();
        assert_eq!(
            decide(&state, command, at(self.now), &Policy::default()),
            [],
            "decided again"
        );
        facts
    }

    /// A saying about the booking as it is from `start` to `end`.
    fn word(&mut self, said: Said, start: i64, end: i64) -> Word {
        self.deliveries += 1;
        let id = DeliveryId::new(format!("d{}", self.deliveries));
        let dated = matches!(said, Said::Changed | Said::Announced | Said::Deleted);
        Word {
            reservation: a(),
            said,
            knowledge: Knowledge {
                schedule: Schedule {
                    start: at(start),
                    end: at(end),
                },
                updated_at: dated.then(|| at(self.now)),
                said_at: at(self.now),
                said_by: id.clone(),
            },
            webhook: WebhookId::new("12"),
            delivery: DeliveryRef {
                sequence: self.deliveries,
                id,
            },
            user: Some(UserId::new("mara")),
            resource_number: Some(31),
            site: Some(SiteId::new("lab-7")),
            site_named: false,
            only_site: true,
            payload: "{}".into(),
        }
    }

    fn said(&mut self, on: &str, said: Said, start: i64, end: i64) -> Vec<Fact> {
        let word = self.word(said, start, end);
        self.decide(on, &Command::Said(Box::new(word)))
    }

    /// A saying about the booking that names a resource which is not served.
    fn of_unserved(&mut self, said: Said, number: i64) -> Command {
        Command::SaidOfUnserved(Box::new(Word {
            resource_number: Some(number),
            ..self.word(said, HOUR, 3 * HOUR)
        }))
    }

    /// What another replica recorded.
    fn recorded(&mut self, on: &str, fact: Fact) {
        let version = Version(self.ledger.version().0 + 1);
        self.ledger
            .apply(&node(on), version, at(self.now), None, &[fact]);
    }

    fn observed(&mut self, on: &str, observation: Observation) -> Vec<Fact> {
        self.decide(on, &Command::Observed(observation))
    }

    fn wait_until(&mut self, on: &str, now: i64) -> Vec<Fact> {
        self.now = now;
        self.decide(
            on,
            &Command::TimePassed {
                up_since: at(0),
                may_release: true,
                clock_is_right: true,
            },
        )
    }

    /// A is ready on `one`, from hour 1 to hour 3. Now is hour 1.
    fn ready() -> Self {
        let mut site = Self {
            now: HOUR - 60,
            ..Self::default()
        };
        site.said("one", start(terms()), HOUR, 3 * HOUR);
        site.prepared("one");
        site.now = HOUR;
        site
    }

    /// Its host is clean, given to who waits, and ready.
    fn prepared(&mut self, on: &str) {
        self.observed(
            on,
            Observation::Clean {
                host: host(),
                secret: "one-a".into(),
            },
        );
        let ready = ClaimedHost {
            progress: Progress::Ready { address: None },
            error: None,
            changed: None,
        };
        self.observed(on, Observation::Claimed(ready));
    }

    fn phase(&self, on: &str) -> Phase {
        self.ledger.resource(&node(on)).unwrap().reservations[&a()]
            .phase
            .clone()
    }

    fn move_in(&mut self, to: &str, from: &str, started: Option<AcceptedStart>) -> Vec<Fact> {
        let word = Box::new(self.word(Said::Changed, HOUR, 3 * HOUR));
        self.decide(
            to,
            &Command::MovedIn {
                word,
                from: node(from),
                started,
                former: None,
            },
        )
    }
}

fn accepted() -> AcceptedStart {
    accepted_by("d1", 1)
}

fn accepted_by(delivery: &str, sequence: u64) -> AcceptedStart {
    let delivery = DeliveryRef {
        sequence,
        id: DeliveryId::new(delivery),
    };
    AcceptedStart {
        terms: terms(),
        key: TenantKey::InDelivery,
        delivery,
        host_stays: false,
    }
}

fn names(facts: &[Fact]) -> Vec<&'static str> {
    facts.iter().map(Fact::name).collect()
}

#[test]
fn a_booking_that_is_moved_waits_on_the_new_resource_with_the_key_of_its_start_and_is_released_on_the_old()
 {
    let mut site = Site::ready();
    assert_eq!(
        names(&site.move_in("two", "one", Some(accepted()))),
        ["ReservationMovedIn"]
    );
    assert_eq!(site.ledger.place_of(&a()), Some(&node("two")));
    let two = site.ledger.resource(&node("two")).unwrap();
    assert!(matches!(desired(two), Desired::Offer { next } if *next == a()));
    assert!(
        matches!(site.phase("two"), Phase::Waiting(waiting) if waiting.delivery == accepted().delivery)
    );

    let out = Command::MovedOut {
        reservation: a(),
        to: node("two"),
    };
    assert_eq!(names(&site.decide("one", &out)), ["ReservationMovedOut"]);
    assert!(matches!(
        desired(site.ledger.resource(&node("one")).unwrap()),
        Desired::Release(_)
    ));
    assert_eq!(site.phase("one"), Phase::Moved);
}

#[test]
fn what_a_crash_in_the_middle_of_a_move_left_is_found() {
    let mut site = Site::ready();
    assert_eq!(site.ledger.strays(), []);
    site.move_in("two", "one", Some(accepted()));
    assert_eq!(site.ledger.strays(), [(node("one"), a(), node("two"))]);
    site.decide(
        "one",
        &Command::MovedOut {
            reservation: a(),
            to: node("two"),
        },
    );
    assert_eq!(site.ledger.strays(), []);
}

#[test]
fn a_reservation_that_ends_on_the_old_resource_during_a_move_is_over_on_the_new_one_too() {
    let mut site = Site::ready();
    site.move_in("two", "one", Some(accepted()));
    site.said("one", Said::End, HOUR, 3 * HOUR);
    assert_eq!(site.ledger.strays(), [(node("two"), a(), node("one"))]);
    let out = Command::MovedOut {
        reservation: a(),
        to: node("one"),
    };
    assert_eq!(names(&site.decide("two", &out)), ["ReservationMovedOut"]);
    assert_eq!(site.ledger.strays(), []);
}

#[test]
fn only_a_newer_word_moves_a_reservation_and_an_end_never_does() {
    let mut site = Site {
        now: HOUR - 120,
        ..Site::default()
    };
    let stale = site.word(Said::Changed, HOUR, 3 * HOUR);
    site.now += 30;
    let start = Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    };
    site.said("one", start, HOUR, 3 * HOUR);
    site.now += 30;
    let end = site.word(Said::End, HOUR, 3 * HOUR);
    let newer = site.word(Said::Changed, HOUR, 3 * HOUR);
    let one = site.ledger.resource(&node("one")).unwrap();
    let moved = |word: &Word, to: &str, number: Option<i64>| {
        let word = Word {
            resource_number: number,
            ..word.clone()
        };
        moved_by(&word, &node(to), &node("one"), one)
    };
    let started = Some(Some(accepted_by("d2", 2)));
    assert_eq!(moved(&stale, "two", Some(32)), None);
    assert_eq!(moved(&end, "two", Some(32)), None);
    assert_eq!(moved(&newer, "two", Some(32)), started);
    assert_eq!(moved(&newer, "two", None), started);
    // Renamed by an administrator, or mapped to another namespace by us: the same resource for the sender.
    assert_eq!(moved(&newer, "two", Some(31)), None);
    let elsewhere = ResourceId::new(ResourceKind::new("baremetalhost"), "other", "one");
    assert_eq!(moved_by(&newer, &elsewhere, &node("one"), one), None);
}

#[test]
fn a_start_that_comes_again_with_a_key_ends_the_wait_for_one() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let key = TenantKey::Missing {
        reason: "none".into(),
    };
    site.said(
        "one",
        Said::Start {
            key,
            terms: terms(),
        },
        HOUR,
        3 * HOUR,
    );
    assert_eq!(
        desired(site.ledger.resource(&node("one")).unwrap()),
        Desired::Wait
    );
    let facts = site.said(
        "one",
        Said::Start {
            key: TenantKey::InDelivery,
            terms: terms(),
        },
        HOUR,
        3 * HOUR,
    );
    assert!(names(&facts).contains(&"KeyBrought"));
    assert!(matches!(site.phase("one"), Phase::Waiting(waiting) if waiting.delivery.sequence == 2));
    assert!(matches!(
        desired(site.ledger.resource(&node("one")).unwrap()),
        Desired::Offer { .. }
    ));
}

#[test]
fn of_two_moves_at_once_the_one_that_was_said_last_counts_whichever_is_stored_last() {
    let mut site = Site::ready();
    let older = Box::new(site.word(Said::Changed, HOUR, 3 * HOUR));
    site.now += 10;
    let newer = Box::new(site.word(Said::Changed, HOUR, 3 * HOUR));
    site.decide(
        "three",
        &Command::MovedIn {
            word: newer,
            from: node("one"),
            started: None,
            former: None,
        },
    );
    site.decide(
        "two",
        &Command::MovedIn {
            word: older,
            from: node("one"),
            started: None,
            former: None,
        },
    );
    assert_eq!(site.ledger.place_of(&a()), Some(&node("three")));
    let mut strays = site.ledger.strays();
    strays.sort();
    assert_eq!(
        strays,
        [
            (node("one"), a(), node("three")),
            (node("two"), a(), node("three"))
        ]
    );
}

#[test]
fn a_booking_that_is_moved_back_goes_on_where_it_was() {
    let mut site = Site::ready();
    site.move_in("two", "one", Some(accepted()));
    site.decide(
        "one",
        &Command::MovedOut {
            reservation: a(),
            to: node("two"),
        },
    );
    site.now += 60;
    let facts = site.move_in("one", "two", Some(accepted()));
    // Its own earlier host is being taken back there.
    assert!(matches!(
        &facts[..],
        [
            Fact::ReservationMovedIn(_),
            Fact::ReservationWaits {
                reason: WaitReason::Release { .. },
                ..
            }
        ]
    ));
    assert_eq!(site.ledger.place_of(&a()), Some(&node("one")));
}

#[test]
fn a_reservation_that_is_over_is_not_moved() {
    let mut site = Site::ready();
    site.said("one", Said::End, HOUR, 3 * HOUR);
    site.move_in("two", "one", None);
    let out = Command::MovedOut {
        reservation: a(),
        to: node("two"),
    };
    assert_eq!(site.decide("one", &out), []);
}

#[test]
fn a_start_that_is_moved_to_later_gives_the_host_back_and_starts_again_by_itself() {
    let mut site = Site::ready();
    let facts = site.said("one", Said::Changed, 5 * HOUR, 7 * HOUR);
    assert_eq!(
        names(&facts),
        ["ReservationChanged", "ReservationPostponed"]
    );
    let one = site.ledger.resource(&node("one")).unwrap();
    assert!(matches!(desired(one), Desired::Release(_)));
    // As early as the sender's own starts come.
    assert_eq!(
        next_due(one, &Policy::default(), at(0)),
        Some(at(5 * HOUR - 300))
    );
    site.observed(
        "one",
        Observation::Released {
            left: bellhop_domain::reservation::HostLeft::Off,
            not_wiped: false,
        },
    );
    assert_eq!(
        desired(site.ledger.resource(&node("one")).unwrap()),
        Desired::Nothing
    );
    assert_eq!(
        names(&site.wait_until("one", 5 * HOUR - 300)),
        ["ReservationResumed"]
    );
    assert!(matches!(
        desired(site.ledger.resource(&node("one")).unwrap()),
        Desired::Offer { .. }
    ));
}

#[test]
fn a_start_that_is_moved_by_less_than_it_comes_early_changes_nothing_on_the_host() {
    let mut site = Site::ready();
    assert_eq!(
        names(&site.said("one", Said::Changed, HOUR + 200, 3 * HOUR)),
        ["ReservationChanged"]
    );
}

#[test]
fn a_postponed_reservation_that_ends_is_over_and_one_that_is_brought_forward_starts() {
    let mut site = Site::ready();
    site.said("one", Said::Changed, 5 * HOUR, 7 * HOUR);
    site.now += 60;
    site.said("one", Said::Changed, 2 * HOUR, 4 * HOUR);
    assert_eq!(
        names(&site.wait_until("one", 2 * HOUR - 300)),
        ["ReservationResumed", "ReservationWaits"]
    );
    site.said("one", Said::Changed, 5 * HOUR, 7 * HOUR);
    assert_eq!(
        names(&site.said("one", Said::Deleted, 5 * HOUR, 7 * HOUR)),
        ["ReservationEnded"]
    );
    assert_eq!(site.wait_until("one", 9 * HOUR), []);
}

#[test]
fn a_start_that_comes_after_its_booking_was_moved_to_later_waits_for_the_new_time() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let start = Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    };
    let early = site.word(start, HOUR, 3 * HOUR);
    site.now += 10;
    site.said("one", Said::Changed, 5 * HOUR, 7 * HOUR);
    let facts = site.decide("one", &Command::Said(Box::new(early)));
    assert_eq!(
        names(&facts),
        ["ReservationStarted", "ReservationPostponed"]
    );
}

#[test]
fn a_changed_owner_is_told_once_and_leaves_the_host_as_it_is() {
    let mut site = Site::ready();
    let mut word = site.word(Said::Changed, HOUR, 3 * HOUR);
    word.user = Some(UserId::new("nils"));
    let facts = site.decide("one", &Command::Said(Box::new(word)));
    assert_eq!(
        names(&facts),
        ["ReservationChanged", "OwnerWithdrawn", "OwnerChanged"]
    );
    let one = site.ledger.resource(&node("one")).unwrap();
    assert!(matches!(desired(one), Desired::Keep(_)));
    assert!(
        alarms(one)
            .iter()
            .any(|alarm| alarm.kind == AlarmKind::OwnerChanged)
    );
}

#[test]
fn a_new_owner_whose_start_brings_the_key_has_a_reservation_like_any_other() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    site.now += 10;
    let mut word = site.word(Said::Changed, HOUR, 3 * HOUR);
    word.user = Some(UserId::new("nils"));
    let facts = site.decide("one", &Command::Said(Box::new(word)));
    assert!(names(&facts).contains(&"OwnerChanged"));
    assert_eq!(alarms(site.ledger.resource(&node("one")).unwrap()), []);
    site.now = HOUR - 60;
    let said = Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    };
    let mut start = site.word(said, HOUR, 3 * HOUR);
    start.user = Some(UserId::new("nils"));
    site.decide("one", &Command::Said(Box::new(start)));
    site.prepared("one");
    let one = site.ledger.resource(&node("one")).unwrap();
    let holding = one.holding().unwrap();
    assert_eq!(holding.key, TenantKey::InDelivery);
    assert_eq!(alarms(one), []);
}

#[test]
fn a_booking_that_comes_back_extended_before_it_had_left_is_held_anew_from_its_new_end() {
    let mut site = Site::ready();
    let grace = i64::try_from(Policy::default().deadline_grace.as_secs()).unwrap();
    assert_eq!(
        names(&site.wait_until("one", 3 * HOUR + grace)),
        ["DeadlinePassed"]
    );
    let word = Box::new(site.word(Said::Changed, HOUR, 5 * HOUR));
    let back = Command::MovedIn {
        word,
        from: node("two"),
        started: Some(accepted()),
        former: None,
    };
    site.decide("one", &back);
    let one = site.ledger.resource(&node("one")).unwrap();
    assert_eq!(
        next_due(one, &Policy::default(), at(0)),
        Some(at(5 * HOUR + grace))
    );
}

#[test]
fn a_change_after_the_end_is_answered_and_changes_nothing() {
    let mut site = Site::ready();
    let stale = site.word(Said::Changed, HOUR, 4 * HOUR);
    site.now += 10;
    site.said("one", Said::End, HOUR, 3 * HOUR);
    // Said before the end, and only late: nobody is told anything.
    assert_eq!(site.decide("one", &Command::Said(Box::new(stale))), []);
    site.now += 10;
    assert_eq!(
        names(&site.said("one", Said::Changed, HOUR, 5 * HOUR)),
        ["ChangeCameTooLate", "WordHeard"]
    );
    assert!(matches!(site.phase("one"), Phase::Over(_)));
}

#[test]
fn a_booking_that_is_moved_to_what_is_not_served_gives_its_host_back_and_is_over() {
    let mut site = Site::ready();
    let stale = site.of_unserved(Said::Changed, 32);
    site.now += 10;
    let renamed = site.of_unserved(Said::Changed, 31);
    assert_eq!(names(&site.decide("one", &renamed)), ["ReservationChanged"]);
    assert_eq!(site.decide("one", &stale), [], "it is older");
    site.now += 10;
    let moved = site.of_unserved(Said::Changed, 32);
    let facts = site.decide("one", &moved);
    let [Fact::ReservationEnded(ended)] = &facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!(
        (ended.cause, ended.outcome, ended.resource_number),
        (EndCause::MovedAway, EndOutcome::Completed, Some(32))
    );
    let one = site.ledger.resource(&node("one")).unwrap();
    assert!(matches!(desired(one), Desired::Release(_)));
    assert_eq!(one.bound_to.as_ref().map(|bound| bound.number), Some(31));
    // What happens to it there is no business of ours.
    site.now += 10;
    let Command::SaidOfUnserved(mut word) = site.of_unserved(Said::Changed, 32) else {
        unreachable!("it was made so");
    };
    word.knowledge.schedule.end = at(5 * HOUR);
    assert_eq!(site.decide("one", &Command::SaidOfUnserved(word)), []);
}

/// A replica that has not heard of the start, which is accepted at that moment, moves the booking away.
#[test]
fn a_start_that_is_accepted_while_its_booking_is_moved_goes_along() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    site.now = HOUR - 60;
    let moved = site.word(Said::Changed, HOUR, 3 * HOUR);
    site.said("one", start(terms()), HOUR, 3 * HOUR);
    let moved = Command::MovedIn {
        word: Box::new(moved),
        from: node("one"),
        started: None,
        former: None,
    };
    site.decide("two", &moved);
    let out = Command::MovedOut {
        reservation: a(),
        to: node("two"),
    };
    site.decide("one", &out);
    assert_eq!(names(&site.wait_until("two", HOUR)), ["ReservationResumed"]);
    let Phase::Waiting(waiting) = site.phase("two") else {
        panic!("{:?}", site.phase("two"));
    };
    assert_eq!(
        (waiting.terms, waiting.key),
        (terms(), TenantKey::InDelivery)
    );
}

/// As above, but the start is accepted anew where the booking is, by a replica with another configuration.
#[test]
fn what_its_first_start_fixed_counts_wherever_its_booking_is_moved() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    site.move_in("two", "one", None);
    site.said("one", start(terms()), HOUR, 3 * HOUR);
    let mut other = terms();
    other.image.url = "http://images/other".into();
    assert_eq!(
        names(&site.said("two", start(other), HOUR, 3 * HOUR)),
        ["ReservationStarted"]
    );
    let Phase::Waiting(waiting) = site.phase("two") else {
        panic!("{:?}", site.phase("two"));
    };
    assert_eq!(waiting.terms, terms());
}

#[test]
fn a_key_that_is_brought_while_its_booking_is_moved_goes_along() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let keyless = Said::Start {
        key: TenantKey::Missing {
            reason: "none".into(),
        },
        terms: terms(),
    };
    site.said("one", keyless, HOUR, 3 * HOUR);
    let before = AcceptedStart {
        key: TenantKey::Missing {
            reason: "none".into(),
        },
        ..accepted()
    };
    let brought = Fact::KeyBrought {
        reservation: a(),
        delivery: accepted_by("key", 7).delivery,
        note: None,
    };
    site.recorded("one", brought);
    site.move_in("two", "one", Some(before));
    let Phase::Waiting(waiting) = site.phase("two") else {
        panic!("{:?}", site.phase("two"));
    };
    assert!(waiting.can_claim());
    assert_eq!(waiting.delivery, accepted_by("key", 7).delivery);
}

#[test]
fn an_adopted_host_whose_booking_is_moved_to_what_is_not_served_stays_and_an_operator_is_asked() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    let adopted = Fact::HostAdopted(Box::new(Adopted {
        reservation: a(),
        host: host(),
        secret: "node01-userdata".into(),
        terms: terms(),
        until: Some(at(3 * HOUR)),
        site: None,
        delivery: accepted().delivery,
        note: Note {
            by: "ops".into(),
            why: "moving over".into(),
            at: None,
        },
    }));
    site.recorded("one", adopted);
    site.now += 10;
    let moved = site.of_unserved(Said::Changed, 32);
    assert_eq!(names(&site.decide("one", &moved)), ["ReservationChanged"]);
    assert_eq!(site.phase("one"), Phase::Holding);
    let kinds = |site: &Site| -> Vec<AlarmKind> {
        let alarms = alarms(site.ledger.resource(&node("one")).unwrap());
        alarms.iter().map(|alarm| alarm.kind).collect()
    };
    assert_eq!(kinds(&site), [AlarmKind::AdoptedHostLeft]);
    site.now += 10;
    let back = site.of_unserved(Said::Changed, 31);
    site.decide("one", &back);
    assert_eq!(kinds(&site), []);
    site.now += 10;
    let ended = site.of_unserved(Said::End, 32);
    assert_eq!(names(&site.decide("one", &ended)), ["ReservationEnded"]);
}

#[test]
fn an_operator_s_extension_goes_along_with_the_booking() {
    let mut site = Site::ready();
    let extended = Fact::DeadlineExtended {
        reservation: a(),
        until: at(9 * HOUR),
        note: Note {
            by: "ops".into(),
            why: "still at work".into(),
            at: None,
        },
    };
    site.recorded("one", extended);
    site.now += 10;
    site.move_in("two", "one", Some(accepted()));
    let two = site.ledger.resource(&node("two")).unwrap();
    assert_eq!(two.reservations[&a()].end(), Some(at(9 * HOUR)));
}

#[test]
fn a_booking_that_is_moved_to_what_is_not_served_before_its_start_goes_on_until_that_comes() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    site.now += 10;
    let moved = site.of_unserved(Said::Changed, 32);
    assert_eq!(names(&site.decide("one", &moved)), ["ReservationChanged"]);
    site.now = HOUR - 60;
    let start = site.of_unserved(
        Said::UnservableStart {
            key: TenantKey::InDelivery,
            reason: FailureReason::NotServed {
                text: "its type".into(),
            },
        },
        32,
    );
    assert!(names(&site.decide("one", &start)).contains(&"ReservationFailed"));
}

#[test]
fn a_start_that_is_moved_to_later_when_it_was_overdue_is_watched_again() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    let grace = i64::try_from(Policy::default().start_grace.as_secs()).unwrap();
    assert_eq!(
        names(&site.wait_until("one", HOUR + grace)),
        ["StartOverdue"]
    );
    // Its end alone says nothing of its start.
    site.said("one", Said::Changed, HOUR, 4 * HOUR);
    assert!(!alarms(site.ledger.resource(&node("one")).unwrap()).is_empty());
    site.now += 60;
    site.said("one", Said::Changed, 5 * HOUR, 7 * HOUR);
    let one = site.ledger.resource(&node("one")).unwrap();
    assert_eq!(alarms(one), []);
    assert_eq!(
        next_due(one, &Policy::default(), at(0)),
        Some(at(5 * HOUR + grace))
    );
    assert_eq!(
        names(&site.wait_until("one", 5 * HOUR + grace)),
        ["StartOverdue"]
    );
}

#[test]
fn a_change_of_only_the_resource_or_the_owner_after_the_end_is_answered_once() {
    let mut site = Site::ready();
    site.said("one", Said::Deleted, HOUR, 3 * HOUR);
    let changed = |site: &mut Site, number, user| {
        site.now += 10;
        let word = Word {
            resource_number: Some(number),
            user: Some(UserId::new(user)),
            ..site.word(Said::Changed, HOUR, 3 * HOUR)
        };
        names(&site.decide("one", &Command::Said(Box::new(word))))
    };
    // Each of them is a change of something in the sender's table: an administrator reads of it.
    let answered = ["ChangeCameTooLate", "WordHeard"];
    let recorded = ["WordHeard"];
    assert_eq!(changed(&mut site, 31, "mara"), recorded, "nothing changed");
    assert_eq!(changed(&mut site, 32, "mara"), answered);
    assert_eq!(changed(&mut site, 32, "mara"), recorded, "it was told");
    assert_eq!(changed(&mut site, 32, "nils"), answered);
    assert_eq!(changed(&mut site, 31, "nils"), answered, "moved back");
    let one = site.ledger.resource(&node("one")).unwrap();
    assert_eq!(one.reservations[&a()].user, Some(UserId::new("mara")));
}

#[test]
fn a_booking_that_was_moved_to_what_is_not_served_and_comes_back_is_answered() {
    let mut site = Site::ready();
    site.now += 10;
    let moved = site.of_unserved(Said::Changed, 32);
    site.decide("one", &moved);
    site.now += 10;
    assert_eq!(
        names(&site.said("one", Said::Changed, HOUR, 3 * HOUR)),
        ["ChangeCameTooLate", "WordHeard"]
    );
}

#[test]
fn a_start_without_a_key_that_ends_without_one_has_failed() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let key = TenantKey::Missing {
        reason: "none".into(),
    };
    site.said(
        "one",
        Said::Start {
            key,
            terms: terms(),
        },
        HOUR,
        3 * HOUR,
    );
    assert_eq!(
        names(&site.said("one", Said::End, HOUR, 3 * HOUR)),
        ["ReservationFailed", "WordHeard"]
    );
}

#[test]
fn a_booking_that_is_told_of_on_two_resources_at_once_stands_where_the_newer_saying_says() {
    for newer_first in [false, true] {
        let mut site = Site {
            now: HOUR - 600,
            ..Site::default()
        };
        let created = site.word(Said::Announced, HOUR, 3 * HOUR);
        site.now += 10;
        let updated = site.word(Said::Changed, HOUR, 3 * HOUR);
        let mut sayings = [("one", &created), ("two", &updated)];
        if newer_first {
            sayings.reverse();
        }
        // Both decided before either knew of the other.
        for (on, word) in sayings {
            site.decide(on, &Command::Said(Box::new(word.clone())));
        }
        let stands = site.ledger.place_of(&a()).cloned().unwrap();
        if stands == node("one") {
            let word = Box::new(updated.clone());
            site.decide(
                "two",
                &Command::MovedIn {
                    word,
                    from: stands,
                    started: None,
                    former: None,
                },
            );
        }
        assert_eq!(site.ledger.place_of(&a()), Some(&node("two")));
        assert_eq!(site.ledger.strays(), [(node("one"), a(), node("two"))]);
        site.decide(
            "one",
            &Command::MovedOut {
                reservation: a(),
                to: node("two"),
            },
        );
        let start = Said::Start {
            key: TenantKey::InDelivery,
            terms: terms(),
        };
        assert_eq!(
            names(&site.said("two", start, HOUR, 3 * HOUR)),
            ["ReservationStarted"]
        );
    }
}

#[test]
fn a_new_owner_never_gets_a_host_with_the_former_owner_s_key() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    site.said("one", start(terms()), HOUR, 3 * HOUR);
    let nils = |word: Word| Word {
        user: Some(UserId::new("nils")),
        ..word
    };
    site.now += 10;
    let changed = nils(site.word(Said::Changed, HOUR, 3 * HOUR));
    let facts = site.decide("one", &Command::Said(Box::new(changed)));
    assert!(matches!(
        facts.last(),
        Some(Fact::ReservationWaits {
            reason: WaitReason::Key { .. },
            ..
        })
    ));
    assert_eq!(
        desired(site.ledger.resource(&node("one")).unwrap()),
        Desired::Wait
    );
    site.now += 10;
    let again = nils(site.word(start(terms()), HOUR, 3 * HOUR));
    assert!(names(&site.decide("one", &Command::Said(Box::new(again)))).contains(&"KeyBrought"));

    let mut site = Site::ready();
    let word = Box::new(nils(site.word(Said::Changed, HOUR, 3 * HOUR)));
    let former = Some(UserId::new("mara"));
    let facts = site.decide(
        "two",
        &Command::MovedIn {
            word,
            from: node("one"),
            started: Some(accepted()),
            former,
        },
    );
    assert!(names(&facts).contains(&"OwnerWithdrawn"));
    assert_eq!(
        desired(site.ledger.resource(&node("two")).unwrap()),
        Desired::Wait
    );
}

#[test]
fn a_reservation_belongs_to_the_site_that_its_start_or_the_move_here_named() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let of = |site: &Site, on: &str| {
        let resource = site.ledger.resource(&node(on)).unwrap();
        resource.reservations[&a()].site.clone()
    };
    let announced = Word {
        site: None,
        ..site.word(Said::Announced, HOUR, 3 * HOUR)
    };
    site.decide("one", &Command::Said(Box::new(announced)));
    assert_eq!(of(&site, "one"), None);
    site.said("one", start(terms()), HOUR, 3 * HOUR);
    assert_eq!(of(&site, "one"), Some(SiteId::new("lab-7")));
    site.now += 10;
    let moved = Word {
        site: Some(SiteId::new("lab-8")),
        ..site.word(Said::Changed, HOUR, 3 * HOUR)
    };
    site.decide(
        "two",
        &Command::MovedIn {
            word: Box::new(moved),
            from: node("one"),
            started: Some(accepted()),
            former: None,
        },
    );
    assert_eq!(of(&site, "two"), Some(SiteId::new("lab-8")));
}

/// A start by mara with her key, then a change that gives the booking to nils.
fn given_to_nils_while_it_waits() -> (Site, Word) {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let said = Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    };
    let start = site.word(said, HOUR, 3 * HOUR);
    site.decide("one", &Command::Said(Box::new(start.clone())));
    site.now += 10;
    let mut changed = site.word(Said::Changed, HOUR, 3 * HOUR);
    changed.user = Some(UserId::new("nils"));
    site.decide("one", &Command::Said(Box::new(changed)));
    (site, start)
}

#[test]
fn a_start_that_comes_again_after_its_booking_was_given_to_another_brings_that_one_no_key() {
    let (mut site, start) = given_to_nils_while_it_waits();
    let facts = site.decide("one", &Command::Said(Box::new(start)));
    assert_eq!(names(&facts), [""; 0]);
    let one = site.ledger.resource(&node("one")).unwrap();
    assert_eq!(desired(one), Desired::Wait);
}

#[test]
fn a_start_that_is_older_than_the_change_of_its_owner_brings_the_new_one_no_key_either() {
    let mut site = Site {
        now: HOUR - 60,
        ..Site::default()
    };
    let said = Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    };
    let start = site.word(said, HOUR, 3 * HOUR);
    site.now += 10;
    let mut changed = site.word(Said::Changed, HOUR, 3 * HOUR);
    changed.user = Some(UserId::new("nils"));
    site.decide("one", &Command::Said(Box::new(changed)));
    let facts = site.decide("one", &Command::Said(Box::new(start)));
    assert_eq!(names(&facts), ["ReservationStarted", "ReservationWaits"]);
    let one = site.ledger.resource(&node("one")).unwrap();
    assert_eq!(one.reservations[&a()].user, Some(UserId::new("nils")));
    assert_eq!(desired(one), Desired::Wait);
}

#[test]
fn the_key_of_a_former_owner_does_not_come_along_when_a_host_is_given_back_and_another_got_later() {
    let mut site = Site::ready();
    let mut word = site.word(Said::Changed, 10 * HOUR, 12 * HOUR);
    word.user = Some(UserId::new("nils"));
    let facts = site.decide("one", &Command::Said(Box::new(word)));
    assert!(names(&facts).contains(&"OwnerChanged"));
    let one = site.ledger.resource(&node("one")).unwrap();
    let Phase::Postponed(waiting) = &one.reservations[&a()].phase else {
        panic!("{:?}", one.reservations[&a()].phase);
    };
    assert!(!waiting.can_claim());
}

#[test]
fn a_postponed_reservation_whose_whole_time_passed_while_nobody_was_there_has_failed() {
    let mut site = Site::ready();
    site.said("one", Said::Changed, 10 * HOUR, 12 * HOUR);
    site.now = 13 * HOUR;
    let command = Command::TimePassed {
        up_since: at(site.now),
        may_release: true,
        clock_is_right: true,
    };
    // What was said meanwhile may still be on its way.
    assert_eq!(site.decide("one", &command), []);
    site.now += 20;
    let facts = site.decide("one", &command);
    assert_eq!(names(&facts), ["ReservationFailed"]);
}

#[test]
fn a_booking_that_is_moved_back_belongs_to_whom_it_was_given_meanwhile() {
    let mut site = Site::default();
    site.said("one", Said::Announced, HOUR, 3 * HOUR);
    for (from, to) in [("one", "two"), ("two", "one")] {
        site.now += 10;
        let mut word = site.word(Said::Changed, HOUR, 3 * HOUR);
        word.user = Some(UserId::new("nils"));
        let stands = site.ledger.resource(&node(from)).unwrap();
        let moved = Command::MovedIn {
            word: Box::new(word),
            from: node(from),
            started: None,
            former: stands.reservations[&a()].user.clone(),
        };
        site.decide(to, &moved);
        let out = Command::MovedOut {
            reservation: a(),
            to: node(to),
        };
        site.decide(from, &out);
    }
    let one = site.ledger.resource(&node("one")).unwrap();
    assert_eq!(one.reservations[&a()].user, Some(UserId::new("nils")));
}
