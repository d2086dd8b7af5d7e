//! What tells that a message is about a user. Pure.

use std::collections::BTreeSet;

use bellhop_domain::id::{ReservationId, Source};
use bellhop_domain::ledger::Ledger;
use bellhop_event_store::{BuriedLetter, StoredDelivery, kept};
use bellhop_operators::OperatorMessage;
use bellhop_reservation_system::Webhook;
use serde_json::Value;

/// Whose traces are looked for.
#[derive(Debug)]
pub(super) struct Person {
    user: String,
    /// The reservations that are theirs, over or not.
    pub(super) reservations: BTreeSet<ReservationId>,
    /// Those of them that are not over.
    pub(super) live: BTreeSet<ReservationId>,
}

impl Person {
    /// The user of this id, as far as the ledger knows them.
    pub(super) fn new(user: &str, ledger: &Ledger) -> Self {
        let mut person = Self {
            user: user.to_owned(),
            reservations: BTreeSet::new(),
            live: BTreeSet::new(),
        };
        let known = ledger
            .resources()
            .flat_map(|(_, resource)| &resource.reservations);
        let mut others = BTreeSet::new();
        for (id, reservation) in known {
            let whose = reservation.user.as_ref().map(|whose| whose.as_str());
            if whose == Some(user) {
                person.reservations.insert(id.clone());
                if reservation.is_live() {
                    person.live.insert(id.clone());
                }
            } else if whose.is_some() && reservation.is_live() {
                // It was given to somebody else.
                others.insert(id.clone());
            }
        }
        person.reservations.retain(|id| !others.contains(id));
        person
    }

    /// Whether a delivery is about them.
    pub(super) fn is_in_delivery(&self, delivery: &StoredDelivery) -> bool {
        self.is_in_body(&delivery.body)
    }

    /// Whether a dead letter is about them: by its body, else by the report or the delivery that it stands for.
    pub(super) fn is_in_letter(&self, letter: &BuriedLetter, deliveries: &BTreeSet<u64>) -> bool {
        let header = |name: &str| {
            let mut headers = letter.headers.iter();
            headers.find_map(|(header, value)| (header == name).then_some(value.as_str()))
        };
        let reported = header(kept::REPORT).and_then(|report| report.split('.').next());
        let reported = reported.is_some_and(|token| {
            let mut theirs = self.reservations.iter();
            theirs.any(|id| bellhop_event_store::subject::encode_token(&id.to_string()) == token)
        });
        let stands_for = header(kept::DELIVERY)
            .and_then(|sequence| sequence.parse().ok())
            .is_some_and(|sequence| deliveries.contains(&sequence));
        reported || stands_for || self.is_in_body(&letter.body)
    }

    /// Whether a body is about them: a booking says whose it is, an operator's word of which reservation it is. Of all else,
    /// and of what can't be read, what holds their id is.
    pub(super) fn is_in_body(&self, body: &[u8]) -> bool {
        if let Ok(word) = OperatorMessage::parse(body) {
            let about = word.order.reservation();
            return about.is_some_and(|id| self.reservations.contains(id));
        }
        if let Ok(webhook) = Webhook::parse(body)
            && let Some(booking) = webhook.booking()
        {
            let source = Source::new(bellhop_ingress::SOURCE);
            let id = ReservationId::new(source, booking.event_id.as_str());
            return match &booking.user_id {
                Some(user) => *user == self.user,
                None => self.reservations.contains(&id),
            };
        }
        match serde_json::from_slice(body) {
            Ok(value) => self.is_in_value(&value),
            Err(_) => self.is_in_text(&String::from_utf8_lossy(body)),
        }
    }

    fn is_in_value(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.is_in_text(text),
            Value::Array(values) => values.iter().any(|value| self.is_in_value(value)),
            Value::Object(fields) => fields
                .iter()
                .any(|(name, value)| self.is_in_text(name) || self.is_in_value(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    /// Whether a text holds the id, and not as a part of a longer one.
    fn is_in_text(&self, text: &str) -> bool {
        let goes_on = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        text.match_indices(&self.user).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + self.user.len()..].chars().next();
            !before.is_some_and(goes_on) && !after.is_some_and(goes_on)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const USER: &str = "7d0f5a52-0c8e-4a30-9c52-3f8f6e7f1f10";

    fn person() -> Person {
        let theirs = ReservationId::new(Source::new("reservation-system"), "5120");
        Person {
            user: USER.to_owned(),
            reservations: BTreeSet::from([theirs]),
            live: BTreeSet::new(),
        }
    }

    fn is_in(body: &Value) -> bool {
        person().is_in_body(body.to_string().as_bytes())
    }

    fn booking(event: &str, user: Option<&str>) -> Value {
        json!({
            "eventType": "EVENT_END", "webhookId": 12, "eventId": event, "userId": user, "eventTitle": format!("for {USER}"),
            "eventStart": "2026-12-03T08:00:00Z", "eventEnd": "2026-12-03T17:30:00Z",
            "resourceName": "node01", "resourceType": "Server",
        })
    }

    #[test]
    fn a_booking_is_whose_it_says_and_one_that_says_nothing_is_whose_reservation_it_is() {
        assert!(is_in(&booking("1", Some(USER))));
        assert!(!is_in(&booking("5120", Some("somebody else"))));
        assert!(is_in(&booking("5120", None)));
        assert!(!is_in(&booking("1", None)));
    }

    #[test]
    fn an_operator_s_word_is_theirs_if_its_reservation_is() {
        let retry = |event: &str| {
            json!({
                "order": "retry", "reservation": format!("reservation-system:{event}"), "ssh_public_key": "ssh-ed25519 AAAA",
                "by": "ada", "why": "asked",
            })
        };
        assert!(is_in(&retry("5120")));
        assert!(!is_in(&retry("1")));
    }

    #[test]
    fn what_cannot_be_read_is_theirs_if_it_holds_their_id_and_not_a_longer_one() {
        let degraded = json!({
            "eventType": "EVENT_UPDATED", "webhookId": "12",
            "data": format!("Payload serialization failed: keycloakId={USER}"),
        });
        assert!(is_in(&degraded));
        assert!(is_in(
            &json!({"payload": json!({"userId": USER}).to_string()})
        ));
        assert!(person().is_in_body(format!("{{\"userId\":\"{USER}").as_bytes()));
        for longer in [format!("{USER}1"), format!("a-{USER}"), format!("{USER}_")] {
            assert!(!is_in(&json!({ "userId": longer })), "{longer}");
        }
    }
}
