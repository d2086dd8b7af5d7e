//! What a service depends on, whether it is ready, and the pages that say so.
//!
//! | page | for | answer |
//! |---|---|---|
//! | `/livez` | the liveness probe | 200 as long as requests are answered at all; a dependency that is down is no reason to be restarted |
//! | `/readyz` | the readiness probe | 200 if no dependency is down and the service does not end, else 503; with `?verbose` each dependency, the alarms and what is shown |
//! | `/healthz` | callers of the service that Bellhop replaces | exactly its answer |
//! | `/metrics` | Prometheus | OpenMetrics text |

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::notices::{Alarms, Notice, Shown};
use crate::one_line::one_line;
use crate::settings::HttpSettings;

/// The body of `GET /healthz` of the service that Bellhop replaces, byte for byte.
const HEALTHZ: &str = r#"{"status":"healthy","service":"server-provisioning-webhook"}"#;

/// How something that the service depends on is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DependencyState {
    /// It works.
    Ok,
    /// It works, but not as it should; the service stays ready.
    Degraded(String),
    /// It does not work; the service is not ready.
    Down(String),
    /// It is not configured, and the service runs without it.
    NotConfigured(String),
}

impl DependencyState {
    fn is_ready(&self) -> bool {
        !matches!(self, Self::Down(_))
    }
}

/// The health of one service. Clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    shared: Arc<HealthShared>,
}

#[derive(Debug)]
struct HealthShared {
    metrics: Metrics,
    alarms: Alarms,
    shown: Shown,
    dependencies: Mutex<Vec<Dependency>>,
    /// Cancelled when the service begins to end.
    stop: OnceLock<CancellationToken>,
    ready: Family<DependencyLabel, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DependencyLabel {
    dependency: &'static str,
}

/// One thing that the service depends on; its owner says how it is. Clones share the state.
#[derive(Debug, Clone)]
pub struct Dependency {
    name: &'static str,
    state: Arc<Mutex<DependencyState>>,
    ready: Gauge,
}

impl Dependency {
    /// It works.
    pub fn ok(&self) {
        self.set(DependencyState::Ok);
    }

    /// It works, but not as it should; the service stays ready.
    pub fn degraded(&self, text: impl Into<String>) {
        self.set(DependencyState::Degraded(text.into()));
    }

    /// It does not work; the service is not ready until it does.
    pub fn down(&self, text: impl Into<String>) {
        self.set(DependencyState::Down(text.into()));
    }

