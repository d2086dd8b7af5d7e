//! Who gives a command, for what is kept of it.

use bellhop_event_store::Operator;
use jiff::Timestamp;

use crate::Failure;

/// Who gives the command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OperatorSettings {
    /// Who does it, for the record; by default the user of the operating system
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl OperatorSettings {
    /// The operator, now.
    pub(crate) fn now(&self) -> Result<Operator, Failure> {
        let name = self.by.clone().or_else(system_user);
        let name = name.filter(|name| !name.trim().is_empty());
        let name = name.ok_or("it is not known who does it: say so with --by NAME")?;
        Ok(Operator {
            name,
            at: Timestamp::now(),
        })
    }
}

/// The user that the operating system runs this as, by name or by number.
fn system_user() -> Option<String> {
    let named = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|variable| std::env::var(variable).ok())
        .filter(|name| !name.is_empty());
    named.or_else(user_number)
}

#[cfg(target_os = "linux")]
fn user_number() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let process = std::fs::metadata("/proc/self").ok()?;
    Some(format!("uid {}", process.uid()))
}

#[cfg(not(target_os = "linux"))]
fn user_number() -> Option<String> {
    None
}
