//! Checks who signed a body, without letting large bodies of strangers hold up everybody else.
//!
//! Every configured secret is tried over the whole body: 64 hashes of it, before anybody is known. For a real body that
//! is nothing; for one of `MAX_BODY_BYTES` it takes a worker so long that others would wait for it.

use std::sync::Arc;

use bellhop_reservation_system::WebhookSecrets;
use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::Semaphore;

use crate::body::SMALL;
use crate::sender::{Sender, Unauthorized};

/// How many bodies that are not small are checked at a time: the rest of the machine is for everybody else.
const LARGE_AT_A_TIME: usize = 1;

/// Where bodies are checked.
#[derive(Debug)]
pub(crate) struct Verification {
    large: Arc<Semaphore>,
}

impl Verification {
    pub(crate) fn new() -> Self {
        Self {
            large: Arc::new(Semaphore::new(LARGE_AT_A_TIME)),
        }
    }

    /// Whose word a body is, by its signature; a large one waits for its turn.
    pub(crate) async fn verify(
        &self,
        secrets: Arc<WebhookSecrets>,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Sender, Unauthorized> {
        // Who does not even claim to know a secret costs nothing.
        let Some(signature) = Sender::signature(&secrets, headers)? else {
            return Ok(Sender::Anyone);
        };
        if body.len() <= SMALL {
            return Sender::signed(&secrets, &signature, body);
        }
        let turn = Arc::clone(&self.large).acquire_owned().await;
        let body = body.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let sender = Sender::signed(&secrets, &signature, &body);
            // Kept to here even if the client hangs up.
            drop(turn);
            sender
        });
        // It fails only if the process is ending, and then nobody is known.
        checked.await.unwrap_or(Err(Unauthorized::WrongSignature))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bellhop_reservation_system::{SIGNATURE_HEADER, WebhookSecret, sign};
    use futures::FutureExt as _;
    use http::HeaderValue;

    use super::*;

    fn signed(body: &[u8]) -> HeaderMap {
        let signature = sign(&WebhookSecret::new("secret").unwrap(), body);
        HeaderMap::from_iter([(
            SIGNATURE_HEADER.parse().unwrap(),
            HeaderValue::from_str(&signature).unwrap(),
        )])
    }

    #[tokio::test]
    async fn large_bodies_wait_for_each_other_and_nobody_waits_for_them() {
        let secret = WebhookSecret::new("secret").unwrap();
        let secrets = Arc::new(WebhookSecrets::new(vec![secret], Default::default()).unwrap());
        let verification = Verification::new();
        let small = Bytes::from(vec![b'x'; SMALL]);
        let large = Bytes::from(vec![b'x'; SMALL + 1]);
        let (of_small, of_large, of_nobody) = (signed(&small), signed(&large), HeaderMap::new());
        let verify = |headers, body| verification.verify(Arc::clone(&secrets), headers, body);

        let busy = verification.large.acquire().await.unwrap();
        let mut waiting = std::pin::pin!(verify(&of_large, &large));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(verify(&of_small, &small).now_or_never().unwrap().is_ok());
        // Who has no signature at all need not wait to hear so.
        let refused = verify(&of_nobody, &large).now_or_never().unwrap();
        assert_eq!(refused, Err(Unauthorized::NotSigned));

        drop(busy);
        assert!(waiting.await.is_ok());
        assert_eq!(
            verify(&of_small, &large).await,
            Err(Unauthorized::WrongSignature)
        );
    }
}
