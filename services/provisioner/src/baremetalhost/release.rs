//! The release: what we wrote goes away, in one write; then, when the host is clean, our `consumerRef`, in another.
//!
//! ```text
//!   claimed ──give back──▶ image, user data gone, off ──Metal3──▶ clean ──let go──▶ consumerRef gone ──▶ secret gone: released
//! ```
//!
//! Both writes carry the fence. Even a host that our claim never reached gets it, so that the claim of a replica that slept
//! can't be written any more once the resource is free.

use bellhop_domain::reservation::{HostLeft, Release};
use serde_json::{Value, json};

use super::fence::{Verdict, Writer};
use super::host::{BareMetalHost, Consumer, FENCE, INSTALLATION, TRACEPARENT};

/// What comes next on the way back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Write this merge patch.
    Write(Value),
    /// Metal3 is at work.
    Wait(String),
    /// It can't go on until an operator, or whoever is in the way, does something.
    Blocked(String),
    /// The host is given back; what is left is our secret.
    Done(HostLeft),
}

/// The next step. `power_off`: whether a released host is switched off.
pub(crate) fn next_step(
    host: Option<&BareMetalHost>,
    release: &Release,
    writer: &Writer,
    power_off: bool,
) -> Step {
    let Some(host) = host.filter(|host| host.uid() == release.host.uid) else {
        return Step::Done(HostLeft::Gone);
    };
    let written = match writer.check(host) {
        Verdict::Open(written) => written,
        Verdict::Newer(_) => return Step::Wait("a newer decision has written it".to_owned()),
        Verdict::Other(fence) => {
            return Step::Blocked(format!(
                "another ledger wrote it (fence {fence}): an operator decides, see docs/operations.md"
            ));
        }
    };
    let given_back = written >= release.ordered;
    let consumer = host.consumer();
    let ours = consumer == Consumer::Reservation(&release.reservation.to_string());
    // Someone may have taken our consumerRef away and left what else we wrote. The name of the secret is ours alone; the image
    // is ours if our claim was seen there.
    let image =
        release.claimed && !given_back && host.image_url() == Some(release.image_url.as_str());
    let user_data = host.user_data() == Some(release.secret.as_str());
    let left_over = (image && consumer == Consumer::None) || user_data;
    if given_back
        && !ours
        && !left_over
        && (consumer != Consumer::None || !release.claimed || unclean(host).is_none())
    {
        return Step::Done(if host.spec.online {
            HostLeft::On
        } else {
            HostLeft::Off
        });
    }
    if let Some(standstill) = host.standstill() {
        return Step::Blocked(format!("it is {standstill}"));
    }
    // Without our consumerRef it may have become someone's who keeps none.
    if consumer == Consumer::None
        && (host.spec.externally_provisioned || host.spec.custom_deploy.is_some())
    {
        return Step::Blocked(
            "someone else provisioned it, and our consumerRef is gone".to_owned(),
        );
    }
    match consumer {
        Consumer::Foreign(consumer) => {
            Step::Blocked(format!("{} {} uses it", consumer.kind, consumer.name))
        }
        Consumer::Reservation(other) if !ours => {
            Step::Blocked(format!("reservation {other} has it"))
        }
        _ if ours || left_over || release.claimed => {
            take_back(host, release, writer, given_back, power_off)
        }
        // Our claim never reached it, and it became someone's who keeps no consumerRef: not even the fence is written (R6).
        _ if host.image_url().is_some() => {
            Step::Blocked("it has an image that Bellhop did not set".to_owned())
        }
        // Our claim never reached it.
        _ => Step::Write(json!({"metadata": metadata(host, writer)})),
    }
}

fn take_back(
    host: &BareMetalHost,
    release: &Release,
    writer: &Writer,
    given_back: bool,
    power_off: bool,
) -> Step {
    let image_is_ours = host.image_url() == Some(release.image_url.as_str());
    // Ours went with the give-back: what is there afterwards is someone else's, whatever its URL.
    if host.image_url().is_some() && (given_back || !image_is_ours) {
        return Step::Blocked(
            "someone else replaced its image: set it to null, or to what it was".to_owned(),
        );
    }
    let user_data_is_ours = host.user_data() == Some(release.secret.as_str());
    if image_is_ours || user_data_is_ours || !given_back {
        return Step::Write(give_back(host, writer, user_data_is_ours, power_off));
    }
    if let Some(unclean) = unclean(host) {
        return Step::Wait(unclean);
    }
    let mut metadata = metadata(host, writer);
    metadata["annotations"][INSTALLATION] = Value::Null;
    metadata["annotations"][TRACEPARENT] = Value::Null;
    Step::Write(json!({"metadata": metadata, "spec": {"consumerRef": null}}))
}

