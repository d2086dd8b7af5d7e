//! The role in `deploy/kubernetes`: enough, and no more.

use bellhop_simulator::cluster::{Resource, Verb};
use serde_json::{Value, json};

use super::server::{ACCOUNT, Server, is_real, shipped_role};
use super::stage::Stage;
use crate::installation::{end, start};

fn allows(role: &Value, resource: &str, verb: &str) -> bool {
    let has = |list: &Value, wanted: &str| list.as_array().unwrap().iter().any(|one| one == wanted);
    let rules = role["rules"].as_array().unwrap();
    rules
        .iter()
        .any(|rule| has(&rule["resources"], resource) && has(&rule["verbs"], verb))
}

/// On a real API server every test here is its proof; the simulated one checks nobody's rights, but counts.
#[tokio::test]
async fn the_provisioner_needs_what_the_role_allows_and_no_more() {
    let stage = Stage::with_host("node01").await;
    let Server::Simulated(cluster) = &stage.place.server else {
        return;
    };
    let kinds = [Resource::BareMetalHosts, Resource::Secrets];
    let verbs = [
        Verb::Get,
        Verb::List,
        Verb::Watch,
        Verb::Create,
        Verb::Update,
        Verb::Patch,
        Verb::Delete,
    ];
    let counts = || kinds.map(|kind| verbs.map(|verb| cluster.requests(verb, kind)));
    let before = counts();
    let provisioner = stage.provisioner();
    for event in ["1", "nowhere"] {
        stage
            .says(start(
                event,
                if event == "1" { "node01" } else { "nowhere" },
            ))
            .await;
    }
    stage.until("HostProvisioned").await;
    stage.says(end("1", "node01")).await;
    stage.until("HostReleased").await;
    provisioner.stop().await;
    let after = counts();
    let (role, _) = shipped_role();
    for (k, kind) in ["baremetalhosts", "secrets"].into_iter().enumerate() {
        for (v, verb) in [
            "get", "list", "watch", "create", "update", "patch", "delete",
        ]
        .into_iter()
        .enumerate()
        {
            // The stage itself reads and watches hosts with the same requests.
            let by_stage_too = kind == "baremetalhosts" && matches!(verb, "get" | "watch");
            if after[k][v] > before[k][v] || by_stage_too {
                assert!(allows(&role, kind, verb), "the role lacks {verb} {kind}");
            } else {
                // A page of secrets is read for a secret that is there already: only after a crash.
                assert!(
                    !allows(&role, kind, verb),
                    "the role allows {verb} {kind}, which nobody needs"
                );
            }
        }
    }
}

/// Asks the API server itself, request by request.
#[tokio::test]
async fn everything_else_is_refused() {
    if !is_real() {
        return;
    }
    let stage = Stage::with_host("node01").await;
    let own = stage.as_provisioner();
    let (hosts, host) = (stage.place.hosts_path(), stage.place.host_path("node01"));
    let secrets = stage.secrets_path();
    let namespace = &stage.place.namespace;
    let new = stage.new_host("node02", json!({}));
    let whole = stage.host("node01").await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    stage.administrator.create(&secrets, &secret).await.unwrap();
    let answers = [
        ("make hosts", own.create(&hosts, &new).await),
        ("replace hosts", own.replace(&host, &whole).await),
        ("delete hosts", own.delete(&host, json!({})).await),
        ("delete all hosts", own.delete(&hosts, json!({})).await),
        ("write a status", own.patch(&format!("{host}/status"), &json!({"status": {"poweredOn": true}})).await),
        ("list secrets", own.get(&secrets).await),
        ("watch secrets", own.get(&format!("{secrets}?watch=true&timeoutSeconds=1")).await),
        ("change secrets", own.patch(&format!("{secrets}/s"), &json!({"data": {"x": "eA=="}})).await),
        ("delete all secrets", own.delete(&secrets, json!({})).await),
        ("list hosts everywhere", own.get("/apis/metal3.io/v1alpha1/baremetalhosts").await),
        ("read secrets elsewhere", own.get("/api/v1/namespaces/kube-system/secrets/x").await),
        ("read nodes", own.get("/api/v1/nodes").await),
        ("read config maps", own.get(&format!("/api/v1/namespaces/{namespace}/configmaps")).await),
        ("read the namespace", own.get(&format!("/api/v1/namespaces/{namespace}")).await),
        ("make events", own.create(&format!("/api/v1/namespaces/{namespace}/events"), &json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"namespace": namespace}})).await),
        ("take a lease", own.get(&format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")).await),
    ];
    for (what, answer) in answers {
        let refused = answer.expect_err(what);
        assert_eq!(
            (refused.code, refused.reason.as_str()),
            (403, "Forbidden"),
            "{what}: {refused:?}"
        );
        let user = format!("User \"system:serviceaccount:{namespace}:{ACCOUNT}\" cannot");
        assert!(refused.message.contains(&user), "{what}: {refused:?}");
    }
}
