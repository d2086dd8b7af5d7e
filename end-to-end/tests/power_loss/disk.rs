//! What a disk holds after the power failed: the files of one folder, of the system calls that changed them.
//!
//! The worst that a journalling file system (ext4, XFS) may do is assumed. What was written into a file and not synced is
//! gone, all of it. Names (made, renamed, removed) are as they were at the last sync of anything: that commits the journal,
//! which is in order. An `O_SYNC` write is one that is synced when it returns.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::system_calls::SystemCall;

/// Which file, whatever its name is now.
type File = usize;

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

enum Naming {
    Named(PathBuf, File),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
}

/// Something with the place in the trace where it ended.
struct At<T>(usize, T);

#[derive(Default)]
struct Content {
    changes: Vec<At<Change>>,
    /// How many of the changes are surely on the disk.
    synced: usize,
}

impl Content {
    /// What these changes make of an empty file.
    fn of(changes: &[At<Change>]) -> Vec<u8> {
        let mut content = Vec::new();
        for At(_, change) in changes {
            match change {
                Change::Truncate { length } => content.resize(*length, 0),
                Change::Write { offset, bytes } => {
                    content.resize(content.len().max(offset + bytes.len()), 0);
                    content[*offset..offset + bytes.len()].copy_from_slice(bytes);
                }
            }
        }
        content
    }
}

struct Open {
    path: PathBuf,
    /// None for a folder.
    file: Option<File>,
    offset: usize,
    synchronous: bool,
}

/// What a sync is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    File,
    Folder,
}

/// A folder while it is written.
pub(crate) struct Disk {
    folder: PathBuf,
    /// Whether the sync of a file commits all names too.
    has_journal: bool,
    files: Vec<Content>,
    namings: Vec<At<Naming>>,
    /// How many of them are surely on the disk.
    names_synced: usize,
    names: BTreeMap<PathBuf, File>,
    open: HashMap<i64, Open>,
}

