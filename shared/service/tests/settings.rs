//! Reads settings in processes of their own: a test can't change its own environment safely.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bellhop_service::settings::{self, HttpSettings, SettingsError, TelemetrySettings};
use clap::{ArgAction, CommandFactory as _, Parser};
use secrecy::{ExposeSecret as _, SecretString};

/// A service as the tests have it.
#[derive(Debug, Parser)]
struct Settings {
    #[command(flatten)]
    telemetry: TelemetrySettings,
    #[command(flatten)]
    http: HttpSettings,
    /// The image
    #[arg(long, env = "PROVISION_IMAGE")]
    provision_image: url::Url,
    /// How long Metal3 may take
    #[arg(long, env = "PROVISIONING_TIMEOUT", default_value = "2700", value_parser = settings::seconds())]
    provisioning_timeout: Duration,
    /// A switch
    #[arg(long, env = "ACCEPT_UNSIGNED", default_value = "false", action = ArgAction::Set, value_parser = settings::boolean())]
    accept_unsigned: bool,
    /// A secret with a form of its own
    #[arg(long, env = "API_TOKEN", hide_env_values = true)]
    api_token: Option<u64>,
    /// One way
    #[arg(long, env = "ONE_WAY", conflicts_with = "other_way")]
    one_way: Option<String>,
    /// Another way
    #[arg(long, env = "OTHER_WAY")]
    other_way: Option<String>,
    /// The webhook's secret
    #[arg(long, env = "WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: Option<SecretString>,
    /// The same from a file
    #[arg(long, env = "WEBHOOK_SECRET_FILE")]
    webhook_secret_file: Option<PathBuf>,
}

impl Settings {
    fn secret(&self) -> Result<Option<SecretString>, SettingsError> {
        settings::secret(
            "WEBHOOK_SECRET",
            self.webhook_secret.as_ref(),
            self.webhook_secret_file.as_deref(),
        )
    }
}

/// Not a test: what the other tests run, with an environment of their own.
#[test]
#[ignore = "run by the other tests of this file"]
fn read_settings_from_the_environment() {
    match settings::parse::<Settings>(["service"]) {
        Err(error) => println!("RESULT error {error}"),
        Ok(settings) => match settings.secret() {
            Err(error) => println!("RESULT error {error}"),
            Ok(secret) => println!(
                "RESULT ok {} {:?} {} {} {:?} {settings:?}",
                settings.http.port,
                settings.provisioning_timeout,
                settings.accept_unsigned,
                settings.http.disable_healthz_logs,
                secret.map(|secret| secret.expose_secret().len()),
            ),
        },
    }
}

fn read(environment: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "read_settings_from_the_environment",
        ])
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let Some((_, result)) = text.split_once("RESULT ") else {
        panic!("no result in {text}")
    };
    result.to_owned()
}

const IMAGE: (&str, &str) = ("PROVISION_IMAGE", "http://images.example/noble.img");

#[test]
fn variables_are_read_and_defaults_fill_the_rest() {
    let result = read(&[IMAGE, ("PORT", "9000"), ("PROVISIONING_TIMEOUT", "45m")]);
    assert!(
        result.starts_with("ok 9000 2700s false true None"),
        "{result}"
    );
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let result = read(&[
        IMAGE,
        ("PORT", ""),
        ("LOG_LEVEL", ""),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ("WEBHOOK_SECRET", ""),
        ("WEBHOOK_SECRET_FILE", ""),
        ("PROVISIONING_TIMEOUT", ""),
    ]);
    assert!(
        result.starts_with("ok 8080 2700s false true None"),
        "{result}"
    );

    let result = read(&[("PROVISION_IMAGE", "")]);
    assert!(
        result.starts_with(
            "error not set, and there is no default: PROVISION_IMAGE (or --provision-image)"
        ),
        "{result}"
    );
}

#[test]
fn booleans_are_read_in_every_usual_form() {
    for (word, meaning) in [
        ("YES", true),
        ("on", true),
        ("1", true),
        ("True", true),
        ("no", false),
        ("OFF", false),
        ("0", false),
    ] {
        let result = read(&[IMAGE, ("ACCEPT_UNSIGNED", word)]);
        assert!(
            result.starts_with(&format!("ok 8080 2700s {meaning} ")),
            "{word}: {result}"
        );
    }
}

