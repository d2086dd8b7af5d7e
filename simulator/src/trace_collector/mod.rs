//! A collector of OpenTelemetry traces: receives OTLP over HTTP, keeps the spans, shows a trace as a tree.
//!
//! ```text
//!  service ──▶ POST /v1/traces (protobuf) ──▶ spans ──▶ tree(trace id)
//! ```
//!
//! It stands in for Jaeger in tests and in the demo: what it shows was really exported by each process.

mod receive;
mod span;
mod tree;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use span::{Span, SpanKind};
pub use tree::tree as tree_of;

const CONTENT_TYPE: &str = "application/x-protobuf";
/// The most bytes of one export.
const BODY_LIMIT: usize = 32 << 20;
/// The most spans that are kept; the oldest go first.
const SPANS: usize = 200_000;

/// A running collector. Clones are the same one; when the last is dropped it stops.
#[derive(Clone)]
pub struct TraceCollector {
    address: SocketAddr,
    spans: Arc<Spans>,
    _life: Arc<DropGuard>,
}

/// The address is taken, or isn't ours.
#[derive(Debug, thiserror::Error)]
#[error("can't listen for traces on {address}: choose another address, or port 0 for a free one")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

#[derive(Default)]
struct Spans {
    all: Mutex<Vec<Span>>,
    changed: watch::Sender<()>,
}

impl Spans {
    fn add(&self, new: Vec<Span>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(new);
        let too_many = all.len().saturating_sub(SPANS);
        all.drain(..too_many);
        drop(all);
        self.changed.send_replace(());
    }

    fn to_vec(&self) -> Vec<Span> {
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl TraceCollector {
    /// Starts one on a free port of this machine.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn start() -> Result<Self, ListenError> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts one on this address.
    ///
    /// # Errors
    /// Where it can't be listened on.
    pub async fn start_on(address: SocketAddr) -> Result<Self, ListenError> {
        let failed = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let spans = Arc::new(Spans::default());
        let life = CancellationToken::new();
        let router = Router::new()
            .route("/v1/traces", post(export))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(Arc::clone(&spans));
        tokio::spawn({
            let life = life.clone();
            async move {
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    () = life.cancelled() => {}
                }
            }
        });
        Ok(Self {
            address,
            spans,
            _life: Arc::new(life.drop_guard()),
        })
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans that came, in the order of their coming.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.to_vec()
    }

    /// The spans of one trace, by their start.
    pub fn spans_of(&self, trace_id: &str) -> Vec<Span> {
        let mut spans: Vec<Span> = self
            .spans()
            .into_iter()
            .filter(|span| span.trace_id == trace_id)
            .collect();
        spans.sort_by_key(|span| span.start);
        spans
    }

    /// The ids of all traces, by their first span's coming.
    pub fn trace_ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for span in self.spans() {
            if !ids.contains(&span.trace_id) {
                ids.push(span.trace_id);
            }
        }
        ids
    }

    /// One trace as an indented tree: milliseconds since its first span, how long each took, which service, what about.
    /// Empty where the trace isn't known.
    pub fn tree(&self, trace_id: &str) -> String {
        tree::tree(&self.spans_of(trace_id))
    }

    /// Waits until all spans together fit, and returns them; those that are there when `limit` is over otherwise.
    pub async fn wait_for_spans(
        &self,
        limit: Duration,
        fit: impl Fn(&[Span]) -> bool,
    ) -> Vec<Span> {
        let mut changed = self.spans.changed.subscribe();
        let found = async {
            loop {
                let spans = self.spans();
                if fit(&spans) || changed.changed().await.is_err() {
                    return spans;
                }
            }
        };
        match tokio::time::timeout(limit, found).await {
            Ok(spans) => spans,
            Err(_) => self.spans(),
        }
    }
}

async fn export(State(spans): State<Arc<Spans>>, headers: HeaderMap, body: Bytes) -> Response {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if content_type != CONTENT_TYPE {
        return (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("send {CONTENT_TYPE}"),
        )
            .into_response();
    }
    match receive::spans_in(body) {
        Ok(new) => {
            spans.add(new);
            // An empty message: everything was taken.
            ([(header::CONTENT_TYPE, CONTENT_TYPE)], Bytes::new()).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}
