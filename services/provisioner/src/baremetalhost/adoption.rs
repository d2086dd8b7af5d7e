//! Hosts that somebody else prepared: which can be adopted, and the one write that does it. It changes nothing that Metal3 acts
//! on: `consumerRef`, the fence and the installation's name are set, and all else stays.
//!
//! And the way back: a free host is switched on again, as the service before Bellhop needs it.

use bellhop_domain::id::{HostRef, ReservationId, ResourceId, ResourceKind, SiteId};
use bellhop_domain::reservation::{Holding, Image, Observation};
use serde_json::{Value, json};
use tracing::Instrument;

use super::claim;
use super::claiming::refusable;
use super::cluster::{Cluster, WritableCluster};
use super::driver::{BLOCKED, Driver, Look, LookError, reference};
use super::fence::{Verdict, Writer};
use super::finding::Found;
use super::host::{
    BareMetalHost, CONSUMER_API_VERSION, CONSUMER_KIND, Consumer, FENCE, INSTALLATION,
};
use crate::settings::ProvisionerSettings;
use crate::sites::ServedSites;
use crate::work_queue::Next;

/// The alarm for a host that can't be switched on again.
pub(super) const HAND_BACK_REFUSED: &str = "hand_back_refused";

/// A host that can be adopted.
#[derive(Clone, Debug)]
pub struct AdoptableHost {
    /// The resource that it answers to.
    pub resource: ResourceId,
    /// Which host.
    pub host: HostRef,
    /// The image in its spec.
    pub image: Image,
    /// The secret with its user data.
    pub secret: String,
    /// The sites whose hosts are in its namespace; none where `SITE_IDS` does not say.
    pub sites: Option<Vec<SiteId>>,
    /// The reservation that has it by its `consumerRef`: of a ledger that was lost.
    pub reservation: Option<ReservationId>,
}

/// Hosts can't be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the hosts that can be adopted")]
pub struct ListError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The hosts that the service before Bellhop prepared (its image, `<host>-userdata`, no `consumerRef`), and those that a
/// reservation of ours has by their `consumerRef`; whether the ledger knows these is the caller's to see.
///
/// # Errors
/// Where there is no way to Kubernetes, or it does not answer.
pub async fn adoptable_hosts(
    settings: &ProvisionerSettings,
) -> Result<Vec<AdoptableHost>, ListError> {
    let configuration = kube::Config::infer()
        .await
        .map_err(|error| ListError(error.into()))?;
    adoptable_hosts_in(settings, configuration).await
}

/// As [`adoptable_hosts`], in the cluster that `configuration` leads to.
///
/// # Errors
/// As there.
pub async fn adoptable_hosts_in(
    settings: &ProvisionerSettings,
    configuration: kube::Config,
) -> Result<Vec<AdoptableHost>, ListError> {
    let cluster = Cluster::new(configuration, settings).map_err(|error| ListError(error.into()))?;
    let mut found = Vec::new();
    let served = ServedSites::new(settings);
    for namespace in served.namespaces() {
        let hosts = cluster
            .hosts_where(namespace, |host| {
                not_adoptable(host, &settings.provision_image, &settings.installation).is_none()
            })
            .await
            .map_err(|error| ListError(error.into()))?;
        let sites = served.sites_in(namespace);
        found.extend(hosts.iter().map(|host| describe(host, sites.clone())));
    }
    Ok(found)
}

