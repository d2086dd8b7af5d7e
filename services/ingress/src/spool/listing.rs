//! What lies in a spool, for an operator.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::file::{Contents, batches_in, contents};
use super::folder::{DAMAGED, REFUSED, SpoolError};

/// In which part of a spool a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It waits for the broker.
    Waiting,
    /// The broker refused it for good.
    Refused,
    /// Lines of it can't be read.
    Damaged,
}

/// A file of a spool, for an operator.
#[derive(Debug)]
pub struct SpoolFile {
    /// Where it is.
    pub path: PathBuf,
    /// In which part.
    pub part: Part,
    /// What can be read of it.
    pub entries: Vec<Entry>,
    /// How many lines can't be read.
    pub unreadable: usize,
    /// Why it can't be read now, where it can't; then nothing is known of what is in it.
    pub unread: Option<io::Error>,
}

/// Everything that lies in a spool's folder, whoever uses it, oldest first, each file read when it is its turn. What is
/// being written just now may be among it or not.
///
/// # Errors
/// There is no such folder, or it can't be read.
pub fn list(path: &Path) -> Result<impl Iterator<Item = SpoolFile> + use<>, SpoolError> {
    let mut files = Vec::new();
    for (part, folder) in [
        (Part::Waiting, path.to_owned()),
        (Part::Refused, path.join(REFUSED)),
        (Part::Damaged, path.join(DAMAGED)),
    ] {
        let found = batches_in(&folder).map_err(|source| SpoolError::Unusable {
            what: "read",
            path: folder,
            source,
        });
        let mut found = found?;
        found.sort();
        files.extend(found.into_iter().map(|(_, path)| (part, path)));
    }
    Ok(files.into_iter().filter_map(|(part, path)| {
        let (contents, unread) = match fs::read(&path) {
            Ok(bytes) => (contents(&bytes), None),
            // A running ingress may have stored and removed it by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => (Contents::default(), Some(error)),
        };
        Some(SpoolFile {
            path,
            part,
            entries: contents.entries,
            unreadable: contents.unreadable.len(),
            unread,
        })
    }))
}
