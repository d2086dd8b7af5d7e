//! What `/readyz` says of Kubernetes.

use std::time::Duration;

use super::stage::Stage;
use crate::installation::{Installation, PATIENCE, Running, end, free_port};

/// Waits until a look has succeeded.
async fn until_looked(provisioner: &Running) {
    let url = format!("http://127.0.0.1:{}/metrics", provisioner.port);
    let search = async {
        loop {
            let metrics = reqwest::get(&url).await.unwrap().text().await.unwrap();
            if metrics.contains("bellhop_reconciliations_total{outcome=\"done\"}") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap();
}

#[tokio::test]
async fn a_provisioner_is_not_ready_before_its_hosts_were_listed_once_and_stays_ready_later() {
    let stage = Stage::with_host("node01").await;
    let namespace = &stage.place.namespace;
    stage.set_reachable(false);
    let provisioner = stage.provisioner();
    let down = format!("[-]kubernetes failed: the hosts of {namespace} can't be listed: ");
    provisioner.until_shown(&down).await;
    // A look for which Kubernetes need not be asked says nothing about it.
    stage.says(end("7", "node01")).await;
    until_looked(&provisioner).await;
    assert!(!provisioner.is_ready().await);
    stage.set_reachable(true);
    provisioner.until_shown("[+]kubernetes ok").await;
    assert!(provisioner.is_ready().await);

    stage.set_reachable(false);
    let degraded =
        format!("[+]kubernetes degraded: the watch of hosts in {namespace} is interrupted: ");
    provisioner.until_shown(&degraded).await;
    assert!(provisioner.is_ready().await);
    // No host changes: that the watch is accepted again is enough.
    stage.set_reachable(true);
    provisioner.until_shown("[+]kubernetes ok").await;
}

#[tokio::test]
async fn what_keeps_a_provisioner_from_kubernetes_is_said_with_its_cause() {
    let installation = Installation::new().await;
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let configuration = kube::Config::new(nobody.parse().unwrap());
    let settings = installation.settings_for("metal3");
    let provisioner = installation.provisioner_in(configuration, settings);
    provisioner
        .until_shown("[-]kubernetes failed: the hosts of metal3 can't be listed: ")
        .await;
    let readyz = provisioner.readyz().await;
    assert!(readyz.contains("Connection refused"), "{readyz}");
    assert!(!provisioner.is_ready().await);
}
