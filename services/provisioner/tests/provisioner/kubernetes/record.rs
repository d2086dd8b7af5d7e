//! Every request of the provisioners of a stage, as the go-between handed it on, and what is wrong with any of them.
//!
//! Judged at the end of each test, on both servers: a request that the shipped role does not allow, a write to a host that does
//! not carry the `uid` and the `resourceVersion` that were read and the fence, one of which the API server did not keep every
//! field, a secret that is not deleted by its `uid`, a list of hosts in one piece.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::server::shipped_role;

/// A request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) content_type: String,
    /// Null where there was none.
    pub(crate) body: Value,
    /// The HTTP status.
    pub(crate) code: u16,
    /// What the answer to a write held.
    pub(crate) answer: Value,
}

/// What a request is about, in the words of a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) verb: String,
}

/// All requests of a stage's provisioners. Clones are the same record.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Recorded>>>);

/// Judges the record of a stage when the stage goes.
pub(crate) struct Judge {
    record: Record,
    namespace: String,
}

impl Record {
    pub(crate) fn push(&self, request: Recorded) {
        self.lock().push(request);
    }

    pub(crate) fn all(&self) -> Vec<Recorded> {
        self.lock().clone()
    }

    /// The writes to hosts, as they were answered.
    pub(crate) fn host_writes(&self) -> Vec<Recorded> {
        let mut all = self.all();
        all.retain(Recorded::writes_host);
        all
    }

    /// All that was done, in the words of a role.
    pub(crate) fn rights(&self) -> BTreeSet<Right> {
        let all = self.all();
        all.iter().filter_map(|request| request.right()).collect()
    }

    pub(crate) fn judge(&self, namespace: &str) -> Judge {
        Judge {
            record: self.clone(),
            namespace: namespace.to_owned(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Recorded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let all = self.record.all();
        let allowed = rights_of(&shipped_role().0["rules"]);
        let complaints: Vec<String> = all
            .iter()
            .flat_map(|request| {
                let complaints = request.complaints(&self.namespace, &allowed);
                complaints
                    .into_iter()
                    .map(|why| format!("{} {}: {why}", request.method, request.path))
            })
            .collect();
        // A test that has failed has said enough.
        if !std::thread::panicking() {
            assert!(complaints.is_empty(), "{complaints:#?}");
        }
    }
}

/// What rules of a role allow, one by one.
pub(crate) fn rights_of(rules: &Value) -> BTreeSet<Right> {
    let texts = |list: &Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    let (group, resource) = (group.clone(), resource.clone());
                    rights.insert(Right {
                        group,
                        resource,
                        verb,
                    });
                }
            }
        }
    }
    rights
}

/// A path as the API server reads it.
struct Place<'a> {
    group: &'a str,
    namespace: &'a str,
    /// With its subresource.
    resource: String,
    named: bool,
}

fn place(path: &str) -> Option<Place<'_>> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let group = match parts.next()? {
        "api" => "",
        "apis" => parts.next()?,
        _ => return None,
    };
    let _version = parts.next()?;
    let namespace = match parts.next()? {
        "namespaces" => parts.next()?,
        _ => return None,
    };
    let plural = parts.next()?;
    let named = parts.next().is_some();
    let resource = match parts.next() {
        None => plural.to_owned(),
        Some(subresource) => format!("{plural}/{subresource}"),
    };
    Some(Place {
        group,
        namespace,
        resource,
        named,
    })
}

impl Recorded {
    pub(crate) fn was_accepted(&self) -> bool {
        (200..300).contains(&self.code)
    }

    pub(crate) fn is_watch(&self) -> bool {
        self.parameter("watch") == Some("true")
    }

    /// Whether it lists hosts, a page or all.
    pub(crate) fn lists_hosts(&self) -> bool {
        self.method == "GET" && !self.is_watch() && self.path.ends_with("/baremetalhosts")
    }

    pub(crate) fn writes_host(&self) -> bool {
        self.method != "GET" && self.path.contains("/baremetalhosts")
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let parts = self.query.split('&');
        let mut pairs = parts.filter_map(|part| part.split_once('='));
        pairs.find(|(is, _)| *is == name).map(|(_, value)| value)
    }

