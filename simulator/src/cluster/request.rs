//! A request of the Kubernetes API, read from method, path and query.

use axum::extract::Query;
use http::{HeaderMap, Method, Uri, header};

use super::admission::Part;
use super::failure::Failure;
use super::fault::Target;
use super::resource::{ObjectKey, Resource, Verb};
use super::view::View;

/// What a request asks for.
#[derive(Debug, Clone)]
pub(super) struct ApiRequest {
    pub(super) verb: Verb,
    pub(super) resource: Resource,
    /// None: all namespaces.
    pub(super) namespace: Option<String>,
    /// None: the collection.
    pub(super) name: Option<String>,
    pub(super) part: Part,
    pub(super) path: String,
    pub(super) query: ListQuery,
    pub(super) content_type: String,
    /// Who asks, if he says so.
    pub(super) bearer_token: Option<String>,
    /// How the client wants to see objects.
    pub(super) view: View,
}

/// The parameters of lists and watches.
#[derive(Debug, Clone, Default)]
pub(super) struct ListQuery {
    pub(super) limit: Option<usize>,
    pub(super) continue_token: Option<String>,
    pub(super) resource_version: Option<String>,
    pub(super) exact: bool,
    version_match: String,
    pub(super) fields: String,
    pub(super) labels: String,
    pub(super) watch: bool,
    pub(super) bookmarks: bool,
    pub(super) initial_events: bool,
    pub(super) timeout_seconds: Option<u64>,
}

impl ApiRequest {
    /// Reads a request; the failures are what the API server says of a path or method it doesn't know.
    pub(super) fn read(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Self, Failure> {
        let query = ListQuery::read(uri)?;
        let segments: Vec<String> = uri
            .path()
            .trim_matches('/')
            .split('/')
            .map(percent_decoded)
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (group, rest) = match segments.as_slice() {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", "metal3.io", "v1alpha1", rest @ ..] => ("metal3.io", rest),
            _ => return Err(Failure::unknown_path()),
        };
        let (namespace, resource, name, subresource) = match rest {
            ["namespaces", namespace, resource] => (Some(*namespace), *resource, None, None),
            ["namespaces", namespace, resource, name] => {
                (Some(*namespace), *resource, Some(*name), None)
            }
            ["namespaces", namespace, resource, name, sub] => {
                (Some(*namespace), *resource, Some(*name), Some(*sub))
            }
            [resource] => (None, *resource, None, None),
            _ => return Err(Failure::unknown_path()),
        };
        let known = Resource::ALL
            .into_iter()
            .find(|known| known.plural() == resource && known.group() == group);
        let resource = known.ok_or_else(Failure::unknown_path)?;
        let part = match subresource {
            None => Part::Main,
            Some("status") if resource == Resource::BareMetalHosts => Part::Status,
            Some(_) => return Err(Failure::unknown_path()),
        };
        let verb = verb(method, name.is_some(), query.watch, namespace.is_some())?;
        if part == Part::Status && verb == Verb::Delete {
            return Err(Failure::method_not_allowed());
        }
        let of_header = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let content_type = of_header(header::CONTENT_TYPE)
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        Ok(Self {
            verb,
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            part,
            path: uri.path().to_owned(),
            query,
            content_type,
            bearer_token: of_header(header::AUTHORIZATION)
                .strip_prefix("Bearer ")
                .map(str::to_owned),
            view: View::asked_for(of_header(header::ACCEPT), resource),
        })
    }

    /// The object it names; for a collection, one without a name.
    pub(super) fn key(&self) -> ObjectKey {
        let (namespace, name) = (self.namespace.as_deref(), self.name.as_deref());
        ObjectKey::new(
            self.resource,
            namespace.unwrap_or_default(),
            name.unwrap_or_default(),
        )
    }

    /// How faults see it. A create is about the name in its body.
    pub(super) fn target<'a>(&'a self, name_in_body: Option<&'a str>) -> Target<'a> {
        Target {
            verb: Some(self.verb),
            resource: self.resource,
            namespace: self.namespace.as_deref(),
            name: self.name.as_deref().or(name_in_body),
            bearer_token: self.bearer_token.as_deref(),
        }
    }
}

impl ListQuery {
    fn read(uri: &Uri) -> Result<Self, Failure> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Failure::bad_request(format!("the query can't be read: {error}")))?;
        let mut query = Self::default();
        let mut initial_events_named = false;
        for (name, value) in pairs.0 {
            let is_true = matches!(value.as_str(), "true" | "1");
            match name.as_str() {
                "limit" => query.limit = number(&value)?.filter(|limit| *limit > 0),
                "continue" => query.continue_token = Some(value).filter(|token| !token.is_empty()),
                "resourceVersion" => {
                    query.resource_version = Some(value).filter(|version| !version.is_empty())
                }
                "resourceVersionMatch" => query.version_match = value,
                "fieldSelector" => query.fields = value,
                "labelSelector" => query.labels = value,
                "watch" => query.watch = is_true,
                "allowWatchBookmarks" => query.bookmarks = is_true,
                "sendInitialEvents" => {
                    query.initial_events = is_true;
                    initial_events_named = true;
                }
                "timeoutSeconds" => query.timeout_seconds = number(&value)?,
                "dryRun" => return Err(Failure::bad_request("the simulator has no dry run")),
                _ => {}
            }
        }
        query.check_version_match(initial_events_named)?;
        query.exact = query.version_match == "Exact";
        Ok(query)
    }

    /// What `resourceVersionMatch` may say, and when.
    fn check_version_match(&self, initial_events_named: bool) -> Result<(), Failure> {
        let field = "resourceVersionMatch";
        let forbidden = |message: &str| {
            Err(Failure::invalid_options(
                field,
                "FieldValueForbidden",
                message,
            ))
        };
        match self.version_match.as_str() {
            "" if initial_events_named => forbidden(
                "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
            "" => Ok(()),
            "NotOlderThan" | "Exact" if initial_events_named && self.watch => Ok(()),
            "NotOlderThan" | "Exact" if self.resource_version.is_none() => forbidden(
                "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            "NotOlderThan" | "Exact" => Ok(()),
            other => Err(Failure::invalid_options(
                field,
                "FieldValueNotSupported",
                &format!(
                    "Unsupported value: \"{other}\": supported values: \"Exact\", \"NotOlderThan\", \"\""
                ),
            )),
        }
    }
}

fn number<T: std::str::FromStr>(value: &str) -> Result<Option<T>, Failure> {
    if value.is_empty() {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|_| {
        Failure::bad_request(format!(
            "strconv.ParseInt: parsing \"{value}\": invalid syntax"
        ))
    })
}

fn verb(method: &Method, one: bool, watch: bool, namespaced: bool) -> Result<Verb, Failure> {
    match (method.as_str(), one) {
        ("GET", true) => Ok(Verb::Get),
        ("GET", false) if watch => Ok(Verb::Watch),
        ("GET", false) => Ok(Verb::List),
        ("POST", false) if namespaced => Ok(Verb::Create),
        ("PUT", true) => Ok(Verb::Update),
        ("PATCH", true) => Ok(Verb::Patch),
        ("DELETE", true) => Ok(Verb::Delete),
        _ => Err(Failure::method_not_allowed()),
    }
}

/// `%2F` and the like; what is no valid escape stays as it is.
fn percent_decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| after.get(..2)).flatten();
        let decoded = escaped
            .and_then(|digits| hex::decode(digits).ok())
            .and_then(|byte| byte.first().copied());
        match decoded {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
