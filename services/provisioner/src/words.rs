//! What a delivery says, in the words of the domain.

use std::fmt;

use bellhop_domain::id::{ReservationId, ResourceId, SiteId, UserId, WebhookId};
use bellhop_domain::reservation::{
    Adoption, DeliveryRef, FailureReason, Knowledge, Note, OperatorWord, Order, Said, Schedule,
    TenantKey, Terms, Word,
};
use bellhop_domain::served::ResourceTypes;
use bellhop_event_store::Delivery;
use bellhop_operators::{NotAWord, OperatorMessage, OperatorOrder};
use bellhop_reservation_system::{
    Booking, Content, EventType, LOG_TEXT_LIMIT, Resource, SshPublicKey, Unreadable, Webhook, cut,
};
use serde_json::Value;

use crate::images::ImageCatalogue;
use crate::settings::ProvisionerSettings;
use crate::sites::{ServedSites, Standing, not_served};

/// What of the deliveries concerns us, and what a start gets.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    types: ResourceTypes,
    sites: ServedSites,
    /// What a start gets that chooses no image.
    terms: Terms,
    images: Option<ImageCatalogue>,
}

/// What a delivery asks for.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// It says something of a reservation.
    Word(Box<Word>, Place),
    /// An operator's word, to be decided there.
    Order(Box<OperatorWord>, OrderPlace),
    /// The sender deleted this resource, which has this number of its own.
    ResourceDeleted(Place, Option<i64>),
    /// Nothing to do: the reason.
    Nothing(&'static str),
}

/// Where an operator's word is decided.
#[derive(Debug)]
pub(crate) enum OrderPlace {
    /// On this resource.
    Resource(ResourceId),
    /// Where this reservation stands.
    Reservation(ReservationId),
}

/// A delivery can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotUnderstood {
    /// A webhook of the reservation system.
    #[error(transparent)]
    Webhook(#[from] Unreadable),
    /// An operator's word.
    #[error(transparent)]
    Word(#[from] NotAWord),
    /// An operator's key can't be one.
    #[error("the key that an operator brought can't be used: {0}")]
    Key(#[source] bellhop_reservation_system::UnusableSshKey),
}

/// Where a word is decided.
#[derive(Debug)]
pub(crate) enum Place {
    /// Where its reservation stands, else on this resource, which it names.
    Named {
        resource: ResourceId,
        /// Whether `SITE_IDS` says that the hosts of its site are in that namespace.
        by_site: bool,
    },
    /// Where its reservation stands, or nowhere: what it names is not ours.
    NotOurs(NotOurs),
}

/// Why what a word names is not ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotOurs {
    /// No driver serves this type of resource.
    Type,
    /// It is of this site, which is not served; of none, where it names none.
    Site(Option<SiteId>),
}

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type => f.write_str("what it is booked on is of a type that is not served here"),
            Self::Site(site) => f.write_str(&not_served(site.as_ref())),
        }
    }
}

impl Reading {
    pub(crate) fn new(settings: &ProvisionerSettings, images: Option<ImageCatalogue>) -> Self {
        Self {
            types: settings.resource_types.clone(),
            sites: ServedSites::new(settings),
            terms: settings.terms(),
            images,
        }
    }

    /// Whether it is said which sites are served.
    pub(crate) fn sites_are_named(&self) -> bool {
        self.sites.are_named()
    }

    /// What `delivery` asks for.
    pub(crate) fn of(&self, delivery: &Delivery) -> Result<Meaning, NotUnderstood> {
        if delivery.source.as_str() == bellhop_operators::SOURCE {
            return self.order(delivery);
        }
        let webhook = Webhook::parse(&delivery.body)?;
        let booking = match &webhook.content {
            Content::Booking(booking) => booking,
            Content::Resource(resource) if webhook.event_type == EventType::ResourceDeleted => {
                let place = self.place(resource);
                return Ok(Meaning::ResourceDeleted(place, resource.id));
            }
            _ => return Ok(Meaning::Nothing("not about a booking")),
        };
        let place = self.place(&booking.resource);
        let said = match &webhook.event_type {
            EventType::EventStart => self.start(booking, &place),
            EventType::EventEnd => Said::End,
            EventType::EventCreated => Said::Announced,
            EventType::EventUpdated => Said::Changed,
            EventType::EventDeleted => Said::Deleted,
            _ => return Ok(Meaning::Nothing("this type of event asks for nothing")),
        };
        let mut word = word(delivery, &webhook, booking, said);
        if let Place::Named { resource, by_site } = &place {
            word.site_named = *by_site;
            let sites = self.sites.sites_in(resource.namespace());
            word.only_site = *by_site && sites.is_some_and(|sites| sites.len() == 1);
        }
        Ok(Meaning::Word(Box::new(word), place))
    }

