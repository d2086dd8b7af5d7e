//! An installation, and the simulated cluster that it drives.

use std::ops::Deref;

use bellhop_provisioner::ProvisionerSettings;
use bellhop_simulator::cluster::{Cluster, ClusterSettings, HostSpec};
use serde_json::Value;

pub(crate) use crate::installation::{IMAGE, KEY, Running, end, flat, in_seconds, start};
use crate::installation::{Installation, PATIENCE};

pub(crate) const NS: &str = "metal3";

pub(crate) struct World {
    pub(crate) installation: Installation,
    pub(crate) cluster: Cluster,
}

impl Deref for World {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}

impl World {
    pub(crate) async fn with_hosts(hosts: impl IntoIterator<Item = HostSpec>) -> Self {
        Self::in_cluster(ClusterSettings {
            hosts: hosts.into_iter().collect(),
            ..ClusterSettings::default()
        })
        .await
    }

    pub(crate) async fn in_cluster(settings: ClusterSettings) -> Self {
        let installation = Installation::new().await;
        let cluster = Cluster::start(settings).await.unwrap();
        Self {
            installation,
            cluster,
        }
    }

    pub(crate) async fn with_host(name: &str) -> Self {
        Self::with_hosts([HostSpec::new(NS, name)]).await
    }

    pub(crate) fn settings(&self) -> ProvisionerSettings {
        self.settings_for(NS)
    }

    pub(crate) fn provisioner(&self) -> Running {
        self.provisioner_with(self.settings())
    }

    pub(crate) fn provisioner_with(&self, settings: ProvisionerSettings) -> Running {
        let mut configuration = kube::Config::new(self.cluster.url().parse().unwrap());
        configuration.default_namespace = NS.to_owned();
        self.provisioner_in(configuration, settings)
    }

    pub(crate) async fn until_host(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = self.cluster.wait_until(NS, name, PATIENCE, wanted).await;
        found.unwrap_or_else(|| {
            panic!(
                "the host stays {:#}",
                self.cluster.host(NS, name).unwrap_or_default()
            )
        })
    }

    /// The image URLs that were written to a host, with the reservation that they were for.
    pub(crate) fn claims(&self, name: &str) -> Vec<String> {
        let writes = self
            .cluster
            .writes_to_host(NS, name)
            .into_iter()
            .filter(|write| write.was_accepted());
        let claims = writes.filter(|write| write.body["spec"]["image"]["url"].is_string());
        claims
            .map(|write| {
                write.body["spec"]["consumerRef"]["name"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }
}

pub(crate) fn is_clean(host: &Value) -> bool {
    host["spec"]["image"].is_null()
        && host["spec"]["userData"].is_null()
        && host["spec"]["consumerRef"].is_null()
        && host["status"]["provisioning"]["state"] == "available"
        && host["status"]["provisioning"]["image"]["url"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
        && host["status"]["poweredOn"] == false
}
