//! A child process whose output goes to a file, and the signals that it can be sent.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bellhop_nats_server::guardian;

/// What a child needs of our own environment.
const PASSED_ON: [&str; 2] = ["PATH", "TMPDIR"];

/// A running child. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program with these arguments and variables, and none of our own but what it can't do without. What it
    /// writes is added to `log`.
    ///
    /// # Errors
    /// The file can't be written, or the program can't be run.
    pub fn start<'a>(
        program: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
        variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
        log: &Path,
    ) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let log_too = log.try_clone()?;
        let mut command = guardian::command(program);
        command
            .env_clear()
            .envs(
                PASSED_ON
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(variables)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too);
        Ok(Self {
            child: guardian::spawn(command)?,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Kills it (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Asks it to end (SIGTERM), and waits until it has; kills it after `limit`.
    ///
    /// # Errors
    /// The signal can't be sent, or it did not end in time.
    pub async fn stop(mut self, limit: Duration) -> io::Result<ExitStatus> {
        self.signal("TERM")?;
        let ended = crate::wait_for(limit, async || self.child.try_wait().transpose()).await;
        ended.unwrap_or_else(|| Err(io::Error::other("it did not end after SIGTERM")))
    }

    /// Stops it where it stands (SIGSTOP): its connections stay open, nothing answers.
    ///
    /// # Errors
    /// The signal can't be sent.
    pub fn pause(&self) -> io::Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// The signal can't be sent.
    pub fn resume(&self) -> io::Result<()> {
        self.signal("CONT")
    }

    /// The shell's own `kill` is everywhere; the program of that name is not.
    fn signal(&self, signal: &str) -> io::Result<()> {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {}", self.id())])
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("kill -{signal}: {status}")))
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody left to tell of an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A log file's text, empty where there is none.
pub fn log_text(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// All log files of a folder, by name.
pub fn logs_in(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut logs: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| (path.clone(), log_text(&path)))
        .collect();
    logs.sort();
    logs
}
