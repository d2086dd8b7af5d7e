//! Everything together: the sender's deliveries on their way, the ledger, two replicas of the provisioner that stop between
//! any two steps, the cluster, and time.

use std::collections::{BTreeMap, BTreeSet};

use bellhop_domain::capacity;
use bellhop_domain::id::{ReservationId, ResourceId, ResourceKind, Version};
use bellhop_domain::ledger::{Ledger, Upon};
use bellhop_domain::reservation::timer::{next_due, timers};
use bellhop_domain::reservation::{
    Command, Fact, Occupancy, Phase, Policy, Recorded, Resource, Scope, Stage, decide,
};

use super::action::Action;
use super::cluster::{Cluster, Key};
use super::delivery::Delivery;
use super::driver::Driver;
use super::host::Host;
use super::judge::Judge;
use super::mutant::Mutant;
use super::orders;
use super::replica::{Decision, Replica};
use super::sender::{Sent, at};

/// So many resources have a host; the others are what operators' words for more than one of them are facts on.
pub(crate) const HOSTS: usize = 2;
/// So many decisions that are not recorded, one after the other, are no coincidence.
const SPINNING: u32 = 100;
/// A gap in which a process was not running is one that it notices (R5).
pub(crate) const AWAY: i64 = 90;

/// One message of the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: i64,
    pub(crate) happened: Happened,
}

/// What a message says.
#[derive(Clone, Debug)]
pub(crate) enum Happened {
    /// To this resource.
    ToResource(usize, Vec<Fact>),
    /// To the places of those who are prepared.
    ToCapacity(Vec<capacity::Fact>),
}

pub(crate) struct World {
    pub(crate) now: i64,
    pub(crate) policy: Policy,
    pub(crate) names: Vec<ResourceId>,
    pub(crate) entries: Vec<Entry>,
    /// How many decisions in a row were not recorded.
    pub(crate) refused: u32,
    /// The whole ledger, folded.
    pub(crate) truth: Ledger,
    pub(crate) replicas: [Replica; 2],
    pub(crate) cluster: Cluster,
    pub(crate) driver: Driver,
    /// The key that each delivery would bring.
    pub(crate) keys: BTreeMap<u64, Key>,
    /// Which image is configured, by its number.
    pub(crate) configured: u32,
    /// Whether it is configured where the hosts of each site are.
    pub(crate) sites_named: bool,
    /// How many hosts may be prepared at once, where that is limited.
    pub(crate) preparing_max: Option<u32>,
    /// All that the sender says.
    pub(crate) all_sent: Vec<Sent>,
    /// Deliveries on their way: when they arrive, and which.
    pub(crate) coming: Vec<(i64, Delivery)>,
    /// Those that the broker has.
    pub(crate) waiting: Vec<Delivery>,
    /// The sequences of all that ever come.
    pub(crate) taken: BTreeSet<u64>,
    /// The sequence of the next delivery that is not the sender's word.
    pub(crate) next_sequence: u64,
    pub(crate) judge: Judge,
    /// What happened, in words; kept only where someone will read it.
    pub(crate) story: Option<Vec<String>>,
}

/// What went wrong.
pub(crate) type Verdict = Result<(), String>;

/// How a world is set up.
#[derive(Clone, Copy, Default)]
pub(crate) struct Setting {
    /// How many errors of Metal3's there may be.
    pub(crate) attempts: u32,
    /// Whether it is configured from the beginning where the hosts of each site are.
    pub(crate) sites_named: bool,
    /// How many hosts may be prepared at once, where that is limited.
    pub(crate) preparing_max: Option<u32>,
    /// Whether the story is kept.
    pub(crate) tell: bool,
    pub(crate) mutant: Option<Mutant>,
}

