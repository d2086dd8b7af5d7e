//! Which dead letters are meant. Pure.

use jiff::Timestamp;

use super::{BuriedLetter, DeadLetterClass, LETTERS, subjects_of};

/// Which dead letters are meant: those that fit all that is given; without anything, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those with these sequences; all where there is none.
    pub sequences: Vec<u64>,
    /// Those that this service gave up on.
    pub service: Option<String>,
    /// Those of this kind.
    pub class: Option<DeadLetterClass>,
    /// Those about a resource whose name holds this text.
    pub resource: Option<String>,
    /// Those last tried then or later.
    pub since: Option<Timestamp>,
    /// Those last tried then or earlier.
    pub until: Option<Timestamp>,
    /// Those whose reason holds this text.
    pub reason: Option<String>,
}

impl Selection {
    /// Whether nothing is given, so that all are meant.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a letter is meant.
    pub fn takes(&self, letter: &BuriedLetter) -> bool {
        let Self {
            sequences,
            service,
            class,
            resource,
            since,
            until,
            reason,
        } = self;
        (sequences.is_empty() || sequences.contains(&letter.sequence))
            && service
                .as_ref()
                .is_none_or(|service| letter.service().as_ref() == Some(service))
            && class.is_none_or(|class| letter.class() == Some(class))
            && resource.as_ref().is_none_or(|text| {
                let names = letter.resources();
                names.iter().any(|name| name.contains(text.as_str()))
            })
            && since.is_none_or(|since| letter.last_at >= since)
            && until.is_none_or(|until| letter.last_at <= until)
            && reason
                .as_ref()
                .is_none_or(|text| letter.reason.contains(text.as_str()))
    }

    /// The subjects, without prefix, under which those that are meant can be.
    pub(super) fn subjects(&self) -> String {
        self.service
            .as_deref()
            .map_or_else(|| LETTERS.to_owned(), subjects_of)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;

    use super::*;
    use crate::dead_letter::kept;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn letter(headers: &[(&str, &str)], body: &'static str) -> BuriedLetter {
        BuriedLetter {
            sequence: 7,
            subject: "dead_letters.ingress.delivery.reservation-system".into(),
            id: "one".into(),
            reason: "`eventId` is missing (webhook 12)".into(),
            tries: 1,
            first_at: at(100),
            last_at: at(200),
            traceparent: None,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn a_letter_is_meant_where_it_fits_all_that_is_given() {
        let letter = letter(&[(kept::RESOURCE, "lab7-node04")], "");
        let all = Selection::default();
        assert!(all.is_all() && all.takes(&letter));
        let fits = Selection {
            sequences: vec![3, 7],
            service: Some("ingress".into()),
            class: Some(DeadLetterClass::Delivery),
            resource: Some("node04".into()),
            since: Some(at(200)),
            until: Some(at(200)),
            reason: Some("eventId".into()),
        };
        assert!(!fits.is_all() && fits.takes(&letter));
        let others: [fn(&mut Selection); 7] = [
            |other| other.sequences = vec![3],
            |other| other.service = Some("notifier".into()),
            |other| other.class = Some(DeadLetterClass::Report),
            |other| other.resource = Some("node05".into()),
            |other| other.since = Some(at(201)),
            |other| other.until = Some(at(199)),
            |other| other.reason = Some("HTTP 500".into()),
        ];
        for change in others {
            let mut other = fits.clone();
            change(&mut other);
            assert!(!other.takes(&letter), "{other:?}");
        }
    }

    #[test]
    fn the_resource_is_found_in_headers_and_in_bodies_of_every_form() {
        let subject = "deliveries.reservation-system.site-1.baremetalhost.Gi1=2E0";
        let flat = r#"{"eventType":"EVENT_END","resourceName":"node01"}"#;
        let nested = r#"{"data":{"title":"x","resource":{"id":3,"name":"node01"}}}"#;
        let batch = r#"{"eventCount":1,"events":[{"resourceName":"node01"}]}"#;
        let of_subject = letter(&[(kept::SUBJECT, subject)], "");
        assert_eq!(of_subject.resources(), ["Gi1.0"]);
        for body in [flat, nested, batch] {
            assert_eq!(letter(&[], body).resources(), ["node01"]);
        }
        for body in ["", "garbage", "[]", r#"{"resource":"node01"}"#] {
            assert_eq!(letter(&[], body).resources(), [""; 0], "{body}");
        }
    }
}
