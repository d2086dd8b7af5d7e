//! Puts the parts together, and runs them until told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bellhop_event_store::{EventStoreSettings, Mode};
use bellhop_service::server::{Limits, serve_over};
use bellhop_service::settings::HttpBindError;
use bellhop_service::shutdown::in_time;
use bellhop_service::tls::{Certificate, TlsError};
use bellhop_service::{Alarms, Health, HttpSettings, Metrics, Shown};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::LargeBodies;
use crate::broker::Broker;
use crate::clock::ClockWatch;
use crate::intake::Intake;
use crate::lost::LostWebhooks;
use crate::metrics::IngressMetrics;
use crate::refusals::Refusals;
use crate::secrets::{KnownSecrets, SecretsUnusable};
use crate::settings::IngressSettings;
use crate::spool::{Spool, SpoolError, SpoolWatch};
use crate::verification::Verification;
use crate::{SERVICE, openapi, problem, webhook};

/// What is shown of a shadow.
const SHADOW: &str = "MODE=shadow: webhooks are stored for the shadow alone";
/// How often it is looked at which alarms are over.
const SWEEP: Duration = Duration::from_secs(60);
/// What an open request may take beyond the time to store it, when the service stops listening.
const DRAIN: Duration = Duration::from_secs(5);
/// What the rest of a stop may take after the requests: the door, the spool, the connection to the broker.
const CLOSING: Duration = Duration::from_secs(10);

