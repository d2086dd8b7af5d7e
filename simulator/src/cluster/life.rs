//! A host's life, as Metal3's operator leads it (`host_state_machine.go`): the pure decision about its next step. The
//! [`operator`](super::operator) waits and carries it out. Every step is one write of the status, so one watch event.
//!
//! ```text
//! registering ─▶ inspecting ─▶ preparing ─▶ available ─▶ provisioning ─▶ provisioned
//!      │                                     ▲    │        │ error,         │ image gone,
//!      ▼                                     │    ▼        │ image gone     │ another URL
//! externally provisioned ◀───────────────────┼─ (spec)     ▼                ▼
//!                                            └────────── deprovisioning ◀───┘
//! deletion: deprovisioning (if it has an image) ─▶ powering off before delete ─▶ deleting ─▶ gone
//! ```
//!
//! - `provisioning` needs `online`, an image, no `paused` and no `detached` annotation, and a free place.
//! - Only another image URL, or none, leads out of `provisioned`; other user data alone does nothing.
//! - `status.provisioning.image.url` is empty but from `provisioned` to the end of `deprovisioning`.
//! - A failed provisioning shows its error, goes to `deprovisioning` (which takes the error away, then resets
//!   `errorCount`), to `available`, and is tried again if the image is still wanted.
//!
//! Simpler than the real one: an image URL changed *during* provisioning is simply the one that ends up on the host.

use serde_json::{Value, json};

use super::host_status::{forget_error, set_error, status_on_entry};
use super::resource::{flag, text};
use super::settings::HostState;

/// Metal3's finalizer.
pub(super) const FINALIZER: &str = "baremetalhost.metal3.io";
const PAUSED: &str = "baremetalhost.metal3.io/paused";
const DETACHED: &str = "baremetalhost.metal3.io/detached";

/// `errorType` of a failed installation.
pub(super) const PROVISIONING_ERROR: &str = "provisioning error";
/// `errorType` of power that can't be managed.
pub(super) const POWER_ERROR: &str = "power management error";

/// One thing Metal3 does to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Puts the finalizer on.
    AddFinalizer,
    /// Takes it off: the host is gone.
    RemoveFinalizer,
    /// Ends the work of the present state and goes to the next.
    Enter(HostState),
    /// Leaves the present state unfinished.
    Abandon(HostState),
    /// Begins to write the image: reads the user data.
    Deploy,
    /// Sets `operationalStatus` alone.
    Show(&'static str),
    /// Takes the error away.
    ForgetError,
    /// Can't switch the power.
    FailPower(String),
    /// Switches the power.
    Power(bool),
}

/// What Metal3 writes into a host: for tests that play Metal3 on a real API server.
#[derive(Debug, Clone, PartialEq)]
pub enum OperatorWrite {
    /// `metadata.finalizers`, as they are then.
    Finalizers(Value),
    /// `status`, whole.
    Status(Value),
}

/// The work of `provisioning` ends in an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkFails {
    /// `status.errorMessage`.
    pub message: String,
}

/// What Metal3 writes next into `host`, without pauses and with room for all; none if there is nothing to do.
pub fn next_write(host: &Value, fails: Option<&WorkFails>) -> Option<OperatorWrite> {
    let situation = Situation {
        held: false,
        place_free: true,
        deploying: true,
        never_finishes: false,
        power_fails: None,
    };
    let mut status = host.get("status").cloned().unwrap_or_default();
    match next_step(host, &situation)? {
        Step::AddFinalizer => return Some(OperatorWrite::Finalizers(finalizers(host, true))),
        Step::RemoveFinalizer => return Some(OperatorWrite::Finalizers(finalizers(host, false))),
        Step::Enter(to) => match fails {
            Some(fails) if HostState::of(host) == Some(HostState::Provisioning) => {
                set_error(&mut status, PROVISIONING_ERROR, &fails.message);
            }
            _ => status = status_on_entry(host, to),
        },
        Step::Abandon(to) => status = status_on_entry(host, to),
        Step::Show(operational) => status["operationalStatus"] = json!(operational),
        Step::ForgetError => forget_error(&mut status),
        Step::Power(on) => status["poweredOn"] = json!(on),
        // Only with another situation.
        Step::Deploy | Step::FailPower(_) => return None,
    }
    Some(OperatorWrite::Status(status))
}

/// The finalizers of a host with Metal3's, or without it.
pub(super) fn finalizers(host: &Value, with_metal3s: bool) -> Value {
    let mut finalizers = host
        .pointer("/metadata/finalizers")
        .cloned()
        .unwrap_or(json!([]));
    if let Value::Array(all) = &mut finalizers {
        all.retain(|finalizer| finalizer != FINALIZER);
        if with_metal3s {
            all.push(json!(FINALIZER));
        }
    }
    finalizers
}

/// What surrounds a host when its next step is decided.
pub(super) struct Situation {
    /// A test holds it where it is.
    pub(super) held: bool,
    /// There is a place for one more host at work.
    pub(super) place_free: bool,
    /// The image is being written.
    pub(super) deploying: bool,
    /// The work of the present state doesn't end.
    pub(super) never_finishes: bool,
    /// What is wrong with its power.
    pub(super) power_fails: Option<String>,
}

