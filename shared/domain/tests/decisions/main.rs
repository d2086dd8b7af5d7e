//! The rules, one by one: which facts follow from which command in which state.
//!
//! First two tables of every state against every saying and every observation, then what the tables can't say.

#![allow(clippy::unwrap_used, clippy::panic)]

mod adoption;
mod heard;
mod orders;
mod pairs;
mod shadow;
mod spent_secrets;
mod waiting;
#[path = "../ways/mod.rs"]
mod ways;

use std::time::Duration;

use bellhop_domain::id::{
    DeliveryId, HostRef, ReservationId, ResourceId, ResourceKind, SiteId, Source, UserId, Version,
    WebhookId,
};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::alarm::alarms;
use bellhop_domain::reservation::timer::next_due;
use bellhop_domain::reservation::{
    AlarmKind, ClaimedHost, Command, DeliveryRef, Desired, EndCause, EndOutcome, Fact,
    FailureReason, HostError, HostLeft, Image, Knowledge, Observation, Occupancy, Outcome, Policy,
    Progress, Recorded, Resource, Said, Schedule, Stage, TenantKey, Terms, WaitReason, Word,
    decide, desired, vigil,
};
use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_796_284_800 + second).unwrap()
}

fn id(event: &str) -> ReservationId {
    ReservationId::new(Source::new("reservation-system"), event)
}

fn host() -> HostRef {
    HostRef {
        namespace: "metal3".to_owned(),
        name: "lab7-node04".to_owned(),
        uid: "u1".to_owned(),
    }
}

fn terms() -> Terms {
    Terms {
        image: Image {
            name: None,
            url: "http://images/noble.qcow2".to_owned(),
            checksum: None,
            checksum_type: None,
            format: None,
        },
        login: "prognose".to_owned(),
        without_key: false,
    }
}

fn start() -> Said {
    Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    }
}

/// One resource and a clock. A runs from hour 1 to hour 3, B from hour 4 to hour 6; an earlier one until A's start.
#[derive(Clone)]
struct Story {
    resource: Resource,
    now: i64,
    up_since: i64,
    deliveries: u64,
    policy: Policy,
}

impl Story {
    fn new() -> Self {
        Self {
            resource: Resource::default(),
            now: 0,
            up_since: 0,
            deliveries: 0,
            policy: Policy::default(),
        }
    }

    fn hours(event: &str) -> (i64, i64) {
        match event {
            "a" => (HOUR, 3 * HOUR),
            "b" => (4 * HOUR, 6 * HOUR),
            "earlier" => (0, HOUR),
            other => panic!("no times for {other}"),
        }
    }

    fn decide(&mut self, command: &Command) -> Vec<Fact> {
        let now = at(self.now);
        let facts = decide(&self.resource, command, now, &self.policy);
        let version = Version(self.resource.version.0 + 1);
        for fact in &facts {
            self.resource.evolve(Recorded {
                version,
                at: now,
                traceparent: None,
                fact,
            });
        }
        self.resource.version = version;
        let again = decide(&self.resource, command, now, &self.policy);
        assert_eq!(again, [], "decided again after {facts:?}");
        facts
    }

    fn word(&mut self, event: &str, said: Said, end: i64, updated_at: Option<i64>) -> Word {
        self.deliveries += 1;
        let id_of_delivery = DeliveryId::new(format!("d{}", self.deliveries));
        Word {
            reservation: id(event),
            said,
            knowledge: Knowledge {
                schedule: Schedule {
                    start: at(Self::hours(event).0),
                    end: at(end),
                },
                updated_at: updated_at.map(at),
                said_at: at(self.now),
                said_by: id_of_delivery.clone(),
            },
            webhook: WebhookId::new("12"),
            delivery: DeliveryRef {
                sequence: self.deliveries,
                id: id_of_delivery,
            },
            user: Some(UserId::new("mara")),
            resource_number: Some(31),
            site: None,
            site_named: false,
            only_site: true,
            payload: "{}".to_owned(),
        }
    }

