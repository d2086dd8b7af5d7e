//! Requests that the API server refuses for reasons of its own.

use bellhop_domain::reservation::{Fact, FailureReason};
use rstest::rstest;
use serde_json::json;

use super::stage::Stage;
use crate::installation::{end, start};
use crate::world::is_clean;

#[tokio::test]
async fn requests_that_there_is_no_room_for_are_sent_again() {
    let stage = Stage::with_host("node01").await;
    let throttled = stage.place.throttle().await;
    let own = stage.as_provisioner();
    let path = stage.place.host_path("node01");
    let answer = loop {
        if let Err(answer) = own.get(&path).await {
            break answer;
        }
    };
    assert_eq!(
        (answer.code, answer.reason.as_str(), answer.message.as_str()),
        (429, "", "Too many requests, please try again later.\n")
    );
    let _provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    stage.until("ReservationStarted").await;
    stage.quiet().await;
    stage.place.lift(throttled).await;
    stage.until("HostProvisioned").await;
    assert!(!stage.fact_names().await.contains(&"ReservationFailed"));
}

#[rstest]
#[case::invalid("Invalid", 422)]
#[case::forbidden("Forbidden", 403)]
#[tokio::test]
async fn a_claim_that_admission_refuses_fails_its_reservation_with_the_reason(
    #[case] reason: &str,
    #[case] code: u16,
) {
    let stage = Stage::with_host("node01").await;
    let policy = stage
        .place
        .refuse_images(reason, "images are frozen until Monday")
        .await;
    let image = json!({"spec": {"image": {"url": "http://images.invalid/any"}}});
    let answer = stage
        .as_provisioner()
        .patch(&stage.place.host_path("node01"), &image)
        .await;
    let answer = answer.unwrap_err();
    assert_eq!((answer.code, answer.reason.as_str()), (code, reason));
    let by = "baremetalhosts.metal3.io \"node01\" is forbidden: ValidatingAdmissionPolicy '";
    assert!(answer.message.starts_with(by), "{answer:?}");
    let _provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    let failed = stage.until("ReservationFailed").await;
    let Fact::ReservationFailed {
        reason: FailureReason::CannotClaim { text },
        ..
    } = &failed
    else {
        panic!("{failed:?}");
    };
    assert!(text.contains("images are frozen until Monday"), "{text}");
    stage.until("HostReleased").await;
    assert!(stage.secrets().await.is_empty());
    stage.place.lift(policy).await;
}

#[rstest]
#[case::invalid("Invalid")]
#[case::forbidden("Forbidden")]
#[tokio::test]
async fn a_release_that_admission_refuses_is_alarmed_with_the_reason_until_it_goes_on(
    #[case] reason: &str,
) {
    let stage = Stage::with_host("node01").await;
    let provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    stage.until("HostProvisioned").await;
    let policy = stage
        .place
        .refuse_removals_of_images(reason, "images stay until Monday")
        .await;
    stage.says(end("1", "node01")).await;
    stage.until("ReservationEnded").await;
    provisioner
        .until_shown("[!]alarm release_blocked baremetalhost/")
        .await;
    let readyz = provisioner.readyz().await;
    assert!(readyz.contains("images stay until Monday"), "{readyz}");
    // It is tried again, and stays an alarm meanwhile; the tenant's own secret stays while the host refers to it.
    stage.quiet().await;
    let readyz = provisioner.readyz().await;
    assert!(readyz.contains("release_blocked"), "{readyz}");
    assert!(!readyz.contains("failing"), "{readyz}");
    assert_eq!(stage.secrets().await.len(), 1);
    stage.place.lift(policy).await;
    stage.until("HostReleased").await;
    stage.until_host("node01", is_clean).await;
    provisioner.until_not_shown("release_blocked").await;
    assert!(stage.secrets().await.is_empty());
}

#[tokio::test]
async fn in_a_namespace_that_is_being_deleted_nothing_is_claimed_and_the_reason_is_shown() {
    let stage = Stage::with_host("node01").await;
    stage.place.delete_namespace().await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let answer = stage
        .as_provisioner()
        .create(&stage.secrets_path(), &secret)
        .await;
    let namespace = &stage.place.namespace;
    let answer = answer.unwrap_err();
    assert_eq!((answer.code, answer.reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        answer.message,
        format!(
            "secrets \"s\" is forbidden: unable to create new content in namespace {namespace} because it is being \
             terminated"
        )
    );
    let provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    provisioner
        .until_shown("because it is being terminated")
        .await;
    assert!(stage.host("node01").await["spec"].get("image").is_none());
    assert!(!stage.fact_names().await.contains(&"ReservationFailed"));
    stage.says(end("1", "node01")).await;
    stage.until("HostReleased").await;
    stage.until_host("node01", is_clean).await;
}

#[tokio::test]
async fn a_secret_of_that_name_that_belongs_to_someone_else_is_never_used_or_deleted() {
    let stage = Stage::with_host("node01").await;
    let _provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    stage.until("HostProvisioned").await;
    // The name is the same for the same reservation on the same host: another installation learns it from a first one.
    let name = stage.host("node01").await["spec"]["userData"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let patch = json!({"metadata": {"annotations": {"bellhop.dev/ledger": "another"}}});
    let path = format!("{}/{name}", stage.secrets_path());
    stage.administrator.patch(&path, &patch).await.unwrap();
    stage.says(end("1", "node01")).await;
    stage.until("HostReleased").await;
    assert!(stage.secret(&name).await.is_ok());
}

#[tokio::test]
async fn a_secret_of_that_name_that_someone_else_made_before_the_claim_is_neither_used_nor_overwritten()
 {
    let stage = Stage::with_host("node01").await;
    let forbidden = stage.place.forbid_secrets().await;
    let provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    let Fact::HostAssigned { secret: name, .. } = stage.until("HostAssigned").await else {
        panic!()
    };
    provisioner.until_shown("cannot create secret").await;
    let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"userData": "dGhlaXJz"}});
    let path = stage.secrets_path();
    let made = stage.administrator.create(&path, &theirs).await.unwrap();
    stage.place.allow_secrets(forbidden).await;
    let failed = stage.until("ReservationFailed").await;
    let Fact::ReservationFailed {
        reason: FailureReason::CannotClaim { text },
        ..
    } = &failed
    else {
        panic!("{failed:?}");
    };
    assert!(text.contains("belongs to someone else"), "{text}");
    stage.until("HostReleased").await;
    assert_eq!(stage.secret(&name).await.unwrap(), made);
    stage.until_claims("node01", &[]).await;
    let host = stage.host("node01").await;
    assert!(host["spec"]["userData"].is_null(), "{host:#}");
}
