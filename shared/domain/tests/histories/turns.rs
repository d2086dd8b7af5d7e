//! Whose turn it is, where no more than so many hosts may be prepared at once; and where the hosts of a site are, once somebody
//! has said so. A replica compares what its ledger says with what it has seen of hosts, and may stop before it appends what
//! follows.

use std::num::NonZeroU32;

use bellhop_domain::capacity::{self, Limits};
use bellhop_domain::id::{ResourceId, Version};
use bellhop_domain::preparing::{Sight, asks, claims};
use bellhop_domain::reservation::{
    Command, Observation, Phase, Resource, SiteJudgement, WaitReason,
};

use super::driver::Plan;
use super::mutant::Mutant;
use super::replica::Look;
use super::world::{Entry, HOSTS, Happened, Verdict, World};

/// What follows for the places, and the version of the capacity that this was decided upon.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) upon: Version,
    pub(crate) facts: Vec<capacity::Fact>,
}

impl World {
    fn limits(&self) -> Option<Limits> {
        Limits::new(NonZeroU32::new(self.preparing_max?), None)
    }

    /// A look's plan, by whether it is its turn: a clean host is given away only with a place.
    pub(crate) fn by_turn(&mut self, replica: usize, look: &Look, mut plan: Plan) -> Plan {
        let Some(limits) = self.limits().filter(|_| !self.is(Mutant::CapacityIgnored)) else {
            return plan;
        };
        let Some(request) = asks(&self.names[look.resource], &look.state) else {
            return plan;
        };
        let sights = &mut self.replicas[replica].sights;
        match &plan.observation {
            Some(Observation::Clean { .. }) => {
                sights[look.resource] = Some(Sight::Clean(look.state.version));
            }
            Some(Observation::NotClean { .. }) => sights[look.resource] = Some(Sight::Obstructed),
            _ => return plan,
        }
        let capacity = self.replicas[replica].ledger.capacity();
        let has_a_place = capacity.has(&request.asker);
        plan.observation = match plan.observation {
            Some(clean @ Observation::Clean { .. }) if has_a_place => Some(clean),
            Some(Observation::Clean { .. }) => {
                capacity
                    .crowd(request.group.as_ref(), &limits)
                    .map(|preparing| Observation::NoPlace {
                        preparing: preparing as u32,
                    })
            }
            Some(Observation::NotClean { text }) if has_a_place => Some(Observation::PlaceUnused {
                reason: WaitReason::Host { text },
                upon: look.state.version,
            }),
            Some(Observation::Paused { text }) if has_a_place => Some(Observation::PlaceUnused {
                reason: WaitReason::Paused { text },
                upon: look.state.version,
            }),
            other => other,
        };
        plan
    }

    /// Decides whose place goes back and who gets one, in what the replica knows, which may be old.
    pub(crate) fn compare_places(&mut self, replica: usize) {
        let Some(limits) = self.limits() else {
            return;
        };
        let Self {
            replicas, names, ..
        } = self;
        let replica = &mut replicas[replica];
        let sight = |id: &ResourceId| {
            let resource = names.iter().position(|name| name == id);
            let seen = resource.and_then(|resource| *replica.sights.get(resource)?);
            seen.unwrap_or(Sight::Unseen)
        };
        let capacity = replica.ledger.capacity();
        let facts = capacity::decide(capacity, &claims(&replica.ledger, sight), &limits);
        replica.places = (!facts.is_empty()).then(|| Places {
            upon: capacity.version(),
            facts,
        });
    }

    /// Appends what was decided on the places, unless the capacity has changed since.
    pub(crate) fn append_places(&mut self, replica: usize) {
        let Some(Places { upon, facts }) = self.replicas[replica].places.take() else {
            return;
        };
        if self.truth.capacity().version() != upon {
            return;
        }
        self.tell(|| format!("places: {facts:?}"));
        let version = Version(self.entries.len() as u64 + 1);
        self.truth.apply_to_capacity(version, &facts);
        self.entries.push(Entry {
            at: self.now,
            happened: Happened::ToCapacity(facts),
        });
        self.follow(replica);
    }

    /// What became clear of the sites is said of those whose starts were accepted before that.
    pub(crate) fn settle_sites(&mut self, replica: usize) -> Verdict {
        let judgement = if self.replicas[replica].sites_named {
            SiteJudgement::Here
        } else {
            SiteJudgement::Unclear
        };
        for (on, reservation, _) in self.replicas[replica].ledger.unsettled() {
            let Some(resource) = self.names[..HOSTS].iter().position(|name| *name == on) else {
                continue;
            };
            let Some(before) = self.state(replica, resource) else {
                continue;
            };
            let command = Command::SiteJudged {
                reservation,
                judgement: judgement.clone(),
            };
            let decision = self.decide(replica, resource, before, None, command);
            if !decision.facts.is_empty() {
                self.append(decision)?;
                self.follow(replica);
            }
        }
        Ok(())
    }

    /// The state as a replica takes it that does not care whether a start is settled.
    pub(crate) fn as_if_settled(&self, mut state: Resource) -> Resource {
        if self.is(Mutant::UnsettledServed) {
            for known in state.reservations.values_mut() {
                if let Phase::Waiting(waiting) = &mut known.phase {
                    waiting.unsettled = false;
                }
            }
        }
        state
    }
}
