//! Settings from arguments, environment variables and secret files.
//!
//! A service declares its settings as a `clap` struct: each field is an argument with a variable of its own (`env`),
//! its doc comment is the help text and the text of the generated reference, and `hide_env_values` marks a secret.
//!
//! ```
//! use std::path::PathBuf;
//! use bellhop_service::settings::{self, HttpSettings, TelemetrySettings};
//! use secrecy::SecretString;
//!
//! /// Receives webhooks.
//! #[derive(Debug, clap::Parser)]
//! struct Settings {
//!     #[command(flatten)]
//!     telemetry: TelemetrySettings,
//!     #[command(flatten)]
//!     http: HttpSettings,
//!     /// The webhook's secret, as the reservation system showed it once
//!     #[arg(long, env = "WEBHOOK_SECRET", hide_env_values = true)]
//!     webhook_secret: Option<SecretString>,
//!     /// A file that holds the webhook's secret
//!     #[arg(long, env = "WEBHOOK_SECRET_FILE")]
//!     webhook_secret_file: Option<PathBuf>,
//! }
//!
//! let settings: Settings = settings::parse(["ingress", "--port", "8081"])?;
//! let secret = settings::secret("WEBHOOK_SECRET", settings.webhook_secret.as_ref(), settings.webhook_secret_file.as_deref())?;
//! assert!(secret.is_none());
//! # Ok::<(), settings::SettingsError>(())
//! ```
//!
//! A variable that is set but empty counts as not set: that is how compose files and manifests leave one out.

mod reference;
mod shared;
mod values;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Parser};
use secrecy::{ExposeSecret as _, SecretString};

pub use reference::{Setting, reference, reference_env_file, reference_markdown};
pub use shared::{HttpBindError, HttpSettings, TelemetrySettings};
pub use values::{LogFormat, LogLevel, LogLevelError, boolean, positive_seconds, seconds};

/// Settings that can't be used. The text names the variable and never holds a secret's value.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not an error: `--help` or `--version` was asked for, and this is the text.
    #[error("{0}")]
    Shown(String),
    /// A setting has a value that it can't have.
    #[error("{setting}: {reason}")]
    Invalid {
        /// The variable and the argument.
        setting: String,
        /// What is wrong, with the value unless it is a secret or may hold one.
        reason: String,
    },
    /// Settings without a default are not set.
    #[error("not set, and there is no default: {}", settings.join(", "))]
    Missing {
        /// The variables and the arguments.
        settings: Vec<String>,
    },
    /// A secret is given twice.
    #[error("{name} and {name}_FILE are both set: keep one of them")]
    SecretTwice {
        /// The variable.
        name: String,
    },
    /// A secret's file can't be read.
    #[error("{name}_FILE: cannot read {}", path.display())]
    SecretFile {
        /// The variable.
        name: String,
        /// The file.
        path: PathBuf,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// A secret's file holds nothing.
    #[error("{name}_FILE: {} is empty", path.display())]
    SecretFileEmpty {
        /// The variable.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// The command line is not understood.
    #[error("{0}")]
    CommandLine(String),
}

impl SettingsError {
    /// Prints the text where it belongs, with its causes, and gives the status to end with: 0 for `--help`, else 2.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        if let Self::Shown(text) = self {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        eprintln!("{self}");
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            eprintln!("  because: {error}");
            cause = error.source();
        }
        ExitCode::from(2)
    }
}

/// Reads settings from arguments (the first is the program's name), then variables, then defaults.
///
/// # Errors
/// See [`SettingsError`]; `--help` is among them, so that the caller decides when to end.
pub fn parse<S: Parser>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<S, SettingsError> {
    let declared = S::command();
    let mut prepared = prepare(S::command());
    prepared
        .try_get_matches_from_mut(arguments)
        .and_then(|matches| {
            S::from_arg_matches(&matches).map_err(|error| error.format(&mut prepared))
        })
        .map_err(|error| explain(&error, &declared))
}

/// Leaves out empty variables, shows each argument's variable as its value's name, and shows no variable's value.
fn prepare(command: Command) -> Command {
    command
        .mut_args(|argument| {
            let Some(variable) = argument.get_env().map(ToOwned::to_owned) else {
                return argument;
            };
            let argument = argument.hide_env_values(true);
            let argument = if argument.get_action().takes_values() {
                argument.value_name(variable.to_string_lossy().into_owned())
            } else {
                argument
            };
            if std::env::var_os(&variable).is_some_and(|value| value.is_empty()) {
                argument.env(clap::builder::Resettable::Reset)
            } else {
                argument
            }
        })
        .mut_subcommands(prepare)
}

