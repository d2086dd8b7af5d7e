//! Reservations and the capacity together: who asks, in which order, and that never more are prepared at once than may be,
//! whoever decides upon which old state.

#![allow(clippy::unwrap_used, clippy::panic)]

mod replicas;

use std::num::NonZeroU32;

use bellhop_domain::capacity::{self, Limits, decide as decide_places};
use bellhop_domain::id::{
    DeliveryId, HostRef, ReservationId, ResourceId, ResourceKind, SiteId, Source, UserId, Version,
    WebhookId,
};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::preparing::{Sight, asks, claims};
use bellhop_domain::reservation::{
    ClaimedHost, Command, DeliveryRef, Desired, Fact, HostLeft, Image, Knowledge, Observation,
    Policy, Progress, Resource, Said, Schedule, Stage, TenantKey, Terms, WaitReason, Word, decide,
    desired,
};
use jiff::Timestamp;
use proptest::prelude::*;

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_796_284_800 + second).unwrap()
}

fn node(number: usize) -> ResourceId {
    let name = format!("node{number:02}");
    ResourceId::new(ResourceKind::new("baremetalhost"), "metal3", name)
}

fn reservation(number: u64) -> ReservationId {
    ReservationId::new(Source::new("reservation-system"), number.to_string())
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

fn start_said() -> Said {
    Said::Start {
        key: TenantKey::InDelivery,
        terms: terms(),
    }
}

/// A saying about the reservation `number`, from `start` on for ten hours.
fn word(number: u64, said: Said, start: i64, site: Option<&str>, said_at: i64) -> Word {
    let id = DeliveryId::new(format!("d{number}-{said_at}"));
    Word {
        site_named: true,
        only_site: true,
        reservation: reservation(number),
        said,
        knowledge: Knowledge {
            schedule: Schedule {
                start: at(start),
                end: at(start + 10 * HOUR),
            },
            updated_at: None,
            said_at: at(said_at),
            said_by: id.clone(),
        },
        webhook: WebhookId::new("12"),
        delivery: DeliveryRef { sequence: 1, id },
        user: Some(UserId::new("mara")),
        resource_number: Some(31),
        site: site.map(SiteId::new),
        payload: "{}".into(),
    }
}

fn host(number: usize) -> HostRef {
    HostRef {
        namespace: "metal3".into(),
        name: format!("node{number:02}"),
        uid: format!("uid-{number}"),
    }
}

fn clean(number: usize) -> Observation {
    Observation::Clean {
        host: host(number),
        secret: "secret".into(),
    }
}

fn ready() -> Observation {
    Observation::Claimed(ClaimedHost {
        progress: Progress::Ready { address: None },
        error: None,
        changed: None,
    })
}

/// A ledger that everybody follows at once.
#[derive(Default)]
struct Site {
    ledger: Ledger,
    now: i64,
}

impl Site {
    fn state(&self, number: usize) -> Resource {
        self.ledger
            .resource(&node(number))
            .cloned()
            .unwrap_or_default()
    }

    fn decide(&mut self, number: usize, command: &Command) -> Vec<Fact> {
        let now = at(self.now);
        let facts = decide(&self.state(number), command, now, &Policy::default());
        let version = Version(self.ledger.version().0 + 1);
        if !facts.is_empty() {
            self.ledger.apply(&node(number), version, now, None, &facts);
        }
        let again = decide(&self.state(number), command, now, &Policy::default());
        assert_eq!(again, [], "decided again");
        facts
    }

    fn start(&mut self, number: usize, start: i64, site: Option<&str>) {
        let word = word(number as u64, start_said(), start, site, self.now);
        self.decide(number, &Command::Said(Box::new(word)));
    }

    fn observed(&mut self, number: usize, observation: Observation) -> Vec<Fact> {
        self.decide(number, &Command::Observed(observation))
    }

    /// What follows for the places from what was seen of the hosts, folded: granted and returned, by resource.
    fn places(
        &mut self,
        limits: Limits,
        sight: impl Fn(&Site, &ResourceId) -> Sight,
    ) -> Vec<String> {
        let claims = claims(&self.ledger, |id| sight(self, id));
        let facts = decide_places(self.ledger.capacity(), &claims, &limits);
        let version = Version(self.ledger.version().0 + 1);
        if !facts.is_empty() {
            self.ledger.apply_to_capacity(version, &facts);
        }
        let again = claims_again(self, &sight);
        assert_eq!(
            decide_places(self.ledger.capacity(), &again, &limits),
            [],
            "decided again"
        );
        let text = facts.iter().map(|fact| {
            let asker = fact.asker().as_str();
            let node = asker.find("node").unwrap();
            let sign = match fact {
                capacity::Fact::PlaceGranted { .. } => '+',
                capacity::Fact::PlaceReturned { .. } => '-',
            };
            format!("{sign}{}", &asker[node..node + 6])
        });
        text.collect()
    }
}

fn claims_again(site: &Site, sight: &impl Fn(&Site, &ResourceId) -> Sight) -> capacity::Claims {
    claims(&site.ledger, |id| sight(site, id))
}

/// Looked at just now, and clean.
fn all_clean(site: &Site, id: &ResourceId) -> Sight {
    Sight::Clean(site.ledger.resource(id).unwrap().version)
}

/// As [`all_clean`], but for the first, of whose host this was seen.
fn but_for_the_first(seen: Sight) -> impl Fn(&Site, &ResourceId) -> Sight {
    move |site, id| {
        if *id == node(1) {
            seen
        } else {
            all_clean(site, id)
        }
    }
}

fn limits(in_all: u32, in_each_group: u32) -> Limits {
    Limits::new(NonZeroU32::new(in_all), NonZeroU32::new(in_each_group)).unwrap()
}

#[test]
fn places_are_granted_in_the_order_of_the_starts_across_all_resources() {
    let mut site = Site::default();
    for (number, start) in [(1, 300), (2, 100), (3, 200)] {
        site.start(number, start, None);
    }
    let one = limits(1, 0);
    assert_eq!(site.places(one, all_clean), ["+node02"]);
    site.observed(2, clean(2));
    assert_eq!(site.places(one, all_clean), [""; 0]);
    site.observed(2, ready());
    assert_eq!(site.places(one, all_clean), ["-node02", "+node03"]);
    site.observed(3, clean(3));
    site.observed(3, Observation::HostGone);
    assert_eq!(site.places(one, all_clean), ["-node03", "+node01"]);
}

#[test]
fn who_waits_for_a_host_that_is_not_clean_holds_up_nobody() {
    let mut site = Site::default();
    site.start(1, 100, None);
    site.start(2, 200, None);
    let sight = but_for_the_first(Sight::Obstructed);
    assert_eq!(site.places(limits(1, 0), sight), ["+node02"]);
}

#[test]
fn an_earlier_one_whose_host_was_not_looked_at_yet_is_waited_for() {
    let mut site = Site::default();
    site.start(1, 100, None);
    site.start(2, 200, None);
    let unseen = but_for_the_first(Sight::Unseen);
    let before = but_for_the_first(Sight::Clean(Version(0)));
    assert_eq!(site.places(limits(1, 0), unseen), [""; 0]);
    assert_eq!(site.places(limits(1, 0), before), [""; 0]);
    assert_eq!(site.places(limits(1, 0), all_clean), ["+node01"]);
}

#[test]
fn each_site_has_its_own_places_within_those_of_all() {
    let mut site = Site::default();
    for (number, start, of) in [(1, 100, "a"), (2, 200, "a"), (3, 300, "b"), (4, 400, "c")] {
        site.start(number, start, Some(of));
    }
    assert_eq!(site.places(limits(2, 1), all_clean), ["+node01", "+node03"]);
}

#[test]
fn a_place_goes_back_when_its_holder_is_ready_over_or_postponed() {
    let holds = |end: &dyn Fn(&mut Site)| {
        let mut site = Site::default();
        site.start(1, 100, None);
        assert_eq!(site.places(limits(1, 0), all_clean), ["+node01"]);
        site.observed(1, clean(1));
        assert_eq!(site.places(limits(1, 0), all_clean), [""; 0]);
        site.now += 10;
        end(&mut site);
        site.places(limits(1, 0), all_clean)
    };
    let said = |site: &mut Site, said, start| {
        let word = word(1, said, start, None, site.now);
        site.decide(1, &Command::Said(Box::new(word)));
    };
    let ready = |site: &mut Site| {
        site.observed(1, ready());
    };
    assert_eq!(holds(&ready), ["-node01"]);
    assert_eq!(holds(&|site| said(site, Said::Deleted, 100)), ["-node01"]);
    assert_eq!(
        holds(&|site| said(site, Said::Changed, 100 + HOUR)),
        ["-node01"]
    );
    let moved = |site: &mut Site| {
        let to = node(2);
        let reservation = reservation(1);
        site.decide(1, &Command::MovedOut { reservation, to });
    };
    assert_eq!(holds(&moved), ["-node01"]);
    assert_eq!(holds(&|_| {}), [""; 0]);
}

#[test]
fn a_place_that_was_granted_and_not_used_goes_back_when_its_host_can_t_be_used() {
    let mut site = Site::default();
    site.start(1, 100, None);
    let busy = |text: &str| Observation::NotClean { text: text.into() };
    site.observed(1, busy("paused"));
    assert_eq!(site.places(limits(1, 0), all_clean), ["+node01"]);
    // Told already; all the same the state ends, and with it the place.
    assert_eq!(site.observed(1, busy("paused")), []);
    let upon = site.state(1).version;
    let unused = Observation::PlaceUnused {
        reason: WaitReason::Host {
            text: "paused".into(),
        },
        upon,
    };
    assert_eq!(site.observed(1, unused).len(), 1);
    site.start(2, 200, None);
    let sight = but_for_the_first(Sight::Obstructed);
    assert_eq!(site.places(limits(1, 0), sight), ["-node01", "+node02"]);
}

#[test]
fn another_one_that_gets_the_first_place_in_the_queue_asks_for_itself() {
    let mut site = Site::default();
    site.start(1, 200, None);
    assert_eq!(site.places(limits(1, 0), all_clean), ["+node01"]);
    let earlier = word(7, start_said(), 100, None, site.now);
    site.decide(1, &Command::Said(Box::new(earlier)));
    assert_eq!(site.places(limits(1, 0), all_clean), ["-node01", "+node01"]);
    assert!(matches!(desired(&site.state(1)), Desired::Offer { next } if *next == reservation(7)));
}

#[test]
fn who_waits_for_its_turn_is_told_once_and_told_again_what_else_it_waits_for() {
    let mut site = Site::default();
    site.start(1, 100, None);
    let no_place = |preparing| Observation::NoPlace { preparing };
    let told = site.observed(1, no_place(2));
    assert!(matches!(
        &told[..],
        [Fact::ReservationWaits {
            reason: WaitReason::Turn { preparing: 2 },
            ..
        }]
    ));
    assert_eq!(site.observed(1, no_place(3)), []);
    let paused = Observation::NotClean {
        text: "paused".into(),
    };
    assert_eq!(site.observed(1, paused).len(), 1);
    assert_eq!(site.observed(1, no_place(3)).len(), 1);
}

#[test]
fn those_that_were_begun_without_a_limit_count_when_there_is_one() {
    let mut site = Site::default();
    site.start(1, 100, None);
    site.observed(1, clean(1));
    site.start(2, 50, None);
    assert_eq!(site.places(limits(1, 0), all_clean), ["+node01"]);
    site.observed(1, ready());
    assert_eq!(site.places(limits(1, 0), all_clean), ["-node01", "+node02"]);
}
