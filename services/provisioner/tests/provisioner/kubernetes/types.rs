//! Our types against the definition of BareMetalHosts. What a provisioner writes anywhere in the suite is kept whole: the record
//! of the go-between tells. What it reads is in the simulator's definition (`src/baremetalhost/host.rs`), and that agrees with the
//! one which is installed.

use std::collections::BTreeSet;

use bellhop_provisioner::{ChecksumType, ImageFormat};
use bellhop_simulator::cluster::definition;
use rstest::rstest;
use serde_json::{Value, json};

use super::server::{HOSTS_DEFINITION, is_real};
use super::stage::Stage;
use crate::installation::{IMAGE, start};

#[tokio::test]
async fn every_field_of_a_claim_is_kept() {
    let stage = Stage::with_host("node01").await;
    let namespace = stage.place.namespace.clone();
    let mut settings = stage.settings_for(&namespace);
    settings.provision_checksum = Some("http://images.invalid/noble.sha512".to_owned());
    settings.provision_checksum_type = ChecksumType::Sha512;
    settings.provision_format = Some(ImageFormat::LiveIso);
    let _provisioner = stage.provisioner_with(settings);
    stage.says(start("1", "node01")).await;
    stage.until("HostProvisioned").await;
    let spec = stage.host("node01").await["spec"].clone();
    let secret = stage.secrets().await.remove(0);
    assert_eq!(spec["online"], true);
    assert_eq!(
        spec["image"],
        json!({"url": IMAGE, "checksum": "http://images.invalid/noble.sha512", "checksumType": "sha512", "format": "live-iso"})
    );
    assert_eq!(
        spec["userData"],
        json!({"name": secret, "namespace": namespace})
    );
    assert_eq!(
        spec["consumerRef"],
        json!({"apiVersion": "bellhop.dev/v1", "kind": "Reservation", "name": "reservation-system:1", "namespace": namespace})
    );
}

/// Where the cluster has Metal3's own definition, the simulator's may differ only in what it leaves out.
#[tokio::test]
async fn the_simulators_definition_agrees_with_the_installed_one() {
    if !is_real() {
        return;
    }
    let stage = Stage::new().await;
    let installed = stage.administrator.get(HOSTS_DEFINITION).await.unwrap();
    let differences = differences(&schema(&definition()), &schema(&installed));
    assert!(differences.is_empty(), "{differences:#?}");
    let served = served(&installed);
    assert_eq!(served["served"], true);
    assert_eq!(served["subresources"], json!({"status": {}}));
    assert_eq!(installed["spec"]["scope"], "Namespaced");
}

fn served(definition: &Value) -> Value {
    let versions = definition["spec"]["versions"].as_array().unwrap().iter();
    let mut ours = versions.filter(|version| version["name"] == "v1alpha1");
    ours.next().unwrap().clone()
}

fn schema(definition: &Value) -> Value {
    served(definition)["schema"]["openAPIV3Schema"].clone()
}

/// In what two schemas differ, but for what ours says nothing of on purpose: the inside of what Bellhop neither reads nor writes.
fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    compare("", ours, theirs, &mut differences);
    differences
}

fn compare(path: &str, ours: &Value, theirs: &Value, differences: &mut Vec<String>) {
    if theirs.is_null() {
        differences.push(format!(
            "{path}: the installed definition has no such field"
        ));
        return;
    }
    if ours.is_null() {
        differences.push(format!(
            "{path}: the simulator's definition has no such field"
        ));
        return;
    }
    if ours["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    let words = |schema: &Value| -> BTreeSet<String> {
        let words = schema.as_object().into_iter().flatten();
        words.map(|(word, _)| word.clone()).collect()
    };
    for word in &words(ours) | &words(theirs) {
        let (ours, theirs) = (&ours[&word], &theirs[&word]);
        match word.as_str() {
            // For people.
            "description" => {}
            "properties" => {
                for name in &words(ours) | &words(theirs) {
                    let path = format!("{path}.{name}");
                    compare(&path, &ours[&name], &theirs[&name], differences);
                }
            }
            "items" => compare(&format!("{path}[]"), ours, theirs, differences),
            _ if ours == theirs => {}
            _ => differences.push(format!("{path}: {word}: {ours} and {theirs}")),
        }
    }
}

/// Each is a way in which a definition could refuse or prune what ours takes, or the other way round.
#[rstest]
#[case::field_gone(
    "/properties/image/properties/url",
    None,
    ".image.url: the installed definition has no such field"
)]
#[case::new_field("/properties/image/properties/size", Some(json!({"type": "integer"})), ".image.size: the simulator's definition has no such field")]
#[case::another_type("/properties/online/type", Some(json!("string")), ".online: type: \"boolean\" and \"string\"")]
#[case::fewer_values("/properties/modes/items/enum", Some(json!(["a"])), ".modes[]: enum: [\"a\",\"b\"] and [\"a\"]")]
#[case::a_field_of_an_item("/properties/steps/items/properties/name/type", Some(json!("integer")), ".steps[].name: type: \"string\" and \"integer\"")]
#[case::no_items_any_more(
    "/properties/modes/items",
    None,
    ".modes[]: the installed definition has no such field"
)]
#[case::more_required("/required", Some(json!(["image", "online"])), ": required: [\"online\"] and [\"image\",\"online\"]")]
#[case::a_limit("/properties/image/properties/url/maxLength", Some(json!(64)), ".image.url: maxLength: null and 64")]
#[case::a_rule("/x-kubernetes-validations", Some(json!([{"rule": "self.online"}])), ": x-kubernetes-validations: null and [{\"rule\":\"self.online\"}]")]
#[case::another_default("/properties/online/default", Some(json!(true)), ".online: default: null and true")]
fn a_difference_in_what_is_compared_is_found(
    #[case] pointer: &str,
    #[case] theirs_says: Option<Value>,
    #[case] told: &str,
) {
    let ours = json!({"type": "object", "required": ["online"], "properties": {
        "online": {"type": "boolean"},
        "image": {"type": "object", "properties": {"url": {"type": "string"}}},
        "modes": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
        "steps": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "hardware": {"x-kubernetes-preserve-unknown-fields": true},
    }});
    let mut theirs = ours.clone();
    theirs["properties"]["hardware"] =
        json!({"type": "object", "description": "What it is made of"});
    assert_eq!(differences(&ours, &theirs), [""; 0]);
    let (parent, word) = pointer.rsplit_once('/').unwrap();
    let parent = theirs.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match theirs_says {
        Some(value) => parent.insert(word.to_owned(), value),
        None => parent.remove(word),
    };
    assert_eq!(differences(&ours, &theirs), [told]);
}
