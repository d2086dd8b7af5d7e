//! What is left of a spool after the worst day.
#![allow(clippy::unwrap_used, clippy::panic)]

mod drained;
mod killed;
mod rates;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use bellhop_service::Metrics;
use bellhop_service::settings::parse;
use jiff::Timestamp;
use tempfile::TempDir;

use super::entry::tests::delivery;
use super::file::Contents;
use super::folder::Remainder;
use super::*;
use crate::settings::IngressSettings;

const LONG: Duration = Duration::from_secs(60);
const PLENTY: u64 = 1 << 30;

fn open(path: &Path) -> Folder {
    Folder::open(path, PLENTY).unwrap()
}

fn append(folder: &Folder, numbers: std::ops::Range<u64>) {
    let lines: Vec<_> = numbers.map(|number| delivery(number).to_line()).collect();
    folder.append(&lines, Timestamp::now()).unwrap();
}

fn ids(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.id().to_owned()).collect()
}

fn ids_of(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers
        .map(|number| delivery(number).id().to_owned())
        .collect()
}

/// All that waits, and how many lines can't be read.
fn everything(folder: &Folder) -> Contents {
    let mut all = Contents::default();
    for id in folder.waiting_after(None, usize::MAX, u64::MAX) {
        let contents = folder.read(id).unwrap();
        all.entries.extend(contents.entries);
        all.unreadable.extend(contents.unreadable);
    }
    all
}

/// The only file that waits.
fn only_file(path: &Path) -> std::path::PathBuf {
    let files: Vec<_> = list(path).unwrap().collect();
    assert_eq!(files.len(), 1);
    files[0].path.clone()
}

fn spool(path: &Path, arguments: &[&str]) -> Result<Spool, SpoolError> {
    let path = path.to_str().unwrap();
    let all = [&["ingress", "--spool-dir", path], arguments].concat();
    let settings: IngressSettings = parse(all).unwrap();
    let metrics = IngressMetrics::new(&Metrics::new("test", "0"));
    let max_body_bytes = settings.max_body_bytes.get();
    Spool::open(&settings.spool, max_body_bytes, metrics).map(Option::unwrap)
}

#[test]
fn what_is_spooled_waits_in_order_over_a_restart_until_it_is_settled() {
    let home = TempDir::new().unwrap();
    let folder = open(home.path());
    append(&folder, 0..3);
    append(&folder, 3..4);
    let before = folder.depth();
    assert_eq!(before.entries, 4);
    drop(folder);

    let folder = open(home.path());
    assert_eq!(
        (folder.depth().entries, folder.depth().bytes),
        (4, before.bytes)
    );
    assert_eq!(ids(&everything(&folder).entries), ids_of(0..4));
    append(&folder, 4..5);
    let first = folder.waiting_after(None, 1, 1)[0];
    folder.settle(first, &Remainder::default()).unwrap();
    assert_eq!(ids(&everything(&folder).entries), ids_of(3..5));
    drop(folder);
    assert_eq!(ids(&everything(&open(home.path())).entries), ids_of(3..5));
}

#[test]
fn of_a_file_that_is_cut_off_anywhere_every_whole_line_is_kept_and_nothing_else() {
    let home = TempDir::new().unwrap();
    append(&open(home.path()), 0..3);
    let file = only_file(home.path());
    let whole = fs::read(&file).unwrap();
    for length in 0..=whole.len() {
        fs::write(&file, &whole[..length]).unwrap();
        let folder = open(home.path());
        // A line that lacks nothing but its end is whole.
        let lines = whole[..length].split(|byte| *byte == b'\n');
        let complete = lines.filter(|line| Entry::from_line(line).is_ok()).count() as u64;
        let found = everything(&folder);
        assert_eq!(ids(&found.entries), ids_of(0..complete), "{length}");
        assert!(found.unreadable.is_empty(), "{length}");
        assert_eq!(folder.depth().entries, complete, "{length}");
        // What was cut off does not come back.
        let left = fs::metadata(&file).map_or(0, |it| it.len());
        assert!(left <= length as u64 + 1, "{length}");
    }
    append(&open(home.path()), 3..4);
    assert_eq!(ids(&everything(&open(home.path())).entries), ids_of(0..4));
}