    /// A new delivery with the times that the booking has had from the beginning.
    fn said(&mut self, event: &str, said: Said) -> Vec<Fact> {
        let word = self.word(event, said, Self::hours(event).1, None);
        self.decide(&Command::Said(Box::new(word)))
    }

    fn extended(&mut self, event: &str, end: i64) -> Vec<Fact> {
        let word = self.word(event, Said::Changed, end, Some(self.now));
        self.decide(&Command::Said(Box::new(word)))
    }

    fn observed(&mut self, observation: Observation) -> Vec<Fact> {
        self.decide(&Command::Observed(observation))
    }

    fn wait_until(&mut self, now: i64) -> Vec<Fact> {
        self.now = now;
        let up_since = at(self.up_since);
        self.decide(&Command::TimePassed {
            up_since,
            may_release: true,
            clock_is_right: true,
        })
    }

    /// Somebody looks at the host as often as the timeout wants it, and Metal3 works on it all the while.
    fn watched_until(&mut self, now: i64) -> Vec<Fact> {
        let mut facts = Vec::new();
        while let Some(next) = (self.resource.holding())
            .and_then(|holding| vigil::next_look(holding, &self.policy))
            .map(|next| next.as_second() - at(0).as_second())
            .filter(|next| *next <= now)
        {
            self.now = next;
            facts.extend(self.observed(working()));
        }
        self.now = now;
        facts
    }

    /// Nobody is there until then.
    fn away_until(&mut self, now: i64) -> Vec<Fact> {
        self.up_since = now;
        self.wait_until(now)
    }

    fn holding_stage(&self) -> &Stage {
        &self.resource.holding().unwrap().stage
    }
}

// The states that the tables name. Now is 55 minutes: A's start has come five minutes early.

fn unknown() -> Story {
    Story {
        now: 55 * MINUTE,
        ..Story::new()
    }
}

fn announced() -> Story {
    let mut story = unknown();
    story.said("a", Said::Announced);
    story
}

fn waiting() -> Story {
    let mut story = unknown();
    story.said("a", start());
    story
}

fn claiming() -> Story {
    let mut story = waiting();
    story.observed(clean());
    story
}

fn preparing() -> Story {
    let mut story = claiming();
    story.observed(working());
    story
}

fn ready() -> Story {
    let mut story = preparing();
    story.observed(provisioned());
    story
}

fn releasing() -> Story {
    let mut story = ready();
    story.said("a", Said::End);
    story
}

fn released() -> Story {
    let mut story = releasing();
    story.observed(Observation::Released {
        left: HostLeft::Off,
        not_wiped: false,
    });
    story
}

fn states() -> [(&'static str, Story); 8] {
    [
        ("unknown", unknown()),
        ("announced", announced()),
        ("waiting", waiting()),
        ("claiming", claiming()),
        ("preparing", preparing()),
        ("ready", ready()),
        ("releasing", releasing()),
        ("released", released()),
    ]
}

// What the driver reads.

fn clean() -> Observation {
    Observation::Clean {
        host: host(),
        secret: "secret".to_owned(),
    }
}

fn not_clean() -> Observation {
    Observation::NotClean {
        text: "it is deprovisioning".to_owned(),
    }
}

fn no_host() -> Observation {
    Observation::NoHost {
        text: "no host is named lab7-node04".to_owned(),
    }
}

fn refused() -> Observation {
    Observation::ClaimRefused {
        text: "someone else has it".to_owned(),
    }
}

fn seen(progress: Progress, error: Option<&str>, changed: Option<&str>) -> Observation {
    Observation::Claimed(ClaimedHost {
        progress,
        error: error.map(|message| HostError {
            kind: "provisioning error".to_owned(),
            message: message.to_owned(),
        }),
        changed: changed.map(str::to_owned),
    })
}

fn working() -> Observation {
    seen(Progress::Working, None, None)
}

fn failing(message: &str) -> Observation {
    seen(Progress::Working, Some(message), None)
}

fn paused() -> Observation {
    let reason = "paused".to_owned();
    seen(Progress::Suspended { reason }, None, None)
}

fn provisioned() -> Observation {
    seen(Progress::Ready { address: None }, None, None)
}

fn names(facts: &[Fact]) -> Vec<&'static str> {
    facts.iter().map(Fact::name).collect()
}