/// What keeps a host that was given back from being clean (R4).
fn unclean(host: &BareMetalHost) -> Option<String> {
    let status = &host.status;
    if let Some(error) = host.error() {
        return Some(format!(
            "Metal3 has an error while it takes it back: {}: {}",
            error.kind, error.message
        ));
    }
    if !host.is_available() || !status.provisioning.image.url.is_empty() {
        return Some(format!(
            "Metal3 takes it back: {}",
            status.provisioning.state
        ));
    }
    (!host.spec.online && status.powered_on).then(|| "it is still being switched off".to_owned())
}

/// Image and user data go, and the host is switched off where that is allowed: `online: false` is refused, and all of the
/// patch with it, where the host says `disablePowerOff`.
fn give_back(
    host: &BareMetalHost,
    writer: &Writer,
    user_data_is_ours: bool,
    power_off: bool,
) -> Value {
    let mut spec = json!({"image": null});
    if user_data_is_ours {
        spec["userData"] = Value::Null;
    }
    if power_off && !host.spec.disable_power_off {
        spec["online"] = Value::Bool(false);
    }
    json!({"metadata": metadata(host, writer), "spec": spec})
}

fn metadata(host: &BareMetalHost, writer: &Writer) -> Value {
    json!({
        "uid": host.uid(),
        "resourceVersion": host.resource_version(),
        "annotations": {FENCE: writer.fence().to_string()},
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use bellhop_domain::id::{HostRef, ReservationId, Source, Version};
    use jiff::Timestamp;

    use super::super::fence::tests::{fence, writer};
    use super::super::host::tests::host;
    use super::*;

    fn release() -> Release {
        Release {
            reservation: ReservationId::new(Source::new("s"), "1"),
            host: HostRef {
                namespace: "metal3".into(),
                name: "node01".into(),
                uid: "uid-1".into(),
            },
            secret: "node01-abc".into(),
            image_url: "http://i/noble".into(),
            claimed: true,
            adopted: false,
            cleaning_off: false,
            ordered: Version(8),
            since: Timestamp::UNIX_EPOCH,
        }
    }

    fn step(changes: Value) -> Step {
        next_step(Some(&host(changes)), &release(), &writer(9), true)
    }

    fn with(fence: &str, spec: Value, status: Value) -> Value {
        json!({"metadata": {"annotations": {FENCE: fence}}, "spec": spec, "status": status})
    }

    fn ours() -> Value {
        json!({"kind": "Reservation", "name": "s:1", "apiVersion": "bellhop.dev/v1"})
    }

    fn provisioned() -> Value {
        json!({"online": true, "image": {"url": "http://i/noble"}, "userData": {"name": "node01-abc"}, "consumerRef": ours()})
    }

    #[test]
    fn a_claimed_host_loses_image_and_user_data_and_is_switched_off_in_one_fenced_write() {
        let Step::Write(patch) = step(with(&fence(5), provisioned(), json!({}))) else {
            panic!()
        };
        assert_eq!(
            patch["spec"],
            json!({"image": null, "userData": null, "online": false})
        );
        assert_eq!(patch["metadata"]["annotations"], json!({FENCE: fence(9)}));
        assert_eq!(
            (
                &patch["metadata"]["uid"],
                &patch["metadata"]["resourceVersion"]
            ),
            (&json!("uid-1"), &json!("7"))
        );
    }

    #[test]
    fn a_host_that_may_not_be_switched_off_stays_on() {
        let mut spec = provisioned();
        spec["disablePowerOff"] = json!(true);
        let Step::Write(patch) = step(with(&fence(5), spec, json!({}))) else {
            panic!()
        };
        assert_eq!(patch["spec"], json!({"image": null, "userData": null}));
    }

    #[test]
    fn only_a_clean_host_loses_our_consumer_ref() {
        let spec = || json!({"consumerRef": ours()});
        let deprovisioning = json!({"provisioning": {"state": "deprovisioning", "image": {"url": "http://i/noble"}}});
        assert!(matches!(
            step(with(&fence(8), spec(), deprovisioning)),
            Step::Wait(_)
        ));
        assert!(matches!(
            step(with(&fence(8), spec(), json!({"poweredOn": true}))),
            Step::Wait(_)
        ));
        assert!(matches!(
            step(with(
                &fence(8),
                spec(),
                json!({"errorType": "power management error"})
            )),
            Step::Wait(_)
        ));
        let Step::Write(patch) = step(with(&fence(8), spec(), json!({}))) else {
            panic!()
        };
        assert_eq!(patch["spec"], json!({"consumerRef": null}));
        assert_eq!(
            patch["metadata"]["annotations"],
            json!({FENCE: fence(9), INSTALLATION: null, TRACEPARENT: null})
        );
    }

    #[test]
    fn a_host_that_our_claim_never_reached_gets_the_fence_all_the_same() {
        let unclaimed = Release {
            claimed: false,
            ..release()
        };
        let step = |changes| next_step(Some(&host(changes)), &unclaimed, &writer(9), true);
        let Step::Write(patch) = step(with(&fence(5), json!({}), json!({}))) else {
            panic!()
        };
        assert_eq!(
            patch,
            json!({"metadata": {"uid": "uid-1", "resourceVersion": "7", "annotations": {FENCE: fence(9)}}})
        );
        assert_eq!(
            step(with(&fence(8), json!({}), json!({}))),
            Step::Done(HostLeft::Off)
        );
    }

    #[test]
    fn a_host_that_someone_else_gave_an_image_before_our_claim_reached_it_is_not_even_fenced() {
        let unclaimed = Release {
            claimed: false,
            ..release()
        };
        let theirs = json!({"spec": {"online": true, "image": {"url": "http://theirs"}}});
        let step = next_step(Some(&host(theirs)), &unclaimed, &writer(9), true);
        assert!(matches!(step, Step::Blocked(_)), "{step:?}");
    }

    #[test]
    fn a_host_that_is_gone_or_another_one_of_its_name_is_released() {
        assert_eq!(
            step(json!({"metadata": {"uid": "another"}})),
            Step::Done(HostLeft::Gone)
        );
        let gone = next_step(None, &release(), &writer(9), true);
        assert_eq!(gone, Step::Done(HostLeft::Gone));
    }

    #[test]
    fn a_foreign_paused_or_otherwise_fenced_host_is_not_written() {
        let foreign =
            json!({"consumerRef": {"kind": "Metal3Machine", "name": "m", "apiVersion": "x/v1"}});
        assert!(matches!(
            step(with(&fence(5), foreign.clone(), json!({}))),
            Step::Blocked(_)
        ));
        assert_eq!(
            step(with(&fence(8), foreign, json!({}))),
            Step::Done(HostLeft::Off)
        );
        assert!(matches!(
            step(with("other/0123456789ab/5", provisioned(), json!({}))),
            Step::Blocked(_)
        ));
        assert!(matches!(
            step(with(&fence(10), provisioned(), json!({}))),
            Step::Wait(_)
        ));
        let paused = json!({"metadata": {"annotations": {"baremetalhost.metal3.io/paused": ""}}, "spec": provisioned()});
        assert!(matches!(step(paused), Step::Blocked(_)));
        let mut replaced = provisioned();
        replaced["image"] = json!({"url": "http://theirs"});
        assert!(matches!(
            step(with(&fence(5), replaced, json!({}))),
            Step::Blocked(_)
        ));
    }

    #[test]
    fn a_host_whose_consumer_ref_was_stripped_is_still_taken_back() {
        let mut stripped = provisioned();
        stripped["consumerRef"] = Value::Null;
        let Step::Write(patch) = step(with(&fence(5), stripped, json!({}))) else {
            panic!()
        };
        assert_eq!(patch["spec"]["image"], Value::Null);
    }

    #[test]
    fn a_host_that_lost_consumer_ref_and_user_data_but_not_our_image_is_still_taken_back() {
        let spec = json!({"online": true, "image": {"url": "http://i/noble"}});
        let running = json!({"poweredOn": true, "provisioning": {"state": "provisioned", "image": {"url": "http://i/noble"}}});
        let Step::Write(patch) = step(with(&fence(5), spec, running)) else {
            panic!()
        };
        assert_eq!(patch["spec"], json!({"image": null, "online": false}));
    }

    #[test]
    fn a_host_that_lost_our_consumer_ref_on_its_way_back_is_not_released_before_it_is_clean() {
        let deprovisioning = json!({"provisioning": {"state": "deprovisioning", "image": {"url": "http://i/noble"}}});
        assert!(matches!(
            step(with(&fence(8), json!({}), deprovisioning)),
            Step::Wait(_)
        ));
        assert_eq!(
            step(with(&fence(8), json!({}), json!({}))),
            Step::Done(HostLeft::Off)
        );
    }

    #[test]
    fn our_user_data_is_taken_back_wherever_it_stands() {
        let Step::Write(patch) = step(with(
            &fence(8),
            json!({"userData": {"name": "node01-abc"}}),
            json!({}),
        )) else {
            panic!()
        };
        assert_eq!(patch["spec"]["userData"], Value::Null);
    }

    #[test]
    fn what_someone_else_sets_on_a_host_after_it_was_given_back_is_left_alone() {
        let image = json!({"image": {"url": "http://i/noble"}});
        assert!(matches!(
            step(with(&fence(8), image, json!({}))),
            Step::Done(_) | Step::Blocked(_)
        ));
        let theirs = json!({"externallyProvisioned": true});
        assert!(matches!(
            step(with(&fence(5), theirs, json!({}))),
            Step::Blocked(_)
        ));
    }
}
