//! The same power over HTTP, for other processes.

use bellhop_simulator::cluster::{Cluster, ClusterSettings, HostState};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::{NS, cluster_with, hosts, merge, reach, refusal};

async fn call(
    cluster: &Cluster,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    // reqwest wants a provider of cryptography even for plain HTTP; a second call finds it there already.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    let mut request = Client::new().request(method, format!("{}/simulator{path}", cluster.url()));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn a_host_is_added_driven_and_looked_at() {
    let cluster = cluster_with(&[]).await;
    let host = json!({"namespace": NS, "name": "node01", "spec": {"disablePowerOff": true, "online": true}});
    assert_eq!(
        call(&cluster, Method::POST, "/hosts", Some(host.clone()))
            .await
            .0,
        StatusCode::CREATED
    );
    assert_eq!(
        call(&cluster, Method::POST, "/hosts", Some(host)).await.0,
        StatusCode::CONFLICT
    );
    let hold = json!({"state": "provisioning"});
    assert_eq!(
        call(
            &cluster,
            Method::POST,
            "/hosts/metal3/node01/hold",
            Some(hold)
        )
        .await
        .0,
        StatusCode::NO_CONTENT
    );
    let image = json!({"spec": {"image": {"url": "http://images.invalid/a"}}});
    assert_eq!(
        call(&cluster, Method::PATCH, "/hosts/metal3/node01", Some(image))
            .await
            .0,
        StatusCode::OK
    );
    reach(&cluster, "node01", HostState::Provisioning).await;
    call(&cluster, Method::POST, "/hosts/metal3/node01/let-go", None).await;
    reach(&cluster, "node01", HostState::Provisioned).await;
    let (_, states) = call(&cluster, Method::GET, "/hosts/metal3/node01/states", None).await;
    let states: Vec<&str> = states
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["available", "provisioning", "provisioned"]);
    assert_eq!(
        call(&cluster, Method::GET, "/hosts", None)
            .await
            .1
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        call(&cluster, Method::DELETE, "/hosts/metal3/node01", None)
            .await
            .0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        call(&cluster, Method::GET, "/hosts/metal3/node01", None)
            .await
            .0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn faults_are_injected_listed_and_cleared() {
    let cluster = cluster_with(&["node01"]).await;
    let fault = json!({"fault": "too_many_requests", "retry_after_seconds": 1, "verb": "patch",
                       "resource": "baremetalhosts", "name": "node01"});
    let (status, answer) = call(&cluster, Method::POST, "/faults", Some(fault.clone())).await;
    assert_eq!((status, &answer), (StatusCode::CREATED, &json!({"id": 1})));
    assert_eq!(
        call(&cluster, Method::GET, "/faults", None).await.1["1"],
        fault
    );
    assert_eq!(
        refusal(
            merge(
                &hosts(&cluster),
                "node01",
                json!({"spec": {"online": true}})
            )
            .await
        )
        .code,
        429
    );
    let (_, writes) = call(&cluster, Method::GET, "/writes?after=0", None).await;
    assert_eq!(
        (&writes[0]["answer"], &writes[0]["fault"]),
        (&json!(429), &json!("too_many_requests"))
    );
    assert_eq!(
        call(&cluster, Method::GET, "/writes?after=1", None).await.1,
        json!([])
    );
    call(&cluster, Method::DELETE, "/faults/1", None).await;
    merge(
        &hosts(&cluster),
        "node01",
        json!({"spec": {"online": true}}),
    )
    .await
    .unwrap();
    let (_, counts) = call(&cluster, Method::GET, "/requests", None).await;
    assert_eq!(
        counts,
        json!([{"verb": "patch", "resource": "baremetalhosts", "count": 2}])
    );
    let host_fault = json!({"fault": "state_fails", "state": "provisioning", "error_type": "provisioning error",
                            "error_message": "no boot device", "name": "node01", "times": 1});
    assert_eq!(
        call(&cluster, Method::POST, "/faults", Some(host_fault))
            .await
            .0,
        StatusCode::CREATED
    );
    call(&cluster, Method::DELETE, "/faults", None).await;
    assert_eq!(
        call(&cluster, Method::GET, "/faults", None).await.1,
        json!({})
    );
}

#[tokio::test]
async fn settings_are_read_from_json_and_changed_later() {
    let settings = json!({"hosts": [{"namespace": NS, "name": "node01"}], "pauses": {"provisioning": 3000},
                          "bookmark_every": 100, "capacity": 1});
    let settings: ClusterSettings = serde_json::from_value(settings).unwrap();
    let cluster = Cluster::start(settings).await.unwrap();
    assert_eq!(
        call(&cluster, Method::GET, "/pauses", None).await.1,
        json!({"provisioning": 3000})
    );
    call(
        &cluster,
        Method::PUT,
        "/pauses",
        Some(json!({"provisioning": 1, "powering off before delete": 2})),
    )
    .await;
    call(
        &cluster,
        Method::PUT,
        "/capacity",
        Some(json!({"hosts": null})),
    )
    .await;
    let image = json!({"spec": {"online": true, "image": {"url": "http://images.invalid/a"}}});
    merge(&hosts(&cluster), "node01", image).await.unwrap();
    reach(&cluster, "node01", HostState::Provisioned).await;
    assert_eq!(
        call(&cluster, Method::GET, "/user-data-reads", None)
            .await
            .1,
        json!([])
    );
    assert_eq!(
        call(&cluster, Method::POST, "/watches/drop", None).await.1,
        json!({"dropped": 0})
    );
}
