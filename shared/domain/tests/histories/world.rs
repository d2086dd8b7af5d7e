//! Everything together: the sender's deliveries on their way, the ledger, two replicas of the provisioner that stop between
//! any two steps, the hosts, and time.

use bellhop_domain::id::{ReservationId, ResourceId, ResourceKind, Version};
use bellhop_domain::ledger::Ledger;
use bellhop_domain::reservation::timer::next_due;
use bellhop_domain::reservation::{
    Command, Fact, Occupancy, Phase, Policy, Recorded, Resource, decide,
};

use super::driver;
use super::host::{Consumer, Host};
use super::invariants::Judge;
use super::sender::{Sent, at};

/// What can happen. Decoded from a number, so that proptest makes and shrinks histories quickly.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Time passes; whether the replicas' timers fire when they are due, or all at the end (the machine slept).
    Advance { seconds: i64, awake: bool },
    /// A replica handles one delivery, and may die before it acknowledges it.
    Handle { replica: usize, acknowledges: bool },
    /// A replica reads the ledger up to its end.
    Follow { replica: usize },
    /// A replica takes its state of a resource, which may be old, and reads its host.
    Look { replica: usize, resource: usize },
    /// The replica goes on with what it looked at, whatever happened since.
    Act { replica: usize },
    /// All that at once, as it mostly goes.
    Work { replica: usize, resource: usize },
    /// A replica stops where it is, and does nothing until it goes on.
    Freeze { replica: usize },
    /// It goes on in the state that it had: it reads the host, and does what it thinks right.
    Thaw { replica: usize, resource: usize },
    /// A replica's timers fire.
    Tick { replica: usize },
    /// A replica is killed and started.
    Restart { replica: usize },
    /// Both are stopped for a time. Deliveries come meanwhile, and Metal3 goes on.
    Outage { seconds: i64 },
    /// Metal3 takes a step, or shows an error.
    Metal3 { resource: usize, fails: bool },
    /// An operator pauses a host, or lets it go on.
    Pause { resource: usize },
    /// Someone else takes a free host, or gives it back.
    Foreign { resource: usize },
    /// Someone removes the image of a host by hand.
    RemoveImage { resource: usize },
    /// Someone deletes a host, or makes it anew.
    DeleteHost { resource: usize },
}

impl From<u32> for Action {
    fn from(number: u32) -> Self {
        let kind = number % 64;
        let rest = number / 64;
        let replica = (rest % 2) as usize;
        let resource = usize::from(rest / 2 % 4 == 3);
        let amount = i64::from(rest / 8);
        match kind {
            0..5 => Self::Advance {
                seconds: amount % 60,
                awake: true,
            },
            5..11 => Self::Advance {
                seconds: 60 + amount % 900,
                awake: true,
            },
            11 => Self::Advance {
                seconds: 1200 + amount % 9000,
                awake: amount % 3 > 0,
            },
            12 => Self::Outage {
                seconds: 60 + amount % 12_000,
            },
            13..20 => Self::Handle {
                replica,
                acknowledges: amount % 6 > 0,
            },
            20..22 => Self::Follow { replica },
            22..28 => Self::Look { replica, resource },
            28..34 => Self::Act { replica },
            34..43 => Self::Work { replica, resource },
            43..46 => Self::Freeze { replica },
            46..48 => Self::Thaw { replica, resource },
            48 => Self::Tick { replica },
            49 => Self::Restart { replica },
            50..60 => Self::Metal3 {
                resource,
                fails: amount % 3 == 0,
            },
            60 => Self::Pause { resource },
            61 => Self::Foreign { resource },
            62 if amount % 3 == 0 => Self::RemoveImage { resource },
            63 if amount % 4 == 0 => Self::DeleteHost { resource },
            _ => Self::Metal3 {
                resource,
                fails: false,
            },
        }
    }
}

/// One message of the ledger.
#[derive(Clone, Debug)]
struct Entry {
    resource: usize,
    at: i64,
    facts: Vec<Fact>,
}

/// What a replica saw before it stopped to think.
#[derive(Clone, Debug)]
struct Sight {
    resource: usize,
    state: Resource,
    host: Option<Host>,
}

#[derive(Default)]
struct Replica {
    ledger: Ledger,
    followed: usize,
    up_since: i64,
    sight: Option<Sight>,
    frozen: bool,
}

pub(crate) struct World {
    now: i64,
    policy: Policy,
    names: [ResourceId; 2],
    entries: Vec<Entry>,
    /// The whole ledger, folded.
    pub(crate) truth: Ledger,
    replicas: [Replica; 2],
    pub(crate) hosts: [Option<Host>; 2],
    uids: u32,
    /// Deliveries on their way: when they arrive, and which.
    coming: Vec<(i64, Sent)>,
    waiting: Vec<Sent>,
    pub(crate) judge: Judge,
    /// What happened, in words; kept only where someone will read it.
    pub(crate) story: Option<Vec<String>>,
}

