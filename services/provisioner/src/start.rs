//! The start of a provisioner, and its end.

use std::sync::Arc;
use std::time::Duration;

use bellhop_event_store::{ErrorClass, EventStore, EventStoreError, FollowError, Mode, SetupError};
use bellhop_service::health::{Dependency, Health};
use bellhop_service::metrics::Metrics;
use bellhop_service::notices::{Alarms, Shown};
use bellhop_service::server;
use bellhop_service::settings::HttpBindError;
use bellhop_service::shutdown::{STOP_TIME, in_time};
use bellhop_service::tasks::Tasks;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::alarms::AlarmBoard;
use crate::baremetalhost::cluster::{Cluster, WritableCluster};
use crate::baremetalhost::driver::{Driver, Hands};
use crate::baremetalhost::shadow::Shadow;
use crate::baremetalhost::user_data::{UserDataBase, UserDataError};
use crate::baremetalhost::watch::KnownHosts;
use crate::broker_clock::ClockGuard;
use crate::catch_up;
use crate::decisions::Decisions;
use crate::deliveries::{Deciding, Deliveries, SERVICE};
use crate::drive::drive;
use crate::folded::FoldedLedger;
use crate::images::{ImageCatalogue, ImageCatalogueError};
use crate::late_starts::LateStarts;
use crate::metrics::ProvisionerMetrics;
use crate::settings::ProvisionerSettings;
use crate::sites::{OtherSites, ServedSites};
use crate::timers::ReleaseGuard;
use crate::turns::Turns;
use crate::words::Reading;
use crate::{retention, sites, snapshots, timers};

const PAUSE: Duration = Duration::from_millis(500);
/// How long what is in hand at a stop may take: a little remains for saying so.
const FINISHING: Duration = STOP_TIME.saturating_sub(Duration::from_secs(4));
/// How long a start waits for the deliveries that wait.
const PATIENCE: Duration = Duration::from_secs(60);
const DEAD_LETTERS: &str = "dead_letters";
const DEAD_LETTERS_EVERY: Duration = Duration::from_secs(15);
const DELIVERIES_WAIT: &str = "deliveries_wait";
const SHADOW: &str = "MODE=shadow: what it would do is shown, and nothing is written to Kubernetes";

