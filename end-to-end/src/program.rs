//! Where the program `bellhop` is: beside the one that runs, as cargo lays them.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Names the program; then none is looked for, and none is built.
pub const VARIABLE: &str = "BELLHOP_PROGRAM";

/// There is no program to start.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The operating system doesn't say where we are, or cargo can't be run.
    #[error("cannot find the program `bellhop`")]
    System(#[from] io::Error),
    /// It does not compile.
    #[error("`cargo build --package bellhop` failed:\n{output}")]
    Build {
        /// What cargo said.
        output: String,
    },
    /// It was never built.
    #[error("there is no {}: build it with `cargo build --package bellhop`", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
}

/// The program, as new as its sources where cargo runs us as a test: `cargo test` does not build the programs of other
/// packages. That is done once for each process; cargo itself keeps two of them apart.
///
/// # Errors
/// It isn't there, or does not compile.
pub fn bellhop() -> Result<PathBuf, ProgramError> {
    static FOUND: OnceLock<Result<PathBuf, ProgramError>> = OnceLock::new();
    let found = FOUND.get_or_init(find);
    match found {
        Ok(path) => Ok(path.clone()),
        Err(error) => Err(ProgramError::Build {
            output: error.to_string(),
        }),
    }
}

fn find() -> Result<PathBuf, ProgramError> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return existing(named.into());
    }
    let own = std::env::current_exe()?;
    let folder = own.parent().unwrap_or(Path::new("."));
    // target/debug/deps/TEST-HASH, beside target/debug/bellhop.
    let (folder, is_test) = match folder.file_name() {
        Some(name) if name == "deps" => (folder.parent().unwrap_or(folder), true),
        _ => (folder, false),
    };
    if let (true, Some(cargo)) = (is_test, std::env::var_os("CARGO")) {
        build(Command::new(cargo).arg("build"), folder)?;
    }
    existing(folder.join("bellhop"))
}

fn build(cargo: &mut Command, folder: &Path) -> Result<(), ProgramError> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    if folder.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    // What the outer cargo says of the package of this test. A build script that looks at it (ring's) would run again, and
    // all that stands on it be compiled again, at every change from one cargo to the other.
    let of_this_package = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_this_package) {
            cargo.env_remove(name);
        }
    }
    let output = cargo
        .args([
            "--quiet",
            "--locked",
            "--package",
            "bellhop",
            "--manifest-path",
        ])
        .arg(manifest)
        .arg("--target-dir")
        .arg(folder.parent().unwrap_or(folder))
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        Ok(())
    } else {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(ProgramError::Build { output })
    }
}

fn existing(path: PathBuf) -> Result<PathBuf, ProgramError> {
    if path.is_file() {
        Ok(path)
    } else {
        Err(ProgramError::Missing { path })
    }
}
