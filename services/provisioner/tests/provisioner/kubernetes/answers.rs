//! What an API server answers: preconditions, merge patches, pruning, pages, watches, deletion.

use serde_json::{Value, json};

use super::requests::{Event, Refused};
use super::stage::Stage;

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

pub(crate) fn refused(code: u16, reason: &str, message: impl Into<String>) -> Refused {
    Refused {
        code,
        reason: reason.to_owned(),
        message: message.into(),
    }
}

/// A host that Metal3 leaves alone.
pub(crate) async fn with_quiet_host() -> Stage {
    let stage = Stage::new().await;
    let quiet = json!({"metadata": {"annotations": {"baremetalhost.metal3.io/paused": ""}}});
    let host = stage.new_host("node01", quiet);
    stage
        .administrator
        .create(&stage.place.hosts_path(), &host)
        .await
        .unwrap();
    stage
}

#[tokio::test]
async fn a_patch_with_a_stale_version_conflicts_and_changes_nothing() {
    let stage = with_quiet_host().await;
    let read = stage.host("node01").await;
    let now = stage
        .patch_host("node01", json!({"metadata": {"labels": {"x": "y"}}}))
        .await;
    let patch =
        json!({"metadata": {"resourceVersion": version(&read)}, "spec": {"description": "late"}});
    let answer = stage
        .as_provisioner()
        .patch(&stage.place.host_path("node01"), &patch)
        .await;
    assert_eq!(
        answer.unwrap_err(),
        refused(
            409,
            "Conflict",
            "Operation cannot be fulfilled on baremetalhosts.metal3.io \"node01\": the object has been modified; please \
             apply your changes to the latest version and try again"
        )
    );
    assert_eq!(version(&stage.host("node01").await), version(&now));
}

#[tokio::test]
async fn a_patch_for_another_uid_is_invalid_even_where_the_version_is_right() {
    let stage = with_quiet_host().await;
    let read = stage.host("node01").await;
    let patch = json!({"metadata": {"uid": "00000000-0000-0000-0000-000000000001", "resourceVersion": version(&read)}});
    let answer = stage
        .as_provisioner()
        .patch(&stage.place.host_path("node01"), &patch)
        .await;
    assert_eq!(
        answer.unwrap_err(),
        refused(
            422,
            "Invalid",
            "BareMetalHost.metal3.io \"node01\" is invalid: metadata.uid: Invalid value: \
             \"00000000-0000-0000-0000-000000000001\": field is immutable"
        )
    );
}

#[tokio::test]
async fn a_patch_never_makes_a_host() {
    let stage = Stage::new().await;
    let patch = json!({"spec": {"online": true}});
    let answer = stage
        .as_provisioner()
        .patch(&stage.place.host_path("nowhere"), &patch)
        .await;
    let message = "baremetalhosts.metal3.io \"nowhere\" not found";
    assert_eq!(answer.unwrap_err(), refused(404, "NotFound", message));
    let read = stage
        .as_provisioner()
        .get(&stage.place.host_path("nowhere"))
        .await;
    assert_eq!(read.unwrap_err(), refused(404, "NotFound", message));
}

#[tokio::test]
async fn a_patch_that_changes_nothing_makes_no_new_version() {
    let stage = with_quiet_host().await;
    let read = stage.host("node01").await;
    let again = stage
        .patch_host("node01", json!({"spec": {"online": false, "image": null}}))
        .await;
    assert_eq!(version(&again), version(&read));
    assert_eq!(
        again["metadata"]["generation"],
        read["metadata"]["generation"]
    );
}

#[tokio::test]
async fn main_resource_and_status_are_written_apart() {
    let stage = with_quiet_host().await;
    let status = json!({"operationalStatus": "OK", "errorMessage": "", "poweredOn": true,
                        "provisioning": {"ID": "1", "state": "available", "image": {"url": ""}}});
    let both = json!({"spec": {"description": "both"}, "status": status});
    let main = stage.patch_host("node01", both.clone()).await;
    assert_eq!(main["spec"]["description"], "both");
    assert_eq!(main.get("status"), None);
    let other = json!({"spec": {"description": "status"}, "metadata": {"labels": {"x": "y"}}, "status": status});
    let path = format!("{}/status", stage.place.host_path("node01"));
    let written = stage.administrator.patch(&path, &other).await.unwrap();
    assert_eq!(written["spec"]["description"], "both");
    assert_eq!(written["status"]["poweredOn"], true);
    assert_eq!(written["status"]["errorCount"], 0);
    assert_eq!(written["metadata"].get("labels"), None);
    assert_eq!(
        written["metadata"]["generation"],
        main["metadata"]["generation"]
    );
}

