//! Reservations and the capacity together: who asks, in which order, and that never more are prepared at once than may be,
//! whoever decides upon which old state.

#![allow(clippy::unwrap_used, clippy::panic)]

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

// Replicas that decide upon old states.

const NODES: usize = 4;
const PLACES: u32 = 2;

#[derive(Clone, Debug)]
enum Step {
    Start {
        number: usize,
        start: i64,
    },
    Delete {
        event: u64,
    },
    Postpone {
        event: u64,
    },
    TimePasses,
    Dirty {
        number: usize,
    },
    Follow {
        replica: usize,
    },
    /// A replica decides on the places; it lands later.
    Compare {
        replica: usize,
    },
    /// A replica looks at a host and decides; it lands later.
    Look {
        replica: usize,
        number: usize,
    },
    Land {
        replica: usize,
    },
    /// A replica is killed: what was on its way is lost.
    Kill {
        replica: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (number, replica, event) = (0..NODES, 0..2_usize, 1..12_u64);
    prop_oneof![
        3 => (number.clone(), 0..5_i64).prop_map(|(number, start)| Step::Start { number, start }),
        1 => event.clone().prop_map(|event| Step::Delete { event }),
        1 => event.prop_map(|event| Step::Postpone { event }),
        1 => Just(Step::TimePasses),
        1 => number.clone().prop_map(|number| Step::Dirty { number }),
        4 => replica.clone().prop_map(|replica| Step::Follow { replica }),
        4 => replica.clone().prop_map(|replica| Step::Compare { replica }),
        6 => (replica.clone(), number).prop_map(|(replica, number)| Step::Look { replica, number }),
        6 => replica.clone().prop_map(|replica| Step::Land { replica }),
        1 => replica.prop_map(|replica| Step::Kill { replica }),
    ]
}

#[derive(Clone, Debug)]
enum Entry {
    Resource(usize, Vec<Fact>),
    Capacity(Vec<capacity::Fact>),
}

#[derive(Default)]
struct Replica {
    ledger: Ledger,
    followed: usize,
    /// What is on its way, and upon which version it was decided.
    on_its_way: Vec<(Version, Entry)>,
}

#[derive(Default)]
struct World {
    truth: Ledger,
    entries: Vec<Entry>,
    replicas: [Replica; 2],
    dirty: [bool; NODES],
    events: Vec<(u64, usize)>,
    now: i64,
}

impl World {
    fn state(ledger: &Ledger, number: usize) -> Resource {
        ledger.resource(&node(number)).cloned().unwrap_or_default()
    }

    fn take(ledger: &mut Ledger, version: Version, entry: &Entry, now: i64) {
        match entry {
            Entry::Resource(number, facts) => {
                ledger.apply(&node(*number), version, at(now), None, facts);
            }
            Entry::Capacity(facts) => ledger.apply_to_capacity(version, facts),
        }
    }

    /// Appends, where nothing else was decided meanwhile on the same subject.
    fn append(&mut self, expected: Version, entry: Entry) {
        let newest = match &entry {
            Entry::Resource(number, _) => Self::state(&self.truth, *number).version,
            Entry::Capacity(_) => self.truth.capacity().version(),
        };
        if newest == expected {
            self.entries.push(entry.clone());
            let version = Version(self.entries.len() as u64);
            Self::take(&mut self.truth, version, &entry, self.now);
        }
    }

    fn said(&mut self, number: usize, event: u64, said: Said, start: i64) {
        self.now += 1;
        let word = Command::Said(Box::new(word(event, said, start, None, self.now)));
        let state = Self::state(&self.truth, number);
        let facts = decide(&state, &word, at(self.now), &Policy::default());
        if !facts.is_empty() {
            self.append(state.version, Entry::Resource(number, facts));
        }
    }

    fn act(&mut self, step: &Step) {
        match *step {
            Step::Start { number, start } => {
                let event = self.events.len() as u64 + 1;
                self.events.push((event, number));
                self.said(number, event, start_said(), HOUR + start);
            }
            Step::Delete { event } => self.of_event(event, Said::Deleted, HOUR),
            Step::Postpone { event } => self.of_event(event, Said::Changed, self.now + HOUR),
            Step::TimePasses => self.time_passes(),
            Step::Dirty { number } => self.dirty[number] = !self.dirty[number],
            Step::Follow { replica } => self.follow(replica),
            Step::Compare { replica } => self.compare(replica),
            Step::Look { replica, number } => self.look(replica, number),
            Step::Land { replica } => {
                if !self.replicas[replica].on_its_way.is_empty() {
                    let (expected, entry) = self.replicas[replica].on_its_way.remove(0);
                    self.append(expected, entry);
                }
            }
            Step::Kill { replica } => self.replicas[replica] = Replica::default(),
        }
    }

    fn of_event(&mut self, event: u64, said: Said, start: i64) {
        if let Some((_, number)) = self.events.get(event as usize - 1).copied() {
            self.said(number, event, said, start);
        }
    }

