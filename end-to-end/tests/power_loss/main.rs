//! What the ingress has answered with 2xx, and every fact, survives a power cut of the broker.
//!
//! The broker runs under `strace` with the settings that are shipped, and the whole system works on it. From the trace the
//! test makes what its disk holds at random moments, without all that was not synced by then, starts a broker on it, and
//! looks for everything that had been acknowledged before. (A plain copy of the folder would see what is only in memory.)
//!
//! Where there is no `strace` (Debian's package of that name), this shows nothing and says so.
#![allow(clippy::unwrap_used, clippy::panic, clippy::unreachable)]

mod disk;
mod spool;
mod system_calls;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bellhop_end_to_end::records::{self, Message};
use bellhop_end_to_end::site::{MARA, TOMAS};
use bellhop_end_to_end::{PATIENCE, System, SystemSettings, wait_for};
use bellhop_nats_server::NatsServer;
use disk::Disk;
use futures::future::join_all;
use jiff::{Timestamp, ToSpan as _};
use rand::Rng as _;
use serde_json::Value;
use system_calls::SystemCall;
use tempfile::TempDir;

/// What must come back message by message. (In the bucket REPORTS a later word replaces an earlier one.)
const STREAMS: [&str; 2] = ["DELIVERIES", "LEDGER"];
/// How many power cuts.
const CUTS: usize = 12;
const SERVERS: i64 = 4;

/// A stream and a sequence in it.
type Place = (String, u64);

/// What the broker said and did, and what it kept until its end.
struct Record {
    calls: Vec<SystemCall>,
    /// What it acknowledged, by the place in the trace where it began to say so.
    acknowledged: Vec<(usize, Place)>,
    messages: BTreeMap<Place, Message>,
    store: PathBuf,
    /// The files at its end.
    files: BTreeMap<PathBuf, Vec<u8>>,
    _folder: TempDir,
}

fn strace_is_there() -> bool {
    let found = Command::new("strace")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let there = found.is_ok_and(|status| status.success());
    if !there {
        eprintln!("NOT SHOWN: there is no strace; install Debian's package of that name");
    }
    there
}

/// Reservations that overlap, from their starts to their ends, and a crowd of bookings for later.
async fn work(system: &System) {
    let now = Timestamp::now();
    let later = (0..60).map(|number| {
        let start = now + (number + 1).hours() * 5;
        let server = 1 + number % SERVERS;
        system.book_at(TOMAS, server, start, start + 1.hour())
    });
    let later: Vec<_> = later.map(Result::unwrap).collect();
    let later = later.iter().map(|booking| async {
        system.reservations.announce(booking.id).await.unwrap();
    });
    let served = (1..=SERVERS).map(|server| async move {
        let booking = system.book(MARA, server).unwrap();
        system.reservations.announce(booking.id).await.unwrap();
        system.reservations.start_event(booking.id).await.unwrap();
        system
            .wait_for_notification(&booking, "SUCCESS")
            .await
            .unwrap();
        system.reservations.end_event(booking.id).await.unwrap();
        system
            .wait_for_fact(&booking, "HostReleased")
            .await
            .unwrap();
    });
    futures::join!(join_all(later), join_all(served));
}

/// Runs the whole system on a broker under `strace` until its work is done, and kills the broker in one blow.
async fn record(jetstream: &str) -> Record {
    let folder = TempDir::with_prefix("bellhop-power-").unwrap();
    let (store, trace) = (folder.path().join("store"), folder.path().join("trace"));
    let nats = NatsServer::builder()
        .store_dir(&store)
        .system_calls_to(&trace)
        .jetstream_configuration(jetstream)
        .start()
        .unwrap();
    let settings = SystemSettings {
        servers: SERVERS,
        hosts: SERVERS,
        ..SystemSettings::default()
    };
    let mut system = System::start_on(nats, settings).await.unwrap();
    work(&system).await;
    for service in system.services() {
        service.kill().unwrap();
    }
    let mut messages = BTreeMap::new();
    for stream in STREAMS {
        let of_stream = system.messages(stream).await.unwrap();
        messages.extend(
            of_stream
                .into_iter()
                .map(|it| ((stream.to_owned(), it.sequence), it)),
        );
    }
    let process = system.nats.process_id().unwrap();
    // Stopped first: what a call in flight had done when the process was killed, no trace tells.
    system.nats.pause().unwrap();
    let files = files_in(&store);
    system.nats.kill().unwrap();
    let end = format!("{process} ");
    let complete = wait_for(PATIENCE, async || {
        let trace = std::fs::read_to_string(&trace).ok()?;
        let killed = |line: &str| line.starts_with(&end) && line.contains("+++ killed");
        trace.lines().any(killed).then_some(trace)
    });
    let calls = system_calls::read(&complete.await.unwrap());
    Record {
        acknowledged: acknowledged(&store, &calls),
        files,
        calls,
        messages,
        store,
        _folder: folder,
    }
}