    fn right(&self) -> Option<Right> {
        let place = place(&self.path)?;
        let verb = match (self.method.as_str(), place.named) {
            ("GET", _) if self.is_watch() => "watch",
            ("GET", true) => "get",
            ("GET", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            (other, _) => other,
        };
        Some(Right {
            group: place.group.to_owned(),
            resource: place.resource,
            verb: verb.to_owned(),
        })
    }

    fn complaints(&self, namespace: &str, allowed: &BTreeSet<Right>) -> Vec<String> {
        let mut complaints = Vec::new();
        let at_home = place(&self.path).is_some_and(|place| place.namespace == namespace);
        if !at_home || self.right().is_none_or(|right| !allowed.contains(&right)) {
            complaints.push("the role does not allow it".to_owned());
        }
        if self.lists_hosts() && self.parameter("limit").is_none() {
            complaints.push("it asks for all hosts at once".to_owned());
        }
        let has = |pointer: &str| {
            let text = self.body.pointer(pointer).and_then(Value::as_str);
            text.is_some_and(|text| !text.is_empty())
        };
        if self.method == "DELETE" && !has("/preconditions/uid") {
            complaints.push("it deletes whatever has that name".to_owned());
        }
        if self.writes_host() {
            if self.content_type != "application/merge-patch+json" {
                complaints.push(format!("it is {}, no merge patch", self.content_type));
            }
            for pointer in [
                "/metadata/uid",
                "/metadata/resourceVersion",
                "/metadata/annotations/bellhop.dev~1fence",
            ] {
                if !has(pointer) {
                    complaints.push(format!("{pointer} is missing"));
                }
            }
            if self.was_accepted() {
                for part in ["spec", "metadata/annotations"] {
                    let pointer = format!("/{part}");
                    if let Some(sent) = self.body.pointer(&pointer) {
                        let kept = self.answer.pointer(&pointer).unwrap_or(&Value::Null);
                        not_kept(part, sent, kept, &mut complaints);
                    }
                }
            }
        }
        complaints
    }
}

/// What of a merge patch the object that the API server has then does not hold.
fn not_kept(path: &str, sent: &Value, kept: &Value, complaints: &mut Vec<String>) {
    match sent {
        Value::Object(fields) => {
            for (name, sent) in fields {
                not_kept(&format!("{path}/{name}"), sent, &kept[name], complaints);
            }
        }
        sent if sent == kept => {}
        sent => complaints.push(format!("{path}: {sent} was sent, {kept} is there")),
    }
}

fn write(body: Value, answer: Value) -> Recorded {
    Recorded {
        method: "PATCH".to_owned(),
        path: "/apis/metal3.io/v1alpha1/namespaces/metal3/baremetalhosts/node01".to_owned(),
        query: String::new(),
        content_type: "application/merge-patch+json".to_owned(),
        body,
        code: 200,
        answer,
    }
}

/// What the judge says of a request in the namespace `metal3`.
fn said(request: &Recorded) -> String {
    let allowed = rights_of(&shipped_role().0["rules"]);
    request.complaints("metal3", &allowed).join("; ")
}

#[test]
fn a_write_without_what_was_read_or_without_the_fence_is_a_fault() {
    let metadata =
        json!({"uid": "u", "resourceVersion": "7", "annotations": {"bellhop.dev/fence": "l/r/1"}});
    let good = json!({"metadata": metadata, "spec": {"image": null, "online": true}});
    let host = json!({"metadata": metadata, "spec": {"online": true}});
    assert_eq!(said(&write(good.clone(), host.clone())), "");
    for (pointer, name) in [
        ("/metadata", "uid"),
        ("/metadata", "resourceVersion"),
        ("/metadata/annotations", "bellhop.dev/fence"),
    ] {
        for without in [Value::Null, json!("")] {
            let mut bad = good.clone();
            bad.pointer_mut(pointer).unwrap()[name] = without;
            let mut request = write(bad, host.clone());
            // Refused or not.
            request.code = 409;
            let said = said(&request);
            assert!(said.ends_with("is missing"), "{said}");
        }
    }
}

#[test]
fn a_field_that_the_server_does_not_keep_is_a_fault() {
    let metadata =
        json!({"uid": "u", "resourceVersion": "7", "annotations": {"bellhop.dev/fence": "l/r/1"}});
    let sent = json!({"metadata": metadata, "spec": {"image": {"url": "u", "surprise": 1}, "userData": null}});
    let host =
        json!({"metadata": metadata, "spec": {"image": {"url": "u"}, "userData": {"name": "s"}}});
    assert_eq!(
        said(&write(sent, host)),
        "spec/image/surprise: 1 was sent, null is there; spec/userData: null was sent, {\"name\":\"s\"} is there"
    );
}

#[test]
fn what_the_role_does_not_allow_is_a_fault() {
    let get = |path: &str, query: &str| Recorded {
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        content_type: String::new(),
        ..write(Value::Null, Value::Null)
    };
    let hosts = "/apis/metal3.io/v1alpha1/namespaces/metal3/baremetalhosts";
    assert_eq!(said(&get(hosts, "limit=500")), "");
    assert_eq!(said(&get(hosts, "watch=true")), "");
    assert_eq!(said(&get(hosts, "")), "it asks for all hosts at once");
    let refused = "the role does not allow it";
    for path in [
        "/api/v1/namespaces/metal3/secrets",
        "/api/v1/namespaces/metal3/events/e",
        "/api/v1/namespaces/elsewhere/secrets/s",
        "/apis/metal3.io/v1alpha1/baremetalhosts",
        "/apis/metal3.io/v1alpha1/namespaces/metal3/baremetalhosts/node01/status",
        "/version",
    ] {
        assert!(said(&get(path, "limit=1")).contains(refused), "{path}");
    }
    let deletion = |body: Value| Recorded {
        method: "DELETE".to_owned(),
        path: "/api/v1/namespaces/metal3/secrets/s".to_owned(),
        ..write(body, Value::Null)
    };
    assert_eq!(said(&deletion(json!({"preconditions": {"uid": "u"}}))), "");
    assert_eq!(
        said(&deletion(Value::Null)),
        "it deletes whatever has that name"
    );
}
