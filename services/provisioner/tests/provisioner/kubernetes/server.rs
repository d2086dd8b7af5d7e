//! The two servers, and what each must be asked for in its own way. Nothing else here knows which one it is.

use std::path::PathBuf;

use bellhop_simulator::cluster::{Cluster, ClusterSettings, Fault, HostState, definition};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

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
    let provisioner = with_token(&administrator, token);
    Place {
        server: Server::Real(Operator::begin(requests, &namespace).await),
        namespace,
        administrator,
        provisioner,
    }
}

/// The API server of `administrator` for whoever has this token.
pub(crate) fn with_token(administrator: &Config, token: String) -> Config {
    let mut configuration = administrator.clone();
    configuration.auth_info = kube::config::AuthInfo {
        token: Some(token.into()),
        ..Default::default()
    };
    configuration
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
    let rights = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
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
    new_account(requests, namespace, ACCOUNT).await
}

/// Makes an account; its token.
pub(crate) async fn new_account(requests: &Requests, namespace: &str, name: &str) -> String {
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
    requests.create(&accounts, &object).await.unwrap();
    let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                       "spec": {"expirationSeconds": 7200}});
    let granted = requests
        .create(&format!("{accounts}/{name}/token"), &asked)
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

/// What is asked for in each server's own way.
impl Place {
    pub(super) fn requests(&self) -> Requests {
        Requests::new(self.administrator.clone())
    }

    pub(super) fn own(&self) -> Requests {
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

    /// The namespace is being deleted: nothing new can be made in it. What is in it stays until the test is over, also where a
    /// controller of the cluster would delete that.
    pub(crate) async fn delete_namespace(&self) {
        match &self.server {
            Server::Simulated(cluster) => cluster.terminate_namespace(&self.namespace),
            Server::Real(_) => {
                self.keep_what_is_there().await;
                let path = format!("/api/v1/namespaces/{}", self.namespace);
                let requests = self.requests();
                requests.delete(&path, json!({})).await.unwrap();
                // The controller has tried.
                let refused = |condition: &Value| {
                    condition["type"] == "NamespaceDeletionContentFailure"
                        && condition["status"] == "True"
                };
                self.until(|| async {
                    let namespace = requests.get(&path).await.unwrap();
                    let conditions = namespace["status"]["conditions"].as_array();
                    conditions.is_some_and(|all| all.iter().any(refused))
                })
                .await;
            }
        }
    }

    /// All changes so far are forgotten, where that can be asked for; else this version is older than all that is known.
    pub(crate) fn forgotten_version(&self) -> &'static str {
        self.forget_versions();
        "1"
    }

    /// The first version is forgotten. On a real API server that was done before, or long enough ago.
    pub(crate) fn forget_versions(&self) {
        if let Server::Simulated(cluster) = &self.server {
            cluster.forget_history();
        }
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

    pub(super) async fn until<F: Future<Output = bool>>(&self, is_so: impl Fn() -> F) {
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
