//! What is refused while a test says so, as each of the two servers can be brought to it: for lack of room, by admission, for a
//! right that is missing.

use bellhop_simulator::cluster::{Fault, FaultId, FaultKind, Resource, Verb};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::requests::Requests;
use super::server::{ACCOUNT, BINDINGS, FLOWS, LEVELS, POLICIES, Place, Server, shipped_role};

/// What admission refuses: as a policy, and as the simulator's fault.
struct Ban {
    /// What the policy asks of a host, in its own language.
    allowed: &'static str,
    /// Where in the body the fault looks.
    pointer: &'static str,
    /// Whether it looks for a null there.
    removal: bool,
    /// A change of a spec that is refused.
    refused: Value,
}

/// What refuses requests until it is lifted.
pub(crate) enum Refusing {
    Fault(FaultId),
    Objects {
        paths: Vec<String>,
        crowd: Option<DropGuard>,
    },
}

/// That the provisioner lacks a right: as a fault, or by another role.
pub(crate) struct Forbidden(Option<Refusing>);

/// What is asked for in each server's own way.
impl Place {
    /// The API server has no room for the provisioner's requests (429).
    pub(crate) async fn throttle(&self) -> Refusing {
        let Server::Real(_) = &self.server else {
            let kind = FaultKind::TooManyRequests {
                retry_after_seconds: 1,
            };
            return self.inject(Fault::new(kind).by(ACCOUNT));
        };
        let name = &self.namespace;
        let level = json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": name},
            "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0,
                     "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}},
        });
        let flow = json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": name},
            "spec": {"matchingPrecedence": 2, "priorityLevelConfiguration": {"name": name}, "rules": [{
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": ACCOUNT, "namespace": name}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
            }]},
        });
        self.requests().create(LEVELS, &level).await.unwrap();
        self.requests().create(FLOWS, &flow).await.unwrap();
        // Even a level without seats carries out one request at a time: others must have it.
        let crowd = CancellationToken::new();
        for _ in 0..16 {
            let (own, hosts, end) = (self.own(), self.hosts_path(), crowd.clone());
            tokio::spawn(async move {
                while !end.is_cancelled() {
                    let _refused_or_not = own.get(&hosts).await;
                }
            });
        }
        Refusing::Objects {
            paths: vec![format!("{FLOWS}/{name}"), format!("{LEVELS}/{name}")],
            crowd: Some(crowd.drop_guard()),
        }
    }

    /// Admission refuses every host that gets an image, with this message.
    pub(crate) async fn refuse_images(&self, reason: &str, message: &str) -> Refusing {
        let ban = Ban {
            allowed: "!has(object.spec.image)",
            pointer: "/spec/image",
            removal: false,
            refused: json!({"image": {"url": "http://images.invalid/canary"}}),
        };
        self.refuse(ban, reason, message).await
    }

    /// Admission refuses every host that gets a consumer, with this message.
    pub(crate) async fn refuse_consumers(&self, reason: &str, message: &str) -> Refusing {
        let ban = Ban {
            allowed: "!has(object.spec.consumerRef)",
            pointer: "/spec/consumerRef",
            removal: false,
            refused: json!({"consumerRef": {"kind": "Canary", "name": "canary"}}),
        };
        self.refuse(ban, reason, message).await
    }

    /// Admission refuses to switch a host on, with this message.
    pub(crate) async fn refuse_switching_on(&self, reason: &str, message: &str) -> Refusing {
        let ban = Ban {
            allowed: "!object.spec.online",
            pointer: "/spec/online",
            removal: false,
            refused: json!({"online": true}),
        };
        self.refuse(ban, reason, message).await
    }

    /// Admission refuses to take the image from a host, with this message.
    pub(crate) async fn refuse_removals_of_images(&self, reason: &str, message: &str) -> Refusing {
        let ban = Ban {
            allowed: "has(object.spec.image) || !has(oldObject.spec.image)",
            pointer: "/spec/image",
            removal: true,
            refused: json!({"image": null}),
        };
        self.refuse(ban, reason, message).await
    }

    async fn refuse(&self, ban: Ban, reason: &str, message: &str) -> Refusing {
        let Server::Real(_) = &self.server else {
            return self.inject(Fault::new(FaultKind::AdmissionDenies {
                forbidden: reason == "Forbidden",
                pointer: ban.pointer.to_owned(),
                removal: ban.removal,
                message: message.to_owned(),
            }));
        };
        self.enforce(json!({
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": ["metal3.io"], "apiVersions": ["*"],
                                                    "operations": ["UPDATE"], "resources": ["baremetalhosts"]}]},
            "validations": [{"expression": ban.allowed, "message": message, "reason": reason}],
        }))
        .await;
        // A policy is in force some time after it was made: a host that nobody uses tells when.
        let canary = self.host_path("canary");
        self.requests()
            .create(&self.hosts_path(), &json!({
                "apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost", "metadata": {"name": "canary"},
                "spec": {"online": false},
            }))
            .await
            .unwrap();
        let requests = self.requests();
        let image = json!({"image": {"url": "http://images.invalid/canary"}});
        // What is refused must change something, or the policy is not asked.
        let (set, unset) = if ban.removal {
            (image, ban.refused)
        } else {
            (
                ban.refused,
                json!({"image": null, "consumerRef": null, "online": false}),
            )
        };
        let (set, unset) = (json!({"spec": set}), json!({"spec": unset}));
        self.until(|| async {
            let is_set = requests.patch(&canary, &set).await;
            is_set.is_err() || requests.patch(&canary, &unset).await.is_err()
        })
        .await;
        let name = &self.namespace;
        Refusing::Objects {
            paths: vec![format!("{BINDINGS}/{name}"), format!("{POLICIES}/{name}")],
            crowd: None,
        }
    }

    /// Makes a policy for this namespace.
    async fn enforce(&self, policy: Value) {
        let name = &self.namespace;
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": policy,
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"],
                     "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}},
        });
        self.requests().create(POLICIES, &policy).await.unwrap();
        self.requests().create(BINDINGS, &binding).await.unwrap();
    }

    /// The provisioner has no right to make secrets.
    pub(crate) async fn forbid_secrets(&self) -> Forbidden {
        let Server::Real(_) = &self.server else {
            let fault = Fault::new(FaultKind::Forbidden)
                .on(Verb::Create)
                .resource(Resource::Secrets)
                .by(ACCOUNT);
            return Forbidden(Some(self.inject(fault)));
        };
        let (mut role, _) = shipped_role();
        for rule in role["rules"].as_array_mut().unwrap() {
            if rule["resources"] == json!(["secrets"]) {
                let verbs = rule["verbs"].as_array_mut().unwrap();
                verbs.retain(|verb| verb != "create");
            }
        }
        self.set_rights(&role["rules"]).await;
        // Rights are in force some time after they were changed.
        let own = self.own();
        self.until(|| async { !self.may_make_secrets(&own).await })
            .await;
        Forbidden(None)
    }

    /// The provisioner may make secrets again.
    pub(crate) async fn allow_secrets(&self, forbidden: Forbidden) {
        match forbidden {
            Forbidden(Some(fault)) => self.lift(fault).await,
            Forbidden(None) => self.set_rights(&shipped_role().0["rules"]).await,
        }
    }

    async fn set_rights(&self, rules: &Value) {
        let path = format!(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles/{}",
            self.namespace,
            shipped_role().0["metadata"]["name"].as_str().unwrap()
        );
        let patch = json!({"rules": rules});
        self.requests().patch(&path, &patch).await.unwrap();
    }

    async fn may_make_secrets(&self, own: &Requests) -> bool {
        let path = format!("/api/v1/namespaces/{}/secrets?dryRun=All", self.namespace);
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe"}});
        own.create(&path, &secret).await.is_ok()
    }

    fn inject(&self, fault: Fault) -> Refusing {
        match &self.server {
            Server::Simulated(cluster) => Refusing::Fault(cluster.inject(fault)),
            Server::Real(_) => panic!("faults are the simulator's"),
        }
    }

    /// Requests go through again.
    pub(crate) async fn lift(&self, refusing: Refusing) {
        match (refusing, &self.server) {
            (Refusing::Fault(id), Server::Simulated(cluster)) => cluster.clear_fault(id),
            (Refusing::Fault(_), Server::Real(_)) => {}
            (Refusing::Objects { paths, crowd }, _) => {
                drop(crowd);
                for path in paths {
                    self.requests().delete(&path, json!({})).await.unwrap();
                }
            }
        }
    }

    /// The cluster's own controllers may delete nothing of the namespace, as long as the policies of this test stand.
    pub(super) async fn keep_what_is_there(&self) {
        let policy = json!({
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["DELETE"],
                                                    "resources": ["*"], "scope": "Namespaced"}]},
            "validations": [{
                "expression": "oldObject.metadata.name != 'canary' && !request.userInfo.username.startsWith('system:serviceaccount:kube-system:') \
                               && request.userInfo.username != 'system:kube-controller-manager'",
                "message": "kept until the test is over", "reason": "Forbidden",
            }],
        });
        self.enforce(policy).await;
        let maps = format!("/api/v1/namespaces/{}/configmaps", self.namespace);
        let canary =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "canary"}});
        let requests = self.requests();
        self.until(|| async {
            // Until the policy is in force the canary goes, and another one comes.
            let _there_already = requests.create(&maps, &canary).await;
            let deleted = requests.delete(&format!("{maps}/canary"), json!({})).await;
            deleted.is_err_and(|refused| refused.message.contains("kept until the test is over"))
        })
        .await;
    }
}
