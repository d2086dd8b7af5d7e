//! A reservation gets its host, and gives it back.

use jiff::Timestamp;

use super::super::fact::{Adopted, TenantKey, WaitReason};
use super::super::knowledge::{Knowledge, Schedule};
use super::super::resource::{
    Changes, Holding, Occupancy, Phase, Recorded, Release, Reservation, Resource, Stage,
};
use crate::id::{HostRef, ReservationId, Version};

impl Resource {
    pub(super) fn cleaning_seen_off(&mut self, whose: &ReservationId) {
        match &mut self.occupancy {
            Occupancy::Held(holding) if holding.reservation == *whose => {
                holding.cleaning_off = true
            }
            Occupancy::Releasing(release) if release.reservation == *whose => {
                release.cleaning_off = true
            }
            Occupancy::Free | Occupancy::Held(_) | Occupancy::Releasing(_) => {}
        }
    }

    pub(super) fn assigned(
        &mut self,
        reservation: &ReservationId,
        host: &HostRef,
        secret: &str,
        version: Version,
        upon: Version,
    ) {
        let Occupancy::Free = self.occupancy else {
            return;
        };
        let Some(phase) = self.phase_mut(reservation) else {
            return;
        };
        let Phase::Waiting(waiting) = phase else {
            return;
        };
        let holding = Holding {
            reservation: reservation.clone(),
            host: host.clone(),
            secret: secret.to_owned(),
            assigned: version,
            given_upon: upon,
            user_data_of: version,
            terms: waiting.terms.clone(),
            key: waiting.key.clone(),
            delivery: waiting.delivery.clone(),
            stage: Stage::Claiming,
            told: None,
            changes: Changes::default(),
            changed: None,
            cleaning_off: false,
            owner_changed: false,
            hold_until: None,
            adopted_at: None,
            left_for: None,
            adoption_refused: None,
        };
        *phase = Phase::Holding;
        // What an operator allowed the others, or was asked about, was the host as it was before this one had it.
        for known in self.reservations.values_mut() {
            if let Phase::Waiting(waiting) = &mut known.phase {
                waiting.allowed = false;
                if matches!(
                    waiting.told,
                    Some(
                        WaitReason::Operator { .. }
                            | WaitReason::Host { .. }
                            | WaitReason::Paused { .. }
                    )
                ) {
                    waiting.told = None;
                }
            }
        }
        self.occupancy = Occupancy::Held(Box::new(holding));
        self.orders.handed_back = None;
        self.bind_to(reservation);
    }

    /// The host is the one of that reservation's resource from now on, as far as it tells which that is.
    pub(super) fn bind_to(&mut self, holder: &ReservationId) {
        if let Some(named) = self.reservations.get(holder).and_then(Reservation::binding) {
            self.bound_to = Some(named.with_what_was_known(self.bound_to.take()));
        }
    }

    /// A host that our claim never reached is as whoever had it before left it.
    pub(super) fn released(&mut self, reservation: &ReservationId, not_wiped: bool, at: Timestamp) {
        let Occupancy::Releasing(release) = &self.occupancy else {
            return;
        };
        if release.reservation != *reservation {
            return;
        }
        let release = Release::clone(release);
        if not_wiped {
            self.not_wiped = Some(reservation.clone());
        } else if release.claimed {
            self.not_wiped = None;
        }
        self.spend_secret(release, at);
        self.occupancy = Occupancy::Free;
    }

    pub(super) fn adopted(&mut self, adopted: &Adopted, recorded: &Recorded<'_>) {
        let Occupancy::Free = self.occupancy else {
            return;
        };
        let reservation = self.known(&adopted.reservation, recorded);
        if !reservation.is_live() {
            return;
        }
        // When the operator, who looked at the host, said so: it may be decided much later.
        let said_at = adopted.note.at.unwrap_or(recorded.at);
        if let Some(end) = adopted.until {
            reservation.times.learn(Knowledge {
                schedule: Schedule {
                    start: said_at,
                    end,
                },
                updated_at: None,
                said_at,
                said_by: adopted.delivery.id.clone(),
            });
        }
        reservation.site = reservation.site.take().or_else(|| adopted.site.clone());
        // Needed where it is moved to another host.
        let (key, delivery) = match &reservation.phase {
            Phase::Waiting(waiting) | Phase::Postponed(waiting) => {
                (waiting.key.clone(), waiting.delivery.clone())
            }
            Phase::Announced { .. } | Phase::Holding | Phase::Over(_) | Phase::Moved => {
                let reason = "its host was adopted, and no start brought a key".to_owned();
                (TenantKey::Missing { reason }, adopted.delivery.clone())
            }
        };
        reservation.phase = Phase::Holding;
        self.orders.handed_back = None;
        self.occupancy = Occupancy::Held(Box::new(Holding {
            reservation: adopted.reservation.clone(),
            host: adopted.host.clone(),
            secret: adopted.secret.clone(),
            assigned: recorded.version,
            terms: adopted.terms.clone(),
            key,
            delivery,
            stage: Stage::Adopting,
            told: None,
            changes: Changes::default(),
            changed: None,
            cleaning_off: false,
            owner_changed: false,
            hold_until: None,
            adopted_at: Some(said_at),
            left_for: None,
            adoption_refused: None,
            given_upon: recorded.version,
            user_data_of: recorded.version,
        }));
        self.bind_to(&adopted.reservation);
    }

    /// If the reservation is the holder, its host goes back.
    pub(super) fn give_back(&mut self, reservation: &ReservationId, recorded: &Recorded<'_>) {
        if let Occupancy::Held(holding) = &self.occupancy
            && holding.reservation == *reservation
        {
            let release = Release {
                reservation: reservation.clone(),
                host: holding.host.clone(),
                secret: holding.secret.clone(),
                image_url: holding.terms.image.url.clone(),
                claimed: !matches!(holding.stage, Stage::Adopting | Stage::Claiming),
                adopted: holding.adopted_at.is_some(),
                cleaning_off: holding.cleaning_off,
                ordered: recorded.version,
                since: recorded.at,
            };
            self.occupancy = Occupancy::Releasing(Box::new(release));
        }
    }
}
