//! The program, as docker-compose.yml runs it: a process of its own.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

/// Ends the process also where a test fails.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

fn settings_file() -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("program-settings.json");
    let settings = serde_json::json!({
        "cluster": {"listen": "127.0.0.1:0", "hosts": [{"namespace": "metal3", "name": "node01"}]},
        "reservation_system": {
            "listen": "127.0.0.1:0",
            "users": [{"id": "mara", "username": "mara.conti"}],
            "resources": [{
                "id": 31, "name": "node01", "type_id": 3, "type_name": "Server", "specs": "", "location": "",
                "site_id": "site-1", "site_name": null,
                "created_at": "2026-03-01T09:00:00Z", "updated_at": "2026-03-01T09:00:00Z",
            }],
        },
        "schedule": {"bookings": [
            {"resource": "node01", "user": "mara", "starts_in_seconds": 60, "lasts_seconds": 60},
        ]},
    });
    std::fs::File::create(&path)
        .unwrap()
        .write_all(settings.to_string().as_bytes())
        .unwrap();
    path
}

#[test]
fn it_tells_what_it_does_and_ends_when_it_is_told_to() {
    let command = Command::new(env!("CARGO_BIN_EXE_bellhop-simulator"))
        .arg("--settings")
        .arg(settings_file())
        .stdout(Stdio::piped())
        .spawn();
    let mut program = Program(command.unwrap());
    let lines = BufReader::new(program.0.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);

    let wanted = [
        "the cluster answers at",
        "the reservation system answers at",
        "mara books node01",
        "host node01 is",
    ];
    let mut missing = wanted.to_vec();
    for line in lines {
        missing.retain(|wanted| !line.contains(wanted));
        if missing.is_empty() {
            break;
        }
    }
    assert!(missing.is_empty(), "not told: {missing:?}");

    let told = Command::new("kill")
        .arg("-TERM")
        .arg(program.0.id().to_string())
        .status()
        .unwrap();
    assert!(told.success());
    assert!(program.0.wait().unwrap().success());
}

#[test]
fn without_settings_it_says_which_file_is_missing() {
    let output = Command::new(env!("CARGO_BIN_EXE_bellhop-simulator"))
        .arg("--settings")
        .arg("no/such.json")
        .output();
    let output = output.unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("no/such.json can't be read"));
}
