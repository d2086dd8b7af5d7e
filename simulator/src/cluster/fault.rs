//! Faults on demand: which requests or hosts meet one, and how often.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::resource::{Resource, Verb};
use super::settings::HostState;

/// Names an injected fault, to count or clear it.
pub type FaultId = u64;

/// Something that goes wrong: what, for whom, how often.
///
/// As JSON all is flat: `{"fault": "forbidden", "verb": "patch", "resource": "baremetalhosts", "name": "node01",
/// "times": 2}`. What isn't named matches everything; without `times` it holds until it is cleared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only requests with this verb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<Verb>,
    /// Only requests to this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// Only in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only the object (for a fault of a host: the host) of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only requests with this bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<String>,
    /// How often; without it, until it is cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// What goes wrong. The first group meets requests, the second hosts.
///
/// kube's client tries again by itself, up to 15 times, after 429, 503 and 504 (`RetryPolicy::server_retry`, kube 5.0):
/// its caller sees those only when they last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultKind {
    /// 403.
    Forbidden,
    /// 409, though nothing changed.
    Conflict,
    /// 429 with `Retry-After`.
    TooManyRequests {
        /// The header's value.
        retry_after_seconds: u64,
    },
    /// As a ValidatingAdmissionPolicy refuses: 422, or 403 if its reason is `Forbidden`.
    AdmissionDenies {
        /// Whether the policy's reason is `Forbidden`.
        #[serde(default)]
        forbidden: bool,
        /// Only a write whose body has something at this JSON pointer.
        pointer: String,
        /// Only one whose body takes away (with a null) what is at that pointer, instead.
        #[serde(default)]
        removal: bool,
        /// The policy's message.
        message: String,
    },
    /// 500.
    InternalError,
    /// 503.
    Unavailable,
    /// 410 as an HTTP status.
    Gone,
    /// The request is handled, but later.
    Latency {
        /// How much later.
        milliseconds: u64,
    },
    /// Not handled and not answered until the fault is cleared; then the connection is cut.
    Hang,
    /// Not handled: the connection is cut.
    CutConnection,
    /// Handled, then the connection is cut before the answer.
    LoseAnswer,
    /// The connection of a watch is cut: open ones at once, later ones when they begin.
    DropWatch,
    /// A watch gets an ERROR event with 410 and ends: open ones at once, later ones when they begin.
    ExpireWatch,
    /// Someone else changes the object just before the write is handled: a merge patch of the main resource.
    AnotherWriter {
        /// What the other one writes.
        patch: Value,
    },

    /// Metal3's work in this state ends in this error.
    StateFails {
        /// Where.
        state: HostState,
        /// `status.errorType`, e.g. `provisioning error`.
        error_type: String,
        /// `status.errorMessage`.
        error_message: String,
    },
    /// Metal3's work in this state does not end.
    NeverFinishes {
        /// Where.
        state: HostState,
    },
    /// The power of a host that is `available` or `provisioned` can't be managed; over when the fault is.
    PowerFails {
        /// `status.errorMessage`.
        error_message: String,
    },
}

impl FaultKind {
    /// Whether it meets hosts rather than requests.
    fn is_of_hosts(&self) -> bool {
        matches!(
            self,
            Self::StateFails { .. } | Self::NeverFinishes { .. } | Self::PowerFails { .. }
        )
    }

    /// Its name as in JSON.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Conflict => "conflict",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::AdmissionDenies { .. } => "admission_denies",
            Self::InternalError => "internal_error",
            Self::Unavailable => "unavailable",
            Self::Gone => "gone",
            Self::Latency { .. } => "latency",
            Self::Hang => "hang",
            Self::CutConnection => "cut_connection",
            Self::LoseAnswer => "lose_answer",
            Self::DropWatch => "drop_watch",
            Self::ExpireWatch => "expire_watch",
            Self::AnotherWriter { .. } => "another_writer",
            Self::StateFails { .. } => "state_fails",
            Self::NeverFinishes { .. } => "never_finishes",
            Self::PowerFails { .. } => "power_fails",
        }
    }
}

