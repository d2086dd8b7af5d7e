//! Pieces of texts: times, and words from outside that are made fit to be printed in one line.

use bellhop_reservation_system::cut;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How much of a resource's name a text shows, in UTF-16 units; the sender allows 100.
pub(super) const NAME_LIMIT: usize = 100;
/// How much of somebody else's explanation a notification shows, so that what to do next is never cut off.
pub(super) const REASON_LIMIT: usize = 180;

/// A time for people: to the minute, and with the zone in words, since the reader's is not known.
pub(super) fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M UTC")
        .to_string()
}

/// A text from outside in one line of at most `limit` UTF-16 units: no control characters, no runs of spaces.
pub(super) fn one_line(text: &str, limit: usize) -> String {
    cut(&spaced(text), limit).into_owned()
}

/// A reason in somebody else's words, in one line as well: without a full stop at its end, since ours follows.
pub(super) fn reason(text: &str, limit: usize) -> String {
    cut(spaced(text).trim_end_matches('.'), limit).into_owned()
}

fn spaced(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c.is_whitespace());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// A time span for people.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds / 60),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_to_the_minute_in_utc() {
        let at = "2026-12-03T18:30:59.5+01:00".parse().unwrap();
        assert_eq!(time(at), "2026-12-03 17:30 UTC");
    }

    #[test]
    fn a_text_from_outside_becomes_one_clean_line() {
        assert_eq!(one_line(" a\nb\t\u{1b}[31m  c. ", 50), "a b [31m c.");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }

    #[test]
    fn a_reason_loses_its_full_stop_and_a_name_keeps_all_of_its_own() {
        assert_eq!(reason("it failed.. \n", 50), "it failed");
        assert_eq!(
            reason("no host answers to a.b", 50),
            "no host answers to a.b"
        );
        assert_eq!(one_line("..", 50), "..");
        assert_eq!(one_line("node.", 50), "node.");
    }

    #[test]
    fn a_time_span_is_said_in_the_fitting_unit() {
        assert_eq!(span(90), "90 seconds");
        assert_eq!(span(2700), "45 minutes");
    }
}
