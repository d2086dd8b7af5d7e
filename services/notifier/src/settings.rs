//! The notifier's settings.

use std::path::PathBuf;
use std::time::Duration;

use bellhop_event_store::EventStoreSettings;
use bellhop_service::settings::{positive_seconds, seconds};
use bellhop_service::{HttpSettings, TelemetrySettings};
use secrecy::SecretString;
use url::Url;

use crate::destination::Destination;
use crate::error::NotifierError;
use crate::retry::Pauses;

/// Reports what happened: to users as notifications, to administrators in the webhook log
#[derive(Clone, Debug, clap::Parser)]
pub struct NotifierSettings {
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
    /// Where probes and metrics are answered.
    #[command(flatten)]
    pub http: HttpSettings,
    /// The broker.
    #[command(flatten)]
    pub event_store: EventStoreSettings,
    /// Where reports go.
    #[command(flatten)]
    pub reports: ReportSettings,
}

/// Where reports go, how they are signed, and how often they are tried.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Reports")]
pub struct ReportSettings {
    /// Where notifications for users are posted, such as `https://reservations.example/api/notifications/webhook`
    ///
    /// Without it users are told nothing. What happens meanwhile is not told later: if it is set one day, only what happens
    /// from then on is reported.
    #[arg(long, env = "NOTIFICATION_ENDPOINT")]
    pub notification_endpoint: Option<Url>,

    /// How long one notification may take
    #[arg(long, env = "NOTIFICATION_TIMEOUT", default_value = "30", value_parser = positive_seconds())]
    pub notification_timeout: Duration,

    /// Where entries of the webhook log are posted, such as `https://reservations.example/api/webhooks/log`
    ///
    /// Without it nothing is logged there; as with notifications, nothing is caught up on if it is set one day.
    #[arg(long, env = "WEBHOOK_LOG_ENDPOINT")]
    pub webhook_log_endpoint: Option<Url>,

    /// How long one entry of the webhook log may take
    #[arg(long, env = "WEBHOOK_LOG_TIMEOUT", default_value = "30", value_parser = positive_seconds())]
    pub webhook_log_timeout: Duration,

    /// A file with certificate authorities (PEM) that the endpoints' certificates may be signed by, besides the system's own
    #[arg(long, env = "REPORT_CA_FILE")]
    pub report_ca_file: Option<PathBuf>,

    /// The secret that signs for each webhook that WEBHOOK_SECRETS_PATH doesn't name
    #[arg(
        long,
        env = "WEBHOOK_SECRET",
        help_heading = "Webhook secrets",
        hide_env_values = true
    )]
    pub webhook_secret: Option<SecretString>,

    /// A file with that secret; several, one a line, while one is being replaced: the first one signs. Reloaded when it changes
    #[arg(long, env = "WEBHOOK_SECRET_FILE", help_heading = "Webhook secrets")]
    pub webhook_secret_file: Option<PathBuf>,

    /// A file (JSON or YAML) or folder that maps webhook ids to their secrets. Reloaded when it changes
    #[arg(long, env = "WEBHOOK_SECRETS_PATH", help_heading = "Webhook secrets")]
    pub webhook_secrets_path: Option<PathBuf>,

    /// How often a report is tried that the receiver answers with an error (500), or with nothing; then it is a dead letter
    ///
    /// A receiver that can't be reached, or says that it is unavailable, uses up none of them.
    #[arg(long, env = "REPORT_ATTEMPTS", default_value = "12", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub report_attempts: u32,

    /// The pause after the first error, and before the first try of a destination that does not answer; it doubles each time
    #[arg(long, env = "REPORT_RETRY_MIN", default_value = "1", value_parser = seconds())]
    pub report_retry_min: Duration,

    /// The longest pause between tries of one report that the receiver answers with an error
    #[arg(long, env = "REPORT_RETRY_MAX", default_value = "5m", value_parser = seconds())]
    pub report_retry_max: Duration,

    /// The longest pause between tries of a destination that does not answer
    #[arg(long, env = "REPORT_PROBE_MAX", default_value = "60", value_parser = seconds())]
    pub report_probe_max: Duration,
}

/// The shortest first pause: with none at all a receiver in trouble would be hammered.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

impl ReportSettings {
    /// The endpoint of a destination, where it has one.
    ///
    /// # Errors
    /// It is not an HTTP address, or holds a user name or password: the receiver refuses requests with an `Authorization`
    /// header.
    pub fn endpoint(&self, destination: Destination) -> Result<Option<&Url>, NotifierError> {
        let url = match destination {
            Destination::Notification => &self.notification_endpoint,
            Destination::WebhookLog => &self.webhook_log_endpoint,
        };
        let refuse = |problem| {
            Err(NotifierError::Endpoint {
                variable: destination.variable(),
                problem,
            })
        };
        match url {
            Some(url) if !matches!(url.scheme(), "http" | "https") => {
                refuse("it must begin with http:// or https://")
            }
            Some(url) if !url.username().is_empty() || url.password().is_some() => refuse(
                "it must not hold a user name or password: reports are signed, not authorized",
            ),
            url => Ok(url.as_ref()),
        }
    }

    /// How long one request to a destination may take.
    pub fn timeout(&self, destination: Destination) -> Duration {
        match destination {
            Destination::Notification => self.notification_timeout,
            Destination::WebhookLog => self.webhook_log_timeout,
        }
    }

    /// The pauses between tries of one report.
    pub fn report_pauses(&self) -> Pauses {
        Pauses {
            min: self.report_retry_min.max(SHORTEST_PAUSE),
            max: self.report_retry_max,
        }
    }

    /// The pauses between tries of a destination that does not answer.
    pub fn probe_pauses(&self) -> Pauses {
        Pauses {
            min: self.report_retry_min.max(SHORTEST_PAUSE),
            max: self.report_probe_max,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> NotifierSettings {
        let arguments = std::iter::once("notifier").chain(arguments.iter().copied());
        bellhop_service::settings::parse(arguments).unwrap()
    }

    #[test]
    fn the_old_service_s_timeouts_are_the_defaults_and_nothing_is_required() {
        let reports = parse(&[]).reports;
        for destination in Destination::ALL {
            assert_eq!(reports.endpoint(destination).unwrap(), None);
            assert_eq!(reports.timeout(destination), Duration::from_secs(30));
        }
        assert_eq!(reports.report_attempts, 12);
    }

    #[test]
    fn a_request_that_may_take_no_time_at_all_is_refused() {
        for argument in ["--notification-timeout=0", "--webhook-log-timeout=0s"] {
            let parsed =
                bellhop_service::settings::parse::<NotifierSettings>(["notifier", argument]);
            assert!(parsed.is_err(), "{argument}");
        }
    }

    #[test]
    fn an_endpoint_with_a_password_is_refused_without_being_shown() {
        let reports = parse(&["--notification-endpoint", "http://me:hunter2@be/api"]).reports;
        let text = reports
            .endpoint(Destination::Notification)
            .unwrap_err()
            .to_string();
        assert!(
            text.starts_with("NOTIFICATION_ENDPOINT") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn an_endpoint_of_another_scheme_is_refused() {
        let reports = parse(&["--webhook-log-endpoint", "ftp://be/api"]).reports;
        assert!(reports.endpoint(Destination::WebhookLog).is_err());
    }

    #[test]
    fn a_first_pause_of_nothing_is_not_taken_literally() {
        let reports = parse(&["--report-retry-min", "0"]).reports;
        assert!(!reports.report_pauses().min.is_zero() && !reports.probe_pauses().min.is_zero());
    }
}
