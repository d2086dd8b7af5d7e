//! The way of one request: authentication, faults, the request itself, the record of it, the answer.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State as SharedState};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use http::{StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::admission::Part;
use super::control;
use super::discovery;
use super::failure::Failure;
use super::fault::{FaultKind, Struck};
use super::list;
use super::record::Write;
use super::request::ApiRequest;
use super::resource::{Verb, text};
use super::state::{Deleted, Preconditions, Shared, State};
use super::watch;
use crate::listener::{Connection, CuttableListener};

/// The API server's own limit for a body.
const LARGEST_BODY: usize = 3 * 1024 * 1024;

/// Serves until it is stopped; then every connection is cut.
pub(super) fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    let router: Router = Router::new()
        .nest("/simulator", control::routes(shared.clone()))
        .fallback(answer)
        .with_state(shared);
    let listener = CuttableListener {
        listener,
        stop: stop.clone(),
    };
    tokio::spawn(async move {
        let service = router.into_make_service_with_connect_info::<Connection>();
        tokio::select! {
            () = stop.cancelled() => {}
            // Accepting never ends by itself: axum waits and tries again after an error.
            _ended = axum::serve(listener, service) => {}
        }
    })
}

async fn answer(
    SharedState(shared): SharedState<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    match handle(&shared, &connection, request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn handle(
    shared: &Arc<Shared>,
    connection: &Connection,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    if matches!(parts.uri.path(), "/livez" | "/readyz" | "/healthz") {
        return Ok("ok".into_response());
    }
    if let Some(token) = &shared.bearer_token {
        let sent = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if sent.strip_prefix("Bearer ") != Some(token) {
            return Err(Failure::unauthorized());
        }
    }
    if let Some(known) = discovery::answer(parts.uri.path()) {
        return Ok(Json(known).into_response());
    }
    let request = ApiRequest::read(&parts.method, &parts.uri, &parts.headers)?;
    let body = axum::body::to_bytes(body, LARGEST_BODY)
        .await
        .map_err(|_| {
            Failure::new(
                413,
                "RequestEntityTooLarge",
                format!("the body is longer than {LARGEST_BODY} bytes"),
            )
        })?;
    let exchange = Exchange {
        shared,
        connection,
        request,
        body,
    };
    exchange.carry_out().await
}

/// One request being answered.
struct Exchange<'a> {
    shared: &'a Arc<Shared>,
    connection: &'a Connection,
    request: ApiRequest,
    body: Bytes,
}

/// What became of a request.
enum Outcome {
    /// An object or a Status, with its HTTP status.
    Answer(StatusCode, Value),
    /// A stream that goes on.
    Stream(Response),
}

impl Exchange<'_> {
    async fn carry_out(self) -> Result<Response, Failure> {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let name_in_body = text(&body, "/metadata/name").to_owned();
        let request = &self.request;
        self.shared.quietly(|state| {
            *state
                .records
                .requests
                .entry((request.verb, request.resource))
                .or_default() += 1;
        });
        if let Some(struck) = self.strike(&name_in_body, |kind| {
            matches!(kind, FaultKind::Latency { .. })
        }) && let FaultKind::Latency { milliseconds } = struck.kind
        {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
        let comes_before_handling = |kind: &FaultKind| match kind {
            FaultKind::AdmissionDenies {
                pointer, removal, ..
            } => {
                self.request.verb.writes()
                    && body
                        .pointer(pointer)
                        .is_some_and(|value| value.is_null() == *removal)
            }
            kind => comes_before_handling(kind),
        };
        if let Some(struck) = self.strike(&name_in_body, comes_before_handling) {
            let kind = struck.kind.name();
            return match self.failure(&struck, &name_in_body).await {
                Some(failure) => {
                    self.record_unhandled(&body, failure.code, kind);
                    Err(failure)
                }
                None => {
                    self.record_unhandled(&body, 0, kind);
                    self.cut().await
                }
            };
        }
        self.handle_and_answer(&body, &name_in_body).await
    }

    async fn handle_and_answer(
        &self,
        body: &Value,
        name_in_body: &str,
    ) -> Result<Response, Failure> {
        let lost = self.strike(name_in_body, |kind| matches!(kind, FaultKind::LoseAnswer));
        let outcome = self.handle(body, lost.as_ref());
        if lost.is_some() {
            return self.cut().await;
        }
        Ok(match outcome? {
            Outcome::Answer(status, object) => (status, Json(object)).into_response(),
            Outcome::Stream(response) => response,
        })
    }

    fn strike(&self, name_in_body: &str, of: impl Fn(&FaultKind) -> bool) -> Option<Struck> {
        self.shared.quietly(|state| {
            state
                .faults
                .strike_request(&self.request.target(Some(name_in_body)), of)
        })
    }

    /// What a fault answers; none if it answers nothing.
    async fn failure(&self, struck: &Struck, name_in_body: &str) -> Option<Failure> {
        let request = &self.request;
        let mut key = request.key();
        if key.name.is_empty() {
            name_in_body.clone_into(&mut key.name);
        }
        let verb = format!("{:?}", request.verb).to_lowercase();
        Some(match &struck.kind {
            FaultKind::Forbidden => {
                Failure::forbidden(key.resource, &key.namespace, &key.name, &verb)
            }
            FaultKind::Conflict => Failure::modified(&key),
            FaultKind::AdmissionDenies {
                message, forbidden, ..
            } => Failure::denied_by_policy(&key, message, *forbidden),
            FaultKind::TooManyRequests {
                retry_after_seconds,
            } => Failure::too_many_requests(*retry_after_seconds),
            FaultKind::InternalError => Failure::new(
                500,
                "InternalError",
                "Internal error occurred: etcdserver: leader changed",
            ),
            FaultKind::Unavailable => Failure::new(
                503,
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            ),
            FaultKind::Gone => {
                Failure::expired("The resourceVersion for the provided request is too old.")
            }
            FaultKind::Hang => {
                let mut ticks = self.shared.ticks();
                while self.shared.read(|state| state.faults.is_active(struck.id))
                    && ticks.changed().await.is_ok()
                {}
                return None;
            }
            _ => return None,
        })
    }

    /// Ends the connection without an answer.
    async fn cut(&self) -> Result<Response, Failure> {
        self.connection.cut();
        std::future::pending().await
    }

    fn handle(&self, body: &Value, lost: Option<&Struck>) -> Result<Outcome, Failure> {
        let request = &self.request;
        match request.verb {
            Verb::Get => self
                .shared
                .read(|state| state.get(&request.key()))
                .map(|object| Outcome::Answer(StatusCode::OK, request.view.object(&object))),
            Verb::List => self
                .shared
                .read(|state| list::list(state, request))
                .map(|list| Outcome::Answer(StatusCode::OK, list)),
            Verb::Watch => watch::open(self.shared, request.clone(), self.connection.clone())
                .map(Outcome::Stream),
            // Carried out and recorded under one lock, so that the record has the order of the store.
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete => {
                self.shared.change(|state| {
                    let other = another_writer(state, request);
                    let outcome = self.write(state, body);
                    let fault = lost.or(other.as_ref()).map(|struck| struck.kind.name());
                    match &outcome {
                        Ok(Outcome::Answer(status, object)) => {
                            self.record(state, body, status.as_u16(), Some(object), fault);
                        }
                        Ok(Outcome::Stream(_)) => {}
                        Err(failure) => self.record(state, body, failure.code, None, fault),
                    }
                    outcome
                })
            }
        }
    }

    fn write(&self, state: &mut State, body: &Value) -> Result<Outcome, Failure> {
        let request = &self.request;
        let key = request.key();
        self.check_body(body)?;
        match request.verb {
            Verb::Create => {
                let object = state.create(key.resource, &key.namespace, body.clone())?;
                Ok(Outcome::Answer(StatusCode::CREATED, Value::clone(&object)))
            }
            Verb::Update => Ok(answered(&*state.update(
                &key,
                request.part,
                body.clone(),
            )?)),
            Verb::Patch => Ok(answered(&*state.patch(&key, request.part, body)?)),
            _ => {
                let asked = |pointer| {
                    Some(text(body, pointer).to_owned()).filter(|value| !value.is_empty())
                };
                let preconditions = Preconditions {
                    uid: asked("/preconditions/uid"),
                    resource_version: asked("/preconditions/resourceVersion"),
                };
                match state.delete(&key, &preconditions)? {
                    Deleted::Waiting(object) => Ok(answered(&object)),
                    Deleted::Gone(last) => Ok(Outcome::Answer(
                        StatusCode::OK,
                        json!({
                            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                            "details": {"name": key.name, "group": key.resource.group(), "kind": key.resource.plural(),
                                        "uid": last["metadata"]["uid"]},
                        }),
                    )),
                }
            }
        }
    }

    /// Whether the body is of a type and form that the verb takes.
    fn check_body(&self, body: &Value) -> Result<(), Failure> {
        let request = &self.request;
        let supported = match request.verb {
            Verb::Patch => "application/merge-patch+json",
            Verb::Delete if self.body.is_empty() => return Ok(()),
            _ => "application/json",
        };
        if request.content_type != supported
            && !(request.content_type.is_empty() && request.verb != Verb::Patch)
        {
            // The simulator takes merge patches alone, but says what the real one would.
            return Err(Failure::unsupported_media_type(match request.verb {
                Verb::Patch => {
                    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
                }
                _ => supported,
            }));
        }
        let kind = match body {
            Value::Array(_) => "array",
            Value::String(_) => "string",
            _ => "",
        };
        if body.is_object() {
            Ok(())
        } else if request.verb == Verb::Patch && !kind.is_empty() {
            Err(Failure::bad_request(format!(
                "error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            )))
        } else {
            Err(Failure::bad_request(
                "the body of the request is not a JSON object",
            ))
        }
    }

    /// Keeps a write that a fault kept from being handled.
    fn record_unhandled(&self, body: &Value, answer: u16, fault: &'static str) {
        if self.request.verb.writes() {
            self.shared
                .quietly(|state| self.record(state, body, answer, None, Some(fault)));
        }
    }

    /// Keeps a write.
    fn record(
        &self,
        state: &mut State,
        body: &Value,
        answer: u16,
        answered: Option<&Value>,
        fault: Option<&'static str>,
    ) {
        let request = &self.request;
        let name_in_body = || text(answered.unwrap_or(body), "/metadata/name").to_owned();
        let gone = |object: &Value| object["kind"] == "Status";
        state.records.writes.push(Write {
            sequence: state.records.writes.len() as u64 + 1,
            at: Timestamp::now(),
            verb: request.verb,
            path: request.path.clone(),
            resource: request.resource,
            subresource: (request.part == Part::Status).then(|| "status".to_owned()),
            namespace: request.namespace.clone().unwrap_or_default(),
            name: request.name.clone().unwrap_or_else(name_in_body),
            content_type: request.content_type.clone(),
            body: body.clone(),
            answer,
            after: answered.map(|object| {
                if gone(object) {
                    Value::Null
                } else {
                    object.clone()
                }
            }),
            fault,
        });
    }
}

/// Faults that keep a request from being handled.
fn comes_before_handling(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Forbidden
            | FaultKind::Conflict
            | FaultKind::TooManyRequests { .. }
            | FaultKind::InternalError
            | FaultKind::Unavailable
            | FaultKind::Gone
            | FaultKind::Hang
            | FaultKind::CutConnection
    )
}

/// Lets someone else write first, if a fault says so.
fn another_writer(state: &mut State, request: &ApiRequest) -> Option<Struck> {
    let key = request.key();
    state.store.get(&key)?;
    let struck = state.faults.strike_request(&request.target(None), |kind| {
        matches!(kind, FaultKind::AnotherWriter { .. })
    })?;
    if let FaultKind::AnotherWriter { patch } = &struck.kind
        && let Err(failure) = state.patch(&key, Part::Main, patch)
    {
        tracing::warn!(%key, %failure, "the other writer's patch is refused");
    }
    Some(struck)
}

/// The object after a write, whole.
fn answered(object: &Value) -> Outcome {
    Outcome::Answer(StatusCode::OK, object.clone())
}
