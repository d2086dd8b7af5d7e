//! One `nats-server` as a child process.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::binary::{InstallError, NatsServerBinary};
use crate::cluster::{NatsCluster, Routes};
use crate::configuration::Configuration;
use crate::guardian;

/// A start takes some 60 ms; a big store on a loaded machine takes longer. Past this something is wrong.
const START_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// The system calls that change files or say something to a client.
const TRACED: &str = "openat,close,lseek,write,writev,pwrite64,fsync,fdatasync,ftruncate,renameat,renameat2,unlinkat,\
    mkdirat,fallocate,copy_file_range,sendfile";

/// A server did not start, or can't be signalled.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no program to start.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// A folder or file of the server can't be made or read.
    #[error("nats-server: cannot use {path}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// The program can't be run.
    #[error("cannot run {program}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// The server ended before it listened.
    #[error("nats-server ended at once ({status}); its log ends with:\n{log}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// The server runs but does not answer.
    #[error("nats-server does not {what} after {} s; its log ends with:\n{log}", START_LIMIT.as_secs())]
    NotReady {
        /// What it does not do.
        what: &'static str,
        /// The end of its log.
        log: String,
    },
    /// The running server could not be signalled or awaited.
    #[error("cannot {what} nats-server")]
    Signal {
        /// What was to be done to it.
        what: &'static str,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
}

/// What a server is started with. See [`NatsServer::builder`].
#[derive(Debug, Default)]
pub struct NatsServerBuilder {
    store: Option<PathBuf>,
    port: u16,
    system_calls: Option<PathBuf>,
    pub(crate) configuration: Configuration,
}

impl NatsServerBuilder {
    /// Keeps the store here; it stays when the server is dropped. Without it the store is temporary.
    #[must_use]
    pub fn store_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.store = Some(folder.into());
        self
    }

    /// Listens on this port of 127.0.0.1. 0, the default, is a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Runs it under `strace` (Debian's package of that name), which writes every system call about its files, and every
    /// write to a socket, into `file`: all strings in hexadecimal, nothing cut. The server keeps its own process id.
    #[must_use]
    pub fn system_calls_to(mut self, file: impl Into<PathBuf>) -> Self {
        self.system_calls = Some(file.into());
        self
    }

    /// Adds text at the top level of the server's configuration file.
    #[must_use]
    pub fn configuration(mut self, text: impl Into<String>) -> Self {
        self.configuration.additions.push(text.into());
        self
    }

    /// Adds text inside the `jetstream` block, for example `max_file_store: 64MB`.
    #[must_use]
    pub fn jetstream_configuration(mut self, text: impl Into<String>) -> Self {
        self.configuration.jetstream_additions.push(text.into());
        self
    }

    /// Opens the monitoring port too, on a free port. See [`NatsServer::monitoring_url`].
    #[must_use]
    pub fn monitoring(mut self) -> Self {
        self.configuration.monitoring = true;
        self
    }

    /// Starts one server and waits until it answers.
    ///
    /// # Errors
    /// See [`StartError`]; a server that ends at once comes with the end of its log.
    pub fn start(self) -> Result<NatsServer, StartError> {
        let binary = NatsServerBinary::find_or_install()?;
        let home = TempDir::with_prefix("bellhop-nats-").map_err(|source| StartError::File {
            path: std::env::temp_dir(),
            source,
        })?;
        let store = self.store.unwrap_or_else(|| home.path().join("store"));
        let mut server = NatsServer {
            binary,
            home,
            store,
            port: self.port,
            monitoring_port: None,
            system_calls: self.system_calls,
            configuration: self.configuration,
            child: None,
        };
        server.launch()?;
        Ok(server)
    }

    /// Starts a cluster of `size` servers with these settings (port and store folder are each server's own) and waits
    /// until every one reports healthy, which is when they have elected a leader.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_cluster(self, size: usize) -> Result<NatsCluster, StartError> {
        self.start_cluster_over(&Routes::between(size)?)
    }

    /// As [`Self::start_cluster`], with these ways between the servers.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_cluster_over(self, routes: &Routes) -> Result<NatsCluster, StartError> {
        NatsCluster::start(self.configuration, routes)
    }
}