#[tokio::test]
async fn unknown_fields_are_pruned_and_wrong_ones_refused() {
    let stage = with_quiet_host().await;
    let host = stage
        .patch_host(
            "node01",
            json!({"spec": {"image": {"url": "http://i", "surprise": 1}, "surprise": {}}}),
        )
        .await;
    assert_eq!(host["spec"]["image"], json!({"url": "http://i"}));
    assert_eq!(host["spec"].get("surprise"), None);
    assert_eq!(host["spec"]["automatedCleaningMode"], "metadata");

    let path = stage.place.host_path("node01");
    for (patch, message) in [
        (
            json!({"image": {"format": "zip"}}),
            "spec.image.format: Unsupported value: \"zip\": supported values: \"raw\", \"qcow2\", \"vdi\", \"vmdk\", \
             \"live-iso\"",
        ),
        (
            json!({"image": {"url": null}}),
            "spec.image.url: Required value",
        ),
        (
            json!({"bootMACAddress": "02:00:00:00:00:0"}),
            "spec.bootMACAddress: Invalid value: \"02:00:00:00:00:0\": spec.bootMACAddress in body should match \
             '[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}'",
        ),
        (
            json!({"online": "yes"}),
            "spec.online: Invalid value: \"string\": spec.online in body must be of type boolean: \"string\"",
        ),
    ] {
        let answer = stage
            .administrator
            .patch(&path, &json!({"spec": patch}))
            .await;
        let message = format!("BareMetalHost.metal3.io \"node01\" is invalid: {message}");
        assert_eq!(answer.unwrap_err(), refused(422, "Invalid", message));
    }
    let annotation = json!({"metadata": {"annotations": {"x": 1}}});
    let answer = stage.administrator.patch(&path, &annotation).await;
    let answer = answer.unwrap_err();
    assert_eq!((answer.code, answer.reason.as_str()), (422, "Invalid"));
    let why =
        "json: cannot unmarshal number into Go struct field ObjectMeta.annotations of type string";
    assert!(answer.message.ends_with(why), "{answer:?}");
}