fn failure(facts: &[Fact]) -> Option<&FailureReason> {
    facts.iter().find_map(|fact| match fact {
        Fact::ReservationFailed { reason, .. } => Some(reason),
        _ => None,
    })
}

fn end(facts: &[Fact]) -> Option<(EndCause, EndOutcome)> {
    facts.iter().find_map(|fact| match fact {
        Fact::ReservationEnded(ended) => Some((ended.cause, ended.outcome)),
        _ => None,
    })
}

/// A column of a table: its head, and the command.
type Column<'a> = (&'a str, fn(&mut Story) -> Vec<Fact>);

/// Checks a table: for each state, what follows from each command; `-` is nothing, `+` joins several facts.
fn check(columns: &[Column], table: &str) {
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|row| !row.is_empty())
        .collect();
    let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    assert_eq!(rows[0][1..], heads[..], "the table's first line");
    let states = states();
    assert_eq!(rows.len(), states.len() + 1, "a row for each state");
    for ((state, story), row) in states.iter().zip(&rows[1..]) {
        assert_eq!(row[0], *state);
        for ((head, command), expected) in columns.iter().zip(&row[1..]) {
            let facts = command(&mut story.clone());
            let found = match names(&facts).join("+") {
                nothing if nothing.is_empty() => "-".to_owned(),
                found => found,
            };
            assert_eq!(found, *expected, "{head} while {state}");
        }
    }
}

#[test]
fn every_saying_about_a_reservation_has_an_answer_in_every_state() {
    check(
        &[
            ("created", |story| story.said("a", Said::Announced)),
            ("updated", |story| story.said("a", Said::Changed)),
            ("start", |story| story.said("a", start())),
            ("end", |story| story.said("a", Said::End)),
            ("deleted", |story| story.said("a", Said::Deleted)),
        ],
        "state     created              updated              start              end              deleted
         unknown   ReservationAnnounced ReservationAnnounced ReservationStarted ReservationEnded ReservationEnded
         announced ReservationChanged   ReservationChanged   ReservationStarted ReservationEnded ReservationEnded
         waiting   ReservationChanged   ReservationChanged   ReservationChanged ReservationEnded ReservationEnded
         claiming  ReservationChanged   ReservationChanged   ReservationChanged ReservationEnded ReservationEnded
         preparing ReservationChanged   ReservationChanged   ReservationChanged ReservationEnded ReservationEnded
         ready     ReservationChanged   ReservationChanged   ReservationChanged ReservationEnded ReservationEnded
         releasing -                    -                    -                  -                WordHeard
         released  -                    -                    -                  -                WordHeard",
    );
}

#[test]
fn every_reading_of_a_host_has_an_answer_in_every_state() {
    check(
        &[
            ("no_host", |story| story.observed(no_host())),
            ("clean", |story| story.observed(clean())),
            ("not_clean", |story| story.observed(not_clean())),
            ("unclaimed", |story| story.observed(Observation::Unclaimed)),
            ("refused", |story| story.observed(refused())),
            ("gone", |story| story.observed(Observation::HostGone)),
            ("releasing", |story| story.observed(Observation::Releasing)),
            ("released", |story| {
                story.observed(Observation::Released {
                    left: HostLeft::Off, not_wiped: false
                })
            }),
        ],
        "state     no_host           clean        not_clean        unclaimed                                 refused           gone              releasing released
         unknown   -                 -            -                -                                         -                 -                 -         -
         announced -                 -            -                -                                         -                 -                 -         -
         waiting   ReservationFailed HostAssigned ReservationWaits -                                         -                 -                 -         -
         claiming  -                 -            ReservationWaits -                                         ReservationFailed ReservationFailed -         -
         preparing -                 -            -                HostChangedByOthers+ProvisioningSuspended -                 ReservationFailed -         -
         ready     -                 -            -                HostChangedByOthers                       -                 ReadyHostTroubled -         -
         releasing -                 -            -                -                                         -                 -                 -         HostReleased
         released  -                 -            -                -                                         -                 -                 -         -",
    );
}

