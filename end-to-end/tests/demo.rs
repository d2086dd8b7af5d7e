//! The demo itself: what it promises to whoever runs it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bellhop_end_to_end::{PATIENCE, program};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

fn demo(bellhop: &Path) -> Command {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.env(program::VARIABLE, bellhop)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    demo
}

/// What stands between single quotes after `flag` in a line for the shell.
fn quoted<'a>(line: &'a str, flag: &str) -> &'a str {
    let (_, rest) = line.split_once(flag).unwrap();
    rest.split('\'').nth(1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_sees_every_step_and_keeps_running_with_a_curl_line_that_works() {
    let mut demo = demo(&program::bellhop().unwrap())
        .arg("--keep")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut printed = Vec::new();
    let curl = tokio::time::timeout(2 * PATIENCE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            printed.push(line.clone());
            if line.starts_with("curl") && line.contains("X-Webhook-Signature") {
                return line;
            }
        }
        panic!("it ended early:\n{}", printed.join("\n"));
    });
    let curl = curl.await.unwrap();
    assert!(
        !curl.contains('\u{1b}'),
        "colours where there is no terminal"
    );
    let url = curl
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .unwrap();
    let (_, signature) = quoted(&curl, "application/json' -H")
        .split_once(": ")
        .unwrap();
    let body = quoted(&curl, "-d").to_owned();
    let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(url)
        .header("x-webhook-signature", signature)
        .body(body);
    assert_eq!(request.send().await.unwrap().status(), 202);

    let told = tokio::time::timeout(PATIENCE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            printed.push(line.clone());
            if line.contains("tells Ines (SUCCESS)") {
                return;
            }
        }
        panic!("it ended early:\n{}", printed.join("\n"));
    });
    told.await.unwrap();
    let interrupt = format!("kill -INT {}", demo.id().unwrap());
    assert!(
        Command::new("sh")
            .args(["-c", &interrupt])
            .status()
            .await
            .unwrap()
            .success()
    );
    while let Some(line) = lines.next_line().await.unwrap() {
        printed.push(line);
    }
    let status = tokio::time::timeout(PATIENCE, demo.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(printed.last().map(String::as_str), Some("demo: ok"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_whose_services_do_not_work_says_so_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("bellhop");
    std::fs::write(&broken, "#!/bin/sh\necho broken >&2\nexit 3\n").unwrap();
    let made = Command::new("chmod")
        .arg("755")
        .arg(&broken)
        .status()
        .await
        .unwrap();
    assert!(made.success());
    let output = tokio::time::timeout(Duration::from_secs(60), demo(&broken).output())
        .await
        .unwrap()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success());
    assert!(
        printed.contains("demo: failed:") && printed.contains("broken"),
        "{printed}"
    );
    assert!(!printed.contains("demo: ok"));
}
