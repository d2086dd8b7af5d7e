//! Reads a body within its limits of size and time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Bodies up to this size are small, in bytes: real ones have at most some ten thousand.
pub(crate) const SMALL: usize = 64 * 1024;
/// How many larger ones are read, checked and stored at once.
const LARGE_AT_ONCE: usize = 16;

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

/// Where bodies that are larger than any real one wait before more of them is read, so that however many come at once,
/// few are in memory. Who waits has not said all of it, so that its connection still makes room for others.
#[derive(Debug)]
pub(crate) struct LargeBodies {
    room: Arc<Semaphore>,
}

/// The room that a large body takes until this is dropped; nothing for a small one.
#[derive(Debug)]
pub(crate) struct Room {
    _taken: Option<OwnedSemaphorePermit>,
}

impl LargeBodies {
    pub(crate) fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
        }
    }

    /// Reads a whole body. Never more than `max_bytes` and one frame of it are kept.
    pub(crate) async fn read(
        &self,
        body: Body,
        max_bytes: usize,
        time: Duration,
    ) -> Result<(Bytes, Room), BodyRefused> {
        let deadline = Instant::now() + time;
        let too_large = BodyRefused::TooLarge { limit: max_bytes };
        let too_slow = BodyRefused::TooSlow { limit: time };
        // Of one that says beforehand that it is too large nothing is kept at all.
        let mut is_over = body.size_hint().lower() > max_bytes as u64;
        let mut frames = body.into_data_stream();
        let (mut kept, mut taken) = (BytesMut::new(), None);
        let mut seen: u64 = 0;
        loop {
            match timeout_at(deadline, frames.next()).await {
                Ok(Some(Ok(frame))) => {
                    seen += frame.len() as u64;
                    if is_over || seen > max_bytes as u64 {
                        is_over = true;
                        (kept, taken) = (BytesMut::new(), None);
                        if seen > THROWN_AWAY * max_bytes as u64 {
                            return Err(too_large);
                        }
                        continue;
                    }
                    if seen > SMALL as u64 && taken.is_none() {
                        let room = timeout_at(deadline, Arc::clone(&self.room).acquire_owned());
                        taken = room.await.map_err(|_| too_slow)?.ok();
                    }
                    kept.extend_from_slice(&frame);
                }
                _ if is_over => return Err(too_large),
                Ok(None) => return Ok((kept.freeze(), Room { _taken: taken })),
                Ok(Some(Err(_))) => return Err(BodyRefused::CutOff),
                Err(_) => return Err(too_slow),
            }
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

    async fn read(body: Body, max_bytes: usize, time: Duration) -> Result<Bytes, BodyRefused> {
        let read = LargeBodies::new().read(body, max_bytes, time).await;
        read.map(|(bytes, _room)| bytes)
    }

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

    #[tokio::test(start_paused = true)]
    async fn of_many_large_bodies_few_are_read_at_once_and_small_ones_pass_them_by() {
        let bodies = LargeBodies::new();
        let large = || bodies.read(frames(&[SMALL, 1]), 2 * SMALL, MINUTE);
        let mut in_memory = Vec::new();
        for _ in 0..LARGE_AT_ONCE {
            in_memory.push(large().await.unwrap());
        }
        assert_eq!(
            large().await.unwrap_err(),
            BodyRefused::TooSlow { limit: MINUTE }
        );
        let small = bodies.read(frames(&[SMALL]), 2 * SMALL, MINUTE).await;
        assert_eq!(small.unwrap().0.len(), SMALL);
        // Nor does one wait that says that it is too large.
        let huge = Body::from(vec![b'x'; 2 * SMALL + 1]);
        let huge = bodies.read(huge, 2 * SMALL, MINUTE);
        assert_eq!(
            huge.await.unwrap_err(),
            BodyRefused::TooLarge { limit: 2 * SMALL }
        );
        in_memory.pop();
        assert_eq!(large().await.unwrap().0.len(), SMALL + 1);
    }
}
