//! Where the hosts of a reservation's site are.

use super::super::command::SiteJudgement;
use super::super::fact::{DeliveryRef, Fact, FailureReason, MovedIn, WaitReason};
use super::super::rehoming::Rehoming;
use super::super::resource::Reservation;
use super::Decision;
use crate::id::{ReservationId, SiteId};

impl Decision<'_> {
    /// A reservation comes from another namespace: nothing but that is another, so its user is told nothing of it.
    pub(super) fn rehomed(&mut self, rehoming: &Rehoming) {
        let reservation = &rehoming.announced.reservation;
        let is_here = self
            .resource
            .reservations
            .get(reservation)
            .is_some_and(|known| known.is_live() || known.outcome().is_some());
        if is_here {
            return;
        }
        self.add(Fact::ReservationMovedIn(Box::new(MovedIn {
            from: rehoming.from.clone(),
            announced: rehoming.announced.clone(),
            started: rehoming.started.clone(),
            site_named: rehoming.site_named,
            rehomed: true,
        })));
        if rehoming.postponed {
            self.postpone(reservation);
        } else {
            self.tell_who_is_before_if_waiting(reservation);
        }
    }

    /// Somebody said, or nobody did, what an unsettled reservation's site is to us.
    pub(super) fn site_judged(&mut self, reservation: &ReservationId, judgement: &SiteJudgement) {
        if !self.is_unsettled(reservation) {
            return;
        }
        match judgement {
            SiteJudgement::Unclear => self.tell_why(reservation.clone(), WaitReason::Site),
            SiteJudgement::Here => {
                self.add(Fact::SiteSettled {
                    reservation: reservation.clone(),
                });
                self.tell_who_is_before_if_waiting(reservation);
            }
            SiteJudgement::NotServed { text } => {
                self.fail(reservation, FailureReason::NotServed { text: text.clone() });
            }
        }
    }

    /// Nobody sends reservations of one site alone where deliveries of another come too, whatever those are about.
    pub(super) fn site_seen(&mut self, site: &SiteId, delivery: &DeliveryRef) {
        if !self.resource.site_seen {
            self.add(Fact::SiteSeen {
                site: site.clone(),
                delivery: delivery.clone(),
            });
        }
    }

    pub(super) fn is_unsettled(&self, reservation: &ReservationId) -> bool {
        self.resource
            .reservations
            .get(reservation)
            .is_some_and(Reservation::is_unsettled)
    }
}
