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

/// How long a request may be on its way when its connection ends: far longer than a network takes.
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
    let is_left_idle = match ended {
        Some(Ok(())) => false,
        // A client that was silent for too long may begin to speak just now.
        Some(Err(error)) => {
            tracing::debug!(%error, "connection ended");
            error.is_timeout() && guest.may_send_a_request()
        }
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            let polled = poll_fn(|context| Poll::Ready(connection.poll_without_shutdown(context)));
            let is_over = polled.await.is_ready();
            let is_left_idle = is_over && guest.may_send_a_request();
            if !is_left_idle && let Err(error) = (&mut connection).await {
                tracing::debug!(%error, "connection ended");
            }
            is_left_idle
        }
    };
    if is_left_idle {
        take_leave(http, connection.into_parts()).await;
    }
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