impl Disk {
    /// An empty folder.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
            has_journal: true,
            files: Vec::new(),
            namings: Vec::new(),
            names_synced: 0,
            names: BTreeMap::new(),
            open: HashMap::new(),
        }
    }

    /// The same on a file system that promises no more than POSIX does: names are on the disk once a folder was synced.
    pub(crate) fn without_journal(folder: &Path) -> Self {
        Self {
            has_journal: false,
            ..Self::new(folder)
        }
    }

    /// What the call syncs, of ours.
    pub(crate) fn what_is_synced(&self, call: &SystemCall) -> Option<Synced> {
        let open = call.descriptor().and_then(|it| self.open.get(&it))?;
        ["fsync", "fdatasync"]
            .contains(&call.name.as_str())
            .then_some(match open.file {
                Some(_) => Synced::File,
                None => Synced::Folder,
            })
    }

    /// Whether this descriptor is a file or folder of ours.
    pub(crate) fn has_open(&self, descriptor: i64) -> bool {
        self.open.contains_key(&descriptor)
    }

    /// Applies the next call.
    pub(crate) fn apply(&mut self, call: &SystemCall) {
        if call.result < 0 {
            return;
        }
        match call.name.as_str() {
            "openat" => self.open(call),
            "close" => drop(call.descriptor().and_then(|it| self.open.remove(&it))),
            "rename" | "renameat" | "renameat2" => {
                let (from, to) = (self.path(call, 0), self.path(call, 1));
                self.name(call, Naming::Renamed(from, to));
            }
            "unlink" | "unlinkat" => self.name(call, Naming::Removed(self.path(call, 0))),
            "mkdir" | "mkdirat" => {}
            _ => self.apply_to_open(call),
        }
    }

    fn apply_to_open(&mut self, call: &SystemCall) {
        let Some(open) = call.descriptor().and_then(|it| self.open.get_mut(&it)) else {
            return;
        };
        let (file, synchronous) = (open.file, open.synchronous);
        let change = match call.name.as_str() {
            "fsync" | "fdatasync" => return self.sync(file, call.began),
            "lseek" => {
                open.offset = size(call.result);
                return;
            }
            "ftruncate" => Change::Truncate {
                length: size(call.last_number().expect("it has a length")),
            },
            "write" | "pwrite64" => {
                let mut bytes = call.strings[0].clone();
                bytes.truncate(size(call.result));
                let offset = if call.name == "write" {
                    open.offset += bytes.len();
                    open.offset - bytes.len()
                } else {
                    size(call.last_number().expect("it has a place"))
                };
                Change::Write { offset, bytes }
            }
            other => unreachable!("{other} is not modelled: {call:?}"),
        };
        let file = file.expect("nothing is written into a folder");
        self.files[file].changes.push(At(call.ended, change));
        if synchronous {
            self.sync(Some(file), call.ended + 1);
        }
    }

    fn open(&mut self, call: &SystemCall) {
        let path = self.path(call, 0);
        if !path.starts_with(&self.folder) {
            return;
        }
        let known = self.names.get(&path).copied();
        let file = known.or_else(|| {
            call.has_flag("O_CREAT").then(|| {
                self.files.push(Content::default());
                let file = self.files.len() - 1;
                self.name(call, Naming::Named(path.clone(), file));
                file
            })
        });
        let mut offset = 0;
        if let Some(file) = file {
            let changes = &mut self.files[file].changes;
            if call.has_flag("O_TRUNC") && !changes.is_empty() {
                changes.push(At(call.ended, Change::Truncate { length: 0 }));
            }
            if call.has_flag("O_APPEND") {
                offset = Content::of(changes).len();
            }
        }
        let open = Open {
            path,
            file,
            offset,
            synchronous: call.has_flag("O_SYNC") || call.has_flag("O_DSYNC"),
        };
        self.open.insert(call.result, open);
    }

    /// A path of the call; one that is not absolute is within the folder that it names.
    fn path(&self, call: &SystemCall, place: usize) -> PathBuf {
        let path = call.path(place);
        let within = call.descriptor().and_then(|it| self.open.get(&it));
        within.map_or_else(|| PathBuf::from(&path), |folder| folder.path.join(&path))
    }

    fn name(&mut self, call: &SystemCall, naming: Naming) {
        apply_naming(&mut self.names, &naming);
        self.namings.push(At(call.ended, naming));
    }

    /// What had ended before `began` is on the disk now: of this file, and of all names.
    fn sync(&mut self, file: Option<File>, began: usize) {
        if let Some(file) = file {
            let content = &mut self.files[file];
            content.synced = content
                .changes
                .partition_point(|At(ended, _)| *ended < began);
        }
        if self.has_journal || file.is_none() {
            self.names_synced = self.namings.partition_point(|At(ended, _)| *ended < began);
        }
    }

    /// Every file as the programs that run see it.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let content = |file: &File| Content::of(&self.files[*file].changes);
        let names = self.names.iter();
        names
            .map(|(path, file)| (self.relative(path), content(file)))
            .collect()
    }

    /// Every file as it is after the power failed.
    pub(crate) fn files_on_disk(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut names = BTreeMap::new();
        for At(_, naming) in &self.namings[..self.names_synced] {
            apply_naming(&mut names, naming);
        }
        let content = |file: File| {
            let content = &self.files[file];
            Content::of(&content.changes[..content.synced])
        };
        names
            .into_iter()
            .map(|(path, file)| (self.relative(&path), content(file)))
            .collect()
    }

    fn relative(&self, path: &Path) -> PathBuf {
        let relative = path.strip_prefix(&self.folder);
        relative
            .expect("only files in the folder have names")
            .into()
    }
}

fn apply_naming(names: &mut BTreeMap<PathBuf, File>, naming: &Naming) {
    match naming {
        Naming::Named(path, file) => {
            names.insert(path.clone(), *file);
        }
        Naming::Removed(path) => {
            names.remove(path);
        }
        Naming::Renamed(from, to) => {
            let moved: Vec<_> = names
                .extract_if(.., |path, _| path.starts_with(from))
                .collect();
            for (path, file) in moved {
                let rest = path.strip_prefix(from).expect("it starts so");
                // Joining an empty path would add a slash.
                let path = if rest.as_os_str().is_empty() {
                    to.clone()
                } else {
                    to.join(rest)
                };
                names.insert(path, file);
            }
        }
    }
}