/// A running (or killed, or paused) server. Dropping it kills it and removes a temporary store.
#[derive(Debug)]
pub struct NatsServer {
    binary: PathBuf,
    /// Configuration, log, ports file, and the store if it is temporary.
    home: TempDir,
    store: PathBuf,
    port: u16,
    monitoring_port: Option<u16>,
    system_calls: Option<PathBuf>,
    configuration: Configuration,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server with a temporary store on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start() -> Result<Self, StartError> {
        Self::builder().start()
    }

    /// A server with more than the defaults.
    #[must_use]
    pub fn builder() -> NatsServerBuilder {
        NatsServerBuilder::default()
    }

    /// Where clients connect; stays the same over [`Self::restart`].
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port that clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the server's monitoring pages are, if it was started with [`NatsServerBuilder::monitoring`]. A restart
    /// chooses a new port.
    #[must_use]
    pub fn monitoring_url(&self) -> Option<String> {
        self.monitoring_port
            .map(|port| format!("http://127.0.0.1:{port}"))
    }

    /// The folder of the store.
    #[must_use]
    pub fn store_dir(&self) -> &Path {
        &self.store
    }

    /// The process id, if the server runs or is paused.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What the server has logged since its first start.
    #[must_use]
    pub fn log_text(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Kills the server with SIGKILL and waits for its end; nothing happens if it doesn't run.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&mut self) -> Result<(), StartError> {
        if let Some(mut child) = self.child.take() {
            child
                .kill()
                .and_then(|()| child.wait())
                .map_err(|source| StartError::Signal {
                    what: "kill",
                    source,
                })?;
        }
        Ok(())
    }

    /// Stops the server in order (SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// It doesn't run, or does not end.
    pub fn stop(&mut self) -> Result<(), StartError> {
        self.signal("TERM", "stop")?;
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let ended = child.wait().map(drop);
        ended.map_err(|source| StartError::Signal {
            what: "stop",
            source,
        })
    }

