//! The Kubernetes API, as far as Bellhop uses it: hosts are read, watched and patched; secrets are read, created and deleted.
//! The role in `deploy/kubernetes` allows just these.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bellhop_domain::id::{HostRef, LedgerId, ReservationId, Version};
use http::Request;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::client::Body;
use kube::core::ApiResource;
use kube::{Client, Config, Resource};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::host::{BareMetalHost, RESOURCE};
use crate::settings::ProvisionerSettings;

/// How many hosts one page of a list holds.
pub(crate) const PAGE: u32 = 500;
/// How long the API server may take to answer, or to go on answering.
const ANSWER: Duration = Duration::from_secs(15);
/// How long a watch may say nothing: longer than kube lets the server hold one.
const WATCH: Duration = Duration::from_secs(300);
/// The least time from one watch to the next: whoever closes watches as soon as they are open is not asked in a rush.
const BETWEEN_WATCHES: Duration = Duration::from_secs(1);
/// Who we are in managed fields.
const FIELD_MANAGER: &str = "bellhop-provisioner";

const RESERVATION: &str = "bellhop.dev/reservation";
const HOST_UID: &str = "bellhop.dev/host-uid";
const LEDGER: &str = "bellhop.dev/ledger";
/// The decision that the user data of a secret follow from ([`Holding::user_data_of`]).
///
/// [`Holding::user_data_of`]: bellhop_domain::reservation::Holding::user_data_of
const DECISION: &str = "bellhop.dev/decision";

/// A connection to the API server, for reading. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    /// With a longer limit on the time between two bytes: a quiet watch is a good one.
    watching: Client,
    resource: ApiResource,
}

/// The same for writing. A shadow has none, so it can't write whatever it decides.
pub(crate) struct WritableCluster(Cluster);

/// A request to the API server failed.
#[derive(Debug, thiserror::Error)]
#[error("Kubernetes: cannot {what}")]
pub(crate) struct ClusterError {
    what: String,
    #[source]
    cause: Box<kube::Error>,
}

impl ClusterError {
    fn new(what: impl Into<String>, cause: kube::Error) -> Self {
        Self {
            what: what.into(),
            cause: Box::new(cause),
        }
    }

    /// Someone else wrote the object since we read it.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(&*self.cause, kube::Error::Api(status) if status.code == 409)
    }

    /// The server will never take this: what it says about it.
    pub(crate) fn refusal(&self) -> Option<&str> {
        match &*self.cause {
            // Another uid is answered with 422 too, but then the host is another one: the next reading tells.
            kube::Error::Api(status)
                if status.code == 422 && !status.message.contains("metadata.uid") =>
            {
                Some(&status.message)
            }
            // Other 403s pass: a right, a quota, a namespace that is being deleted.
            kube::Error::Api(status)
                if status.code == 403
                    && ["admission webhook \"", "ValidatingAdmissionPolicy '"]
                        .iter()
                        .any(|who| status.message.contains(who)) =>
            {
                Some(&status.message)
            }
            kube::Error::Api(status) if status.code == 400 => Some(&status.message),
            _ => None,
        }
    }

    /// We lack the right to do it.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.has_reason("Forbidden")
    }

    fn has_reason(&self, reason: &str) -> bool {
        matches!(&*self.cause, kube::Error::Api(status) if status.reason == reason)
    }

    /// The error with its cause, in one line.
    pub(crate) fn text(&self) -> String {
        match &*self.cause {
            kube::Error::Api(status) => format!("{self}: {} ({})", status.message, status.code),
            other => format!("{self}: {}", with_causes(other)),
        }
    }
}

/// Which reservation on which host a secret is for.
#[derive(Clone, Debug)]
pub(crate) struct SecretOwner<'a> {
    pub(crate) reservation: &'a ReservationId,
    pub(crate) host: &'a HostRef,
    pub(crate) ledger: &'a LedgerId,
}

/// What became of a secret that should be there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SecretCreated {
    /// It is there, made now or by an earlier try.
    Ours,
    /// One that follows from a newer decision is there: somebody else knows more.
    Newer,
    /// One of that name belongs to someone else.
    SomeoneElses,
    /// One of that name is being deleted.
    BeingDeleted,
}

impl Cluster {
    pub(crate) fn new(
        mut configuration: Config,
        settings: &ProvisionerSettings,
    ) -> Result<Self, kube::Error> {
        // A watch is closed by the server after 290 s; a list, or one that was forgotten, must end too.
        configuration.read_timeout = Some(WATCH);
        let watching = Client::try_from(configuration.clone())?;
        configuration.read_timeout = Some(ANSWER);
        // The time counts from the request, not from when its connection was last used.
        configuration.reset_reader_on_write = true;
        // A look that fails is shown, and tried again by the work queue, which holds up no other host meanwhile.
        configuration.default_retry = false;
        let client = Client::try_from(configuration)?;
        let api_version = format!("{}/{}", settings.bmh_api_group, settings.bmh_api_version);
        let resource = ApiResource {
            group: settings.bmh_api_group.clone(),
            version: settings.bmh_api_version.clone(),
            api_version,
            kind: "BareMetalHost".to_owned(),
            plural: settings.bmh_plural.clone(),
        };
        Ok(Self {
            client,
            watching,
            resource,
        })
    }

