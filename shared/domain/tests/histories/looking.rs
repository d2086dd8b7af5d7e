//! A replica with a look at a host: read, delete a secret, decide, append, make a secret, write. It may stop, and be killed,
//! between any two of them.

use std::cmp::Ordering;

use bellhop_domain::reservation::{Command, Observation, Occupancy, Resource, TenantKey, vigil};

use super::cluster::{Refusal, Secret};
use super::host::{Host, State, Write};
use super::mutant::Mutant;
use super::replica::{Look, LookStep, Planned, Replica};
use super::sender;
use super::world::{HOSTS, Verdict, World};

impl World {
    /// Takes the state of a resource as the replica has it, and reads the host. What it had in its hands has failed.
    pub(crate) fn look(&mut self, replica: usize, resource: usize) {
        if let Some(Look {
            resource: looked_at,
            step: LookStep::SecretMade(planned),
            ..
        }) = self.replicas[replica].look.take()
        {
            self.forget_secret(replica, looked_at, &planned);
        }
        let host = self.cluster.hosts[resource].clone();
        self.replicas[replica].look = self.state(replica, resource).map(|state| Look {
            resource,
            state: self.as_if_settled(state),
            host,
            step: LookStep::Read,
        });
    }

    /// Whoever is awake and has nothing in its hands looks at a host on which Metal3 works, when the timeout wants a look until
    /// then. Returns whether anything followed.
    pub(crate) fn keep_vigil(&mut self, until: i64) -> Result<bool, String> {
        let idle = |replica: &&Replica| replica.frozen.is_none() && replica.look.is_none();
        let Some(replica) = self.replicas.iter().position(|it| idle(&it)) else {
            return Ok(false);
        };
        let epoch = sender::at(0).as_second();
        for resource in 0..HOSTS {
            let holding = self.resource(resource).and_then(Resource::holding);
            let due = holding.and_then(|holding| vigil::next_look(holding, &self.policy));
            let due = due.map(|due| due.as_second() - epoch);
            let Some(due) = due.filter(|due| *due <= until) else {
                continue;
            };
            let before = self.entries.len();
            self.arrive(self.now.max(due));
            self.follow(replica);
            self.look(replica, resource);
            self.go_on(replica, u32::MAX)?;
            if self.entries.len() > before {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes so many steps with the look that the replica has in its hands.
    pub(crate) fn go_on(&mut self, replica: usize, steps: u32) -> Verdict {
        for _ in 0..steps {
            let Some(look) = self.replicas[replica].look.take() else {
                break;
            };
            self.replicas[replica].look = self.look_on(replica, look)?;
        }
        Ok(())
    }

    /// One step. Returns what is left to do.
    fn look_on(&mut self, replica: usize, mut look: Look) -> Result<Option<Look>, String> {
        match std::mem::replace(&mut look.step, LookStep::Read) {
            LookStep::Read => {
                let read = self.as_read(replica, &look);
                let configured = sender::image(self.replicas[replica].image);
                let paused = || self.is_paused(replica, look.resource);
                let plan = self
                    .driver
                    .plan(&look.state, read.as_ref(), &configured, paused);
                let plan = self.by_turn(replica, &look, plan);
                if let Some((reservation, secret)) = &plan.forget {
                    self.cluster.delete_secret(secret, reservation);
                    if matches!(&look.state.occupancy, Occupancy::Releasing(release) if release.adopted)
                    {
                        self.cluster.delete_adopted_secret(secret);
                    }
                }
                look.step = LookStep::Forgotten(Box::new(plan));
            }
            LookStep::Forgotten(plan) => {
                for observation in plan.observation.into_iter().chain(plan.then) {
                    let before = look.state.clone();
                    let command = Command::Observed(observation);
                    let decision =
                        self.decide(replica, look.resource, before, look.host.clone(), command);
                    if !decision.facts.is_empty() {
                        look.step = LookStep::Decided(Box::new(decision));
                        return Ok(Some(look));
                    }
                }
                self.judge.looked(&look.state, look.host.as_ref())?;
                let Some((reservation, write)) = plan.write else {
                    return Ok(None);
                };
                look.step = LookStep::Planned(Planned {
                    reservation,
                    write,
                    at: self.now,
                    asked: 0,
                });
            }
            LookStep::Decided(decision) => {
                self.append(*decision)?;
                self.follow(replica);
                return Ok(None);
            }
            LookStep::Planned(mut planned) => {
                self.follow(replica);
                planned.asked = self.entries.len();
                if !self.may_write(replica, &look, &planned) {
                    return Ok(None);
                }
                look.step = LookStep::Asked(planned);
            }
            LookStep::Asked(planned) => {
                if let Write::Claim { secret, .. } = &planned.write {
                    if !self.make_secret(&look.state, secret)? {
                        return Ok(None);
                    }
                    look.step = LookStep::SecretMade(planned);
                } else {
                    self.write(replica, &look, planned)?;
                    return Ok(None);
                }
            }
            LookStep::SecretMade(planned) => {
                self.write(replica, &look, planned)?;
                return Ok(None);
            }
        }
        Ok(Some(look))
    }

    /// Whether anything that is known by now is against a write that is due. Whose host it is may have changed as well: a claim
    /// is made upon the newest state only.
    fn may_write(&self, replica: usize, look: &Look, planned: &Planned) -> bool {
        let paused = self.is_paused(replica, look.resource) && !self.is(Mutant::PauseIgnored);
        let held = World::is_releasing(&look.state)
            && self.is_held(replica, look.resource)
            && !self.is(Mutant::HoldIgnored);
        let is_old = matches!(planned.write, Write::Claim { .. })
            && self
                .state(replica, look.resource)
                .map(|state| state.version)
                != Some(look.state.version);
        !paused && !held && !is_old
    }

    /// The host as the driver takes it.
    fn as_read(&mut self, replica: usize, look: &Look) -> Option<Host> {
        let mut read = look.host.clone()?;
        let provisioned = &mut self.replicas[replica].provisioned[look.resource];
        if read.state == State::Provisioned {
            *provisioned = Some(read.clone());
        } else if self.driver.mutant == Some(Mutant::ReadyFromOldStatus)
            && let (Some(before), Some(holding)) = (provisioned, look.state.holding())
            && read.belongs_to(&holding.reservation)
        {
            read.state = before.state;
            read.status_image = before.status_image.clone();
        }
        Some(read)
    }

    /// The user-data secret of a claim. One that is there is never overwritten: our own, left by a crash, is used; one that was made
    /// upon an older decision is deleted first, and one that somebody made upon a newer one stands against the claim. Returns
    /// whether it may be written.
    fn make_secret(&mut self, state: &Resource, name: &str) -> Result<bool, String> {
        let Some(holding) = state.holding() else {
            return Ok(true);
        };
        if let Some(found) = self.cluster.secrets.get(name) {
            let any = self.is(Mutant::FormerOwnersSecret);
            match found.decision.cmp(&holding.user_data_of) {
                Ordering::Less if !any => {}
                Ordering::Greater if !any => return Ok(false),
                _ => return Ok(true),
            }
        }
        let key = self.keys.get(&holding.delivery.sequence);
        let key = self
            .cluster
            .render(key.filter(|_| holding.key == TenantKey::InDelivery));
        let secret = Secret {
            reservation: holding.reservation.clone(),
            decision: holding.user_data_of,
            key,
        };
        self.judge.secret_made(state, &secret)?;
        self.cluster.secrets.insert(name.to_owned(), secret);
        Ok(true)
    }

    fn write(&mut self, replica: usize, look: &Look, planned: Planned) -> Verdict {
        let Some(read) = &look.host else {
            return Ok(());
        };
        let Planned {
            reservation, write, ..
        } = &planned;
        let version = look.state.version;
        match self
            .cluster
            .patch(look.resource, read, reservation, write, version)
        {
            Ok(before) => {
                self.tell(|| format!("{write:?} for {reservation}"));
                let truth = self.resource(look.resource).cloned().unwrap_or_default();
                let after = self.cluster.hosts[look.resource].as_ref();
                self.judge.written(look, &planned, (&before, after), &truth)
            }
            Err(refusal) => {
                if matches!(write, Write::Claim { .. }) {
                    self.refused(replica, look, &planned, refusal)?;
                }
                Ok(())
            }
        }
    }

    fn refused(
        &mut self,
        replica: usize,
        look: &Look,
        planned: &Planned,
        refusal: Refusal,
    ) -> Verdict {
        if refusal == Refusal::Conflict {
            self.forget_secret(replica, look.resource, planned);
            return Ok(());
        }
        let command = Command::Observed(Observation::ClaimRefused {
            text: "refused".to_owned(),
        });
        let decision = self.decide(
            replica,
            look.resource,
            look.state.clone(),
            look.host.clone(),
            command,
        );
        if !decision.facts.is_empty() {
            self.append(decision)?;
            self.follow(replica);
        }
        Ok(())
    }

    /// After a claim that failed: the reservation may be over by now, and whoever released its host found no secret yet (R9).
    fn forget_secret(&mut self, replica: usize, resource: usize, planned: &Planned) {
        self.follow(replica);
        let Write::Claim { secret, .. } = &planned.write else {
            return;
        };
        let still_has_it = self.state(replica, resource).is_some_and(|state| {
            state
                .holding()
                .is_some_and(|holding| holding.secret == *secret)
        });
        if !still_has_it {
            self.cluster.delete_secret(secret, &planned.reservation);
        }
    }
}