    /// As [`Self::down`]: what went wrong, with its causes. However often it is tried, the log has a line where that changes.
    pub fn down_for(&self, error: &(dyn std::error::Error + 'static)) {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let texts: Vec<_> = causes.map(ToString::to_string).collect();
        self.down(texts.join(": "));
    }

    /// It is not configured, and the service runs without it.
    pub fn not_configured(&self, text: impl Into<String>) {
        self.set(DependencyState::NotConfigured(text.into()));
    }

    /// How it is now.
    #[must_use]
    pub fn state(&self) -> DependencyState {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets the state and logs it if it is another one.
    pub fn set(&self, state: DependencyState) {
        let previous = {
            let mut current = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            self.ready.set(i64::from(state.is_ready()));
            std::mem::replace(&mut *current, state.clone())
        };
        if previous == state {
            return;
        }
        let dependency = self.name;
        match &state {
            DependencyState::Ok => tracing::info!(dependency, "{dependency} is ok"),
            DependencyState::Degraded(text) => {
                tracing::warn!(dependency, "{dependency} is degraded: {text}");
            }
            DependencyState::Down(text) => {
                tracing::warn!(dependency, "{dependency} is down: {text}");
            }
            DependencyState::NotConfigured(text) => {
                tracing::warn!(dependency, "{dependency} is not configured: {text}");
            }
        }
    }
}

impl Health {
    /// Health without dependencies; registers `bellhop_dependency_ready`.
    #[must_use]
    pub fn new(metrics: Metrics, alarms: Alarms, shown: Shown) -> Self {
        let ready = Family::default();
        metrics.register(
            "dependency_ready",
            "1 if the dependency does not keep the service from being ready",
            ready.clone(),
        );
        Self {
            shared: Arc::new(HealthShared {
                metrics,
                alarms,
                shown,
                dependencies: Mutex::default(),
                stop: OnceLock::new(),
                ready,
            }),
        }
    }

    /// Adds a dependency, which is down until its owner says otherwise; a name that is there already is that one.
    pub fn dependency(&self, name: &'static str) -> Dependency {
        let mut dependencies = self
            .shared
            .dependencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = dependencies.iter().find(|known| known.name == name) {
            return known.clone();
        }
        let ready = self
            .shared
            .ready
            .get_or_create_owned(&DependencyLabel { dependency: name });
        let dependency = Dependency {
            name,
            state: Arc::new(Mutex::new(DependencyState::Down("starting".to_owned()))),
            ready,
        };
        dependencies.push(dependency.clone());
        dependency
    }

    /// From when this is cancelled the service is not ready any more, so that clients are led elsewhere. The first one counts.
    pub fn until(&self, stop: CancellationToken) {
        self.shared.stop.get_or_init(|| stop);
    }

    /// Whether no dependency is down, and the service does not end.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let mut dependencies = self.dependencies().into_iter();
        !self.is_ending() && dependencies.all(|(_, state)| state.is_ready())
    }

    fn is_ending(&self) -> bool {
        let stop = self.shared.stop.get();
        stop.is_some_and(CancellationToken::is_cancelled)
    }

    /// The pages of this module. Probes are logged unless the settings say not to.
    pub fn router(&self, settings: &HttpSettings) -> Router {
        let router = Router::new()
            .route("/livez", get(|| async { "ok" }))
            .route("/readyz", get(readyz))
            .route(
                "/healthz",
                get(|| async { ([(header::CONTENT_TYPE, "application/json")], HEALTHZ) }),
            )
            .route("/metrics", get(metrics))
            .with_state(self.clone());
        if settings.disable_healthz_logs {
            router
        } else {
            router.layer(from_fn(log_probe))
        }
    }

    fn dependencies(&self) -> Vec<(&'static str, DependencyState)> {
        let dependencies = self
            .shared
            .dependencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        dependencies
            .iter()
            .map(|dependency| (dependency.name, dependency.state()))
            .collect()
    }

    /// One line for each dependency in the form that Kubernetes components use, then alarms, then what is shown.
    fn report(&self) -> String {
        let mut text = String::new();
        let mut is_ready = !self.is_ending();
        if !is_ready {
            text.push_str("[-]shutdown failed: the service is ending\n");
        }
        for (name, state) in self.dependencies() {
            is_ready &= state.is_ready();
            let _ = match state {
                DependencyState::Ok => writeln!(text, "[+]{name} ok"),
                DependencyState::Degraded(why) => {
                    writeln!(text, "[+]{name} degraded: {}", one_line(&why))
                }
                DependencyState::Down(why) => {
                    writeln!(text, "[-]{name} failed: {}", one_line(&why))
                }
                DependencyState::NotConfigured(why) => {
                    writeln!(text, "[+]{name} not configured: {}", one_line(&why))
                }
            };
        }
        for Notice {
            kind,
            key,
            text: what,
        } in self.shared.alarms.list()
        {
            let (key, what) = (one_line(&key), one_line(&what));
            let _ = writeln!(text, "[!]alarm {kind} {key}: {what}");
        }
        for Notice {
            kind,
            key,
            text: what,
        } in self.shared.shown.list()
        {
            let (key, what) = (one_line(&key), one_line(&what));
            let _ = writeln!(text, "[ ]shown {kind} {key}: {what}");
        }
        let _ = writeln!(
            text,
            "readyz check {}",
            if is_ready { "passed" } else { "failed" }
        );
        text
    }
}

async fn readyz(State(health): State<Health>, RawQuery(query): RawQuery) -> Response {
    let is_verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|part| part.split('=').next() == Some("verbose"))
    });
    if !health.is_ready() {
        // Like Kubernetes: a failed check says why without being asked.
        (StatusCode::SERVICE_UNAVAILABLE, health.report()).into_response()
    } else if is_verbose {
        health.report().into_response()
    } else {
        "ok".into_response()
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)],
        health.shared.metrics.encode(),
    )
}

