//! The Kubernetes API with its hosts and secrets: what it refuses, what others do there, and what Metal3 makes of it.

use std::collections::BTreeMap;

use bellhop_domain::id::{ReservationId, Source, UserId, Version};

use super::action::Action;
use super::host::{Consumer, FOREIGN_IMAGE, Host, State, Write};
use super::mutant::Mutant;

/// A user-data secret.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    /// For whom it was made, as its annotations say.
    pub(crate) reservation: ReservationId,
    /// The decision that it follows from, as they say too.
    pub(crate) decision: Version,
    /// Whose key is in it; none where nobody's is.
    pub(crate) key: Option<Key>,
}

/// The key that a delivery brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) reservation: ReservationId,
    pub(crate) user: Option<UserId>,
}

/// Why the API server takes no write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The host is not the one, or not as, that was read: 409, 422 or 404.
    Conflict,
    /// It never will take it.
    Invalid,
}

pub(crate) struct Cluster {
    pub(crate) hosts: [Option<Host>; 2],
    pub(crate) secrets: BTreeMap<String, Secret>,
    refuses_next_claim: [bool; 2],
    uids: u32,
    /// How many reservations were lost with a ledger.
    lost: u32,
    /// The key in the user data that was rendered first.
    rendered: Option<Key>,
    mutant: Option<Mutant>,
}

impl Cluster {
    pub(crate) fn new(mutant: Option<Mutant>) -> Self {
        Self {
            hosts: [Some(Host::new(1)), Some(Host::new(2))],
            secrets: BTreeMap::new(),
            refuses_next_claim: [false; 2],
            uids: 2,
            lost: 0,
            rendered: None,
            mutant,
        }
    }

    /// A write of ours upon what was read. Returns the host as it was before, where the API server takes it.
    pub(crate) fn patch(
        &mut self,
        resource: usize,
        read: &Host,
        reservation: &ReservationId,
        write: &Write,
        fence: Version,
    ) -> Result<Host, Refusal> {
        let Some(host) = &mut self.hosts[resource] else {
            return Err(Refusal::Conflict);
        };
        let unchanged = read.uid == host.uid && read.resource_version == host.resource_version;
        if !unchanged && self.mutant != Some(Mutant::PreconditionOff) {
            return Err(Refusal::Conflict);
        }
        let is_claim = matches!(write, Write::Claim { .. });
        if is_claim && std::mem::take(&mut self.refuses_next_claim[resource]) {
            return Err(Refusal::Invalid);
        }
        let before = host.clone();
        let fence = (self.mutant != Some(Mutant::FenceOff)).then_some(fence);
        host.take(reservation, write, fence);
        Ok(before)
    }

    /// Deletes a secret, where it is this reservation's.
    pub(crate) fn delete_secret(&mut self, name: &str, reservation: &ReservationId) {
        if self
            .secrets
            .get(name)
            .is_some_and(|secret| secret.reservation == *reservation)
        {
            self.secrets.remove(name);
        }
    }

    /// The key that user data get which are rendered with `key`.
    pub(crate) fn render(&mut self, key: Option<&Key>) -> Option<Key> {
        let key = key?;
        let first = self.rendered.get_or_insert_with(|| key.clone());
        match self.mutant {
            Some(Mutant::FormerTenantsKey) => Some(first.clone()),
            _ => Some(key.clone()),
        }
    }

    /// The secret that a host's user data are in, where there is one of that name.
    pub(crate) fn user_data_of(&self, host: &Host) -> Option<&Secret> {
        self.secrets.get(host.user_data.as_ref()?)
    }

