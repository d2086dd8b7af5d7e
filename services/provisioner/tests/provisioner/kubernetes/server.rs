//! The two servers, and what each must be asked for in its own way. Nothing else here knows which one it is.

use std::path::PathBuf;

use bellhop_simulator::cluster::{
    Cluster, ClusterSettings, Fault, FaultId, FaultKind, HostState, Resource, Verb, definition,
};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::leaving;
use super::operator::Operator;
use super::requests::Requests;

/// The kubeconfig of an administrator of a real API server; unset: the simulated cluster.
pub(super) const KUBECONFIG: &str = "BELLHOP_TEST_KUBECONFIG";
/// A file with Metal3's own definition of BareMetalHosts, for a real API server that has none.
const DEFINITION: &str = "BELLHOP_TEST_METAL3_DEFINITION";

/// What every namespace of the suite has, so that one that was left behind can be found; and the definition of hosts, if it
/// is the suite's.
pub(super) const LABEL: &str = "bellhop.dev/test";

pub(super) const HOSTS_DEFINITION: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/baremetalhosts.metal3.io";
pub(super) const POLICIES: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
pub(super) const BINDINGS: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
pub(super) const FLOWS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
pub(super) const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";

/// The account that the shipped RoleBinding names.
pub(crate) const ACCOUNT: &str = "webhook-server-client-sa";

/// An API server, with Metal3 behind it.
pub(crate) enum Server {
    Simulated(Cluster),
    Real(Operator),
}

/// Where a stage is, and who acts on it.
pub(crate) struct Place {
    pub(crate) server: Server,
    pub(crate) namespace: String,
    pub(crate) administrator: Config,
    pub(crate) provisioner: Config,
}

/// Whether the suite runs against a real API server.
pub(crate) fn is_real() -> bool {
    std::env::var_os(KUBECONFIG).is_some()
}

impl Place {
    /// A namespace of its own on whichever server the suite runs against.
    pub(crate) async fn new() -> Self {
        match std::env::var_os(KUBECONFIG) {
            None => simulated().await,
            Some(_) => real().await,
        }
    }
}

/// What the suite made in a cluster goes with the test, whether it passed or not.
impl Drop for Place {
    fn drop(&mut self) {
        if let Server::Simulated(_) = self.server {
            return;
        }
        leaving::remove_now(&self.namespace, &self.administrator);
    }
}

async fn simulated() -> Place {
    let cluster = Cluster::start(ClusterSettings::default()).await.unwrap();
    let mut administrator = Config::new(cluster.url().parse().unwrap());
    "metal3".clone_into(&mut administrator.default_namespace);
    let mut provisioner = administrator.clone();
    provisioner.auth_info.token = Some(ACCOUNT.into());
    Place {
        server: Server::Simulated(cluster),
        namespace: "metal3".to_owned(),
        administrator,
        provisioner,
    }
}

/// The administrator of the real API server.
pub(super) async fn administrator() -> Config {
    let path = PathBuf::from(std::env::var_os(KUBECONFIG).unwrap());
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap()
}

async fn real() -> Place {
    let administrator = administrator().await;
    let requests = Requests::new(administrator.clone());
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    DEFINED.get_or_init(|| define_hosts(&requests)).await;

    let namespace = format!("bellhop-test-{:08x}", rand::random::<u32>());
    leaving::note(&namespace, &administrator).await;
    let object = json!({"apiVersion": "v1", "kind": "Namespace",
                        "metadata": {"name": namespace, "labels": {LABEL: "true"}}});
    requests
        .create("/api/v1/namespaces", &object)
        .await
        .unwrap();
    let token = account(&requests, &namespace).await;
    let mut provisioner = administrator.clone();
    provisioner.auth_info = kube::config::AuthInfo {
        token: Some(token.into()),
        ..Default::default()
    };
    provisioner.default_namespace.clone_from(&namespace);
    Place {
        server: Server::Real(Operator::begin(requests, &namespace).await),
        namespace,
        administrator,
        provisioner,
    }
}

