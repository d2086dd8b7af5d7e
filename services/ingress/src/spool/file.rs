//! One file of entries: written once, whole and synced; read; looked over after a crash.
//!
//! Only once it is synced are its senders answered. So what a crash cuts off was never answered: it is recognised by its
//! missing line end, at the next start, and dropped. A file never changes after that; a line that can't be read later is
//! damage.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::entry::Entry;

/// What is in it holds keys and e-mail addresses: only the owner may read it.
pub(crate) const FILE_MODE: u32 = 0o600;
/// The room that a file takes is a multiple of this, on the file systems that there are.
const BLOCK: u64 = 4096;
/// How the name of a file of entries ends.
const BATCH: &str = "batch";

/// The number of a file; older ones are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchId(pub(crate) u64);

impl BatchId {
    pub(crate) fn file_name(self) -> String {
        format!("{:020}.{BATCH}", self.0)
    }

    fn of(file_name: &OsStr) -> Option<Self> {
        let digits = file_name.to_str()?.strip_suffix(BATCH)?.strip_suffix('.')?;
        let id = digits.parse().ok().map(Self)?;
        // Any other way to write the number is not ours.
        (*file_name == *id.file_name()).then_some(id)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A file that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) entries: u64,
    /// Of the disk.
    pub(crate) bytes: u64,
    pub(crate) since: Timestamp,
    /// A last line that was not written whole is not in it. That of an earlier process may be unknown, where it could not be
    /// read yet.
    pub(crate) is_whole: bool,
}

impl Batch {
    /// One that could not be looked at. It counts as one webhook, which is the least that it holds.
    pub(crate) fn unseen(path: &Path) -> Self {
        Self {
            entries: 1,
            bytes: on_disk(fs::metadata(path).map_or(0, |it| it.len())),
            since: Timestamp::now(),
            is_whole: false,
        }
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) entries: Vec<Entry>,
    /// Why lines can't be read, one text for each.
    pub(crate) unreadable: Vec<String>,
}

/// Writes a new file whole and syncs it, and the folder that it is in; returns the room that it takes. Where that fails,
/// there is no such file.
pub(crate) fn write(path: &Path, lines: &[impl AsRef<[u8]>]) -> io::Result<u64> {
    let text = lines.iter().fold(Vec::new(), |mut text, line| {
        text.extend_from_slice(line.as_ref());
        text
    });
    let written = create(path)
        .and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        })
        .and_then(|()| sync_folder_of(path));
    if let Err(error) = written {
        // Half a file is none, and takes the room that others could use.
        let _absent = fs::remove_file(path);
        return Err(error);
    }
    Ok(on_disk(text.len() as u64))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
}

/// A new name is on the disk only once its folder is.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// The files of entries in a folder.
pub(crate) fn batches_in(folder: &Path) -> io::Result<Vec<(BatchId, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(id) = BatchId::of(&entry.file_name()) {
            found.push((id, entry.path()));
        }
    }
    Ok(found)
}

/// Reads a file's text.
pub(crate) fn contents(bytes: &[u8]) -> Contents {
    let mut contents = Contents::default();
    let lines = bytes.split(|byte| *byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        match Entry::from_line(line) {
            Ok(entry) => contents.entries.push(entry),
            Err(why) => contents.unreadable.push(why.to_string()),
        }
    }
    contents
}

/// Looks at a file that an earlier process left, and cuts off a last line that was not written whole: its sender was not
/// answered. None where nothing else is in it.
pub(crate) fn complete(path: &Path) -> io::Result<Option<Batch>> {
    // A volume's owner may have been told to let a group in.
    let _not_ours = fs::set_permissions(path, Permissions::from_mode(FILE_MODE));
    let bytes = fs::read(path)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    let mut whole = end.map_or(0, |end| end + 1);
    let tail = &bytes[whole..];
    if !tail.is_empty() {
        // It may be whole but for its end, which is missing or damaged.
        let without_end = [tail, &tail[..tail.len() - 1]]
            .into_iter()
            .find(|line| Entry::from_line(line).is_ok());
        let file = OpenOptions::new().write(true).open(path)?;
        if let Some(line) = without_end {
            whole += line.len();
            file.write_all_at(b"\n", whole as u64)?;
            whole += 1;
        } else {
            tracing::warn!(
                file = %path.display(),
                bytes = tail.len(),
                "the spool ends in a webhook that was not written whole when the process ended; it was never answered, \
                 and is dropped"
            );
            file.set_len(whole as u64)?;
        }
        file.sync_all()?;
    }
    if whole == 0 {
        fs::remove_file(path)?;
        return Ok(None);
    }
    let since = fs::metadata(path)?.modified()?;
    let lines = bytes[..whole.min(bytes.len())].split(|byte| *byte == b'\n');
    Ok(Some(Batch {
        entries: lines.filter(|line| !line.is_empty()).count() as u64,
        bytes: on_disk(whole as u64),
        since: Timestamp::try_from(since).unwrap_or_else(|_| Timestamp::now()),
        is_whole: true,
    }))
}

/// The room that so many bytes take.
pub(crate) fn on_disk(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK) * BLOCK
}
