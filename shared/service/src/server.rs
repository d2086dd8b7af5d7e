//! An HTTP server with limits, which ends in order.
//!
//! `axum::serve` has no limit on connections and none on the time a client takes to send its request's head; both
//! matter where anyone can connect. The size of a body and the time of a whole request are layers of the router.

mod conversation;
mod heard;
mod places;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use conversation::converse;
use heard::Heard;
use places::{Place, Places};

use crate::tls::Certificate;

/// When the server stops, those who stand at the door are let in for so long at most.
const AT_THE_DOOR: Duration = Duration::from_secs(1);
/// If nobody came in for so long, nobody stands there: long enough to hear of a connection, and to get a place.
const NOBODY_MORE: Duration = Duration::from_millis(20);
/// What hyper needs at least for its buffer.
const LEAST_HEAD_BYTES: usize = 8192;

/// What one server allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections open at once. For a further one the connection is closed that its client has left silent longest, so
    /// that silence keeps nobody out, no probe either; none that waits for our answer is ever closed for it.
    pub connections: usize,
    /// How much of a request's head (its first line and its headers) is kept while the rest of it is waited for; a head that is
    /// not over by then is answered 431. At least 8192, and there are at most 100 headers whatever it is.
    pub head_bytes: usize,
    /// The time for a request's head, and so also for which an idle connection is kept. Java's client drops idle
    /// connections after 5 s of its own accord, so that it never meets one that we just closed.
    pub header_time: Duration,
    /// How long all goes on after the shutdown began, but that each answer ends its connection: until nobody leads
    /// clients here any more, and those that are here have gone elsewhere.
    pub shutdown_delay: Duration,
    /// How long requests that are under way may take to end after that.
    pub drain_time: Duration,
}

impl Limits {
    /// How long it takes at most to end.
    #[must_use]
    pub fn stop_time(&self) -> Duration {
        self.shutdown_delay.saturating_add(self.drain_time)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head_bytes: LEAST_HEAD_BYTES * 4,
            header_time: Duration::from_secs(30),
            shutdown_delay: Duration::ZERO,
            drain_time: Duration::from_secs(10),
        }
    }
}

/// Serves until the token is cancelled; [`Limits`] are the default ones.
///
/// # Errors
/// None at present: what goes wrong with one connection ends that connection only.
pub fn serve(
    router: Router,
    listener: TcpListener,
    token: CancellationToken,
) -> impl Future<Output = io::Result<()>> {
    serve_within(router, listener, token, Limits::default())
}

/// Serves until the token is cancelled, then lets open requests end.
///
/// # Errors
/// As [`serve`].
pub async fn serve_within(
    router: Router,
    listener: TcpListener,
    token: CancellationToken,
    limits: Limits,
) -> io::Result<()> {
    serve_over(router, listener, token, limits, None).await
}

/// As [`serve_within`], over TLS where there is a certificate. The time for a head is also that for a handshake.
///
/// # Errors
/// As [`serve`].
pub async fn serve_over(
    router: Router,
    listener: TcpListener,
    token: CancellationToken,
    limits: Limits,
    certificate: Option<Certificate>,
) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .max_buf_size(limits.head_bytes.max(LEAST_HEAD_BYTES))
        .header_read_timeout(limits.header_time);
    let mut places = Places::new(limits.connections);
    let (connections, closing) = (TaskTracker::new(), CancellationToken::new());
    let tls = certificate.map(|it| TlsAcceptor::from(it.server_config()));
    let welcome = |stream, place: Place| {
        let service = Heard::new(router.clone(), place.guest(), token.clone());
        let (http, tls, closing) = (http.clone(), tls.clone(), closing.clone());
        let talk = async move {
            match tls {
                None => converse(&http, stream, service, &closing).await,
                Some(tls) => {
                    let shaken = tokio::time::timeout(limits.header_time, tls.accept(stream));
                    match shaken.await {
                        Ok(Ok(stream)) => converse(&http, stream, service, &closing).await,
                        Ok(Err(error)) => tracing::debug!(%error, "no TLS connection"),
                        Err(_) => tracing::debug!("the TLS handshake took too long"),
                    }
                }
            }
        };
        connections.spawn(async move {
            tokio::select! {
                biased;
                () = talk => {}
                () = place.needed() => tracing::debug!("a silent connection was closed for another one"),
            }
        });
    };

    let mut told_and_waited = pin!(async {
        token.cancelled().await;
        tokio::time::sleep(limits.shutdown_delay).await;
    });
    loop {
        tokio::select! {
            () = &mut told_and_waited => break,
            accepted = accept(&listener, &mut places) => match accepted {
                Ok((stream, place)) => welcome(stream, place),
                Err(error) => {
                    // Too many open files, or a client that is gone already: waiting is all there is to do.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    // Who stands at the door already is let in: the kernel took the connection, and maybe the request.
    let door_closes = Instant::now() + AT_THE_DOOR;
    while Instant::now() < door_closes {
        let come_in = tokio::time::timeout(NOBODY_MORE, accept(&listener, &mut places));
        match come_in.await {
            Ok(Ok((stream, place))) => welcome(stream, place),
            Ok(Err(_)) | Err(_) => break,
        }
    }

    drop(listener);
    closing.cancel();
    connections.close();
    if tokio::time::timeout(limits.drain_time, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            "requests still open after {} s are cut off",
            limits.drain_time.as_secs()
        );
    }
    Ok(())
}

/// Only a client that is really there takes a place from another one.
async fn accept(listener: &TcpListener, places: &mut Places) -> io::Result<(TcpStream, Place)> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, places.take().await))
}
