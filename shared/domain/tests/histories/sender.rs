//! The sender of webhooks as the real one behaves (docs/contracts): two services that know one table of bookings, do not
//! wait for each other and never send anything again.
//!
//! - a start up to five minutes early, once, twice (it died before it had noted the first) or never;
//! - an end up to a minute after the booking's end, once, twice or never; again at the new end if it was extended;
//! - creations, changes (of the times, the user, the resource) and deletions at once, with the booking's `updatedAt`; after a deletion nothing more.
//!
//! Bookings of one resource never overlap, but where one is moved to it. There are two sites, whose resources have the same names.

use bellhop_domain::id::{DeliveryId, ReservationId, Source, UserId, WebhookId};
use bellhop_domain::reservation::{
    DeliveryRef, FailureReason, Image, Knowledge, Said, Schedule, TenantKey, Terms, Word,
};
use jiff::Timestamp;
use proptest::prelude::*;

/// The image that is configured for the `number`-th time.
pub(crate) fn image(number: u32) -> String {
    format!("http://images/{number}.qcow2")
}

/// `second` of the test's calendar.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_796_284_800 + second).expect("within the calendar")
}

/// What happens to one booking at the sender's. All times in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Booking {
    pub(crate) resource: usize,
    /// Of which of the sender's sites. Each has resources of its own, with the same names.
    site: usize,
    gap_before: i64,
    length: i64,
    early: i64,
    announced_before: Option<i64>,
    starts: usize,
    ends: usize,
    deleted_after: Option<i64>,
    changes: Vec<Change>,
    /// Whether the first start brings a key, and whether the second does.
    keys: (bool, bool),
    /// Whether its host may be prepared without one.
    without_key: bool,
    /// Whether its start asks for an image that there isn't.
    unservable: bool,
    /// Whether the sender says no number of its resource.
    numberless: bool,
}

/// The booking's end becomes another one, both counted from its start; its start may be moved to later, and another user may
/// get it.
#[derive(Clone, Debug)]
struct Change {
    after: i64,
    new_length: i64,
    later: Option<i64>,
    user: bool,
    /// Whether it is moved to the other resource.
    moves: bool,
}

/// One delivery as it leaves the sender.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: i64,
    pub(crate) resource: usize,
    pub(crate) word: Word,
}

pub(crate) fn bookings() -> impl Strategy<Value = Vec<Booking>> {
    prop::collection::vec(booking(), 1..6)
}

fn booking() -> impl Strategy<Value = Booking> {
    let which = (
        prop_oneof![4 => Just(0_usize), 1 => Just(1)],
        prop_oneof![7 => Just(0_usize), 1 => Just(1)],
    );
    let change = (
        -3600..15_000_i64,
        60..18_000_i64,
        prop::option::weighted(0.3, 60..7200_i64),
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.15),
    )
        .prop_map(|(after, new_length, later, user, moves)| Change {
            after,
            new_length,
            later,
            user,
            moves,
        });
    (
        (
            which,
            prop_oneof![1..300_i64, 300..3600_i64],
            prop_oneof![60..1800_i64, 1800..14_400_i64],
            0..=300_i64,
            prop::option::of(600..7200_i64),
        ),
        (
            prop_oneof![1 => Just(0_usize), 8 => Just(1), 1 => Just(2)],
            prop_oneof![3 => Just(0_usize), 6 => Just(1), 2 => Just(2)],
            prop::option::weighted(0.25, -900..15_000_i64),
            prop::collection::vec(change, 0..3),
            (prop::bool::weighted(0.9), prop::bool::weighted(0.95)),
            prop::bool::weighted(0.1),
            (prop::bool::weighted(0.05), prop::bool::weighted(0.05)),
        ),
    )
        .prop_map(
            |(
                ((resource, site), gap_before, length, early, announced_before),
                (starts, ends, deleted_after, changes, keys, without_key, (unservable, numberless)),
            )| Booking {
                resource,
                site,
                gap_before,
                length,
                early,
                announced_before,
                starts,
                ends,
                deleted_after,
                changes,
                keys,
                without_key,
                unservable,
                numberless,
            },
        )
}

/// A booking of an hour that gets another owner a quarter of an hour after its start, and whose host may be prepared without a key.
pub(crate) fn booking_that_changes_hands() -> Booking {
    let change = Change {
        after: 900,
        new_length: 3600,
        later: None,
        user: true,
        moves: false,
    };
    Booking {
        resource: 0,
        site: 0,
        gap_before: 1,
        length: 3600,
        early: 0,
        announced_before: Some(600),
        starts: 1,
        ends: 1,
        deleted_after: None,
        changes: vec![change],
        keys: (true, true),
        without_key: true,
        unservable: false,
        numberless: false,
    }
}

/// Bookings that stay on their resources.
pub(crate) fn bookings_that_stay() -> impl Strategy<Value = Vec<Booking>> {
    bookings().prop_map(|mut bookings| {
        for change in bookings.iter_mut().flat_map(|booking| &mut booking.changes) {
            change.moves = false;
        }
        bookings
    })
}

/// The sender's number of a site's resource.
pub(crate) fn number(site: usize, resource: usize) -> i64 {
    31 + resource as i64 + 100 * site as i64
}

/// Whose each booking is at first.
pub(crate) fn first_owner() -> UserId {
    owner(0)
}

fn owner(number: u32) -> UserId {
    UserId::new(format!("u{number}"))
}

