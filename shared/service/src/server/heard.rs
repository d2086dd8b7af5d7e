//! The router behind one connection, and who of the two is waited for.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::places::Guest;

/// The router as one connection sees it.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    router: TowerToHyperService<Router>,
    guest: Arc<Guest>,
}

impl Heard {
    pub(super) fn new(router: Router, guest: Arc<Guest>) -> Self {
        Self {
            router: TowerToHyperService::new(router),
            guest,
        }
    }
}

impl Service<Request<Incoming>> for Heard {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let Self { router, guest } = self.clone();
        guest.client_is_next();
        let request = request.map(|body| HeardBody::new(body, Arc::clone(&guest)));
        Box::pin(async move {
            let answer = router.call(request).await;
            guest.client_is_next();
            answer
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
