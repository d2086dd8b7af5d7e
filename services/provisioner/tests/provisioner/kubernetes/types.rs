//! Our types against the definition of BareMetalHosts: what we write is kept whole.

use bellhop_provisioner::{ChecksumType, ImageFormat};
use bellhop_simulator::cluster::definition;
use serde_json::{Value, json};

use super::server::is_real;
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
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/baremetalhosts.metal3.io";
    let installed = stage.administrator.get(path).await.unwrap();
    let schema = |definition: &Value| {
        let versions = definition["spec"]["versions"].as_array().unwrap().iter();
        let mut ours = versions.filter(|version| version["name"] == "v1alpha1");
        ours.next().unwrap()["schema"]["openAPIV3Schema"].clone()
    };
    let mut differences = Vec::new();
    compare(
        "",
        &schema(&definition()),
        &schema(&installed),
        &mut differences,
    );
    assert!(differences.is_empty(), "{differences:#?}");
}

fn compare(path: &str, ours: &Value, theirs: &Value, differences: &mut Vec<String>) {
    if theirs.is_null() {
        differences.push(format!(
            "{path}: the installed definition has no such field"
        ));
        return;
    }
    if ours["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    for word in ["type", "enum", "required", "default"] {
        if ours[word] != theirs[word] {
            differences.push(format!(
                "{path}: {word}: {} and {}",
                ours[word], theirs[word]
            ));
        }
    }
    let fields = ours["properties"].as_object().into_iter().flatten();
    for (name, ours) in fields {
        compare(
            &format!("{path}.{name}"),
            ours,
            &theirs["properties"][name],
            differences,
        );
    }
    let missing = theirs["properties"].as_object().into_iter().flatten();
    for (name, _) in missing.filter(|(name, _)| ours["properties"].get(name.as_str()).is_none()) {
        differences.push(format!(
            "{path}.{name}: the simulator's definition has no such field"
        ));
    }
}
