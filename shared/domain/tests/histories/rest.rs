//! The end of a history: everything is mended, heard and waited for, and what is left is judged.

use bellhop_domain::reservation::{Occupancy, Phase};

use super::action::Action;
use super::world::{HOSTS, Verdict, World};

impl World {
    /// Handles everything that has come, and nothing else.
    pub(crate) fn hear_all(&mut self) -> Verdict {
        self.advance(self.now, false)?;
        self.handle_all(0)
    }

    /// Everything that was broken is mended, everything on its way arrives, and time goes on until nothing happens any more;
    /// once more when the replica that slept all the while has woken.
    pub(crate) fn settle(&mut self) -> Verdict {
        self.wake(0);
        self.hear_all()?;
        self.sites_named = true;
        self.replicas[0].sites_named = true;
        self.judge.last_orders_stand(&self.truth, &self.names)?;
        self.cluster.mend();
        self.operators_mend();
        self.rest()?;
        self.wake(1);
        self.go_on(1, u32::MAX)?;
        self.handle(1, u32::MAX, true)?;
        self.append_late(1)?;
        self.append_places(1);
        for resource in 0..HOSTS {
            self.look(1, resource);
            self.go_on(1, u32::MAX)?;
        }
        self.rest()?;
        self.operators_take_back_what_nobody_else_does();
        self.rest()?;
        self.judge_rest()
    }

    fn rest(&mut self) -> Verdict {
        for _ in 0..400 {
            self.come_to_rest()?;
            let arrives = self.coming.first().map(|(arrives, _)| *arrives);
            match [arrives, self.due()].into_iter().flatten().min() {
                Some(next) => self.advance(next.max(self.now), true)?,
                None => return Ok(()),
            }
        }
        Err("R5: it never comes to rest".to_owned())
    }

    fn come_to_rest(&mut self) -> Verdict {
        self.handle_all(0)?;
        self.sweep(0)?;
        loop {
            let before = self.entries.len();
            for resource in 0..HOSTS {
                self.work_to_the_end(resource)?;
            }
            // Who is done leaves its place to the next.
            if self.preparing_max.is_none() || before == self.entries.len() {
                return Ok(());
            }
        }
    }

    fn work_to_the_end(&mut self, resource: usize) -> Verdict {
        loop {
            let before = self.mark(resource);
            self.act(Action::Work {
                replica: 0,
                resource,
            })?;
            self.metal3(resource, false)?;
            if before == self.mark(resource) {
                return Ok(());
            }
        }
    }

    /// How far the ledger and a host are.
    fn mark(&self, resource: usize) -> (usize, Option<u64>) {
        let host = self.cluster.hosts[resource].as_ref();
        (self.entries.len(), host.map(|host| host.resource_version))
    }

    fn judge_rest(&self) -> Verdict {
        for resource in 0..HOSTS {
            let Some(state) = self.resource(resource) else {
                continue;
            };
            for (id, reservation) in &state.reservations {
                let is_over = matches!(reservation.phase, Phase::Over(_) | Phase::Moved);
                if !is_over {
                    return Err(format!("R7: {id} never ends: {:?}", reservation.phase));
                }
            }
            if state.occupancy != Occupancy::Free {
                return Err(format!("R5: held for ever: {:?}", state.occupancy));
            }
            let host = self.cluster.hosts[resource].as_ref();
            let off = host.is_some_and(|host| !host.online || host.handed_back);
            if !off {
                return Err(format!("R9: left on: {host:?}"));
            }
            if !host.is_some_and(|host| host.is_clean() && host.user_data.is_none()) {
                return Err(format!("R13: left like this: {host:?}"));
            }
        }
        if let Some(name) = self.cluster.secrets.keys().next() {
            return Err(format!("R9: the secret {name} is left"));
        }
        self.judge.last_orders_stand(&self.truth, &self.names)?;
        self.judge.at_the_end(self.taken.iter())
    }
}