/// Says in our words what clap found: its own name arguments only, and show values.
fn explain(error: &clap::Error, declared: &Command) -> SettingsError {
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(shown)) => find(declared, shown),
        _ => None,
    };
    match (error.kind(), argument) {
        (
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::DisplayVersion,
            _,
        ) => SettingsError::Shown(error.render().to_string()),
        (ErrorKind::MissingRequiredArgument, _) => {
            let shown = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(shown)) => shown.clone(),
                Some(ContextValue::String(shown)) => vec![shown.clone()],
                _ => Vec::new(),
            };
            let name =
                |shown: &String| find(declared, shown).map_or_else(|| shown.clone(), name_of);
            SettingsError::Missing {
                settings: shown.iter().map(name).collect(),
            }
        }
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, Some(argument)) => {
            SettingsError::Invalid {
                setting: name_of(argument),
                reason: reason(error, argument),
            }
        }
        (ErrorKind::ArgumentConflict, Some(argument)) => {
            let other = match error.get(ContextKind::PriorArg) {
                Some(ContextValue::Strings(shown)) => shown.first().cloned(),
                Some(ContextValue::String(shown)) => Some(shown.clone()),
                _ => None,
            };
            let other = other.map(|shown| find(declared, &shown).map_or(shown, name_of));
            SettingsError::Invalid {
                setting: name_of(argument),
                reason: match other {
                    Some(other) if other != name_of(argument) => {
                        format!("cannot be set together with {other}")
                    }
                    _ => "is given more than once".to_owned(),
                },
            }
        }
        _ => SettingsError::CommandLine(not_understood(error)),
    }
}

fn reason(error: &clap::Error, argument: &Arg) -> String {
    let is_secret = argument.is_hide_env_values_set();
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => Some(value),
        _ => None,
    };
    let has_password = value.is_some_and(|value| may_hold_password(value));
    let said = match value {
        Some(_) if has_password && !is_secret => {
            "the value is not valid (not shown: it has an `@`, so there may be a password in it)"
                .to_owned()
        }
        Some(value) if !is_secret => format!("\"{value}\" is not valid"),
        _ => "the value is not valid".to_owned(),
    };
    let allowed = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            format!("; it may be {}", values.join(", "))
        }
        _ => String::new(),
    };
    // A parser's own words may repeat the value.
    let why = match std::error::Error::source(error) {
        Some(source) if !is_secret && !has_password => format!(": {source}"),
        _ => String::new(),
    };
    format!("{said}{why}{allowed}")
}

/// Whether a text may be a URL with credentials, well-formed or not.
fn may_hold_password(text: &str) -> bool {
    text.contains('@')
}

/// What clap says of a command line that it does not understand, without words that may hold a password.
fn not_understood(error: &clap::Error) -> String {
    let mut text = error.render().to_string();
    for (_, value) in error.context() {
        let words = match value {
            ContextValue::String(word) => std::slice::from_ref(word),
            ContextValue::Strings(words) => words.as_slice(),
            _ => &[],
        };
        for word in words.iter().filter(|word| may_hold_password(word)) {
            text = text.replace(word.as_str(), "(not shown)");
        }
    }
    text
}

/// The argument that clap shows as `--name <VALUE>`, here or in a subcommand.
fn find<'c>(command: &'c Command, shown: &str) -> Option<&'c Arg> {
    let long = shown.strip_prefix("--")?;
    let long = long.split([' ', '=']).next()?;
    command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(long))
        .or_else(|| {
            command
                .get_subcommands()
                .find_map(|inner| find(inner, shown))
        })
}

fn name_of(argument: &Arg) -> String {
    match (argument.get_env(), argument.get_long()) {
        (Some(variable), Some(long)) => format!("{} (or --{long})", variable.to_string_lossy()),
        (Some(variable), None) => variable.to_string_lossy().into_owned(),
        (None, Some(long)) => format!("--{long}"),
        (None, None) => argument.get_id().to_string(),
    }
}

/// A secret from its variable or from the file that `<NAME>_FILE` names. Line ends at the file's end are left out:
/// editors and `echo` add one, and no secret has one.
///
/// # Errors
/// Both are given; the file can't be read or is empty.
pub fn secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretString>, SettingsError> {
    match (value, file) {
        (Some(_), Some(_)) => Err(SettingsError::SecretTwice {
            name: name.to_owned(),
        }),
        (Some(value), None) => Ok(Some(value.clone())),
        (None, Some(path)) => read_secret(name, path).map(Some),
        (None, None) => Ok(None),
    }
}

fn read_secret(name: &str, path: &Path) -> Result<SecretString, SettingsError> {
    // The whole text is wiped from memory too, and not only the secret that is in it.
    let text = std::fs::read_to_string(path).map(SecretString::from);
    let text = text.map_err(|source| SettingsError::SecretFile {
        name: name.to_owned(),
        path: path.to_owned(),
        source,
    })?;
    match text.expose_secret().trim_end_matches(['\n', '\r']) {
        "" => Err(SettingsError::SecretFileEmpty {
            name: name.to_owned(),
            path: path.to_owned(),
        }),
        secret => Ok(SecretString::from(secret)),
    }
}
