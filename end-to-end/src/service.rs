//! One replica of a service: a process of the program `bellhop`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Process, log_text};
use crate::system::HarnessError;
use crate::{PATIENCE, wait_for};

/// A service may take ten seconds to end what is in flight, and three for its last traces.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKind {
    /// Receives webhooks.
    Ingress,
    /// Drives hosts.
    Provisioner,
    /// Reports.
    Notifier,
}

impl ServiceKind {
    /// All three, in the order of an event's way.
    pub const ALL: [Self; 3] = [Self::Ingress, Self::Provisioner, Self::Notifier];

    /// The subcommand of `bellhop`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Provisioner => "provisioner",
            Self::Notifier => "notifier",
        }
    }
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A replica of a service, running or not.
#[derive(Debug)]
pub struct Service {
    kind: ServiceKind,
    program: PathBuf,
    variables: BTreeMap<String, String>,
    log: PathBuf,
    client: reqwest::Client,
    /// 0 until its first start told which one is free; the same from then on, as behind a Kubernetes Service.
    port: u16,
    process: Option<Process>,
}

impl Service {
    /// A replica that does not run yet. `client` is what asks its pages, `log` is what it writes to.
    pub fn new(
        kind: ServiceKind,
        program: PathBuf,
        variables: BTreeMap<String, String>,
        log: PathBuf,
        client: reqwest::Client,
    ) -> Self {
        Self {
            kind,
            program,
            variables,
            log,
            client,
            port: 0,
            process: None,
        }
    }

    /// Which service it is.
    pub fn kind(&self) -> ServiceKind {
        self.kind
    }

    /// Where it answers; stays the same over restarts.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same as an address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its process id, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// The most memory that its process has ever had, in KiB, while it runs.
    pub fn peak_memory(&self) -> Option<u64> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process_id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// All that it wrote since its first start.
    pub fn log_text(&self) -> String {
        log_text(&self.log)
    }

    /// Tells it this from its next start on.
    pub fn set_variable(&mut self, name: &str, value: impl Into<String>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    /// Starts it, and waits until it listens. Nothing happens where it runs.
    ///
    /// # Errors
    /// It can't be run, or ends at once.
    pub async fn start(&mut self) -> Result<(), HarnessError> {
        if self.process.is_some() {
            return Ok(());
        }
        let already_said = listening_ports(&self.log_text()).len();
        let port = ("PORT".to_owned(), self.port.to_string());
        let variables = self.variables.clone().into_iter().chain([port]);
        let process = Process::start(&self.program, [self.kind.name()], variables, &self.log);
        let mut process = process.map_err(|source| self.failed("start", source))?;
        let said = wait_for(PATIENCE, async || {
            let ended = process.ended().ok().flatten().is_some();
            let port = listening_ports(&self.log_text()).get(already_said).copied();
            (port.is_some() || ended).then_some(port)
        })
        .await;
        let Some(Some(port)) = said else {
            return Err(self.not("listens"));
        };
        self.port = port;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Errors
    /// It does not within [`PATIENCE`], or ended.
    pub async fn until_ready(&mut self) -> Result<(), HarnessError> {
        let url = format!("{}/readyz", self.url());
        let ready = wait_for(PATIENCE, async || {
            let process = self.process.as_mut()?;
            if process.ended().ok().flatten().is_some() {
                return Some(false);
            }
            let answer = self.client.get(&url).send().await.ok()?;
            answer.status().is_success().then_some(true)
        })
        .await;
        match ready {
            Some(true) => Ok(()),
            _ => Err(self.not("is ready")),
        }
    }

    /// What `/readyz?verbose` says, or `/metrics` and the like.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn page(&self, path: &str) -> Result<String, HarnessError> {
        let unreachable = |source| HarnessError::Http { source };
        let answer = self.client.get(self.url() + path).send().await;
        answer
            .map_err(unreachable)?
            .text()
            .await
            .map_err(unreachable)
    }

    /// Kills it as `kill -9` does. Nothing happens where it doesn't run.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&mut self) -> Result<(), HarnessError> {
        let result = self.process.take().map_or(Ok(()), Process::kill);
        result.map_err(|source| self.failed("kill", source))
    }

    /// Asks it to end, as Kubernetes does, and waits until it has.
    ///
    /// # Errors
    /// It does not end, or not well.
    pub async fn stop(&mut self) -> Result<(), HarnessError> {
        let Some(process) = self.process.take() else {
            return Ok(());
        };
        match process.stop(STOP_LIMIT).await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.failed("stop", std::io::Error::other(status.to_string()))),
            Err(source) => Err(self.failed("stop", source)),
        }
    }

    /// Stops it where it stands; [`Self::resume`] lets it go on.
    ///
    /// # Errors
    /// The signal can't be sent.
    pub fn pause(&self) -> Result<(), HarnessError> {
        let result = self.process.as_ref().map_or(Ok(()), Process::pause);
        result.map_err(|source| self.failed("pause", source))
    }

    /// Lets a paused one go on.
    ///
    /// # Errors
    /// The signal can't be sent.
    pub fn resume(&self) -> Result<(), HarnessError> {
        let result = self.process.as_ref().map_or(Ok(()), Process::resume);
        result.map_err(|source| self.failed("resume", source))
    }

    fn failed(&self, what: &'static str, source: std::io::Error) -> HarnessError {
        HarnessError::Process {
            what,
            service: self.kind,
            source,
        }
    }

    fn not(&self, what: &'static str) -> HarnessError {
        let log = self.log_text();
        let lines: Vec<&str> = log.lines().collect();
        HarnessError::Not {
            what,
            service: self.kind,
            log: lines[lines.len().saturating_sub(15)..].join("\n"),
        }
    }
}

/// The port of each line in which a service says that it listens: one for each start.
fn listening_ports(log: &str) -> Vec<u16> {
    let port = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        if line.get("message")?.as_str()? != "listening" {
            return None;
        }
        line.get("address")?
            .as_str()?
            .rsplit(':')
            .next()?
            .parse()
            .ok()
    };
    log.lines()
        .filter(|line| line.contains("listening"))
        .filter_map(port)
        .collect()
}
