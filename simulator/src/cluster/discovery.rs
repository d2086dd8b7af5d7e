//! What a client asks before it asks for anything: which groups, versions and resources there are.

use serde_json::{Value, json};

use super::resource::Resource;

/// The answer to a discovery path, if it is one.
pub(super) fn answer(path: &str) -> Option<Value> {
    let group = json!({
        "name": "metal3.io",
        "versions": [{"groupVersion": "metal3.io/v1alpha1", "version": "v1alpha1"}],
        "preferredVersion": {"groupVersion": "metal3.io/v1alpha1", "version": "v1alpha1"},
    });
    Some(match path.trim_end_matches('/') {
        "/api" => {
            json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        }
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}),
        "/apis/metal3.io" => {
            let mut group = group;
            group["kind"] = json!("APIGroup");
            group["apiVersion"] = json!("v1");
            group
        }
        "/api/v1" => resources(
            "v1",
            &[resource(Resource::Secrets), resource(Resource::Events)],
        ),
        "/apis/metal3.io/v1alpha1" => {
            let mut status = resource(Resource::BareMetalHosts);
            status["name"] = json!("baremetalhosts/status");
            status["singularName"] = json!("");
            status["shortNames"] = json!([]);
            status["verbs"] = json!(["get", "patch", "update"]);
            resources(
                "metal3.io/v1alpha1",
                &[resource(Resource::BareMetalHosts), status],
            )
        }
        "/version" => json!({
            "major": "1", "minor": "33", "gitVersion": "v1.33.0+bellhop-simulator", "gitCommit": "", "buildDate": "",
            "gitTreeState": "", "goVersion": "", "compiler": "", "platform": "",
        }),
        _ => return None,
    })
}

fn resources(group_version: &str, resources: &[Value]) -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

fn resource(resource: Resource) -> Value {
    let short_names: &[&str] = match resource {
        Resource::BareMetalHosts => &["bmh", "bmhost"],
        Resource::Secrets => &[],
        Resource::Events => &["ev"],
    };
    json!({
        "name": resource.plural(), "singularName": resource.kind().to_lowercase(), "namespaced": true,
        "kind": resource.kind(), "shortNames": short_names,
        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
    })
}
