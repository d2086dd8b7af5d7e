//! Someone else writes a host between our read and our write, or while we sleep between the two: our write is refused, and
//! nothing of theirs is touched.

use rstest::rstest;
use serde_json::{Value, json};

use bellhop_domain::reservation::{Fact, FailureReason};
use bellhop_operators::OperatorOrder;
use bellhop_simulator::cluster::HostState;

use super::between::Kept;
use super::moving_over;
use super::stage::Stage;
use crate::installation::{Running, end, start};
use crate::world::is_clean;

/// Each write of ours.
#[derive(Clone, Copy, Debug)]
enum Write {
    Claim,
    GiveBack,
    LetGo,
    /// Of a host that its claim never reached.
    Fence,
    Adopt,
    HandBack,
}

/// A provisioner whose next write is this one, and is kept back.
async fn about_to(write: Write) -> (Stage, Running) {
    let stage = match write {
        Write::Adopt => moving_over::prepared_before().await,
        _ => Stage::with_host("node01").await,
    };
    let forbidden = match write {
        Write::Fence => Some(stage.place.forbid_secrets().await),
        _ => None,
    };
    let provisioner = stage.provisioner();
    let keep_back = || stage.between.keep_back(Kept::HostWrite);
    match write {
        Write::Claim => {
            keep_back();
            stage.says(start("1", "node01")).await;
        }
        Write::GiveBack => {
            stage.says(start("1", "node01")).await;
            stage.until("HostProvisioned").await;
            keep_back();
            stage.says(end("1", "node01")).await;
        }
        Write::LetGo => {
            stage.says(start("1", "node01")).await;
            stage.until("HostProvisioned").await;
            stage.place.hold_at("node01", HostState::Deprovisioning);
            stage.says(end("1", "node01")).await;
            stage
                .until_host("node01", |host| host["spec"]["image"].is_null())
                .await;
            keep_back();
            stage.place.let_go("node01");
        }
        Write::Fence => {
            stage.says(start("1", "node01")).await;
            stage.until("HostAssigned").await;
            keep_back();
            stage.says(end("1", "node01")).await;
        }
        Write::Adopt => {
            keep_back();
            moving_over::adopt(&stage).await;
        }
        Write::HandBack => {
            keep_back();
            let resource = format!("baremetalhost/{}/node01", stage.place.namespace);
            let resource = resource.parse().unwrap();
            stage.order(OperatorOrder::HandBack { resource }).await;
        }
    }
    stage.between.until_kept().await;
    if let Some(forbidden) = forbidden {
        stage.place.allow_secrets(forbidden).await;
    }
    (stage, provisioner)
}

/// How Cluster API takes a host.
fn taken() -> Value {
    let machine = json!({"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1", "kind": "Metal3Machine", "name": "m1"});
    json!({"spec": {"consumerRef": machine, "image": {"url": "http://images.invalid/theirs"}, "userData": {"name": "theirs"}}})
}

#[rstest]
#[case::claim(Write::Claim, "Metal3Machine m1 uses it")]
#[case::give_back(Write::GiveBack, "its release is blocked: Metal3Machine m1 uses it")]
#[case::let_go(Write::LetGo, "")]
#[case::fence(Write::Fence, "its release is blocked: Metal3Machine m1 uses it")]
#[case::adopt(Write::Adopt, "it can't be adopted: Metal3Machine m1 uses it")]
#[case::hand_back(Write::HandBack, "Metal3Machine m1 uses it")]
#[tokio::test]
async fn a_host_that_someone_else_takes_between_our_read_and_our_write_is_theirs(
    #[case] write: Write,
    #[case] shown: &str,
) {
    let (stage, provisioner) = about_to(write).await;
    let before = stage.record.host_writes().len();
    let theirs = stage.patch_host("node01", taken()).await;
    let refused = stage.between.let_through().await;
    assert_eq!(refused.code, 409, "{refused:?}");
    // What it reads then is theirs.
    match write {
        // The host was given back already.
        Write::LetGo => drop(stage.until("HostReleased").await),
        _ => provisioner.until_shown(shown).await,
    }
    stage.quiet().await;
    assert_eq!(stage.record.host_writes().len(), before + 1);
    let now = stage.host("node01").await;
    assert_eq!(now["spec"], theirs["spec"]);
    assert_eq!(
        now["metadata"]["annotations"],
        theirs["metadata"]["annotations"]
    );
}

