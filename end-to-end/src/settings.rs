//! How a system is started, and what each service is told.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bellhop_simulator::cluster::{Cluster, HostSpec, Pauses};
use bellhop_simulator::reservation_system::ReservationSystem;
use bellhop_simulator::trace_collector::TraceCollector;
use serde_json::{Map, Value};

use crate::service::ServiceKind;
use crate::site::{self, NAMESPACE};

/// How a system is started.
#[derive(Clone, Debug)]
pub struct SystemSettings {
    /// How many of each service.
    pub replicas: usize,
    /// How many servers the reservation system has: `node01` and so on.
    pub servers: i64,
    /// How many of them have a host in the cluster.
    pub hosts: i64,
    /// The bearer token that the cluster asks for, where it asks for one.
    pub cluster_token: Option<String>,
    /// How long a host stays in each state.
    pub pauses: Pauses,
    /// Whether each event comes twice, under two webhooks. With several replicas of the ingress, the second webhook goes
    /// to the second one.
    pub second_webhook: bool,
    /// Further variables of all services, or in place of the usual ones.
    pub variables: Vec<(&'static str, String)>,
    /// Further variables of one service.
    pub variables_of: Vec<(ServiceKind, &'static str, String)>,
}

impl Default for SystemSettings {
    fn default() -> Self {
        Self {
            replicas: 1,
            servers: 2,
            hosts: 2,
            cluster_token: None,
            pauses: Pauses::default(),
            second_webhook: false,
            variables: Vec::new(),
            variables_of: Vec::new(),
        }
    }
}

impl SystemSettings {
    /// Two of each service, as an installation has them: whatever either does, all else is the same.
    #[must_use]
    pub fn two_of_each() -> Self {
        Self {
            replicas: 2,
            ..Self::default()
        }
    }
}

/// What every service is told. Each takes what it knows, so one set is enough.
pub(crate) fn variables(
    settings: &SystemSettings,
    folder: &Path,
    webhooks: &[u64],
    nats_url: String,
    cluster: &Cluster,
    reservations: &ReservationSystem,
    traces: &TraceCollector,
) -> Result<BTreeMap<String, String>, io::Error> {
    let kubeconfig = kubeconfig(folder);
    std::fs::write(&kubeconfig, cluster.kubeconfig())?;
    let secrets = folder.join("webhook-secrets.json");
    let by_webhook: Map<String, Value> = webhooks
        .iter()
        .map(|webhook| (webhook.to_string(), site::webhook_secret(*webhook).into()))
        .collect();
    std::fs::write(&secrets, Value::Object(by_webhook).to_string())?;
    let usual = [
        ("LISTEN_ADDRESS", "127.0.0.1".to_owned()),
        ("LOG_LEVEL", "DEBUG".to_owned()),
        ("LOG_FORMAT", "json".to_owned()),
        ("NATS_URL", nats_url),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", traces.endpoint()),
        // Spans leave the processes quickly: the demo shows them at its end.
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
        ("KUBECONFIG", kubeconfig.display().to_string()),
        ("K8S_NAMESPACE", NAMESPACE.to_owned()),
        ("PROVISION_IMAGE", site::IMAGE.to_owned()),
        ("PROVISION_CHECKSUM", format!("{}.sha256sum", site::IMAGE)),
        ("WEBHOOK_SECRETS_PATH", secrets.display().to_string()),
        (
            "NOTIFICATION_ENDPOINT",
            reservations.notification_endpoint(),
        ),
        ("WEBHOOK_LOG_ENDPOINT", reservations.webhook_log_endpoint()),
        ("NOTIFICATION_TIMEOUT", "5".to_owned()),
        ("WEBHOOK_LOG_TIMEOUT", "5".to_owned()),
        ("REPORT_RETRY_MIN", "0.05".to_owned()),
        ("REPORT_RETRY_MAX", "1".to_owned()),
        ("REPORT_PROBE_MAX", "1".to_owned()),
        ("SWEEP_INTERVAL", "2".to_owned()),
        // Nobody has to be led to another replica first: senders look for one at each connection.
        ("SHUTDOWN_DELAY", "0".to_owned()),
    ];
    let further = settings.variables.iter().cloned();
    let all = usual.into_iter().chain(further);
    Ok(all.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The file that leads to the cluster.
pub(crate) fn kubeconfig(folder: &Path) -> PathBuf {
    folder.join("kubeconfig")
}

/// The host of a server: clean, off, with an address.
pub(crate) fn host(number: i64) -> HostSpec {
    let name = site::node(number);
    HostSpec::new(NAMESPACE, &name)
        .annotation("bellhop.dev/address", &format!("{name}.lab.example"))
}
