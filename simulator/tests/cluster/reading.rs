//! Discovery, get, list.

use bellhop_simulator::cluster::{Cluster, ClusterSettings, HostSpec, Resource, Verb};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::Discovery;
use kube::{Api, Client, Config};

use crate::{NS, client, cluster_with, host_resource, hosts, refusal};

#[tokio::test]
async fn discovery_finds_the_hosts_and_their_status() {
    let cluster = cluster_with(&[]).await;
    let client = client(&cluster);
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    let group = discovery.get("metal3.io").unwrap();
    let (resource, capabilities) = group.recommended_kind("BareMetalHost").unwrap();
    assert_eq!(resource.plural, "baremetalhosts");
    assert_eq!(capabilities.subresources.len(), 1);
    assert_eq!(client.apiserver_version().await.unwrap().minor, "33");
}

#[tokio::test]
async fn the_kubeconfig_leads_to_the_cluster() {
    let settings = ClusterSettings {
        bearer_token: Some("a token".to_owned()),
        hosts: vec![HostSpec::new("site-b", "node01")],
        namespace: "site-b".to_owned(),
        ..ClusterSettings::default()
    };
    let cluster = Cluster::start(settings).await.unwrap();
    let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    let hosts: Api<kube::api::DynamicObject> =
        Api::default_namespaced_with(Client::try_from(config).unwrap(), &host_resource());
    assert!(hosts.get("node01").await.is_ok());
    assert_eq!(
        refusal(crate::hosts(&cluster).get("node01").await).code,
        401
    );
}

#[tokio::test]
async fn what_is_not_there_is_404_with_its_name() {
    let cluster = cluster_with(&["node01"]).await;
    assert_eq!(
        hosts(&cluster)
            .get_opt("node01")
            .await
            .unwrap()
            .unwrap()
            .metadata
            .name
            .unwrap(),
        "node01"
    );
    let status = refusal(hosts(&cluster).get("node02").await);
    assert_eq!((status.code, status.reason.as_str()), (404, "NotFound"));
    assert_eq!(
        status.message,
        "baremetalhosts.metal3.io \"node02\" not found"
    );
    let details = status.details.unwrap();
    assert_eq!(
        (details.name.as_str(), details.kind.as_str()),
        ("node02", "baremetalhosts")
    );
    let elsewhere: Api<Secret> = Api::namespaced(client(&cluster), "elsewhere");
    assert_eq!(
        refusal(elsewhere.get("node01").await).message,
        "secrets \"node01\" not found"
    );
}

#[tokio::test]
async fn two_thousand_hosts_are_listed_page_by_page_as_they_were_at_the_first_page() {
    let cluster = cluster_with(&[]).await;
    for number in 0..2000 {
        let site = if number % 2 == 0 { "site-a" } else { "site-b" };
        cluster
            .add_host(HostSpec::new(site, &format!("node{number:04}")))
            .unwrap();
    }
    let all: Api<kube::api::DynamicObject> = Api::all_with(client(&cluster), &host_resource());
    let mut params = ListParams::default().limit(300);
    let (mut names, mut versions) = (Vec::new(), Vec::new());
    loop {
        let page = all.list(&params).await.unwrap();
        assert!(page.items.len() <= 300);
        names.extend(
            page.items
                .iter()
                .map(|host| host.metadata.name.clone().unwrap()),
        );
        versions.push(page.metadata.resource_version.unwrap());
        let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) else {
            break;
        };
        params = params.continue_token(&token);
        // Neither a host that goes nor one that comes meanwhile is seen by the pages that follow.
        cluster.remove_host("site-b", "node1999");
        let _added_once = cluster.add_host(HostSpec::new("site-b", "node0001b"));
    }
    assert_eq!(names.len(), 2000);
    assert!(names.contains(&"node1999".to_owned()));
    assert!(!names.contains(&"node0001b".to_owned()));
    versions.dedup();
    assert_eq!(versions.len(), 1);
    assert_eq!(cluster.requests(Verb::List, Resource::BareMetalHosts), 7);

    let one_site: Api<kube::api::DynamicObject> =
        Api::namespaced_with(client(&cluster), "site-a", &host_resource());
    assert_eq!(
        one_site
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        1000
    );
}

#[tokio::test]
async fn a_page_of_a_forgotten_version_is_410() {
    let cluster = cluster_with(&["node01", "node02", "node03"]).await;
    let page = hosts(&cluster)
        .list(&ListParams::default().limit(1))
        .await
        .unwrap();
    assert_eq!(page.metadata.remaining_item_count, Some(2));
    let params = ListParams::default()
        .limit(1)
        .continue_token(&page.metadata.continue_.unwrap());
    assert_eq!(hosts(&cluster).list(&params).await.unwrap().items.len(), 1);
    cluster.add_host(HostSpec::new(NS, "node04")).unwrap();
    cluster.forget_history();
    let status = refusal(hosts(&cluster).list(&params).await);
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
}

#[tokio::test]
async fn selectors_choose_by_name_and_label() {
    let cluster = cluster_with(&["node01", "node02"]).await;
    cluster
        .add_host(HostSpec::new(NS, "node03").label("rack", "b"))
        .unwrap();
    let names = async |params: ListParams| {
        let list = hosts(&cluster).list(&params).await.unwrap();
        list.items
            .into_iter()
            .map(|host| host.metadata.name.unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(ListParams::default().fields("metadata.name=node02")).await,
        ["node02"]
    );
    assert_eq!(
        names(ListParams::default().labels("rack=b")).await,
        ["node03"]
    );
    assert_eq!(
        names(ListParams::default().labels("rack!=b")).await,
        ["node01", "node02"]
    );
    let unknown = hosts(&cluster)
        .list(&ListParams::default().fields("spec.online=true"))
        .await;
    assert_eq!(refusal(unknown).code, 400);
}

#[tokio::test]
async fn a_client_may_ask_for_metadata_alone() {
    let cluster = cluster_with(&["node01"]).await;
    let list = hosts(&cluster)
        .list_metadata(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(list.items[0].metadata.name.as_deref(), Some("node01"));
}

#[tokio::test]
async fn kubectl_gets_the_columns_of_metal3() {
    let cluster = cluster_with(&["node01"]).await;
    let request = http::Request::get("/apis/metal3.io/v1alpha1/baremetalhosts?limit=500")
        .header(
            "Accept",
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        )
        .body(Vec::new())
        .unwrap();
    let table: serde_json::Value = client(&cluster).request(request).await.unwrap();
    let names: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "Name", "Status", "State", "Consumer", "BMC", "Online", "Error", "Age"
        ]
    );
    let row = &table["rows"][0];
    assert_eq!(
        (&row["cells"][0], &row["cells"][2]),
        (
            &serde_json::json!("node01"),
            &serde_json::json!("available")
        )
    );
    assert_eq!(row["object"]["metadata"]["name"], "node01");
}
