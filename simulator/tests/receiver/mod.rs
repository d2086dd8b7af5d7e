//! A small HTTP server in the place of Bellhop's ingress: keeps what it got.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

struct Kept {
    requests: Mutex<Vec<Request>>,
    changed: watch::Sender<()>,
    status: AtomicU16,
}

pub(crate) struct Receiver {
    kept: Arc<Kept>,
    url: String,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let kept = Arc::new(Kept {
            requests: Mutex::default(),
            changed: watch::Sender::new(()),
            status: AtomicU16::new(202),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhook", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/webhook", post(keep))
            .with_state(Arc::clone(&kept));
        let task = tokio::spawn(async move {
            // A connection for each request: none outlives the listener.
            let router = router.layer(axum::middleware::map_response(close));
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            kept,
            url,
            task: Mutex::new(Some(task)),
        }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.kept.requests.lock().unwrap().clone()
    }

    pub(crate) fn answer_with(&self, status: u16) {
        self.kept.status.store(status, Ordering::SeqCst);
    }

    pub(crate) async fn wait_for(&self, count: usize, limit: Duration) -> Vec<Request> {
        let mut changed = self.kept.changed.subscribe();
        let enough = async {
            while self.requests().len() < count {
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(limit, enough)
            .await
            .expect("the requests came");
        self.requests()
    }

    pub(crate) async fn stop(&self) {
        let task = self.task.lock().unwrap().take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
}

async fn keep(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    kept.requests
        .lock()
        .unwrap()
        .push(Request { headers, body });
    kept.changed.send_replace(());
    StatusCode::from_u16(kept.status.load(Ordering::SeqCst)).unwrap()
}

async fn close(response: axum::response::Response) -> axum::response::Response {
    let mut response = response;
    response
        .headers_mut()
        .insert("connection", axum::http::HeaderValue::from_static("close"));
    response
}
