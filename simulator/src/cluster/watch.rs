//! Watches: a stream of changes, one JSON object a line, from a version on.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::header;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::failure::Failure;
use super::fault::FaultKind;
use super::list::parse_revision;
use super::request::ApiRequest;
use super::selector::Selector;
use super::state::{Shared, State};
use super::store::Change;
use crate::listener::Connection;

/// A watch without `timeoutSeconds` ends by itself after this; the real server takes 30 to 60 minutes.
const LONGEST_WATCH: Duration = Duration::from_secs(1800);

/// One open watch.
struct Watch {
    shared: Arc<Shared>,
    request: ApiRequest,
    selector: Selector,
    connection: Connection,
    ticks: watch::Receiver<()>,
    /// All changes up to this version are sent or in `lines`.
    position: u64,
    lines: VecDeque<Bytes>,
    deadline: Instant,
    next_bookmark: Instant,
    ended: bool,
    number: u64,
}

/// Opens a watch.
pub(super) fn open(
    shared: &Arc<Shared>,
    request: ApiRequest,
    connection: Connection,
) -> Result<Response, Failure> {
    let selector = Selector::parse(
        request.resource,
        &request.query.fields,
        &request.query.labels,
    )?;
    let from = request
        .query
        .resource_version
        .as_deref()
        .map(parse_revision)
        .transpose()?
        .filter(|from| *from > 0);
    let timeout = request
        .query
        .timeout_seconds
        .map_or(LONGEST_WATCH, Duration::from_secs);
    let now = Instant::now();
    let ticks = shared.ticks();
    let mut lines = VecDeque::new();
    let (position, number) = shared.change(|state| {
        let number = state.open_watch(connection.clone());
        let newest = state.store.revision();
        // Without a version to begin after, what is there comes first, as added.
        if from.is_none() || request.query.initial_events {
            lines = initial(state, &request, &selector);
            return (newest, number);
        }
        (from.unwrap_or(newest), number)
    });
    let watch = Watch {
        next_bookmark: now + shared.bookmark_every,
        deadline: now + timeout,
        shared: shared.clone(),
        request,
        selector,
        connection,
        ticks,
        position,
        lines,
        ended: false,
        number,
    };
    let body = Body::from_stream(stream::unfold(watch, Watch::next));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn initial(state: &State, request: &ApiRequest, selector: &Selector) -> VecDeque<Bytes> {
    let objects = state
        .store
        .all(request.resource, request.namespace.as_deref());
    let wanted = objects.iter().filter(|object| selector.wants(object));
    let mut lines: VecDeque<Bytes> = wanted
        .map(|object| line("ADDED", request.view.object(object)))
        .collect();
    if request.query.initial_events && request.query.bookmarks {
        let mut bookmark = bookmark(request, state.store.revision());
        bookmark["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        lines.push_back(line("BOOKMARK", bookmark));
    }
    lines
}

fn line(event: &str, object: Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": event, "object": object})))
}

fn bookmark(request: &ApiRequest, revision: u64) -> Value {
    let (kind, api_version) = request.view.type_of(request.resource);
    json!({"kind": kind, "apiVersion": api_version,
           "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null}})
}

impl Watch {
    /// The next line; none at the end.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            self.ticks.mark_unchanged();
            self.meet_faults().await;
            if let Some(line) = self.lines.pop_front() {
                return Some((Ok(line), self));
            }
            if self.ended {
                return None;
            }
            self.collect();
            if !self.lines.is_empty() || self.ended {
                continue;
            }
            let with_bookmarks = self.request.query.bookmarks;
            tokio::select! {
                changed = self.ticks.changed() => self.ended = changed.is_err(),
                () = sleep_until(self.next_bookmark), if with_bookmarks => self.push_bookmark(),
                () = sleep_until(self.deadline) => {
                    self.ended = true;
                    // A last bookmark spares the client from reading again what it has seen.
                    if with_bookmarks {
                        self.push_bookmark();
                    }
                }
            }
        }
    }

    fn push_bookmark(&mut self) {
        self.lines
            .push_back(line("BOOKMARK", bookmark(&self.request, self.position)));
        self.next_bookmark = Instant::now() + self.shared.bookmark_every;
    }

    /// A dropped watch never gets past this point.
    async fn meet_faults(&mut self) {
        if self.ended {
            return;
        }
        let ends_watch =
            |kind: &FaultKind| matches!(kind, FaultKind::DropWatch | FaultKind::ExpireWatch);
        let struck = self.shared.quietly(|state| {
            state
                .faults
                .strike_request(&self.request.target(None), ends_watch)
        });
        match struck.map(|struck| struck.kind) {
            Some(FaultKind::DropWatch) => {
                self.connection.cut();
                std::future::pending::<()>().await;
            }
            Some(_) => {
                self.lines
                    .push_back(line("ERROR", too_old(self.position, self.position + 1)));
                self.ended = true;
            }
            None => {}
        }
    }

    /// Turns what happened since the last time into lines.
    fn collect(&mut self) {
        if self.ended {
            return;
        }
        let (request, selector) = (&self.request, &self.selector);
        let (lines, position) = self.shared.read(|state| {
            let position = state.store.revision().max(self.position);
            match state.store.changes_after(self.position) {
                Ok(changes) => {
                    let lines = changes
                        .iter()
                        .filter_map(|change| event(request, selector, change))
                        .collect();
                    (Ok::<Vec<Bytes>, u64>(lines), position)
                }
                Err(expired) => (Err(expired.oldest), position),
            }
        });
        match lines {
            Ok(lines) => self.lines.extend(lines),
            Err(oldest) => {
                self.lines
                    .push_back(line("ERROR", too_old(self.position, oldest)));
                self.ended = true;
            }
        }
        self.position = position;
    }
}

/// What the real server sends as an event, with HTTP status 200, when a watch begins too far in the past.
fn too_old(asked: u64, oldest: u64) -> Value {
    Failure::expired(format!("too old resource version: {asked} ({oldest})")).to_status()
}

/// How a change looks to one watch, if it concerns it: an object that begins or ceases to fit the selector is added or
/// deleted.
fn event(request: &ApiRequest, selector: &Selector, change: &Change) -> Option<Bytes> {
    let concerned = change.key.resource == request.resource
        && request
            .namespace
            .as_deref()
            .is_none_or(|namespace| namespace == change.key.namespace);
    if !concerned {
        return None;
    }
    let fitted = change
        .previous
        .as_ref()
        .is_some_and(|previous| selector.wants(previous));
    let fits = !change.deleted && selector.wants(&change.object);
    let event = match (fitted, fits) {
        (false, false) => return None,
        (false, true) => "ADDED",
        (true, true) => "MODIFIED",
        (true, false) => "DELETED",
    };
    Some(line(event, request.view.object(&change.object)))
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared
            .quietly(|state| state.open_watches.remove(&self.number));
    }
}
