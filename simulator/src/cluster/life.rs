//! A host's life, as Metal3's operator leads it (`host_state_machine.go`): a pure decision about the next step, and a
//! task for each host that waits and carries it out. Every step is one write of the status, so one watch event.
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

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::fault::{FaultKind, Target};
use super::record::UserDataRead;
use super::resource::{ObjectKey, Resource, flag, text};
use super::settings::HostState;
use super::state::{Hold, Shared, State};

/// Metal3's finalizer.
pub(super) const FINALIZER: &str = "baremetalhost.metal3.io";
const PAUSED: &str = "baremetalhost.metal3.io/paused";
const DETACHED: &str = "baremetalhost.metal3.io/detached";

const PROVISIONING_ERROR: &str = "provisioning error";
const POWER_ERROR: &str = "power management error";

/// One thing Metal3 does to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
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

/// What surrounds a host when its next step is decided.
struct Situation {
    held: bool,
    /// There is a place for one more host at work.
    place_free: bool,
    /// The image is being written.
    deploying: bool,
    /// The work of the present state doesn't end.
    never_finishes: bool,
    power_fails: Option<String>,
}

/// The next step; none if there is nothing to do.
fn next_step(host: &Value, situation: &Situation) -> Option<Step> {
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

/// The status of a host that Metal3 made ready long ago.
pub(super) fn status_of_available_host(powered_on: bool) -> Value {
    let mut status = status_of_new_host();
    status["poweredOn"] = json!(powered_on);
    status["provisioning"]["state"] = json!(HostState::Available);
    status["hardware"] = hardware();
    status
}

fn status_of_new_host() -> Value {
    json!({
        "operationalStatus": "OK", "errorCount": 0, "errorMessage": "", "hardwareProfile": "unknown",
        "poweredOn": false, "operationHistory": {}, "goodCredentials": {}, "triedCredentials": {},
        "provisioning": {"ID": Uuid::new_v4().to_string(), "bootMode": "UEFI", "image": {"url": ""}, "state": ""},
    })
}

fn hardware() -> Value {
    json!({"cpu": {"arch": "x86_64", "count": 32}, "ramMebibytes": 262_144, "hostname": "localhost.localdomain"})
}

fn forget_error(status: &mut Value) {
    status["operationalStatus"] = json!("OK");
    status["errorMessage"] = json!("");
    if let Value::Object(status) = status {
        status.remove("errorType");
    }
}

fn set_error(status: &mut Value, error_type: &str, message: &str) {
    let count = status["errorCount"].as_u64().unwrap_or_default();
    status["operationalStatus"] = json!("error");
    status["errorType"] = json!(error_type);
    status["errorMessage"] = json!(message);
    status["errorCount"] = json!(count + 1);
}

/// The status of a host on its way into a state.
fn status_on_entry(host: &Value, to: HostState) -> Value {
    use HostState as S;
    let from = HostState::of(host);
    let mut status = match host.get("status") {
        Some(status) if from.is_some() => status.clone(),
        _ => status_of_new_host(),
    };
    status["provisioning"]["state"] = json!(to);
    match to {
        S::Unmanaged => status["operationalStatus"] = json!("discovered"),
        S::Registering => forget_error(&mut status),
        S::Inspecting | S::ExternallyProvisioned => settle(&mut status),
        S::Preparing => {
            settle(&mut status);
            status["hardware"] = hardware();
        }
        S::Available => {
            settle(&mut status);
            status["provisioning"]["image"] = json!({"url": ""});
            if let Value::Object(provisioning) = &mut status["provisioning"] {
                provisioning.remove("customDeploy");
            }
            if from == Some(S::Deprovisioning) {
                status["poweredOn"] = json!(flag(host, "/spec/disablePowerOff"));
            }
        }
        S::Provisioned => {
            settle(&mut status);
            status["provisioning"]["image"] = host
                .pointer("/spec/image")
                .cloned()
                .unwrap_or(json!({"url": ""}));
            if let Some(custom) = host.pointer("/spec/customDeploy") {
                status["provisioning"]["customDeploy"] = custom.clone();
            }
            if from == Some(S::Provisioning) {
                status["poweredOn"] = json!(true);
            }
        }
        S::Provisioning | S::Deprovisioning | S::PoweringOffBeforeDelete => {}
        S::Deleting => status["poweredOn"] = json!(false),
    }
    status
}

/// Work has ended well.
fn settle(status: &mut Value) {
    forget_error(status);
    status["errorCount"] = json!(0);
}

/// Begins to look after a host.
pub(super) fn begin(runtime: &tokio::runtime::Handle, shared: Arc<Shared>, key: ObjectKey) {
    runtime.spawn(async move {
        let end = shared.end.clone();
        tokio::select! {
            () = end.cancelled() => {}
            () = live(shared, key) => {}
        }
    });
}

/// Leads a host's life until it is gone.
async fn live(shared: Arc<Shared>, key: ObjectKey) {
    let Some(wake) = shared.read(|state| state.wake_of(&key)) else {
        return;
    };
    // The step that is waited for, and since when; a host that changes meanwhile goes on waiting for the same step.
    let mut awaited: Option<(Step, Instant)> = None;
    let mut deploying = false;
    loop {
        match shared.read(|state| look(state, &key, &mut deploying)) {
            None if shared.change(|state| state.bury(&key)) => return,
            None => {}
            Some(None) => {
                awaited = None;
                wake.notified().await;
            }
            Some(Some((step, pause))) => {
                let since = match awaited.take() {
                    Some((same, since)) if same == step => since,
                    _ => Instant::now(),
                };
                if since + pause <= Instant::now() {
                    shared.change(|state| {
                        let still_next = look(state, &key, &mut deploying)
                            .flatten()
                            .is_some_and(|(next, _)| next == step);
                        if still_next {
                            carry_out(state, &key, &step, &mut deploying);
                        }
                    });
                } else {
                    awaited = Some((step, since));
                    tokio::select! {
                        () = sleep_until(since + pause) => {}
                        () = wake.notified() => {}
                    }
                }
            }
        }
    }
}

/// The next step of a host and the pause before it; none if the host is gone.
fn look(state: &State, key: &ObjectKey, deploying: &mut bool) -> Option<Option<(Step, Duration)>> {
    let host = state.store.get(key)?;
    let now_in = HostState::of(host);
    *deploying &= now_in == Some(HostState::Provisioning);
    let target = Target::host(&key.namespace, &key.name);
    let never_finishes = |kind: &FaultKind| matches!(kind, FaultKind::NeverFinishes { state } if Some(*state) == now_in);
    let power_fails = state
        .faults
        .on_host(&target, |kind| matches!(kind, FaultKind::PowerFails { .. }));
    let situation = Situation {
        held: match state.holds.get(key) {
            None => false,
            Some(Hold::Here) => true,
            Some(Hold::At(at)) => Some(*at) == now_in,
        },
        place_free: state
            .capacity
            .is_none_or(|capacity| others_at_work(state, key) < capacity),
        deploying: *deploying,
        never_finishes: state.faults.on_host(&target, never_finishes).is_some(),
        power_fails: match power_fails {
            Some(FaultKind::PowerFails { error_message }) => Some(error_message.clone()),
            _ => None,
        },
    };
    let step = next_step(host, &situation);
    Some(step.map(|step| {
        let pause = match (&step, now_in) {
            (Step::Enter(_) | Step::RemoveFinalizer, Some(now_in)) => state.pauses.of(now_in),
            (Step::Deploy, _) => Duration::ZERO,
            _ => state.pauses.otherwise(),
        };
        (step, pause)
    }))
}

fn others_at_work(state: &State, key: &ObjectKey) -> usize {
    let hosts = state.store.all(Resource::BareMetalHosts, None);
    let at_work = hosts.iter().filter(|host| {
        let itself = text(host, "/metadata/namespace") == key.namespace
            && text(host, "/metadata/name") == key.name;
        !itself
            && matches!(
                HostState::of(host),
                Some(HostState::Inspecting | HostState::Provisioning | HostState::Deprovisioning)
            )
    });
    at_work.count()
}

fn carry_out(state: &mut State, key: &ObjectKey, step: &Step, deploying: &mut bool) {
    let Some(host) = state.store.get(key).cloned() else {
        return;
    };
    let mut status = host.get("status").cloned().unwrap_or_default();
    match step {
        Step::AddFinalizer => {
            let mut finalizers = host
                .pointer("/metadata/finalizers")
                .cloned()
                .unwrap_or(json!([]));
            if let Value::Array(all) = &mut finalizers {
                all.push(json!(FINALIZER));
            }
            change_finalizers(state, key, finalizers);
            return;
        }
        Step::RemoveFinalizer => {
            let mut finalizers = host
                .pointer("/metadata/finalizers")
                .cloned()
                .unwrap_or(json!([]));
            if let Value::Array(all) = &mut finalizers {
                all.retain(|finalizer| finalizer != FINALIZER);
            }
            change_finalizers(state, key, finalizers);
            return;
        }
        Step::Deploy => {
            *deploying = true;
            match read_user_data(state, key, &host) {
                Ok(()) => return,
                Err(message) => set_error(&mut status, PROVISIONING_ERROR, &message),
            }
        }
        Step::Enter(to) => match work_fails(state, key, HostState::of(&host)) {
            Some((error_type, message)) => set_error(&mut status, &error_type, &message),
            None => status = status_on_entry(&host, *to),
        },
        Step::Abandon(to) => status = status_on_entry(&host, *to),
        Step::Show(operational) => status["operationalStatus"] = json!(operational),
        Step::ForgetError => forget_error(&mut status),
        Step::FailPower(message) => {
            let target = Target::host(&key.namespace, &key.name);
            state
                .faults
                .strike_host(&target, |kind| matches!(kind, FaultKind::PowerFails { .. }));
            set_error(&mut status, POWER_ERROR, message);
        }
        Step::Power(on) => {
            status["poweredOn"] = json!(on);
            status["errorCount"] = json!(0);
        }
    }
    state.set_status(key, status);
}

/// A write of metadata alone, as the operator's own.
fn change_finalizers(state: &mut State, key: &ObjectKey, finalizers: Value) {
    let patch = json!({"metadata": {"finalizers": finalizers}});
    // Nothing else was changed, so only a vanished host can refuse it; then there is nothing left to do.
    let _gone = state.patch(key, super::admission::Part::Main, &patch);
}

/// The error in which the work of the present state ends, if a fault says so.
fn work_fails(
    state: &mut State,
    key: &ObjectKey,
    now_in: Option<HostState>,
) -> Option<(String, String)> {
    let target = Target::host(&key.namespace, &key.name);
    let fails = |kind: &FaultKind| matches!(kind, FaultKind::StateFails { state, .. } if Some(*state) == now_in);
    match state.faults.strike_host(&target, fails)?.kind {
        FaultKind::StateFails {
            error_type,
            error_message,
            ..
        } => Some((error_type, error_message)),
        _ => None,
    }
}

/// The user data that the machine will be given, from key `userData` or `value` of a secret in the host's namespace
/// (`host_config_data.go`).
fn read_user_data(state: &mut State, key: &ObjectKey, host: &Value) -> Result<(), String> {
    let name = text(host, "/spec/userData/name");
    if name.is_empty() {
        return Ok(());
    }
    let secret_key = ObjectKey::new(Resource::Secrets, &key.namespace, name);
    let Some(secret) = state.store.get(&secret_key) else {
        return Err(format!(
            "could not retrieve user data: secret {name} not found in namespace {}",
            key.namespace
        ));
    };
    let encoded = ["/data/userData", "/data/value"].map(|pointer| text(secret, pointer));
    let Some(encoded) = encoded.into_iter().find(|value| !value.is_empty()) else {
        return Err(format!(
            "could not retrieve user data: secret {name} holds neither userData nor value"
        ));
    };
    let bytes = BASE64.decode(encoded).unwrap_or_default();
    state.records.user_data_reads.push(UserDataRead {
        at: Timestamp::now(),
        namespace: key.namespace.clone(),
        host: key.name.clone(),
        secret: name.to_owned(),
        consumer: host.pointer("/spec/consumerRef").cloned(),
        user_data: String::from_utf8_lossy(&bytes).into_owned(),
    });
    Ok(())
}
