//! What a delivery says, in the words of the domain.

use bellhop_domain::id::{ReservationId, ResourceId, SiteId, UserId, WebhookId};
use bellhop_domain::reservation::{DeliveryRef, Knowledge, Said, Schedule, TenantKey, Terms, Word};
use bellhop_domain::served::{ResourceTypes, SiteIds};
use bellhop_event_store::Delivery;
use bellhop_reservation_system::{
    Booking, Content, EventType, LOG_TEXT_LIMIT, SshPublicKey, Unreadable, Webhook, cut,
};
use serde_json::Value;

use crate::settings::ProvisionerSettings;

/// What of the deliveries concerns us, and what a start gets.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    types: ResourceTypes,
    sites: Option<SiteIds>,
    namespace: String,
    terms: Terms,
}

/// What a delivery asks for.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// It says something of a reservation.
    Word(Box<Word>, Place),
    /// Nothing to do: the reason.
    Nothing(&'static str),
}

/// Where a word is decided.
#[derive(Debug)]
pub(crate) enum Place {
    /// Where its reservation stands, else on this resource, which it names.
    Named(ResourceId),
    /// Where its reservation stands, or nowhere: what it names is not ours, for this reason.
    NotOurs(&'static str),
}

impl Reading {
    pub(crate) fn new(settings: &ProvisionerSettings) -> Self {
        Self {
            types: settings.resource_types.clone(),
            sites: settings.site_ids.clone(),
            namespace: settings.k8s_namespace.clone(),
            terms: settings.terms(),
        }
    }

    /// What `delivery` asks for.
    pub(crate) fn of(&self, delivery: &Delivery) -> Result<Meaning, Unreadable> {
        let webhook = Webhook::parse(&delivery.body)?;
        let Content::Booking(booking) = &webhook.content else {
            return Ok(Meaning::Nothing("not about a booking"));
        };
        let said = match &webhook.event_type {
            EventType::EventStart => Said::Start {
                key: tenant_key(booking),
                terms: self.terms.clone(),
            },
            EventType::EventEnd => Said::End,
            EventType::EventCreated => Said::Announced,
            EventType::EventUpdated => Said::Changed,
            EventType::EventDeleted => Said::Deleted,
            _ => return Ok(Meaning::Nothing("this type of event asks for nothing")),
        };
        let place = self.place(booking);
        Ok(Meaning::Word(
            Box::new(word(delivery, &webhook, booking, said)),
            place,
        ))
    }

    fn place(&self, booking: &Booking) -> Place {
        let resource = &booking.resource;
        let Some(kind) = resource
            .type_name
            .as_ref()
            .and_then(|name| self.types.kind_of(name))
        else {
            return Place::NotOurs("no driver serves this type of resource");
        };
        let site = resource.site_id.as_ref().map(SiteId::new);
        match &self.sites {
            Some(sites) if !site.is_some_and(|site| sites.contains(&site)) => {
                Place::NotOurs("another site's")
            }
            _ => Place::Named(ResourceId::new(
                kind.clone(),
                self.namespace.clone(),
                resource.name.clone(),
            )),
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
        site: site(booking),
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

/// The site of its resource.
fn site(booking: &Booking) -> Option<SiteId> {
    booking
        .resource
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

/// The key that a start brought, else why there is none.
pub(crate) fn ssh_key(booking: &Booking) -> Result<SshPublicKey, String> {
    match (&booking.ssh_public_key, &booking.username) {
        (Some(key), _) => SshPublicKey::parse(key.expose()).map_err(|error| error.to_string()),
        (None, Some(_)) => Err("the account has no SSH public key".to_owned()),
        (None, None) => {
            Err("no SSH public key came with it: the account service was away".to_owned())
        }
    }
}

/// The payload for the webhook log: without key, e-mail and name (R11).
fn payload(body: &[u8]) -> String {
    const PRIVATE: [&str; 3] = ["sshPublicKey", "email", "username"];
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !PRIVATE.contains(&name.as_str()));
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