    /// What someone else does.
    pub(crate) fn others(&mut self, action: Action) {
        match action {
            Action::Pause { resource } => self.change(resource, |host| host.paused = !host.paused),
            Action::Foreign { resource } => self.change(resource, |host| match host.consumer {
                None if host.is_clean() => host.consumer = Some(Consumer::Foreign),
                Some(Consumer::Foreign) => host.consumer = None,
                _ => {}
            }),
            Action::ForeignImage { resource } => self.change(resource, |host| {
                if host.is_clean() {
                    host.image = Some(FOREIGN_IMAGE.to_owned());
                    host.online = true;
                } else if host.consumer.is_none() && host.has_foreign_image() {
                    host.image = None;
                    host.online = false;
                }
            }),
            Action::LostClaim { resource } => {
                self.lost += 1;
                let lost = lost_reservation(self.lost);
                self.change(resource, |host| {
                    if host.is_clean() {
                        host.consumer = Some(Consumer::Reservation(lost.clone()));
                        host.is_prepared("http://images/lost.qcow2", "lost", lost);
                        host.of_another_ledger = true;
                        host.fence = None;
                    }
                });
            }
            Action::ServiceBefore { resource } => self.service_before(resource),
            Action::NeverWipe { resource } => {
                self.change(resource, |host| host.never_wiped = !host.never_wiped)
            }
            Action::RemoveImage { resource } => {
                self.change_claimed(resource, |host| host.image = None)
            }
            Action::ReplaceImage { resource } => self.change_claimed(resource, |host| {
                host.image = Some(FOREIGN_IMAGE.to_owned());
            }),
            Action::RemoveConsumer { resource } => {
                self.change_claimed(resource, |host| host.consumer = None)
            }
            Action::DeleteHost { resource } => {
                if self.is_of_the_service_before(resource) {
                    self.service_before(resource);
                }
                self.hosts[resource] = match self.hosts[resource] {
                    Some(_) => None,
                    None => Some(self.new_host()),
                }
            }
            Action::RefuseClaim { resource } => self.refuses_next_claim[resource] = true,
            _ => {}
        }
    }

    /// An operator mends all that others did: hosts go on, are given back by whoever had them, and exist.
    pub(crate) fn mend(&mut self) {
        self.refuses_next_claim = [false; 2];
        for resource in 0..self.hosts.len() {
            if self.hosts[resource].is_none() {
                self.hosts[resource] = Some(self.new_host());
            }
            self.change(resource, |host| {
                host.paused = false;
                if host.consumer == Some(Consumer::Foreign) {
                    host.consumer = None;
                }
                if host.has_foreign_image() {
                    host.image = None;
                    host.online = host.online && host.owner.is_some();
                }
                if host.of_another_ledger {
                    host.consumer = None;
                    host.of_another_ledger = false;
                    host.is_taken_back();
                }
            });
            if self.is_of_the_service_before(resource) {
                self.service_before(resource);
            }
        }
    }

    /// A host as the service before Bellhop has it.
    pub(crate) fn is_of_the_service_before(&self, resource: usize) -> bool {
        self.hosts[resource].as_ref().is_some_and(|host| {
            host.consumer.is_none()
                && host.user_data == Some(secret_of_the_service_before(resource))
                && host.image.as_deref() == Some(IMAGE_BEFORE)
        })
    }

    /// It prepares a free host, or takes one back. It never deletes a secret; who moves away from it does.
    fn service_before(&mut self, resource: usize) {
        let name = secret_of_the_service_before(resource);
        if self.is_of_the_service_before(resource) {
            self.secrets.remove(&name);
            self.change(resource, Host::is_taken_back);
        } else if (self.hosts[resource].as_ref())
            .is_some_and(|host| host.is_clean() && host.user_data.is_none())
        {
            let secret = Secret {
                reservation: before(),
                decision: Version(0),
                key: None,
            };
            self.secrets.insert(name.clone(), secret);
            self.change(resource, |host| {
                host.is_prepared(IMAGE_BEFORE, &name, before());
            });
        }
    }

    /// Deletes the secret of a host that was adopted: somebody else made it.
    pub(crate) fn delete_adopted_secret(&mut self, name: &str) {
        if self
            .secrets
            .get(name)
            .is_some_and(|secret| secret.reservation == before())
        {
            self.secrets.remove(name);
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

    /// Changes a host that carries a claim of ours.
    fn change_claimed(&mut self, resource: usize, change: impl FnOnce(&mut Host)) {
        self.change(resource, |host| {
            if matches!(host.consumer, Some(Consumer::Reservation(_)))
                && !host.of_another_ledger
                && host.state != State::Deprovisioning
            {
                change(host);
            }
        });
    }
}

const IMAGE_BEFORE: &str = "http://images/before.qcow2";

/// The name is the same for each of its users.
fn secret_of_the_service_before(resource: usize) -> String {
    format!("host{resource}-userdata")
}

/// Whoever had a host by the service before Bellhop.
fn before() -> ReservationId {
    ReservationId::new(Source::new("before"), "someone")
}

/// A reservation of a ledger that was lost.
fn lost_reservation(number: u32) -> ReservationId {
    ReservationId::new(Source::new("lost"), number.to_string())
}

/// Whether a host with this owner was prepared by somebody else: no fact names that one, unless it was adopted.
pub(crate) fn is_somebody_else_s(owner: &ReservationId) -> bool {
    ["before", "lost"].contains(&owner.source().as_str())
}
