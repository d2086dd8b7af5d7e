//! The steps of one replica. It may stop, and be killed, between any two of them: decide, append and acknowledge of a
//! delivery; read, delete a secret, decide, append, make a secret and write of a look at a host.

use bellhop_domain::reservation::{Command, Observation, Occupancy, Resource, Said, TenantKey};

use super::cluster::{Refusal, Secret};
use super::host::{Host, State, Write};
use super::mutant::Mutant;
use super::replica::{Handling, HandlingStep, Look, LookStep, Planned, Replica};
use super::sender;
use super::world::{AWAY, Verdict, World};

impl World {
    // A delivery.

    /// Takes a delivery where the replica has none, and goes so many steps with it.
    pub(crate) fn handle(&mut self, replica: usize, steps: u32, confirmed: bool) -> Verdict {
        if self.replicas[replica].handling.is_none() && !self.waiting.is_empty() {
            self.replicas[replica].handling = Some(Handling {
                sent: self.waiting.remove(0),
                step: HandlingStep::Taken,
                acknowledged: false,
            });
        }
        for _ in 0..steps {
            let Some(handling) = self.replicas[replica].handling.take() else {
                break;
            };
            self.replicas[replica].handling = self.handle_on(replica, handling, confirmed)?;
        }
        Ok(())
    }

    /// Everything that the broker has is handled: by the others who have it in their hands, and by this one.
    pub(crate) fn handle_all(&mut self, replica: usize) -> Verdict {
        for other in 0..self.replicas.len() {
            if self.replicas[other].frozen.is_none() && self.replicas[other].handling.is_some() {
                self.handle(other, u32::MAX, true)?;
            }
        }
        while !self.waiting.is_empty() {
            self.handle(replica, u32::MAX, true)?;
        }
        self.follow(replica);
        Ok(())
    }

    /// One step. Returns what is left to do.
    fn handle_on(
        &mut self,
        replica: usize,
        mut handling: Handling,
        confirmed: bool,
    ) -> Result<Option<Handling>, String> {
        let early = self.is(Mutant::AcknowledgedBeforeAppended);
        match std::mem::replace(&mut handling.step, HandlingStep::Taken) {
            HandlingStep::Taken if early && !handling.acknowledged => handling.acknowledged = true,
            HandlingStep::Taken => {
                let mut word = handling.sent.word.clone();
                if let Said::Start { terms, .. } = &mut word.said {
                    terms.image.url = sender::image(self.replicas[replica].image);
                }
                // Where the reservation stands, in the state that the replica has.
                let place = self.replicas[replica]
                    .ledger
                    .place_of(&word.reservation)
                    .and_then(|place| self.names.iter().position(|name| name == place))
                    .unwrap_or(handling.sent.resource);
                let state = self.state(replica, place).unwrap_or_default();
                let decision = self.decide(place, state, None, Command::Said(Box::new(word)));
                handling.step = if decision.facts.is_empty() {
                    HandlingStep::Recorded
                } else {
                    HandlingStep::Decided(Box::new(decision))
                };
            }
            HandlingStep::Decided(decision) => {
                if self.append(*decision)? {
                    handling.step = HandlingStep::Recorded;
                }
                self.follow(replica);
            }
            HandlingStep::Recorded => {
                let word = &handling.sent.word;
                let known = self
                    .truth
                    .place_of(&word.reservation)
                    .and_then(|place| self.truth.resource(place))
                    .and_then(|resource| resource.reservations.get(&word.reservation));
                self.judge.heard(word, known)?;
                if !confirmed {
                    self.waiting.push(handling.sent);
                }
                return Ok(None);
            }
        }
        Ok(Some(handling))
    }

    // A look at a host.

