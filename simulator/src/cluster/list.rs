//! Lists: of the present, or continued page by page at the version that the first page had.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::failure::Failure;
use super::request::ApiRequest;
use super::resource::{ObjectKey, Resource};
use super::selector::Selector;
use super::state::State;

/// Where a list goes on. Opaque to clients; the version has the name that it has in the real server's.
#[derive(Serialize, Deserialize)]
struct Continue {
    #[serde(rename = "rv")]
    revision: u64,
    namespace: String,
    name: String,
}

/// Answers a list.
pub(super) fn list(state: &State, request: &ApiRequest) -> Result<Value, Failure> {
    let selector = Selector::parse(
        request.resource,
        &request.query.fields,
        &request.query.labels,
    )?;
    let from = request
        .query
        .continue_token
        .as_deref()
        .map(read_token)
        .transpose()?;
    let revision = match &from {
        Some(from) => from.revision,
        None => revision_asked_for(state, request)?,
    };
    let all = state
        .store
        .all_at(revision, request.resource, request.namespace.as_deref())
        .map_err(|_expired| too_old(from.is_some()))?;
    let start = match from {
        Some(from) => Bound::Excluded(ObjectKey::new(
            request.resource,
            &from.namespace,
            &from.name,
        )),
        None => Bound::Unbounded,
    };
    Ok(page(request, &selector, &all, start, revision))
}

fn page(
    request: &ApiRequest,
    selector: &Selector,
    all: &BTreeMap<ObjectKey, Arc<Value>>,
    start: Bound<ObjectKey>,
    revision: u64,
) -> Value {
    let limit = request.query.limit.unwrap_or(usize::MAX);
    let mut items: Vec<(&ObjectKey, &Arc<Value>)> = all
        .range((start, Bound::Unbounded))
        .filter(|(_, object)| selector.wants(object))
        .collect();
    let remaining = items.len().saturating_sub(limit);
    items.truncate(limit);
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if request.resource == Resource::BareMetalHosts {
        // The real server says so of custom resources; of its own kinds it says nothing.
        metadata["continue"] = json!("");
    }
    if let (true, Some((last, _))) = (remaining > 0, items.last()) {
        metadata["continue"] = json!(token(revision, last));
        // As the real server does: it doesn't know how many of the rest a selector would take.
        if selector.is_empty() {
            metadata["remainingItemCount"] = json!(remaining);
        }
    }
    let objects = items.into_iter().map(|(_, object)| &**object);
    request.view.list(request.resource, metadata, objects)
}

fn revision_asked_for(state: &State, request: &ApiRequest) -> Result<u64, Failure> {
    let newest = state.store.revision();
    let Some(asked) = &request.query.resource_version else {
        return Ok(newest);
    };
    let asked = parse_revision(asked)?;
    if asked > newest {
        return Err(Failure::too_large_version(asked, newest));
    }
    Ok(if request.query.exact { asked } else { newest })
}

/// A `resourceVersion` from a query.
pub(super) fn parse_revision(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| {
        Failure::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": \
             invalid syntax"
        ))
    })
}

fn too_old(continued: bool) -> Failure {
    if continued {
        return Failure::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter.",
        );
    }
    Failure::expired("The resourceVersion for the provided list is too old.")
}

fn token(revision: u64, last: &ObjectKey) -> String {
    let token = Continue {
        revision,
        namespace: last.namespace.clone(),
        name: last.name.clone(),
    };
    URL_SAFE_NO_PAD.encode(json!(token).to_string())
}

fn read_token(token: &str) -> Result<Continue, Failure> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let token = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    token.ok_or_else(|| Failure::bad_request("continue key is not valid"))
}