    /// What a start gets is fixed here, from what is configured now (R12).
    fn start(&self, booking: &Booking, place: &Place) -> Said {
        let key = tenant_key(booking);
        if let Place::NotOurs(not_ours) = place {
            let text = not_ours.to_string();
            let reason = FailureReason::NotServed { text };
            return Said::UnservableStart { key, reason };
        }
        let choice = self.images.as_ref().map_or(Ok(None), |images| {
            images.choice(booking.custom_parameters.as_deref())
        });
        match choice {
            Ok(None) => Said::Start {
                key,
                terms: self.terms.clone(),
            },
            Ok(Some(image)) => Said::Start {
                key,
                terms: Terms {
                    image,
                    ..self.terms.clone()
                },
            },
            Err(reason) => Said::UnservableStart { key, reason },
        }
    }

    fn order(&self, delivery: &Delivery) -> Result<Meaning, NotUnderstood> {
        let OperatorMessage { order, by, why } = OperatorMessage::parse(&delivery.body)?;
        let reference = DeliveryRef {
            sequence: delivery.sequence,
            id: delivery.id.clone(),
        };
        let on = OrderPlace::Resource;
        let (order, place) = match order {
            OperatorOrder::Extend { reservation, until } => {
                let place = OrderPlace::Reservation(reservation.clone());
                (Order::Extend { reservation, until }, place)
            }
            OperatorOrder::End { reservation } => {
                let place = OrderPlace::Reservation(reservation.clone());
                (Order::End { reservation }, place)
            }
            OperatorOrder::Allow { reservation } => {
                let place = OrderPlace::Reservation(reservation.clone());
                (Order::Allow { reservation }, place)
            }
            OperatorOrder::Retry {
                reservation,
                user,
                ssh_public_key,
            } => {
                SshPublicKey::parse(ssh_public_key.expose()).map_err(NotUnderstood::Key)?;
                let place = OrderPlace::Reservation(reservation.clone());
                let order = Order::BringKey {
                    reservation,
                    user,
                    delivery: reference,
                };
                (order, place)
            }
            OperatorOrder::Release {
                resource,
                reservation,
            } => (Order::Release { reservation }, on(resource)),
            OperatorOrder::Hold { resource } => (Order::Hold, on(resource)),
            OperatorOrder::Unhold { resource } => (Order::Unhold, on(resource)),
            OperatorOrder::HandBack { resource } => (Order::HandBack, on(resource)),
            OperatorOrder::Pause { resource } => (Order::Pause, on(resource)),
            OperatorOrder::Resume { resource } => (Order::Resume, on(resource)),
            OperatorOrder::Adopt(adopted) => {
                let adoption = Adoption {
                    reservation: adopted.reservation,
                    until: adopted.until,
                    site: adopted.site,
                    host: adopted.host,
                    secret: adopted.secret,
                    terms: Terms {
                        image: adopted.image,
                        ..self.terms.clone()
                    },
                    delivery: reference,
                };
                (Order::Adopt(Box::new(adoption)), on(adopted.resource))
            }
        };
        let note = Note { by, why, at: None };
        Ok(Meaning::Order(
            Box::new(OperatorWord { order, note }),
            place,
        ))
    }

