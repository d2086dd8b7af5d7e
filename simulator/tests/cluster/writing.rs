//! Create, update, patch, delete, and what is refused.

use bellhop_simulator::cluster::{HostSpec, Resource, Verb};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::{
    NS, RELEASE, claim, client, cluster_with, host_resource, hosts, image, merge, refusal,
};

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn a_stale_resource_version_is_a_conflict_and_another_uid_is_invalid() {
    let cluster = cluster_with(&["node01"]).await;
    let hosts = hosts(&cluster);
    let read = hosts.get("node01").await.unwrap();
    cluster.hold(NS, "node01");
    cluster
        .edit_as_someone_else(
            NS,
            "node01",
            &json!({"metadata": {"annotations": {"a": "b"}}}),
        )
        .unwrap();

    let stale = json!({"metadata": {"resourceVersion": read.resource_version().unwrap()}, "spec": {"online": true}});
    let status = refusal(merge(&hosts, "node01", stale).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert!(status.message.contains("the object has been modified"));

    let other = json!({"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}, "spec": {"online": true}});
    let status = refusal(merge(&hosts, "node01", other).await);
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert_eq!(status.details.unwrap().causes[0].field, "metadata.uid");

    let fresh = hosts.get("node01").await.unwrap();
    assert_eq!(fresh.data["spec"]["online"], false);
    let both = json!({"metadata": {"resourceVersion": fresh.resource_version().unwrap(), "uid": fresh.uid().unwrap()},
                      "spec": {"online": true}});
    assert_eq!(
        merge(&hosts, "node01", both).await.unwrap().data["spec"]["online"],
        true
    );
}

#[tokio::test]
async fn a_patch_never_makes_a_missing_host() {
    let cluster = cluster_with(&[]).await;
    assert_eq!(
        refusal(merge(&hosts(&cluster), "node01", claim("http://images.invalid/a")).await).code,
        404
    );
    assert!(cluster.host(NS, "node01").is_none());
}

#[tokio::test]
async fn a_patch_that_changes_nothing_leaves_the_version_as_it_is() {
    let cluster = cluster_with(&["node01"]).await;
    let hosts = hosts(&cluster);
    let before = hosts.get("node01").await.unwrap();
    let after = merge(
        &hosts,
        "node01",
        json!({"spec": {"online": false, "image": null}}),
    )
    .await
    .unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
}

#[tokio::test]
async fn only_a_changed_spec_raises_the_generation() {
    let cluster = cluster_with(&["node01"]).await;
    let hosts = hosts(&cluster);
    let annotated = merge(
        &hosts,
        "node01",
        json!({"metadata": {"annotations": {"a": "b"}}}),
    )
    .await
    .unwrap();
    assert_eq!(annotated.metadata.generation, Some(1));
    let status = Patch::Merge(json!({"status": {"errorCount": 3}}));
    let counted = hosts
        .patch_status("node01", &PatchParams::default(), &status)
        .await
        .unwrap();
    assert_eq!(counted.metadata.generation, Some(1));
    let described = merge(
        &hosts,
        "node01",
        json!({"spec": {"description": "by the door"}}),
    )
    .await
    .unwrap();
    assert_eq!(described.metadata.generation, Some(2));
}

#[tokio::test]
async fn spec_and_status_are_written_through_their_own_doors() {
    let cluster = cluster_with(&["node01"]).await;
    cluster.hold(NS, "node01");
    let hosts = hosts(&cluster);
    let both = json!({"spec": {"description": "new"}, "status": {"errorCount": 7}});
    let host = merge(&hosts, "node01", both.clone()).await.unwrap();
    assert_eq!(
        (
            &host.data["spec"]["description"],
            &host.data["status"]["errorCount"]
        ),
        (&json!("new"), &json!(0))
    );
    let other = json!({"spec": {"description": "newer"}, "status": {"errorCount": 7}});
    let host = hosts
        .patch_status("node01", &PatchParams::default(), &Patch::Merge(other))
        .await
        .unwrap();
    assert_eq!(
        (
            &host.data["spec"]["description"],
            &host.data["status"]["errorCount"]
        ),
        (&json!("new"), &json!(7))
    );
}

#[tokio::test]
async fn unknown_fields_are_pruned_and_known_ones_checked() {
    let cluster = cluster_with(&["node01"]).await;
    cluster.hold(NS, "node01");
    let hosts = hosts(&cluster);
    let patch = json!({"spec": {"colour": "red", "image": {"url": "http://images.invalid/a", "colour": "red"},
                       "consumerRef": {"kind": "Reservation", "name": "5120", "uid": "1", "colour": "red"}}});
    let host = merge(&hosts, "node01", patch).await.unwrap();
    assert_eq!(
        host.data["spec"]["image"],
        json!({"url": "http://images.invalid/a"})
    );
    assert_eq!(
        host.data["spec"]["consumerRef"],
        json!({"kind": "Reservation", "name": "5120", "uid": "1"})
    );
    assert!(host.data["spec"].get("colour").is_none());

    let refused = [
        (
            json!({"image": {"checksumType": "crc32"}}),
            "spec.image.checksumType",
            "FieldValueNotSupported",
        ),
        (
            json!({"image": {"format": "zip"}}),
            "spec.image.format",
            "FieldValueNotSupported",
        ),
        (
            json!({"image": {"url": null}}),
            "spec.image.url",
            "FieldValueRequired",
        ),
        (
            json!({"online": "yes"}),
            "spec.online",
            "FieldValueTypeInvalid",
        ),
        (json!({"online": null}), "spec.online", "FieldValueRequired"),
    ];
    for (spec, field, reason) in refused {
        let status = refusal(merge(&hosts, "node01", json!({"spec": spec})).await);
        let cause = status.details.unwrap().causes.remove(0);
        assert_eq!(
            (status.code, cause.field.as_str(), cause.reason.as_str()),
            (422, field, reason)
        );
    }
}

#[tokio::test]
async fn a_release_is_refused_whole_where_power_off_is_disabled() {
    let cluster = cluster_with(&[]).await;
    let spec =
        json!({"online": true, "disablePowerOff": true, "image": image("http://images.invalid/a")});
    cluster
        .add_host(HostSpec::new(NS, "node01").spec(spec))
        .unwrap();
    let status = refusal(merge(&hosts(&cluster), "node01", RELEASE()).await);
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert!(
        status
            .message
            .starts_with("admission webhook \"baremetalhost.metal3.io\" denied the request: ")
    );
    assert_eq!(
        cluster.host(NS, "node01").unwrap()["spec"]["image"]["url"],
        "http://images.invalid/a"
    );
}

#[tokio::test]
async fn a_secret_is_created_once_and_deleted_by_its_uid() {
    let cluster = cluster_with(&[]).await;
    let secrets: Api<Secret> = Api::namespaced(client(&cluster), NS);
    let new: Secret = object(
        json!({"metadata": {"name": "a"}, "data": {"kept": "YQ=="}, "stringData": {"userData": "#cloud-config"}}),
    );
    let created = secrets.create(&PostParams::default(), &new).await.unwrap();
    let data = created.data.unwrap();
    assert_eq!(
        (data["kept"].0.as_slice(), data["userData"].0.as_slice()),
        (&b"a"[..], &b"#cloud-config"[..])
    );
    assert_eq!(created.string_data, None);
    assert_eq!(created.type_.as_deref(), Some("Opaque"));
    assert_eq!(
        refusal(secrets.create(&PostParams::default(), &new).await).reason,
        "AlreadyExists"
    );

    let with = |uid: &str| DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let status = refusal(secrets.delete("a", &with("another")).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    let uid = created.metadata.uid.unwrap();
    assert!(secrets.delete("a", &with(&uid)).await.unwrap().is_right());
    assert_eq!(refusal(secrets.delete("a", &with(&uid)).await).code, 404);
}

#[tokio::test]
async fn a_replacement_needs_the_version_that_was_read() {
    let cluster = cluster_with(&["node01"]).await;
    cluster.hold(NS, "node01");
    let hosts = hosts(&cluster);
    let mut host = hosts.get("node01").await.unwrap();
    host.data["spec"]["description"] = json!("first");
    hosts
        .replace("node01", &PostParams::default(), &host)
        .await
        .unwrap();
    assert_eq!(
        refusal(hosts.replace("node01", &PostParams::default(), &host).await).code,
        409
    );
    host.metadata.resource_version = None;
    assert_eq!(
        refusal(hosts.replace("node01", &PostParams::default(), &host).await).code,
        422
    );
    host.metadata.resource_version = hosts.get("node01").await.unwrap().resource_version();
    host.metadata.uid = Some("another".to_owned());
    assert_eq!(
        refusal(hosts.replace("node01", &PostParams::default(), &host).await).code,
        409
    );
}

#[tokio::test]
async fn patches_of_other_kinds_are_not_supported() {
    let cluster = cluster_with(&["node01"]).await;
    let patch = json!({"apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost", "spec": {"online": true}});
    let hosts = hosts(&cluster);
    let apply = hosts
        .patch("node01", &PatchParams::apply("test"), &Patch::Apply(&patch))
        .await;
    assert_eq!(refusal(apply).code, 415);
    let strategic = hosts
        .patch("node01", &PatchParams::default(), &Patch::Strategic(&patch))
        .await;
    assert_eq!(refusal(strategic).code, 415);
}

#[tokio::test]
async fn events_are_kept_under_made_up_names() {
    let cluster = cluster_with(&[]).await;
    let events: Api<Event> = Api::namespaced(client(&cluster), NS);
    let event: Event = object(
        json!({"metadata": {"generateName": "node01."}, "reason": "Released", "type": "Normal",
        "involvedObject": {"kind": "BareMetalHost", "name": "node01"}}),
    );
    for _ in 0..2 {
        events.create(&PostParams::default(), &event).await.unwrap();
    }
    let about = ListParams::default().fields("involvedObject.name=node01");
    assert_eq!(events.list(&about).await.unwrap().items.len(), 2);
    assert_eq!(cluster.events(NS).len(), 2);
}

#[tokio::test]
async fn every_write_is_kept_with_its_answer_and_what_it_brought_about() {
    let cluster = cluster_with(&["node01"]).await;
    cluster.hold(NS, "node01");
    let hosts = hosts(&cluster);
    hosts.get("node01").await.unwrap();
    merge(&hosts, "node01", claim("http://images.invalid/a"))
        .await
        .unwrap();
    let annotation = json!({"metadata": {"resourceVersion": "1", "annotations": {"a": "b"}}});
    refusal(merge(&hosts, "node01", annotation).await);
    let secrets: Api<Secret> = Api::namespaced(client(&cluster), NS);
    let secret: Secret = object(
        json!({"metadata": {"name": "node01-user-data"}, "stringData": {"userData": "ssh-ed25519 KEY"}}),
    );
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    secrets
        .delete("node01-user-data", &DeleteParams::default())
        .await
        .unwrap();

    let writes = cluster.writes();
    let seen: Vec<_> = writes
        .iter()
        .map(|write| {
            (
                write.verb,
                write.resource,
                write.name.as_str(),
                write.answer,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Verb::Patch, Resource::BareMetalHosts, "node01", 200),
            (Verb::Patch, Resource::BareMetalHosts, "node01", 409),
            (Verb::Create, Resource::Secrets, "node01-user-data", 201),
            (Verb::Delete, Resource::Secrets, "node01-user-data", 200),
        ]
    );
    assert_eq!(writes[0].content_type, "application/merge-patch+json");
    assert_eq!(
        writes[0].spec_after().unwrap()["image"],
        image("http://images.invalid/a")
    );
    assert!(!writes[1].was_accepted());
    assert_eq!(writes[3].after, Some(Value::Null));
    assert!(!format!("{writes:?}").contains("KEY"));
    assert_eq!(cluster.writes_to_host(NS, "node01").len(), 2);
}

#[tokio::test]
async fn a_host_made_by_a_client_is_taken_in_by_metal3() {
    let cluster = cluster_with(&[]).await;
    let new: DynamicObject = object(
        json!({"apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost",
        "metadata": {"name": "node01"}, "status": {"errorCount": 9},
        "spec": {"online": false, "bmc": {"address": "redfish://bmc.invalid", "credentialsName": "bmc"}}}),
    );
    let all: Api<DynamicObject> = Api::namespaced_with(client(&cluster), NS, &host_resource());
    let created = all.create(&PostParams::default(), &new).await.unwrap();
    assert!(created.data.get("status").is_none());
    let host = crate::reach(
        &cluster,
        "node01",
        bellhop_simulator::cluster::HostState::Available,
    )
    .await;
    assert_eq!(
        host["metadata"]["finalizers"],
        json!(["baremetalhost.metal3.io"])
    );
    let bad: DynamicObject = object(
        json!({"apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost",
        "metadata": {"name": "Node_02"}, "spec": {"online": false}}),
    );
    assert_eq!(
        refusal(all.create(&PostParams::default(), &bad).await).code,
        422
    );
}