#[test]
fn every_reading_of_a_claimed_host_has_an_answer_in_every_state() {
    check(
        &[
            ("working", |story| story.observed(working())),
            ("paused", |story| story.observed(paused())),
            ("error", |story| story.observed(failing("no disk"))),
            ("ready", |story| story.observed(provisioned())),
            ("changed", |story| {
                story.observed(seen(Progress::Working, None, Some("image")))
            }),
        ],
        "state     working                         paused                error                                                 ready                       changed
         unknown   -                               -                     -                                                     -                           -
         announced -                               -                     -                                                     -                           -
         waiting   -                               -                     -                                                     -                           -
         claiming  HostClaimed+ProvisioningResumed HostClaimed           HostClaimed+ProvisioningErrorSeen+ProvisioningResumed HostClaimed+HostProvisioned HostClaimed+HostChangedByOthers+ProvisioningResumed
         preparing -                               ProvisioningSuspended ProvisioningErrorSeen                                 HostProvisioned             HostChangedByOthers
         ready     -                               -                     ReadyHostTroubled                                     -                           HostChangedByOthers
         releasing -                               -                     -                                                     -                           -
         released  -                               -                     -                                                     -                           -",
    );
}

// R2: one holder.

#[test]
fn an_end_or_a_deletion_of_another_reservation_leaves_the_holder_alone() {
    for said in [Said::End, Said::Deleted] {
        for mut story in [claiming(), preparing(), ready()] {
            story.said("b", start());
            let before = story.resource.occupancy.clone();
            let facts = story.said("b", said.clone());
            assert_eq!(end(&facts).unwrap().1, EndOutcome::Cancelled);
            assert_eq!(story.resource.occupancy, before);
        }
    }
}

#[test]
fn a_clean_host_is_given_to_nobody_while_another_has_the_resource_or_is_giving_it_back() {
    for mut story in [claiming(), preparing(), ready(), releasing()] {
        story.said("b", start());
        assert_eq!(story.observed(clean()), []);
    }
}

#[test]
fn an_assignment_that_comes_while_another_holds_is_not_folded() {
    let mut story = ready();
    story.said("b", start());
    let before = story.resource.clone();
    story.resource.evolve(Recorded {
        version: before.version,
        at: at(story.now),
        traceparent: None,
        fact: &Fact::HostAssigned {
            reservation: id("b"),
            host: host(),
            secret: "other".to_owned(),
        },
    });
    assert_eq!(story.resource, before);
}

// R3: order and repetition.

#[test]
fn an_end_or_a_deletion_before_the_start_wins() {
    for said in [Said::End, Said::Deleted] {
        let mut story = unknown();
        story.said("a", said);
        let before = story.resource.reservations[&id("a")].outcome();
        assert_eq!(names(&story.said("a", start())), ["WordHeard"]);
        assert_eq!(story.resource.reservations[&id("a")].outcome(), before);
        assert_eq!(desired(&story.resource), Desired::Nothing);
    }
}

#[test]
fn a_start_whose_end_has_passed_is_refused_and_nothing_is_prepared() {
    let mut story = unknown();
    story.now = 3 * HOUR;
    assert_eq!(names(&story.said("a", start())), ["ReservationRefused"]);
    assert_eq!(desired(&story.resource), Desired::Nothing);
    assert_eq!(story.said("a", start()), []);
}

#[test]
fn a_start_whose_end_does_not_come_after_it_is_refused_and_an_end_with_such_times_still_ends() {
    let begin = Story::hours("a").0;
    for end in [begin, begin - HOUR] {
        let mut story = unknown();
        story.now = begin - 2 * HOUR;
        let word = story.word("a", start(), end, None);
        let facts = story.decide(&Command::Said(Box::new(word)));
        assert_eq!(names(&facts), ["ReservationRefused"]);
        assert_eq!(desired(&story.resource), Desired::Nothing);

        let mut story = ready();
        let word = story.word("a", Said::End, end, None);
        let facts = story.decide(&Command::Said(Box::new(word)));
        assert_eq!(names(&facts), ["ReservationEnded"]);
    }
}