    fn place(&self, resource: &Resource) -> Place {
        let Some(kind) = resource
            .type_name
            .as_ref()
            .and_then(|name| self.types.kind_of(name))
        else {
            return Place::NotOurs(NotOurs::Type);
        };
        let site = site(resource);
        let (namespace, by_site) = match self.sites.standing(site.as_ref()) {
            Standing::Named(namespace) => (namespace, true),
            Standing::Unsaid(namespace) => (namespace, false),
            Standing::Other => return Place::NotOurs(NotOurs::Site(site)),
        };
        Place::Named {
            resource: ResourceId::new(kind.clone(), namespace, resource.name.clone()),
            by_site,
        }
    }
}

fn word(delivery: &Delivery, webhook: &Webhook, booking: &Booking, said: Said) -> Word {
    Word {
        reservation: ReservationId::new(delivery.source.clone(), booking.event_id.as_str()),
        said,
        knowledge: Knowledge {
            schedule: Schedule {
                start: booking.start,
                end: booking.end,
            },
            updated_at: booking.updated_at,
            said_at: webhook.timestamp.unwrap_or(delivery.received_at),
            said_by: delivery.id.clone(),
        },
        webhook: WebhookId::new(webhook.webhook_id.as_str()),
        delivery: DeliveryRef {
            sequence: delivery.sequence,
            id: delivery.id.clone(),
        },
        user: user(booking),
        resource_number: booking.resource.id,
        site: site(&booking.resource),
        site_named: false,
        only_site: false,
        payload: payload(&delivery.body),
    }
}

/// An id of absurd length is none: a fact is kept for ever.
const LONGEST_ID: usize = 255;

/// Whose it is. One of absurd length could not be told anything.
fn user(booking: &Booking) -> Option<UserId> {
    booking
        .user_id
        .as_ref()
        .filter(|user| user.len() <= LONGEST_ID)
        .map(UserId::new)
}

/// The site of a resource.
fn site(resource: &Resource) -> Option<SiteId> {
    resource
        .site_id
        .as_ref()
        .filter(|site| site.len() <= LONGEST_ID)
        .map(SiteId::new)
}

/// Whether the start brought a key; the key itself stays in the delivery.
fn tenant_key(booking: &Booking) -> TenantKey {
    match ssh_key(booking) {
        Ok(_) => TenantKey::InDelivery,
        Err(reason) => TenantKey::Missing { reason },
    }
}

/// The key that a delivery brought, else why there is none.
pub(crate) fn brought_key(delivery: &Delivery) -> Result<SshPublicKey, String> {
    if delivery.source.as_str() == bellhop_operators::SOURCE {
        let message = OperatorMessage::parse(&delivery.body).map_err(|error| error.to_string())?;
        return match message.order {
            OperatorOrder::Retry { ssh_public_key, .. } => {
                SshPublicKey::parse(ssh_public_key.expose()).map_err(|error| error.to_string())
            }
            _ => Err("the operator's word brought no SSH key".to_owned()),
        };
    }
    match Webhook::parse(&delivery.body)
        .ok()
        .as_ref()
        .and_then(Webhook::booking)
    {
        Some(booking) => ssh_key(booking),
        None => Err("the delivery that brought the SSH key is not what it was".to_owned()),
    }
}

/// The key that a start brought, else why there is none.
fn ssh_key(booking: &Booking) -> Result<SshPublicKey, String> {
    match (&booking.ssh_public_key, &booking.username) {
        (Some(key), _) => SshPublicKey::parse(key.expose()).map_err(|error| error.to_string()),
        (None, Some(_)) => Err("the account has no SSH public key".to_owned()),
        (None, None) => {
            Err("no SSH public key came with it: the account service was away".to_owned())
        }
    }
}