#[test]
fn an_error_names_the_variable_and_the_value() {
    let result = read(&[IMAGE, ("PORT", "http")]);
    assert!(
        result.starts_with("error PORT (or --port): \"http\" is not valid: "),
        "{result}"
    );
    let result = read(&[IMAGE, ("LOG_FORMAT", "xml")]);
    assert!(
        result.contains("LOG_FORMAT (or --log-format)") && result.contains("json, text"),
        "{result}"
    );
    let result = read(&[IMAGE, ("LOG_LEVEL", "LOUD")]);
    assert!(
        result.contains("LOG_LEVEL") && result.contains("WARNING"),
        "{result}"
    );
}

#[test]
fn a_secret_is_in_no_error_no_help_and_no_debug_output() {
    let result = read(&[IMAGE, ("API_TOKEN", "hunter2")]);
    assert!(
        result.starts_with("error API_TOKEN (or --api-token): the value is not valid"),
        "{result}"
    );
    assert!(!result.contains("hunter2"), "{result}");

    let result = read(&[IMAGE, ("WEBHOOK_SECRET", "hunter2")]);
    assert!(
        result.starts_with("ok 8080 2700s false true Some(7)"),
        "{result}"
    );
    assert!(!result.contains("hunter2"), "{result}");
}

#[test]
fn a_password_in_a_mistyped_url_is_in_no_error() {
    let result = read(&[("PROVISION_IMAGE", "http//me:hunter2@images.example")]);
    assert!(
        result.starts_with(
            "error PROVISION_IMAGE (or --provision-image): the value is not valid (not shown"
        ),
        "{result}"
    );
    assert!(!result.contains("hunter2"), "{result}");

    let url = "http://me:hunter2@images.example";
    let mistyped = format!("--provision-imgae={url}");
    for arguments in [
        vec!["service", url],
        vec!["service", mistyped.as_str()],
        vec!["service", "--provision-imgae", url],
    ] {
        let error = settings::parse::<Settings>(arguments).unwrap_err();
        assert!(matches!(error, SettingsError::CommandLine(_)), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_secret_comes_from_its_file_without_the_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "hunter2\n").unwrap();
    let file = ("WEBHOOK_SECRET_FILE", path.to_str().unwrap());

    let result = read(&[IMAGE, file]);
    assert!(result.contains("Some(7)"), "{result}");

    let result = read(&[IMAGE, file, ("WEBHOOK_SECRET", "other")]);
    assert!(
        result.starts_with("error WEBHOOK_SECRET and WEBHOOK_SECRET_FILE are both set"),
        "{result}"
    );

    std::fs::write(&path, "\n").unwrap();
    let result = read(&[IMAGE, file]);
    assert!(
        result.starts_with("error WEBHOOK_SECRET_FILE: ") && result.contains("is empty"),
        "{result}"
    );

    std::fs::remove_file(&path).unwrap();
    let result = read(&[IMAGE, file]);
    assert!(
        result.starts_with("error WEBHOOK_SECRET_FILE: cannot read "),
        "{result}"
    );
}

#[test]
fn help_shows_variables_and_is_no_error() {
    match settings::parse::<Settings>(["service", "--help"]) {
        Err(SettingsError::Shown(text)) => {
            assert!(text.contains("--webhook-secret <WEBHOOK_SECRET>"), "{text}");
            assert!(text.contains("[env: PROVISION_IMAGE]"), "{text}");
            assert!(text.starts_with("A service as the tests have it"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_that_exclude_each_other_are_both_named() {
    let result = read(&[IMAGE, ("ONE_WAY", "a"), ("OTHER_WAY", "b")]);
    assert!(
        result.contains("ONE_WAY (or --one-way)") && result.contains("OTHER_WAY (or --other-way)"),
        "{result}"
    );
    let error = settings::parse::<Settings>(["service", "--port", "1", "--port", "2"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "PORT (or --port): is given more than once"
    );
}

#[test]
fn an_unknown_argument_is_an_error_that_names_it() {
    let error = settings::parse::<Settings>(["service", "--prot", "1"]).unwrap_err();
    assert!(error.to_string().contains("--prot"), "{error}");
}

#[test]
fn arguments_win_over_variables_and_the_command_is_consistent() {
    Settings::command().debug_assert();
    let settings: Settings = settings::parse([
        "service",
        "--provision-image",
        "http://images.example/a.img",
        "--port",
        "1",
        "--disable-healthz-logs",
        "no",
    ])
    .unwrap();
    assert_eq!(settings.http.port, 1);
    assert!(!settings.http.disable_healthz_logs);
    assert_eq!(settings.telemetry.otlp_endpoint, None);
}
