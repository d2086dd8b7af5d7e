//! All that the reservation system knows, behind one lock that is never held across an `await`.

use std::collections::BTreeMap;

use jiff::{Timestamp, Unit};

use super::ReservationSystemError as Error;
use super::fault::{Endpoint, FaultKind, Faults};
use super::model::{Booking, BookingChange, NewBooking, Resource, User, Webhook};
use super::record::{Notification, Received, Sent, WebhookLog};

/// The most records of each kind that are kept; the oldest go first. A demo may run for weeks.
const RECORDS: usize = 10_000;

#[derive(Default)]
pub(super) struct State {
    pub(super) webhooks: BTreeMap<u64, Webhook>,
    pub(super) users: BTreeMap<String, User>,
    pub(super) resources: BTreeMap<i64, Resource>,
    pub(super) bookings: BTreeMap<i64, Booking>,
    pub(super) next_booking: i64,
    pub(super) faults: Faults,
    pub(super) sent: Records<Sent>,
    pub(super) received: Records<Received>,
    pub(super) notifications: Records<Notification>,
    pub(super) webhook_logs: Records<WebhookLog>,
}

impl State {
    pub(super) fn booking(&self, id: i64) -> Result<&Booking, Error> {
        self.bookings.get(&id).ok_or(Error::UnknownBooking(id))
    }

    /// A booking, with what it books.
    pub(super) fn booking_and_resource(&self, id: i64) -> Result<(&Booking, &Resource), Error> {
        let booking = self.booking(id)?;
        let resource = self.resources.get(&booking.resource_id);
        Ok((
            booking,
            resource.ok_or_else(|| Error::UnknownResource(booking.resource_id.to_string()))?,
        ))
    }

    pub(super) fn webhook(&self, id: u64) -> Result<&Webhook, Error> {
        self.webhooks.get(&id).ok_or(Error::UnknownWebhook(id))
    }

    fn resource_named(&self, name: &str) -> Result<&Resource, Error> {
        let named = self
            .resources
            .values()
            .find(|resource| resource.name == name);
        named.ok_or_else(|| Error::UnknownResource(name.to_owned()))
    }

    pub(super) fn book(&mut self, new: NewBooking, now: Timestamp) -> Result<Booking, Error> {
        let booking = Booking {
            id: self.next_booking,
            title: new.title,
            description: new.description,
            resource_id: self.resource_named(&new.resource_name)?.id,
            user_id: new.user_id,
            start: new.start,
            end: new.end,
            custom_parameters: new.custom_parameters,
            created_at: stored(now),
            updated_at: stored(now),
            start_notified_at: None,
            end_sent: false,
        };
        self.next_booking += 1;
        self.bookings.insert(booking.id, booking.clone());
        Ok(booking)
    }

    pub(super) fn change(
        &mut self,
        id: i64,
        change: BookingChange,
        now: Timestamp,
    ) -> Result<(), Error> {
        let resource_id = match &change.resource_name {
            Some(name) => Some(self.resource_named(name)?.id),
            None => None,
        };
        let booking = self
            .bookings
            .get_mut(&id)
            .ok_or(Error::UnknownBooking(id))?;
        booking.title = change.title.unwrap_or_else(|| booking.title.clone());
        booking.start = change.start.unwrap_or(booking.start);
        booking.end = change.end.unwrap_or(booking.end);
        booking.resource_id = resource_id.unwrap_or(booking.resource_id);
        booking.user_id = change.user_id.unwrap_or_else(|| booking.user_id.clone());
        booking.custom_parameters = change
            .custom_parameters
            .or_else(|| booking.custom_parameters.clone());
        // A moved end is an end that is still to come.
        booking.end_sent = booking.end_sent && booking.end <= now;
        booking.updated_at = stored(now);
        Ok(())
    }

    /// The event processor writes this whether or not anyone heard.
    pub(super) fn mark_start_notified(&mut self, id: i64, now: Timestamp) {
        if let Some(booking) = self.bookings.get_mut(&id) {
            booking.start_notified_at = Some(stored(now));
            booking.updated_at = stored(now);
        }
    }

    pub(super) fn mark_end_sent(&mut self, id: i64) {
        if let Some(booking) = self.bookings.get_mut(&id) {
            booking.end_sent = true;
        }
    }

    pub(super) fn next_fault(&mut self, endpoint: Endpoint) -> Option<FaultKind> {
        self.faults.next(endpoint)
    }
}

/// The database keeps microseconds.
fn stored(now: Timestamp) -> Timestamp {
    now.round(Unit::Microsecond).unwrap_or(now)
}

/// The latest records of one kind.
pub(super) struct Records<T> {
    latest: std::collections::VecDeque<T>,
    count: usize,
}

impl<T> Default for Records<T> {
    fn default() -> Self {
        Self {
            latest: std::collections::VecDeque::new(),
            count: 0,
        }
    }
}

impl<T: Clone> Records<T> {
    pub(super) fn push(&mut self, record: T) {
        if self.latest.len() == RECORDS {
            self.latest.pop_front();
        }
        self.latest.push_back(record);
        self.count += 1;
    }

    /// How many there ever were.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn to_vec(&self) -> Vec<T> {
        self.latest.iter().cloned().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.latest.iter()
    }

    pub(super) fn last_mut(&mut self, is: impl Fn(&T) -> bool) -> Option<&mut T> {
        self.latest.iter_mut().rev().find(|record| is(record))
    }
}
