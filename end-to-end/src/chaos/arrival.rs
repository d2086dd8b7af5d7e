//! A report as the receiver got it.

use bellhop_simulator::reservation_system::{Endpoint, FaultKind, Received};
use jiff::Timestamp;

use crate::site::text;

/// Which booking, and to whom: `notification` or `webhook-log`.
pub(super) type About = (i64, &'static str);

/// A report that the receiver took, whether or not its answer arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    /// When.
    pub(super) at: Timestamp,
    /// About what, and to whom.
    pub(super) about: About,
    /// `PROVISIONING_COMPLETED` and so on; of the webhook log `EVENT_START` and so on.
    pub(super) event_type: String,
    /// Whom it tells; empty in the webhook log.
    pub(super) user: String,
    /// The text that a person reads.
    pub(super) says: String,
    /// Which notifier sent it.
    pub(super) notifier: Option<usize>,
    /// Whether the receiver was made to lose the answer.
    pub(super) answer_lost: bool,
}

impl Arrival {
    /// Those among what was received that were taken. `notifiers`: the authority that each of them names.
    pub(super) fn all(received: &[Received], notifiers: &[String]) -> Vec<Self> {
        let mut arrivals: Vec<_> = received
            .iter()
            .filter_map(|it| Self::of(it, notifiers))
            .collect();
        arrivals.sort_by_key(|arrival| arrival.at);
        arrivals
    }

    fn of(received: &Received, notifiers: &[String]) -> Option<Self> {
        let answer_lost = received.fault == Some(FaultKind::LoseAnswer);
        if !received.was_accepted() && !answer_lost {
            return None;
        }
        let body = received.json()?;
        let (destination, id, says) = match received.endpoint {
            Endpoint::Notifications => ("notification", "/eventId", "/message"),
            Endpoint::WebhookLog => ("webhook-log", "/metadata/eventId", "/response"),
        };
        let host = received.header("host");
        Some(Self {
            at: received.at,
            about: (text(&body, id).parse().ok()?, destination),
            event_type: text(&body, "/eventType").to_owned(),
            user: text(&body, "/userId").to_owned(),
            says: text(&body, says).to_owned(),
            notifier: notifiers.iter().position(|it| Some(it.as_str()) == host),
            answer_lost,
        })
    }
}

/// What a key of `REPORTS` is about: `reservation-system=3A5120.12-0.notification`.
pub(super) fn about(key: &str) -> Option<About> {
    let mut tokens = key.split('.');
    let id = tokens.next()?.rsplit("=3A").next()?.parse().ok()?;
    let destination = match tokens.nth(1)? {
        "notification" => "notification",
        "webhook-log" => "webhook-log",
        _ => return None,
    };
    Some((id, destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_reports_names_its_booking_and_destination() {
        assert_eq!(
            about("reservation-system=3A5120.12-0.notification"),
            Some((5120, "notification"))
        );
        assert_eq!(about("reservation-system=3A5120.12-0"), None);
    }
}
