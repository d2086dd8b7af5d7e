//! The role in `deploy/kubernetes`: enough, and no more.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::record::rights_of;
use super::requests::Requests;
use super::server::{ACCOUNT, is_real, new_account, shipped_role, with_token};
use super::stage::Stage;
use crate::installation::{end, start};

/// What it does not need it would not use here; what it lacks is refused on a real API server, and a fault by the record of the
/// go-between on both.
#[tokio::test]
async fn the_provisioner_needs_what_the_role_allows_and_no_more() {
    let stage = Stage::with_host("node01").await;
    let provisioner = stage.provisioner();
    stage.says(start("1", "node01")).await;
    stage.until("HostProvisioned").await;
    stage.says(end("1", "node01")).await;
    stage.until("HostReleased").await;
    provisioner.stop().await;
    let (role, _) = shipped_role();
    assert_eq!(stage.record.rights(), rights_of(&role["rules"]));
    let limits = ["resourceNames", "nonResourceURLs"];
    for rule in role["rules"].as_array().unwrap() {
        assert!(limits.iter().all(|field| rule[field].is_null()), "{rule}");
    }
}

/// The rules that the API server itself tells somebody of, for one namespace.
async fn rules(who: &Requests, namespace: &str) -> Value {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
                        "spec": {"namespace": namespace}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let answer = who.create(path, &review).await.unwrap();
    assert_eq!(answer["status"]["incomplete"], false);
    answer["status"].clone()
}

/// Whatever an account has that nobody gave anything, the provisioner has too; and beyond it the role alone, in its namespace
/// alone.
#[tokio::test]
async fn the_server_grants_the_role_and_nothing_else() {
    if !is_real() {
        return;
    }
    let stage = Stage::new().await;
    let namespace = &stage.place.namespace;
    let token = new_account(&stage.administrator, namespace, "nobody").await;
    let nobody = Requests::new(with_token(&stage.place.administrator, token));
    let own = stage.as_provisioner();
    for place in [namespace, "default", "kube-system"] {
        let (ours, theirs) = (rules(&own, place).await, rules(&nobody, place).await);
        // In any order.
        let paths = |rules: &Value| -> BTreeSet<String> {
            let rules = rules["nonResourceRules"].as_array().into_iter().flatten();
            rules.map(Value::to_string).collect()
        };
        assert_eq!(paths(&ours), paths(&theirs));
        let (ours, theirs) = (
            rights_of(&ours["resourceRules"]),
            rights_of(&theirs["resourceRules"]),
        );
        let more: BTreeSet<_> = ours.difference(&theirs).cloned().collect();
        let granted = if place == namespace {
            rights_of(&shipped_role().0["rules"])
        } else {
            BTreeSet::new()
        };
        assert_eq!(more, granted, "{place}");
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
