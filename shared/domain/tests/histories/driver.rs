//! The driver as the provisioner's is: it takes the state, reads the host, decides, appends; and only where nothing follows
//! does it write what `desired` asks for.

use bellhop_domain::id::{ReservationId, Source, Version};
use bellhop_domain::reservation::{
    ClaimedHost, Desired, Holding, HostError, HostLeft, Observation, Progress, Release, Resource,
    TenantKey, desired,
};

use super::host::{Consumer, Host, State, Write};
use super::mutant::Mutant;

/// What one look leads to, in this order: a secret is deleted, what was read is decided upon, the host is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// The secret that nothing needs any more, and whose it is.
    pub(crate) forget: Option<(ReservationId, String)>,
    pub(crate) observation: Option<Observation>,
    /// Only where nothing follows from that.
    pub(crate) then: Option<Observation>,
    /// Only where nothing follows from the observation.
    pub(crate) write: Option<(ReservationId, Write)>,
}

impl Plan {
    fn observe(observation: Observation) -> Self {
        Self {
            observation: Some(observation),
            ..Self::default()
        }
    }

    fn write(reservation: &ReservationId, write: Write) -> Self {
        Self {
            write: Some((reservation.clone(), write)),
            ..Self::default()
        }
    }
}

/// A driver with something wrong in it, or none.
#[derive(Clone, Copy)]
pub(crate) struct Driver {
    pub(crate) mutant: Option<Mutant>,
}