impl World {
    pub(crate) fn new(mut coming: Vec<(i64, Sent)>, setting: Setting) -> Self {
        coming.sort_by_key(|(arrives, _)| *arrives);
        let name = |name: &str| ResourceId::new(ResourceKind::new("h"), "m", name);
        let hosts = [name("a"), name("b")];
        let policy = Policy {
            provisioning_attempts: setting.attempts,
            ..Policy::default()
        };
        let words = coming.iter().map(|(_, sent)| &sent.word);
        let replica = || Replica {
            sites_named: setting.sites_named,
            ..Replica::default()
        };
        Self {
            now: 6000,
            judge: Judge::new(policy.clone(), setting.preparing_max, words.clone()),
            policy,
            names: (orders::scopes(&hosts).iter())
                .map(Scope::resource)
                .collect(),
            entries: Vec::new(),
            refused: 0,
            truth: Ledger::default(),
            replicas: [replica(), replica()],
            cluster: Cluster::new(setting.mutant),
            driver: Driver {
                mutant: setting.mutant,
            },
            keys: words
                .map(|word| {
                    let key = Key {
                        reservation: word.reservation.clone(),
                        user: word.user.clone(),
                    };
                    (word.delivery.sequence, key)
                })
                .collect(),
            configured: 0,
            sites_named: setting.sites_named,
            preparing_max: setting.preparing_max,
            taken: (coming.iter())
                .map(|(_, sent)| sent.word.delivery.sequence)
                .collect(),
            all_sent: coming.iter().map(|(_, sent)| sent.clone()).collect(),
            coming: (coming.into_iter())
                .map(|(arrives, sent)| (arrives, Delivery::Said(Box::new(sent))))
                .collect(),
            waiting: Vec::new(),
            next_sequence: 1_000_000,
            story: setting.tell.then(Vec::new),
        }
    }

    pub(crate) fn resource(&self, resource: usize) -> Option<&Resource> {
        self.truth.resource(&self.names[resource])
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.driver.mutant == Some(mutant)
    }

