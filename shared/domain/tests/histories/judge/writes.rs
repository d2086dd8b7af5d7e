//! Writes to hosts, and what Metal3 makes of them.

use bellhop_domain::id::ReservationId;
use bellhop_domain::reservation::{Occupancy, Resource};

use super::super::cluster::{Secret, is_somebody_else_s};
use super::super::host::{Consumer, Host, Write};
use super::super::replica::{Look, Planned};
use super::super::sender::at;
use super::super::world::Verdict;
use super::orders::{changes_nothing, switched_on};
use super::{Judge, Record, ensure};

impl Judge {
    /// Judges a write that the API server took. `before`: the host as it was then, whatever was read; `after`: as it is; `truth`: the resource as
    /// it was then, whatever was known.
    pub(crate) fn written(
        &mut self,
        look: &Look,
        planned: &Planned,
        (before, after): (&Host, Option<&Host>),
        truth: &Resource,
    ) -> Verdict {
        let Planned {
            reservation, write, ..
        } = planned;
        self.obeys_the_orders(look, planned)?;
        if *write == Write::SwitchOn {
            return switched_on(before, write);
        }
        let key = (look.resource, reservation.clone());
        let record = self.records.entry(key).or_default();
        is_ours_to_write(record, planned, before)?;
        match write {
            Write::Adopt | Write::SwitchOn => {
                record.taken_over = true;
                changes_nothing(before, after)
            }
            Write::Claim { image, .. } => {
                let fixed = self.fixed.get(reservation);
                ensure!(
                    fixed == Some(image),
                    "R12: {reservation} gets {image}, and its first accepted start fixed {fixed:?}"
                );
                record.written = Some(image.clone());
                let known = look.state.reservations.get(reservation);
                record.claimed_for = known.and_then(|known| known.user.clone());
                claimed(record, look, planned, before, truth)
            }
            Write::Release { .. } => {
                record.unwiped |= before.never_wiped;
                released(record, reservation, before)
            }
            Write::ClearConsumer => {
                ensure!(
                    before.is_empty(),
                    "R4: {reservation} lets go of a host that is not clean"
                );
                Ok(())
            }
            Write::Fence => Ok(()),
        }
    }
}

impl Judge {
    /// R9: whose key is in a secret that is made for the holder: its owner's as far as its maker knows, or nobody's.
    pub(crate) fn secret_made(&self, state: &Resource, secret: &Secret) -> Verdict {
        let known = state.reservations.get(&secret.reservation);
        let owner = known.and_then(|known| known.user.as_ref());
        ensure!(
            secret.key.as_ref().is_none_or(
                |key| key.reservation == secret.reservation && key.user.as_ref() == owner
            ),
            "R9: {owner:?} of {} gets a secret with {:?}",
            secret.reservation,
            secret.key
        );
        Ok(())
    }

    /// R9: judges what Metal3 prepares a host with; only it reads the user data. Whose they may be is told by the `consumerRef`
    /// (where somebody else took that away: by what the host carries). Without any, at most after the end: then the secret may be
    /// gone already.
    pub(crate) fn prepared(
        &self,
        resource: usize,
        host: &Host,
        secret: Option<&Secret>,
        truth: Option<&Resource>,
    ) -> Verdict {
        let consumer = match &host.consumer {
            Some(Consumer::Reservation(consumer)) => Some(consumer),
            Some(Consumer::Foreign) => None,
            None => host.owner.as_ref(),
        };
        let Some(owner) = consumer.filter(|owner| !is_somebody_else_s(owner)) else {
            return Ok(());
        };
        let record = self.records.get(&(resource, owner.clone()));
        let claimed_for = record.and_then(|record| record.claimed_for.as_ref());
        let holds = truth
            .and_then(Resource::holding)
            .is_some_and(|holding| holding.reservation == *owner);
        match secret {
            // Somebody else had made it, and it was adopted with its host.
            Some(secret) if is_somebody_else_s(&secret.reservation) => {}
            Some(secret) => ensure!(
                secret.reservation == *owner
                    && (secret.key.as_ref()).is_none_or(|key| key.user.as_ref() == claimed_for),
                "R9: the host of {owner}, claimed for {claimed_for:?}, is prepared with {secret:?}"
            ),
            None => ensure!(
                !holds,
                "R9: the host of {owner} is prepared without user data"
            ),
        }
        Ok(())
    }
}

/// R2, R6 and R13: nobody else has the host.
fn is_ours_to_write(record: &Record, planned: &Planned, host: &Host) -> Verdict {
    let Planned {
        reservation, write, ..
    } = planned;
    let is_adopted =
        (record.adopted.as_ref()).is_some_and(|adopted| adopted.host == host.reference());
    let is_taken_over = is_adopted && !matches!(write, Write::Claim { .. });
    ensure!(
        !host.of_another_ledger || is_taken_over,
        "R13: {write:?} for {reservation} on the host of a holder that no fact names"
    );
    match &host.owner {
        None => {}
        Some(owner) if owner == reservation => {}
        // They gave it back, and Metal3 has not finished yet.
        Some(owner)
            if is_somebody_else_s(owner)
                && (&host.image, &host.consumer) == (&None, &None)
                && matches!(write, Write::Fence | Write::Release { .. }) => {}
        Some(owner) if is_somebody_else_s(owner) => ensure!(
            is_taken_over,
            "R6: {write:?} for {reservation} on a host that somebody else prepared"
        ),
        Some(owner) => ensure!(
            false,
            "R2: {write:?} for {reservation} on the host of {owner}"
        ),
    }
    ensure!(
        host.consumer != Some(Consumer::Foreign),
        "R6: {write:?} for {reservation} on a foreign host"
    );
    ensure!(
        !host.has_foreign_image(),
        "R6: {write:?} for {reservation} on a host with an image that we did not set"
    );
    ensure!(
        !host.paused,
        "R6: {write:?} for {reservation} on a paused host"
    );
    Ok(())
}

fn claimed(
    record: &mut Record,
    look: &Look,
    planned: &Planned,
    host: &Host,
    truth: &Resource,
) -> Verdict {
    let id = &planned.reservation;
    record.claims += 1;
    ensure!(record.claims == 1, "R12: the image of {id} is set twice");
    ensure!(
        record.readies == 0,
        "R12: {id} was ready before its image was set"
    );
    ensure!(
        host.is_clean(),
        "R4: {id} claims a host that is not clean: {host:?}"
    );
    ensure!(
        record.host.as_ref() == Some(&host.reference()),
        "R12: {id} claims a host that no fact gives to it"
    );
    // A writer that sleeps between its last look at the clock and the write can't be stopped by anything: its own clock counts.
    let in_time = look
        .state
        .reservations
        .get(id)
        .and_then(|known| known.schedule())
        .is_some_and(|schedule| schedule.end > at(planned.at))
        || record
            .extended_until
            .is_some_and(|until| until > at(planned.at));
    ensure!(in_time, "R3: {id} is prepared after its end");
    let still_there = match &truth.occupancy {
        Occupancy::Held(holding) => holding.reservation == *id,
        Occupancy::Releasing(release) => release.reservation == *id,
        Occupancy::Free => false,
    };
    ensure!(still_there, "R2: {id}, whose host was released, claims one");
    Ok(())
}

/// R13: a release takes away what we wrote.
fn released(record: &Record, id: &ReservationId, host: &Host) -> Verdict {
    ensure!(
        host.image.is_none() || host.image == record.written,
        "R13: the release of {id} takes away {:?}, and we wrote {:?}",
        host.image,
        record.written
    );
    Ok(())
}
