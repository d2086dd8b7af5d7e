//! A process that spools, and is killed or meets a full disk.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tempfile::TempDir;

use super::super::entry::tests::{delivery, delivery_of};
use super::super::list;
use super::{LONG, everything, ids, open, spool};

/// What tests tell the processes that they start.
const FOLDER: &str = "SPOOL_OF_THE_TEST";
const SENDERS: &str = "SENDERS_OF_THE_TEST";

/// Not a test of its own: what the tests below start as a process, and kill.
#[test]
fn spools_as_long_as_it_lives_where_another_test_asks_for_it() {
    let Some(path) = std::env::var_os(FOLDER) else {
        return;
    };
    let spool = Arc::new(spool(Path::new(&path), &[]).unwrap());
    let begin = spool.folder.depth().entries * 1000;
    let next = Arc::new(AtomicU64::new(begin));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let senders: usize = std::env::var(SENDERS).unwrap().parse().unwrap();
    let senders = (0..senders).map(|_| {
        let (spool, next) = (Arc::clone(&spool), Arc::clone(&next));
        runtime.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let body = Bytes::from(vec![b'x'; usize::try_from(number % 7).unwrap() * 900]);
                let kept = spool.keep(&delivery_of(number, body), LONG).await;
                // One write each: what is read of it is whole.
                let said =
                    kept.map_or_else(|why| format!("! {why}\n"), |()| format!("= {number}\n"));
                std::io::stdout().lock().write_all(said.as_bytes()).unwrap();
            }
        })
    });
    let senders: Vec<_> = senders.collect();
    runtime.block_on(futures::future::join_all(senders));
}

/// This test's own program, doing nothing but that.
fn spooling(path: &Path, senders: &str, limits: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{limits} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["spools_as_long_as_it_lives", "--nocapture"])
        .env(FOLDER, path)
        .env(SENDERS, senders)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

#[test]
fn a_process_killed_at_any_instant_has_on_the_disk_all_that_it_answered() {
    let home = TempDir::new().unwrap();
    let mut answered = BTreeSet::new();
    for round in 1..=6 {
        let mut child = spooling(home.path(), "8", "").spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let answers = |line: String| line.strip_prefix("= ").map(|it| it.parse().unwrap());
        let some: Vec<u64> = lines
            .by_ref()
            .map(Result::unwrap)
            .filter_map(answers)
            .take(37 * round)
            .collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(some.len(), 37 * round, "the process ended by itself");
        answered.extend(some);
        answered.extend(lines.map(Result::unwrap).filter_map(answers));
        let folder = open(home.path());
        let found = everything(&folder);
        assert!(found.unreadable.is_empty(), "{:?}", found.unreadable);
        let kept: BTreeSet<_> = ids(&found.entries).into_iter().collect();
        for number in &answered {
            assert!(kept.contains(delivery(*number).id()), "{number} is lost");
        }
    }
}

#[test]
fn a_disk_that_takes_no_more_refuses_whole_webhooks_and_keeps_those_before() {
    let home = TempDir::new().unwrap();
    // A file of at most 4 KiB: a larger one fails at its second write as on a full disk.
    let mut child = spooling(home.path(), "1", "trap '' XFSZ; ulimit -f 8;")
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut kept, mut refused) = (BTreeSet::new(), 0);
    for line in lines.map(Result::unwrap) {
        if let Some(number) = line.strip_prefix("= ") {
            kept.insert(number.parse::<u64>().unwrap());
        }
        if line.starts_with("! the spool can't be written: ") {
            refused += 1;
        }
        if kept.len() >= 10 && refused >= 10 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let found = everything(&open(home.path()));
    assert!(found.unreadable.is_empty());
    let there: BTreeSet<_> = ids(&found.entries).into_iter().collect();
    for number in kept {
        assert!(there.contains(delivery(number).id()), "{number} is lost");
    }
    for file in list(home.path()).unwrap() {
        assert!(fs::metadata(&file.path).unwrap().size() <= 4096);
    }
}