impl Fault {
    /// A fault that meets everything, until it is cleared.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            verb: None,
            resource: None,
            namespace: None,
            name: None,
            bearer_token: None,
            times: None,
        }
    }

    /// The provisioning of a host ends in an error.
    pub fn provisioning_fails(
        namespace: &str,
        name: &str,
        error_type: &str,
        error_message: &str,
    ) -> Self {
        Self::new(FaultKind::StateFails {
            state: HostState::Provisioning,
            error_type: error_type.to_owned(),
            error_message: error_message.to_owned(),
        })
        .host(namespace, name)
    }

    /// Only requests with this verb.
    #[must_use]
    pub fn on(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Only requests to this resource.
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resource = Some(resource);
        self
    }

    /// Only this host.
    #[must_use]
    pub fn host(self, namespace: &str, name: &str) -> Self {
        self.resource(Resource::BareMetalHosts)
            .object(namespace, name)
    }

    /// Only the object of this namespace and name.
    #[must_use]
    pub fn object(mut self, namespace: &str, name: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self.name = Some(name.to_owned());
        self
    }

    /// Only requests with this bearer token.
    #[must_use]
    pub fn by(mut self, bearer_token: &str) -> Self {
        self.bearer_token = Some(bearer_token.to_owned());
        self
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn meets(&self, target: &Target<'_>) -> bool {
        self.times != Some(0)
            && self
                .resource
                .is_none_or(|resource| resource == target.resource)
            && self.verb.is_none_or(|verb| target.verb == Some(verb))
            && self
                .namespace
                .as_deref()
                .is_none_or(|namespace| target.namespace == Some(namespace))
            && self
                .name
                .as_deref()
                .is_none_or(|name| target.name == Some(name))
            && self
                .bearer_token
                .as_deref()
                .is_none_or(|token| target.bearer_token == Some(token))
    }
}

/// What a fault may meet: a request, or (without a verb) a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) verb: Option<Verb>,
    pub(super) resource: Resource,
    pub(super) namespace: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) bearer_token: Option<&'a str>,
}

impl<'a> Target<'a> {
    pub(super) fn host(namespace: &'a str, name: &'a str) -> Self {
        Self {
            verb: None,
            resource: Resource::BareMetalHosts,
            namespace: Some(namespace),
            name: Some(name),
            bearer_token: None,
        }
    }
}

/// The faults now in force, oldest first, and how often each one struck.
#[derive(Debug, Default)]
pub(super) struct Faults {
    next: FaultId,
    active: BTreeMap<FaultId, Fault>,
    hits: BTreeMap<FaultId, u32>,
}

impl Faults {
    pub(super) fn inject(&mut self, fault: Fault) -> FaultId {
        self.next += 1;
        self.active.insert(self.next, fault);
        self.next
    }

    pub(super) fn clear(&mut self, id: FaultId) {
        self.active.remove(&id);
    }

    pub(super) fn clear_all(&mut self) {
        self.active.clear();
    }

    pub(super) fn is_active(&self, id: FaultId) -> bool {
        self.active.contains_key(&id)
    }

    pub(super) fn hits(&self, id: FaultId) -> u32 {
        self.hits.get(&id).copied().unwrap_or_default()
    }

    pub(super) fn active(&self) -> &BTreeMap<FaultId, Fault> {
        &self.active
    }

    /// The fault that this request meets, struck once.
    pub(super) fn strike_request(
        &mut self,
        target: &Target<'_>,
        of: impl Fn(&FaultKind) -> bool,
    ) -> Option<Struck> {
        self.strike(target, |kind| !kind.is_of_hosts() && of(kind))
    }

    /// The fault that this host meets, struck once.
    pub(super) fn strike_host(
        &mut self,
        target: &Target<'_>,
        of: impl Fn(&FaultKind) -> bool,
    ) -> Option<Struck> {
        self.strike(target, |kind| kind.is_of_hosts() && of(kind))
    }

    /// The fault that this host would meet; not counted.
    pub(super) fn on_host(
        &self,
        target: &Target<'_>,
        of: impl Fn(&FaultKind) -> bool,
    ) -> Option<&FaultKind> {
        let fault = self
            .active
            .values()
            .find(|fault| fault.kind.is_of_hosts() && of(&fault.kind) && fault.meets(target));
        fault.map(|fault| &fault.kind)
    }

    fn strike(&mut self, target: &Target<'_>, of: impl Fn(&FaultKind) -> bool) -> Option<Struck> {
        let (&id, fault) = self
            .active
            .iter_mut()
            .find(|(_, fault)| of(&fault.kind) && fault.meets(target))?;
        let struck = Struck {
            id,
            kind: fault.kind.clone(),
        };
        *self.hits.entry(id).or_default() += 1;
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            // A hang that struck for the last time stays, matching nothing more, until it is cleared.
            if *times == 0 && !matches!(fault.kind, FaultKind::Hang) {
                self.active.remove(&id);
            }
        }
        Some(struck)
    }
}

/// A fault that has struck.
#[derive(Debug, Clone)]
pub(super) struct Struck {
    pub(super) id: FaultId,
    pub(super) kind: FaultKind,
}