/// The next step; none if there is nothing to do.
pub(super) fn next_step(host: &Value, situation: &Situation) -> Option<Step> {
    if situation.held || annotation(host, PAUSED).is_some() {
        return None;
    }
    let state = HostState::of(host);
    let deleting = host.pointer("/metadata/deletionTimestamp").is_some();
    if !deleting && !has_finalizer(host) {
        return Some(Step::AddFinalizer);
    }
    let operational = text(host, "/status/operationalStatus");
    if operational == "delayed" {
        return situation.place_free.then_some(Step::Show("OK"));
    }
    if deleting {
        return step_of_deletion(host, state, situation);
    }
    if annotation(host, DETACHED).is_some() && may_detach(state) {
        return (operational != "detached").then_some(Step::Show("detached"));
    }
    if operational == "detached" {
        let error = !text(host, "/status/errorType").is_empty();
        return Some(Step::Show(if error { "error" } else { "OK" }));
    }
    let step = step_of_state(host, state, situation)?;
    let needs_place = matches!(
        step,
        Step::Enter(to) | Step::Abandon(to)
            if matches!(to, HostState::Inspecting | HostState::Provisioning | HostState::Deprovisioning)
    );
    Some(if needs_place && !situation.place_free {
        Step::Show("delayed")
    } else {
        step
    })
}

fn step_of_state(host: &Value, state: Option<HostState>, situation: &Situation) -> Option<Step> {
    use HostState as S;
    let finished = |to| (!situation.never_finishes).then_some(Step::Enter(to));
    let has_bmc = !text(host, "/spec/bmc/address").is_empty();
    let external = flag(host, "/spec/externallyProvisioned");
    match state {
        None => Some(Step::Enter(if has_bmc {
            S::Registering
        } else {
            S::Unmanaged
        })),
        Some(S::Unmanaged) => has_bmc.then_some(Step::Enter(S::Registering)),
        Some(S::Registering) if external => finished(S::ExternallyProvisioned),
        Some(S::Registering) if text(host, "/spec/inspectionMode") == "disabled" => {
            finished(S::Preparing)
        }
        Some(S::Registering) => finished(S::Inspecting),
        Some(S::Inspecting) => finished(S::Preparing),
        Some(S::Preparing) => finished(S::Available),
        Some(S::Available) if external => Some(Step::Enter(S::ExternallyProvisioned)),
        Some(S::Available) if flag(host, "/spec/online") && wants_image(host) => {
            Some(Step::Enter(S::Provisioning))
        }
        Some(S::Provisioning)
            if image_gone(host) || !text(host, "/status/errorType").is_empty() =>
        {
            Some(Step::Abandon(S::Deprovisioning))
        }
        Some(S::Provisioning) if !situation.deploying => Some(Step::Deploy),
        Some(S::Provisioning) => finished(S::Provisioned),
        Some(S::Provisioned) if image_gone(host) => Some(Step::Enter(S::Deprovisioning)),
        Some(S::ExternallyProvisioned) if !external => Some(Step::Enter(S::Provisioned)),
        Some(S::Available | S::Provisioned | S::ExternallyProvisioned) => {
            step_of_power(host, situation)
        }
        Some(S::Deprovisioning) if !text(host, "/status/errorType").is_empty() => {
            Some(Step::ForgetError)
        }
        Some(S::Deprovisioning) => finished(S::Available),
        Some(S::PoweringOffBeforeDelete | S::Deleting) => None,
    }
}

fn step_of_deletion(host: &Value, state: Option<HostState>, situation: &Situation) -> Option<Step> {
    use HostState as S;
    let finished = |step| (!situation.never_finishes).then_some(step);
    if state != Some(S::Deleting) && text(host, "/status/operationalStatus") == "detached" {
        return Some(Step::Enter(S::Deleting));
    }
    match state {
        None | Some(S::Unmanaged | S::Registering) => Some(Step::Abandon(S::Deleting)),
        Some(S::Provisioning | S::Provisioned) => Some(Step::Abandon(S::Deprovisioning)),
        Some(S::Deprovisioning) => finished(Step::Enter(S::PoweringOffBeforeDelete)),
        Some(S::PoweringOffBeforeDelete) => finished(Step::Enter(S::Deleting)),
        Some(S::Deleting) => finished(Step::RemoveFinalizer),
        Some(_) => Some(Step::Abandon(S::PoweringOffBeforeDelete)),
    }
}

fn step_of_power(host: &Value, situation: &Situation) -> Option<Step> {
    let error_shown = text(host, "/status/errorType") == POWER_ERROR;
    match &situation.power_fails {
        Some(_) if error_shown => None,
        Some(message) => Some(Step::FailPower(message.clone())),
        None if error_shown => Some(Step::ForgetError),
        None => {
            let wanted = flag(host, "/spec/online");
            (wanted != flag(host, "/status/poweredOn")).then_some(Step::Power(wanted))
        }
    }
}

fn annotation<'a>(host: &'a Value, name: &str) -> Option<&'a Value> {
    host.pointer("/metadata/annotations")?.get(name)
}

fn has_finalizer(host: &Value) -> bool {
    let finalizers = host
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    finalizers.is_some_and(|all| all.iter().any(|finalizer| finalizer == FINALIZER))
}

fn may_detach(state: Option<HostState>) -> bool {
    matches!(
        state,
        Some(HostState::Available | HostState::Provisioned | HostState::ExternallyProvisioned)
    )
}

fn wants_image(host: &Value) -> bool {
    !text(host, "/spec/image/url").is_empty() || !text(host, "/spec/customDeploy/method").is_empty()
}

/// Whether what is on the host, or being written, is no longer wanted.
fn image_gone(host: &Value) -> bool {
    let method = text(host, "/spec/customDeploy/method");
    let method_on_host = text(host, "/status/provisioning/customDeploy/method");
    let (url, url_on_host) = (
        text(host, "/spec/image/url"),
        text(host, "/status/provisioning/image/url"),
    );
    let other_url = !url_on_host.is_empty() && url != url_on_host;
    if method.is_empty() {
        !method_on_host.is_empty() || url.is_empty() || other_url
    } else {
        (!method_on_host.is_empty() && method != method_on_host) || other_url
    }
}
