//! Arithmetic on times that come from outside: it stops at the ends of the calendar instead of failing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `instant` plus `duration`, at most the last instant of the calendar.
pub fn after(instant: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| instant.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}

/// `instant` less `duration`, at least the first instant of the calendar.
pub fn before(instant: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| instant.checked_sub(duration).ok())
        .unwrap_or(Timestamp::MIN)
}

/// How long after `earlier` `later` is; zero where it is not later.
pub fn elapsed(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_far_from_ours_neither_overflows_nor_runs_backwards() {
        assert_eq!(
            after(Timestamp::MAX, Duration::from_secs(1)),
            Timestamp::MAX
        );
        assert_eq!(after(Timestamp::UNIX_EPOCH, Duration::MAX), Timestamp::MAX);
        assert_eq!(
            before(Timestamp::MIN, Duration::from_secs(1)),
            Timestamp::MIN
        );
        assert_eq!(elapsed(Timestamp::MAX, Timestamp::MIN), Duration::ZERO);
    }
}
