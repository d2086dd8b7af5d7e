//! The claim: when a host may be claimed, the one write that claims it, and what a claimed host tells.

use bellhop_domain::id::{ReservationId, Version};
use bellhop_domain::reservation::{ClaimedHost, Holding, Progress};
use serde_json::{Value, json};

use super::fence::{Verdict, Writer};
use super::host::{
    ADDRESS, BareMetalHost, CONSUMER_API_VERSION, CONSUMER_KIND, Consumer, FENCE, INSTALLATION,
    TRACEPARENT,
};

/// Why a host can't be claimed by `writer` now (R4, R6); none where it can.
pub(crate) fn obstacle(host: &BareMetalHost, writer: &Writer) -> Option<String> {
    let status = &host.status;
    if host.is_being_deleted() {
        return Some("it is being deleted".to_owned());
    }
    match writer.check(host) {
        Verdict::Open(_) => {}
        Verdict::Newer(_) => return Some("a newer decision has written it".to_owned()),
        Verdict::Other(fence) => {
            return Some(format!(
                "another ledger wrote it (fence {fence}): an operator decides, see docs/operations.md"
            ));
        }
    }
    match host.consumer() {
        Consumer::None => {}
        Consumer::Reservation(other) => return Some(format!("reservation {other} has it")),
        Consumer::Foreign(consumer) => {
            return Some(format!("{} {} uses it", consumer.kind, consumer.name));
        }
    }
    if let Some(standstill) = host.standstill() {
        return Some(format!("it is {standstill}"));
    }
    if host.spec.externally_provisioned || status.provisioning.state == "externally provisioned" {
        return Some("it is externally provisioned".to_owned());
    }
    if host.image_url().is_some() || host.spec.custom_deploy.is_some() {
        return Some("it has an image that Bellhop did not set".to_owned());
    }
    if let Some(error) = host.error() {
        return Some(format!(
            "it has an error: {}: {}",
            error.kind, error.message
        ));
    }
    if !host.is_available() {
        let state = if status.provisioning.state.is_empty() {
            "unknown"
        } else {
            &status.provisioning.state
        };
        return Some(format!("its state is `{state}`, not `available`"));
    }
    if !status.provisioning.image.url.is_empty() {
        return Some("an earlier image is still on it".to_owned());
    }
    if !host.spec.online && status.powered_on {
        return Some("it is still being switched off".to_owned());
    }
    None
}

/// The one write that claims a host: a JSON merge patch that the API server refuses unless the host is the one, and as, that
/// we read.
pub(crate) fn patch(
    host: &BareMetalHost,
    holding: &Holding,
    writer: &Writer,
    installation: &str,
    traceparent: Option<&str>,
) -> Value {
    let image = &holding.terms.image;
    json!({
        "metadata": {
            "uid": host.uid(),
            "resourceVersion": host.resource_version(),
            "annotations": {
                FENCE: writer.fence().to_string(),
                INSTALLATION: installation,
                TRACEPARENT: traceparent,
            },
        },
        "spec": {
            "online": true,
            "image": {
                "url": image.url,
                "checksum": image.checksum,
                "checksumType": image.checksum_type,
                "format": image.format,
            },
            "userData": {"name": holding.secret, "namespace": holding.host.namespace},
            "consumerRef": {
                "apiVersion": CONSUMER_API_VERSION,
                "kind": CONSUMER_KIND,
                "name": holding.reservation.to_string(),
                "namespace": holding.host.namespace,
            },
        },
    })
}

/// Whether our claim was written, even if someone else has changed the host since: then it is never written again (R12).
pub(crate) fn was_written(host: &BareMetalHost, holding: &Holding, written: Version) -> bool {
    is_ours(host, &holding.reservation) || written >= holding.assigned
}

/// What a host tells that was claimed for `holding`.
pub(crate) fn read(
    host: &BareMetalHost,
    holding: &Holding,
    address_template: Option<&str>,
) -> ClaimedHost {
    let changed = change(host, holding);
    let progress = progress(host, holding, changed.as_deref(), address_template);
    ClaimedHost {
        progress,
        error: host.error(),
        changed,
    }
}

