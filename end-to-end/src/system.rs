//! All of it, started and ended together.

use std::io;
use std::path::{Path, PathBuf};

use bellhop_domain::reservation::Fact;
use bellhop_event_store::{Entry, EventStore, EventStoreError, EventStoreSettings};
use bellhop_nats_server::{NatsCluster, NatsServer, StartError};
use bellhop_simulator::cluster::{Cluster, ClusterError, ClusterSettings};
use bellhop_simulator::reservation_system::{
    Booking, NewBooking, Notification, ReservationSystem, ReservationSystemError, Settings,
    Webhook, WebhookLog,
};
use bellhop_simulator::trace_collector::{ListenError, TraceCollector};
use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::logs_in;
use crate::program::{self, ProgramError};
use crate::records::{self, LedgerError, Message, RecordsError};
use crate::service::{Service, ServiceKind};
use crate::settings::{self, SystemSettings};
use crate::site::{self, NAMESPACE, PEOPLE, Person};
use crate::{PATIENCE, wait_for};

/// How much of each log a test that fails shows, without the lines of level debug.
const SHOWN_LOG_LINES: usize = 60;

/// Something of the system can't be started, asked or ended.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each says what it is")]
pub enum HarnessError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Nats(#[from] StartError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    ReservationSystem(#[from] ReservationSystemError),
    #[error(transparent)]
    Traces(#[from] ListenError),
    #[error(transparent)]
    EventStore(#[from] EventStoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error("the broker can't be reached")]
    Broker(#[from] async_nats::ConnectError),
    #[error("cannot write the services' files")]
    Files(#[from] io::Error),
    #[error("an HTTP request to a service failed")]
    Http {
        #[source]
        source: reqwest::Error,
    },
    #[error("cannot {what} the {service}")]
    Process {
        what: &'static str,
        service: ServiceKind,
        #[source]
        source: io::Error,
    },
    #[error("it was waited in vain until the {service} {what}; its log ends with:\n{log}")]
    Not {
        what: &'static str,
        service: ServiceKind,
        log: String,
    },
}

/// A running system. Dropping it ends every process that it started; where a test fails, it shows the logs first.
pub struct System {
    /// The broker, or the first server of it.
    pub nats: NatsServer,
    /// The other servers, where it is a cluster.
    pub other_servers: Vec<NatsServer>,
    /// The simulated Metal3 cluster.
    pub cluster: Cluster,
    /// The simulated reservation system.
    pub reservations: ReservationSystem,
    /// What the services' traces go to.
    pub traces: TraceCollector,
    /// The replicas of all services.
    services: Vec<Service>,
    folder: TempDir,
}

impl System {
    /// Starts everything; all services are ready when this returns.
    ///
    /// # Errors
    /// Whatever can't be started.
    pub async fn start(settings: SystemSettings) -> Result<Self, HarnessError> {
        Self::start_on(NatsServer::start()?, settings).await
    }

    /// As [`System::start`], on a broker that runs.
    ///
    /// # Errors
    /// As there.
    pub async fn start_on(
        nats: NatsServer,
        settings: SystemSettings,
    ) -> Result<Self, HarnessError> {
        Self::start_on_servers(nats, Vec::new(), settings).await
    }

    /// As [`System::start`], on a cluster that runs, each of whose servers keeps a replica of each stream.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// It has no server.
    pub async fn start_on_cluster(
        cluster: NatsCluster,
        mut settings: SystemSettings,
    ) -> Result<Self, HarnessError> {
        let mut servers = cluster.into_servers();
        let replicas = ("STREAM_REPLICAS", servers.len().to_string());
        settings.variables.insert(0, replicas);
        let first = servers.remove(0);
        Self::start_on_servers(first, servers, settings).await
    }

    async fn start_on_servers(
        nats: NatsServer,
        other_servers: Vec<NatsServer>,
        settings: SystemSettings,
    ) -> Result<Self, HarnessError> {
        // reqwest has no cryptography of its own here; whoever came first in this process has chosen.
        let _already_chosen = rustls::crypto::ring::default_provider().install_default();
        let program = program::bellhop()?;
        let client = reqwest::Client::builder().no_proxy().build();
        let client = client.map_err(|source| HarnessError::Http { source })?;
        let folder = TempDir::with_prefix("bellhop-")?;

        let traces = TraceCollector::start().await?;
        let cluster = Cluster::start(ClusterSettings {
            hosts: (1..=settings.hosts).map(settings::host).collect(),
            pauses: settings.pauses.clone(),
            bearer_token: settings.cluster_token.clone(),
            ..ClusterSettings::default()
        })
        .await?;
        let reservations = ReservationSystem::start(Settings {
            users: PEOPLE.map(Person::user).to_vec(),
            resources: (1..=settings.servers).map(site::server).collect(),
            first_booking_id: Some(5120),
            ..Settings::default()
        })
        .await?;

        let webhooks: &[u64] = if settings.second_webhook {
            &[site::WEBHOOK, site::SECOND_WEBHOOK]
        } else {
            &[site::WEBHOOK]
        };
        let variables = settings::variables(
            &settings,
            folder.path(),
            webhooks,
            urls(&nats, &other_servers),
            &cluster,
            &reservations,
            &traces,
        )?;
        let mut services = Vec::new();
        for kind in ServiceKind::ALL {
            let of_kind = settings.variables_of.iter().filter(|(of, ..)| *of == kind);
            let mut variables = variables.clone();
            variables.extend(of_kind.map(|(_, name, value)| ((*name).to_owned(), value.clone())));
            for replica in 0..settings.replicas {
                let log = folder.path().join(format!("{kind}-{replica}.log"));
                let mut variables = variables.clone();
                // Two ingresses never share one.
                let spool = folder.path().join(format!("spool-{replica}"));
                variables.insert("SPOOL_DIR".to_owned(), spool.display().to_string());
                services.push(Service::new(
                    kind,
                    program.clone(),
                    variables,
                    log,
                    client.clone(),
                ));
            }
        }
        let mut system = Self {
            nats,
            other_servers,
            cluster,
            reservations,
            traces,
            services,
            folder,
        };
        system.start_services().await?;
        for (place, webhook) in webhooks.iter().enumerate() {
            let url = system
                .service(ServiceKind::Ingress, place % settings.replicas)
                .url()
                + "/webhook";
            let webhook = Webhook::new(*webhook, site::webhook_secret(*webhook), url);
            system.reservations.put_webhook(webhook);
        }
        Ok(system)
    }

    /// Where clients of the broker connect: all addresses, with commas between them.
    pub fn broker_url(&self) -> String {
        urls(&self.nats, &self.other_servers)
    }

    /// Starts all services that don't run, and waits until they are ready.
    ///
    /// # Errors
    /// One does not start, or is not ready within [`PATIENCE`].
    pub async fn start_services(&mut self) -> Result<(), HarnessError> {
        futures::future::try_join_all(self.services.iter_mut().map(Service::start)).await?;
        for service in &mut self.services {
            service.until_ready().await?;
        }
        Ok(())
    }

    /// One replica of a service.
    ///
    /// # Panics
    /// There are not so many.
    pub fn service(&mut self, kind: ServiceKind, replica: usize) -> &mut Service {
        let mut replicas = self
            .services
            .iter_mut()
            .filter(|service| service.kind() == kind);
        replicas
            .nth(replica)
            .expect("there are as many replicas as the settings say")
    }

    /// The first ingress.
    pub fn ingress(&mut self) -> &mut Service {
        self.service(ServiceKind::Ingress, 0)
    }

    /// The first provisioner.
    pub fn provisioner(&mut self) -> &mut Service {
        self.service(ServiceKind::Provisioner, 0)
    }

    /// The first notifier.
    pub fn notifier(&mut self) -> &mut Service {
        self.service(ServiceKind::Notifier, 0)
    }

    /// All replicas of a service.
    pub fn all(&mut self, kind: ServiceKind) -> impl Iterator<Item = &mut Service> {
        (self.services.iter_mut()).filter(move |service| service.kind() == kind)
    }

    /// Stops all replicas of a service.
    ///
    /// # Errors
    /// One can't be stopped.
    pub async fn stop_all(&mut self, kind: ServiceKind) -> Result<(), HarnessError> {
        for service in self.all(kind) {
            service.stop().await?;
        }
        Ok(())
    }

    /// All replicas.
    pub fn services(&mut self) -> &mut [Service] {
        &mut self.services
    }

    /// All replicas, taken out: they can be stopped and started while the rest is asked. They end with the list.
    #[must_use]
    pub fn take_services(&mut self) -> Vec<Service> {
        std::mem::take(&mut self.services)
    }

    /// The folder of the services' logs and files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What each service wrote since its first start.
    pub fn logs(&self) -> Vec<(PathBuf, String)> {
        logs_in(self.folder.path())
    }
}

/// What users do.
impl System {
    /// A booking that begins in a minute, as one whose start is told ahead, and lasts two hours.
    ///
    /// # Errors
    /// There is no such server.
    pub fn book(&self, person: Person, server: i64) -> Result<Booking, HarnessError> {
        let start = Timestamp::now() + 60.seconds();
        self.book_at(person, server, start, start + 2.hours())
    }

    /// A booking from one time to another.
    ///
    /// # Errors
    /// There is no such server.
    pub fn book_at(
        &self,
        person: Person,
        server: i64,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Booking, HarnessError> {
        let booking = NewBooking::new(person.id(), site::node(server), start, end)
            .title(format!("{} tries something", person.name));
        Ok(self.reservations.book(booking)?)
    }
}

/// What operators do.
impl System {
    /// Runs a command of the program against this system's broker, to its end.
    ///
    /// # Errors
    /// The program can't be started.
    pub async fn command(&self, words: &[&str]) -> Result<std::process::Output, HarnessError> {
        self.command_with(words, &[]).await
    }

    /// As [`System::command`], with what of a provisioner's environment leads to its hosts.
    ///
    /// # Errors
    /// As there.
    pub async fn command_at_the_cluster(
        &self,
        words: &[&str],
    ) -> Result<std::process::Output, HarnessError> {
        let kubeconfig = settings::kubeconfig(self.folder());
        let variables = [
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("K8S_NAMESPACE", NAMESPACE.to_owned()),
            ("PROVISION_IMAGE", site::IMAGE.to_owned()),
        ];
        self.command_with(words, &variables).await
    }

    async fn command_with(
        &self,
        words: &[&str],
        variables: &[(&str, String)],
    ) -> Result<std::process::Output, HarnessError> {
        let mut command = tokio::process::Command::new(program::bellhop()?);
        command
            .args(words)
            .env_clear()
            .env("NATS_URL", self.broker_url())
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        Ok(command.output().await?)
    }
}

/// What the other side saw.
impl System {
    /// A host, null where there is none.
    pub fn host(&self, number: i64) -> Value {
        self.cluster
            .host(NAMESPACE, &site::node(number))
            .unwrap_or_default()
    }

    /// Waits until a host is as wanted; none if it isn't within [`PATIENCE`].
    pub async fn wait_for_host(
        &self,
        number: i64,
        wanted: impl Fn(&Value) -> bool,
    ) -> Option<Value> {
        self.cluster
            .wait_until(NAMESPACE, &site::node(number), PATIENCE, wanted)
            .await
    }

    /// The notifications of one kind that a booking's user sees.
    pub fn notifications(&self, booking: &Booking, kind: &str) -> Vec<Notification> {
        let mut notifications = self.reservations.notifications();
        notifications.retain(|it| is_about(it, booking) && it.kind == kind);
        notifications
    }

    /// Waits for a notification of one kind about a booking; none if it doesn't come within [`PATIENCE`].
    pub async fn wait_for_notification(
        &self,
        booking: &Booking,
        kind: &str,
    ) -> Option<Notification> {
        let fits = |it: &Notification| is_about(it, booking) && it.kind == kind;
        self.reservations
            .wait_for_notification(PATIENCE, fits)
            .await
    }

    /// Waits for an entry of the webhook log about a booking; none if it doesn't come within [`PATIENCE`].
    pub async fn wait_for_log(
        &self,
        booking: &Booking,
        fits: impl Fn(&WebhookLog) -> bool,
    ) -> Option<WebhookLog> {
        let id = booking.id.to_string();
        let about = |log: &WebhookLog| {
            let metadata = log.metadata.as_ref().unwrap_or(&Value::Null);
            site::text(metadata, "/eventId") == id && fits(log)
        };
        self.reservations
            .wait_for_webhook_log(PATIENCE, about)
            .await
    }

    /// All facts so far, in order.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn entries(&self) -> Result<Vec<Entry>, HarnessError> {
        let settings = EventStoreSettings::at(self.broker_url());
        let store = EventStore::connect(&settings, "bellhop-end-to-end").await?;
        Ok(records::entries(&store).await?)
    }

    /// The facts about a booking so far, in order.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn facts(&self, booking: &Booking) -> Result<Vec<Fact>, HarnessError> {
        let id = booking.id.to_string();
        let facts = self
            .entries()
            .await?
            .into_iter()
            .flat_map(|entry| entry.facts);
        Ok(facts
            .filter(|fact| fact.reservation().is_some_and(|about| about.event() == id))
            .collect())
    }

    /// The names of the facts about a booking so far, in order.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn fact_names(&self, booking: &Booking) -> Result<Vec<&'static str>, HarnessError> {
        Ok(self.facts(booking).await?.iter().map(Fact::name).collect())
    }

    /// Waits for a fact of this name about a booking; none if it doesn't come within [`PATIENCE`].
    pub async fn wait_for_fact(&self, booking: &Booking, name: &str) -> Option<Fact> {
        wait_for(PATIENCE, async || {
            let facts = self.facts(booking).await.ok()?;
            facts.into_iter().find(|fact| fact.name() == name)
        })
        .await
    }

    /// Every message of a stream, as it is.
    ///
    /// # Errors
    /// The broker does not answer, or has no such stream.
    pub async fn messages(&self, stream: &str) -> Result<Vec<Message>, HarnessError> {
        let client = records::connect(&self.broker_url()).await?;
        Ok(records::messages(&client, stream).await?)
    }

    /// The user data that Metal3 read for a host, the oldest first.
    pub fn user_data_of(&self, number: i64) -> Vec<String> {
        let reads = self.cluster.user_data_reads().into_iter();
        reads
            .filter(|read| read.host == site::node(number))
            .map(|read| read.user_data)
            .collect()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for (path, log) in self.logs() {
            let told: Vec<&str> = log
                .lines()
                .filter(|line| !line.contains("\"level\":\"DEBUG\""))
                .collect();
            eprintln!("---- the end of {}", path.display());
            for line in &told[told.len().saturating_sub(SHOWN_LOG_LINES)..] {
                eprintln!("{line}");
            }
        }
        for sent in self.reservations.sent() {
            eprintln!(
                "---- sent {} at {}: {:?}",
                sent.event_type,
                sent.at,
                sent.status()
            );
        }
        for it in self.reservations.notifications() {
            eprintln!(
                "---- {} reads at {}: {} {}",
                it.user_id, it.at, it.kind, it.message
            );
        }
        for host in self.cluster.hosts() {
            eprintln!("---- a host: {host}");
        }
    }
}

fn urls(first: &NatsServer, others: &[NatsServer]) -> String {
    let all = std::iter::once(first).chain(others);
    all.map(NatsServer::url).collect::<Vec<_>>().join(",")
}

fn is_about(notification: &Notification, booking: &Booking) -> bool {
    notification.event_id.as_deref() == Some(booking.id.to_string().as_str())
}
