//! Whether a webhook asks for something now. For the answer's text only: it is stored either way, and the provisioner
//! decides.

use bellhop_domain::id::SiteId;
use bellhop_reservation_system::{Booking, Content, EventType, Resource, Webhook};

use crate::resource_types::ResourceTypes;
use crate::sites::SiteIds;

/// What a webhook asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Classification {
    /// A start, an end, a deletion or a change of a reservation that is ours.
    Act,
    /// Nothing now.
    NoAction(NoAction),
}

/// Why there is nothing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoAction {
    /// A type of resource that is not served here.
    ResourceType(String),
    /// A site that is not served here.
    Site(String),
    /// A type of event that asks for nothing.
    EventType(String),
    /// The test button.
    Test,
}

impl NoAction {
    /// A short name of the reason, from a small fixed set: for logs.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::ResourceType(_) => "resource_type",
            Self::Site(_) => "site",
            Self::EventType(_) => "event_type",
            Self::Test => "test",
        }
    }
}

/// Says what a webhook asks for. A booking that names no type or no site counts as ours: only the provisioner can know,
/// from what it knows of the reservation.
pub(crate) fn classify(
    webhook: &Webhook,
    types: &ResourceTypes,
    sites: Option<&SiteIds>,
) -> Classification {
    match &webhook.content {
        Content::Booking(booking) => classify_booking(&webhook.event_type, booking, types, sites),
        Content::Test(_) => Classification::NoAction(NoAction::Test),
        Content::Resource(_) | Content::Other => no_action_for(&webhook.event_type),
    }
}

fn classify_booking(
    event_type: &EventType,
    booking: &Booking,
    types: &ResourceTypes,
    sites: Option<&SiteIds>,
) -> Classification {
    let Resource {
        type_name, site_id, ..
    } = &booking.resource;
    if let Some(type_name) = type_name
        && types.kind_of(type_name).is_none()
    {
        return Classification::NoAction(NoAction::ResourceType(type_name.clone()));
    }
    if let (Some(sites), Some(site)) = (sites, site_id)
        && !sites.contains(&SiteId::new(site))
    {
        return Classification::NoAction(NoAction::Site(site.clone()));
    }
    match event_type {
        EventType::EventStart
        | EventType::EventEnd
        | EventType::EventUpdated
        | EventType::EventDeleted => Classification::Act,
        _ => no_action_for(event_type),
    }
}

fn no_action_for(event_type: &EventType) -> Classification {
    Classification::NoAction(NoAction::EventType(event_type.as_str().to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn classified(body: &Value) -> Classification {
        let webhook = Webhook::parse(body.to_string().as_bytes()).unwrap();
        let types = ResourceTypes::DEFAULT.parse().unwrap();
        let sites = "lab-1,lab-2".parse().unwrap();
        classify(&webhook, &types, Some(&sites))
    }

    fn flat(event_type: &str, resource_type: &str, site: Option<&str>) -> Value {
        json!({
            "eventType": event_type, "webhookId": 12, "eventId": "5120", "resourceName": "node04",
            "resourceType": resource_type, "eventStart": "2026-12-03T08:00:00Z", "eventEnd": "2026-12-03T17:30:00Z",
            "siteId": site,
        })
    }

    #[test]
    fn starts_ends_changes_and_deletions_of_our_types_and_sites_are_ours() {
        for event_type in ["EVENT_START", "EVENT_END", "EVENT_UPDATED", "EVENT_DELETED"] {
            let body = flat(event_type, "Server", Some("lab-1"));
            assert_eq!(classified(&body), Classification::Act, "{event_type}");
        }
    }

    #[test]
    fn another_type_another_site_and_an_announcement_ask_for_nothing() {
        let asks_for_nothing = |body: Value, why: NoAction| {
            assert_eq!(classified(&body), Classification::NoAction(why));
        };
        asks_for_nothing(
            flat("EVENT_START", "server", Some("lab-1")),
            NoAction::ResourceType("server".into()),
        );
        asks_for_nothing(
            flat("EVENT_START", "Server", Some("lab-3")),
            NoAction::Site("lab-3".into()),
        );
        asks_for_nothing(
            flat("EVENT_CREATED", "Server", Some("lab-1")),
            NoAction::EventType("EVENT_CREATED".into()),
        );
        asks_for_nothing(
            json!({"eventType": "ALL", "webhookId": "12", "data": {"message": "test"}}),
            NoAction::Test,
        );
        asks_for_nothing(
            json!({"eventType": "EVENT_PAUSED", "webhookId": "12"}),
            NoAction::EventType("EVENT_PAUSED".into()),
        );
        asks_for_nothing(
            json!({"eventType": "RESOURCE_DELETED", "webhookId": "12", "data": {"name": "node04"}}),
            NoAction::EventType("RESOURCE_DELETED".into()),
        );
    }

    #[test]
    fn a_booking_that_names_no_site_or_no_type_counts_as_ours() {
        assert_eq!(
            classified(&flat("EVENT_START", "Server", None)),
            Classification::Act
        );
        let without_type = json!({
            "eventType": "EVENT_DELETED", "webhookId": "12", "data": {
                "id": 5120, "start": "2026-12-03T08:00:00Z", "end": "2026-12-03T17:30:00Z", "resource": {"name": "node04"},
            },
        });
        assert_eq!(classified(&without_type), Classification::Act);
    }
}