pub(super) fn is_ours(host: &BareMetalHost, reservation: &ReservationId) -> bool {
    host.consumer() == Consumer::Reservation(&reservation.to_string())
}

/// What someone else changed of that which we had set. The host's power belongs to its user.
fn change(host: &BareMetalHost, holding: &Holding) -> Option<String> {
    let image = host.image_url();
    if host.is_being_deleted() {
        Some("it is being deleted in Kubernetes".to_owned())
    } else if !is_ours(host, &holding.reservation) {
        Some("its consumerRef is not ours any more".to_owned())
    } else if image.is_none() {
        Some("its image was removed".to_owned())
    } else if image != Some(holding.terms.image.url.as_str()) {
        Some("its image was replaced".to_owned())
    } else if host.user_data().unwrap_or_default() != holding.secret {
        Some("its user data was replaced".to_owned())
    } else {
        None
    }
}

fn progress(
    host: &BareMetalHost,
    holding: &Holding,
    changed: Option<&str>,
    address_template: Option<&str>,
) -> Progress {
    let provisioning = &host.status.provisioning;
    let suspended = |reason: String| Progress::Suspended { reason };
    if let Some(changed) = changed {
        return suspended(changed.to_owned());
    }
    if provisioning.state == "provisioned" && provisioning.image.url == holding.terms.image.url {
        return Progress::Ready {
            address: address(host, address_template),
        };
    }
    if let Some(standstill) = host.standstill() {
        return suspended(format!("the host is {standstill}"));
    }
    if host.status.operational_status == "delayed" {
        return suspended("Metal3 has no capacity left for it".to_owned());
    }
    if host.is_available() {
        return suspended("Metal3 has not begun yet".to_owned());
    }
    Progress::Working
}