/// The reservation that the sender's `index`-th booking is.
pub(crate) fn reservation(index: usize) -> ReservationId {
    ReservationId::new(Source::new("s"), index.to_string())
}

/// All that the sender sends about these bookings, in the order in which it does.
pub(crate) fn deliveries(bookings: &[Booking]) -> Vec<Sent> {
    // One after the other on each site's resource, the first some time after the beginning of the test's calendar.
    let mut free_from = [[7200_i64; 2]; 2];
    let starts: Vec<i64> = bookings
        .iter()
        .map(|booking| {
            let free_from = &mut free_from[booking.site][booking.resource];
            let start = *free_from + booking.gap_before;
            *free_from = start + booking.length;
            start
        })
        .collect();
    let mut sent: Vec<Sent> = Vec::new();
    for (index, booking) in bookings.iter().enumerate() {
        let next_start = bookings
            .iter()
            .zip(&starts)
            .skip(index + 1)
            .find(|(next, _)| (next.site, next.resource) == (booking.site, booking.resource))
            .map_or(i64::MAX, |(_, start)| *start);
        Row {
            reservation: reservation(index),
            booking,
            start: starts[index],
            end: starts[index] + booking.length,
            updated: starts[index] - booking.announced_before.unwrap_or(600),
            next_start,
            user: 0,
            resource: booking.resource,
            sent: &mut sent,
        }
        .live();
    }
    sent.sort_by_key(|sent| sent.at);
    sent
}

/// The booking as it stands in the sender's table.
struct Row<'a> {
    reservation: ReservationId,
    booking: &'a Booking,
    start: i64,
    end: i64,
    updated: i64,
    next_start: i64,
    user: u32,
    resource: usize,
    sent: &'a mut Vec<Sent>,
}

impl Row<'_> {
    fn live(mut self) {
        let booking = self.booking;
        let created = self.updated;
        if booking.announced_before.is_some() {
            self.send(created, Some(created), Said::Announced);
        }
        let deleted = booking
            .deleted_after
            .map_or(i64::MAX, |after| (self.start + after).max(created + 1));
        let first = self.start;
        let mut changes: Vec<(i64, &Change)> = booking
            .changes
            .iter()
            .map(|change| (first + change.after, change))
            .filter(|(instant, _)| *instant > created && *instant < deleted)
            .collect();
        changes.sort_by_key(|(instant, _)| *instant);
        let mut started = false;
        for (instant, change) in changes {
            self.until(instant, &mut started);
            let end = (first + change.new_length).min(self.next_start);
            if end > self.start {
                self.end = end;
            }
            let later = self.start + change.later.unwrap_or(0);
            if later < self.end {
                self.start = later;
            }
            self.user += u32::from(change.user);
            if change.moves {
                self.resource = 1 - self.resource;
            }
            self.updated = instant;
            self.send(instant, Some(instant), Said::Changed);
        }
        self.until(deleted, &mut started);
        if deleted < i64::MAX {
            self.send(deleted, Some(self.updated), Said::Deleted);
        }
    }

    /// Sends what the scheduler sends before `instant`, with the row as it is.
    fn until(&mut self, instant: i64, started: &mut bool) {
        let start = (self.start - self.booking.early).max(self.updated);
        if !*started && start < instant {
            *started = true;
            // Nor does it look back for a start: one that was moved to where it has passed is never sent.
            let starts = if self.start < self.updated {
                0
            } else {
                self.booking.starts
            };
            for copy in 0..starts {
                let (first, second) = self.booking.keys;
                let key = if [first, second][copy] {
                    TenantKey::InDelivery
                } else {
                    TenantKey::Missing {
                        reason: "no key".to_owned(),
                    }
                };
                let said = if self.booking.unservable {
                    let text = "no such image".to_owned();
                    let reason = FailureReason::ImageNotOffered { text };
                    Said::UnservableStart { key, reason }
                } else {
                    let terms = terms(self.booking.without_key);
                    Said::Start { key, terms }
                };
                self.send(start + 30 * copy as i64, None, said);
            }
        }
        // The scheduler looks back one minute: an end moved further into the past is never sent.
        if self.end < instant && self.end >= self.updated - 60 {
            for copy in 0..self.booking.ends {
                self.send(
                    self.end.max(self.updated) + 20 + 60 * copy as i64,
                    None,
                    Said::End,
                );
            }
        }
    }

    fn send(&mut self, instant: i64, updated: Option<i64>, said: Said) {
        let id = DeliveryId::new(format!("d{}", self.sent.len()));
        self.sent.push(Sent {
            at: instant,
            resource: self.resource,
            word: Word {
                reservation: self.reservation.clone(),
                said,
                knowledge: Knowledge {
                    schedule: Schedule {
                        start: at(self.start),
                        end: at(self.end),
                    },
                    updated_at: updated.map(at),
                    said_at: at(instant),
                    said_by: id.clone(),
                },
                webhook: WebhookId::new("12"),
                delivery: DeliveryRef {
                    sequence: self.sent.len() as u64 + 1,
                    id,
                },
                user: Some(owner(self.user)),
                resource_number: (!self.booking.numberless)
                    .then(|| number(self.booking.site, self.resource)),
                site: Some(super::orders::site(self.booking.site)),
                site_named: false,
                only_site: true,
                payload: String::new(),
            },
        });
    }
}

fn terms(without_key: bool) -> Terms {
    Terms {
        image: Image {
            name: None,
            url: image(0),
            checksum: None,
            checksum_type: None,
            format: None,
        },
        login: "prognose".to_owned(),
        without_key,
    }
}
