//! Each fault of requests, as a client meets it.

use std::time::Duration;

use bellhop_simulator::cluster::{Cluster, Fault, FaultKind, HostState, Resource, Verb};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::json;

use crate::{NS, PATIENCE, client, cluster_with, host_resource, hosts, merge, refusal};

fn description(cluster: &Cluster) -> Option<String> {
    cluster.host(NS, "node01").unwrap()["spec"]["description"]
        .as_str()
        .map(str::to_owned)
}

fn describe(text: &str) -> serde_json::Value {
    json!({"spec": {"description": text}})
}

#[tokio::test]
async fn refusals_come_as_often_as_they_were_ordered() {
    let refusals = [
        (FaultKind::Forbidden, 403, "Forbidden"),
        (FaultKind::Conflict, 409, "Conflict"),
        (FaultKind::Gone, 410, "Expired"),
        (
            FaultKind::TooManyRequests {
                retry_after_seconds: 3,
            },
            429,
            // The real one answers in plain text, which kube's client can't read as a Status.
            "Failed to parse error data",
        ),
        (FaultKind::InternalError, 500, "InternalError"),
        (FaultKind::Unavailable, 503, "ServiceUnavailable"),
    ];
    let cluster = cluster_with(&["node01"]).await;
    let hosts = hosts(&cluster);
    for (kind, code, reason) in refusals {
        let fault = cluster.inject(Fault::new(kind).on(Verb::Patch).host(NS, "node01").times(2));
        for _ in 0..2 {
            let status = refusal(merge(&hosts, "node01", describe(reason)).await);
            assert_eq!((status.code, status.reason.as_str()), (code, reason));
        }
        assert_ne!(description(&cluster).as_deref(), Some(reason));
        assert_eq!(cluster.writes().last().unwrap().answer, code);
        merge(&hosts, "node01", describe(reason)).await.unwrap();
        assert_eq!(description(&cluster).as_deref(), Some(reason));
        assert_eq!(cluster.fault_hits(fault), 2);
    }
}

#[tokio::test]
async fn a_fault_meets_only_those_it_is_for() {
    let cluster = cluster_with(&["node01", "node02"]).await;
    cluster.inject(
        Fault::new(FaultKind::Forbidden)
            .on(Verb::Patch)
            .host(NS, "node01"),
    );
    cluster.inject(
        Fault::new(FaultKind::InternalError)
            .on(Verb::Create)
            .resource(Resource::Secrets)
            .object(NS, "a"),
    );
    let hosts = hosts(&cluster);
    hosts.get("node01").await.unwrap();
    hosts.list(&ListParams::default()).await.unwrap();
    merge(&hosts, "node02", describe("fine")).await.unwrap();
    assert_eq!(
        refusal(merge(&hosts, "node01", describe("no")).await).code,
        403
    );
    let secrets: Api<Secret> = Api::namespaced(client(&cluster), NS);
    let named = |name: &str| Secret {
        metadata: kube::api::ObjectMeta {
            name: Some(name.to_owned()),
            ..Default::default()
        },
        ..Default::default()
    };
    secrets
        .create(&PostParams::default(), &named("b"))
        .await
        .unwrap();
    assert_eq!(
        refusal(secrets.create(&PostParams::default(), &named("a")).await).code,
        500
    );
    cluster.clear_faults();
    merge(&hosts, "node01", describe("yes")).await.unwrap();
}

#[tokio::test]
async fn kube_waits_as_long_as_it_is_told_to() {
    let cluster = cluster_with(&["node01"]).await;
    let patient = Client::try_from(Config::new(cluster.url().parse().unwrap())).unwrap();
    let hosts = Api::<kube::api::DynamicObject>::namespaced_with(patient, NS, &host_resource());
    let fault = cluster.inject(
        Fault::new(FaultKind::TooManyRequests {
            retry_after_seconds: 0,
        })
        .times(2),
    );
    hosts.get("node01").await.unwrap();
    assert_eq!(cluster.fault_hits(fault), 2);
    assert_eq!(cluster.requests(Verb::Get, Resource::BareMetalHosts), 3);
}

