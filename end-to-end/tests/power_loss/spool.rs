//! What the ingress has answered with 202 from its spool survives a power cut of its machine.
//!
//! The ingress runs under `strace`, without a broker. Of every answer the test makes what its disk holds at that moment,
//! without all that was not synced by then, and looks with `bellhop spool show` for everything that had been answered before.
//! Here no journal is believed in: a name is on the disk only once its folder was synced.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bellhop_end_to_end::{PATIENCE, Service, ServiceKind, program, wait_for};
use bellhop_nats_server::NatsServer;
use bellhop_reservation_system::{SIGNATURE_HEADER, WebhookSecret, sign};
use futures::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use crate::disk::{Disk, Synced};
use crate::strace_is_there;
use crate::system_calls::{self, SystemCall};

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SENDERS: usize = 6;
const WEBHOOKS_OF_EACH: usize = 12;
/// The system calls that change files or say something to a sender.
const TRACED: &str = "openat,close,lseek,write,writev,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,\
    unlinkat,mkdir,mkdirat,sendto";

/// What the ingress did and answered.
struct Record {
    calls: Vec<SystemCall>,
    /// The id of each delivery that was answered, by the place in the trace where that began.
    answered: Vec<(usize, String)>,
    spool: PathBuf,
    _folder: TempDir,
}

/// The program under `strace`, which leaves it the process that was started.
fn traced(folder: &Path, trace: &Path) -> PathBuf {
    let script = format!(
        "#!/bin/sh\nexec strace -D -f -q -xx --seccomp-bpf -s 16777216 -e signal=SIGKILL -e trace={TRACED} -o '{}' '{}' \"$@\"\n",
        trace.display(),
        program::bellhop().unwrap().display(),
    );
    let path = folder.join("bellhop-under-strace");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

async fn record() -> Record {
    let _already_chosen = rustls::crypto::ring::default_provider().install_default();
    let folder = TempDir::with_prefix("bellhop-power-").unwrap();
    let (spool, trace) = (folder.path().join("spool"), folder.path().join("trace"));
    let mut nats = NatsServer::start().unwrap();
    let variables = [
        ("LISTEN_ADDRESS", "127.0.0.1".to_owned()),
        ("LOG_FORMAT", "json".to_owned()),
        ("NATS_URL", nats.url()),
        ("SPOOL_DIR", spool.display().to_string()),
        ("SPOOL_AFTER", "0.05".to_owned()),
        ("STORE_TIMEOUT", "60".to_owned()),
        ("WEBHOOK_SECRET", SECRET.to_owned()),
    ];
    let variables: BTreeMap<_, _> = variables
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    let program = traced(folder.path(), &trace);
    let log = folder.path().join("ingress.log");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut ingress = Service::new(
        ServiceKind::Ingress,
        program,
        variables,
        log,
        client.clone(),
    );
    ingress.start().await.unwrap();
    ingress.until_ready().await.unwrap();
    nats.kill().unwrap();
    let url = format!("{}/webhook", ingress.url());
    let senders = (0..SENDERS).map(|sender| send_some(&client, &url, sender));
    join_all(senders).await;

    let process = ingress.process_id().unwrap();
    ingress.kill().unwrap();
    let end = format!("{process} ");
    let complete = wait_for(PATIENCE, async || {
        let trace = std::fs::read_to_string(&trace).ok()?;
        let killed = |line: &str| line.starts_with(&end) && line.contains("+++ killed");
        trace.lines().any(killed).then_some(trace)
    });
    let calls = system_calls::read(&complete.await.unwrap());
    Record {
        answered: answered(&spool, &calls),
        calls,
        spool,
        _folder: folder,
    }
}

/// Several at once, so that some share a sync.
async fn send_some(client: &reqwest::Client, url: &str, sender: usize) {
    let secret = WebhookSecret::new(SECRET).unwrap();
    for number in 0..WEBHOOKS_OF_EACH {
        let event = json!({
            "eventType": "EVENT_START",
            "webhookId": 12,
            "eventId": format!("{sender}-{number}"),
            "userId": "user-1",
            "resourceName": "lab7-node04",
            "resourceType": "Server",
            "eventStart": "2026-12-03T08:00:00Z",
            "eventEnd": "2026-12-03T17:30:00Z",
        });
        let body = event.to_string();
        let signature = sign(&secret, body.as_bytes());
        let request = client.post(url).header(SIGNATURE_HEADER, signature);
        let answer = request.timeout(PATIENCE).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
}

/// All answers that a webhook is stored.
fn answered(spool: &Path, calls: &[SystemCall]) -> Vec<(usize, String)> {
    let mut disk = Disk::without_journal(spool);
    let mut answered = Vec::new();
    for call in calls {
        disk.apply(call);
        let to_file = call.descriptor().is_some_and(|it| disk.has_open(it));
        if to_file || !["write", "writev", "sendto"].contains(&call.name.as_str()) {
            continue;
        }
        let said = String::from_utf8_lossy(&call.strings.concat()).into_owned();
        if said.starts_with("HTTP/1.1 202")
            && let Some((_, rest)) = said.split_once("\"deliveryId\":\"")
            && let Some((id, _)) = rest.split_once('"')
        {
            answered.push((call.began, id.to_owned()));
        }
    }
    answered
}

/// What was answered before this place in the trace, and is not in the spool after a power cut at it, where these syncs are
/// left out.
fn lost_at(record: &Record, cut: usize, left_out: Option<Synced>) -> BTreeSet<String> {
    let mut disk = Disk::without_journal(&record.spool);
    for call in record.calls.iter().filter(|call| call.ended < cut) {
        if left_out.is_none() || disk.what_is_synced(call) != left_out {
            disk.apply(call);
        }
    }
    let folder = TempDir::with_prefix("bellhop-power-").unwrap();
    // An ingress that starts makes them where they are missing.
    for aside in ["refused", "damaged"] {
        std::fs::create_dir(folder.path().join(aside)).unwrap();
    }
    for (path, content) in disk.files_on_disk() {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let shown = Command::new(program::bellhop().unwrap())
        .args(["spool", "show", "--spool-dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(shown.status.success(), "{shown:?}");
    let shown = String::from_utf8(shown.stdout).unwrap();
    let waiting: Vec<_> = shown
        .lines()
        .filter(|line| line.starts_with("waiting "))
        .collect();
    let before = record.answered.iter().filter(|(began, _)| *began < cut);
    before
        .map(|(_, id)| id.clone())
        .filter(|id| !waiting.iter().any(|line| line.contains(id.as_str())))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_spool_took_before_a_power_cut_is_there_and_would_not_be_without_each_of_its_syncs()
 {
    if !strace_is_there() {
        return;
    }
    let record = record().await;
    assert_eq!(record.answered.len(), SENDERS * WEBHOOKS_OF_EACH);
    // The trace misses nothing: with all that was written, it makes just the files that are there.
    let mut disk = Disk::without_journal(&record.spool);
    for call in &record.calls {
        disk.apply(call);
    }
    for (path, content) in disk.files() {
        assert_eq!(std::fs::read(record.spool.join(&path)).unwrap(), content);
    }
    for (began, id) in &record.answered {
        let lost = lost_at(&record, began + 1, None);
        assert!(lost.is_empty(), "{lost:?} at the answer to {id}");
    }
    let (end, _) = record.answered.last().unwrap();
    for sync in [Synced::File, Synced::Folder] {
        let lost = lost_at(&record, end + 1, Some(sync));
        assert!(
            !lost.is_empty(),
            "without the syncs of {sync:?} nothing is lost"
        );
    }
}