/// Why the host of this name can't be adopted, in words for an operator; none where it can.
///
/// # Errors
/// As [`adoptable_hosts`].
pub async fn why_not_adoptable(
    settings: &ProvisionerSettings,
    name: &str,
) -> Result<Option<String>, ListError> {
    let configuration = kube::Config::infer()
        .await
        .map_err(|error| ListError(error.into()))?;
    let cluster = Cluster::new(configuration, settings).map_err(|error| ListError(error.into()))?;
    let served = ServedSites::new(settings);
    let mut reason = None;
    for namespace in served.namespaces() {
        let hosts = cluster.hosts_where(namespace, |host| host.name() == name);
        let hosts = hosts.await.map_err(|error| ListError(error.into()))?;
        for host in &hosts {
            match not_adoptable(host, &settings.provision_image, &settings.installation) {
                None => return Ok(None),
                Some(text) => reason = Some(text),
            }
        }
    }
    let nowhere = || format!("there is none in {}", served.namespaces().join(", "));
    Ok(Some(reason.unwrap_or_else(nowhere)))
}

/// Why a host is neither one that the service before Bellhop prepared, nor one that a lost ledger of this installation left;
/// none where it is.
fn not_adoptable(host: &BareMetalHost, image: &str, installation: &str) -> Option<String> {
    let Some(url) = host.image_url() else {
        return Some("it has no image, so nobody was given it".to_owned());
    };
    match host.consumer() {
        Consumer::None if !host.is_of_the_service_before() => Some(format!(
            "its user data is not {}-userdata, as the service before Bellhop names it",
            host.name()
        )),
        Consumer::None if url != image => Some(format!(
            "its image is {url}, and PROVISION_IMAGE is {image}: run this with the image of the service before Bellhop"
        )),
        Consumer::None => None,
        Consumer::Reservation(name) if name.parse::<ReservationId>().is_err() => {
            Some(format!("its consumerRef names no reservation: {name}"))
        }
        // Another installation's hosts are not ours to take.
        Consumer::Reservation(name) => {
            let theirs = host.annotation(INSTALLATION).unwrap_or_default();
            (theirs != installation).then(|| {
                format!(
                    "its consumerRef is reservation {name} of the installation `{theirs}`, and this one is `{installation}`"
                )
            })
        }
        Consumer::Foreign(consumer) => Some(format!(
            "its consumerRef is {} {}",
            consumer.kind, consumer.name
        )),
    }
}

fn describe(host: &BareMetalHost, sites: Option<Vec<SiteId>>) -> AdoptableHost {
    let image = host.spec.image.clone().unwrap_or_default();
    let reservation = match host.consumer() {
        Consumer::Reservation(name) => name.parse().ok(),
        Consumer::None | Consumer::Foreign(_) => None,
    };
    AdoptableHost {
        resource: ResourceId::new(
            ResourceKind::new("baremetalhost"),
            host.namespace(),
            host.answers_to(),
        ),
        host: reference(host),
        image: Image {
            name: None,
            url: image.url,
            checksum: image.checksum,
            checksum_type: image.checksum_type,
            format: image.format,
        },
        secret: host.user_data().unwrap_or_default().to_owned(),
        sites,
        reservation,
    }
}

/// Why a host can't be adopted for `holding` now; none where it can. Another ledger's fence is no obstacle: this is how an
/// operator settles it.
fn obstacle(host: &BareMetalHost, holding: &Holding, writer: &Writer) -> Option<String> {
    if host.is_being_deleted() {
        return Some("it is being deleted".to_owned());
    }
    if let Some(standstill) = host.standstill() {
        return Some(format!("it is {standstill}"));
    }
    if host.spec.externally_provisioned || host.spec.custom_deploy.is_some() {
        return Some("someone else provisions it".to_owned());
    }
    if let Verdict::Newer(_) = writer.check(host) {
        return Some("a newer decision has written it".to_owned());
    }
    match host.consumer() {
        Consumer::None => {}
        Consumer::Reservation(name) if name == holding.reservation.to_string() => {}
        Consumer::Reservation(other) => return Some(format!("reservation {other} has it")),
        Consumer::Foreign(consumer) => {
            return Some(format!("{} {} uses it", consumer.kind, consumer.name));
        }
    }
    if host.image_url() != Some(holding.terms.image.url.as_str())
        || host.user_data().unwrap_or_default() != holding.secret
    {
        return Some("its image or user data is not what was to be adopted any more".to_owned());
    }
    None
}

