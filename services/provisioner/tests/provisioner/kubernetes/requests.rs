//! Requests as they are: paths and JSON, with the answer's status and `Status` object.

use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, Request};
use kube::client::Body;
use kube::core::WatchEvent;
use kube::{Client, Config};
use serde_json::{Value, json};

/// A refused request: HTTP status, reason and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// Whoever sends requests to an API server.
#[derive(Clone)]
pub(crate) struct Requests {
    client: Client,
}

impl Requests {
    /// With the identity that `configuration` has. Nothing is tried again.
    pub(crate) fn new(mut configuration: Config) -> Self {
        configuration.default_retry = false;
        Self {
            client: Client::try_from(configuration).unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Refused> {
        self.send(Method::GET, path, "", Vec::new()).await
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value, Refused> {
        let body = object.to_string().into_bytes();
        self.send(Method::POST, path, "application/json", body)
            .await
    }

    pub(crate) async fn replace(&self, path: &str, object: &Value) -> Result<Value, Refused> {
        let body = object.to_string().into_bytes();
        self.send(Method::PUT, path, "application/json", body).await
    }

    /// A JSON merge patch.
    pub(crate) async fn patch(&self, path: &str, patch: &Value) -> Result<Value, Refused> {
        let body = patch.to_string().into_bytes();
        self.send(Method::PATCH, path, "application/merge-patch+json", body)
            .await
    }

    /// A server-side apply.
    pub(crate) async fn apply(&self, path: &str, object: &Value) -> Result<Value, Refused> {
        let path = format!("{path}?fieldManager=bellhop-tests&force=true");
        let body = object.to_string().into_bytes();
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", body)
            .await
    }

    pub(crate) async fn delete(&self, path: &str, options: Value) -> Result<Value, Refused> {
        let body = options.to_string().into_bytes();
        self.send(Method::DELETE, path, "application/json", body)
            .await
    }

    /// The events of a watch, as they come.
    pub(crate) async fn watch(
        &self,
        path: &str,
    ) -> Result<impl futures::Stream<Item = Result<Event, kube::Error>> + Send + use<>, kube::Error>
    {
        let request = Request::get(path).body(Vec::new()).unwrap();
        let events = self.client.request_events::<Value>(request).await?;
        Ok(events.map(|event: Result<WatchEvent<Value>, kube::Error>| event.map(Event::from)))
    }

    /// The events of a watch until the server ends it.
    pub(crate) async fn whole_watch(&self, path: &str) -> Vec<Event> {
        let events = self.watch(path).await.unwrap();
        events.try_collect().await.unwrap()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Value, Refused> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content_type)
            .body(Body::from(body))
            .unwrap();
        let answer = self.client.send(request).await.unwrap();
        let (code, body) = (answer.status(), answer.into_body());
        let body = body.collect_bytes().await.unwrap();
        let body: Value =
            serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
        if code.is_success() {
            return Ok(body);
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Err(Refused {
            code: code.as_u16(),
            reason: text(&body["reason"]),
            // What the server says before it knows what was asked for is plain text.
            message: text(body.get("message").unwrap_or(&body)),
        })
    }
}

/// What a watch tells.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Added(Value),
    Modified(Value),
    Deleted(Value),
    Bookmark,
    Error(Refused),
}

impl From<WatchEvent<Value>> for Event {
    fn from(event: WatchEvent<Value>) -> Self {
        match event {
            WatchEvent::Added(object) => Self::Added(object),
            WatchEvent::Modified(object) => Self::Modified(object),
            WatchEvent::Deleted(object) => Self::Deleted(object),
            WatchEvent::Bookmark(_) => Self::Bookmark,
            WatchEvent::Error(status) => Self::Error(Refused {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
            }),
        }
    }
}
