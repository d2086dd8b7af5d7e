//! Reads a body within its limits of size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::time::{Instant, timeout_at};

/// How much of a body that is too large is read and thrown away, in multiples of the limit: a client that is still
/// writing when the connection closes sees a reset instead of the answer.
const THROWN_AWAY: u64 = 4;

/// Why a body was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyRefused {
    /// It has more bytes than the limit.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// It did not come in time.
    #[error("the body did not come within {} s", limit.as_secs())]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// The connection broke, or the body is not framed as HTTP says.
    #[error("the body ended too early")]
    CutOff,
}

/// Reads a whole body. Never more than `max_bytes` and one frame of it are kept.
pub(crate) async fn read(
    body: Body,
    max_bytes: usize,
    time: Duration,
) -> Result<Bytes, BodyRefused> {
    let deadline = Instant::now() + time;
    let too_large = BodyRefused::TooLarge { limit: max_bytes };
    let mut frames = body.into_data_stream();
    let mut kept = BytesMut::new();
    let mut seen: u64 = 0;
    loop {
        let is_over = seen > max_bytes as u64;
        match timeout_at(deadline, frames.next()).await {
            Ok(Some(Ok(frame))) => {
                seen += frame.len() as u64;
                if seen <= max_bytes as u64 {
                    kept.extend_from_slice(&frame);
                } else if seen > THROWN_AWAY * max_bytes as u64 {
                    return Err(too_large);
                } else {
                    kept = BytesMut::new();
                }
            }
            _ if is_over => return Err(too_large),
            Ok(None) => return Ok(kept.freeze()),
            Ok(Some(Err(_))) => return Err(BodyRefused::CutOff),
            Err(_) => return Err(BodyRefused::TooSlow { limit: time }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use futures::stream;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn frames(sizes: &'static [usize]) -> Body {
        let frames = sizes
            .iter()
            .map(|size| Ok::<_, Infallible>(Bytes::from(vec![b'x'; *size])));
        Body::from_stream(stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_of_just_the_limit_is_read_whole() {
        assert_eq!(
            read(frames(&[3, 4, 3]), 10, MINUTE).await.unwrap().len(),
            10
        );
        assert_eq!(read(Body::empty(), 10, MINUTE).await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn a_body_of_one_byte_more_is_too_large() {
        let refused = BodyRefused::TooLarge { limit: 10 };
        assert_eq!(read(frames(&[3, 8]), 10, MINUTE).await, Err(refused));
        assert_eq!(read(frames(&[11]), 10, MINUTE).await, Err(refused));
    }

    #[tokio::test]
    async fn a_body_without_end_is_left_soon() {
        let endless = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(b"xxxxx")));
        let refused = read(Body::from_stream(endless), 10, MINUTE).await;
        assert_eq!(refused, Err(BodyRefused::TooLarge { limit: 10 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_too_slow() {
        let stalled = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"{")) })
            .chain(stream::pending());
        let refused = read(Body::from_stream(stalled), 10, MINUTE).await;
        assert_eq!(refused, Err(BodyRefused::TooSlow { limit: MINUTE }));
    }

    #[tokio::test]
    async fn a_body_that_breaks_is_cut_off() {
        let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(io::Error::other("reset"))]);
        let refused = read(Body::from_stream(broken), 10, MINUTE).await;
        assert_eq!(refused, Err(BodyRefused::CutOff));
    }
}