    /// Starts the server again on the same port and store, killing it first if it runs, and waits until it answers.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn restart(&mut self) -> Result<(), StartError> {
        self.kill()?;
        self.launch()
    }

    /// Stops the server where it stands (SIGSTOP): its sockets stay open, nothing answers.
    ///
    /// # Errors
    /// It doesn't run, or does not stop.
    pub fn pause(&self) -> Result<(), StartError> {
        self.signal("STOP", "pause")?;
        // The signal is sent, not yet taken: another processor may run one of the threads a little longer.
        let deadline = Instant::now() + START_LIMIT;
        while self.process_id().is_some_and(|id| !is_stopped(id)) {
            if Instant::now() >= deadline {
                return Err(StartError::NotReady {
                    what: "stop",
                    log: self.log_end(),
                });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Lets a paused server go on (SIGCONT).
    ///
    /// # Errors
    /// It doesn't run.
    pub fn resume(&self) -> Result<(), StartError> {
        self.signal("CONT", "resume")
    }

    fn signal(&self, signal: &str, what: &'static str) -> Result<(), StartError> {
        let failed = |source| StartError::Signal { what, source };
        let id = self
            .process_id()
            .ok_or_else(|| failed(io::Error::other("it does not run")))?;
        // The shell's own `kill` is in every container; the program of that name is not.
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {id}")])
            .status()
            .map_err(failed)?;
        if status.success() {
            Ok(())
        } else {
            Err(failed(io::Error::other(format!("kill: {status}"))))
        }
    }

    fn launch(&mut self) -> Result<(), StartError> {
        let file = |path: &Path| {
            let path = path.to_path_buf();
            move |source| StartError::File { path, source }
        };
        let ports = self.home.path().join("ports");
        if ports.exists() {
            fs::remove_dir_all(&ports).map_err(file(&ports))?;
        }
        for folder in [&ports, &self.store] {
            fs::create_dir_all(folder).map_err(file(folder))?;
        }
        let configuration = self.home.path().join("nats.conf");
        fs::write(
            &configuration,
            self.configuration.render(self.port, &self.store, &ports),
        )
        .map_err(file(&configuration))?;
        let log_path = self.log_path();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(file(&log_path))?;
        let log_too = log.try_clone().map_err(file(&log_path))?;

        let mut command = match &self.system_calls {
            Some(file) => strace(&self.binary, file),
            None => guardian::command(&self.binary),
        };
        command
            .arg("--config")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too);
        let child = guardian::spawn(command).map_err(|source| StartError::Spawn {
            program: self.binary.clone(),
            source,
        })?;
        self.child = Some(child);
        self.wait_until_it_answers(&ports)
    }

    fn wait_until_it_answers(&mut self, ports: &Path) -> Result<(), StartError> {
        let deadline = Instant::now() + START_LIMIT;
        let ports = self.poll_until(deadline, "write its ports file", || read_ports_file(ports))?;
        let port = ["nats", "tls"]
            .into_iter()
            .find_map(|scheme| port_after(&ports, &format!("{scheme}://127.0.0.1:")));
        self.port = port.unwrap_or(self.port);
        self.monitoring_port = port_after(&ports, "http://127.0.0.1:");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        self.poll_until(deadline, "answer on its port", || greeting(address))
    }

    /// Tries `look` until it yields something, the server ends, or the deadline passes.
    pub(crate) fn poll_until<T>(
        &mut self,
        deadline: Instant,
        what: &'static str,
        look: impl Fn() -> Option<T>,
    ) -> Result<T, StartError> {
        loop {
            if let Some(seen) = look() {
                return Ok(seen);
            }
            let ended = match self.child.as_mut() {
                Some(child) => child.try_wait().map_err(|source| StartError::Signal {
                    what: "await",
                    source,
                })?,
                None => {
                    return Err(StartError::NotReady {
                        what,
                        log: self.log_end(),
                    });
                }
            };
            if let Some(status) = ended {
                self.child = None;
                return Err(StartError::Ended {
                    status,
                    log: self.log_end(),
                });
            }
            if Instant::now() >= deadline {
                return Err(StartError::NotReady {
                    what,
                    log: self.log_end(),
                });
            }
            thread::sleep(POLL);
        }
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("nats-server.log")
    }

    fn log_end(&self) -> String {
        let log = self.log_text();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // The process is ending or the test is over: there is nobody left to tell.
        let _ = self.kill();
    }
}

/// The program under `strace`: `-D` leaves it our own child, the tracer is a grandchild that ends with it.
fn strace(program: &Path, file: &Path) -> Command {
    let mut command = guardian::command(Path::new("strace"));
    command
        .args(["-D", "-f", "-q", "-xx", "-A", "--seccomp-bpf"])
        .args(["-s", "16777216", "-e", "signal=SIGKILL"])
        .args(["-e", &format!("trace={TRACED}"), "-o"])
        .args([file, program]);
    command
}

/// Whether every thread of a process is stopped, as far as the system tells.
fn is_stopped(process_id: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process_id}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        // `id (name) state …`; the name may hold anything.
        fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| {
            stat.rsplit_once(") ")
                .is_none_or(|(_, rest)| rest.starts_with(['T', 't']))
        })
    })
}

/// The ports file (`nats-server_<pid>.ports`), once it is there and complete: one line of JSON.
fn read_ports_file(folder: &Path) -> Option<String> {
    let path = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "ports")
        })?;
    fs::read_to_string(path)
        .ok()
        .filter(|text| text.trim_end().ends_with('}'))
}

/// The number that follows the first occurrence of `prefix`.
fn port_after(text: &str, prefix: &str) -> Option<u16> {
    let (_, rest) = text.split_once(prefix)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The server's first line, `INFO {…}`: it is ready for clients.
fn greeting(address: SocketAddr) -> Option<()> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.starts_with("INFO ").then_some(())
}
