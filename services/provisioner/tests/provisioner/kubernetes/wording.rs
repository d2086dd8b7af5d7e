//! How an API server words what it refuses: operators read these texts, and the simulator's must be the real ones.

use serde_json::{Value, json};

use super::answers::{refused, with_quiet_host};
use super::stage::Stage;

/// Creates, and what is wrong with them.
#[tokio::test]
async fn new_hosts_are_refused_in_the_servers_own_words() {
    let stage = Stage::new().await;
    let path = stage.place.hosts_path();
    let host = |changes: Value| stage.new_host("b", changes);
    let mut without_kind = host(json!({}));
    without_kind.as_object_mut().unwrap().remove("kind");
    let label = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                 alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                 '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    for (object, code, reason, message) in [
        (
            host(json!({"metadata": {"resourceVersion": "5"}})),
            500,
            "",
            "resourceVersion should not be set on objects to be created".to_owned(),
        ),
        (
            host(json!({"metadata": {"name": "B_x"}})),
            422,
            "Invalid",
            "BareMetalHost.metal3.io \"B_x\" is invalid: metadata.name: Invalid value: \"B_x\": a lowercase RFC 1123 \
             subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an \
             alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        ),
        (
            host(json!({"metadata": {"namespace": "elsewhere"}})),
            400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request".to_owned(),
        ),
        (
            host(json!({"kind": "Other"})),
            422,
            "Invalid",
            "Other.metal3.io \"b\" is invalid: kind: Invalid value: \"Other\": must be BareMetalHost".to_owned(),
        ),
        (
            host(json!({"apiVersion": "v1"})),
            400,
            "BadRequest",
            "the API version in the data (v1) does not match the expected API version (metal3.io/v1alpha1)".to_owned(),
        ),
        (
            without_kind,
            400,
            "BadRequest",
            "the object provided is unrecognized (must be of type BareMetalHost): Object 'Kind' is missing".to_owned(),
        ),
        (
            host(json!({"metadata": {"annotations": {"x": 1}}})),
            400,
            "BadRequest",
            "BareMetalHost in version \"v1alpha1\" cannot be handled as a BareMetalHost: json: cannot unmarshal number \
             into Go struct field ObjectMeta.annotations of type string"
                .to_owned(),
        ),
        (
            host(json!({"metadata": {"labels": {"x y": "1"}}})),
            422,
            "Invalid",
            format!("BareMetalHost.metal3.io \"b\" is invalid: metadata.labels: Invalid value: \"x y\": {label}"),
        ),
        (
            host(json!({"spec": {"online": null}})),
            422,
            "Invalid",
            "BareMetalHost.metal3.io \"b\" is invalid: spec.online: Required value".to_owned(),
        ),
    ] {
        let answer = stage.administrator.create(&path, &object).await.unwrap_err();
        assert_eq!((answer.code, answer.reason.as_str()), (code, reason), "{answer:?}");
        assert!(answer.message.starts_with(&message), "{answer:?}");
    }
    // A null is as good as nothing.
    let nulls = host(json!({"spec": {"image": null, "description": null}}));
    let made = stage.administrator.create(&path, &nulls).await.unwrap();
    assert_eq!(made["spec"].get("image"), None);
    assert_eq!(made["spec"].get("description"), None);
}

#[tokio::test]
async fn changes_are_refused_in_the_servers_own_words() {
    let stage = with_quiet_host().await;
    let (path, all) = (stage.place.host_path("node01"), stage.place.hosts_path());
    let requests = &stage.administrator;
    for (patch, code, reason, message) in [
        (
            json!({"metadata": {"resourceVersion": null}}),
            422,
            "Invalid",
            "baremetalhosts.metal3.io \"node01\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified \
             for an update",
        ),
        (
            json!({"metadata": {"resourceVersion": "junk"}}),
            500,
            "",
            "strconv.ParseUint: parsing \"junk\": invalid syntax",
        ),
        (
            json!({"metadata": {"name": "other"}}),
            400,
            "BadRequest",
            "the name of the object (other) does not match the name on the URL (node01)",
        ),
        (
            json!({"metadata": null}),
            400,
            "BadRequest",
            "the name of the object (node01 based on URL) was undeterminable: name must be provided",
        ),
        (
            json!({"metadata": {"deletionTimestamp": "2001-01-01T00:00:00Z"}}),
            422,
            "Invalid",
            "BareMetalHost.metal3.io \"node01\" is invalid: metadata.deletionTimestamp: Invalid value: \
             \"2001-01-01T00:00:00Z\": field is immutable",
        ),
        (
            json!([1]),
            400,
            "BadRequest",
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
    ] {
        let answer = requests.patch(&path, &patch).await;
        assert_eq!(answer.unwrap_err(), refused(code, reason, message));
    }
    let uid = stage.host("node01").await["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    let other = "00000000-0000-0000-0000-000000000001";
    let answer = requests
        .delete(&path, json!({"preconditions": {"uid": other}}))
        .await;
    let message = format!(
        "Operation cannot be fulfilled on BareMetalHost.metal3.io \"node01\": the UID in the precondition ({other}) does not \
         match the UID in record ({uid}). The object might have been deleted and then recreated"
    );
    assert_eq!(answer.unwrap_err(), refused(409, "Conflict", message));
    let options = "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch:";
    for (query, code, reason, message) in [
        (
            "resourceVersionMatch=Exact",
            422,
            "Invalid",
            format!(
                "{options} Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
            ),
        ),
        (
            "watch=true&sendInitialEvents=true",
            422,
            "Invalid",
            format!(
                "{options} Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            ),
        ),
        (
            "limit=x",
            400,
            "BadRequest",
            "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned(),
        ),
    ] {
        let answer = requests.get(&format!("{all}?{query}")).await;
        assert_eq!(
            answer.unwrap_err(),
            refused(code, reason, message),
            "{query}"
        );
    }
    let unknown = all.replace("baremetalhosts", "others");
    let answer = requests.get(&unknown).await;
    assert_eq!(
        answer.unwrap_err(),
        refused(404, "", "404 page not found\n")
    );
}
