//! The receiving side: the two callback endpoints, with faults on demand.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::callback::{Reply, handle};
use super::fault::{Endpoint, FaultKind};
use super::record::Received;
use super::{
    NOTIFICATION_PATH, ReservationSystem, ReservationSystemError, WEBHOOK_LOG_PATH, control,
};
use crate::listener::{Connection, CuttableListener};

/// The open port.
pub(super) struct Listening {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listening {
    /// Closes the port and cuts every connection.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // It only ever ends by this token; had it panicked, the port is closed too.
        let _ended = self.task.await;
    }
}

pub(super) async fn bind(
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), ReservationSystemError> {
    let failed = |source| ReservationSystemError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

pub(super) fn serve(system: &ReservationSystem, listener: TcpListener) -> Listening {
    let system = system.for_a_task();
    let stop = system.core.life.child_token();
    let listener = CuttableListener {
        listener,
        stop: stop.clone(),
    };
    let router = Router::new()
        .route(NOTIFICATION_PATH, post(receive_notification))
        .route(WEBHOOK_LOG_PATH, post(receive_webhook_log))
        .merge(control::router())
        .with_state(system);
    let service = router.into_make_service_with_connect_info::<Connection>();
    let task = tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::select! {
                _ = axum::serve(listener, service) => {}
                () = stop.cancelled() => {}
            }
        }
    });
    Listening { stop, task }
}

async fn receive_notification(
    State(system): State<ReservationSystem>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    system
        .receive(
            Endpoint::Notifications,
            connection,
            uri.path(),
            headers,
            body,
        )
        .await
}

async fn receive_webhook_log(
    State(system): State<ReservationSystem>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    system
        .receive(Endpoint::WebhookLog, connection, uri.path(), headers, body)
        .await
}

impl ReservationSystem {
    async fn receive(
        &self,
        endpoint: Endpoint,
        connection: Connection,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Response {
        let fault = self.state().next_fault(endpoint);
        let sequence = self.record(endpoint, path, &headers, &body, fault.clone());
        if let Some(delay) = fault.as_ref().and_then(FaultKind::delay) {
            tokio::time::sleep(delay).await;
        }
        let work = || {
            handle(
                &mut self.state(),
                endpoint,
                &headers,
                &body,
                Timestamp::now(),
            )
        };
        match fault {
            Some(FaultKind::Hang) => std::future::pending().await,
            Some(FaultKind::CutConnection) => cut(&connection),
            Some(FaultKind::LoseAnswer) => {
                work();
                self.tell_waiting();
                cut(&connection)
            }
            Some(FaultKind::InternalError) => self.answer(sequence, Reply::internal_error()),
            Some(FaultKind::TooManyRequests {
                retry_after_seconds,
            }) => {
                let wait = [(header::RETRY_AFTER, retry_after_seconds.to_string())];
                (wait, self.answer(sequence, Reply::too_many_requests())).into_response()
            }
            Some(FaultKind::Slow { .. }) | None => {
                let reply = work();
                self.answer(sequence, reply)
            }
        }
    }

    fn record(
        &self,
        endpoint: Endpoint,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
        fault: Option<FaultKind>,
    ) -> u64 {
        let text = |value: &axum::http::HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        let mut state = self.state();
        let sequence = state.received.len() as u64 + 1;
        state.received.push(Received {
            sequence,
            at: Timestamp::now(),
            endpoint,
            path: path.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), text(value)))
                .collect(),
            traceparent: headers.get("traceparent").map(text),
            body: body.clone(),
            fault,
            status: None,
            answer: String::new(),
        });
        drop(state);
        self.tell_waiting();
        sequence
    }

    fn answer(&self, sequence: u64, reply: Reply) -> Response {
        if let Some(received) = self
            .state()
            .received
            .last_mut(|received| received.sequence == sequence)
        {
            received.status = Some(reply.status.as_u16());
            received.answer.clone_from(&reply.body);
        }
        self.tell_waiting();
        (
            reply.status,
            [(header::CONTENT_TYPE, "application/json")],
            reply.body,
        )
            .into_response()
    }
}

/// The status never leaves: the connection fails at the first byte of it.
fn cut(connection: &Connection) -> Response {
    connection.cut();
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
