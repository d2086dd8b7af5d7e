//! The bookings of one run, what becomes of them, and what operators say meanwhile: a pure function of the seed.

use super::random::Random;
use crate::site::{INES, MARA, NOOR, Person, TOMAS};

/// Who books. The last one's account holds no key.
pub const USERS: [Person; 4] = [MARA, TOMAS, INES, NOOR];
/// The place of the one without a key.
pub const KEYLESS: usize = USERS.len() - 1;
/// By how many milliseconds an extended booking ends later.
pub const EXTENDED_BY: u64 = 1000;
/// By how many milliseconds a booking that is moved to later is.
pub const LATER_BY: u64 = 3000;
/// How many milliseconds longer an operator keeps a host.
pub const KEPT_BY: u64 = 4000;

/// What becomes of a booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its end comes.
    Ends,
    /// It is deleted at that time.
    Deleted,
    /// It goes on when all is over.
    Stays,
    /// Its end does not come: an operator releases the server then.
    Released,
    /// Its end does not come: before it, an operator extends it.
    Kept,
}

/// What its user, or whoever manages it, changes about a booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It ends [`EXTENDED_BY`] later than it was booked.
    Extended,
    /// It begins and ends [`LATER_BY`] later than it was booked.
    Later,
    /// It is moved to this server.
    Moved(i64),
    /// It is given to this user, a place in [`USERS`].
    Given(usize),
}

/// A booking of the plan. Times are milliseconds from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedBooking {
    /// Which server, from 1.
    pub server: i64,
    /// Whose, a place in [`USERS`].
    pub person: usize,
    /// When it is announced, if it is.
    pub announced_at: Option<u64>,
    /// When its start is sent.
    pub start_sent_at: u64,
    /// When it begins, as it was booked.
    pub starts: u64,
    /// When what is changed about it, if anything is.
    pub change: Option<(u64, Change)>,
    /// When it ends, as far as it does, after all changes.
    pub ends: u64,
    /// How.
    pub fate: Fate,
}

/// What an operator says, and takes back some time later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This server's host is not released.
    Hold(i64),
    /// No host is written.
    Pause,
}

/// When it is said, and for how long it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedStanding {
    /// When.
    pub at: u64,
    /// For how long.
    pub lasts: u64,
    /// What.
    pub standing: Standing,
}

/// The bookings of a server, one after the other; there are so many servers.
pub(super) fn bookings(
    random: &mut Random,
    server: i64,
    servers: i64,
    length: u64,
) -> Vec<PlannedBooking> {
    let mut bookings = Vec::new();
    let mut starts = 1500 + random.within(0..1500);
    loop {
        let ends = starts + random.within(2200..6500);
        let is_last = ends + 2500 >= length;
        let booking = booking(random, (server, servers), (starts, ends), is_last);
        // Never overlapping as booked, but for moved ones; the start is sent while the one before still has the server.
        starts = booking.ends + random.within(200..2000);
        bookings.push(booking);
        if is_last {
            return bookings;
        }
    }
}

fn booking(
    random: &mut Random,
    (server, servers): (i64, i64),
    (starts, ends): (u64, u64),
    is_last: bool,
) -> PlannedBooking {
    let fate = match (is_last, random.within(0..100)) {
        (true, _) if server % 2 == 0 => Fate::Stays,
        (_, 0..12) => Fate::Deleted,
        (false, 12..20) => Fate::Released,
        (false, 20..28) => Fate::Kept,
        _ => Fate::Ends,
    };
    let mut place = |places: u64| random.within(0..places);
    let (other_server, other_person) = (place(servers.unsigned_abs()), place(KEYLESS as u64));
    let change = match (fate, place(100)) {
        (Fate::Ends, 0..20) => Some(Change::Extended),
        (Fate::Ends, 20..30) => Some(Change::Later),
        (Fate::Ends, 30..42) => Some(Change::Moved(1 + other_server.cast_signed())),
        (Fate::Ends, 42..50) => Some(Change::Given(as_place(other_person))),
        _ => None,
    };
    let change = change.filter(|change| *change != Change::Moved(server));
    let is_keyless = fate == Fate::Ends && change.is_none() && place(100) < 15;
    let person = if is_keyless {
        KEYLESS
    } else {
        as_place(place(KEYLESS as u64))
    };
    // The real sender is up to five minutes early.
    let start_sent_at = starts - random.within(200..1500);
    PlannedBooking {
        server,
        person,
        announced_at: random
            .chance(50)
            .then(|| start_sent_at.saturating_sub(random.within(100..1000))),
        start_sent_at,
        starts,
        change: change.map(|change| (ends - random.within(1200..2000), change)),
        ends: match change {
            Some(Change::Extended) => ends + EXTENDED_BY,
            Some(Change::Later) => ends + LATER_BY,
            _ => ends,
        },
        fate,
    }
}

fn as_place(number: u64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

/// What operators say in one run: now of one server, now of another, now and then of all.
pub(super) fn standing(random: &mut Random, servers: i64, length: u64) -> Vec<PlannedStanding> {
    let mut said = Vec::new();
    let mut at = 2000 + random.within(0..2000);
    while at + 2000 < length {
        let server = random.within(0..servers.unsigned_abs()).cast_signed() + 1;
        let standing = if random.chance(25) {
            Standing::Pause
        } else {
            Standing::Hold(server)
        };
        let lasts = random.within(1000..5000);
        said.push(PlannedStanding {
            at,
            lasts,
            standing,
        });
        at += lasts + random.within(1000..6000);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::plan::Plan;

    #[test]
    fn of_two_bookings_of_one_server_the_second_may_be_told_of_before_the_first_ends() {
        let plan = Plan::of(42, 300, 6, 3);
        let pairs = plan.bookings.windows(2);
        let of_one_server = pairs.filter(|pair| pair[0].server == pair[1].server);
        let (early, late): (Vec<_>, Vec<_>) =
            of_one_server.partition(|pair| pair[1].start_sent_at < pair[0].ends);
        assert!(early.len() > 20 && late.len() > 20);
        let mut all = early.into_iter().chain(late);
        assert!(all.all(|pair| pair[0].ends < pair[1].starts));
    }

    #[test]
    fn some_servers_are_still_in_use_at_the_end_and_others_not() {
        let plan = Plan::of(42, 30, 4, 3);
        let staying = plan.bookings.iter().filter(|it| it.fate == Fate::Stays);
        assert_eq!(staying.map(|it| it.server).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn a_long_run_has_every_fate_every_change_a_start_without_a_key_and_both_orders() {
        let plan = Plan::of(42, 300, 6, 3);
        let has = |it: &dyn Fn(&PlannedBooking) -> bool| plan.bookings.iter().any(it);
        for fate in [
            Fate::Ends,
            Fate::Deleted,
            Fate::Stays,
            Fate::Released,
            Fate::Kept,
        ] {
            assert!(has(&|it| it.fate == fate), "{fate:?}");
        }
        let changed =
            |fits: fn(Change) -> bool| has(&|it| it.change.is_some_and(|(_, change)| fits(change)));
        assert!(changed(|it| it == Change::Extended) && changed(|it| it == Change::Later));
        assert!(changed(|it| matches!(it, Change::Moved(_))));
        assert!(changed(|it| matches!(it, Change::Given(_))));
        assert!(has(&|it| it.person == KEYLESS));
        let said =
            |standing: fn(Standing) -> bool| plan.standing.iter().any(|it| standing(it.standing));
        assert!(said(|it| it == Standing::Pause) && said(|it| it != Standing::Pause));
    }
}
