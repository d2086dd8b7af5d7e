//! What was answered 2xx is in the log.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Finding, booking_of};
use crate::site::text;

/// Of the bodies that were answered 2xx those that are not stored.
pub(in crate::chaos) fn lost(
    accepted: &[(Timestamp, String)],
    stored: &BTreeSet<String>,
) -> Vec<Finding> {
    accepted
        .iter()
        .filter(|(_, body)| !stored.contains(body))
        .map(|(at, body)| Finding {
            check: "delivery lost",
            at: Some(*at),
            what: in_short(body),
        })
        .collect()
}

/// What it says of which booking; all of it where it can't be read.
fn in_short(body: &str) -> String {
    serde_json::from_str(body).map_or_else(
        |_| body.to_owned(),
        |read| format!("{} of {:?}", text(&read, "/eventType"), booking_of(&read)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_delivery_that_is_not_in_the_log_is_found() {
        let at = Timestamp::UNIX_EPOCH;
        let accepted = [(at, "one".to_owned()), (at, "two".to_owned())];
        let stored = BTreeSet::from(["one".to_owned(), "three".to_owned()]);
        let lost = lost(&accepted, &stored);
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].what, "two");
    }
}
