//! A real API server for one run, on loopback: with its etcd, the controller that removes namespaces, a throw-away certificate
//! authority, tokens and storage. All of it ends with this process.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bellhop_nats_server::guardian;

use crate::steps::{Failure, announce};

/// How long the API server may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running API server with what belongs to it. When it is dropped all ends, and what was stored goes.
pub(crate) struct ApiServer {
    folder: PathBuf,
    children: Vec<Child>,
    /// Ends when this process has ended, whichever way, and removes what is left of the folder then.
    _caretaker: Child,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // One that has ended by itself can't be killed.
            let _killed = child.kill();
            let _ended = child.wait();
        }
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

impl ApiServer {
    /// Starts the programs of this folder.
    pub(crate) fn start(programs: &Path) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("bellhop-kubernetes-{:016x}", random()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|source| Failure::File(folder.clone(), source))?;
        let mut server = Self {
            _caretaker: caretaker(&folder)?,
            folder,
            children: Vec::new(),
        };
        let port = free_port()?;
        let etcd = format!("http://127.0.0.1:{}", free_port()?);
        let token = format!("{:016x}{:016x}", random(), random());
        server.write("kubeconfig", &server.text_of_kubeconfig(port, &token))?;
        server.write(
            "tokens.csv",
            &format!("{token},administrator,1,system:masters\n"),
        )?;
        server.run(&programs.join("etcd"), &server.arguments_of_etcd(&etcd)?)?;
        server.run(
            &programs.join("kube-apiserver"),
            &server.arguments_of_kubernetes(&etcd, port),
        )?;
        announce(&format!("API server: started at https://127.0.0.1:{port}"));
        server.wait_for(port)?;
        forget_the_first_version(&etcd)?;
        let kubeconfig = server.file("kubeconfig");
        server.run(&programs.join("namespaces"), &[kubeconfig])?;
        Ok(server)
    }

    fn arguments_of_etcd(&self, address: &str) -> Result<Vec<String>, Failure> {
        let peers = format!("http://127.0.0.1:{}", free_port()?);
        Ok(vec![
            format!("--data-dir={}", self.file("etcd")),
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls={address}"),
            format!("--advertise-client-urls={address}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
        ])
    }

    fn arguments_of_kubernetes(&self, etcd: &str, port: u16) -> Vec<String> {
        let key = self.file("certificates/apiserver.key");
        vec![
            format!("--etcd-servers={etcd}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            // It makes a certificate authority and a certificate of its own there.
            format!("--cert-dir={}", self.file("certificates")),
            format!("--token-auth-file={}", self.file("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            // No controller makes the accounts that it would wait for.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--service-account-issuer=https://kubernetes.invalid".to_owned(),
            format!("--service-account-signing-key-file={key}"),
            format!("--service-account-key-file={key}"),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        ]
    }

    fn text_of_kubeconfig(&self, port: u16, token: &str) -> String {
        let authority = self.file("certificates/apiserver.crt");
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters:\n- name: test\n  cluster:\n    server: https://127.0.0.1:{port}\n    \
             certificate-authority: {authority}\n\
             users:\n- name: administrator\n  user:\n    token: {token}\n\
             contexts:\n- name: test\n  context:\n    cluster: test\n    user: administrator\n"
        )
    }

    /// An administrator's.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|source| Failure::File(path, source))
    }

    fn log(&self, program: &Path) -> PathBuf {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        self.folder.join(format!("{name}.log"))
    }

    fn run(&mut self, program: &Path, arguments: &[String]) -> Result<(), Failure> {
        let log = self.log(program);
        let to_log = fs::File::create(&log).map_err(|source| Failure::File(log, source))?;
        let mut command = guardian::command(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(to_log);
        let child = guardian::spawn(command)
            .map_err(|source| Failure::NotRun(program.display().to_string(), source))?;
        self.children.push(child);
        Ok(())
    }

    /// Waits until the API server listens; the tests wait until it is ready.
    fn wait_for(&mut self, port: u16) -> Result<(), Failure> {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            for (number, name) in ["etcd", "kube-apiserver"].into_iter().enumerate() {
                let ended = self.children.get_mut(number).map(Child::try_wait);
                if let Some(Ok(Some(status))) = ended {
                    let log = fs::read_to_string(self.log(Path::new(name))).unwrap_or_default();
                    let last = log.lines().last().unwrap_or_default();
                    let why = format!("{name} ended with {status}: {last}");
                    return Err(Failure::NoKubernetes(why));
                }
            }
            if begun.elapsed() > PATIENCE {
                return Err(Failure::NoKubernetes("it does not listen".to_owned()));
            }
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

/// Has etcd forget the first version of all, as it does by itself after some minutes: the suite asks for a page of it.
fn forget_the_first_version(etcd: &str) -> Result<(), Failure> {
    let address = etcd.trim_start_matches("http://");
    let body = r#"{"revision": "2"}"#;
    let request = format!(
        "POST /v3/kv/compaction HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let begun = Instant::now();
    loop {
        let answer = TcpStream::connect(address).and_then(|mut connection| {
            connection.write_all(request.as_bytes())?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).map(|_| answer)
        });
        // Until the API server has written something there is no second version.
        match answer {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => return Ok(()),
            _ if begun.elapsed() < PATIENCE => sleep(Duration::from_millis(100)),
            Ok(answer) => {
                let line = answer.lines().next().unwrap_or_default();
                return Err(Failure::NoKubernetes(format!(
                    "etcd forgets nothing: {line}"
                )));
            }
            Err(source) => return Err(Failure::NotRun(format!("a request to {etcd}"), source)),
        }
    }
}

/// A process that removes `folder` when its standard input ends, which only this process holds. The kernel ends the servers
/// with us, but not what they stored: an interrupted run drops nothing.
fn caretaker(folder: &Path) -> Result<Child, Failure> {
    let script = r#"trap "" INT TERM HUP; cat; sleep 1; rm -rf "$0""#;
    Command::new("sh")
        .args(["-c", script])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| Failure::NotRun("sh".to_owned(), source))
}

fn free_port() -> Result<u16, Failure> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Failure::NotRun("a listener on 127.0.0.1".to_owned(), source))
}

/// Enough for a token that lives as long as this process, on loopback.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