#[tokio::test]
async fn a_status_that_metal3_could_not_have_written_is_refused() {
    let stage = with_quiet_host().await;
    let path = format!("{}/status", stage.place.host_path("node01"));
    let status = json!({"operationalStatus": "fine", "errorMessage": "", "poweredOn": true,
                        "provisioning": {"ID": "1", "state": "available"}});
    let answer = stage
        .administrator
        .patch(&path, &json!({"status": status}))
        .await;
    let message = "BareMetalHost.metal3.io \"node01\" is invalid: status.operationalStatus: Unsupported value: \"fine\": \
                   supported values: \"\", \"OK\", \"discovered\", \"error\", \"delayed\", \"detached\", \"servicing\"";
    assert_eq!(answer.unwrap_err(), refused(422, "Invalid", message));
    let status = json!({"operationalStatus": "OK", "errorMessage": "", "poweredOn": true, "lastUpdated": "today",
                        "provisioning": {"ID": "1", "state": "available"}});
    let answer = stage
        .administrator
        .patch(&path, &json!({"status": status}))
        .await;
    let message = "BareMetalHost.metal3.io \"node01\" is invalid: status.lastUpdated: Invalid value: \"today\": \
                   lastUpdated in body must be of type date-time: \"today\"";
    assert_eq!(answer.unwrap_err(), refused(422, "Invalid", message));
    let answer = stage
        .administrator
        .patch(&path, &json!({"status": {"poweredOn": true}}))
        .await;
    let answer = answer.unwrap_err();
    assert_eq!((answer.code, answer.reason.as_str()), (422, "Invalid"));
    for field in ["errorMessage", "operationalStatus", "provisioning"] {
        assert!(
            answer
                .message
                .contains(&format!("status.{field}: Required value")),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_deletion_waits_for_finalizers_and_takes_no_new_ones() {
    let stage = Stage::new().await;
    let changes = json!({"metadata": {"finalizers": ["example.com/a", "example.com/b"],
                                      "annotations": {"baremetalhost.metal3.io/paused": ""}}});
    let host = stage.new_host("node01", changes);
    stage
        .administrator
        .create(&stage.place.hosts_path(), &host)
        .await
        .unwrap();
    let path = stage.place.host_path("node01");
    let deleted = stage.administrator.delete(&path, json!({})).await.unwrap();
    assert!(deleted["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(deleted["metadata"]["generation"], 2);
    // It can still be written.
    let patched = stage
        .patch_host("node01", json!({"spec": {"description": "going"}}))
        .await;
    assert_eq!(patched["spec"]["description"], "going");
    let more =
        json!({"metadata": {"finalizers": ["example.com/a", "example.com/b", "example.com/c"]}});
    let answer = stage.administrator.patch(&path, &more).await.unwrap_err();
    assert_eq!((answer.code, answer.reason.as_str()), (422, "Invalid"));
    assert!(
        answer
            .message
            .contains("no new finalizers can be added if the object is being deleted"),
        "{answer:?}"
    );
    stage
        .patch_host(
            "node01",
            json!({"metadata": {"finalizers": ["example.com/b"]}}),
        )
        .await;
    stage
        .patch_host("node01", json!({"metadata": {"finalizers": null}}))
        .await;
    assert_eq!(stage.administrator.get(&path).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn a_secret_is_created_once_and_deleted_by_its_uid() {
    let stage = Stage::new().await;
    let (own, secrets) = (stage.as_provisioner(), stage.secrets_path());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"userData": "eA=="}});
    let made = own.create(&secrets, &secret).await.unwrap();
    assert_eq!(
        own.create(&secrets, &secret).await.unwrap_err(),
        refused(409, "AlreadyExists", "secrets \"s\" already exists")
    );
    let path = format!("{secrets}/s");
    let other = json!({"preconditions": {"uid": "00000000-0000-0000-0000-000000000001"}});
    let uid = made["metadata"]["uid"].as_str().unwrap();
    assert_eq!(
        own.delete(&path, other).await.unwrap_err(),
        refused(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on Secret \"s\": the UID in the precondition \
                 (00000000-0000-0000-0000-000000000001) does not match the UID in record ({uid}). The object might have been \
                 deleted and then recreated"
            )
        )
    );
    let own_uid = json!({"preconditions": {"uid": uid}});
    own.delete(&path, own_uid.clone()).await.unwrap();
    assert_eq!(
        own.delete(&path, own_uid).await.unwrap_err(),
        refused(404, "NotFound", "secrets \"s\" not found")
    );
}

#[tokio::test]
async fn a_watch_from_a_version_tells_each_change_and_ends_when_its_time_is_over() {
    let stage = with_quiet_host().await;
    let from = stage.host("node01").await;
    stage
        .patch_host("node01", json!({"metadata": {"labels": {"x": "y"}}}))
        .await;
    let path = stage.place.host_path("node01");
    stage.administrator.delete(&path, json!({})).await.unwrap();
    let watch = format!(
        "{}?watch=true&resourceVersion={}&timeoutSeconds=1",
        stage.place.hosts_path(),
        version(&from)
    );
    let events = stage.as_provisioner().whole_watch(&watch).await;
    let [Event::Modified(changed), Event::Deleted(gone)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(changed["metadata"]["labels"]["x"], "y");
    assert!(version(gone).parse::<u64>().unwrap() > version(changed).parse::<u64>().unwrap());
}

#[tokio::test]
async fn a_watch_from_a_forgotten_version_gets_410_in_its_stream() {
    let stage = with_quiet_host().await;
    let label = json!({"metadata": {"labels": {"x": "y"}}});
    stage.patch_host("node01", label).await;
    let forgotten = stage.place.forgotten_version();
    let watch = format!(
        "{}?watch=true&resourceVersion={forgotten}&timeoutSeconds=5",
        stage.place.hosts_path()
    );
    let events = stage.as_provisioner().whole_watch(&watch).await;
    let [Event::Error(expired)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!((expired.code, expired.reason.as_str()), (410, "Expired"));
    assert!(
        expired
            .message
            .starts_with(&format!("too old resource version: {forgotten} (")),
        "{expired:?}"
    );
}

#[tokio::test]
async fn a_future_version_is_not_there_yet() {
    let stage = with_quiet_host().await;
    let path = format!("{}?resourceVersion=999999999999", stage.place.hosts_path());
    let answer = stage.as_provisioner().get(&path).await.unwrap_err();
    assert_eq!((answer.code, answer.reason.as_str()), (504, "Timeout"));
    assert!(
        answer
            .message
            .starts_with("Timeout: Too large resource version: 999999999999, current: "),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_list_in_pages_is_of_one_moment() {
    let stage = Stage::new().await;
    let quiet = json!({"metadata": {"annotations": {"baremetalhost.metal3.io/paused": ""}}});
    for number in 0..5 {
        let host = stage.new_host(&format!("node{number}"), quiet.clone());
        stage
            .administrator
            .create(&stage.place.hosts_path(), &host)
            .await
            .unwrap();
    }
    let (own, hosts) = (stage.as_provisioner(), stage.place.hosts_path());
    let first = own.get(&format!("{hosts}?limit=2")).await.unwrap();
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let path = stage.place.host_path("node3");
    stage.administrator.delete(&path, json!({})).await.unwrap();
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items
            .map(|host| host["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&first), ["node0", "node1"]);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = own
        .get(&format!("{hosts}?limit=2&continue={token}"))
        .await
        .unwrap();
    assert_eq!(names(&second), ["node2", "node3"]);
    assert_eq!(version(&second), version(&first));
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = own
        .get(&format!("{hosts}?limit=2&continue={token}"))
        .await
        .unwrap();
    assert_eq!(names(&third), ["node4"]);
    assert_eq!(
        third["metadata"]["continue"].as_str().unwrap_or_default(),
        ""
    );
}
