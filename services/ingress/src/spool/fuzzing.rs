//! What must hold of a spool after the worst day. `fuzz` looks for inputs that break it; what it found worth keeping is played
//! again by the test here.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::Path;

use bellhop_domain::id::{DeliveryId, ResourceKind, SiteId, Source, WebhookId};
use bellhop_event_store::NewDelivery;
use bytes::Bytes;
use jiff::Timestamp;
use tempfile::TempDir;

use super::entry::{Entry, line_of};
use super::file::BatchId;
use super::folder::Folder;
use crate::delivery::dead_letter;

/// The input's first line says what happens to the file, the others are bodies.
///
/// What is cut off anywhere leaves the entries before that; what is changed anywhere costs those that it belongs to; what is
/// recovered is what was written, in that order. A file of any bytes is recovered once: looked at again, it stays as it is.
pub fn recovery(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n');
    let (damage, rest) = end.map_or((input, &[][..]), |end| (&input[..end], &input[end + 1..]));
    let bodies: Vec<&[u8]> = rest.split(|byte| *byte == b'\n').take(8).collect();
    let entries: Vec<Entry> = (0..).zip(&bodies).map(|(n, body)| entry(n, body)).collect();
    let home = TempDir::new().unwrap();
    let lines: Vec<_> = entries.iter().map(Entry::to_line).collect();
    open(home.path())
        .append(&lines, Timestamp::UNIX_EPOCH)
        .unwrap();
    let file = home.path().join(BatchId(1).file_name());
    let whole = fs::read(&file).unwrap();
    assert_eq!(whole, lines.concat());
    assert_eq!(printed(&recovered(home.path()).0), printed(&entries));

    let byte = |at: usize| usize::from(damage.get(at).copied().unwrap_or_default());
    let place = (byte(0) * 256 + byte(1)) % whole.len();
    cut_off(home.path(), &file, &whole[..place], &entries);
    changed(
        home.path(),
        &file,
        &whole,
        (place, &damage[damage.len().min(2)..]),
        &entries,
    );
    of_any_bytes(home.path(), &file, rest);
    of_any_bytes(home.path(), &file, &[&whole[..place], rest].concat());
    of_any_entry(rest);
}

fn cut_off(home: &Path, file: &Path, left: &[u8], entries: &[Entry]) {
    fs::write(file, left).unwrap();
    let (found, unreadable) = recovered(home);
    assert_eq!(unreadable, 0);
    // The one of which only the line's end is missing is whole.
    let ends = left.iter().filter(|byte| **byte == b'\n').count();
    assert!(found.len() == ends || found.len() == ends + 1);
    assert_eq!(printed(&found), printed(&entries[..found.len()]));
}

fn changed(home: &Path, file: &Path, whole: &[u8], change: (usize, &[u8]), entries: &[Entry]) {
    let (place, bytes) = change;
    let mut damaged = whole.to_vec();
    let mut places = Vec::new();
    for (at, mask) in (place..whole.len()).zip(bytes) {
        damaged[at] ^= mask;
        places.extend((*mask != 0).then_some(at));
    }
    fs::write(file, &damaged).unwrap();
    let (found, _) = recovered(home);
    let mut written = entries.iter();
    for entry in &found {
        let is_it = |other: &Entry| printed_one(other) == printed_one(entry);
        assert!(written.any(is_it), "nobody wrote it, or not in this order");
    }
    // Whose lines were touched; a line's end belongs to two.
    let line = |at: usize| whole[..at].iter().filter(|byte| **byte == b'\n').count();
    let touched = |number: &usize| {
        places.iter().any(|at| {
            let is_end = whole[*at] == b'\n';
            line(*at) == *number || (is_end && line(*at) + 1 == *number)
        })
    };
    let lost = entries.len() - found.len();
    let most = (0..entries.len()).filter(touched).count();
    assert!(lost <= most, "{lost} lost of {most} that were touched");
}

/// Recovers a file of bytes that nobody wrote, and a second time, as after a crash in the middle of recovering.
fn of_any_bytes(home: &Path, file: &Path, bytes: &[u8]) {
    fs::write(file, bytes).unwrap();
    let (found, unreadable) = recovered(home);
    let left = fs::read(file).unwrap_or_default();
    let kept = left.strip_suffix(b"\n").unwrap_or(&left);
    assert!(bytes.starts_with(kept), "it is of other bytes");
    assert!(left.is_empty() || left.ends_with(b"\n"));
    // Nothing that had its end is cut off.
    let ended = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    assert!(left.len() >= ended);
    let again = recovered(home);
    assert_eq!((printed(&again.0), again.1), (printed(&found), unreadable));
    assert_eq!(fs::read(file).unwrap_or_default(), left);
}

/// A whole line, of which only the form may be another.
fn of_any_entry(json: &[u8]) {
    let line = line_of(json);
    if let Ok(entry) = Entry::from_line(&line[..line.len() - 1]) {
        let written = entry.to_line();
        let read = Entry::from_line(&written[..written.len() - 1]).unwrap();
        assert_eq!(printed_one(&read), printed_one(&entry));
    }
}

fn open(home: &Path) -> Folder {
    Folder::open(home, u64::MAX).unwrap()
}

/// What the next process finds: all that waits, and how many lines it can't read.
fn recovered(home: &Path) -> (Vec<Entry>, usize) {
    let folder = open(home);
    let (mut entries, mut unreadable) = (Vec::new(), 0);
    for id in folder.waiting_after(None, usize::MAX, u64::MAX) {
        let contents = folder.read(id).unwrap();
        entries.extend(contents.entries);
        unreadable += contents.unreadable.len();
    }
    assert_eq!(folder.depth().entries, (entries.len() + unreadable) as u64);
    (entries, unreadable)
}

fn printed(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(printed_one).collect()
}

fn printed_one(entry: &Entry) -> String {
    format!("{entry:?}")
}

fn entry(number: usize, body: &[u8]) -> Entry {
    let text = String::from_utf8_lossy(body).into_owned();
    let headers = vec![("user-agent".to_owned(), text.clone())];
    let (received_at, body) = (Timestamp::UNIX_EPOCH, Bytes::copy_from_slice(body));
    if number % 3 == 2 {
        let id = format!("unreadable.{number}");
        return Entry::DeadLetter(dead_letter(id, text, received_at, None, headers, body));
    }
    Entry::Delivery(NewDelivery {
        id: DeliveryId::new(format!("i.{number}")),
        source: Source::new("reservation-system"),
        site: number.is_multiple_of(2).then(|| SiteId::new(&text)),
        kind: (!number.is_multiple_of(2)).then(|| ResourceKind::new(&text)),
        name: Some(text.clone()),
        event_type: Some(text),
        webhook: Some(WebhookId::new("12")),
        received_at,
        traceparent: None,
        headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn what_was_fuzzed_as_a_spool_holds_on_every_kept_input() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/spool");
        let inputs = std::fs::read_dir(root).unwrap();
        let inputs: Vec<_> = inputs
            .map(|it| std::fs::read(it.unwrap().path()).unwrap())
            .collect();
        assert!(inputs.len() >= 12, "{}", inputs.len());
        inputs.iter().for_each(|input| super::recovery(input));
    }
}