#[test]
fn a_byte_that_changed_anywhere_costs_only_the_lines_that_it_belongs_to() {
    let home = TempDir::new().unwrap();
    append(&open(home.path()), 0..3);
    let whole = fs::read(only_file(home.path())).unwrap();
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 0x55;
        fs::write(only_file(home.path()), &changed).unwrap();
        let folder = open(home.path());
        let found = everything(&folder);
        // Where the end of a line changed, that is two lines; the end of the last one is mended.
        let at_end = whole[place] == b'\n';
        let lost = match (at_end, place + 1 == whole.len()) {
            (_, true) => 0,
            (true, false) => 2,
            (false, false) => 1,
        };
        let whose = whole[..place].iter().filter(|byte| **byte == b'\n').count();
        let expected: Vec<_> = ids_of(0..3)
            .into_iter()
            .enumerate()
            .filter(|(line, _)| *line < whose || *line >= whose + lost)
            .map(|(_, id)| id)
            .collect();
        assert_eq!(ids(&found.entries), expected, "{place}");
        assert_eq!(found.unreadable.is_empty(), lost == 0, "{place}");
    }
}

#[test]
fn a_file_with_a_line_that_cannot_be_read_is_kept_aside_and_holds_nobody_up() {
    let home = TempDir::new().unwrap();
    append(&open(home.path()), 0..3);
    let path = only_file(home.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[30] ^= 1;
    fs::write(&path, &bytes).unwrap();

    let folder = open(home.path());
    append(&folder, 3..4);
    let id = folder.waiting_after(None, 1, 1)[0];
    let remainder = Remainder {
        is_damaged: true,
        ..Remainder::default()
    };
    folder.settle(id, &remainder).unwrap();
    assert_eq!(folder.aside().damaged, 1);
    assert_eq!(ids(&everything(&folder).entries), ids_of(3..4));
    drop(folder);

    let folder = open(home.path());
    assert_eq!(folder.aside().damaged, 1);
    let kept = list(home.path()).unwrap().last().unwrap();
    assert_eq!((kept.part, kept.unreadable), (Part::Damaged, 1));
    assert_eq!(fs::read(&kept.path).unwrap(), bytes);
    fs::remove_file(&kept.path).unwrap();
    folder.count_aside().unwrap();
    assert_eq!(folder.aside().damaged, 0);
}

#[test]
fn what_was_refused_comes_back_into_the_line_with_the_next_start() {
    let home = TempDir::new().unwrap();
    let folder = open(home.path());
    append(&folder, 0..3);
    let remainder = Remainder {
        refused: vec![delivery(0)],
        unsettled: vec![delivery(2)],
        is_damaged: false,
    };
    folder.settle(folder.newest().unwrap(), &remainder).unwrap();
    assert_eq!(folder.aside().refused, 1);
    assert_eq!(ids(&everything(&folder).entries), ids_of(2..3));
    drop(folder);
    let folder = open(home.path());
    assert_eq!(folder.aside().refused, 0);
    let found = ids(&everything(&folder).entries);
    assert_eq!(found, [ids_of(2..3), ids_of(0..1)].concat());
}

#[test]
fn a_file_that_an_operator_took_away_is_not_missed() {
    let home = TempDir::new().unwrap();
    let folder = open(home.path());
    append(&folder, 0..1);
    fs::remove_file(only_file(home.path())).unwrap();
    let id = folder.newest().unwrap();
    assert!(everything(&folder).unreadable.is_empty());
    folder.settle(id, &Remainder::default()).unwrap();
    assert!(folder.is_empty());
}

#[test]
fn nobody_but_the_owner_may_read_what_is_spooled() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("made/by/us");
    let modes = || {
        let files: Vec<_> = list(&path).unwrap().collect();
        let file = fs::metadata(&files[0].path).unwrap().permissions().mode();
        let folder = fs::metadata(&path).unwrap().permissions().mode();
        (folder & 0o777, file & 0o777)
    };
    append(&open(&path), 0..1);
    assert_eq!(modes(), (0o700, 0o600));
    // As a volume's driver does for a group.
    fs::set_permissions(only_file(&path), fs::Permissions::from_mode(0o660)).unwrap();
    drop(open(&path));
    assert_eq!(modes(), (0o700, 0o600));
}