    pub(crate) fn tell(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>6} {}", self.now, text()));
        }
    }

    pub(crate) fn act(&mut self, action: Action) -> Verdict {
        match action {
            Action::Handle { replica, .. }
            | Action::Follow { replica }
            | Action::Look { replica, .. }
            | Action::GoOn { replica, .. }
            | Action::Work { replica, .. }
            | Action::Stall { replica, .. }
            | Action::SleepThrough { replica, .. }
            | Action::Tick { replica, .. }
            | Action::AppendLate { replica }
            | Action::Compare { replica, .. }
            | Action::AppendPlaces { replica }
                if self.replicas[replica].frozen.is_some() =>
            {
                Ok(())
            }
            Action::Advance { seconds, awake } => self.advance(self.now + seconds, awake),
            Action::Outage { seconds } => {
                self.advance(self.now + seconds, false)?;
                for resource in 0..HOSTS {
                    self.metal3(resource, seconds % 7 == 0)?;
                }
                (0..self.replicas.len()).try_for_each(|replica| self.restart(replica))
            }
            Action::Handle {
                replica,
                steps,
                confirmed,
            } => self.handle(replica, steps, confirmed),
            Action::Follow { replica } => {
                self.follow(replica);
                Ok(())
            }
            Action::Look { replica, resource } => {
                self.look(replica, resource);
                Ok(())
            }
            Action::GoOn { replica, steps } => self.go_on(replica, steps),
            Action::Work { replica, resource } => {
                self.follow(replica);
                self.look(replica, resource);
                self.go_on(replica, u32::MAX)?;
                self.compare_places(replica);
                self.append_places(replica);
                Ok(())
            }
            Action::Stall {
                replica,
                resource,
                further,
            } => self.stall(replica, resource, further),
            Action::SleepThrough {
                replica,
                resource,
                seconds,
            } => {
                self.stall(replica, resource, (seconds % 3) as u32)?;
                self.advance(self.now + seconds, true)?;
                let other = 1 - replica;
                if self.replicas[other].frozen.is_none() {
                    self.handle_all(other)?;
                }
                for _ in 0..3 {
                    let replica = other;
                    self.act(Action::Work { replica, resource })?;
                }
                self.thaw(replica, resource, u32::MAX)
            }
            Action::Freeze { replica } => {
                self.freeze(replica);
                Ok(())
            }
            Action::Thaw {
                replica,
                resource,
                steps,
            } => self.thaw(replica, resource, steps),
            Action::Tick { replica, appends } => self.tick(replica, appends),
            Action::AppendLate { replica } => self.append_late(replica),
            Action::Compare { replica, appends } => {
                self.follow(replica);
                self.settle_sites(replica)?;
                self.compare_places(replica);
                if appends {
                    self.append_places(replica);
                }
                Ok(())
            }
            Action::AppendPlaces { replica } => {
                self.append_places(replica);
                Ok(())
            }
            Action::NameSites => {
                self.sites_named = true;
                Ok(())
            }
            Action::Restart { replica } => self.restart(replica),
            Action::Metal3 { resource, fails } => self.metal3(resource, fails),
            Action::RemoveConsumer { resource } if !self.is_claim_seen(resource) => Ok(()),
            Action::Configure => {
                self.configured += 1;
                Ok(())
            }
            Action::Operator { resource, says } => {
                self.says(resource, says);
                Ok(())
            }
            Action::DeleteResource { resource, delay } => {
                self.delete_resource(resource, delay);
                Ok(())
            }
            others => {
                self.tell(|| format!("{others:?}"));
                self.cluster.others(others);
                Ok(())
            }
        }
    }

    /// A step of Metal3's on a host.
    pub(crate) fn metal3(&mut self, resource: usize, fails: bool) -> Verdict {
        if let Some(host) = &self.cluster.hosts[resource]
            && host.is_about_to_be_prepared()
        {
            let secret = self.cluster.user_data_of(host);
            let truth = self.resource(resource);
            self.judge.prepared(resource, host, secret, truth)?;
        }
        if let Some(host) = &mut self.cluster.hosts[resource] {
            host.step(fails);
        }
        Ok(())
    }

    fn is_claim_seen(&self, resource: usize) -> bool {
        match self.resource(resource).map(|state| &state.occupancy) {
            Some(Occupancy::Held(holding)) => {
                !matches!(holding.stage, Stage::Claiming | Stage::Adopting)
            }
            Some(Occupancy::Releasing(release)) => release.claimed,
            Some(Occupancy::Free) | None => false,
        }
    }

    // Time.

    pub(crate) fn advance(&mut self, to: i64, awake: bool) -> Verdict {
        let awake = awake && self.replicas.iter().any(|replica| replica.frozen.is_none());
        if awake {
            self.notice_sleep()?;
        }
        loop {
            let due = self.due().filter(|due| awake && *due <= to);
            if awake && self.keep_vigil(due.unwrap_or(to))? {
                continue;
            }
            let Some(due) = due else {
                break;
            };
            let before = self.entries.len();
            self.arrive(self.now.max(due));
            for replica in 0..self.replicas.len() {
                if self.replicas[replica].frozen.is_none() {
                    self.tick(replica, true)?;
                }
            }
            if self.entries.len() == before {
                return Err("a timer is due and nothing follows: the service would spin".to_owned());
            }
        }
        if !awake && to - self.now > AWAY {
            for replica in &mut self.replicas {
                replica.slept = true;
            }
        }
        if !awake {
            self.judge.nobody_was_there(self.now, to);
        }
        self.arrive(to);
        Ok(())
    }

    /// It is then, and what was on its way until then has come.
    pub(crate) fn arrive(&mut self, now: i64) {
        self.now = now;
        let come = self
            .coming
            .iter()
            .take_while(|(arrives, _)| *arrives <= now)
            .count();
        let come = self.coming.drain(..come).map(|(_, delivery)| delivery);
        self.waiting.extend(come);
    }

    /// Who slept looks as soon as it wakes.
    fn notice_sleep(&mut self) -> Verdict {
        for replica in 0..self.replicas.len() {
            if self.replicas[replica].slept && self.replicas[replica].frozen.is_none() {
                self.tick(replica, true)?;
            }
        }
        Ok(())
    }

    /// When the next timer of any resource fires.
    pub(crate) fn due(&self) -> Option<i64> {
        let epoch = at(0).as_second();
        let awake = self
            .replicas
            .iter()
            .filter(|replica| replica.frozen.is_none());
        awake
            .flat_map(|replica| {
                let up_since = at(replica.up_since);
                let resources = self.truth.resources();
                resources
                    .filter_map(move |(_, resource)| next_due(resource, &self.policy, up_since))
            })
            .map(|due| due.as_second() - epoch)
            .min()
    }

    /// A replica's timers fire. Where one may release a host, or the replica was away, what waits in the broker comes first.
    pub(crate) fn tick(&mut self, replica: usize, appends: bool) -> Verdict {
        self.sweep(replica)?;
        let slept = std::mem::take(&mut self.replicas[replica].slept);
        if (slept || self.may_release(replica)) && !self.is(Mutant::DeadlineBeforeDeliveries) {
            self.handle_all(replica)?;
        }
        if slept {
            self.replicas[replica].up_since = self.now;
        }
        let up_since = self.replicas[replica].up_since;
        for resource in 0..HOSTS {
            let Some(before) = self.state(replica, resource) else {
                continue;
            };
            let command = Command::TimePassed {
                up_since: at(up_since),
                may_release: true,
                clock_is_right: true,
            };
            let decision = self.decide(replica, resource, before, None, command);
            self.judge.fires(&decision, &self.waiting)?;
            if decision.facts.is_empty() {
                continue;
            }
            if appends {
                self.append(decision)?;
                self.follow(replica);
            } else {
                self.replicas[replica].fired = Some(decision);
            }
        }
        Ok(())
    }

    fn may_release(&self, replica: usize) -> bool {
        let now = at(self.now);
        let Replica {
            ledger, up_since, ..
        } = &self.replicas[replica];
        ledger
            .resources()
            .flat_map(|(_, resource)| timers(resource, &self.policy, at(*up_since)))
            .any(|(due, timer)| due <= now && timer.releases())
    }

    // The ledger.

    pub(crate) fn follow(&mut self, replica: usize) {
        let replica = &mut self.replicas[replica];
        for (index, entry) in self.entries.iter().enumerate().skip(replica.followed) {
            let version = Version(index as u64 + 1);
            match &entry.happened {
                Happened::ToResource(resource, facts) => {
                    let name = &self.names[*resource];
                    replica
                        .ledger
                        .apply(name, version, at(entry.at), None, facts);
                }
                Happened::ToCapacity(facts) => replica.ledger.apply_to_capacity(version, facts),
            }
        }
        replica.followed = self.entries.len();
    }

    pub(crate) fn state(&self, replica: usize, resource: usize) -> Option<Resource> {
        self.replicas[replica]
            .ledger
            .resource(&self.names[resource])
            .cloned()
    }

    /// Decides in a state that may be old.
    pub(crate) fn decide(
        &self,
        replica: usize,
        resource: usize,
        before: Resource,
        read: Option<Host>,
        command: Command,
    ) -> Decision {
        let now = at(self.now);
        let facts = match self.driver.mutant {
            Some(mutant) => mutant.decide(&before, &command, now, &self.policy),
            None => decide(&before, &command, now, &self.policy),
        };
        let Replica {
            ledger, followed, ..
        } = &self.replicas[replica];
        let upon = ledger.recorded_upon(&self.names[resource], &facts).ok();
        Decision {
            resource,
            before,
            read,
            command,
            facts,
            at: self.now,
            upon: match upon {
                _ if self.is(Mutant::ReservationUnguarded) => Some(Upon::Resource),
                upon => upon,
            },
            followed: *followed,
        }
    }

    /// Appends what was decided. Returns false where it was decided upon a state that is old by now.
    pub(crate) fn append(&mut self, decision: Decision) -> Result<bool, String> {
        let resource = decision.resource;
        let current = self.resource(resource).cloned().unwrap_or_default();
        let is_upon_the_newest = match decision.upon {
            _ if self.is(Mutant::ExpectedVersionOff) => true,
            Some(Upon::Resource) => current.version == decision.before.version,
            Some(Upon::WholeLedger) => {
                current.version == decision.before.version
                    && self.entries.len() == decision.followed
            }
            None => false,
        };
        if !is_upon_the_newest {
            self.refused += 1;
            return match self.refused {
                SPINNING.. => Err(format!(
                    "{decision:?} is never recorded: the service would spin"
                )),
                _ => Ok(false),
            };
        }
        self.refused = 0;
        self.tell(|| format!("{:?}\n         => {:?}", decision.command, decision.facts));
        self.judge.appended(
            &decision,
            self.cluster.hosts.get(resource).and_then(Option::as_ref),
            self.entries.len(),
        )?;
        let version = Version(self.entries.len() as u64 + 1);
        let name = &self.names[resource];
        self.truth
            .apply(name, version, at(decision.at), None, &decision.facts);
        let after = self.resource(resource).cloned().unwrap_or_default();
        self.judge.folded(&current, &decision, &after)?;
        self.entries.push(Entry {
            at: decision.at,
            happened: Happened::ToResource(resource, decision.facts),
        });
        Ok(true)
    }

    /// All facts, in order.
    pub(crate) fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.entries.iter().flat_map(|entry| match &entry.happened {
            Happened::ToResource(_, facts) => facts.as_slice(),
            Happened::ToCapacity(_) => &[],
        })
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