/// All acknowledgements of a publish: `{"stream":"LEDGER","seq":7}` in what was written to a socket.
fn acknowledged(store: &Path, calls: &[SystemCall]) -> Vec<(usize, Place)> {
    const BEGIN: &[u8] = b"{\"stream\":\"";
    let mut disk = Disk::new(store);
    let mut acknowledged = Vec::new();
    for call in calls {
        disk.apply(call);
        let to_file = call.descriptor().is_some_and(|it| disk.has_open(it));
        if to_file || !["write", "writev"].contains(&call.name.as_str()) {
            continue;
        }
        let said = call.strings.concat();
        for (place, _) in said
            .windows(BEGIN.len())
            .enumerate()
            .filter(|(_, window)| *window == BEGIN)
        {
            let mut values = serde_json::Deserializer::from_slice(&said[place..]).into_iter();
            let Some(Ok::<Value, _>(value)) = values.next() else {
                continue;
            };
            if let (Some(stream), Some(sequence)) =
                (value["stream"].as_str(), value["seq"].as_u64())
            {
                acknowledged.push((call.began, (stream.to_owned(), sequence)));
            }
        }
    }
    acknowledged
}

fn files_in(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn visit(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                visit(root, &path, files);
            } else {
                let content = std::fs::read(&path).unwrap();
                files.insert(path.strip_prefix(root).unwrap().to_path_buf(), content);
            }
        }
    }
    let mut files = BTreeMap::new();
    visit(folder, folder, &mut files);
    files
}

/// What was acknowledged before this place in the trace, and is not there after a power cut at it.
async fn lost_at(record: &Record, cut: usize) -> BTreeSet<Place> {
    let mut disk = Disk::new(&record.store);
    for call in record.calls.iter().filter(|call| call.ended < cut) {
        disk.apply(call);
    }
    let folder = TempDir::with_prefix("bellhop-power-").unwrap();
    for (path, content) in disk.files_on_disk() {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let nats = NatsServer::builder()
        .store_dir(folder.path())
        .start()
        .unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let mut there = BTreeMap::new();
    for stream in STREAMS {
        // A stream that did not come back has lost all.
        let messages = records::messages(&client, stream).await.unwrap_or_default();
        there.extend(
            messages
                .into_iter()
                .map(|it| ((stream.to_owned(), it.sequence), it)),
        );
    }
    let same = |place: &Place| {
        let (there, kept) = (there.get(place), record.messages.get(place));
        there.is_some() && there.map(in_order) == kept.map(in_order)
    };
    let before = record
        .acknowledged
        .iter()
        .filter(|(began, (stream, _))| *began < cut && STREAMS.contains(&stream.as_str()));
    before
        .map(|(_, place)| place.clone())
        .filter(|place| !same(place))
        .collect()
}

/// All of a message; the headers in an order that does not change.
fn in_order(message: &Message) -> (&str, BTreeSet<&(String, String)>, &str) {
    let headers = message.headers.iter().collect();
    (&message.subject, headers, &message.body)
}

/// Moments right after an acknowledgement, when what it speaks of is at the most risk.
fn cuts(record: &Record) -> Vec<usize> {
    let mut random = rand::rng();
    let cuts = (0..CUTS).map(|_| {
        let (began, _) = record.acknowledged[random.random_range(0..record.acknowledged.len())];
        began + 1
    });
    cuts.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_power_cut_is_there_when_the_broker_starts_again() {
    if !strace_is_there() {
        return;
    }
    let record = record("").await;
    let mut disk = Disk::new(&record.store);
    for call in &record.calls {
        disk.apply(call);
    }
    // The trace misses nothing: with all that was written, it makes just the files that are there.
    let (told, there) = (disk.files(), &record.files);
    let either: BTreeSet<_> = told.keys().chain(there.keys()).collect();
    let differ: Vec<_> = either
        .into_iter()
        .filter(|path| told.get(*path) != there.get(*path))
        .map(|path| {
            (
                path,
                told.get(path).map(Vec::len),
                there.get(path).map(Vec::len),
            )
        })
        .collect();
    assert!(differ.is_empty(), "not as the trace has it: {differ:?}");
    // Nor are acknowledgements missed: each message that is kept was acknowledged.
    let told: BTreeSet<_> = record.acknowledged.iter().map(|(_, place)| place).collect();
    for place in record.messages.keys() {
        assert!(
            told.contains(place),
            "{place:?} was kept, and never acknowledged"
        );
    }
    for cut in cuts(&record) {
        assert_eq!(lost_at(&record, cut).await, BTreeSet::new(), "cut at {cut}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_broker_s_own_default_a_power_cut_loses_what_was_acknowledged() {
    if !strace_is_there() {
        return;
    }
    let record = record("sync_interval: 2m").await;
    let mut lost = BTreeSet::new();
    for cut in cuts(&record) {
        lost.extend(lost_at(&record, cut).await);
    }
    assert!(!lost.is_empty(), "the other test of this file can't fail");
}