/// Installs the definition of BareMetalHosts where there is none.
async fn define_hosts(requests: &Requests) {
    while requests.get("/readyz").await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let path = HOSTS_DEFINITION;
    if requests.get(path).await.is_err() {
        let mut definition: Value = match std::env::var_os(DEFINITION) {
            Some(file) => serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap(),
            None => definition(),
        };
        // So that it goes at the end.
        definition["metadata"]["labels"][LABEL] = json!("true");
        requests.apply(path, &definition).await.unwrap();
    }
    let established = |object: &Value| {
        object["status"]["conditions"]
            .as_array()
            .is_some_and(|all| {
                all.iter()
                    .any(|one| one["type"] == "Established" && one["status"] == "True")
            })
    };
    let hosts = "/apis/metal3.io/v1alpha1/baremetalhosts";
    while !established(&requests.get(path).await.unwrap()) || requests.get(hosts).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// The provisioner's account under the role that is shipped; its token.
async fn account(requests: &Requests, namespace: &str) -> String {
    let core = format!("/api/v1/namespaces/{namespace}");
    let rights = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
    let object =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}});
    requests
        .create(&format!("{core}/serviceaccounts"), &object)
        .await
        .unwrap();
    let (mut role, mut binding) = shipped_role();
    role["metadata"]["namespace"] = json!(namespace);
    binding["metadata"]["namespace"] = json!(namespace);
    binding["subjects"][0]["namespace"] = json!(namespace);
    requests
        .create(&format!("{rights}/roles"), &role)
        .await
        .unwrap();
    requests
        .create(&format!("{rights}/rolebindings"), &binding)
        .await
        .unwrap();
    let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                       "spec": {"expirationSeconds": 7200}});
    let granted = requests
        .create(&format!("{core}/serviceaccounts/{ACCOUNT}/token"), &asked)
        .await
        .unwrap();
    granted["status"]["token"].as_str().unwrap().to_owned()
}

/// The Role and the RoleBinding of `deploy/kubernetes`, as they are shipped.
pub(crate) fn shipped_role() -> (Value, Value) {
    let text = include_str!("../../../../../deploy/kubernetes/role.yaml");
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let binding = documents.pop().unwrap();
    let role = documents.pop().unwrap();
    assert_eq!(
        (&role["kind"], &binding["kind"]),
        (&json!("Role"), &json!("RoleBinding"))
    );
    assert_eq!(binding["subjects"][0]["name"], ACCOUNT);
    (role, binding)
}

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
    fn requests(&self) -> Requests {
        Requests::new(self.administrator.clone())
    }

    fn own(&self) -> Requests {
        Requests::new(self.provisioner.clone())
    }

    /// Metal3 leaves the host in this state once it is there.
    pub(crate) fn hold_at(&self, name: &str, state: HostState) {
        match &self.server {
            Server::Simulated(cluster) => cluster.hold_at(&self.namespace, name, state),
            Server::Real(operator) => operator.hold_at(name, state),
        }
    }

    /// Metal3 goes on with the host.
    pub(crate) fn let_go(&self, name: &str) {
        match &self.server {
            Server::Simulated(cluster) => cluster.let_go(&self.namespace, name),
            Server::Real(operator) => operator.let_go(name),
        }
    }

    /// The next `times` installations of the host end in an error.
    pub(crate) fn installations_fail(&self, name: &str, message: &str, times: u32) {
        match &self.server {
            Server::Simulated(cluster) => {
                let fault =
                    Fault::provisioning_fails(&self.namespace, name, "provisioning error", message);
                cluster.inject(fault.times(times));
            }
            Server::Real(operator) => operator.installations_fail(name, message, times),
        }
    }

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
        let name = &self.namespace;
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{"apiGroups": ["metal3.io"], "apiVersions": ["*"],
                                                        "operations": ["UPDATE"], "resources": ["baremetalhosts"]}]},
                "validations": [{"expression": ban.allowed, "message": message, "reason": reason}],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"],
                     "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}},
        });
        self.requests().create(POLICIES, &policy).await.unwrap();
        self.requests().create(BINDINGS, &binding).await.unwrap();
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
        Refusing::Objects {
            paths: vec![format!("{BINDINGS}/{name}"), format!("{POLICIES}/{name}")],
            crowd: None,
        }
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

    /// The namespace is being deleted: nothing new can be made in it.
    pub(crate) async fn delete_namespace(&self) {
        match &self.server {
            Server::Simulated(cluster) => cluster.terminate_namespace(&self.namespace),
            Server::Real(_) => {
                let path = format!("/api/v1/namespaces/{}", self.namespace);
                self.requests().delete(&path, json!({})).await.unwrap();
            }
        }
    }

    /// All changes so far are forgotten, where that can be asked for; else this version is older than all that is known.
    pub(crate) fn forgotten_version(&self) -> &'static str {
        if let Server::Simulated(cluster) = &self.server {
            cluster.forget_history();
        }
        "1"
    }

    pub(crate) fn hosts_path(&self) -> String {
        format!(
            "/apis/metal3.io/v1alpha1/namespaces/{}/baremetalhosts",
            self.namespace
        )
    }

    pub(crate) fn host_path(&self, name: &str) -> String {
        format!("{}/{name}", self.hosts_path())
    }

    async fn until<F: Future<Output = bool>>(&self, is_so: impl Fn() -> F) {
        let search = async {
            while !is_so().await {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(crate::installation::PATIENCE, search)
            .await
            .unwrap();
    }
}
