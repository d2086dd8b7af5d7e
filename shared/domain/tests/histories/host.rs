//! A BareMetalHost and Metal3 behind it, as far as claims and releases go.

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
    /// Of our kind, which does not mean that our ledger knows it.
    Reservation(ReservationId),
    Foreign,
}

/// An image that we did not set.
pub(crate) const FOREIGN_IMAGE: &str = "http://images/foreign.qcow2";

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
    /// Its fence is of another ledger.
    pub(crate) of_another_ledger: bool,
    /// Metal3 was told not to wipe it.
    pub(crate) never_wiped: bool,
    /// It was switched on for the service before Bellhop.
    pub(crate) handed_back: bool,
}

/// One write of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Claim {
        secret: String,
        image: String,
    },
    /// The image goes, and the user data where they are ours.
    Release {
        user_data: bool,
    },
    /// Nothing of ours is on it; the fence alone.
    Fence,
    ClearConsumer,
    /// Our `consumerRef` on a host that somebody else prepared.
    Adopt,
    SwitchOn,
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
            of_another_ledger: false,
            never_wiped: false,
            handed_back: false,
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
            && (!self.online || self.handed_back)
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.is_empty() && self.consumer.is_none()
    }

    pub(crate) fn belongs_to(&self, reservation: &ReservationId) -> bool {
        matches!(&self.consumer, Some(Consumer::Reservation(consumer)) if consumer == reservation)
    }

    pub(crate) fn has_foreign_image(&self) -> bool {
        self.image.as_deref() == Some(FOREIGN_IMAGE)
    }

    /// Takes in a write of ours for `reservation`; `fence` where it carries one.
    pub(crate) fn take(
        &mut self,
        reservation: &ReservationId,
        write: &Write,
        fence: Option<Version>,
    ) {
        match write {
            Write::Claim { secret, image } => {
                self.image = Some(image.clone());
                self.user_data = Some(secret.clone());
                self.consumer = Some(Consumer::Reservation(reservation.clone()));
                self.online = true;
                self.handed_back = false;
                self.owner = Some(reservation.clone());
            }
            Write::Release { user_data } => {
                self.image = None;
                if *user_data {
                    self.user_data = None;
                }
                self.online = false;
                self.handed_back = false;
            }
            Write::Fence => {}
            Write::ClearConsumer => self.consumer = None,
            Write::Adopt => {
                self.consumer = Some(Consumer::Reservation(reservation.clone()));
                self.owner = Some(reservation.clone());
            }
            Write::SwitchOn => {
                self.online = true;
                self.handed_back = true;
            }
        }
        self.of_another_ledger &= fence.is_none();
        self.fence = fence.or(self.fence);
        self.changed();
    }

    /// Somebody else had it prepared.
    pub(crate) fn is_prepared(&mut self, image: &str, user_data: &str, owner: ReservationId) {
        self.image = Some(image.to_owned());
        self.status_image = self.image.clone();
        self.user_data = Some(user_data.to_owned());
        self.online = true;
        self.handed_back = false;
        self.state = State::Provisioned;
        self.owner = Some(owner);
    }

    /// Somebody else takes it back.
    pub(crate) fn is_taken_back(&mut self) {
        self.image = None;
        self.user_data = None;
        self.online = false;
    }

    /// Whether Metal3's next step begins to write the image.
    pub(crate) fn is_about_to_be_prepared(&self) -> bool {
        !self.paused && self.state == State::Available && self.image.is_some() && self.online
    }

    /// One step of Metal3's.
    pub(crate) fn step(&mut self, fails: bool) {
        if self.paused {
            return;
        }
        match self.state {
            State::Available if self.image.is_some() && self.online => {
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
            State::Provisioned if self.image != self.status_image => {
                self.state = State::Deprovisioning
            }
            State::Provisioned if fails => self.error = !self.error,
            State::Deprovisioning => {
                self.state = State::Available;
                self.status_image = None;
                self.error = false;
            }
            // A host that nobody uses shows errors too.
            State::Available if self.image.is_none() && fails != self.error => self.error = fails,
            State::Available | State::Provisioned => return,
        }
        self.changed();
    }

    /// Someone changed it.
    pub(crate) fn changed(&mut self) {
        self.resource_version += 1;
        if self.is_clean() {
            self.owner = None;
        }
    }
}