fn patch(host: &BareMetalHost, holding: &Holding, writer: &Writer, installation: &str) -> Value {
    json!({
        "metadata": {
            "uid": host.uid(),
            "resourceVersion": host.resource_version(),
            "annotations": {FENCE: writer.fence().to_string(), INSTALLATION: installation},
        },
        "spec": {
            "consumerRef": {
                "apiVersion": CONSUMER_API_VERSION,
                "kind": CONSUMER_KIND,
                "name": holding.reservation.to_string(),
                "namespace": holding.host.namespace,
            },
        },
    })
}

impl Driver {
    pub(super) async fn adopt(
        &self,
        look: &Look,
        holding: &Holding,
        cluster: &WritableCluster,
    ) -> Result<Next, LookError> {
        let Some(host) = self.held_host(&holding.host).await? else {
            self.observe(look, Observation::HostGone).await?;
            return Ok(Next::Again);
        };
        let writer = self.writer(look);
        let open = matches!(writer.check(&host), Verdict::Open(_));
        if open && claim::is_ours(&host, &holding.reservation) {
            return self.claimed(look, holding, &host).await;
        }
        if let Some(obstacle) = obstacle(&host, holding, &writer) {
            self.wait(&look.id, Some(&format!("it can't be adopted: {obstacle}")));
            return Ok(Next::After(BLOCKED));
        }
        if self.paused_now(look).await?.is_some() {
            return Ok(Next::After(BLOCKED));
        }
        let patch = patch(&host, holding, &writer, &self.installation);
        let written = self
            .write(cluster, &holding.host, &patch, "adopt")
            .instrument(look.span("adopt"))
            .await;
        match refusable(written)? {
            Ok(_) => {
                self.wait(&look.id, None);
                Ok(Next::Again)
            }
            Err(text) => {
                self.wait(&look.id, Some(&format!("it can't be adopted: {text}")));
                self.observe(look, Observation::AdoptionRefused { text })
                    .await?;
                Ok(Next::Failed)
            }
        }
    }

    /// Switches on the host of a resource that nobody has.
    pub(super) async fn switch_on(
        &self,
        look: &Look,
        cluster: &WritableCluster,
    ) -> Result<Next, LookError> {
        let host = match self.find_host(&look.id).await? {
            Found::One(host) => host,
            Found::Not(text) => {
                self.wait(&look.id, Some(&text));
                return Ok(Next::After(BLOCKED));
            }
        };
        if host.spec.online {
            self.wait(&look.id, None);
            let host = reference(&host);
            self.observe(look, Observation::SwitchedOn { host }).await?;
            return Ok(Next::Again);
        }
        let writer = self.writer(look);
        let key = look.id.to_string();
        if let Some(obstacle) = claim::obstacle(&host, &writer) {
            self.alarms.clear(HAND_BACK_REFUSED, &key);
            self.wait(&look.id, Some(&obstacle));
            return Ok(Next::After(BLOCKED));
        }
        if self.paused_now(look).await?.is_some() {
            return Ok(Next::After(BLOCKED));
        }
        let patch = json!({
            "metadata": {
                "uid": host.uid(),
                "resourceVersion": host.resource_version(),
                "annotations": {FENCE: writer.fence().to_string()},
            },
            "spec": {"online": true},
        });
        let host = reference(&host);
        let written = self.write(cluster, &host, &patch, "hand back").await;
        match refusable(written)? {
            Ok(_) => {
                self.alarms.clear(HAND_BACK_REFUSED, &key);
                Ok(Next::Again)
            }
            Err(text) => {
                self.wait(&look.id, Some(&format!("it can't be switched on: {text}")));
                self.alarms.raise(HAND_BACK_REFUSED, &key, &text);
                Ok(Next::Failed)
            }
        }
    }
}