fn size(number: impl TryInto<usize>) -> usize {
    let size = number.try_into().ok();
    size.expect("sizes and places of files are no larger than memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system_calls;

    fn after(calls: &[&str]) -> Disk {
        applied_to(Disk::new(Path::new("/s")), calls)
    }

    fn applied_to(mut disk: Disk, calls: &[&str]) -> Disk {
        let hexadecimal = |text: &str| {
            let digits = text.bytes().map(|byte| format!("\\x{byte:02x}"));
            digits.collect::<String>()
        };
        let lines = calls.iter().map(|call| {
            let parts = call.split('"').enumerate();
            let parts = parts.map(|(place, part)| match place % 2 {
                0 => part.to_owned(),
                _ => format!("\"{}\"", hexadecimal(part)),
            });
            format!("7 {}\n", parts.collect::<String>())
        });
        for call in system_calls::read(&lines.collect::<String>()) {
            disk.apply(&call);
        }
        disk
    }

    fn told(files: BTreeMap<PathBuf, Vec<u8>>) -> Vec<(String, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let files = files.into_iter();
        files
            .map(|(path, bytes)| (path.display().to_string(), text(bytes)))
            .collect()
    }

    fn files(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
        let wanted = wanted.iter();
        wanted
            .map(|(path, content)| ((*path).to_owned(), (*content).to_owned()))
            .collect()
    }

    const MADE: &str = r#"openat(AT_FDCWD, "/s/a", O_RDWR|O_CREAT, 0600) = 3"#;

    #[test]
    fn what_was_not_synced_is_gone() {
        let mut calls = vec![
            MADE,
            r#"pwrite64(3, "one", 3, 0) = 3"#,
            "fsync(3) = 0",
            r#"pwrite64(3, "two", 3, 3) = 3"#,
        ];
        let disk = after(&calls);
        assert_eq!(told(disk.files()), files(&[("a", "onetwo")]));
        assert_eq!(told(disk.files_on_disk()), files(&[("a", "one")]));
        calls.push("fdatasync(3) = 0");
        assert_eq!(
            told(after(&calls).files_on_disk()),
            files(&[("a", "onetwo")])
        );
    }

    #[test]
    fn without_a_journal_a_name_is_lost_until_its_folder_is_synced() {
        let mut calls = vec![MADE, r#"write(3, "one", 3) = 3"#, "fsync(3) = 0"];
        let on_disk = |calls: &[&str]| {
            let disk = applied_to(Disk::without_journal(Path::new("/s")), calls);
            told(disk.files_on_disk())
        };
        assert_eq!(on_disk(&calls), files(&[]));
        calls.extend([r#"openat(AT_FDCWD, "/s", O_RDONLY) = 4"#, "fsync(4) = 0"]);
        assert_eq!(on_disk(&calls), files(&[("a", "one")]));
    }

    #[test]
    fn a_sync_that_failed_or_that_was_of_another_file_saves_nothing() {
        let calls = [
            MADE,
            r#"openat(AT_FDCWD, "/s/b", O_RDWR|O_CREAT, 0600) = 4"#,
            r#"write(3, "one", 3) = 3"#,
            "fsync(3) = -1 EIO (Input/output error)",
            "fsync(4) = 0",
        ];
        let disk = after(&calls);
        assert_eq!(told(disk.files_on_disk()), files(&[("a", ""), ("b", "")]));
    }

    #[test]
    fn a_write_that_had_not_returned_when_the_sync_began_may_be_lost() {
        let mut disk = Disk::new(Path::new("/s"));
        let trace = "7 openat(AT_FDCWD, \"\\x2f\\x73\\x2f\\x61\", O_RDWR|O_CREAT, 0600) = 3\n\
                     7 write(3, \"\\x61\", 1 <unfinished ...>\n\
                     8 fsync(3 <unfinished ...>\n\
                     7 <... write resumed>) = 1\n\
                     8 <... fsync resumed>) = 0\n";
        for call in system_calls::read(trace) {
            disk.apply(&call);
        }
        assert_eq!(told(disk.files_on_disk()), files(&[("a", "")]));
    }

    #[test]
    fn an_o_sync_file_is_there_under_its_new_name_once_something_was_synced() {
        let mut calls = vec![
            r#"openat(AT_FDCWD, "/s/a.tmp", O_WRONLY|O_CREAT|O_TRUNC|O_SYNC, 0600) = 3"#,
            r#"write(3, "one", 3) = 3"#,
            "close(3) = 0",
            r#"renameat(AT_FDCWD, "/s/a.tmp", AT_FDCWD, "/s/a") = 0"#,
        ];
        let disk = after(&calls);
        assert_eq!(told(disk.files()), files(&[("a", "one")]));
        assert_eq!(told(disk.files_on_disk()), files(&[("a.tmp", "one")]));
        calls.extend([r#"openat(AT_FDCWD, "/s", O_RDONLY) = 3"#, "fsync(3) = 0"]);
        assert_eq!(told(after(&calls).files_on_disk()), files(&[("a", "one")]));
    }

    #[test]
    fn what_is_removed_by_its_place_in_a_folder_is_removed() {
        let calls = [
            MADE,
            "close(3) = 0",
            r#"openat(AT_FDCWD, "/s", O_RDONLY) = 3"#,
            r#"unlinkat(3, "a", 0) = 0"#,
        ];
        assert_eq!(told(after(&calls).files()), files(&[]));
    }
}
