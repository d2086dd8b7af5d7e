//! What a reservation system is started with.

use std::net::{Ipv4Addr, SocketAddr};

use jiff::Timestamp;
use serde::Deserialize;

use super::model::{Resource, User, Webhook};
use super::scheduler::SchedulerSettings;
use super::state::State;

/// What [`ReservationSystem::start`](super::ReservationSystem::start) needs to know. As JSON, every field may be left
/// out.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whom to send to.
    pub webhooks: Vec<Webhook>,
    /// Who may be notified.
    pub users: Vec<User>,
    /// What can be booked.
    pub resources: Vec<Resource>,
    /// The number of the first booking. `None` takes the seconds since 1970: the real numbers are never used twice, and
    /// a receiver remembers them beyond our restart.
    pub first_booking_id: Option<i64>,
    /// Whether starts and ends are sent by the clock, and how.
    pub scheduler: Option<SchedulerSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            webhooks: Vec::new(),
            users: Vec::new(),
            resources: Vec::new(),
            first_booking_id: None,
            scheduler: None,
        }
    }
}

impl Settings {
    pub(super) fn state(&self, now: Timestamp) -> State {
        State {
            webhooks: self
                .webhooks
                .iter()
                .map(|webhook| (webhook.id, webhook.clone()))
                .collect(),
            users: self
                .users
                .iter()
                .map(|user| (user.id.clone(), user.clone()))
                .collect(),
            resources: self
                .resources
                .iter()
                .map(|resource| (resource.id, resource.clone()))
                .collect(),
            next_booking: self.first_booking_id.unwrap_or_else(|| now.as_second()),
            ..State::default()
        }
    }
}
