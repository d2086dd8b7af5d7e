//! Whether a webhook asks for something now. For the answer's text only: it is stored either way, and the provisioner
//! decides.

use bellhop_domain::id::SiteId;
use bellhop_reservation_system::{Booking, Content, EventType, Resource, Webhook};

use bellhop_domain::served::ResourceTypes;
use bellhop_domain::served::SiteIds;

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
    /// A type of resource that is not served here; or none is named.
    ResourceType(Option<String>),
    /// A site that is not served here; or none is named, and not all sites are served.
    Site(Option<String>),
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

/// Says what a webhook asks for, by the same rules as the provisioner.
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
    let is_served = |name: &String| types.kind_of(name).is_some();
    if !type_name.as_ref().is_some_and(is_served) {
        return Classification::NoAction(NoAction::ResourceType(type_name.clone()));
    }
    let is_ours = |sites: &SiteIds| {
        let site = site_id.as_ref().map(SiteId::new);
        site.is_some_and(|site| sites.contains(&site))
    };
    if !sites.is_none_or(is_ours) {
        return Classification::NoAction(NoAction::Site(site_id.clone()));
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
        let sites = "lab-1,lab-2=metal3-2".parse().unwrap();
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
            for site in ["lab-1", "lab-2"] {
                let body = flat(event_type, "Server", Some(site));
                assert_eq!(classified(&body), Classification::Act, "{event_type}");
            }
        }
    }

    #[test]
    fn another_type_another_site_and_an_announcement_ask_for_nothing() {
        let asks_for_nothing = |body: Value, why: NoAction| {
            assert_eq!(classified(&body), Classification::NoAction(why));
        };
        asks_for_nothing(
            flat("EVENT_START", "server", Some("lab-1")),
            NoAction::ResourceType(Some("server".into())),
        );
        asks_for_nothing(
            flat("EVENT_START", "Server", Some("lab-3")),
            NoAction::Site(Some("lab-3".into())),
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
    fn a_booking_that_names_no_type_or_no_site_asks_for_nothing() {
        assert_eq!(
            classified(&flat("EVENT_START", "Server", None)),
            Classification::NoAction(NoAction::Site(None))
        );
        let without_type = json!({
            "eventType": "EVENT_DELETED", "webhookId": "12", "data": {
                "id": 5120, "start": "2026-12-03T08:00:00Z", "end": "2026-12-03T17:30:00Z", "resource": {"name": "node04"},
            },
        });
        assert_eq!(
            classified(&without_type),
            Classification::NoAction(NoAction::ResourceType(None))
        );
    }

    #[test]
    fn without_a_list_of_sites_every_site_is_ours_and_none_need_be_named() {
        let body = flat("EVENT_START", "Server", None).to_string();
        let webhook = Webhook::parse(body.as_bytes()).unwrap();
        let types = ResourceTypes::DEFAULT.parse().unwrap();
        assert_eq!(classify(&webhook, &types, None), Classification::Act);
    }
}
