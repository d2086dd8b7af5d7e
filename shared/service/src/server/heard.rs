//! The router behind one connection, and who of the two is waited for.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::response::Response;
use http::HeaderValue;
use http::header::CONNECTION;
use hyper::Request;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;

use super::places::Guest;

/// The router as one connection sees it.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    router: TowerToHyperService<Router>,
    guest: Arc<Guest>,
    stop: CancellationToken,
}

impl Heard {
    /// Once `stop` is cancelled each answer is the last one of its connection.
    pub(super) fn new(router: Router, guest: Arc<Guest>, stop: CancellationToken) -> Self {
        Self {
            router: TowerToHyperService::new(router),
            guest,
            stop,
        }
    }

    pub(super) fn guest(&self) -> Arc<Guest> {
        Arc::clone(&self.guest)
    }
}

impl Service<Request<Incoming>> for Heard {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Self {
            router,
            guest,
            stop,
        } = self.clone();
        guest.client_is_next();
        guest.set_may_send_a_request(false);
        let request = request.map(|body| HeardBody::new(body, Arc::clone(&guest)));
        Box::pin(async move {
            let mut answer = router.call(request).await?;
            if stop.is_cancelled() {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            guest.client_is_next();
            guest.set_may_send_a_request(!answer.headers().contains_key(CONNECTION));
            Ok(answer)
        })
    }
}

/// A request's body; at its end the client waits for us.
#[derive(Debug)]
struct HeardBody {
    body: Incoming,
    guest: Arc<Guest>,
}

impl HeardBody {
    fn new(body: Incoming, guest: Arc<Guest>) -> Self {
        if body.is_end_stream() {
            guest.we_are_next();
        }
        Self { body, guest }
    }
}

impl Body for HeardBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let is_over = matches!(polled, Poll::Ready(None | Some(Err(_))));
        if is_over || self.body.is_end_stream() {
            self.guest.we_are_next();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