/// The ingress can't run.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// The secrets can't be used.
    #[error(transparent)]
    Secrets(#[from] SecretsUnusable),
    /// The certificate can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address can't be listened on.
    #[error(transparent)]
    Bind(#[from] HttpBindError),
    /// The spool can't be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The server ended.
    #[error("the HTTP server of the ingress ended")]
    Serve(#[source] io::Error),
}

/// Runs the ingress until the token is cancelled, then lets open requests end.
///
/// A broker that is away is waited for: meanwhile probes are answered, and webhooks go to the spool; without one they get
/// 503.
///
/// # Errors
/// The secrets can't be used, there are none, the port is taken, or the spool can't be used.
pub async fn run(settings: IngressSettings, token: CancellationToken) -> Result<(), IngressError> {
    Ingress::bind(settings).await?.serve(token).await
}

/// An ingress that listens, but does not answer yet.
#[derive(Debug)]
pub struct Ingress {
    listener: TcpListener,
    intake: Arc<Intake>,
    spool_watch: SpoolWatch,
    health: Health,
    http: HttpSettings,
    event_store: EventStoreSettings,
    limits: Limits,
    certificate: Option<Certificate>,
    shown: Shown,
}

impl Ingress {
    /// Reads the secrets and listens.
    ///
    /// # Errors
    /// As [`run`].
    pub async fn bind(settings: IngressSettings) -> Result<Self, IngressError> {
        let secrets = KnownSecrets::load(&settings)?;
        // Taken apart field by field, so that a new setting can't be forgotten. The secrets are read above; telemetry is
        // the process's.
        let IngressSettings {
            http,
            tls,
            telemetry: _,
            event_store,
            webhook_secret: _,
            webhook_secret_file: _,
            webhook_secrets_path: _,
            accept_unsigned_webhooks: _,
            resource_types,
            site_ids,
            max_body_bytes,
            max_connections,
            max_header_bytes,
            header_read_timeout,
            body_read_timeout,
            store_timeout,
            shutdown_delay,
            spool: spool_settings,
        } = settings;
        let certificate = tls.certificate()?;
        let listener = http.bind().await?;

        let metrics = Metrics::new(SERVICE, env!("CARGO_PKG_VERSION"));
        let alarms = Alarms::new(&metrics);
        let shown = Shown::new(&metrics);
        if event_store.mode == Mode::Shadow {
            shown.show(Mode::Shadow.as_str(), SERVICE, SHADOW);
        }
        let own_metrics = IngressMetrics::new(&metrics);
        secrets.show(&metrics, &shown);
        let spool = Spool::open(&spool_settings, max_body_bytes.get(), own_metrics.clone())?;
        let spool = spool.map(Arc::new);
        let health = Health::new(metrics, alarms.clone(), shown.clone());
        if secrets.current().is_empty() {
            shown.show(
                "unsigned_webhooks",
                SERVICE,
                "no secret is configured: webhooks of everybody are accepted (ACCEPT_UNSIGNED_WEBHOOKS)",
            );
        }
        let nats = health.dependency("nats");
        let spool_watch = SpoolWatch {
            dependency: health.dependency("spool"),
            alarms: alarms.clone(),
            metrics: own_metrics.clone(),
        };
        let broker = Broker::new(spool.clone(), nats, alarms.clone(), own_metrics.clone());
        let intake = Intake {
            secrets: Arc::new(secrets),
            resource_types,
            site_ids,
            max_body_bytes: max_body_bytes.get(),
            body_read_timeout,
            store_timeout,
            spool_after: spool_settings.spool_after,
            spool,
            broker: Arc::new(broker),
            large_bodies: LargeBodies::new(),
            verification: Verification::new(),
            clock: ClockWatch::new(alarms.clone()),
            lost: LostWebhooks::new(alarms.clone()),
            refusals: Refusals::new(alarms.clone()),
            metrics: own_metrics,
            alarms,
            under_way: TaskTracker::new(),
        };
        let limits = Limits {
            connections: max_connections.get(),
            head_bytes: max_header_bytes as usize,
            header_time: header_read_timeout,
            shutdown_delay,
            drain_time: store_timeout.saturating_add(DRAIN),
        };
        Ok(Self {
            listener,
            intake: Arc::new(intake),
            spool_watch,
            health,
            http,
            event_store,
            limits,
            certificate,
            shown,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the token is cancelled and SHUTDOWN_DELAY has passed, then lets open requests end.
    ///
    /// # Errors
    /// None at present; see [`bellhop_service::server::serve`].
    pub async fn serve(self, token: CancellationToken) -> Result<(), IngressError> {
        let limit = self.limits.stop_time().saturating_add(CLOSING);
        let work = self.serve_until(token.clone());
        in_time(SERVICE, &token, limit, work)
            .await
            .unwrap_or(Ok(()))
    }

    async fn serve_until(self, token: CancellationToken) -> Result<(), IngressError> {
        let Self {
            listener,
            intake,
            spool_watch,
            health,
            http,
            event_store,
            limits,
            certificate,
            shown,
        } = self;
        let address = listener.local_addr().map_err(IngressError::Serve)?;
        tracing::info!(%address, "the ingress listens");

        // The broker is tended until the last request is answered.
        let until_drained = CancellationToken::new();
        let background = TaskTracker::new();
        let (broker, tended) = (Arc::clone(&intake.broker), until_drained.clone());
        background.spawn(async move { broker.tend(&event_store, tended).await });
        let followed =
            Arc::clone(&intake.secrets).follow(intake.alarms.clone(), shown, until_drained.clone());
        background.spawn(followed);
        if let Some(certificate) = certificate.clone() {
            background.spawn(certificate.follow(intake.alarms.clone(), until_drained.clone()));
        }
        background.spawn(sweep(Arc::clone(&intake), until_drained.clone()));
        match &intake.spool {
            Some(spool) => {
                let work = tend_spool(Arc::clone(spool), Arc::clone(&intake), spool_watch);
                let until_drained = until_drained.clone();
                background.spawn(async move { until_drained.run_until_cancelled(work).await });
            }
            None => spool_watch.not_configured(),
        }

        health.until(token.clone());
        let router = router(Arc::clone(&intake), &health, &http);
        let stopping = token.clone();
        let (served, stopped_at) = tokio::join!(
            async {
                let served = serve_over(router, listener, token, limits, certificate).await;
                stopping.cancel();
                served
            },
            async {
                stopping.cancelled().await;
                tracing::info!(
                    "not ready any more; webhooks are taken for another {:?}",
                    limits.shutdown_delay
                );
                Instant::now()
            }
        );

        intake.under_way.close();
        // Whose sender did not wait for the answer has no more time than the others.
        let drained =
            tokio::time::timeout_at(stopped_at + limits.stop_time(), intake.under_way.wait());
        if drained.await.is_err() {
            tracing::error!("webhooks that were being stored are cut off");
        }
        until_drained.cancel();
        background.close();
        background.wait().await;
        if let Some(spool) = intake.spool.clone() {
            let closed = tokio::task::spawn_blocking(move || spool.close());
            if tokio::time::timeout(DRAIN, closed).await.is_err() {
                tracing::error!("the spool's disk does not answer");
            }
        }
        tracing::info!("the ingress has stopped");
        served.map_err(IngressError::Serve)
    }
}

fn router(intake: Arc<Intake>, health: &Health, http: &HttpSettings) -> Router {
    Router::new()
        .route("/webhook", post(webhook::receive))
        // Senders follow no redirect, and a slash too many is easily typed.
        .route("/webhook/", post(webhook::receive))
        .route("/webhook/{webhook_id}", post(webhook::receive))
        .with_state(intake)
        .route("/openapi.json", get(openapi::page))
        .merge(health.router(http))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
}

/// Shows the spool, and brings what waits there to the broker.
async fn tend_spool(spool: Arc<Spool>, intake: Arc<Intake>, watch: SpoolWatch) {
    tokio::join!(
        watch.follow(&spool),
        spool.drain(&intake.broker, intake.store_timeout),
    );
}

async fn sweep(intake: Arc<Intake>, token: CancellationToken) {
    while token
        .run_until_cancelled(tokio::time::sleep(SWEEP))
        .await
        .is_some()
    {
        intake.sweep(Timestamp::now());
    }
}
