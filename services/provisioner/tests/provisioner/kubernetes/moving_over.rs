//! Hosts of the service before Bellhop, and the way back, where the API server refuses what would be written.

use bellhop_operators::{AdoptedHost, OperatorOrder};
use bellhop_provisioner::adoptable_hosts_in;
use rstest::rstest;
use serde_json::json;

use super::stage::Stage;
use crate::installation::{IMAGE, Installation, end, start};

/// A host as the service before Bellhop leaves it: on, its image, its user data, nobody's `consumerRef`.
pub(crate) async fn prepared_before() -> Stage {
    let stage = Stage::with_host("node01").await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "node01-userdata"},
                        "data": {"userData": "I2Nsb3VkLWNvbmZpZwo="}});
    let secrets = stage.secrets_path();
    stage.administrator.create(&secrets, &secret).await.unwrap();
    let spec =
        json!({"online": true, "image": {"url": IMAGE}, "userData": {"name": "node01-userdata"}});
    stage.patch_host("node01", json!({"spec": spec})).await;
    stage
        .until_host("node01", |host| {
            host["status"]["provisioning"]["state"] == "provisioned"
        })
        .await;
    stage
}

/// An operator adopts it, whosever it is.
pub(crate) async fn adopt(stage: &Stage) {
    let settings = stage.settings_for(&stage.place.namespace);
    let found = adoptable_hosts_in(&settings, stage.place.provisioner.clone()).await;
    let host = found.unwrap().remove(0);
    let adopted = AdoptedHost {
        resource: host.resource,
        host: host.host,
        image: host.image,
        secret: host.secret,
        reservation: None,
        until: None,
        site: None,
    };
    stage.order(OperatorOrder::Adopt(Box::new(adopted))).await;
}

/// Lets time pass in which the same should not be recorded again.
async fn recorded_once(installation: &Installation, name: &str) {
    installation.quiet().await;
    let names = installation.fact_names().await;
    assert_eq!(
        names.iter().filter(|one| **one == name).count(),
        1,
        "{names:?}"
    );
}

#[rstest]
#[case::invalid("Invalid")]
#[case::forbidden("Forbidden")]
#[tokio::test]
async fn an_adoption_that_admission_refuses_is_recorded_once_and_alarmed_until_it_goes_on(
    #[case] reason: &str,
) {
    let stage = prepared_before().await;
    let policy = stage
        .place
        .refuse_consumers(reason, "consumers are frozen until Monday")
        .await;
    let before = stage.host("node01").await;
    let provisioner = stage.provisioner();
    adopt(&stage).await;
    stage.until("AdoptionRefused").await;
    provisioner
        .until_shown("[!]alarm adoption_refused baremetalhost/")
        .await;
    recorded_once(&stage, "AdoptionRefused").await;
    let readyz = provisioner.readyz().await;
    assert!(readyz.contains("frozen until Monday"), "{readyz}");
    assert!(!readyz.contains("failing"), "{readyz}");
    assert_eq!(stage.host("node01").await["spec"], before["spec"]);
    stage.place.lift(policy).await;
    stage.until("HostClaimed").await;
    provisioner.until_not_shown("adoption_refused").await;
    let after = stage.host("node01").await;
    assert_eq!(after["spec"]["image"], before["spec"]["image"]);
    assert_eq!(after["spec"]["consumerRef"]["kind"], "Reservation");
}

#[rstest]
#[case::invalid("Invalid")]
#[case::forbidden("Forbidden")]
#[tokio::test]
async fn a_hand_back_that_admission_refuses_is_alarmed_until_it_goes_on_or_nobody_wants_it(
    #[case] reason: &str,
) {
    let stage = Stage::with_host("node01").await;
    let policy = stage
        .place
        .refuse_switching_on(reason, "hosts stay off until Monday")
        .await;
    let provisioner = stage.provisioner();
    let resource = format!("baremetalhost/{}/node01", stage.place.namespace);
    let hand_back = || OperatorOrder::HandBack {
        resource: resource.parse().unwrap(),
    };
    stage.order(hand_back()).await;
    let alarm = format!("[!]alarm hand_back_refused {resource}");
    provisioner.until_shown(&alarm).await;
    let readyz = provisioner.readyz().await;
    assert!(readyz.contains("hosts stay off until Monday"), "{readyz}");
    assert!(!readyz.contains("failing"), "{readyz}");
    // Whoever gets the host meanwhile needs no hand-back. Its claim is refused too.
    stage.says(start("1", "node01")).await;
    provisioner.until_not_shown("hand_back_refused").await;
    stage.until("ReservationFailed").await;
    stage.says(end("1", "node01")).await;
    stage.until("HostReleased").await;

    stage.order(hand_back()).await;
    provisioner.until_shown(&alarm).await;
    stage.place.lift(policy).await;
    stage.until("HostHandedBack").await;
    provisioner.until_not_shown("hand_back_refused").await;
    assert_eq!(stage.host("node01").await["spec"]["online"], true);
}