/// Someone who only labels hosts, each time just before we write.
#[rstest]
#[case::claim(Write::Claim, "HostProvisioned")]
#[case::give_back(Write::GiveBack, "HostReleased")]
#[case::let_go(Write::LetGo, "HostReleased")]
#[case::fence(Write::Fence, "HostReleased")]
#[case::adopt(Write::Adopt, "HostClaimed")]
#[case::hand_back(Write::HandBack, "HostHandedBack")]
#[tokio::test]
async fn another_writer_between_read_and_write_loses_nothing_and_is_not_lost(
    #[case] write: Write,
    #[case] in_the_end: &str,
) {
    let (stage, _provisioner) = about_to(write).await;
    let label = json!({"metadata": {"labels": {"writer": "theirs"}}});
    stage.patch_host("node01", label).await;
    let refused = stage.between.let_through().await;
    assert_eq!(refused.code, 409, "{refused:?}");
    stage.until(in_the_end).await;
    let host = stage.host("node01").await;
    assert_eq!(host["metadata"]["labels"]["writer"], "theirs");
    assert!(!stage.fact_names().await.contains(&"ReservationFailed"));
    assert!(stage.claims("node01").len() <= 1);
}

#[tokio::test]
async fn a_replica_that_slept_before_its_claim_until_the_reservation_was_over_is_refused() {
    let stage = Stage::with_host("node01").await;
    let between = stage.go_between().await;
    between.keep_back(Kept::HostWrite);
    let _sleeper = stage.provisioner_over(&between);
    stage.says(start("1", "node01")).await;
    between.until_kept().await;
    // Another one works on: it claims the host, and gives it back.
    let _awake = stage.provisioner();
    stage.until("HostProvisioned").await;
    stage.says(end("1", "node01")).await;
    stage.until("HostReleased").await;
    let given_back = stage.host("node01").await;
    let refused = between.let_through().await;
    assert_eq!(refused.code, 409, "{refused:?}");
    stage.quiet().await;
    let now = stage.host("node01").await;
    assert!(is_clean(&now), "{now:#}");
    assert_eq!(
        now["metadata"]["resourceVersion"],
        given_back["metadata"]["resourceVersion"]
    );
    stage
        .until_claims("node01", &["reservation-system:1"])
        .await;
}

#[tokio::test]
async fn a_claim_does_not_reach_the_next_host_of_that_name() {
    let stage = Stage::with_host("node01").await;
    stage.between.keep_back(Kept::HostWrite);
    let _provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    stage.between.until_kept().await;
    let path = stage.place.host_path("node01");
    stage.administrator.delete(&path, json!({})).await.unwrap();
    stage.until_gone("node01").await;
    stage.add_host("node01", json!({})).await;
    let refused = stage.between.let_through().await;
    assert_eq!(refused.code, 409, "{refused:?}");
    let failed = stage.until("ReservationFailed").await;
    assert!(
        matches!(
            failed,
            Fact::ReservationFailed {
                reason: FailureReason::HostGone,
                ..
            }
        ),
        "{failed:?}"
    );
    stage.until("HostReleased").await;
    let now = stage.host("node01").await;
    assert!(is_clean(&now), "{now:#}");
    assert_eq!(
        now["metadata"]["annotations"].get("bellhop.dev/fence"),
        None
    );
    assert!(stage.secrets().await.is_empty());
}
