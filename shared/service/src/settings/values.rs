//! Values that settings of several services have.

use std::str::FromStr;
use std::time::Duration;

use clap::builder::{BoolishValueParser, TypedValueParser};
use tracing_subscriber::EnvFilter;

/// Reads true, false, yes, no, on, off, 1, 0, in any case. Use it with `action = ArgAction::Set`.
#[must_use]
pub fn boolean() -> impl TypedValueParser<Value = bool> {
    BoolishValueParser::new()
}

/// Reads a time span: `2700` is seconds, `45m` and `1h 30m` are what they say. Negative ones are refused.
#[must_use]
pub fn seconds() -> impl TypedValueParser<Value = Duration> {
    clap::builder::StringValueParser::new().try_map(|text: String| time_span(&text))
}

/// Reads a time span as [`seconds`] does, and refuses one of nothing: for limits and intervals, where 0 does not mean
/// "none" but "always too late" or "without a pause".
#[must_use]
pub fn positive_seconds() -> impl TypedValueParser<Value = Duration> {
    clap::builder::StringValueParser::new().try_map(|text: String| match time_span(&text)? {
        Duration::ZERO => Err("it must be longer than 0".to_owned()),
        span => Ok(span),
    })
}

fn time_span(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    let span = text
        .parse::<jiff::SignedDuration>()
        .map_err(|_| "expected seconds, or a time span such as 45m or 1h30m".to_owned())?;
    Duration::try_from(span).map_err(|_| "a time span can't be negative".to_owned())
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object for each line, for collectors.
    Json,
    /// Lines for people.
    Text,
}

/// Which log lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel {
    directives: String,
}

/// Neither a level nor directives.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected DEBUG, INFO, WARNING, ERROR or CRITICAL, or directives such as info,bellhop_ingress=debug"
)]
pub struct LogLevelError;

impl FromStr for LogLevel {
    type Err = LogLevelError;

    /// Reads a level's name in any case, Python's names included, or filter directives of `tracing`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let directives = match text.to_ascii_uppercase().as_str() {
            // The libraries' debugging drowns ours; whoever wants it can ask for it with directives.
            "TRACE" => "info,bellhop=trace",
            "DEBUG" => "info,bellhop=debug",
            "INFO" => "info",
            "WARN" | "WARNING" => "warn",
            // There is no level above error, and an error is what an operator must see.
            "ERROR" | "CRITICAL" | "FATAL" => "error",
            // A lone word would be read as the name of a crate, and a typing error as silence.
            _ if !text.contains(['=', ',']) => return Err(LogLevelError),
            _ => text,
        };
        EnvFilter::builder()
            .parse(directives)
            .map_err(|_| LogLevelError)?;
        Ok(Self {
            directives: directives.to_owned(),
        })
    }
}

impl LogLevel {
    /// The filter, without the trace exporter's own lines, which would come for each batch that fails.
    pub(crate) fn filter(&self) -> EnvFilter {
        EnvFilter::new(format!("{},opentelemetry=off", self.directives))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(
        parser: &impl TypedValueParser<Value = Duration>,
        text: &str,
    ) -> Result<Duration, clap::Error> {
        parser.parse_ref(&clap::Command::new("test"), None, text.as_ref())
    }

    #[test]
    fn a_limit_of_nothing_is_refused_where_it_would_always_be_exceeded() {
        for nothing in ["0", "0.0", "0s", "1e-30"] {
            assert!(parsed(&seconds(), nothing).is_ok(), "{nothing}");
            assert!(parsed(&positive_seconds(), nothing).is_err(), "{nothing}");
        }
        assert!(parsed(&positive_seconds(), "-1").is_err());
        let span = parsed(&positive_seconds(), "1m 30s").unwrap();
        assert_eq!(span, Duration::from_secs(90));
    }

    fn directives(text: &str) -> Option<String> {
        text.parse::<LogLevel>().ok().map(|level| level.directives)
    }

    #[test]
    fn the_old_services_levels_are_read_in_any_case() {
        assert_eq!(directives("INFO").unwrap(), "info");
        assert_eq!(directives("Warning").unwrap(), "warn");
        assert_eq!(directives("critical").unwrap(), "error");
        assert_eq!(directives("DEBUG").unwrap(), "info,bellhop=debug");
    }

    #[test]
    fn directives_are_taken_as_they_are_and_typing_errors_refused() {
        assert_eq!(
            directives("warn,bellhop_ingress=debug").unwrap(),
            "warn,bellhop_ingress=debug"
        );
        assert_eq!(directives("INFOO"), None);
        assert_eq!(directives("bellhop=lots"), None);
        assert_eq!(directives(""), None);
    }

    #[test]
    fn the_exporters_lines_are_off_at_every_level() {
        let level: LogLevel = "TRACE".parse().unwrap();
        assert!(level.filter().to_string().contains("opentelemetry=off"));
    }
}
