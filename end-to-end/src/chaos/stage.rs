//! All parts, with a proxy in each way between two of them.
//!
//! ```text
//!   reservation system ─▶ balancer ─▶ ingress 0, 1 ─┐
//!                                                   ├─▶ proxy for each replica and server ─▶ broker 0, 1, 2
//!                                                   │                        with a proxy between each two of them
//!   receiver ◀─ proxy for each ◀─ notifier 0, 1 ────┤
//!   Kubernetes ◀─ proxy for each ◀─ provisioner 0, 1┘
//! ```
//!
//! The balancer stands for the load balancer (a Kubernetes Service) that a deployment has before its ingresses: connections go
//! to them in turn, and to the other one where one takes none. It knows nothing of health: one that is stopped takes
//! connections, and their senders wait.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bellhop_simulator::cluster::{Cluster, ClusterSettings, Pauses};
use bellhop_simulator::reservation_system::{ReservationSystem, Settings, User, Webhook};
use bellhop_simulator::trace_collector::TraceCollector;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::bookings::{KEYLESS, USERS};
use super::broker::{Between, Broker};
use super::evidence;
use super::fault::Link;
use super::operators::Words;
use super::plan::REPLICAS;
use super::proxy::{Proxy, Way};
use super::{ChaosError, Options};
use crate::process::logs_in;
use crate::service::{Service, ServiceKind};
use crate::settings::{self, SystemSettings};
use crate::site::{self, NAMESPACE, Person};
use crate::{HarnessError, program};

/// How long a notifier waits for an answer: shorter than the faults of a long run, so that they are met, and longer than a busy
/// machine takes to answer: what comes later is repeated, and no fault explains that.
pub(super) const REPORT_TIMEOUT: Duration = Duration::from_secs(4);
/// After a missing end's deadline its host is held so long.
pub(super) const DEADLINE_GRACE: Duration = Duration::from_secs(8);
pub(super) const DEADLINE_HOLD: Duration = Duration::from_secs(3);

/// Everything that runs.
pub(super) struct Stage {
    pub(super) broker: Mutex<Broker>,
    pub(super) broker_url: String,
    pub(super) cluster: Cluster,
    pub(super) reservations: ReservationSystem,
    pub(super) services: BTreeMap<(ServiceKind, usize), Mutex<Service>>,
    /// Where each replica answers; that stays.
    pub(super) addresses: BTreeMap<(ServiceKind, usize), SocketAddr>,
    pub(super) client: reqwest::Client,
    /// Those of a way from each replica to each server of the broker, in the order of the servers.
    to_broker: BTreeMap<(ServiceKind, usize), Vec<Proxy>>,
    between_brokers: Between,
    to_kubernetes: Vec<Proxy>,
    to_receiver: Vec<Proxy>,
    _balancer: Proxy,
    _traces: TraceCollector,
    /// What operators said.
    pub(super) words: Words,
    folder: TempDir,
}

