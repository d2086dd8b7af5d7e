//! The status that Metal3 writes into a host, step by step.

use serde_json::{Value, json};
use uuid::Uuid;

use super::resource::flag;
use super::settings::HostState;

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

/// Shows no error any more; the count stays.
pub(super) fn forget_error(status: &mut Value) {
    status["operationalStatus"] = json!("OK");
    status["errorMessage"] = json!("");
    if let Value::Object(status) = status {
        status.remove("errorType");
    }
}

/// Shows an error, and counts it.
pub(super) fn set_error(status: &mut Value, error_type: &str, message: &str) {
    let count = status["errorCount"].as_u64().unwrap_or_default();
    status["operationalStatus"] = json!("error");
    status["errorType"] = json!(error_type);
    status["errorMessage"] = json!(message);
    status["errorCount"] = json!(count + 1);
}

/// The status of a host on its way into a state.
pub(super) fn status_on_entry(host: &Value, to: HostState) -> Value {
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
