//! A BareMetalHost and Metal3 behind it, as far as claims and releases go, with a record of every write.

use bellhop_domain::id::{HostRef, ReservationId, Version};

/// Metal3's `status.provisioning.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Available,
    Provisioning,
    Provisioned,
    Deprovisioning,
}

/// `spec.consumerRef`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Consumer {
    Reservation(ReservationId),
    Foreign,
}

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) uid: u32,
    pub(crate) resource_version: u64,
    pub(crate) image: Option<String>,
    pub(crate) user_data: Option<String>,
    pub(crate) consumer: Option<Consumer>,
    pub(crate) online: bool,
    pub(crate) fence: Option<Version>,
    pub(crate) paused: bool,
    pub(crate) state: State,
    pub(crate) status_image: Option<String>,
    pub(crate) error: bool,
    /// The reservation whose image it carries or carried since it was last clean: what R2 is judged by.
    pub(crate) owner: Option<ReservationId>,
}

/// One write of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Claim {
        secret: String,
    },
    Release,
    /// Nothing of ours is on it; the fence alone.
    Fence,
    ClearConsumer,
}

impl Host {
    pub(crate) fn new(uid: u32) -> Self {
        Self {
            uid,
            resource_version: 1,
            image: None,
            user_data: None,
            consumer: None,
            online: false,
            fence: None,
            paused: false,
            state: State::Available,
            status_image: None,
            error: false,
            owner: None,
        }
    }

    pub(crate) fn reference(&self) -> HostRef {
        HostRef {
            namespace: "m".to_owned(),
            name: "h".to_owned(),
            uid: self.uid.to_string(),
        }
    }

    /// R4's *clean*, without the consumer.
    pub(crate) fn is_empty(&self) -> bool {
        self.image.is_none()
            && self.status_image.is_none()
            && self.state == State::Available
            && !self.error
            && !self.online
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.is_empty() && self.consumer.is_none()
    }

    pub(crate) fn belongs_to(&self, reservation: &ReservationId) -> bool {
        matches!(&self.consumer, Some(Consumer::Reservation(consumer)) if consumer == reservation)
    }

    /// A write of ours for `reservation`, judged by what a write may never do (R2, R4, R6).
    pub(crate) fn write(
        &mut self,
        reservation: &ReservationId,
        write: &Write,
        fence: Version,
    ) -> Result<(), String> {
        if let Some(owner) = &self.owner
            && owner != reservation
        {
            return Err(format!("R2: {write:?} for {reservation} on {owner}'s host"));
        }
        if self.consumer == Some(Consumer::Foreign) {
            return Err(format!("R6: {write:?} for {reservation} on a foreign host"));
        }
        if self.fence.is_some_and(|there| there > fence) {
            return Err(format!("{write:?} with an older fence than there is"));
        }
        match write {
            Write::Claim { secret } => {
                if !self.is_clean() {
                    return Err(format!("R4: {reservation} claims a host that is not clean"));
                }
                self.image = Some(super::sender::IMAGE.to_owned());
                self.user_data = Some(secret.clone());
                self.consumer = Some(Consumer::Reservation(reservation.clone()));
                self.online = true;
                self.owner = Some(reservation.clone());
            }
            Write::Release => {
                self.image = None;
                self.user_data = None;
                self.online = false;
            }
            Write::Fence => {}
            Write::ClearConsumer => {
                if !self.is_empty() {
                    return Err(format!("{reservation} lets go of a host that is not clean"));
                }
                self.consumer = None;
            }
        }
        self.fence = Some(fence);
        self.changed();
        Ok(())
    }

    /// One step of Metal3's.
    pub(crate) fn step(&mut self, fails: bool) -> Result<(), String> {
        if self.paused {
            return Ok(());
        }
        match self.state {
            State::Available if self.image.is_some() && self.online => {
                if let Some(Consumer::Reservation(consumer)) = &self.consumer
                    && self.user_data.as_ref() != Some(&secret_of(consumer, self.uid))
                {
                    return Err(format!(
                        "R9: {consumer} is prepared with another's user data"
                    ));
                }
                self.error = false;
                self.state = State::Provisioning;
            }
            State::Provisioning if self.image.is_none() => self.state = State::Deprovisioning,
            State::Provisioning if fails => {
                self.error = true;
                // A host whose provisioning failed passes through `available` with the image still in its spec.
                self.state = State::Available;
            }
            State::Provisioning => {
                self.state = State::Provisioned;
                self.status_image = self.image.clone();
                self.error = false;
            }
            State::Provisioned if self.image.is_none() => self.state = State::Deprovisioning,
            State::Provisioned if fails => self.error = !self.error,
            State::Deprovisioning => {
                self.state = State::Available;
                self.status_image = None;
                self.error = false;
            }
            State::Available if self.image.is_none() && self.error => self.error = false,
            State::Available | State::Provisioned => return Ok(()),
        }
        self.changed();
        Ok(())
    }

    /// Someone changed it.
    pub(crate) fn changed(&mut self) {
        self.resource_version += 1;
        if self.is_clean() {
            self.owner = None;
        }
    }
}

/// The name of a reservation's user-data secret on a host.
pub(crate) fn secret_of(reservation: &ReservationId, uid: u32) -> String {
    format!("{reservation}-{uid}")
}