async fn log_probe(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    tracing::info!(path, status = response.status().as_u16(), "probe answered");
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt as _;

    use super::*;
    use crate::captured_log::captured_log;

    fn health() -> (Health, Alarms, Shown) {
        let metrics = Metrics::new("test", "0");
        let alarms = Alarms::new(&metrics);
        let shown = Shown::new(&metrics);
        (
            Health::new(metrics, alarms.clone(), shown.clone()),
            alarms,
            shown,
        )
    }

    #[test]
    fn a_service_is_not_ready_before_each_dependency_has_spoken() {
        let (health, ..) = health();
        assert!(health.is_ready());
        let nats = health.dependency("nats");
        assert!(!health.is_ready());
        nats.ok();
        assert!(health.is_ready());
    }

    #[test]
    fn only_down_keeps_a_service_from_being_ready() {
        let (health, ..) = health();
        let nats = health.dependency("nats");
        nats.degraded("slow");
        assert!(health.is_ready());
        nats.not_configured("no address");
        assert!(health.is_ready());
        nats.down("refused");
        assert!(!health.is_ready());
    }

    #[test]
    fn a_service_that_ends_is_not_ready_any_more_and_says_why() {
        let (health, ..) = health();
        health.dependency("nats").ok();
        let stop = CancellationToken::new();
        health.until(stop.clone());
        assert!(health.is_ready());
        stop.cancel();
        assert!(!health.is_ready());
        assert_eq!(
            health.report(),
            "[-]shutdown failed: the service is ending\n[+]nats ok\nreadyz check failed\n"
        );
    }

    #[test]
    fn the_report_lists_dependencies_then_alarms_then_what_is_shown() {
        let (health, alarms, shown) = health();
        health.dependency("nats").ok();
        health
            .dependency("notification-endpoint")
            .not_configured("NOTIFICATION_ENDPOINT is not set");
        health.dependency("kubernetes").down("403 Forbidden");
        shown.show("paused", "metal3/node02", "paused, waiting");
        alarms.raise("unknown_holder", "metal3/node01", "look at it");
        assert_eq!(
            health.report(),
            "[+]nats ok\n\
             [+]notification-endpoint not configured: NOTIFICATION_ENDPOINT is not set\n\
             [-]kubernetes failed: 403 Forbidden\n\
             [!]alarm unknown_holder metal3/node01: look at it\n\
             [ ]shown paused metal3/node02: paused, waiting\n\
             readyz check failed\n"
        );
    }

    #[test]
    fn a_name_from_outside_forges_no_line_of_the_report() {
        let (health, alarms, shown) = health();
        let name = "evil\u{1b}[31m\n[+]nats ok";
        health.dependency("kubernetes").down(name);
        alarms.raise("host_not_clean", name, name);
        shown.show("waiting", name, name);
        let report = health.report();
        assert_eq!(report.lines().count(), 4, "{report}");
        assert!(!report.contains('\u{1b}'), "{report}");
        assert!(report.contains("[!]alarm host_not_clean evil\\u{1b}[31m\\n[+]nats ok: evil"));
    }

    #[test]
    fn a_dependency_is_logged_when_it_changes_and_not_between() {
        let (health, ..) = health();
        let nats = health.dependency("nats");
        let lines = captured_log(|| {
            nats.ok();
            nats.ok();
            nats.down("refused");
            nats.down("refused");
        });
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[1].starts_with("WARN") && lines[1].contains("nats is down: refused"));
    }

    fn probe(disable_healthz_logs: bool) -> Vec<String> {
        let (health, ..) = health();
        let router = health.router(&HttpSettings {
            port: 0,
            listen_address: [127, 0, 0, 1].into(),
            disable_healthz_logs,
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        captured_log(|| {
            let request = Request::get("/healthz").body(Body::empty()).unwrap();
            let response = runtime.block_on(router.oneshot(request)).unwrap();
            assert_eq!(response.status(), StatusCode::OK);
        })
    }

    #[test]
    fn probes_are_logged_only_where_the_settings_say_so() {
        assert_eq!(probe(true), Vec::<String>::new());
        let lines = probe(false);
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].contains("/healthz") && lines[0].contains("200"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_dependency_of_a_known_name_is_the_same_one() {
        let (health, ..) = health();
        health.dependency("nats").ok();
        assert_eq!(health.dependency("nats").state(), DependencyState::Ok);
    }
}