/// The payload for the webhook log: what the contract says of the booking and its resource, and no more. Key, e-mail and name
/// are not in it, nor is any text that a person wrote (title, description, parameters), which may hold them (R11).
fn payload(body: &[u8]) -> String {
    const KEPT: [&str; 31] = [
        "activeResources",
        "createdAt",
        "data",
        "end",
        "eventCount",
        "eventEnd",
        "eventId",
        "eventStart",
        "eventType",
        "events",
        "id",
        "keycloakId",
        "location",
        "name",
        "resource",
        "resourceId",
        "resourceLocation",
        "resourceName",
        "resourceSpecs",
        "resourceType",
        "siteId",
        "siteName",
        "specs",
        "start",
        "startNotifiedAt",
        "status",
        "timestamp",
        "type",
        "updatedAt",
        "userId",
        "webhookId",
    ];
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| KEPT.contains(&name.as_str()));
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    strip(&mut value);
    // A fact is kept for ever, and no log takes more.
    cut(&value.to_string(), LOG_TEXT_LIMIT).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use bellhop_domain::id::{DeliveryId, Source};
    use serde_json::json;

    use super::*;

    fn settings(more: &[&str]) -> ProvisionerSettings {
        let image = "http://images.invalid/usual.img";
        let required = [
            "provisioner",
            "--provision-image",
            image,
            "--k8s-namespace",
            "metal3",
        ];
        let arguments = required
            .iter()
            .chain(more)
            .map(|argument| (*argument).to_owned());
        bellhop_service::settings::parse(arguments).unwrap()
    }

    fn delivery(body: &Value) -> Delivery {
        Delivery {
            sequence: 7,
            id: DeliveryId::new("d7"),
            source: Source::new("reservation-system"),
            site: None,
            kind: None,
            name: None,
            event_type: None,
            webhook: None,
            received_at: jiff::Timestamp::UNIX_EPOCH,
            traceparent: None,
            headers: Vec::new(),
            body: body.to_string().into(),
        }
    }

    fn flat(event_type: &str, custom_parameters: &str) -> Value {
        json!({
            "eventType": event_type, "timestamp": "2026-12-03T07:55:20Z", "webhookId": 12, "eventId": "5120",
            "userId": "user-1", "resourceId": 31, "resourceName": "node01", "resourceType": "Server", "siteId": "site-a",
            "eventStart": "2026-12-03T08:00:00Z", "eventEnd": "2026-12-03T17:30:00Z",
            "customParameters": custom_parameters,
        })
    }

    fn said(reading: &Reading, body: &Value) -> (Said, Place) {
        match reading.of(&delivery(body)).unwrap() {
            Meaning::Word(word, place) => (word.said, place),
            other => panic!("{other:?}"),
        }
    }

    fn choosing() -> Reading {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.yaml");
        std::fs::write(&path, "noble: {url: 'http://images.invalid/noble.img'}").unwrap();
        let images = ImageCatalogue::load(Some(&path), "image").unwrap();
        Reading::new(&settings(&[]), images)
    }

    #[test]
    fn of_a_payload_a_fact_keeps_no_text_that_a_person_wrote() {
        let mut body = flat("EVENT_START", r#"{"mail": "mara.conti@uni.example"}"#);
        for private in [
            "username",
            "email",
            "sshPublicKey",
            "eventTitle",
            "eventDescription",
            "somethingNew",
        ] {
            body[private] = "mara.conti@uni.example".into();
        }
        body["data"] = json!({"id": 5120, "title": "of mara.conti", "description": "of mara.conti", "keycloakId": "user-1"});
        let kept = payload(body.to_string().as_bytes());
        assert!(!kept.contains("mara"), "{kept}");
        for field in [
            "eventId",
            "resourceName",
            "userId",
            "eventEnd",
            "keycloakId",
        ] {
            assert!(kept.contains(field), "{field}: {kept}");
        }
    }

    #[test]
    fn a_start_gets_the_image_that_it_chose_and_all_else_as_configured() {
        let start = flat("EVENT_START", r#"{"image": "noble"}"#);
        let (said, _) = said(&choosing(), &start);
        let usual = settings(&[]).terms();
        assert!(
            matches!(&said, Said::Start { terms, .. } if terms.image.url == "http://images.invalid/noble.img"
                && terms.image.name.as_deref() == Some("noble")
                && (&terms.login, terms.without_key) == (&usual.login, usual.without_key)),
            "{said:?}"
        );
    }

    #[test]
    fn a_start_that_chose_no_image_gets_the_usual_one() {
        for reading in [choosing(), Reading::new(&settings(&[]), None)] {
            let (said, _) = said(&reading, &flat("EVENT_START", r#"{"vlan_id": 7}"#));
            assert!(
                matches!(&said, Said::Start { terms, .. } if *terms == settings(&[]).terms()),
                "{said:?}"
            );
        }
    }

    #[test]
    fn only_a_start_is_asked_for_its_image() {
        let jammy = r#"{"image": "jammy"}"#;
        let (start, _) = said(&choosing(), &flat("EVENT_START", jammy));
        assert!(
            matches!(
                start,
                Said::UnservableStart {
                    reason: FailureReason::ImageNotOffered { .. },
                    ..
                }
            ),
            "{start:?}"
        );
        let (end, _) = said(&choosing(), &flat("EVENT_END", jammy));
        assert!(matches!(end, Said::End), "{end:?}");
        let without = Reading::new(&settings(&[]), None);
        let (start, _) = said(&without, &flat("EVENT_START", jammy));
        assert!(matches!(start, Said::Start { .. }), "{start:?}");
    }
    fn flat_of(event_type: &str, site: Option<&str>) -> Value {
        let mut body = flat(event_type, "{}");
        body["siteId"] = site.map_or(Value::Null, Value::from);
        body
    }

    fn resource(place: &Place) -> Option<(String, bool)> {
        match place {
            Place::Named { resource, by_site } => Some((resource.to_string(), *by_site)),
            Place::NotOurs(_) => None,
        }
    }

    #[test]
    fn a_resource_is_in_the_namespace_of_its_site() {
        let sites = ["--site-ids", "site-a=ns-a,site-b"];
        let reading = Reading::new(&settings(&sites), None);
        for (site, expected) in [("site-a", "ns-a"), ("site-b", "metal3")] {
            let (_, place) = said(&reading, &flat_of("EVENT_START", Some(site)));
            let expected = (format!("baremetalhost/{expected}/node01"), true);
            assert_eq!(resource(&place), Some(expected));
        }
    }

    #[test]
    fn a_host_can_only_be_of_the_one_site_that_is_said_to_have_its_namespace() {
        let only = |sites: &[&str]| {
            let reading = Reading::new(&settings(sites), None);
            let body = flat_of("EVENT_END", Some("site-a"));
            match reading.of(&delivery(&body)).unwrap() {
                Meaning::Word(word, _) => word.only_site,
                other => panic!("{other:?}"),
            }
        };
        assert!(only(&["--site-ids", "site-a=ns-a,site-b"]));
        assert!(!only(&["--site-ids", "site-a,site-b"]));
        assert!(!only(&[]));
    }

    #[test]
    fn what_is_of_another_site_or_of_none_is_not_ours_where_sites_are_named() {
        let reading = Reading::new(&settings(&["--site-ids", "site-a"]), None);
        for site in [Some("site-c"), None] {
            let (start, place) = said(&reading, &flat_of("EVENT_START", site));
            assert!(
                matches!(&place, Place::NotOurs(NotOurs::Site(named)) if named.as_ref().map(SiteId::as_str) == site),
                "{place:?}"
            );
            // Where it is known, from a time at which its site was served, it gets nothing all the same.
            assert!(
                matches!(
                    start,
                    Said::UnservableStart {
                        reason: FailureReason::NotServed { .. },
                        ..
                    }
                ),
                "{start:?}"
            );
        }
    }

    #[test]
    fn where_no_site_is_named_every_site_s_resource_is_in_the_one_namespace_and_nobody_said_so() {
        let reading = Reading::new(&settings(&[]), None);
        for site in [Some("site-a"), Some("site-b"), None] {
            let (_, place) = said(&reading, &flat_of("EVENT_START", site));
            let expected = ("baremetalhost/metal3/node01".to_owned(), false);
            assert_eq!(resource(&place), Some(expected));
        }
    }

    #[test]
    fn a_type_that_nobody_serves_is_no_other_site_s() {
        let reading = Reading::new(&settings(&["--site-ids", "site-a"]), None);
        let mut body = flat_of("EVENT_START", Some("site-c"));
        body["resourceType"] = "Switch Port".into();
        let (_, place) = said(&reading, &body);
        assert!(matches!(place, Place::NotOurs(NotOurs::Type)), "{place:?}");
    }
}