/// Why a provisioner can't start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionerError {
    /// The user data's settings can't be used.
    #[error(transparent)]
    UserData(#[from] UserDataError),
    /// The catalogue of images can't be used.
    #[error(transparent)]
    Images(#[from] ImageCatalogueError),
    /// The broker can't be used.
    #[error(transparent)]
    EventStore(#[from] EventStoreError),
    /// The streams are not as they must be.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// There is no way to Kubernetes.
    #[error(
        "cannot use Kubernetes: neither a service account nor a kubeconfig (KUBECONFIG) leads to an API server"
    )]
    Kubernetes(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The port can't be listened on.
    #[error(transparent)]
    Bind(#[from] HttpBindError),
    /// The ledger can't be read further.
    #[error(transparent)]
    Ledger(#[from] FollowError),
    /// A part of it panicked; the log says where.
    #[error("a part of the provisioner panicked; it can't go on")]
    Panicked,
    /// The HTTP server failed.
    #[error("the HTTP server failed")]
    Server(#[source] std::io::Error),
}

/// Runs a provisioner until `stop`; then finishes what is in hand.
///
/// # Errors
/// Where it can't start, or the ledger holds what this version can't read.
pub async fn run(
    settings: ProvisionerSettings,
    stop: CancellationToken,
) -> Result<(), ProvisionerError> {
    // First of all: who looks for why a start fails reads it too.
    settings.warn_of_what_has_no_effect();
    let configuration = kube::Config::infer()
        .await
        .map_err(|error| ProvisionerError::Kubernetes(error.into()))?;
    run_in(settings, configuration, stop).await
}

/// Runs a provisioner in the cluster that `configuration` leads to.
///
/// # Errors
/// As for [`run`].
pub async fn run_in(
    settings: ProvisionerSettings,
    configuration: kube::Config,
    stop: CancellationToken,
) -> Result<(), ProvisionerError> {
    let work = work_until(settings, configuration, stop.clone());
    in_time(SERVICE, &stop, STOP_TIME, work)
        .await
        .unwrap_or(Ok(()))
}

async fn work_until(
    settings: ProvisionerSettings,
    configuration: kube::Config,
    stop: CancellationToken,
) -> Result<(), ProvisionerError> {
    let user_data = UserDataBase::load(
        settings.user_data_base_file.as_deref(),
        settings.admin_user.as_deref(),
        settings.admin_ssh_keys_file.as_deref(),
        &settings.login_user,
    )?;
    let images = ImageCatalogue::load(
        settings.image_catalogue_file.as_deref(),
        &settings.image_parameter,
    )?;
    if let Some(images) = &images {
        tracing::info!(images = images.len(), "users may choose an image");
    }
    let metrics = Metrics::new("provisioner", env!("CARGO_PKG_VERSION"));
    let (alarms, shown) = (Alarms::new(&metrics), Shown::new(&metrics));
    if settings.event_store.mode == Mode::Shadow {
        shown.show(Mode::Shadow.as_str(), SERVICE, SHADOW);
    }
    let health = Health::new(metrics.clone(), alarms.clone(), shown.clone());
    let (nats, kubernetes) = (health.dependency("nats"), health.dependency("kubernetes"));
    let ready = health.dependency("ledger");

    let listener = settings.http.bind().await?;
    let http = server::serve(health.router(&settings.http), listener, stop.clone());
    let http = AbortOnDropHandle::new(tokio::spawn(http));
    let Some(store) = connect(&settings, &nats, &stop).await? else {
        return Ok(());
    };
    let cluster = Cluster::new(configuration, &settings)
        .map_err(|error| ProvisionerError::Kubernetes(error.into()))?;
    let folded = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        folded = snapshots::load(&store) => folded,
    };
    let metrics = ProvisionerMetrics::new(&metrics);
    let decisions = Decisions::new(store.clone(), folded.clone(), settings.policy());
    let hands = match settings.event_store.mode {
        Mode::Live => Hands::Live(Box::new(WritableCluster::new(cluster.clone()))),
        Mode::Shadow => Hands::Shadow(Shadow::default()),
    };
    let turns = Arc::new(Turns::new(
        store.clone(),
        folded.clone(),
        settings.preparing_limits(),
        metrics.clone(),
    ));
    let clock = ClockGuard::new(store.clone(), alarms.clone());
    let driver = Arc::new(Driver {
        ledger: store.ledger_id(),
        store: store.clone(),
        folded: folded.clone(),
        decisions: decisions.clone(),
        turns: Arc::clone(&turns),
        cluster,
        hands,
        known: KnownHosts::default(),
        user_data,
        installation: settings.installation.clone(),
        address_template: settings.host_address_template.clone(),
        power_off: settings.power_off_after_release,
        clock: clock.clone(),
        shown,
        alarms: alarms.clone(),
        kubernetes,
        metrics: metrics.clone(),
    });
    let other_sites = OtherSites::new(alarms.clone());
    let deliveries = Arc::new(Deliveries {
        store: store.clone(),
        metrics: metrics.clone(),
        deciding: Deciding {
            store: store.clone(),
            folded: folded.clone(),
            decisions: decisions.clone(),
            reading: Reading::new(&settings, images),
            other_sites: other_sites.clone(),
            late_starts: LateStarts::new(folded.clone(), clock.clone(), store.connections()),
        },
    });

    // What is in hand at a stop is finished, and for that our own reading has to go on: it is stopped last.
    let following = CancellationToken::new();
    let mut follow = AbortOnDropHandle::new(tokio::spawn({
        let (folded, store, following) = (folded.clone(), store.clone(), following.clone());
        async move { folded.follow(&store, &following).await }
    }));
    let mut tasks = Tasks::default();
    tasks.spawn(
        "connection",
        watch_connection(store.clone(), folded.clone(), metrics, nats, stop.clone()),
    );
    tasks.spawn(
        "dead letters",
        watch_dead_letters(store.clone(), alarms.clone(), stop.clone()),
    );
    let work = async {
        ready.down("reading the ledger");
        if catch_up::with_ledger(&store, &folded, &stop)
            .await
            .is_none()
        {
            return Ok(());
        }
        ready.down("folding the deliveries that waited");
        tasks.spawn("deliveries", deliveries.run(stop.clone()));
        if !fold_what_waits(&store, &folded, &alarms, &mut tasks, &stop).await {
            return Ok(());
        }
        ready.ok();
        tracing::info!(version = %folded.version(), "everything that waited is folded; driving hosts");
        let board = AlarmBoard::new(
            alarms.clone(),
            driver.shown.clone(),
            folded.clone(),
            driver.known.clone(),
        );
        let guard = ReleaseGuard {
            most: settings.deadline_release_max,
            alarms: alarms.clone(),
            stopped: false,
            clock,
        };
        tasks.spawn(
            "sites",
            sites::run(
                ServedSites::new(&settings),
                folded.clone(),
                decisions.clone(),
                other_sites,
                stop.clone(),
            ),
        );
        tasks.spawn(
            "timers",
            timers::run(
                store.clone(),
                folded.clone(),
                decisions,
                guard,
                stop.clone(),
            ),
        );
        tasks.spawn(
            "snapshots",
            snapshots::run(
                store.clone(),
                folded.clone(),
                settings.snapshot_interval,
                stop.clone(),
            ),
        );
        let keep = Duration::from_secs(u64::from(settings.deliveries_retention_days) * 24 * 3600);
        tasks.spawn(
            "retention",
            retention::run(store.clone(), folded.clone(), keep, stop.clone()),
        );
        let stopped = stop.clone();
        tasks.spawn("turns", async move { turns.run(stopped).await });
        drive(&settings, &driver, board, &mut tasks, &stop);
        until_stopped_or_panicked(&mut tasks, &stop).await
    };
    let result = tokio::select! {
        result = work => result,
        followed = &mut follow => match followed {
            Ok(Err(error)) => Err(ProvisionerError::Ledger(error)),
            Ok(Ok(())) => Ok(()),
            Err(_) => Err(ProvisionerError::Panicked),
        },
    };
    stop.cancel();
    let finished = tasks.finish_by(tokio::time::Instant::now() + FINISHING);
    let finished = finished.await.map_err(|_| ProvisionerError::Panicked);
    following.cancel();
    store.flush().await;
    let served = match http.await {
        Ok(Err(error)) => Err(ProvisionerError::Server(error)),
        _ => Ok(()),
    };
    result.and(finished).and(served)
}

/// Waits until the deliveries that wait are folded. One that can't be handled must not keep all hosts from being driven for
/// ever: after a while it is alarmed, and the rest goes on. Returns whether to go on.
async fn fold_what_waits(
    store: &EventStore,
    folded: &FoldedLedger,
    alarms: &Alarms,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> bool {
    let waiting = catch_up::with_deliveries(store, folded, stop);
    if let Ok(caught_up) = tokio::time::timeout(PATIENCE, waiting).await {
        return caught_up.is_some();
    }
    let text =
        "a delivery that waited at the start is still not handled; hosts are driven without it";
    alarms.raise(DELIVERIES_WAIT, "start", text);
    let (store, folded, alarms, stop) =
        (store.clone(), folded.clone(), alarms.clone(), stop.clone());
    tasks.spawn("deliveries that waited", async move {
        if catch_up::with_deliveries(&store, &folded, &stop)
            .await
            .is_some()
        {
            alarms.clear(DELIVERIES_WAIT, "start");
        }
    });
    true
}

/// Waits until told to stop. A task that panics must not go unnoticed: what it did would not be done any more.
async fn until_stopped_or_panicked(
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Result<(), ProvisionerError> {
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(ended) = tasks.join_next() => ended,
        };
        if ended.is_err() {
            return Err(ProvisionerError::Panicked);
        }
    }
}

/// Connects and prepares the streams, trying again while the broker is away. None where it was told to stop meanwhile.
async fn connect(
    settings: &ProvisionerSettings,
    nats: &Dependency,
    stop: &CancellationToken,
) -> Result<Option<EventStore>, ProvisionerError> {
    loop {
        let attempt = async {
            let store = EventStore::connect(&settings.event_store, "bellhop-provisioner").await?;
            store.prepare().await?;
            Ok::<_, SetupError>(store)
        };
        let attempted = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            attempted = attempt => attempted,
        };
        match attempted {
            Ok(store) => return Ok(Some(store)),
            Err(error) if error.class() == ErrorClass::Transient => {
                nats.down_for(&error);
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn watch_connection(
    store: EventStore,
    folded: FoldedLedger,
    metrics: ProvisionerMetrics,
    nats: Dependency,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        if store.is_connected() {
            nats.ok();
        } else {
            nats.down("connecting");
        }
        metrics.ledger_version(folded.version());
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Keeps the alarm on while there are dead letters of ours.
async fn watch_dead_letters(store: EventStore, alarms: Alarms, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match store.dead_letters_of(SERVICE).await {
            Ok(0) => alarms.clear(DEAD_LETTERS, SERVICE),
            Ok(count) => {
                let text = format!(
                    "{count} deliveries could not be handled and are kept: `bellhop dead-letters list` shows them"
                );
                alarms.raise(DEAD_LETTERS, SERVICE, &text);
            }
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "cannot count dead letters"
            ),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(DEAD_LETTERS_EVERY) => {}
        }
    }
}