#[test]
fn a_late_start_of_a_booking_that_is_known_to_be_extended_is_accepted() {
    let mut story = announced();
    story.extended("a", 5 * HOUR);
    story.now = 3 * HOUR;
    // The start was sent before the extension, so its own times are older.
    let mut word = story.word("a", start(), 3 * HOUR, None);
    word.knowledge.said_at = at(50 * MINUTE);
    let facts = story.decide(&Command::Said(Box::new(word)));
    assert_eq!(names(&facts), ["ReservationStarted"]);
}

#[test]
fn an_end_older_than_a_known_extension_ends_nothing_and_the_one_at_the_new_end_does() {
    let mut story = ready();
    story.now = 2 * HOUR;
    story.extended("a", 5 * HOUR);
    let mut old = story.word("a", Said::End, 3 * HOUR, None);
    old.knowledge.said_at = at(2 * HOUR - 1);
    assert_eq!(story.decide(&Command::Said(Box::new(old))), []);
    assert!(story.resource.holding().is_some());
    story.now = 5 * HOUR;
    let new = story.word("a", Said::End, 5 * HOUR, None);
    let facts = story.decide(&Command::Said(Box::new(new)));
    assert_eq!(end(&facts), Some((EndCause::End, EndOutcome::Completed)));
}

#[test]
fn a_deletion_ends_a_reservation_though_an_extension_is_known() {
    let mut story = ready();
    story.extended("a", 5 * HOUR);
    let facts = story.said("a", Said::Deleted);
    assert_eq!(
        end(&facts),
        Some((EndCause::Deleted, EndOutcome::Completed))
    );
}

#[test]
fn an_older_update_changes_nothing() {
    let mut story = ready();
    story.now = 2 * HOUR;
    story.extended("a", 5 * HOUR);
    let older = story.word("a", Said::Changed, 4 * HOUR, Some(HOUR));
    assert_eq!(story.decide(&Command::Said(Box::new(older))), []);
}

#[test]
fn a_message_of_the_ledger_that_was_taken_in_is_not_taken_in_again() {
    let resource = ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", "lab7-node04");
    let mut story = waiting();
    let facts = [
        decide(
            &story.resource,
            &Command::Observed(clean()),
            at(story.now),
            &story.policy,
        ),
        story.said("a", Said::Deleted),
    ];
    let mut ledger = Ledger::default();
    for (version, facts) in [(7, &facts[1]), (7, &facts[0]), (3, &facts[0])] {
        ledger.apply(&resource, Version(version), at(0), None, facts);
    }
    let state = ledger.resource(&resource).unwrap();
    assert_eq!(state.version, Version(7));
    assert_eq!(state.occupancy, Occupancy::Free);
    assert_eq!(ledger.place_of(&id("a")), Some(&resource));
}

// R4: waiting.

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

// Starts that nothing can be given to.

fn unservable() -> Said {
    Said::UnservableStart {
        key: TenantKey::InDelivery,
        reason: FailureReason::ImageNotOffered {
            text: "parameter `image` asks for `jammy`; offered: noble".to_owned(),
        },
    }
}

#[test]
fn a_start_that_nothing_can_be_given_to_fails_at_once_and_no_host_is_asked_for() {
    for (mut story, expected) in [
        (
            unknown(),
            ["ReservationAnnounced", "WordHeard", "ReservationFailed"],
        ),
        (
            announced(),
            ["ReservationChanged", "WordHeard", "ReservationFailed"],
        ),
    ] {
        story.now += 1;
        let facts = story.said("a", unservable());
        assert_eq!(names(&facts), expected);
        assert!(matches!(
            failure(&facts),
            Some(FailureReason::ImageNotOffered { .. })
        ));
        let known = &story.resource.reservations[&id("a")];
        assert_eq!(known.outcome(), Some(Outcome::Failed));
        // Whoever reports it knows whom to tell, and with which secret.
        assert!(known.user.is_some() && known.webhook.is_some());
        assert_eq!(desired(&story.resource), Desired::Nothing);
        assert_eq!(
            next_due(&story.resource, &story.policy, at(story.up_since)),
            None
        );
    }
}

