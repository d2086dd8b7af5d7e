//! One connection from its first request to its end, and a request that crosses that end.
//!
//! HTTP/1.1 has no word for "no request any more": whoever closes an idle connection may meet a request that is on its way
//! already, and a webhook's sender does not send it again. So at the end of an idle connection we only cease to speak (TCP's
//! half-close); what comes within a moment is still handled, though its sender gets no answer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Buf as _, Bytes};
use hyper::server::conn::http1::{Builder, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::heard::Heard;
use super::places::Guest;

/// How long something may be on its way when its connection ends: far longer than a network takes.
const CROSSING: Duration = Duration::from_secs(1);

/// Answers the requests of one connection until its client ends it, was silent for too long, or the server closes.
pub(super) async fn converse<S>(
    http: &Builder,
    stream: S,
    service: Heard,
    closing: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let guest = service.guest();
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        // What has arrived is read before the connection is closed.
        biased;
        ended = &mut connection => Some(ended),
        () = closing.cancelled() => None,
    };
    let end = match ended {
        Some(ended) => End::of(ended, &guest),
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            let polled = poll_fn(|context| Poll::Ready(connection.poll_without_shutdown(context)));
            if polled.await.is_ready() && guest.may_send_a_request() {
                End::Idle
            } else {
                End::of((&mut connection).await, &guest)
            }
        }
    };
    match end {
        End::Complete => {}
        End::Idle => take_leave(http, connection.into_parts()).await,
        End::NotUnderstood => hear_out(connection.into_parts().io.into_inner()).await,
    }
}

/// How a connection ended.
enum End {
    /// Nothing is left to be said or heard.
    Complete,
    /// The server closes, or its client was silent for too long: it may begin to speak just now.
    Idle,
    /// Its client was told why it was not understood, and may speak yet.
    NotUnderstood,
}

impl End {
    fn of(ended: Result<(), hyper::Error>, guest: &Guest) -> Self {
        let Err(error) = ended else {
            return Self::Complete;
        };
        tracing::debug!(%error, "connection ended");
        if error.is_parse() {
            Self::NotUnderstood
        } else if error.is_timeout() && guest.may_send_a_request() {
            Self::Idle
        } else {
            Self::Complete
        }
    }
}

/// Reads for a moment what is not wanted: closed with something unread, TCP would take the answer back before its client reads
/// it.
async fn hear_out(mut stream: impl AsyncRead + Unpin) {
    let mut unwanted = vec![0; 8192];
    let all = async { while matches!(stream.read(&mut unwanted).await, Ok(1..)) {} };
    // Whoever speaks on has had its time.
    let _ = tokio::time::timeout(CROSSING, all).await;
}

/// Ends our half of an idle connection, and handles a request that crosses its end.
async fn take_leave<S>(http: &Builder, parts: Parts<TokioIo<S>, Heard>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut stream, mut begun) = (parts.io.into_inner(), parts.read_buf);
    let first = async {
        stream.shutdown().await?;
        if begun.is_empty() {
            let mut byte = [0];
            let read = stream.read(&mut byte).await?;
            begun = Bytes::copy_from_slice(&byte[..read]);
        }
        io::Result::Ok(begun)
    };
    let Ok(Ok(begun)) = tokio::time::timeout(CROSSING, first).await else {
        return;
    };
    if begun.is_empty() {
        return;
    }
    tracing::info!(
        "a request crossed the end of its connection: it is handled, and can't be answered"
    );
    let mut http = http.clone();
    // Whoever sees our end will end too: that is no reason to drop what it asked for.
    http.keep_alive(false).half_close(true);
    let unanswered = TokioIo::new(Unanswered { begun, stream });
    if let Err(error) = http.serve_connection(unanswered, parts.service).await {
        tracing::debug!(%error, "connection ended");
    }
}

/// A connection that is only listened to, with what was heard of it already.
struct Unanswered<S> {
    begun: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Unanswered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.begun.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.begun.len().min(buffer.remaining());
        buffer.put_slice(&self.begun[..length]);
        self.begun.advance(length);
        Poll::Ready(Ok(()))
    }
}

/// Nothing that is written goes anywhere.
impl<S: Unpin> AsyncWrite for Unanswered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
