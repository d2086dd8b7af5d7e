//! How long to wait before the next try. Pure: the number of failures, what the receiver asked for and the chance come in
//! as arguments.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// The longest that a receiver may ask us to wait. A `Retry-After` of days is a mistake, or a way to silence us.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Within what bounds pauses grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// The first one.
    pub min: Duration,
    /// The longest one.
    pub max: Duration,
}

impl Pauses {
    /// The pause after `failures` failures in a row (the first is 1). It doubles from `min` to `max`; then between
    /// nothing and half of it is taken off, by `chance` (0 to 1), so that those that failed together don't return
    /// together. A wait that the receiver asked for is kept, up to [`LONGEST_RETRY_AFTER`].
    pub fn pause(self, failures: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let grown = self
            .min
            .saturating_mul(1 << doublings)
            .min(self.max.max(self.min));
        let jittered = grown.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0);
        jittered.max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }
}

/// Reads a `Retry-After`: a number of seconds, or an HTTP date (RFC 9110, section 10.2.3). Anything else counts as absent.
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pauses() -> impl Strategy<Value = Pauses> {
        (1u64..10_000, 0u64..1_000_000).prop_map(|(min, more)| Pauses {
            min: Duration::from_millis(min),
            max: Duration::from_millis(min + more),
        })
    }

    proptest! {
        #[test]
        fn a_pause_stays_within_its_bounds(
            pauses in pauses(), failures in any::<u32>(), chance in 0.0..=1.0,
        ) {
            let pause = pauses.pause(failures, None, chance);
            prop_assert!(pause >= pauses.min / 2 && pause <= pauses.max);
        }

        #[test]
        fn pauses_never_shrink_while_failures_go_on(
            pauses in pauses(), failures in 1..u32::MAX, chance in 0.0..=1.0,
        ) {
            let (one, next) = (pauses.pause(failures, None, chance), pauses.pause(failures + 1, None, chance));
            prop_assert!(next >= one);
        }

        #[test]
        fn the_second_pause_is_longer_than_the_first_whatever_the_chance(
            min in 1u64..10_000, chances in (0.0..1.0, 0.0..1.0),
        ) {
            let pauses = Pauses { min: Duration::from_millis(min), max: Duration::from_secs(3600) };
            prop_assert!(pauses.pause(2, None, chances.1) > pauses.pause(1, None, chances.0) / 2);
            prop_assert!(pauses.pause(3, None, chances.1) > pauses.pause(1, None, chances.0));
        }

        #[test]
        fn what_the_receiver_asks_for_is_kept_up_to_an_hour(
            pauses in pauses(), failures in any::<u32>(), chance in 0.0..=1.0, asked in any::<u64>(),
        ) {
            let asked = Duration::from_secs(asked);
            let pause = pauses.pause(failures, Some(asked), chance);
            prop_assert!(pause >= asked.min(LONGEST_RETRY_AFTER));
            prop_assert!(pause <= pauses.max.max(LONGEST_RETRY_AFTER));
        }

        #[test]
        fn any_retry_after_is_read_without_a_panic(value in ".{0,40}") {
            parse_retry_after(&value, Timestamp::UNIX_EPOCH);
        }
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(parse_retry_after(" 120 ", now), seconds(120));
        assert_eq!(
            parse_retry_after("Mon, 23 Nov 2026 10:02:00 GMT", now),
            seconds(120)
        );
        assert_eq!(
            parse_retry_after("Mon, 23 Nov 2026 09:00:00 GMT", now),
            seconds(0)
        );
        assert_eq!(
            parse_retry_after("99999999999999999999999", now),
            seconds(u64::MAX)
        );
        for unreadable in ["", "soon", "-5", "1.5", "23 Nov"] {
            assert_eq!(parse_retry_after(unreadable, now), None, "{unreadable}");
        }
    }
}
