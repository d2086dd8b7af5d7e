//! A go-between for the provisioner's requests: it writes down each ([`Record`]), asks for a watch or a page otherwise than the
//! provisioner did, so that it is the API server itself that closes it, or says that its version is forgotten, and keeps a write
//! back, as if the provisioner slept just then.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::record::{Record, Recorded};
use super::server::Place;
use crate::installation::PATIENCE;

/// Between the provisioner and the API server, until it is dropped.
pub(crate) struct Between {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

struct Shared {
    client: Client,
    record: Record,
    state: watch::Sender<Seen>,
}

/// What is done with requests, and what was seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    watches: Watches,
    counts: Counts,
    /// Watches that wait to be let through.
    held: u32,
    /// So many pages that continue a list are asked for at a version that the API server has forgotten.
    pages_to_age: u32,
    gate: Gate,
    /// What was kept back, once it was let through and answered.
    kept: Option<Recorded>,
}

/// A write that may be kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// One that makes a secret.
    Secret,
    /// One that changes a host.
    HostWrite,
}

/// What is done with writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gate {
    /// They go through.
    #[default]
    Open,
    /// Those of this kind are to wait.
    Closed(Kept),
    /// One waits, whatever becomes of who sent it; others of its kind wait with it.
    Waiting(Kept),
}

/// How many requests went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Lists of hosts.
    pub(crate) lists: u32,
    /// Watches of hosts.
    pub(crate) watches: u32,
    /// Reads of a secret.
    pub(crate) secrets_read: u32,
}

/// What the next watches ask for.
#[derive(Clone, Debug, Default)]
pub(crate) enum Watches {
    /// What the provisioner asked for.
    #[default]
    AsAsked,
    /// To be closed by the API server after a second.
    Short,
    /// Nothing: they wait until that changes.
    Held,
    /// This many the changes since this version, which the API server has forgotten; those after them are short again.
    Forgotten(&'static str, u32),
    /// Nothing: each is over at once, as a proxy that closes what it can't hold open answers it.
    Closed,
}

impl Between {
    /// One in front of the stage's API server, with the provisioner's rights there.
    pub(crate) async fn new(place: &Place, record: Record, watches: Watches) -> Self {
        let mut configuration = place.provisioner.clone();
        configuration.default_retry = false;
        let shared = Arc::new(Shared {
            client: Client::try_from(configuration).unwrap(),
            record,
            state: watch::Sender::new(Seen {
                watches,
                ..Seen::default()
            }),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(pass).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            port,
            shared,
            _server: AbortOnDropHandle::new(server),
        }
    }

    /// From now on watches ask for this.
    pub(crate) fn set(&self, watches: Watches) {
        self.shared.state.send_modify(|seen| seen.watches = watches);
    }

    /// Has the next watches wait, and waits until the API server has closed the one that there is.
    pub(crate) async fn hold(&self) {
        self.set(Watches::Held);
        self.until(|seen| seen.held > 0).await;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.shared.state.borrow().counts
    }

    /// Waits until that many more watches went through than `since` tells.
    pub(crate) async fn until_watches(&self, since: Counts, more: u32) {
        self.until(|seen| seen.counts.watches >= since.watches + more)
            .await;
    }

    /// Waits until so many secrets were read.
    pub(crate) async fn until_secrets_read(&self, count: u32) {
        self.until(|seen| seen.counts.secrets_read >= count).await;
    }

    /// Keeps back the next write of this kind.
    pub(crate) fn keep_back(&self, kept: Kept) {
        let state = &self.shared.state;
        state.send_modify(|seen| (seen.gate, seen.kept) = (Gate::Closed(kept), None));
    }

    /// Waits until something is kept back.
    pub(crate) async fn until_kept(&self) {
        self.until(|seen| matches!(seen.gate, Gate::Waiting(_)))
            .await;
    }

    /// Lets it through; what the API server answered.
    pub(crate) async fn let_through(&self) -> Recorded {
        let state = &self.shared.state;
        state.send_modify(|seen| seen.gate = Gate::Open);
        self.until(|seen| seen.kept.is_some()).await;
        self.shared.state.borrow().kept.clone().unwrap()
    }

    /// The next page that continues a list is asked for at a version that the API server has forgotten.
    pub(crate) fn age_a_page(&self) {
        let state = &self.shared.state;
        state.send_modify(|seen| seen.pages_to_age += 1);
    }

    async fn until(&self, is_so: impl Fn(&Seen) -> bool) {
        let mut states = self.shared.state.subscribe();
        let waiting = states.wait_for(|seen| is_so(seen));
        let waited = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
        assert!(waited, "{:?}", *self.shared.state.borrow());
    }
}

/// Hands a request on, and its answer back as it comes. What was sent is handed on even if its sender is gone.
async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let handed_on = tokio::spawn(async move { shared.hand_on(request).await });
    handed_on.await.unwrap()
}

impl Shared {
    async fn hand_on(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let text = |name| {
            let value = head.headers.get(name).map(http::HeaderValue::to_str);
            value.map_or_else(String::new, |text| text.unwrap().to_owned())
        };
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let mut request = Recorded {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            content_type: text(http::header::CONTENT_TYPE),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            code: 0,
            answer: Value::Null,
        };
        let query = if request.is_watch() {
            match self.next_watch(&request.query).await {
                Some(query) => query,
                None => return axum::body::Body::empty().into_response(),
            }
        } else {
            self.next_page(&request)
        };
        let was_kept = self.keep_back(&request).await;
        self.count(&request);
        let onward = http::Request::builder()
            .method(head.method)
            .uri(format!("{}?{query}", request.path))
            .header(http::header::CONTENT_TYPE, &request.content_type)
            .body(Body::from(body.to_vec()))
            .unwrap();
        let Ok(answer) = self.client.send(onward).await else {
            return http::StatusCode::BAD_GATEWAY.into_response();
        };
        let (head, body) = answer.into_parts();
        request.code = head.status.as_u16();
        let body = if request.method == "GET" {
            axum::body::Body::new(body)
        } else {
            let bytes = body.collect_bytes().await.unwrap();
            request.answer = serde_json::from_slice(&bytes).unwrap_or_default();
            axum::body::Body::from(bytes)
        };
        self.record.push(request.clone());
        if was_kept {
            self.state.send_modify(|seen| seen.kept = Some(request));
        }
        let mut back = Response::new(body);
        *back.status_mut() = head.status;
        for name in [http::header::CONTENT_TYPE, http::header::RETRY_AFTER] {
            if let Some(value) = head.headers.get(&name) {
                back.headers_mut().insert(name, value.clone());
            }
        }
        back
    }

