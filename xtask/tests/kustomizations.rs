//! The kustomizations of `deploy/` against the manifests that they name: a patch, an image or a file that has no counterpart is
//! an error of `kubectl apply -k`, or changes nothing without a word.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::{Value, json};

const FILE: &str = "kustomization.yaml";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The documents of a file.
fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_norway::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

fn kustomizations(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            kustomizations(&path, found);
        } else if path.ends_with(FILE) {
            found.push(folder.to_owned());
        }
    }
}

/// The elements of a list; none where there is no such list.
fn all<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten()
}

/// What tells two manifests apart.
fn id(manifest: &Value) -> [&Value; 4] {
    let of = |pointer| manifest.pointer(pointer).unwrap_or(&Value::Null);
    [
        of("/apiVersion"),
        of("/kind"),
        of("/metadata/namespace"),
        of("/metadata/name"),
    ]
}

const CONTAINERS: &str = "/spec/template/spec/containers";

fn names<'a>(manifest: &'a Value, pointer: &str, name: &str) -> Vec<&'a str> {
    all(manifest, pointer)
        .filter_map(|it| it.pointer(name)?.as_str())
        .collect()
}

/// The names of the volumes of a workload.
fn volumes(manifest: &Value) -> Vec<&str> {
    [
        names(manifest, "/spec/template/spec/volumes", "/name"),
        names(manifest, "/spec/volumeClaimTemplates", "/metadata/name"),
    ]
    .concat()
}

/// What a folder is made into before its patches are applied, and what is wrong with it.
fn build(folder: &Path, problems: &mut Vec<String>) -> Vec<Value> {
    let kustomization = documents(&folder.join(FILE)).remove(0);
    let mut problem = |text: String| problems.push(format!("{}: {text}", folder.display()));
    let mut manifests = Vec::new();
    for generator in all(&kustomization, "/configMapGenerator") {
        manifests.push(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}}),
        );
        for file in all(generator, "/files").filter_map(Value::as_str) {
            if !folder.join(file).is_file() {
                problem(format!("there is no file {file}"));
            }
        }
    }
    let mut beneath = Vec::new();
    for resource in all(&kustomization, "/resources").filter_map(Value::as_str) {
        let path = folder.join(resource);
        if path.join(FILE).is_file() {
            manifests.extend(build(&path, &mut beneath));
        } else if path.is_file() {
            manifests.extend(documents(&path));
        } else {
            problem(format!("there is no resource {resource}"));
        }
    }
    if let Some(namespace) = kustomization.get("namespace") {
        for manifest in &mut manifests {
            manifest["metadata"]["namespace"] = namespace.clone();
        }
    }
    for (place, manifest) in manifests.iter().enumerate() {
        if manifests[..place].iter().any(|it| id(it) == id(manifest)) {
            problem(format!("{:?} is there twice", id(manifest)));
        }
    }
    for image in names(&kustomization, "/images", "/name") {
        let of = |manifest| names(manifest, CONTAINERS, "/image");
        if !manifests.iter().any(|it| of(it).contains(&image)) {
            problem(format!("nothing has the image {image}"));
        }
    }
    for patch in all(&kustomization, "/patches") {
        let path = patch["path"].as_str().expect("a patch is a file here");
        if !folder.join(path).is_file() {
            problem(format!("there is no patch {path}"));
            continue;
        }
        for patch in documents(&folder.join(path)) {
            let Some(target) = manifests.iter().find(|it| id(it) == id(&patch)) else {
                problem(format!(
                    "{path} is for {:?}, which is not there",
                    id(&patch)
                ));
                continue;
            };
            let containers = names(target, CONTAINERS, "/name");
            for container in all(&patch, CONTAINERS) {
                let name = container["name"].as_str().unwrap_or_default();
                if !containers.contains(&name) {
                    problem(format!(
                        "{path} is for a container {name}, which is not there"
                    ));
                }
                let known = [volumes(target), volumes(&patch)].concat();
                for mount in names(container, "/volumeMounts", "/name") {
                    if !known.contains(&mount) {
                        problem(format!("{path} mounts {mount}, which is not there"));
                    }
                }
            }
        }
    }
    problems.extend(beneath);
    manifests
}

#[test]
fn everything_that_a_kustomization_names_is_there() {
    let mut folders = Vec::new();
    kustomizations(&deploy(), &mut folders);
    assert_eq!(folders.len(), 4, "{folders:?}");
    for folder in folders {
        let mut problems = Vec::new();
        let manifests = build(&folder, &mut problems);
        assert!(manifests.len() > 3, "{manifests:#?}");
        assert!(problems.is_empty(), "{problems:#?}");
    }
}
