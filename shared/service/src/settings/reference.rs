//! The reference of all settings, written from their declarations.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// One setting, as its declaration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The variable.
    pub name: String,
    /// The argument, without dashes, if it has one.
    pub argument: Option<String>,
    /// What it is if nobody sets it.
    pub default: Option<String>,
    /// Whether nothing starts without it.
    pub is_required: bool,
    /// Whether its value must not be shown.
    pub is_secret: bool,
    /// What it means: paragraphs, separated by an empty line.
    pub help: String,
    /// The group it belongs to.
    pub group: String,
    /// The subcommands that know it, in order; empty if the command itself does.
    pub used_by: Vec<String>,
}

/// All settings of a command and its subcommands that have a variable, each once, in the order of their declaration.
#[must_use]
pub fn reference(command: &Command) -> Vec<Setting> {
    let mut settings = Vec::new();
    collect(command, None, &mut settings);
    settings
}

fn collect(command: &Command, used_by: Option<&str>, settings: &mut Vec<Setting>) {
    for argument in command.get_arguments() {
        let Some(variable) = argument.get_env() else {
            continue;
        };
        let name = variable.to_string_lossy().into_owned();
        let known = settings.iter_mut().find(|known| known.name == name);
        let setting = match known {
            Some(known) => known,
            None => settings.push_mut(setting(name, argument)),
        };
        if let Some(used_by) = used_by
            && !setting.used_by.iter().any(|known| known == used_by)
        {
            setting.used_by.push(used_by.to_owned());
        }
    }
    for inner in command.get_subcommands() {
        let path = match used_by {
            Some(outer) => format!("{outer} {}", inner.get_name()),
            None => inner.get_name().to_owned(),
        };
        collect(inner, Some(&path), settings);
    }
}

fn setting(name: String, argument: &Arg) -> Setting {
    let defaults: Vec<_> = argument
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    let help = argument.get_long_help().or_else(|| argument.get_help());
    Setting {
        name,
        argument: argument.get_long().map(ToOwned::to_owned),
        default: (!defaults.is_empty()).then(|| defaults.join(",")),
        is_required: argument.is_required_set(),
        is_secret: argument.is_hide_env_values_set(),
        help: help.map(ToString::to_string).unwrap_or_default(),
        group: argument.get_help_heading().unwrap_or("Settings").to_owned(),
        used_by: Vec::new(),
    }
}

/// Who knows a setting, for people: of many, the first few.
fn users_of(setting: &Setting) -> String {
    const NAMED: usize = 3;
    let users = &setting.used_by;
    if users.len() > 2 * NAMED {
        format!("{} and the commands", users[..NAMED].join(", "))
    } else {
        users.join(", ")
    }
}

/// The groups in the order in which they first appear, with their settings.
fn by_group(settings: &[Setting]) -> Vec<(&str, Vec<&Setting>)> {
    let mut groups: Vec<(&str, Vec<&Setting>)> = Vec::new();
    for setting in settings {
        match groups.iter_mut().find(|(group, _)| *group == setting.group) {
            Some((_, members)) => members.push(setting),
            None => groups.push((&setting.group, vec![setting])),
        }
    }
    groups
}