impl Stage {
    /// Starts everything; all services are ready when this returns.
    pub(super) async fn set(options: &Options) -> Result<Self, ChaosError> {
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()
            .map_err(|source| HarnessError::Http { source })?;
        let folder = TempDir::with_prefix("bellhop-chaos-").map_err(HarnessError::Files)?;
        let (broker, between_brokers) = Broker::start(options.brokers).await?;
        let cluster = Cluster::start(ClusterSettings {
            hosts: (1..=options.servers).map(settings::host).collect(),
            pauses: Pauses::all(Duration::from_millis(150)),
            ..ClusterSettings::default()
        })
        .await
        .map_err(HarnessError::Cluster)?;
        let reservations = ReservationSystem::start(Settings {
            users: USERS.map(user).to_vec(),
            resources: (1..=options.servers).map(site::server).collect(),
            first_booking_id: Some(super::FIRST_BOOKING),
            ..Settings::default()
        })
        .await
        .map_err(HarnessError::ReservationSystem)?;
        let traces = TraceCollector::start()
            .await
            .map_err(HarnessError::Traces)?;

        let ways = Ways::lay(&broker, &cluster, &reservations).await?;
        let usual = usual_variables(options, folder.path(), &cluster, &reservations, &traces)?;
        let program = program::bellhop().map_err(HarnessError::Program)?;
        let mut services = BTreeMap::new();
        for kind in ServiceKind::ALL {
            for replica in 0..REPLICAS {
                let mut variables = usual.clone();
                variables.extend(ways.variables(
                    kind,
                    replica,
                    folder.path(),
                    &cluster,
                    &reservations,
                )?);
                let log = folder.path().join(format!("{kind}-{replica}.log"));
                let service = Service::new(kind, program.clone(), variables, log, client.clone());
                services.insert((kind, replica), service);
            }
        }
        futures::future::try_join_all(services.values_mut().map(Service::start)).await?;
        for service in services.values_mut() {
            service.until_ready().await?;
        }
        evidence::keep_every_word(&broker.url()).await?;
        let ingresses = (0..REPLICAS).filter_map(|it| services.get(&(ServiceKind::Ingress, it)));
        let targets = ingresses.map(Service::address).collect();
        let balancer = Proxy::start(targets).await.map_err(HarnessError::Files)?;
        reservations.put_webhook(Webhook::new(
            site::WEBHOOK,
            site::webhook_secret(site::WEBHOOK),
            format!("http://{}/webhook", balancer.address()),
        ));
        Ok(Self {
            broker_url: broker.url(),
            broker: Mutex::new(broker),
            cluster,
            reservations,
            addresses: services
                .iter()
                .map(|(key, it)| (*key, it.address()))
                .collect(),
            services: services
                .into_iter()
                .map(|(key, it)| (key, Mutex::new(it)))
                .collect(),
            client,
            to_broker: ways.to_broker,
            between_brokers,
            to_kubernetes: ways.to_kubernetes,
            to_receiver: ways.to_receiver,
            _balancer: balancer,
            _traces: traces,
            words: Words::default(),
            folder,
        })
    }

    /// Changes the way of a link.
    pub(super) fn set_way(&self, link: Link, way: Way) {
        let set = |proxy: &Proxy| proxy.set(way);
        match link {
            Link::ToBroker(kind, replica) => self.to_broker[&(kind, replica)].iter().for_each(set),
            Link::ToKubernetes(replica) => set(&self.to_kubernetes[replica]),
            Link::ToReceiver(replica) => set(&self.to_receiver[replica]),
            Link::OfBrokerNode(node) => self.to_broker.values().for_each(|it| set(&it[node])),
            Link::BetweenBrokers(node) => self.between_brokers.set(node, way),
            // Who leads is found out before: the same one is healed afterwards.
            Link::OfLeader => {}
        }
    }

    /// All ways to the receiver.
    pub(super) fn set_ways_to_receiver(&self, way: Way) {
        for proxy in &self.to_receiver {
            proxy.set(way);
        }
    }

    /// The authority that a notifier names when it sends: its own proxy's, so that the receiver's records tell who it was.
    pub(super) fn notifiers(&self) -> Vec<String> {
        let authority = |proxy: &Proxy| proxy.address().to_string();
        self.to_receiver.iter().map(authority).collect()
    }

    /// For whatever needs a file.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What each service wrote since its first start.
    pub(super) fn logs(&self) -> Vec<(std::path::PathBuf, String)> {
        logs_in(self.folder.path())
    }

    /// Keeps the logs in a folder when all this is gone.
    pub(super) fn keep_logs(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        for (path, text) in self.logs() {
            std::fs::write(folder.join(path.file_name().unwrap_or_default()), text)?;
        }
        Ok(())
    }
}

/// As the reservation system knows them.
fn user(person: Person) -> User {
    if person == USERS[KEYLESS] {
        User::new(person.id(), person.name).email(person.email())
    } else {
        person.user()
    }
}

/// The proxies.
struct Ways {
    to_broker: BTreeMap<(ServiceKind, usize), Vec<Proxy>>,
    to_kubernetes: Vec<Proxy>,
    to_receiver: Vec<Proxy>,
}