impl Driver {
    fn is(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// What follows from a state and the host that was read. `configured`: the image of the process's configuration; `paused`:
    /// an operator stopped all writes.
    pub(crate) fn plan(
        self,
        state: &Resource,
        host: Option<&Host>,
        configured: &str,
        paused: impl Fn() -> bool,
    ) -> Plan {
        if self.is(Mutant::UnknownHolderReleased)
            && let Some(lost) = host.and_then(|host| unknown_holder(state, host))
        {
            return Plan::write(&lost, Write::Release { user_data: true });
        }
        match desired(state) {
            Desired::Nothing => Plan::default(),
            Desired::Wait | Desired::Offer { .. } if paused() => {
                let text = "paused".to_owned();
                Plan::observe(Observation::Paused { text })
            }
            Desired::Adopt(holding) => self.adopt(state, holding, the_same(host, holding)),
            Desired::SwitchOn => self.switch_on(state, host),
            Desired::Wait => match host {
                Some(_) => Plan::default(),
                None => Plan::observe(no_host()),
            },
            Desired::Offer { next } => Plan::observe(self.offer(state, next, host)),
            Desired::Claim(holding) => {
                self.claim(state, holding, the_same(host, holding), configured)
            }
            Desired::Keep(holding) => self.keep(holding, the_same(host, holding), configured),
            Desired::Release(release) => self.release(
                state,
                release,
                host.filter(|host| host.reference() == release.host),
            ),
        }
    }

    fn fence(self, host: &Host) -> Option<Version> {
        host.fence.filter(|_| !self.is(Mutant::FenceOff))
    }

    fn is_newer(self, state: &Resource, host: &Host) -> bool {
        self.fence(host).is_some_and(|fence| fence > state.version)
    }

    fn adopt(self, state: &Resource, holding: &Holding, host: Option<&Host>) -> Plan {
        let Some(host) = host else {
            return Plan::observe(Observation::HostGone);
        };
        let newer = self.is_newer(state, host);
        let ours = host.belongs_to(&holding.reservation);
        if !newer && !host.of_another_ledger && ours {
            return Plan::observe(Observation::Claimed(self.read(host, holding)));
        }
        let is_as_listed = host.image.as_deref() == Some(holding.terms.image.url.as_str())
            && host.user_data.as_ref() == Some(&holding.secret);
        if host.paused || newer || !(host.consumer.is_none() || ours) || !is_as_listed {
            return Plan::default();
        }
        if self.is(Mutant::AdoptionPreparesAnew) {
            return Plan::write(
                &holding.reservation,
                Write::Claim {
                    secret: holding.secret.clone(),
                    image: holding.terms.image.url.clone(),
                },
            );
        }
        Plan::write(&holding.reservation, Write::Adopt)
    }

    /// The host of a resource that nobody has is on.
    fn switch_on(self, state: &Resource, host: Option<&Host>) -> Plan {
        let Some(host) = host else {
            return Plan::default();
        };
        if host.online {
            return Plan::observe(Observation::SwitchedOn {
                host: host.reference(),
            });
        }
        if !self.is_claimable(state, host) && !self.is(Mutant::HandedBackWhoeverHasIt) {
            return Plan::default();
        }
        // Nobody has it, so there is no reservation that it is written for.
        Plan::write(&nobody(), Write::SwitchOn)
    }

    /// Whether a host may be claimed (R4, R6).
    fn is_claimable(self, state: &Resource, host: &Host) -> bool {
        let clean = host.is_empty() || self.is(Mutant::UncleanHostClaimed);
        let nobody_s = host.consumer.is_none() || self.is(Mutant::ForeignHostTaken);
        let open = !host.of_another_ledger && !self.is_newer(state, host);
        clean && nobody_s && !host.paused && open
    }

    fn offer(self, state: &Resource, next: &ReservationId, host: Option<&Host>) -> Observation {
        match host {
            None => no_host(),
            Some(host) if self.is_claimable(state, host) => Observation::Clean {
                host: host.reference(),
                secret: self.secret_name(state, next, host),
            },
            Some(_) => not_clean(),
        }
    }

    /// One of its own each time that a host is given to a reservation.
    fn secret_name(self, state: &Resource, next: &ReservationId, host: &Host) -> String {
        if self.is(Mutant::FormerOwnersSecret) {
            return format!("{next}-{}", host.uid);
        }
        format!("{next}-{}-{}", host.uid, state.version)
    }

    fn claim(
        self,
        state: &Resource,
        holding: &Holding,
        host: Option<&Host>,
        configured: &str,
    ) -> Plan {
        let Some(host) = host else {
            return Plan::observe(Observation::HostGone);
        };
        let written = self
            .fence(host)
            .is_some_and(|fence| fence >= holding.assigned);
        let open = !host.of_another_ledger && !self.is_newer(state, host);
        if open && (host.belongs_to(&holding.reservation) || written) {
            return Plan::observe(Observation::Claimed(self.read(host, holding)));
        }
        let may_have_one = holding.key == TenantKey::InDelivery || holding.terms.without_key;
        let claimable = self.is_claimable(state, host);
        if claimable && !may_have_one {
            return Plan::observe(Observation::ClaimRefused {
                text: "no key".to_owned(),
            });
        }
        Plan {
            observation: Some(Observation::Unclaimed),
            then: (!claimable && !self.is_newer(state, host)).then(not_clean),
            write: claimable.then(|| self.claim_write(holding, configured)),
            ..Plan::default()
        }
    }

    fn claim_write(self, holding: &Holding, configured: &str) -> (ReservationId, Write) {
        let image = if self.is(Mutant::ConfiguredImageClaimed) {
            configured
        } else {
            &holding.terms.image.url
        };
        let write = Write::Claim {
            secret: holding.secret.clone(),
            image: image.to_owned(),
        };
        (holding.reservation.clone(), write)
    }

    fn keep(self, holding: &Holding, host: Option<&Host>, configured: &str) -> Plan {
        let Some(host) = host else {
            return Plan::observe(Observation::HostGone);
        };
        let again = self.is(Mutant::ImageSetAgain) && host.image.is_none() && !host.paused;
        let taken_off = change(host, holding).is_some() && host.image.is_none();
        let cleaning_off = taken_off && host.never_wiped && !holding.cleaning_off;
        let claimed = Observation::Claimed(self.read(host, holding));
        let (observation, then) = if cleaning_off && !self.is(Mutant::CleaningReadAtTheEnd) {
            (Observation::CleaningOff, Some(claimed))
        } else {
            (claimed, None)
        };
        Plan {
            observation: Some(observation),
            then,
            write: again.then(|| self.claim_write(holding, configured)),
            ..Plan::default()
        }
    }

    fn read(self, host: &Host, holding: &Holding) -> ClaimedHost {
        let changed = change(host, holding);
        let error = host.error && !self.is(Mutant::ErrorsUntold);
        ClaimedHost {
            progress: self.progress(host, holding, changed.as_deref()),
            error: error.then(|| HostError {
                kind: "provisioning error".to_owned(),
                message: "no disk".to_owned(),
            }),
            changed,
        }
    }

    fn progress(self, host: &Host, holding: &Holding, changed: Option<&str>) -> Progress {
        let suspended = |reason: &str| match self.mutant {
            Some(Mutant::TimeoutRunsAlways) => Progress::Working,
            _ => Progress::Suspended {
                reason: reason.to_owned(),
            },
        };
        if changed.is_some() {
            return suspended("changed by someone else");
        }
        let image = Some(&holding.terms.image.url);
        let is_ours = host.status_image.as_ref() == image || self.is(Mutant::ReadyFromOldStatus);
        if host.state == State::Provisioned && is_ours {
            return Progress::Ready { address: None };
        }
        if host.paused {
            return suspended("paused");
        }
        if host.state == State::Available {
            return suspended("not begun yet");
        }
        Progress::Working
    }

    fn release(self, state: &Resource, release: &Release, host: Option<&Host>) -> Plan {
        let forget = (!self.is(Mutant::SecretKept))
            .then(|| (release.reservation.clone(), release.secret.clone()));
        let done = |left| Plan {
            forget: forget.clone(),
            ..Plan::observe(Observation::Released {
                left,
                not_wiped: host.is_some_and(|host| host.never_wiped)
                    && (release.claimed || !self.is(Mutant::UnseenClaimTakenForWiped)),
            })
        };
        let Some(host) = host else {
            return done(HostLeft::Gone);
        };
        if self.is_newer(state, host) {
            return Plan::observe(Observation::Releasing);
        }
        let ours = host.belongs_to(&release.reservation);
        let is_image_ours = host.image.as_deref() == Some(release.image_url.as_str());
        let is_user_data_ours = host.user_data.as_ref() == Some(&release.secret);
        let given_back = match self.mutant {
            Some(Mutant::FenceOff) => !is_image_ours && !is_user_data_ours,
            _ => host.fence.is_some_and(|fence| fence >= release.ordered),
        };
        let image_left = release.claimed && !given_back && is_image_ours;
        let left_over = (image_left && host.consumer.is_none()) || is_user_data_ours;
        let waited = host.consumer.is_some() || !release.claimed || host.is_empty();
        if given_back && !ours && !left_over && waited {
            return done(HostLeft::Off);
        }
        if given_back && self.is(Mutant::ReleaseNotWaitedFor) {
            return done(HostLeft::Off);
        }
        let blocked = || Plan {
            forget: (forget.clone()).filter(|_| !is_user_data_ours && !release.adopted),
            ..Plan::observe(not_clean())
        };
        let cleaning_off = || {
            let unknown = host.never_wiped && !release.cleaning_off;
            (unknown && !self.is(Mutant::CleaningReadAtTheEnd)).then_some(Observation::CleaningOff)
        };
        if host.of_another_ledger {
            return blocked();
        }
        let somebody_s = match &host.consumer {
            None => false,
            Some(Consumer::Foreign) => true,
            Some(Consumer::Reservation(_)) => !ours,
        };
        if host.paused || (somebody_s && !self.is(Mutant::ForeignHostTaken)) {
            return blocked();
        }
        let reservation = &release.reservation;
        let was_claimed = ours || left_over || release.claimed;
        if !was_claimed && host.image.is_some() {
            return blocked();
        }
        if !was_claimed {
            // Our claim never reached it. The fence must, or a claim that slept could still be written.
            return Plan::write(reservation, Write::Fence);
        }
        if host.image.is_some() && (given_back || !is_image_ours) {
            return blocked();
        }
        if is_image_ours || is_user_data_ours || !given_back {
            let user_data = is_user_data_ours;
            return Plan {
                observation: cleaning_off(),
                ..Plan::write(reservation, Write::Release { user_data })
            };
        }
        if !host.is_empty() {
            return Plan {
                then: Some(Observation::Releasing),
                observation: cleaning_off(),
                ..Plan::default()
            };
        }
        Plan::write(reservation, Write::ClearConsumer)
    }
}

/// Whom a write is for that nobody has the host for.
fn nobody() -> ReservationId {
    ReservationId::new(Source::new("nobody"), "nobody")
}

fn the_same<'a>(host: Option<&'a Host>, holding: &Holding) -> Option<&'a Host> {
    host.filter(|host| host.reference() == holding.host)
}

fn not_clean() -> Observation {
    Observation::NotClean {
        text: "not clean".to_owned(),
    }
}

fn no_host() -> Observation {
    Observation::NoHost {
        text: "no host".to_owned(),
    }
}

/// The reservation that a host says has it, where no fact names that one.
fn unknown_holder(state: &Resource, host: &Host) -> Option<ReservationId> {
    match &host.consumer {
        Some(Consumer::Reservation(consumer)) => (!state.reservations.contains_key(consumer)
            && host.image.is_some())
        .then(|| consumer.clone()),
        _ => None,
    }
}

/// What someone else changed of that which we had set.
fn change(host: &Host, holding: &Holding) -> Option<String> {
    let what = if !host.belongs_to(&holding.reservation) {
        "consumerRef"
    } else if host.image.as_deref() != Some(holding.terms.image.url.as_str()) {
        "image"
    } else if host.user_data.as_ref() != Some(&holding.secret) {
        "userData"
    } else {
        return None;
    };
    Some(what.to_owned())
}
