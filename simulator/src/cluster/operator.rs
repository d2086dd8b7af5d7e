//! Metal3's operator: a task for each host, which waits for the host's next step and carries it out.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::admission::Part;
use super::fault::{FaultKind, Target};
use super::host_status::{forget_error, set_error, status_on_entry};
use super::life::{POWER_ERROR, PROVISIONING_ERROR, Situation, Step, finalizers, next_step};
use super::record::UserDataRead;
use super::resource::{ObjectKey, Resource, text};
use super::settings::HostState;
use super::state::{Hold, Shared, State};

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
            change_finalizers(state, key, finalizers(&host, true));
            return;
        }
        Step::RemoveFinalizer => {
            change_finalizers(state, key, finalizers(&host, false));
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
    let _gone = state.patch(key, Part::Main, &patch);
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