#[test]
fn what_comes_after_an_unservable_start_changes_nothing() {
    let mut story = unknown();
    story.said("a", unservable());
    for (said, recorded) in [
        (start(), vec![]),
        (unservable(), vec![]),
        (Said::End, vec!["WordHeard"]),
        (Said::Deleted, vec!["WordHeard"]),
    ] {
        story.now += 1;
        assert_eq!(names(&story.said("a", said)), recorded);
        let known = &story.resource.reservations[&id("a")];
        assert_eq!(known.outcome(), Some(Outcome::Failed));
        assert_eq!(desired(&story.resource), Desired::Nothing);
    }
    story.now = Story::hours("a").1;
    assert_eq!(story.said("a", Said::End), []);
}

#[test]
fn a_start_that_was_accepted_stays_though_its_repetition_could_be_given_nothing() {
    for mut story in [waiting(), claiming(), ready()] {
        story.now += 1;
        let before = story.resource.holding().cloned();
        assert_eq!(
            names(&story.said("a", unservable())),
            ["ReservationChanged"]
        );
        assert_eq!(story.resource.holding().cloned(), before);
    }
}

#[test]
fn a_key_that_comes_with_an_unservable_repetition_is_a_key_all_the_same() {
    let mut story = unknown();
    let keyless = Said::Start {
        key: TenantKey::Missing {
            reason: "no key".to_owned(),
        },
        terms: terms(),
    };
    story.said("a", keyless);
    story.now += 1;
    let facts = story.said("a", unservable());
    assert_eq!(names(&facts), ["ReservationChanged", "KeyBrought"]);
}

#[test]
fn an_unservable_start_that_comes_too_late_is_refused_as_any_other() {
    let mut story = unknown();
    story.now = Story::hours("a").1;
    assert_eq!(
        names(&story.said("a", unservable())),
        ["ReservationRefused"]
    );
}

// R5: deadlines.

#[test]
fn a_missing_end_is_told_after_the_grace_then_the_host_is_held_then_released() {
    let mut story = ready();
    assert_eq!(story.wait_until(3 * HOUR + 10 * MINUTE - 1), []);
    let facts = story.wait_until(3 * HOUR + 10 * MINUTE);
    assert_eq!(names(&facts), ["DeadlinePassed"]);
    assert_eq!(alarms(&story.resource)[0].kind, AlarmKind::DeadlinePassed);
    assert_eq!(story.wait_until(5 * HOUR + 10 * MINUTE - 1), []);
    let facts = story.wait_until(5 * HOUR + 10 * MINUTE);
    assert_eq!(
        end(&facts),
        Some((EndCause::Deadline, EndOutcome::Completed))
    );
    assert_eq!(alarms(&story.resource), []);
}

#[test]
fn a_hold_that_passed_while_nobody_was_there_begins_anew() {
    let mut story = ready();
    story.wait_until(3 * HOUR + 10 * MINUTE);
    let facts = story.away_until(24 * HOUR);
    assert_eq!(names(&facts), ["DeadlineHeldAgain"]);
    assert_eq!(story.wait_until(26 * HOUR - 1), []);
    assert!(end(&story.wait_until(26 * HOUR)).is_some());
}

#[test]
fn an_end_that_passed_while_nobody_was_there_is_held_for_the_whole_hold() {
    let mut story = ready();
    assert_eq!(names(&story.away_until(24 * HOUR)), ["DeadlinePassed"]);
    assert_eq!(
        next_due(&story.resource, &story.policy, at(story.up_since)),
        Some(at(26 * HOUR))
    );
}

#[test]
fn a_later_reservation_whose_time_has_come_proves_that_the_holder_is_over_and_nothing_is_held() {
    for said in [Said::Announced, start()] {
        let mut story = ready();
        story.said("b", said);
        story.wait_until(3 * HOUR + 10 * MINUTE);
        assert!(story.resource.holding().is_some(), "B's time has not come");
        let facts = story.wait_until(4 * HOUR);
        assert_eq!(
            end(&facts),
            Some((EndCause::ProvenOver, EndOutcome::Completed))
        );
    }
}