/// The reference as Markdown: a table for each group.
#[must_use]
pub fn reference_markdown(command: &Command) -> String {
    let settings = reference(command);
    let has_users = settings.iter().any(|setting| !setting.used_by.is_empty());
    let mut text = String::new();
    for (group, members) in by_group(&settings) {
        let _ = writeln!(text, "## {group}\n");
        let (users, rule) = if has_users {
            (" used by |", "---|")
        } else {
            ("", "")
        };
        let _ = writeln!(
            text,
            "| variable | default |{users} meaning |\n|---|---|{rule}---|"
        );
        for setting in members {
            let default = match &setting.default {
                Some(default) => format!("`{}`", cell(default)),
                None if setting.is_required => "**required**".to_owned(),
                None => "not set".to_owned(),
            };
            let users = if has_users {
                format!(" {} |", users_of(setting))
            } else {
                String::new()
            };
            let secret = if setting.is_secret {
                " *A secret.*"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "| `{}` | {default} |{users} {}{secret} |",
                setting.name,
                cell(&setting.help)
            );
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The reference as an environment file: everything is there, commented out, but for what has no default and is needed.
#[must_use]
pub fn reference_env_file(command: &Command) -> String {
    let settings = reference(command);
    let mut text = String::new();
    for (group, members) in by_group(&settings) {
        let _ = writeln!(text, "# --- {group} ---\n");
        for setting in members {
            for line in setting.help.lines() {
                let _ = writeln!(text, "{}", format!("# {line}").trim_end());
            }
            if !setting.used_by.is_empty() {
                let _ = writeln!(text, "# Used by: {}.", users_of(setting));
            }
            if setting.is_secret {
                let _ = writeln!(text, "# A secret.");
            }
            let comment = if setting.is_required { "" } else { "#" };
            let default = setting.default.as_deref().unwrap_or_default();
            let _ = writeln!(text, "{comment}{}={default}\n", setting.name);
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Text that stays inside one cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .map(|paragraph| {
            if paragraph.ends_with(['.', '!', '?', ']']) {
                paragraph
            } else {
                paragraph + "."
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
        .trim_end_matches(|last| last == '.' && !text.contains("\n\n"))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser, Subcommand};

    use super::*;
    use crate::settings::TelemetrySettings;

    #[derive(Debug, Parser)]
    #[command(name = "bellhop")]
    struct Everything {
        #[command(subcommand)]
        service: Service,
    }

    #[derive(Debug, Subcommand)]
    enum Service {
        /// Receives webhooks
        Ingress(Ingress),
        /// Sends reports
        Notifier(Notifier),
    }

    #[derive(Debug, clap::Args)]
    struct Ingress {
        #[command(flatten)]
        telemetry: TelemetrySettings,
        /// The webhook's secret
        ///
        /// One | for all.
        #[arg(long, env = "WEBHOOK_SECRET", hide_env_values = true)]
        webhook_secret: Option<String>,
    }

    #[derive(Debug, clap::Args)]
    struct Notifier {
        #[command(flatten)]
        telemetry: TelemetrySettings,
        /// What is written to disk
        #[arg(long, env = "PROVISION_IMAGE")]
        provision_image: String,
    }

    #[test]
    fn a_setting_of_two_services_is_listed_once_with_both() {
        let settings = reference(&Everything::command());
        let level: Vec<_> = settings
            .iter()
            .filter(|setting| setting.name == "LOG_LEVEL")
            .collect();
        assert_eq!(level.len(), 1);
        assert_eq!(level[0].used_by, ["ingress", "notifier"]);
        assert_eq!(level[0].default.as_deref(), Some("INFO"));
        assert_eq!(level[0].group, "Logs and traces");
    }

    #[test]
    fn the_markdown_has_a_row_for_each_setting() {
        let text = reference_markdown(&Everything::command());
        assert!(text.contains("## Logs and traces\n\n| variable | default | used by | meaning |\n|---|---|---|---|\n| `LOG_LEVEL` | `INFO` | ingress, notifier |"), "{text}");
        assert!(text.contains("| `WEBHOOK_SECRET` | not set | ingress | The webhook's secret. One \\| for all. *A secret.* |"), "{text}");
        assert!(
            text.contains(
                "| `PROVISION_IMAGE` | **required** | notifier | What is written to disk |"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_environment_file_leaves_open_only_what_is_required() {
        let text = reference_env_file(&Everything::command());
        assert!(text.contains("\n#LOG_LEVEL=INFO\n"), "{text}");
        assert!(text.contains("# A secret.\n#WEBHOOK_SECRET=\n"), "{text}");
        assert!(
            text.contains("# Used by: notifier.\nPROVISION_IMAGE=\n"),
            "{text}"
        );
    }

    #[test]
    fn a_service_keeps_its_own_description() {
        let about = |name| {
            let command = Everything::command();
            let found = command.find_subcommand(name).cloned();
            found.and_then(|command| command.get_about().map(ToString::to_string))
        };
        assert_eq!(about("ingress").as_deref(), Some("Receives webhooks"));
    }
}
