//! `cargo xtask test --kubernetes`: the suite about Kubernetes on a real API server.
//!
//! The server is that of `KUBECONFIG`, else one that is built once from `tools/kubernetes` with Go and kept in the user's cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::api_server::ApiServer;
use crate::steps::{self, Failure, announce, cargo, nats_server, workspace};

/// Go 1.27 builds an API server whose OpenAPI output is broken.
const GO: &str = "go1.26";
/// What is built, and from which package.
const PROGRAMS: [(&str, &str); 3] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("namespaces", "bellhop.dev/tools/kubernetes/namespaces"),
];

/// Runs the suite.
pub(crate) fn run() -> Result<(), Failure> {
    let own;
    let kubeconfig = match std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) {
        Some(path) => {
            announce("API server: that of KUBECONFIG");
            PathBuf::from(path)
        }
        None => {
            own = ApiServer::start(&programs()?)?;
            own.kubeconfig()
        }
    };
    let nats_server = nats_server()?;
    let suite = || {
        let mut command = cargo("test");
        // The whole workspace: what the other tests have built is used.
        command
            .args(["--locked", "--workspace"])
            .args(["--test", "provisioner", "kubernetes::"])
            .env("NATS_SERVER", &nats_server)
            .env("BELLHOP_TEST_KUBECONFIG", &kubeconfig);
        command
    };
    announce("tests: the suite about Kubernetes, on the real API server");
    let tested = steps::run(&mut suite());
    announce("tests: nothing of it is left there");
    let left = steps::run(suite().args(["--", "--ignored"]));
    tested.and(left)
}

/// The folder with the programs; those that are not there are built.
fn programs() -> Result<PathBuf, Failure> {
    let module = workspace().join("tools/kubernetes");
    let kubernetes = version(&module, "k8s.io/kubernetes")?;
    let etcd = version(&module, "go.etcd.io/etcd/server/v3")?;
    let folder = cache(&format!("kubernetes-{kubernetes}-etcd-{etcd}"))?;
    let mut missing = PROGRAMS.to_vec();
    missing.retain(|(program, _)| !folder.join(program).is_file());
    if missing.is_empty() {
        announce(&format!(
            "API server: Kubernetes {kubernetes}, built before"
        ));
        return Ok(folder);
    }
    check_go(&module)?;
    announce("API server: have Go fetch its modules");
    fetch_modules(&module)?;
    announce(&format!(
        "API server: build Kubernetes {kubernetes} and etcd {etcd} (once; some ten minutes)"
    ));
    let flags = format!("-s -w -X k8s.io/component-base/version.gitVersion={kubernetes}");
    for (program, package) in missing {
        // Not there until it is whole.
        let building = folder.join(format!("building-{}", std::process::id()));
        steps::run(
            Command::new("go")
                .current_dir(&module)
                .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false"])
                .arg(format!("-ldflags={flags}"))
                .arg("-o")
                .arg(&building)
                .arg(package),
        )?;
        let built = folder.join(program);
        fs::rename(&building, &built).map_err(|source| Failure::File(built, source))?;
    }
    Ok(folder)
}

/// The version that the tools module pins.
fn version(module: &Path, dependency: &str) -> Result<String, Failure> {
    let file = module.join("go.mod");
    let text = fs::read_to_string(&file).map_err(|source| Failure::File(file.clone(), source))?;
    text.lines()
        .find_map(|line| {
            let mut words = line.split_whitespace().filter(|word| *word != "require");
            let found = (words.next() == Some(dependency)).then(|| words.next())?;
            found.filter(|version| version.starts_with('v'))
        })
        .map(str::to_owned)
        .ok_or_else(|| Failure::NoKubernetes(format!("{} pins no {dependency}", file.display())))
}

fn check_go(module: &Path) -> Result<(), Failure> {
    let asked = Command::new("go")
        .current_dir(module)
        .args(["env", "GOVERSION"])
        .stderr(Stdio::null())
        .output();
    let found = asked
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let why = match found {
        Some(version) if version.starts_with(GO) => return Ok(()),
        Some(version) => format!("KUBECONFIG is not set, and Go is {version}, not {GO}"),
        None => format!("KUBECONFIG is not set, and there is no {GO} to build one with"),
    };
    Err(Failure::NoKubernetes(why))
}

/// Fetches what the programs are built from, so that a network that is off or a proxy that refuses is told in one line, and not
/// by a build that fails module by module.
fn fetch_modules(module: &Path) -> Result<(), Failure> {
    let mut command = Command::new("go");
    command
        .current_dir(module)
        .args(["list", "-mod=readonly", "-deps", "-f", "{{.ImportPath}}"])
        .args(PROGRAMS.map(|(_, package)| package))
        .stdin(Stdio::null());
    let output = command
        .output()
        .map_err(|source| steps::not_run(&command, source))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // The first that is no progress: the others say the same of other modules.
    let mut lines = said.lines().map(str::trim);
    let why = lines
        .find(|line| !line.is_empty() && !line.starts_with("go: downloading "))
        .unwrap_or("go list failed");
    Err(Failure::NoKubernetes(format!(
        "KUBECONFIG is not set, and Go's modules can't be had to build one: {why}"
    )))
}

/// A folder of this name in the user's cache.
fn cache(name: &str) -> Result<PathBuf, Failure> {
    let of = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty());
    let folder = of("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(of("HOME")?).join(".cache")))
        .ok_or_else(|| Failure::NoKubernetes("neither XDG_CACHE_HOME nor HOME is set".to_owned()))?
        .join("bellhop")
        .join(name);
    fs::create_dir_all(&folder).map_err(|source| Failure::File(folder.clone(), source))?;
    Ok(folder)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_module_pins_both_programs() {
        let module = workspace().join("tools/kubernetes");
        for dependency in ["k8s.io/kubernetes", "go.etcd.io/etcd/server/v3"] {
            assert!(version(&module, dependency).unwrap().starts_with("v"));
        }
        assert!(version(&module, "example.com/nothing").is_err());
    }
}
