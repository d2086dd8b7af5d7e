//! `cargo xtask settings`: writes what is generated from the declarations of the settings.

use std::path::Path;

use crate::steps::{self, Failure, announce, cargo, workspace};

/// The line after which `docs/configuration.md` is generated; what stands before it is written by hand.
const MARK: &str = "<!-- From here on `cargo xtask settings` writes this page. -->";

/// Writes `deploy/bellhop.env` and the generated part of `docs/configuration.md`.
pub(crate) fn run() -> Result<(), Failure> {
    announce("settings: the reference, from their declarations");
    let page = workspace().join("docs/configuration.md");
    let text =
        std::fs::read_to_string(&page).map_err(|source| Failure::File(page.clone(), source))?;
    let Some((by_hand, _earlier)) = text.split_once(MARK) else {
        return Err(Failure::NoMark(page, MARK));
    };
    let generated = reference("markdown")?;
    write(&page, &format!("{by_hand}{MARK}\n\n{generated}"))?;
    write(&workspace().join("deploy/bellhop.env"), &reference("env")?)
}

/// What `bellhop settings` prints.
fn reference(form: &str) -> Result<String, Failure> {
    steps::output(cargo("run").args([
        "--quiet",
        "--locked",
        "--package",
        "bellhop",
        "--",
        "settings",
        form,
    ]))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|source| Failure::File(path.to_owned(), source))
}
