//! A go-between for the provisioner's requests: it counts some, asks for a watch otherwise than the provisioner did, so that it
//! is the API server itself that closes it, or says that its version is forgotten, and keeps back what makes a secret, as if the
//! provisioner slept just then.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use kube::Client;
use kube::client::Body;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

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
    state: watch::Sender<Seen>,
}

/// What is done with watches, and what was seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    watches: Watches,
    counts: Counts,
    /// Watches that wait to be let through.
    held: u32,
    secrets: Secrets,
}

/// What is done with requests that make a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Secrets {
    /// They go through.
    #[default]
    Made,
    /// They are to wait.
    Kept,
    /// One waits, whatever becomes of who sent it.
    Waiting,
    /// It goes through now.
    LetGo,
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
    /// Secrets that were made.
    pub(crate) secrets_made: u32,
}

/// What the next watches ask for.
#[derive(Clone, Debug, Default)]
pub(crate) enum Watches {
    /// To be closed by the API server after a second.
    #[default]
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
    pub(crate) async fn new(place: &Place) -> Self {
        let mut configuration = place.provisioner.clone();
        configuration.default_retry = false;
        let shared = Arc::new(Shared {
            client: Client::try_from(configuration).unwrap(),
            state: watch::Sender::default(),
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

    /// Keeps back what will make the next secret.
    pub(crate) fn keep_secret_back(&self) {
        self.set_secrets(Secrets::Kept);
    }

    /// Waits until something is kept back.
    pub(crate) async fn until_secret_waits(&self) {
        self.until(|seen| seen.secrets == Secrets::Waiting).await;
    }

    /// Lets it through, and waits until the secret is made.
    pub(crate) async fn let_secret_through(&self) {
        self.set_secrets(Secrets::LetGo);
        self.until(|seen| seen.counts.secrets_made > 0).await;
    }

    fn set_secrets(&self, secrets: Secrets) {
        let state = &self.shared.state;
        state.send_modify(|seen| seen.secrets = secrets);
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
        let query = head.uri.query().unwrap_or_default();
        let is_watch = query.split('&').any(|part| part == "watch=true");
        let (method, path) = (head.method.as_str(), head.uri.path());
        let query = if is_watch {
            match self.next_watch(query).await {
                Some(query) => query,
                None => return axum::body::Body::empty().into_response(),
            }
        } else {
            query.to_owned()
        };
        let makes_secret = method == "POST" && path.ends_with("/secrets");
        if makes_secret {
            self.keep_back().await;
        }
        self.state.send_modify(|seen| match method {
            "GET" if !is_watch && path.ends_with("/baremetalhosts") => seen.counts.lists += 1,
            "GET" if path.contains("/secrets/") => seen.counts.secrets_read += 1,
            _ => {}
        });
        let mut onward = http::Request::builder()
            .method(method)
            .uri(format!("{path}?{query}"));
        if let Some(form) = head.headers.get(http::header::CONTENT_TYPE) {
            onward = onward.header(http::header::CONTENT_TYPE, form);
        }
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let onward = onward.body(Body::from(body.to_vec())).unwrap();
        let Ok(answer) = self.client.send(onward).await else {
            return http::StatusCode::BAD_GATEWAY.into_response();
        };
        if makes_secret && answer.status().is_success() {
            self.state.send_modify(|seen| seen.counts.secrets_made += 1);
        }
        let (head, body) = answer.into_parts();
        let mut back = Response::new(axum::body::Body::new(body));
        *back.status_mut() = head.status;
        if let Some(form) = head.headers.get(http::header::CONTENT_TYPE) {
            let headers = back.headers_mut();
            headers.insert(http::header::CONTENT_TYPE, form.clone());
        }
        back
    }

    /// Waits until a secret may be made.
    async fn keep_back(&self) {
        let mut states = self.state.subscribe();
        self.state.send_if_modified(|seen| {
            let kept = seen.secrets == Secrets::Kept;
            if kept {
                seen.secrets = Secrets::Waiting;
            }
            kept
        });
        let may = |seen: &Seen| matches!(seen.secrets, Secrets::Made | Secrets::LetGo);
        states.wait_for(may).await.unwrap();
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