#[tokio::test]
async fn a_late_answer_is_a_right_one() {
    let cluster = cluster_with(&["node01"]).await;
    let hosts = hosts(&cluster);
    let an_hour = FaultKind::Latency {
        milliseconds: 3_600_000,
    };
    let fault = cluster.inject(Fault::new(an_hour).on(Verb::Get).times(1));
    let late = tokio::spawn({
        let hosts = hosts.clone();
        async move { hosts.get("node01").await }
    });
    while cluster.fault_hits(fault) == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    hosts.get("node01").await.unwrap();
    assert!(!late.is_finished());
    late.abort();
    let fault = cluster.inject(Fault::new(FaultKind::Latency { milliseconds: 1 }));
    hosts.get("node01").await.unwrap();
    assert_eq!(cluster.fault_hits(fault), 1);
}

#[tokio::test]
async fn a_hanging_request_is_never_carried_out_and_ends_when_the_fault_is_cleared() {
    let cluster = cluster_with(&["node01"]).await;
    let fault = cluster.inject(Fault::new(FaultKind::Hang).on(Verb::Patch).times(1));
    let hosts = hosts(&cluster);
    let hanging = tokio::spawn({
        let hosts = hosts.clone();
        async move { merge(&hosts, "node01", describe("hanging")).await }
    });
    while cluster.fault_hits(fault) == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // One request hangs; the next is answered.
    merge(&hosts, "node01", describe("other")).await.unwrap();
    assert!(!hanging.is_finished());
    cluster.clear_fault(fault);
    let ended = tokio::time::timeout(PATIENCE, hanging)
        .await
        .unwrap()
        .unwrap();
    assert!(!matches!(ended, Ok(_) | Err(kube::Error::Api(_))));
    assert_eq!(description(&cluster).as_deref(), Some("other"));
}

#[tokio::test]
async fn a_cut_connection_leaves_the_client_in_doubt_about_what_was_done() {
    let cluster = cluster_with(&["node01"]).await;
    let hosts = hosts(&cluster);
    cluster.inject(
        Fault::new(FaultKind::CutConnection)
            .on(Verb::Patch)
            .times(1),
    );
    assert!(!matches!(
        merge(&hosts, "node01", describe("cut")).await,
        Ok(_) | Err(kube::Error::Api(_))
    ));
    assert_eq!(description(&cluster), None);
    cluster.inject(Fault::new(FaultKind::LoseAnswer).on(Verb::Patch).times(1));
    assert!(!matches!(
        merge(&hosts, "node01", describe("lost")).await,
        Ok(_) | Err(kube::Error::Api(_))
    ));
    assert_eq!(description(&cluster).as_deref(), Some("lost"));

    let writes = cluster.writes();
    assert_eq!((writes[0].answer, writes[0].was_accepted()), (0, false));
    assert_eq!((writes[1].answer, writes[1].was_accepted()), (200, true));
    assert_eq!(writes[1].fault, Some("lose_answer"));
}

#[tokio::test]
async fn another_writer_comes_between_a_read_and_a_write() {
    let cluster = cluster_with(&["node01"]).await;
    let hosts = hosts(&cluster);
    let patch = json!({"spec": {"consumerRef": {"kind": "Metal3Machine", "name": "theirs"}}});
    cluster.inject(
        Fault::new(FaultKind::AnotherWriter { patch })
            .host(NS, "node01")
            .times(1),
    );
    let read = hosts.get("node01").await.unwrap();
    let mut write = describe("mine");
    write["metadata"] = json!({"resourceVersion": read.resource_version().unwrap()});
    assert_eq!(refusal(merge(&hosts, "node01", write).await).code, 409);
    let host = hosts.get("node01").await.unwrap();
    assert_eq!(host.data["spec"]["consumerRef"]["name"], "theirs");
    merge(&hosts, "node01", describe("mine")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_away_comes_back_with_all_it_had() {
    let cluster = cluster_with(&["node01"]).await;
    let hosts = hosts(&cluster);
    hosts.get("node01").await.unwrap();
    cluster.stop().await;
    assert!(hosts.get("node01").await.is_err());
    let online = json!({"spec": {"online": true, "image": {"url": "http://images.invalid/a"}}});
    cluster.edit_as_someone_else(NS, "node01", &online).unwrap();
    crate::reach(&cluster, "node01", HostState::Provisioned).await;
    cluster.start_listening().await.unwrap();
    assert_eq!(
        hosts.get("node01").await.unwrap().data["status"]["provisioning"]["state"],
        "provisioned"
    );
}
