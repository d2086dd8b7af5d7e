//! The reference of all settings, made from their definitions, so that it can't be wrong.

use std::io::{self, Write};

use bellhop_service::settings::{reference_env_file, reference_markdown};
use clap::CommandFactory;

use crate::Bellhop;

/// In which form the settings are printed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct SettingsForm {
    /// A page for `docs/configuration.md`, or a file of variables
    #[arg(value_enum, default_value = "markdown")]
    form: Form,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Form {
    Markdown,
    Env,
}

pub(crate) fn print(form: SettingsForm) -> io::Result<()> {
    io::stdout().write_all(text(form.form).as_bytes())
}

fn text(form: Form) -> String {
    let command = Bellhop::command();
    match form {
        Form::Markdown => reference_markdown(&command),
        Form::Env => reference_env_file(&command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_reference_of_the_settings_is_current() {
        let page = include_str!("../../docs/configuration.md");
        assert!(
            page.ends_with(&text(Form::Markdown)),
            "docs/configuration.md is not current: `cargo xtask settings` writes it"
        );
        assert_eq!(
            include_str!("../../deploy/bellhop.env"),
            text(Form::Env),
            "deploy/bellhop.env is not current: `cargo xtask settings` writes it"
        );
    }
}