#[test]
fn nobody_is_told_of_a_hold_when_it_is_proven_at_once_that_the_holder_is_over() {
    let mut story = ready();
    story.said("b", start());
    assert_eq!(names(&story.wait_until(4 * HOUR)), ["ReservationEnded"]);
}

#[test]
fn a_reservation_that_is_over_proves_nothing() {
    let mut story = ready();
    story.said("b", start());
    story.said("b", Said::Deleted);
    assert_eq!(names(&story.wait_until(4 * HOUR)), ["DeadlinePassed"]);
}

#[test]
fn an_extension_during_the_hold_ends_it_and_the_new_end_has_its_own_grace_and_hold() {
    let mut story = ready();
    story.wait_until(3 * HOUR + 10 * MINUTE);
    story.extended("a", 12 * HOUR);
    assert_eq!(alarms(&story.resource), []);
    let facts = story.wait_until(12 * HOUR + 10 * MINUTE);
    assert_eq!(names(&facts), ["DeadlinePassed"]);
    assert!(story.resource.holding().is_some());
}

#[test]
fn an_announced_reservation_whose_start_does_not_come_raises_an_alarm_and_is_missed_at_its_end() {
    let mut story = announced();
    let facts = story.wait_until(HOUR + 2 * MINUTE);
    assert_eq!(names(&facts), ["StartOverdue"]);
    assert_eq!(alarms(&story.resource)[0].kind, AlarmKind::StartOverdue);
    let facts = story.wait_until(3 * HOUR + 2 * MINUTE);
    assert_eq!(names(&facts), ["ReservationMissed"]);
    assert_eq!(alarms(&story.resource), []);
    assert_eq!(names(&story.said("a", start())), ["WordHeard"]);
    let known = &story.resource.reservations[&id("a")];
    assert_eq!(known.outcome(), Some(Outcome::Missed));
    assert_eq!(desired(&story.resource), Desired::Nothing);
}

// R7: outcomes.

#[test]
fn a_reservation_that_was_ready_is_completed_and_one_that_was_not_is_cancelled() {
    for (mut story, outcome) in [
        (announced(), Outcome::Cancelled),
        (waiting(), Outcome::Cancelled),
        (claiming(), Outcome::Cancelled),
        (preparing(), Outcome::Cancelled),
        (ready(), Outcome::Completed),
    ] {
        story.said("a", Said::End);
        assert_eq!(
            story.resource.reservations[&id("a")].outcome(),
            Some(outcome)
        );
    }
}

#[test]
fn a_reservation_is_over_at_once_while_its_host_is_still_given_back() {
    let story = releasing();
    assert_eq!(
        story.resource.reservations[&id("a")].outcome(),
        Some(Outcome::Completed)
    );
    assert!(story.resource.holding().is_none());
    let Desired::Release(release) = desired(&story.resource) else {
        panic!("{:?}", desired(&story.resource));
    };
    assert_eq!(release.ordered, story.resource.version);
}

// R8: the truth about the host.

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

// R12: what others change.

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

// Timers.

#[test]
fn a_state_without_a_deadline_asks_for_no_timer() {
    for story in [unknown(), releasing(), released()] {
        assert_eq!(
            next_due(&story.resource, &story.policy, at(story.up_since)),
            None
        );
    }
}

#[test]
fn the_next_timer_is_the_earliest_of_all() {
    let mut story = preparing();
    story.said("b", Said::Announced);
    assert_eq!(
        next_due(&story.resource, &story.policy, at(story.up_since)),
        Some(at(3 * HOUR + 10 * MINUTE))
    );
    story.policy.deadline_grace = Duration::from_secs(24 * 3600);
    assert_eq!(
        next_due(&story.resource, &story.policy, at(story.up_since)),
        Some(at(4 * HOUR + 2 * MINUTE))
    );
}