    fn time_passes(&mut self) {
        self.now += HOUR;
        for number in 0..NODES {
            let state = Self::state(&self.truth, number);
            let command = Command::TimePassed {
                up_since: at(0),
                may_release: true,
                clock_is_right: true,
            };
            let facts = decide(&state, &command, at(self.now), &Policy::default());
            if !facts.is_empty() {
                self.append(state.version, Entry::Resource(number, facts));
            }
        }
    }

    fn follow(&mut self, replica: usize) {
        let now = self.now;
        let replica = &mut self.replicas[replica];
        for (index, entry) in self.entries.iter().enumerate().skip(replica.followed) {
            Self::take(&mut replica.ledger, Version(index as u64 + 1), entry, now);
        }
        replica.followed = self.entries.len();
    }

    fn compare(&mut self, replica: usize) {
        let ledger = &self.replicas[replica].ledger;
        let sight = |id: &ResourceId| {
            let number = (0..NODES).find(|number| node(*number) == *id).unwrap();
            match ledger.resource(id) {
                _ if self.dirty[number] => Sight::Obstructed,
                Some(resource) => Sight::Clean(resource.version),
                None => Sight::Unseen,
            }
        };
        let claims = claims(ledger, sight);
        let facts = decide_places(ledger.capacity(), &claims, &limits(PLACES, 0));
        if !facts.is_empty() {
            let expected = ledger.capacity().version();
            let entry = Entry::Capacity(facts);
            self.replicas[replica].on_its_way.push((expected, entry));
        }
    }

    /// What the driver does: it offers a clean host only to who has a place.
    fn look(&mut self, replica: usize, number: usize) {
        let ledger = &self.replicas[replica].ledger;
        let state = Self::state(ledger, number);
        let place = asks(&node(number), &state)
            .is_some_and(|request| ledger.capacity().has(&request.asker));
        let text = || "paused".to_owned();
        let observation = match (desired(&state), self.dirty[number], place) {
            (Desired::Offer { .. }, true, true) => Observation::PlaceUnused {
                reason: WaitReason::Host { text: text() },
                upon: state.version,
            },
            (Desired::Offer { .. }, true, false) => Observation::NotClean { text: text() },
            (Desired::Offer { .. }, false, true) => clean(number),
            (Desired::Offer { .. }, false, false) => Observation::NoPlace { preparing: PLACES },
            (Desired::Claim(_) | Desired::Keep(_), ..) => ready(),
            (Desired::Release(_), ..) => Observation::Released {
                left: HostLeft::Off,
                not_wiped: false,
            },
            (Desired::Nothing | Desired::Wait | Desired::Adopt(_) | Desired::SwitchOn, ..) => {
                return;
            }
        };
        let command = Command::Observed(observation);
        let facts = decide(&state, &command, at(self.now), &Policy::default());
        if !facts.is_empty() {
            let entry = Entry::Resource(number, facts);
            self.replicas[replica]
                .on_its_way
                .push((state.version, entry));
        }
    }

    fn prepared(&self) -> Vec<usize> {
        let preparing = |number: &usize| {
            let state = Self::state(&self.truth, *number);
            state.holding().is_some_and(|holding| {
                matches!(holding.stage, Stage::Claiming | Stage::Preparing { .. })
            })
        };
        (0..NODES).filter(preparing).collect()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let capacity = self.truth.capacity();
        prop_assert!(capacity.taken() <= PLACES as usize);
        let begun = claims(&self.truth, |_| Sight::Unseen).begun;
        prop_assert_eq!(begun.len(), self.prepared().len());
        for request in begun {
            prop_assert!(
                capacity.has(&request.asker),
                "{} is prepared without a place",
                request.asker
            );
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_decides_upon_which_old_state_nobody_is_prepared_without_a_place_and_no_place_is_lost(
        steps in prop::collection::vec(step(), 1..160),
    ) {
        let mut world = World::default();
        for step in &steps {
            world.act(step);
            world.check()?;
        }
        // No place is lost: when everybody goes on in peace, everybody gets ready.
        world.dirty = [false; NODES];
        world.replicas = Default::default();
        let mut before = usize::MAX;
        while world.entries.len() != before {
            before = world.entries.len();
            for number in 0..NODES {
                for step in [
                    Step::Follow { replica: 0 }, Step::Compare { replica: 0 }, Step::Land { replica: 0 },
                    Step::Follow { replica: 0 }, Step::Look { replica: 0, number }, Step::Land { replica: 0 },
                ] {
                    world.act(&step);
                }
                world.check()?;
            }
        }
        for number in 0..NODES {
            let state = World::state(&world.truth, number);
            let settled = match desired(&state) {
                Desired::Keep(holding) => matches!(holding.stage, Stage::Ready { .. }),
                other => other == Desired::Nothing,
            };
            prop_assert!(settled, "{} is stuck: {state:#?}", node(number));
        }
        world.act(&Step::Follow { replica: 0 });
        world.act(&Step::Compare { replica: 0 });
        world.act(&Step::Land { replica: 0 });
        prop_assert_eq!(world.truth.capacity().taken(), 0);
    }
}