#[test]
fn a_second_process_is_told_that_the_folder_is_taken() {
    let home = TempDir::new().unwrap();
    let first = spool(home.path(), &[]).unwrap();
    let taken = spool(home.path(), &[]).unwrap_err();
    assert!(matches!(taken, SpoolError::Taken { .. }), "{taken}");
    assert!(taken.to_string().starts_with("SPOOL_DIR: "), "{taken}");
    first.close();
    spool(home.path(), &[]).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_and_a_spool_without_room_are_refused_by_name() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    let error = spool(&file.join("spool"), &[]).unwrap_err();
    assert!(error.to_string().starts_with("SPOOL_DIR: "), "{error}");
    let error = spool(home.path(), &["--spool-max-bytes", "1000000"]).unwrap_err();
    assert!(
        error.to_string().starts_with("SPOOL_MAX_BYTES: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_full_spool_takes_nothing_more_until_there_is_room_again() {
    let home = TempDir::new().unwrap();
    let limits = ["--max-body-bytes", "1000", "--spool-max-bytes", "73728"];
    let spool = spool(home.path(), &limits).unwrap();
    for number in 0..18 {
        spool.keep(&delivery(number), LONG).await.unwrap();
    }
    let full = spool.keep(&delivery(18), LONG).await.unwrap_err();
    assert_eq!(full, NotSpooled::Full { max_bytes: 73728 });
    assert_eq!(spool.trouble(), Some(full));
    assert_eq!(ids(&everything(&spool.folder).entries), ids_of(0..18));

    // Not before there is some room.
    spool.writer.look_again(&spool.folder);
    assert!(spool.trouble().is_some());
    for id in spool.folder.waiting_after(None, 17, u64::MAX) {
        spool.folder.settle(id, &Remainder::default()).unwrap();
    }
    spool.writer.look_again(&spool.folder);
    assert_eq!(spool.trouble(), None);
    spool.keep(&delivery(18), LONG).await.unwrap();
    assert_eq!(ids(&everything(&spool.folder).entries), ids_of(17..19));
}

#[tokio::test]
async fn what_many_requests_bring_together_fills_few_files() {
    let home = TempDir::new().unwrap();
    let spool = spool(home.path(), &[]).unwrap();
    let many: Vec<_> = (0..200).map(delivery).collect();
    let kept = many.iter().map(|entry| spool.keep(entry, LONG));
    for kept in futures::future::join_all(kept).await {
        kept.unwrap();
    }
    let found = ids(&everything(&spool.folder).entries);
    assert_eq!(
        found.into_iter().collect::<BTreeSet<_>>(),
        ids_of(0..200).into_iter().collect()
    );
    // The first may have left alone; all others stood in the line by the time it was written.
    let files = list(home.path()).unwrap().count();
    assert!(files < 200, "{files}");
}

#[test]
fn pauses_grow_to_a_quarter_of_a_minute_and_are_never_alike() {
    let of = |failures| pause_after(failures, 1.0).as_millis();
    assert_eq!(
        [1, 2, 3, 8, u32::MAX].map(of),
        [250, 500, 1000, 15_000, 15_000]
    );
    assert_eq!(pause_after(2, 0.0).as_millis(), 250);
}