    /// Takes the state of a resource as the replica has it, and reads the host. What it had in its hands has failed.
    pub(crate) fn look(&mut self, replica: usize, resource: usize) {
        if let Some(Look {
            step: LookStep::SecretMade(planned),
            ..
        }) = self.replicas[replica].look.take()
        {
            self.forget_secret(replica, &planned);
        }
        let host = self.cluster.hosts[resource].clone();
        self.replicas[replica].look = self.state(replica, resource).map(|state| Look {
            resource,
            state,
            host,
            step: LookStep::Read,
        });
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
                let plan = self.driver.plan(&look.state, read.as_ref(), &configured);
                if let Some((reservation, secret)) = &plan.forget {
                    self.cluster.delete_secret(secret, reservation);
                }
                look.step = LookStep::Forgotten(plan);
            }
            LookStep::Forgotten(plan) => {
                if let Some(observation) = plan.observation {
                    let before = look.state.clone();
                    let command = Command::Observed(observation);
                    let decision = self.decide(look.resource, before, look.host.clone(), command);
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
                });
            }
            LookStep::Decided(decision) => {
                self.append(*decision)?;
                self.follow(replica);
                return Ok(None);
            }
            LookStep::Planned(planned) => {
                if let Write::Claim { secret, .. } = &planned.write {
                    self.make_secret(&look.state, secret)?;
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

    /// The user-data secret of a claim. One that is there is never overwritten: our own, left by a crash, is used.
    fn make_secret(&mut self, state: &Resource, name: &str) -> Verdict {
        let Some(holding) = state.holding() else {
            return Ok(());
        };
        if self.cluster.secrets.contains_key(name) {
            return Ok(());
        }
        let key = self.keys.get(&holding.delivery.sequence);
        let key = self
            .cluster
            .render(key.filter(|_| holding.key == TenantKey::InDelivery));
        let secret = Secret {
            reservation: holding.reservation.clone(),
            key,
        };
        self.judge.secret_made(state, &secret)?;
        self.cluster.secrets.insert(name.to_owned(), secret);
        Ok(())
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
                self.judge.written(look, &planned, &before, &truth)
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
            self.forget_secret(replica, planned);
            return Ok(());
        }
        let command = Command::Observed(Observation::ClaimRefused {
            text: "refused".to_owned(),
        });
        let decision = self.decide(
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
    fn forget_secret(&mut self, replica: usize, planned: &Planned) {
        self.follow(replica);
        let Write::Claim { secret, .. } = &planned.write else {
            return;
        };
        let still_has_it = self.replicas[replica]
            .ledger
            .resources()
            .filter_map(|(_, state)| state.holding())
            .any(|holding| holding.reservation == planned.reservation);
        if !still_has_it {
            self.cluster.delete_secret(secret, &planned.reservation);
        }
    }

    /// Whether a holder has this secret, or a release will find it.
    fn is_needed(&self, secret: &str) -> bool {
        self.truth
            .resources()
            .any(|(_, state)| match &state.occupancy {
                Occupancy::Free => false,
                Occupancy::Held(holding) => holding.secret == secret,
                Occupancy::Releasing(release) => release.secret == secret,
            })
    }

    // The process.

    pub(crate) fn append_late(&mut self, replica: usize) -> Verdict {
        if let Some(decision) = self.replicas[replica].fired.take() {
            self.append(decision)?;
            self.follow(replica);
        }
        Ok(())
    }

    pub(crate) fn freeze(&mut self, replica: usize) {
        let frozen = &mut self.replicas[replica];
        if frozen.frozen.is_some() {
            return;
        }
        frozen.frozen = Some(self.now);
        // The broker hands out again what is not acknowledged.
        if let Some(handling) = &frozen.handling
            && !handling.acknowledged
        {
            self.waiting.push(handling.sent.clone());
        }
    }

    /// Works until a write is due, and stops before it.
    pub(crate) fn stall(&mut self, replica: usize, resource: usize, secret_made: bool) -> Verdict {
        // An offer, a claim that is due, and what may follow from a reading in between.
        for _ in 0..4 {
            self.follow(replica);
            self.look(replica, resource);
            while let Some(look) = &self.replicas[replica].look {
                match look.step {
                    LookStep::Planned(_) => {
                        self.go_on(replica, u32::from(secret_made))?;
                        self.freeze(replica);
                        return Ok(());
                    }
                    _ => self.go_on(replica, 1)?,
                }
            }
        }
        Ok(())
    }

    pub(crate) fn wake(&mut self, replica: usize) {
        let now = self.now;
        let frozen = &mut self.replicas[replica];
        if let Some(since) = frozen.frozen.take() {
            frozen.slept |= now - since > AWAY;
        }
    }

    /// A frozen replica goes on: with what it had in its hands, else with a look in the state that it had.
    pub(crate) fn thaw(&mut self, replica: usize, resource: usize, steps: u32) -> Verdict {
        self.wake(replica);
        if self.replicas[replica].look.is_none() {
            self.look(replica, resource);
        }
        self.go_on(replica, steps)
    }

    /// Killed and started: it follows the ledger and handles what waits before it touches a host.
    pub(crate) fn restart(&mut self, replica: usize) -> Verdict {
        self.tell(|| format!("{replica} is killed and started"));
        let killed = std::mem::take(&mut self.replicas[replica]);
        if let Some(handling) = killed.handling.filter(|handling| !handling.acknowledged) {
            self.waiting.push(handling.sent);
        }
        if let Some(LookStep::SecretMade(planned)) = killed.look.map(|look| look.step)
            && let Write::Claim { secret, .. } = planned.write
            && !self.is_needed(&secret)
        {
            self.orphans.insert(secret);
        }
        self.replicas[replica] = Replica {
            image: self.configured,
            ..Replica::default()
        };
        self.follow(replica);
        // What a snapshot holds is what was folded.
        for (id, state) in self.replicas[replica].ledger.resources() {
            let written = serde_json::to_string(state).map_err(|error| error.to_string())?;
            if serde_json::from_str(&written).ok().as_ref() != Some(state) {
                return Err(format!(
                    "R10: {id} is not read as it was written: {written}"
                ));
            }
        }
        self.handle_all(replica)?;
        self.replicas[replica].up_since = self.now;
        Ok(())
    }
}