    fn hosts(&self, namespace: &str) -> Api<BareMetalHost> {
        Api::namespaced_with(self.client.clone(), namespace, &self.resource)
    }

    /// The hosts of a namespace, to be watched. `answered` is called whenever the API server accepts a request of the watch:
    /// a watch that goes on after an interruption says nothing until a host changes.
    pub(crate) fn watched_hosts(
        &self,
        namespace: &str,
        answered: impl Fn() + Clone + Send + 'static,
    ) -> Api<BareMetalHost> {
        let watching = self.watching.clone();
        let begun = Arc::<Mutex<Option<Instant>>>::default();
        let requests = tower::service_fn(move |request: Request<Body>| {
            let (watching, answered, begun) = (watching.clone(), answered.clone(), begun.clone());
            async move {
                let query = request.uri().query().unwrap_or_default();
                if query.split('&').any(|part| part == "watch=true") {
                    let mut begun = begun.lock().await;
                    if let Some(before) = *begun {
                        tokio::time::sleep_until(before + BETWEEN_WATCHES).await;
                    }
                    *begun = Some(Instant::now());
                }
                let answer = watching.send(request).await?;
                if answer.status().is_success() {
                    answered();
                }
                Ok::<_, kube::Error>(answer)
            }
        });
        let client = Client::new(requests, namespace);
        Api::namespaced_with(client, namespace, &self.resource)
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A host as the API server has it now; none where there is none of that name.
    pub(crate) async fn host(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BareMetalHost>, ClusterError> {
        match self.hosts(namespace).get(name).await {
            Ok(host) => Ok(Some(host)),
            Err(kube::Error::Api(status)) if is_absence_of(&status, name) => Ok(None),
            Err(error) => Err(ClusterError::new(
                format!("read host {namespace}/{name}"),
                error,
            )),
        }
    }

    /// All hosts of a namespace that `wanted` holds for, by a list of all from the API server.
    pub(crate) async fn hosts_where(
        &self,
        namespace: &str,
        wanted: impl Fn(&BareMetalHost) -> bool,
    ) -> Result<Vec<BareMetalHost>, ClusterError> {
        let mut found = Vec::new();
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = self.hosts(namespace).list(&parameters).await;
            let page = page.map_err(|error| {
                ClusterError::new(format!("list the hosts of {namespace}"), error)
            })?;
            found.extend(page.items.into_iter().filter(|host| wanted(host)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(found),
            }
        }
    }
}

impl WritableCluster {
    /// For a live provisioner alone.
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self(cluster)
    }

    /// Changes a host by a JSON merge patch that carries the `uid` and `resourceVersion` that were read. Returns the host as
    /// it is then.
    pub(crate) async fn patch_host(
        &self,
        host: &HostRef,
        patch: &Value,
    ) -> Result<BareMetalHost, ClusterError> {
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patched = self
            .0
            .hosts(&host.namespace)
            .patch(&host.name, &parameters, &Patch::Merge(patch))
            .await;
        patched.map_err(|error| ClusterError::new(format!("write host {host}"), error))
    }

    /// Creates the user-data secret, which follows from `decision`. One that is there already is never overwritten: our own, left
    /// by a crash, is used; one that follows from an older decision may hold a former owner's key, and is deleted first (R9). One
    /// provisioner that slept can't delete the secret of another that knows more, nor make it hold less than that one saw.
    pub(crate) async fn create_secret(
        &self,
        name: &str,
        owner: &SecretOwner<'_>,
        decision: Version,
        user_data: String,
    ) -> Result<SecretCreated, ClusterError> {
        let secret = secret_of(name, owner, decision, user_data);
        let secrets = self.0.secrets(&owner.host.namespace);
        loop {
            let created = secrets.create(&PostParams::default(), &secret).await;
            match created.map_err(|error| ClusterError::new(format!("create secret {name}"), error))
            {
                Ok(_) => return Ok(SecretCreated::Ours),
                Err(error) if !error.has_reason("AlreadyExists") => return Err(error),
                Err(_) => {}
            }
            let Some(found) = self.secret(&owner.host.namespace, name).await? else {
                return Ok(SecretCreated::BeingDeleted);
            };
            if !belongs_to(&found, owner) {
                return Ok(SecretCreated::SomeoneElses);
            }
            if found.metadata.deletion_timestamp.is_some() {
                return Ok(SecretCreated::BeingDeleted);
            }
            match decision_of(&found).cmp(&decision) {
                Ordering::Equal => return Ok(SecretCreated::Ours),
                Ordering::Greater => return Ok(SecretCreated::Newer),
                Ordering::Less => {
                    tracing::info!(
                        secret = name,
                        reservation = %owner.reservation,
                        "a secret that was made before its booking got another owner is made anew"
                    );
                    self.delete_found(&found, name, owner).await?;
                }
            }
        }
    }

    /// Deletes our user-data secret, by its `uid`; one that belongs to someone else, or that is gone, is let be. Returns whether
    /// there was one.
    pub(crate) async fn delete_secret(
        &self,
        name: &str,
        owner: &SecretOwner<'_>,
    ) -> Result<bool, ClusterError> {
        self.delete_secret_if(name, owner, |found| belongs_to(found, owner))
            .await
    }

    /// Deletes the user-data secret of an adopted host, by its `uid`: one that Bellhop did not make, or a lost ledger of its.
    pub(crate) async fn delete_adopted_secret(
        &self,
        name: &str,
        owner: &SecretOwner<'_>,
    ) -> Result<(), ClusterError> {
        let ledger = owner.ledger.as_str();
        let is_in_use = |found: &Secret| {
            let annotations = found.metadata.annotations.as_ref();
            annotations
                .and_then(|all| all.get(LEDGER))
                .is_some_and(|of| of == ledger)
        };
        self.delete_secret_if(name, owner, |found| !is_in_use(found))
            .await?;
        Ok(())
    }

    async fn delete_secret_if(
        &self,
        name: &str,
        owner: &SecretOwner<'_>,
        may_go: impl Fn(&Secret) -> bool,
    ) -> Result<bool, ClusterError> {
        // An adopted host may have had no user data.
        if name.is_empty() {
            return Ok(false);
        }
        let Some(found) = self.secret(&owner.host.namespace, name).await? else {
            return Ok(false);
        };
        if !may_go(&found) {
            return Ok(false);
        }
        self.delete_found(&found, name, owner).await
    }

    /// Deletes the secret that was read, and no other of its name. Returns whether it was there.
    async fn delete_found(
        &self,
        found: &Secret,
        name: &str,
        owner: &SecretOwner<'_>,
    ) -> Result<bool, ClusterError> {
        let preconditions = Preconditions {
            uid: found.meta().uid.clone(),
            resource_version: None,
        };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match self
            .0
            .secrets(&owner.host.namespace)
            .delete(name, &parameters)
            .await
        {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(ClusterError::new(format!("delete secret {name}"), error)),
        }
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ClusterError> {
        let secret = self.0.secrets(namespace).get_opt(name).await;
        secret.map_err(|error| ClusterError::new(format!("read secret {namespace}/{name}"), error))
    }
}

/// An error and what caused it, in one line. Many errors of kube name their cause themselves: nothing is said twice.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

/// Whether the API server says that there is no object of this name. A bare 404 says less: a definition that is not served
/// (any more) or a proxy in between answers so too, and a host that is thought gone is given to the next.
fn is_absence_of(status: &kube::core::Status, name: &str) -> bool {
    let of = status.details.as_ref().map(|details| details.name.as_str());
    status.code == 404 && status.reason == "NotFound" && of == Some(name)
}

fn secret_of(name: &str, owner: &SecretOwner<'_>, decision: Version, user_data: String) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/managed-by".to_owned(),
                "bellhop".to_owned(),
            )])),
            annotations: Some(BTreeMap::from([
                (RESERVATION.to_owned(), owner.reservation.to_string()),
                (HOST_UID.to_owned(), owner.host.uid.clone()),
                (LEDGER.to_owned(), owner.ledger.to_string()),
                (DECISION.to_owned(), decision.to_string()),
            ])),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(
            "userData".to_owned(),
            ByteString(user_data.into_bytes()),
        )])),
        ..Secret::default()
    }
}

/// From which decision a secret follows; of one that does not say, from an older one than any.
fn decision_of(secret: &Secret) -> Version {
    let annotations = secret.metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(DECISION));
    Version(text.and_then(|text| text.parse().ok()).unwrap_or_default())
}

fn belongs_to(secret: &Secret, owner: &SecretOwner<'_>) -> bool {
    let Some(annotations) = &secret.metadata.annotations else {
        return false;
    };
    let is = |name: &str, value: &str| annotations.get(name).is_some_and(|found| found == value);
    is(RESERVATION, &owner.reservation.to_string())
        && is(HOST_UID, &owner.host.uid)
        && is(LEDGER, owner.ledger.as_str())
}

/// Several hosts, by name, with what makes them answer to a resource: for a message.
pub(crate) fn names(hosts: &[BareMetalHost]) -> String {
    let name = |host: &BareMetalHost| {
        let by = if host.annotation(RESOURCE).is_some() {
            " (by annotation)"
        } else {
            ""
        };
        format!("{}{by}", host.name())
    };
    hosts.iter().map(name).collect::<Vec<_>>().join(", ")
}