    fn count(&self, request: &Recorded) {
        let reads_secret = request.method == "GET" && request.path.contains("/secrets/");
        self.state.send_modify(|seen| {
            seen.counts.lists += u32::from(request.lists_hosts());
            seen.counts.secrets_read += u32::from(reads_secret);
        });
    }

    /// Waits until a request may go through. Returns whether it is the one that was to be kept back.
    async fn keep_back(&self, request: &Recorded) -> bool {
        let kind = if request.method == "POST" && request.path.ends_with("/secrets") {
            Kept::Secret
        } else if request.writes_host() {
            Kept::HostWrite
        } else {
            return false;
        };
        let mut states = self.state.subscribe();
        let is_kept = self.state.send_if_modified(|seen| {
            let closed = seen.gate == Gate::Closed(kind);
            if closed {
                seen.gate = Gate::Waiting(kind);
            }
            closed
        });
        let may =
            |seen: &Seen| !matches!(seen.gate, Gate::Closed(of) | Gate::Waiting(of) if of == kind);
        states.wait_for(may).await.unwrap();
        is_kept
    }

    /// What a request that is no watch asks the API server for.
    fn next_page(&self, request: &Recorded) -> String {
        let Some(token) = request.parameter("continue") else {
            return request.query.clone();
        };
        let ages = self.state.send_if_modified(|seen| {
            let ages = seen.pages_to_age > 0;
            seen.pages_to_age = seen.pages_to_age.saturating_sub(1);
            ages
        });
        if ages {
            with(&request.query, "continue", &aged(token))
        } else {
            request.query.clone()
        }
    }

    /// What a watch that asked for `query` asks the API server for; none where it is over at once.
    async fn next_watch(&self, query: &str) -> Option<String> {
        if matches!(self.state.borrow().watches, Watches::Held) {
            let mut states = self.state.subscribe();
            self.state.send_modify(|seen| seen.held += 1);
            let let_through = |seen: &Seen| !matches!(seen.watches, Watches::Held);
            states.wait_for(let_through).await.unwrap();
            self.state.send_modify(|seen| seen.held -= 1);
        }
        let mut asked = Some(with(query, "timeoutSeconds", "1"));
        self.state.send_modify(|seen| {
            seen.counts.watches += 1;
            match &mut seen.watches {
                Watches::AsAsked => asked = Some(query.to_owned()),
                Watches::Short | Watches::Held => {}
                Watches::Closed => asked = None,
                Watches::Forgotten(version, times) => {
                    asked = Some(with(query, "resourceVersion", version));
                    *times -= 1;
                    if *times == 0 {
                        seen.watches = Watches::Short;
                    }
                }
            }
        });
        if asked.is_none() {
            // A moment, so that whoever asks again at once does not starve the test.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        asked
    }
}

/// A `continue` token as it would be had its list begun at the first version of all. It is opaque to clients; both servers write
/// their own version into it alike.
fn aged(token: &str) -> String {
    let token = token.replace("%3D", "");
    let text = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).unwrap();
    let mut place: Value = serde_json::from_slice(&text).unwrap();
    assert!(place["rv"].is_u64(), "{place}");
    place["rv"] = json!(1);
    URL_SAFE_NO_PAD.encode(place.to_string())
}

/// A query in which this parameter has this value.
fn with(query: &str, name: &str, value: &str) -> String {
    let others = query.split('&').filter(|part| {
        let is_it = part.split_once('=').is_some_and(|(is, _)| is == name);
        !is_it && !part.is_empty()
    });
    let mut parts: Vec<_> = others.map(str::to_owned).collect();
    parts.push(format!("{name}={value}"));
    parts.join("&")
}
