//! A stage: an installation of Bellhop, a namespace of its own on one of the two servers, and an administrator who sets it.

use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellhop_provisioner::ProvisionerSettings;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::between::{Between, Watches};
use super::record::{Judge, Record};
use super::requests::{Event, Refused, Requests};
use super::server::Place;
use crate::installation::{Installation, PATIENCE, Running};

pub(crate) struct Stage {
    pub(crate) installation: Installation,
    pub(crate) place: Place,
    pub(crate) administrator: Requests,
    /// All versions of all hosts that the administrator's watch has told of.
    versions: Arc<Mutex<Vec<Value>>>,
    /// Every request of the provisioners.
    pub(crate) record: Record,
    /// Between every provisioner and the API server that has no go-between of its own.
    pub(crate) between: Between,
    line: Line,
    _judge: Judge,
    _end: DropGuard,
}

impl Deref for Stage {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}

impl Stage {
    /// A stage without hosts.
    pub(crate) async fn new() -> Self {
        let installation = Installation::new().await;
        let place = Place::new().await;
        let administrator = Requests::new(place.administrator.clone());
        let versions = Arc::<Mutex<Vec<Value>>>::default();
        let end = CancellationToken::new();
        tokio::spawn({
            let (requests, versions, end) = (administrator.clone(), versions.clone(), end.clone());
            let hosts = place.hosts_path();
            async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    () = write_down(requests, hosts, versions) => {}
                }
            }
        });
        let record = Record::default();
        let between = Between::new(&place, record.clone(), Watches::AsAsked).await;
        let line = Line::to(between.port, end.clone()).await;
        let judge = record.judge(&place.namespace);
        Self {
            installation,
            place,
            administrator,
            versions,
            record,
            between,
            line,
            _judge: judge,
            _end: end.drop_guard(),
        }
    }

    /// A stage with one host that Metal3 has made available.
    pub(crate) async fn with_host(name: &str) -> Self {
        let stage = Self::new().await;
        stage.add_host(name, json!({})).await;
        stage
    }

    /// Makes a host, and waits until Metal3 has made it available. `changes` is merged into the object.
    pub(crate) async fn add_host(&self, name: &str, changes: Value) {
        let host = self.new_host(name, changes);
        self.administrator
            .create(&self.place.hosts_path(), &host)
            .await
            .unwrap();
        self.until_host(name, |host| {
            host["status"]["provisioning"]["state"] == "available"
        })
        .await;
    }

    /// A host as an operator registers it.
    pub(crate) fn new_host(&self, name: &str, changes: Value) -> Value {
        let mut host = json!({
            "apiVersion": "metal3.io/v1alpha1", "kind": "BareMetalHost",
            "metadata": {"name": name, "namespace": self.place.namespace},
            "spec": {"online": false, "bootMACAddress": "02:00:00:00:00:01",
                     "bmc": {"address": "redfish://192.0.2.1/redfish/v1/Systems/1", "credentialsName": "bmc"}},
        });
        merge(&mut host, changes);
        host
    }

    /// A provisioner that reaches the API server over a line that a test can cut.
    pub(crate) fn provisioner(&self) -> Running {
        self.provisioner_with(self.settings_for(&self.place.namespace))
    }

    pub(crate) fn provisioner_with(&self, settings: ProvisionerSettings) -> Running {
        self.provisioner_in(at(self.line.port), settings)
    }

    /// A go-between whose watches the API server closes after a second.
    pub(crate) async fn go_between(&self) -> Between {
        Between::new(&self.place, self.record.clone(), Watches::Short).await
    }

    /// One that reaches the API server through a go-between of its own. Nothing sweeps: what it learns of hosts it learns by its
    /// watch.
    pub(crate) fn provisioner_over(&self, between: &Between) -> Running {
        let settings = ProvisionerSettings {
            sweep_interval: Duration::from_secs(3600),
            ..self.settings_for(&self.place.namespace)
        };
        self.provisioner_in(at(between.port), settings)
    }

    /// Requests with the provisioner's own rights.
    pub(crate) fn as_provisioner(&self) -> Requests {
        Requests::new(self.place.provisioner.clone())
    }

    pub(crate) async fn host(&self, name: &str) -> Value {
        self.administrator
            .get(&self.place.host_path(name))
            .await
            .unwrap()
    }

    pub(crate) async fn until_host(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            loop {
                let host = self.host(name).await;
                if wanted(&host) {
                    return host;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(host) => host,
            Err(_) => panic!("the host stays {:#}", self.host(name).await),
        }
    }

    /// Waits until a host that was deleted is no more.
    pub(crate) async fn until_gone(&self, name: &str) {
        let path = self.place.host_path(name);
        let search = async {
            while self.administrator.get(&path).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, search).await.is_err() {
            panic!("the host stays {:#}", self.host(name).await);
        }
    }

    /// Someone else changes a host.
    pub(crate) async fn patch_host(&self, name: &str, patch: Value) -> Value {
        self.administrator
            .patch(&self.place.host_path(name), &patch)
            .await
            .unwrap()
    }

    pub(crate) fn secrets_path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", self.place.namespace)
    }

    pub(crate) async fn secret(&self, name: &str) -> Result<Value, Refused> {
        self.administrator
            .get(&format!("{}/{name}", self.secrets_path()))
            .await
    }

    /// The names of Bellhop's secrets.
    pub(crate) async fn secrets(&self) -> Vec<String> {
        let path = format!(
            "{}?labelSelector=app.kubernetes.io/managed-by%3Dbellhop",
            self.secrets_path()
        );
        let list = self.administrator.get(&path).await.unwrap();
        let names = list["items"].as_array().unwrap().iter();
        names
            .map(|secret| secret["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// For whom a host got an image, in order, as the administrator's watch has seen it.
    pub(crate) fn claims(&self, name: &str) -> Vec<String> {
        let mut claims = Vec::new();
        let mut had_image = false;
        for host in self.versions.lock().unwrap().iter() {
            if host["metadata"]["name"] != name {
                continue;
            }
            let has_image = host["spec"]["image"]["url"].is_string();
            if has_image && !had_image {
                let consumer = host["spec"]["consumerRef"]["name"].as_str();
                claims.push(consumer.unwrap_or_default().to_owned());
            }
            had_image = has_image;
        }
        claims
    }

    /// Waits until `claims` is what the watch has seen.
    pub(crate) async fn until_claims(&self, name: &str, claims: &[&str]) {
        let search = async {
            while self.claims(name) != claims {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, search).await.is_err() {
            panic!("the claims are {:?}", self.claims(name));
        }
    }

    /// Every connection of the provisioner to the API server breaks; new ones are made at once.
    pub(crate) fn cut(&self) {
        self.line.state.send_modify(|state| state.cuts += 1);
    }

    /// The API server can't be reached by the provisioner, or can again.
    pub(crate) fn set_reachable(&self, reachable: bool) {
        self.line.state.send_modify(|state| {
            state.reachable = reachable;
            state.cuts += 1;
        });
    }
}

/// An API server, or what leads to it, on this machine. Whoever is there has the provisioner's token.
fn at(port: u16) -> kube::Config {
    kube::Config::new(format!("http://127.0.0.1:{port}").parse().unwrap())
}

/// Follows all hosts for ever.
async fn write_down(requests: Requests, hosts: String, versions: Arc<Mutex<Vec<Value>>>) {
    let mut version = "0".to_owned();
    loop {
        let path = format!("{hosts}?watch=true&resourceVersion={version}");
        let Ok(events) = requests.watch(&path).await else {
            continue;
        };
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            match event {
                Event::Added(host) | Event::Modified(host) | Event::Deleted(host) => {
                    let seen = host["metadata"]["resourceVersion"].as_str();
                    seen.unwrap_or_default().clone_into(&mut version);
                    versions.lock().unwrap().push(host);
                }
                Event::Bookmark => {}
                Event::Error(_) => "0".clone_into(&mut version),
            }
        }
    }
}

/// A line to the go-between, and so to the API server, that can be cut.
struct Line {
    port: u16,
    state: watch::Sender<LineState>,
}

#[derive(Clone, Copy)]
struct LineState {
    reachable: bool,
    cuts: u64,
}

impl Line {
    async fn to(server: u16, end: CancellationToken) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = watch::Sender::new(LineState {
            reachable: true,
            cuts: 0,
        });
        let states = state.clone();
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = end.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((mut near, _)) = accepted else {
                    continue;
                };
                let mut state = states.subscribe();
                if !state.borrow_and_update().reachable {
                    continue;
                }
                tokio::spawn(async move {
                    let carry = async {
                        let mut far = TcpStream::connect(("127.0.0.1", server)).await.ok()?;
                        copy_bidirectional(&mut near, &mut far).await.ok()
                    };
                    tokio::select! {
                        _ended = carry => {}
                        _cut = state.changed() => {}
                    }
                });
            }
        });
        Self { port, state }
    }
}

/// Merges objects; what is no object replaces.
fn merge(target: &mut Value, changes: Value) {
    match (target, changes) {
        (Value::Object(target), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(target.entry(name).or_insert(Value::Null), change);
            }
        }
        (target, changes) => *target = changes,
    }
}