impl Ways {
    async fn lay(
        broker: &Broker,
        cluster: &Cluster,
        reservations: &ReservationSystem,
    ) -> Result<Self, ChaosError> {
        let to = |address: SocketAddr| async move {
            Proxy::start(vec![address])
                .await
                .map_err(HarnessError::Files)
        };
        let mut ways = Self {
            to_broker: BTreeMap::new(),
            to_kubernetes: Vec::new(),
            to_receiver: Vec::new(),
        };
        for replica in 0..REPLICAS {
            for kind in ServiceKind::ALL {
                let mut proxies = Vec::new();
                for server in broker.servers() {
                    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
                    proxies.push(to(address).await?);
                }
                ways.to_broker.insert((kind, replica), proxies);
            }
            ways.to_kubernetes.push(to(cluster.address()).await?);
            ways.to_receiver.push(to(reservations.address()).await?);
        }
        Ok(ways)
    }

    /// What a replica is told of its own ways.
    fn variables(
        &self,
        kind: ServiceKind,
        replica: usize,
        folder: &Path,
        cluster: &Cluster,
        reservations: &ReservationSystem,
    ) -> Result<Vec<(String, String)>, HarnessError> {
        let through = |text: String, real: SocketAddr, proxy: &Proxy| {
            text.replace(&real.to_string(), &proxy.address().to_string())
        };
        let nats = self.to_broker[&(kind, replica)]
            .iter()
            .map(|proxy| format!("nats://{}", proxy.address()))
            .collect::<Vec<_>>()
            .join(",");
        let kubeconfig = folder.join(format!("kubeconfig-{replica}"));
        let kubernetes = &self.to_kubernetes[replica];
        std::fs::write(
            &kubeconfig,
            through(cluster.kubeconfig(), cluster.address(), kubernetes),
        )?;
        let (receiver, real) = (&self.to_receiver[replica], reservations.address());
        let notification = through(reservations.notification_endpoint(), real, receiver);
        let webhook_log = through(reservations.webhook_log_endpoint(), real, receiver);
        let spool = folder.join(format!("spool-{replica}"));
        let variables = [
            ("NATS_URL", nats),
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("NOTIFICATION_ENDPOINT", notification),
            ("WEBHOOK_LOG_ENDPOINT", webhook_log),
            ("SPOOL_DIR", spool.display().to_string()),
        ];
        Ok(variables
            .map(|(name, value)| (name.to_owned(), value))
            .into())
    }
}

fn usual_variables(
    options: &Options,
    folder: &Path,
    cluster: &Cluster,
    reservations: &ReservationSystem,
    traces: &TraceCollector,
) -> Result<BTreeMap<String, String>, HarnessError> {
    let further = [
        ("STREAM_REPLICAS", options.brokers.to_string()),
        ("LOG_LEVEL", "INFO".to_owned()),
        ("NOTIFICATION_TIMEOUT", REPORT_TIMEOUT.as_secs().to_string()),
        ("WEBHOOK_LOG_TIMEOUT", REPORT_TIMEOUT.as_secs().to_string()),
        // A receiver that fails for a while must not use them all up within seconds: the pauses are short here.
        ("REPORT_ATTEMPTS", "1000".to_owned()),
        // An end may be the sender's loss: then these end a reservation.
        ("DEADLINE_GRACE", DEADLINE_GRACE.as_secs().to_string()),
        ("DEADLINE_HOLD", DEADLINE_HOLD.as_secs().to_string()),
        ("DEADLINE_RELEASE_MAX", "1000".to_owned()),
        ("START_GRACE", "8".to_owned()),
        ("START_LEAD", "1".to_owned()),
        ("SNAPSHOT_INTERVAL", "10".to_owned()),
    ];
    let settings = SystemSettings {
        variables: further.into(),
        ..SystemSettings::default()
    };
    let webhooks = [site::WEBHOOK];
    let mut variables = settings::variables(
        &settings,
        folder,
        &webhooks,
        String::new(),
        cluster,
        reservations,
        traces,
    )?;
    // Hundreds of thousands of spans would be kept for nobody.
    variables.remove("OTEL_EXPORTER_OTLP_ENDPOINT");
    debug_assert_eq!(variables["K8S_NAMESPACE"], NAMESPACE);
    Ok(variables)
}
