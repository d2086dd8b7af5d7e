//! A replica as a process: it freezes and goes on, and is killed and started.

use super::replica::{LookStep, Replica};
use super::world::{AWAY, Happened, Verdict, World};

impl World {
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
            self.waiting.push(handling.delivery.clone());
        }
    }

    /// Works until a write is due, and stops before it: before it asks whether it may, or so many steps further.
    pub(crate) fn stall(&mut self, replica: usize, resource: usize, further: u32) -> Verdict {
        // An offer, a claim that is due, and what may follow from a reading in between.
        for _ in 0..4 {
            self.follow(replica);
            self.look(replica, resource);
            while let Some(look) = &self.replicas[replica].look {
                match look.step {
                    LookStep::Planned(_) => {
                        self.go_on(replica, further)?;
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
            self.waiting.push(handling.delivery);
        }
        self.replicas[replica] = Replica {
            image: self.configured,
            sites_named: self.sites_named,
            ..Replica::default()
        };
        self.follow(replica);
        // What a snapshot holds is what was folded; the resource that changed last is the one that may differ.
        let last = (self.entries.last()).and_then(|entry| match &entry.happened {
            Happened::ToResource(resource, _) => Some(&self.names[*resource]),
            Happened::ToCapacity(_) => None,
        });
        let ledger = &self.replicas[replica].ledger;
        if let Some((id, state)) = last.and_then(|id| Some((id, ledger.resource(id)?))) {
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
