//! Replicas that decide upon old states.

use super::*;

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