/// What went wrong.
pub(crate) type Verdict = Result<(), String>;

impl World {
    pub(crate) fn new(
        mut coming: Vec<(i64, Sent)>,
        provisioning_attempts: u32,
        tell: bool,
    ) -> Self {
        coming.sort_by_key(|(arrives, _)| *arrives);
        let name = |name: &str| ResourceId::new(ResourceKind::new("h"), "m", name);
        let policy = Policy {
            provisioning_attempts,
            ..Policy::default()
        };
        Self {
            now: 6000,
            judge: Judge::new(policy.clone()),
            policy,
            names: [name("a"), name("b")],
            entries: Vec::new(),
            truth: Ledger::default(),
            replicas: [Replica::default(), Replica::default()],
            hosts: [Some(Host::new(1)), Some(Host::new(2))],
            uids: 2,
            coming,
            waiting: Vec::new(),
            story: tell.then(Vec::new),
        }
    }

    pub(crate) fn resource(&self, resource: usize) -> Option<&Resource> {
        self.truth.resource(&self.names[resource])
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>6} {}", self.now, text()));
        }
    }

    pub(crate) fn act(&mut self, action: Action) -> Verdict {
        match action {
            Action::Handle { replica, .. }
            | Action::Follow { replica }
            | Action::Look { replica, .. }
            | Action::Act { replica }
            | Action::Work { replica, .. }
            | Action::Tick { replica }
                if self.replicas[replica].frozen =>
            {
                Ok(())
            }
            Action::Advance { seconds, awake } => self.advance(self.now + seconds, awake),
            Action::Handle {
                replica,
                acknowledges,
            } => self.handle(replica, acknowledges),
            Action::Follow { replica } => {
                self.follow(replica);
                Ok(())
            }
            Action::Look { replica, resource } => {
                self.look(replica, resource);
                Ok(())
            }
            Action::Act { replica } => self.go_on(replica),
            Action::Work { replica, resource } => {
                self.follow(replica);
                self.look(replica, resource);
                self.go_on(replica)
            }
            Action::Freeze { replica } => {
                self.replicas[replica].frozen = true;
                Ok(())
            }
            Action::Thaw { replica, resource } => {
                self.look(replica, resource);
                self.replicas[replica].frozen = false;
                self.go_on(replica)
            }
            Action::Outage { seconds } => {
                self.advance(self.now + seconds, false)?;
                for host in self.hosts.iter_mut().flatten() {
                    host.step(seconds % 7 == 0)?;
                }
                (0..self.replicas.len()).try_for_each(|replica| self.restart(replica))
            }
            Action::Tick { replica } => self.tick(replica),
            Action::Restart { replica } => self.restart(replica),
            Action::Metal3 { resource, fails } => match &mut self.hosts[resource] {
                Some(host) => host.step(fails),
                None => Ok(()),
            },
            others => {
                self.others(others);
                Ok(())
            }
        }
    }

    /// What someone else does to a host.
    fn others(&mut self, action: Action) {
        self.tell(|| format!("{action:?}"));
        match action {
            Action::Pause { resource } => self.change(resource, |host| host.paused = !host.paused),
            Action::Foreign { resource } => self.change(resource, |host| match host.consumer {
                None if host.is_clean() => host.consumer = Some(Consumer::Foreign),
                Some(Consumer::Foreign) => host.consumer = None,
                _ => {}
            }),
            Action::RemoveImage { resource } => self.change(resource, |host| host.image = None),
            Action::DeleteHost { resource } => {
                self.hosts[resource] = match self.hosts[resource] {
                    Some(_) => None,
                    None => Some(self.new_host()),
                }
            }
            _ => {}
        }
    }

    fn new_host(&mut self) -> Host {
        self.uids += 1;
        Host::new(self.uids)
    }

    fn change(&mut self, resource: usize, change: impl FnOnce(&mut Host)) {
        if let Some(host) = &mut self.hosts[resource] {
            change(host);
            host.changed();
        }
    }

    // Time.

    fn advance(&mut self, to: i64, awake: bool) -> Verdict {
        let awake = awake && self.replicas.iter().any(|replica| !replica.frozen);
        while let Some(due) = self.due().filter(|due| awake && *due <= to) {
            let before = self.entries.len();
            self.now = self.now.max(due);
            for replica in 0..self.replicas.len() {
                if !self.replicas[replica].frozen {
                    self.tick(replica)?;
                }
            }
            if self.entries.len() == before {
                return Err("a timer is due and nothing follows: the service would spin".to_owned());
            }
        }
        self.now = to;
        while self
            .coming
            .first()
            .is_some_and(|(arrives, _)| *arrives <= to)
        {
            let (_, sent) = self.coming.remove(0);
            self.waiting.push(sent);
        }
        Ok(())
    }

    /// When the next timer of any resource fires.
    fn due(&self) -> Option<i64> {
        let epoch = at(0).as_second();
        self.truth
            .resources()
            .filter_map(|(_, resource)| next_due(resource, &self.policy))
            .map(|due| due.as_second() - epoch)
            .min()
    }

    fn tick(&mut self, replica: usize) -> Verdict {
        self.follow(replica);
        let up_since = self.replicas[replica].up_since;
        for resource in 0..self.names.len() {
            let Some(state) = self.state(replica, resource) else {
                continue;
            };
            let command = Command::TimePassed {
                up_since: at(up_since),
                may_release: true,
            };
            self.decide_and_append(resource, &state, &command)?;
        }
        Ok(())
    }

    // The ledger.

    fn follow(&mut self, replica: usize) {
        let replica = &mut self.replicas[replica];
        for (index, entry) in self.entries.iter().enumerate().skip(replica.followed) {
            replica.ledger.apply(
                &self.names[entry.resource],
                Version(index as u64 + 1),
                at(entry.at),
                None,
                &entry.facts,
            );
        }
        replica.followed = self.entries.len();
    }

    fn state(&self, replica: usize, resource: usize) -> Option<Resource> {
        self.replicas[replica]
            .ledger
            .resource(&self.names[resource])
            .cloned()
    }

    /// Decides in a state that may be old, and appends what follows. Returns whether anything followed; what was refused
    /// because the state was old is decided again later.
    fn decide_and_append(
        &mut self,
        resource: usize,
        state: &Resource,
        command: &Command,
    ) -> Result<bool, String> {
        let facts = decide(state, command, at(self.now), &self.policy);
        if facts.is_empty() {
            return Ok(false);
        }
        let current = self
            .resource(resource)
            .map_or(Version(0), |known| known.version);
        if current != state.version {
            return Ok(true);
        }
        self.tell(|| format!("{command:?}\n         => {facts:?}"));
        let before = state;
        self.judge.appended(
            before,
            command,
            &facts,
            self.now,
            self.hosts[resource].as_ref(),
        )?;
        let version = Version(self.entries.len() as u64 + 1);
        self.truth
            .apply(&self.names[resource], version, at(self.now), None, &facts);
        let after = self.resource(resource).cloned().unwrap_or_default();
        self.judge
            .folded(before, command, &facts, &after, at(self.now))?;
        self.entries.push(Entry {
            resource,
            at: self.now,
            facts,
        });
        Ok(true)
    }

    // A replica.

    fn handle(&mut self, replica: usize, acknowledges: bool) -> Verdict {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let sent = self.waiting.remove(0);
        let command = Command::Said(Box::new(sent.word.clone()));
        // Decided where the reservation stands, in the state that the replica has; where that is old, once more.
        for _ in 0..2 {
            let place = self.replicas[replica]
                .ledger
                .place_of(&sent.word.reservation)
                .and_then(|place| self.names.iter().position(|name| name == place))
                .unwrap_or(sent.resource);
            let state = self.state(replica, place).unwrap_or_default();
            self.decide_and_append(place, &state, &command)?;
            self.follow(replica);
        }
        let known = self
            .truth
            .place_of(&sent.word.reservation)
            .and_then(|place| self.truth.resource(place))
            .and_then(|resource| resource.reservations.get(&sent.word.reservation));
        self.judge.heard(&sent.word, known)?;
        if !acknowledges {
            self.tell(|| "not acknowledged".to_owned());
            self.waiting.push(sent);
        }
        Ok(())
    }

    fn look(&mut self, replica: usize, resource: usize) {
        self.replicas[replica].sight = self.state(replica, resource).map(|state| Sight {
            resource,
            state,
            host: self.hosts[resource].clone(),
        });
    }

    fn go_on(&mut self, replica: usize) -> Verdict {
        let Some(sight) = self.replicas[replica].sight.take() else {
            return Ok(());
        };
        if let Some(observation) = driver::observe(&sight.state, sight.host.as_ref()) {
            let command = Command::Observed(observation);
            if self.decide_and_append(sight.resource, &sight.state, &command)? {
                self.follow(replica);
                return Ok(());
            }
        }
        let Some((reservation, write)) = driver::plan(&sight.state, sight.host.as_ref()) else {
            return Ok(());
        };
        let truth = self.resource(sight.resource).cloned().unwrap_or_default();
        let now = self.now;
        // The API server's own check: the host is still the one that was read.
        let unchanged = |host: &&mut Host| {
            sight.host.as_ref().is_some_and(|read| {
                read.uid == host.uid && read.resource_version == host.resource_version
            })
        };
        let Some(host) = self.hosts[sight.resource].as_mut().filter(unchanged) else {
            return Ok(());
        };
        host.write(&reservation, &write, sight.state.version)?;
        self.judge
            .written(&sight.state, &truth, &reservation, &write, at(now))?;
        self.tell(|| format!("{write:?} for {reservation}"));
        Ok(())
    }

    /// Killed and started: it follows the ledger and handles what waits before it touches a host.
    fn restart(&mut self, replica: usize) -> Verdict {
        self.replicas[replica] = Replica::default();
        self.follow(replica);
        // What a snapshot holds is what was folded.
        for (id, state) in self.replicas[replica].ledger.resources() {
            let written = serde_json::to_string(state).map_err(|error| error.to_string())?;
            if serde_json::from_str(&written).ok().as_ref() != Some(state) {
                return Err(format!("{id} is not read as it was written: {written}"));
            }
        }
        for _ in 0..self.waiting.len() {
            self.handle(replica, true)?;
        }
        self.follow(replica);
        self.replicas[replica].up_since = self.now;
        Ok(())
    }

    // The end.

    /// Handles everything that has come, and nothing else.
    pub(crate) fn hear_all(&mut self) -> Verdict {
        self.advance(self.now, false)?;
        while !self.waiting.is_empty() {
            self.handle(0, true)?;
        }
        Ok(())
    }

    /// Everything that was broken is mended, everything on its way arrives, and time goes on until nothing happens any more.
    pub(crate) fn settle(&mut self) -> Verdict {
        self.replicas[0].frozen = false;
        for resource in 0..self.hosts.len() {
            if self.hosts[resource].is_none() {
                self.hosts[resource] = Some(self.new_host());
            }
            let Some(host) = &mut self.hosts[resource] else {
                continue;
            };
            host.paused = false;
            if host.consumer == Some(Consumer::Foreign) {
                host.consumer = None;
            }
            host.changed();
        }
        for _ in 0..400 {
            self.come_to_rest()?;
            let arrives = self.coming.first().map(|(arrives, _)| *arrives);
            match [arrives, self.due()].into_iter().flatten().min() {
                Some(next) => self.advance(next.max(self.now), true)?,
                None => return self.at_rest(),
            }
        }
        Err("R5: it never comes to rest".to_owned())
    }

    fn come_to_rest(&mut self) -> Verdict {
        while !self.waiting.is_empty() {
            self.handle(0, true)?;
        }
        for resource in 0..self.hosts.len() {
            loop {
                let before = (
                    self.entries.len(),
                    self.hosts[resource].as_ref().map(|h| h.resource_version),
                );
                self.follow(0);
                self.look(0, resource);
                self.go_on(0)?;
                if let Some(host) = &mut self.hosts[resource] {
                    host.step(false)?;
                }
                let after = (
                    self.entries.len(),
                    self.hosts[resource].as_ref().map(|h| h.resource_version),
                );
                if before == after {
                    break;
                }
            }
        }
        Ok(())
    }

    fn at_rest(&mut self) -> Verdict {
        // The other replica may have slept all the while, with what it had read or without.
        self.go_on(1)?;
        for resource in 0..self.hosts.len() {
            self.look(1, resource);
            self.go_on(1)?;
        }
        for resource in 0..self.hosts.len() {
            let Some(state) = self.resource(resource) else {
                continue;
            };
            for (id, reservation) in &state.reservations {
                if !matches!(reservation.phase, Phase::Over(_)) {
                    return Err(format!("R7: {id} never ends: {:?}", reservation.phase));
                }
            }
            if state.occupancy != Occupancy::Free {
                return Err(format!("R5: held for ever: {:?}", state.occupancy));
            }
            if !self.hosts[resource].as_ref().is_some_and(Host::is_clean) {
                return Err(format!("R9: left like this: {:?}", self.hosts[resource]));
            }
        }
        self.judge.at_the_end()
    }

    /// All facts, in order.
    pub(crate) fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.entries.iter().flat_map(|entry| &entry.facts)
    }

    /// All reservations that any fact names.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&ReservationId, &Phase)> {
        self.truth.resources().flat_map(|(_, resource)| {
            resource
                .reservations
                .iter()
                .map(|(id, reservation)| (id, &reservation.phase))
        })
    }
}

/// Folds facts that were folded already once more.
pub(crate) fn fold_again(state: &Resource, facts: &[Fact], at: jiff::Timestamp) -> Resource {
    let mut again = state.clone();
    for fact in facts {
        again.evolve(Recorded {
            version: state.version,
            at,
            traceparent: None,
            fact,
        });
    }
    again
}
