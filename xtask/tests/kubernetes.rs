//! `cargo xtask test --kubernetes` where no API server can be had: it says so in one line, and fails.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use tempfile::TempDir;

/// A folder with a `go` that answers so.
fn with_go(script: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let go = folder.path().join("go");
    fs::write(&go, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// What it says, but for the steps that it announces, with this folder as its cache.
fn said(folder: &TempDir, environment: &[(&str, &str)]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["test", "--kubernetes"])
        .env_remove("KUBECONFIG")
        .env("XDG_CACHE_HOME", folder.path())
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let lines = String::from_utf8(output.stderr).unwrap();
    let lines = lines.lines().filter(|line| !line.starts_with("==> "));
    lines.map(str::to_owned).collect()
}

/// The same where no program is found but those of the folder.
fn said_with_its_programs(folder: &TempDir) -> Vec<String> {
    said(folder, &[("PATH", folder.path().to_str().unwrap())])
}

const NO: &str = "no Kubernetes API server to test against: KUBECONFIG is not set, and ";

/// Which Go there is makes no difference to that, nor whether there is one.
#[test]
fn without_modules_and_without_a_network_it_says_so_in_one_line() {
    let folder = TempDir::new().unwrap();
    let modules = folder.path().join("modules");
    let said = said(
        &folder,
        &[
            ("GOPROXY", "off"),
            ("GOFLAGS", "-mod=mod"),
            ("GOTOOLCHAIN", "local"),
            ("GOMODCACHE", modules.to_str().unwrap()),
        ],
    );
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with(NO), "{said:?}");
}

#[test]
fn modules_that_can_not_be_had_are_told_in_one_line() {
    let folder = with_go(
        r#"case "$1" in
env) echo go1.26.8 ;;
*) printf 'go: downloading example.com/a v1.0.0\nexample.com/a@v1.0.0: 403 Forbidden\nexample.com/b@v1.0.0: 403 Forbidden\n' >&2
   exit 1 ;;
esac"#,
    );
    let why = "Go's modules can't be had to build one: example.com/a@v1.0.0: 403 Forbidden";
    assert_eq!(said_with_its_programs(&folder), [format!("{NO}{why}")]);
}

#[test]
fn another_go_and_none_at_all_are_told_in_one_line() {
    let other = with_go("echo go1.27.1");
    let told = said_with_its_programs(&other);
    assert_eq!(told, [format!("{NO}Go is go1.27.1, not go1.26")]);
    let none = format!("{NO}there is no go1.26 to build one with");
    let broken = with_go("echo 'go: no toolchain' >&2; exit 1");
    assert_eq!(said_with_its_programs(&broken), [none.as_str()]);
    let empty = TempDir::new().unwrap();
    assert_eq!(said_with_its_programs(&empty), [none.as_str()]);
}