/// Where users reach the host: its annotation, else the configured template with `{name}` and `{namespace}`.
fn address(host: &BareMetalHost, template: Option<&str>) -> Option<String> {
    let from_template = || {
        Some(
            template?
                .replace("{name}", host.name())
                .replace("{namespace}", host.namespace()),
        )
    };
    host.annotation(ADDRESS)
        .map(str::to_owned)
        .or_else(from_template)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use bellhop_domain::id::{DeliveryId, HostRef, Source};
    use bellhop_domain::reservation::{Changes, DeliveryRef, Image, Stage, TenantKey, Terms};
    use rstest::rstest;

    use super::super::fence::tests::{fence, writer};
    use super::super::host::tests::host;
    use super::*;

    pub(crate) fn holding() -> Holding {
        Holding {
            reservation: ReservationId::new(Source::new("s"), "1"),
            host: HostRef {
                namespace: "metal3".into(),
                name: "node01".into(),
                uid: "uid-1".into(),
            },
            secret: "node01-abc".into(),
            assigned: Version(5),
            given_upon: Version(4),
            user_data_of: Version(5),
            terms: Terms {
                image: Image {
                    name: None,
                    url: "http://i/noble".into(),
                    checksum: None,
                    checksum_type: None,
                    format: None,
                },
                login: "prognose".into(),
                without_key: false,
            },
            key: TenantKey::InDelivery,
            delivery: DeliveryRef {
                sequence: 1,
                id: DeliveryId::new("d"),
            },
            stage: Stage::Claiming,
            told: None,
            changes: Changes::default(),
            changed: None,
            cleaning_off: false,
            owner_changed: false,
            hold_until: None,
            adopted_at: None,
            left_for: None,
            adoption_refused: None,
        }
    }

    #[rstest]
    #[case::foreign_consumer(json!({"spec": {"consumerRef": {"kind": "Metal3Machine", "name": "m", "apiVersion": "x/v1"}}}), "Metal3Machine m")]
    #[case::other_reservation(json!({"spec": {"consumerRef": {"kind": "Reservation", "name": "s:9", "apiVersion": "bellhop.dev/v1"}}}), "s:9")]
    #[case::externally_provisioned(json!({"spec": {"externallyProvisioned": true}}), "externally provisioned")]
    #[case::image_in_spec(json!({"spec": {"image": {"url": "u"}}}), "did not set")]
    #[case::custom_deploy(json!({"spec": {"customDeploy": {"method": "m"}}}), "did not set")]
    #[case::image_in_status(json!({"status": {"provisioning": {"image": {"url": "u"}}}}), "earlier image")]
    #[case::not_available(json!({"status": {"provisioning": {"state": "deprovisioning"}}}), "deprovisioning")]
    #[case::in_error(json!({"status": {"errorType": "inspection error", "errorMessage": "no disk"}}), "inspection error: no disk")]
    #[case::not_off_yet(json!({"status": {"poweredOn": true}}), "switched off")]
    #[case::paused(json!({"metadata": {"annotations": {"baremetalhost.metal3.io/paused": ""}}}), "paused")]
    #[case::detached(json!({"metadata": {"annotations": {"baremetalhost.metal3.io/detached": ""}}}), "detached")]
    #[case::deleted(json!({"metadata": {"deletionTimestamp": "2026-11-22T00:00:00Z"}}), "deleted")]
    #[case::other_ledger(json!({"metadata": {"annotations": {"bellhop.dev/fence": "other/0123456789ab/1"}}}), "another ledger")]
    #[case::newer_fence(json!({"metadata": {"annotations": {"bellhop.dev/fence": fence(9)}}}), "newer decision")]
    fn a_host_that_is_not_clean_or_not_ours_is_not_claimed(
        #[case] changes: Value,
        #[case] reason: &str,
    ) {
        let obstacle = obstacle(&host(changes), &writer(5)).unwrap();
        assert!(obstacle.contains(reason), "{obstacle}");
    }

    #[rstest]
    #[case(json!({}))]
    #[case::older_metal3(json!({"status": {"provisioning": {"state": "ready"}}}))]
    #[case::on_and_meant_to_be(json!({"spec": {"online": true}, "status": {"poweredOn": true}}))]
    #[case::our_older_fence(json!({"metadata": {"annotations": {"bellhop.dev/fence": fence(5)}}}))]
    fn a_clean_host_is_claimed(#[case] changes: Value) {
        assert_eq!(obstacle(&host(changes), &writer(5)), None);
    }

    fn claimed(changes: Value) -> BareMetalHost {
        let mut claimed = json!({"spec": {
            "online": true,
            "image": {"url": "http://i/noble"},
            "userData": {"name": "node01-abc"},
            "consumerRef": {"kind": "Reservation", "name": "s:1", "apiVersion": "bellhop.dev/v1"},
        }});
        for (key, value) in changes.as_object().unwrap() {
            claimed[key] = value.clone();
        }
        host(claimed)
    }

    #[test]
    fn ready_is_provisioned_with_our_image_and_our_user_data() {
        let provisioned = |url: &str| json!({"status": {"provisioning": {"state": "provisioned", "image": {"url": url}}}});
        let ready = read(
            &claimed(provisioned("http://i/noble")),
            &holding(),
            Some("{name}.lab"),
        );
        assert_eq!(
            ready.progress,
            Progress::Ready {
                address: Some("node01.lab".into())
            }
        );
        let stale = read(&claimed(provisioned("http://i/older")), &holding(), None);
        assert_eq!(stale.progress, Progress::Working);
    }

    #[rstest]
    #[case::image_removed(json!({"spec": {"consumerRef": {"kind": "Reservation", "name": "s:1", "apiVersion": "bellhop.dev/v1"}}}), "removed")]
    #[case::consumer_removed(json!({"spec": {}}), "consumerRef")]
    #[case::deleted(json!({"metadata": {"deletionTimestamp": "2026-11-22T00:00:00Z"}}), "being deleted")]
    fn what_someone_else_changed_is_told_and_stops_the_clock(
        #[case] changes: Value,
        #[case] text: &str,
    ) {
        let read = read(&claimed(changes), &holding(), None);
        assert!(read.changed.unwrap().contains(text));
        assert!(matches!(read.progress, Progress::Suspended { .. }));
    }

    #[test]
    fn a_claim_that_was_stripped_from_the_host_is_known_by_the_fence() {
        assert!(was_written(&host(json!({})), &holding(), Version(5)));
        assert!(!was_written(&host(json!({})), &holding(), Version(4)));
    }
}
